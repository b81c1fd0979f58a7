"""A request that brings nothing: what it costs that we are there."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask

from benchmarks.figures import Figure
from benchmarks.ground import Ground
from benchmarks.rivals import bare, ours
from benchmarks.rounds import Run, busy, contest
from benchmarks.wire import call, environ_of


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure a hello with and without the extension, in short turns."""

    def hello(app: Flask) -> Run:
        return busy(lambda: call(app, environ_of("GET", "/hello")), times=100)

    runs = {"base": hello(bare(ground)), "ours": hello(ours(ground))}
    result = contest(ground.rounds(401, 101), runs)
    yield Figure(
        id="idle",
        measure="hello with the extension, at the level of WSGI",
        base="hello without it",
        ours=result.ratio("ours"),
        target=1.02,
        gate=1.05,
        scale=f"{1e6 * result.typical():.0f} µs",
    )
