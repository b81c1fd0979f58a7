"""The same on real servers: SeaweedFS and Ceph RGW, on this machine, so without a round trip.

Told for comparison, without a gate: what is measured here is mostly the server's own work.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from benchmarks.families.steps import forget_copies
from benchmarks.figures import Figure
from benchmarks.ground import Ground, real_ground
from benchmarks.rivals import Site, sites
from benchmarks.rounds import Contest, Run, contest, timed
from tests.servers import S3Server, available, rgw, weed


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure an upload and a step on another server, on each that is installed."""
    if ground.quick:
        return
    servers = {"weed": ("SeaweedFS", weed), "rgw": ("Ceph RGW", rgw)}
    for name, (title, serve) in servers.items():
        if available(name) is None:
            yield from _on(name, title, serve(), ground)


def _on(
    name: str, title: str, serve: AbstractContextManager[S3Server], ground: Ground
) -> Iterator[Figure]:
    with (
        serve as server,
        real_ground(server, ground) as here,
        sites(here, "base", "ours", "naive", "local") as each,
    ):
        up = contest(here.rounds(41), {n: timed(s.upload) for n, s in each.items()})
        across = contest(here.rounds(41), {n: _stepping(n, s) for n, s in each.items()})
    yield _figure(f"up-{name}", f"200 KB upload to {title}, no round trip", "one bare PUT", up)
    yield _figure(f"step-{name}", f"step on another server, {title}", "one bare GET", across)


def _stepping(name: str, site: Site) -> Run:
    page = site.upload()

    def run() -> float:
        if name == "ours":
            forget_copies(site.apps[0])
        return timed(lambda: site.step(page))()

    return run


def _figure(name: str, measure: str, base: str, result: Contest) -> Figure:
    return Figure(
        id=name,
        measure=measure,
        base=f"receive, and {base}",
        ours=result.ratio("ours"),
        naive=result.ratio("naive"),
        local=result.ratio("local"),
        scale=f"{1000 * result.typical():.1f} ms",
    )
