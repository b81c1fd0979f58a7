"""The benchmarks measure what they say: bodies to the byte, ratios to their own base, gates that bite."""

from __future__ import annotations

import importlib
from dataclasses import replace

import pytest

from benchmarks.__main__ import FAMILIES
from benchmarks.figures import Figure
from benchmarks.pages import EVIL_NAMES, evil, ordinary
from benchmarks.rounds import contest
from benchmarks.table import in_short
from benchmarks.wire import Zeros
from flask_s3handoff.forms import eligible_forms

FIGURE = Figure(id="x", measure="a thing", base="another", ours=1.08, target=1.05, gate=1.25)


@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
@pytest.mark.parametrize("read", [100, 65_536, 1 << 20])
def test_an_upload_has_all_its_bytes(size: int, read: int) -> None:
    """Whatever size it is read in, the body is as long as its Content-Length says."""
    body = Zeros(size)
    sent = b"".join(iter(lambda: body.read(read), b""))
    assert len(sent) == body.length
    assert sent.count(b"\0") == size
    assert sent.endswith(b"--\r\n")


def test_a_ratio_is_of_one_round() -> None:
    """A machine that gets slower from round to round changes no ratio."""
    base, ours = iter(range(1, 9)), iter(range(2, 18, 2))
    result = contest(7, {"base": lambda: float(next(base)), "ours": lambda: float(next(ours))})
    assert result.ratio("ours") == 2.0


@pytest.mark.parametrize(
    ("ours", "exact", "passes", "verdict"),
    [
        (1.05, False, True, "reached"),
        (1.08, False, True, "not reached"),
        (1.26, False, False, "**fails**"),
        (1.05, True, False, "**fails**"),
    ],
)
def test_a_gate_bites(ours: float, exact: bool, passes: bool, verdict: str) -> None:
    """What is worse than its gate fails; what is exact may not be better either."""
    figure = replace(FIGURE, ours=ours, exact=exact)
    assert figure.passes_gate is passes
    assert figure.verdict == verdict
    assert in_short(figure).endswith(verdict)
    assert f"target {'=' if exact else '≤'} " in in_short(figure)  # what the word speaks of


def test_every_family_can_be_measured() -> None:
    """Each name of the list is a module with ``measure``."""
    for name in FAMILIES:
        assert callable(importlib.import_module(f"benchmarks.families.{name}").measure)


@pytest.mark.parametrize("bare", [False, True])
def test_the_ordinary_page_has_three_forms(bare: bool) -> None:
    """What is compared with ``html.parser`` finds all that there is to find."""
    page = ordinary(100_000, bare=bare)
    assert 95_000 < len(page) < 105_000
    assert len(eligible_forms(page, charset="utf-8")) == 3


def test_a_page_made_to_cost_time_is_as_long_as_it_says() -> None:
    """So that growth is told from size."""
    assert all(abs(len(evil(name, 10_000)) - 10_000) < 200 for name in EVIL_NAMES)
