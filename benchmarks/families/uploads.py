"""Step 1: what it takes until a browser has its answer and S3 has the file."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, figure_of
from benchmarks.ground import MIB, Ground
from benchmarks.rivals import Site, bare, sites
from benchmarks.rounds import Run, contest, timed

LARGE, BROWSER_RATE, S3_RATE = 64 * MIB, 50e6, 100e6


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure small files at two round trips, one behind a view, and large ones."""
    for milliseconds, target, gate in ((40, 1.10, 1.30), (10, 1.25, 1.70)):
        yield _small(ground, milliseconds, target, gate)
    yield _hidden(ground)
    yield _large(ground, 0.0, 1.12, 1.25)
    yield _large(ground, 0.1, 1.04, 1.15)


def _small(ground: Ground, milliseconds: int, target: float, gate: float) -> Figure:
    ground.steer(rtt=milliseconds / 1000)
    with sites(ground, "base", "ours", "naive", "local") as each:
        result = contest(ground.rounds(41, 9), {n: timed(s.upload) for n, s in each.items()})
    name = "up-small" if milliseconds == 40 else f"up-small-{milliseconds}"
    return figure_of(
        result,
        name,
        f"200 KB upload, RTT {milliseconds} ms",
        "receive, then one bare PUT",
        target=target,
        gate=gate,
    )


def _hidden(ground: Ground) -> Figure:
    """Let the PUT travel beside a view that takes longer than it."""
    view = 0.06
    ground.steer(rtt=0.04)
    with sites(ground, "ours", "naive", "local", view_seconds=view) as each:
        runs: dict[str, Run] = {n: timed(s.upload) for n, s in each.items()}
        result = contest(ground.rounds(31, 7), {"base": timed(lambda: time.sleep(view))} | runs)
    return figure_of(
        result,
        "up-hide",
        "200 KB upload, RTT 40 ms, a view of 60 ms",
        "max(view, RTT)",
        target=1.05,
        gate=1.25,
    )


def _large(ground: Ground, view: float, target: float, gate: float) -> Figure:
    ground.steer(rtt=0.04, rate=S3_RATE)
    rivals = () if ground.quick else ("naive", "local")  # half a minute, for no gate
    try:
        with sites(ground, "ours", *rivals, view_seconds=view) as each:
            all_of_them = {"base": Site([bare(ground, view)])} | each
            runs = {n: timed(_sends(s)) for n, s in all_of_them.items()}
            result = contest(ground.rounds(11), runs)
    finally:
        ground.steer(rtt=0.04, rate=0)
    beside = f", a view of {1000 * view:.0f} ms" if view else ""
    return figure_of(
        result,
        "up-large-v" if view else "up-large",
        f"64 MiB at 50 MB/s, RTT 40 ms, 100 MB/s to S3{beside}",
        "receive and forget",
        target=target,
        gate=gate,
    )


def _sends(site: Site) -> Run:
    def send() -> float:
        site.upload(LARGE, rate=BROWSER_RATE)
        return 0.0

    return send
