"""Random pages against two HTML parsers: is every injection right, and is no page disturbed?

Run with ``make fuzz``, or::

    python -m tests.fuzz.fuzz_forms --documents 1000000 --seed 1 --workers 2

It prints one line of counts and the pages that went wrong, and fails if there are any. An oracle
that crashes is counted; that makes nothing wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat

from flask_s3handoff.forms import REQUIRED_MARK, eligible_forms, hidden_input, splice

from .choices import Choices
from .form_documents import SOUP, calm, soup, tidy
from .form_oracles import (
    LexborDocument,
    Verdict,
    eligible,
    inject,
    opinions,
    without_ours,
)

KINDS: dict[str, Callable[[random.Random], str]] = {"soup": soup, "calm": calm, "tidy": tidy}
# Of ten pages, so many of each kind: soup is where mistakes are made.
SHARES = ("soup",) * 7 + ("calm",) * 2 + ("tidy",)
CHARSETS = (None, "utf-8", "latin-1", "shift_jis", "utf-16", "iso-2022-jp")
TOKENS = [token for tokens, _ in SOUP for token in tokens]
OURS = hidden_input("T0")
BATCH = 2000
MOST_EXAMPLES = 5


@dataclass
class Tally:
    """What was counted over many pages."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the counts of other pages."""
        self.counts += other.counts
        self.examples = [*self.examples, *other.examples][:MOST_EXAMPLES]

    def note(self, what: str, page: str) -> None:
        """Count a mistake and keep its page."""
        self.counts[what] += 1
        self.examples.append(f"{what}: {page!r}")

    def recall(self, kind: str) -> float:
        """Return the share of the eligible forms of such pages (lexbor says) that we found."""
        return self.counts[f"{kind} found"] / max(1, self.counts[f"{kind} eligible"])

    def mistakes(self) -> int:
        """Return how many pages went wrong in any way."""
        return sum(self.counts[what] for what in ("wrong", "disturbed", "not restored"))

    def line(self) -> str:
        """Return everything in one line."""
        shown = {"wrong": 0, "disturbed": 0, "not restored": 0, **self.counts}
        recalls = (f"{kind} recall={self.recall(kind):.4f}" for kind in KINDS)
        return ", ".join([*(f"{what}={n}" for what, n in sorted(shown.items())), *recalls])


def campaign(documents: int, seed: int | str) -> Tally:
    """Judge so many pages; the same seed makes the same pages."""
    source, tally = random.Random(seed), Tally()
    for _ in range(documents):
        kind = source.choice(SHARES)
        _judge(KINDS[kind](source), kind, tally)
    return tally


def check(data: bytes) -> None:
    """Judge one page that a fuzzer made; ``AssertionError`` and any other exception is a find."""
    choices = Choices(data)
    charset = choices.one_of(CHARSETS)
    if choices.number(1):
        raw = choices.rest()
    else:
        raw = "".join(choices.one_of(TOKENS) for _ in iter(lambda: choices.is_over, True)).encode()
    judge_bytes(raw, charset)


def judge_bytes(raw: bytes, charset: str | None) -> None:
    """Judge a page as it comes over the line; the oracles read it if it is UTF-8."""
    inputs = [(form.insert_at, OURS) for form in eligible_forms(raw, charset=charset)]
    assert splice(raw, inputs).replace(OURS, b"") == raw.replace(OURS, b""), "not restored"
    try:
        page = raw.decode()
    except UnicodeDecodeError:
        return
    tally = Tally()
    if OURS not in raw:
        _judge(page, "soup", tally)
    assert not tally.mistakes(), tally.examples


def _judge(page: str, kind: str, tally: Tally) -> None:
    raw = page.encode()
    injected, forms = inject(raw)
    tally.counts["documents"] += 1
    tally.counts["injections"] += forms
    _count_recall(page, kind, forms, tally)
    if without_ours(injected) != raw:
        tally.note("not restored", page)
    if not forms:
        return
    for oracle, opinion in opinions(page, injected.decode()):
        _count(oracle, opinion, page, tally)
    if _marks_disturb(page):
        tally.note("disturbed", page)


def _count(oracle: str, opinion: Verdict | Exception, page: str, tally: Tally) -> None:
    tally.counts[f"judged by {oracle}"] += 1
    if isinstance(opinion, Exception):
        tally.counts[f"crashes of {oracle}"] += 1
        return
    tally.counts[f"buttons of unsure form for {oracle}"] += opinion.unsure
    if opinion.wrong:
        tally.note("wrong", page)
    if opinion.is_disturbed:
        tally.note("disturbed", page)


def _count_recall(page: str, kind: str, found: int, tally: Tally) -> None:
    """Count each form that lexbor calls eligible, and how many of them we found."""
    there = eligible(LexborDocument(page))
    tally.counts[f"{kind} eligible"] += there
    tally.counts[f"{kind} found"] += min(found, there)


def _marks_disturb(page: str) -> bool:
    """Tell whether marking every ``required`` changes more than the name of that attribute."""
    raw = page.encode()
    inputs = (i for form in eligible_forms(raw, charset="utf-8") for i in form.file_inputs)
    offsets = [i.required_at for i in inputs if i.required_at is not None]
    marked = splice(raw, ((at, REQUIRED_MARK) for at in offsets)).decode()
    after = str(LexborDocument(marked).content())
    return after.replace(f"{REQUIRED_MARK.decode()}required", "required") != str(
        LexborDocument(page).content()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a campaign on several processes and report it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    batches = max(1, options.documents // BATCH)
    seeds = [f"{options.seed}:{number}" for number in range(batches)]
    total = Tally()
    with ProcessPoolExecutor(options.workers) as pool:
        for number, tally in enumerate(pool.map(campaign, repeat(BATCH, batches), seeds), start=1):
            total.add(tally)
            if tally.examples or number % 50 == 0:
                done = total.counts["documents"]
                print("\n".join([f"… {done} documents", *tally.examples]), flush=True)
    print(f"seed={options.seed}, {total.line()}")
    return 1 if total.mistakes() else 0


if __name__ == "__main__":
    sys.exit(main())
