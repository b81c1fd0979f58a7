"""Curves for the plots: the same work at many round trips, file sizes and numbers of servers."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.families.memory import peak_mib
from benchmarks.families.uploads import BROWSER_RATE, S3_RATE
from benchmarks.ground import KIB, MIB, Ground
from benchmarks.rivals import Site, bare, sites
from benchmarks.rounds import contest, timed

NAMES = {
    "base": "the limit: bare requests, nothing checked",
    "ours": "flask_s3handoff",
    "naive": "by hand: save, upload_file, download_file",
    "local": "local disk, one server",
}
STEPS = 6


@dataclass(frozen=True)
class Curve:
    """One plot: points of each rival, ``x`` to ``y``."""

    name: str
    title: str
    x: str
    y: str
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    logarithmic: bool = False

    def add(self, rival: str, x: float, y: float) -> None:
        """Add a point."""
        self.points.setdefault(rival, []).append((x, y))


def curves(ground: Ground) -> Iterator[Curve]:
    """Measure them all."""
    yield _over_round_trips(ground)
    yield _over_sizes(ground)
    yield _over_servers(ground)
    yield _memory(ground)


def _over_round_trips(ground: Ground) -> Curve:
    curve = Curve("rtt", "Three steps, three servers, 200 KB", "round trip to S3, ms", "ms")
    for milliseconds in (0, 5, 10, 20, 40, 80):
        ground.steer(rtt=milliseconds / 1000)
        for name, took in _flows(ground, 3, 3).items():
            curve.add(name, milliseconds, 1000 * took)
    return curve


def _over_servers(ground: Ground) -> Curve:
    curve = Curve("servers", f"{STEPS} steps in turn, 200 KB, RTT 40 ms", "servers", "ms")
    ground.steer(rtt=0.04)
    for servers in (1, 2, 3, 4, 6):
        for name, took in _flows(ground, servers, STEPS).items():
            if name != "local" or servers == 1:
                curve.add(name, servers, 1000 * took)
    return curve


def _flows(ground: Ground, servers: int, steps: int) -> dict[str, float]:
    """Return what a flow takes; local disk stays on its one server: elsewhere it has no file."""
    with (
        sites(ground, "base", "ours", "naive", servers=servers) as many,
        sites(ground, "local") as one,
    ):
        runs = {name: timed(_flow(site, steps)) for name, site in (many | one).items()}
        result = contest(ground.rounds(9), runs)
    return {name: statistics.median(took) for name, took in result.took.items()}


def _flow(site: Site, steps: int) -> Callable[[], None]:
    return lambda: site.flow(steps)


def _over_sizes(ground: Ground) -> Curve:
    curve = Curve(
        "sizes",
        "One upload at 50 MB/s, RTT 40 ms, 100 MB/s to S3",
        "file size, MiB",
        "ms",
        logarithmic=True,
    )
    ground.steer(rtt=0.04, rate=S3_RATE)
    for kib in (64, 256, 1024, 4096, 16_384, 65_536):
        with sites(ground, "ours", "naive", "local") as each:
            runs = {n: timed(_sends(s, kib * KIB)) for n, s in each.items()}
            runs["base"] = timed(_sends(Site([bare(ground)]), kib * KIB))
            result = contest(ground.rounds(5), runs)
        for name, took in result.took.items():
            curve.add(name, kib * KIB / MIB, 1000 * statistics.median(took))
    ground.steer(rtt=0.04, rate=0)
    return curve


def _sends(site: Site, size: int) -> Callable[[], None]:
    def send() -> None:
        site.upload(size, rate=BROWSER_RATE)

    return send


def _memory(ground: Ground) -> Curve:
    curve = Curve(
        "memory",
        "Peak memory of one upload, beyond an idle worker",
        "file size, MiB",
        "MiB",
        logarithmic=True,
    )
    ground.steer(rtt=0.0)
    for mib in (1, 16, 64, 256, 1024):
        for name, kind in (("base", "bare"), ("ours", "ours"), ("naive", "naive")):
            curve.add(name, mib, peak_mib(ground, kind, mib))
    return curve
