"""Which test acts out which threat, fault, bad input: found by their ids, written to a page.

    python -m tests.reliability           run these tests and write docs/reliability.md
    python -m tests.reliability T F       the same for some chapters alone
    python -m tests.reliability --names   find the tests; keep what the page says of their results
    python -m tests.reliability --check   say which rows of the page are out of date, and write nothing

A test belongs to a row when its id has the row in it, ``test_t15_…`` or ``[T15-…]`` of a table, or when
its docstring cites it, ``(T15, B31)`` or ``(H72–H78)``.
"""

from __future__ import annotations

import re
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
DATA = tomllib.loads((ROOT / "tests" / "reliability.toml").read_text())
CHAPTERS = ("T", "F", "B", "H", "I")
NOT_YET = "open: no test yet"
_ROW = re.compile(r"(?<![A-Za-z0-9])([tfbhi]\d{1,2}[a-h]?)(?![A-Za-z0-9])", re.IGNORECASE)
_CITED = re.compile(r"(?<![A-Za-z0-9])([TFBHI])(\d{1,2})(?:–\1(\d{1,2})|([a-h]?))(?![A-Za-z0-9])")
_RULE = re.compile(r"test_rule_(\d+)_")
_SPELLING = {row.upper(): row for letter in CHAPTERS for row in DATA[letter] if _ROW.fullmatch(row)}
_INVARIANT = {str(rule): row for row, rule in DATA["rules"].items()}
INTRODUCTION = """\
# Reliability: what is tried, and by which test

Written by `python -m tests.reliability`{when}; do not edit. `tests/reliability.toml` has the rows. A test belongs to
a row when its id names it, `test_t15_…` or `[T15-…]` in a table of cases, or when its docstring cites it; those of an invariant may be named
for the rule of the design that restates it, `test_rule_1_…`. A row without a test is open, and says why.
"""


@dataclass
class Row:
    """One row of the page: its tests by file, and what became of them."""

    name: str
    title: str
    tests: dict[str, set[str]] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    kept: str = ""

    def add(self, test: str) -> None:
        """Count one test in."""
        file, _, rest = test.partition("::")
        function = rest.partition("[")[0].rpartition("::")[2]
        self.tests.setdefault(file.removeprefix("tests/"), set()).add(function)

    @property
    def found(self) -> str:
        """The cell of its tests."""
        files = sorted(self.tests.items())
        named = (
            f"{file}: {', '.join(f'`{name}`' for name in sorted(names))}" for file, names in files
        )
        return "<br>".join(named) or DATA["open"].get(self.name) or NOT_YET

    @property
    def result(self) -> str:
        """The cell of their results, counted by test and case."""
        if not self.tests:
            return ""
        counted = ", ".join(f"{n} {outcome}" for outcome, n in sorted(self.outcomes.items()))
        return counted or self.kept or "not run"


@dataclass(frozen=True)
class Found:
    """A test as pytest has collected it: its id, and its docstring."""

    id: str
    sentence: str = ""

    @classmethod
    def of(cls, item: pytest.Item) -> Found:
        """Return what a collected item says."""
        return cls(item.nodeid, getattr(getattr(item, "function", None), "__doc__", None) or "")

    @property
    def rows(self) -> set[str]:
        """The rows that it names.

        >>> sorted(Found("tests/x.py::test_t15_nobody_keeps_it[B31-up]", "Not even so (H72–H74).").rows)
        ['B31', 'H72', 'H73', 'H74', 'T15']
        """
        name = self.id.partition("::")[2]
        named = [row.upper() for row in _ROW.findall(name)]
        cited = [row.upper() for row in _cited(self.sentence)]
        restated = {_INVARIANT[rule] for rule in _RULE.findall(name) if rule in _INVARIANT}
        return restated | {_SPELLING[row] for row in (*named, *cited) if row in _SPELLING}


def _cited(sentence: str) -> Iterator[str]:
    """Yield the rows that a docstring cites, those within a range as well."""
    for letter, first, last, suffix in _CITED.findall(sentence):
        for number in range(int(first), int(last or first) + 1):
            yield f"{letter}{number}{suffix}"


def table(tests: Iterable[Found]) -> dict[str, Row]:
    """Return every row, with those of these tests that name it."""
    titles = {row: title for letter in CHAPTERS for row, title in DATA[letter].items()}
    rows = {name: Row(name, titles[name]) for name in _SPELLING.values()}
    for test in tests:
        for name in test.rows:
            rows[name].add(test.id)
    return rows


def page(rows: Mapping[str, Row], *, when: str) -> str:
    """Return the page."""
    return "\n".join([INTRODUCTION.format(when=when), *map("\n".join, _chapters(rows))])


def _chapters(rows: Mapping[str, Row]) -> Iterator[list[str]]:
    for letter in CHAPTERS:
        chapter = [row for row in rows.values() if row.name.startswith(letter)]
        without = sum(not row.tests for row in chapter)
        yield [
            f"## {DATA[letter]['title']}\n\n{DATA[letter]['about']} {len(chapter)} rows, {without} without a test.\n",
            "| row | what | tests | result |\n|---|---|---|---|",
            *(f"| {row.name} | {row.title} | {row.found} | {row.result} |" for row in chapter),
            "",
        ]


def cells(text: str) -> dict[str, tuple[str, str, str]]:
    """Return title, tests and result of each row of a page."""
    lines = (line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| "))
    return {
        row: (title, tests, "".join(rest).strip(" |"))
        for row, title, tests, *rest in lines
        if row != "row"
    }


class Collector:
    """A plugin of pytest that runs the tests of some chapters' rows alone, and remembers what became of them."""

    def __init__(self, letters: Container[str]) -> None:
        self.tests: list[Found] = []
        self.outcomes: dict[str, str] = {}
        self.letters = letters

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Remember the tests of all rows, and keep those that shall be run."""
        self.tests = [test for test in map(Found.of, items) if test.rows]
        wanted = {test.id for test in self.tests if any(map(self.is_run, test.rows))}
        items[:] = [item for item in items if item.nodeid in wanted]

    def is_run(self, row: str) -> bool:
        """Tell whether the tests of this row are run."""
        return row[0] in self.letters

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember the worst of a test's three phases."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome


def stale(text: str, tests: Iterable[Found]) -> list[str]:
    """Return the rows whose title or tests a page does not tell as they are."""
    known = cells(text)
    rows = table(tests).values()
    wrong = [
        row.name for row in rows if known.get(row.name, ("", "", ""))[:2] != (row.title, row.found)
    ]
    return wrong + sorted(set(known) - {row.name for row in rows})


def main(arguments: list[str]) -> int:
    """Write the page, or check it; what the shell gets is 0 when nothing is wrong."""
    only_names = arguments in (["--names"], ["--check"])
    collector = Collector(() if only_names else arguments or CHAPTERS)
    options = ["-q", "--no-header", "-p", "no:cacheprovider", str(ROOT / "tests")]
    pytest.main(options, plugins=[collector])
    old = PAGE.read_text() if PAGE.exists() else ""
    if arguments == ["--check"]:
        wrong = stale(old, collector.tests)
        print(
            f"out of date: {', '.join(wrong)}"
            if wrong
            else f"{len(cells(old))} rows are up to date"
        )
        return 1 if wrong else 0
    rows = _with_results(collector, cells(old))
    PAGE.write_text(page(rows, when=_when(old, only_names)))
    without = sum(not row.tests for row in rows.values())
    print(f"{PAGE.relative_to(ROOT)}: {len(rows)} rows, {without} without a test")
    return 1 if "failed" in collector.outcomes.values() else 0


def _with_results(
    collector: Collector, known: Mapping[str, tuple[str, str, str]]
) -> dict[str, Row]:
    """Return the rows with what became of their tests, now or when the page was last written."""
    rows = table(collector.tests)
    for row in rows.values():
        _, tests, result = known.get(row.name, ("", "", ""))
        row.kept = result if tests == row.found else ""
    for test in collector.tests:
        for name in filter(collector.is_run, test.rows):
            rows[name].outcomes[collector.outcomes.get(test.id, "not run")] += 1
    return rows


def _when(old: str, only_names: bool) -> str:
    """Say when the tests were run: now, or as the page says."""
    if not only_names:
        return f"; run on {time.strftime('%Y-%m-%d', time.gmtime())} with Python {sys.version.split()[0]}"
    before = re.search(r"`python -m tests\.reliability`(.*?); do not edit", old)
    return before[1] if before else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
