"""The page of threats and faults tells the tests as they are, and no row is silently missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import reliability
from tests.reliability import DATA, NOT_YET, PAGE, ROOT, Found, Row

LAST = {"T": 45, "F": 48, "B": 92, "H": 84, "I": 10}
TEST_FILES = {path for path in (ROOT / "tests").rglob("test_*.py") if path.stat().st_size}


def test_every_row_is_there() -> None:
    """Each number has its title, and its line in the page."""
    told = reliability.cells(PAGE.read_text())
    for letter, last in LAST.items():
        rows = [f"{letter}{number}" for number in range(1, last + 1)]
        assert [row for row in rows if row not in DATA[letter] or row not in told] == []


def test_the_page_tells_the_tests_as_they_are(request: pytest.FixtureRequest) -> None:
    """Who has renamed or added a test runs ``python -m tests.reliability`` (or ``--names``)."""
    items = request.session.items
    if {item.path for item in items} >= TEST_FILES:
        assert reliability.stale(PAGE.read_text(), map(Found.of, items)) == []
        return
    command = [sys.executable, "-m", "tests.reliability", "--check"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout[-2000:] + checked.stderr[-2000:]


def test_a_reason_is_only_needed_without_a_test() -> None:
    """A row that has tests says nothing of being open; one without, and without a reason, says that."""
    row = Row("T1", "x")
    assert row.found == NOT_YET
    assert row.result == ""
    row.add("tests/unit/test_x.py::TestX::test_t1_y[case]")
    row.add("tests/unit/test_x.py::test_t1_a")
    assert row.found == "unit/test_x.py: `test_t1_a`, `test_t1_y`"
    assert row.result == "not run"


@pytest.mark.parametrize(
    ("test", "rows"),
    [
        (Found("tests/x.py::test_t15_y"), {"T15"}),
        (Found("tests/x.py::test_y[b23C-cut]"), {"B23c"}),
        (Found("tests/x.py::test_y[a-T15-B31]"), {"T15", "B31"}),
        (Found("tests/test_t15.py::test_y[%F0%9F-at15]"), set()),
        (Found("tests/x.py::test_rule_11_y"), {"I8"}),
        (Found("tests/x.py::test_y", "Back (F25), and H72–H74; S3, not t1 or T99."), {"F25", "H72", "H73", "H74"}),
    ],
    ids=lambda value: value.id.partition("::")[2] if isinstance(value, Found) else "",
)  # fmt: skip
def test_a_test_names_its_rows(test: Found, rows: set[str]) -> None:
    """In its id, whatever the case; in its sentence, as the rows are written."""
    assert test.rows == rows
