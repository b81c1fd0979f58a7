"""Reading a page for its forms: an ordinary one, and one that was made to cost time."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

from flask import Response

from benchmarks.figures import Figure
from benchmarks.ground import Ground
from benchmarks.pages import EVIL_NAMES, evil, ordinary
from benchmarks.rivals import PLAIN_PAGE, ours
from benchmarks.rounds import busy, contest
from flask_s3handoff.forms import eligible_forms

SIZE = 100_000


class _Finder(HTMLParser):
    """Finds forms as one would by hand, and takes one in a title for one."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[int] = []

    def handle_starttag(self, tag: str, _attributes: object) -> None:
        if tag == "form":
            self.forms.append(self.getpos()[0])


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure against html.parser, against an ordinary page, and against half the page."""
    yield _against_parser(ground, "html", ordinary(SIZE), "", 0.06, 0.12)
    bare = ordinary(SIZE, bare=True)
    yield _against_parser(
        ground, "html-bare", bare, ", a block right after each `<form>`", 0.12, 0.24
    )
    yield _untouched(ground)
    yield from _evil(ground)


def _find(page: bytes) -> None:
    assert eligible_forms(page, charset="utf-8") is not None


def _parse(page: bytes) -> None:
    finder = _Finder()
    finder.feed(page.decode())
    finder.close()
    assert finder.forms


def _against_parser(
    ground: Ground, name: str, page: bytes, which: str, target: float, gate: float
) -> Figure:
    assert len(eligible_forms(page, charset="utf-8")) == 3
    runs = {"base": busy(lambda: _parse(page)), "ours": busy(lambda: _find(page))}
    result = contest(ground.rounds(61, 15), runs)
    return Figure(
        id=name,
        measure=f"a page of 100 KB with three forms read{which}",
        base="`html.parser`",
        ours=result.ratio("ours"),
        target=target,
        gate=gate,
        scale=f"{1000 * result.typical():.1f} ms",
    )


def _untouched(ground: Ground) -> Figure:
    """Is a page of a request without files the very object that the view has made?"""
    app, page = ours(ground), [PLAIN_PAGE.encode()]
    with app.test_request_context("/hello"):
        left = app.process_response(Response(page, mimetype="text/html"))
    return Figure(
        id="html-none",
        measure="pages rebuilt for a request without a file",
        base="exact",
        ours=0 if left.response is page else 1,
        target=0,
        gate=0,
        exact=True,
        unit="",
    )


def _evil(ground: Ground) -> Iterator[Figure]:
    benign = ordinary(2 * SIZE, bare=True)
    pages = {name: (evil(name, SIZE), evil(name, 2 * SIZE)) for name in EVIL_NAMES}
    runs = {"base": busy(lambda: _find(benign))}
    for name, (half, whole) in pages.items():
        runs[name] = busy(lambda page=whole: _find(page))  # type: ignore[misc]
        runs[f"half: {name}"] = busy(lambda page=half: _find(page))  # type: ignore[misc]
    result = contest(ground.rounds(21, 5), runs)
    worst = max(pages, key=result.ratio)
    yield Figure(
        id="html-evil",
        measure=f"the worst of {len(pages)} pages of 200 KB made to cost time ({worst})",
        base="an ordinary page of 200 KB that is read twice, as they are",
        ours=result.ratio(worst),
        target=10,
        gate=20,
        scale=f"{1000 * result.typical():.1f} ms",
    )
    # of many ratios the largest is the noisiest: each is of the fastest run of either
    took = result.took
    grows = {name: min(took[name]) / min(took[f"half: {name}"]) for name in pages}
    steepest = max(grows, key=lambda name: grows[name])
    yield Figure(
        id="html-scale",
        measure=f"200 KB of the steepest of them ({steepest})",
        base="100 KB of it",
        ours=grows[steepest],
        target=2.3,
        gate=3.5,
    )
