"""How often S3 is asked: exact, and the same on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.figures import Figure
from benchmarks.ground import MIB, Ground
from benchmarks.rivals import Site, bare, ours, sites
from benchmarks.wire import call, environ_of


def measure(ground: Ground) -> Iterator[Figure]:
    """Count three steps on three servers and on one, a large file, and what is idle."""
    for name, servers, wanted in (("calls-x", 3, 3), ("calls-1", 1, 1)):
        where = "each on another server" if servers > 1 else "on one server"
        yield _figure(
            name,
            f"S3 requests of three steps, {where}",
            wanted,
            *_each(ground, Site.flow, servers),
        )
    yield _figure("calls-idle", *_IDLE, *_idle(ground))
    small = _each(ground, Site.flow, 3, kind="Expect")
    large = _each(ground, lambda site: site.upload(20 * MIB), 1, kind="Expect")
    sent = [a + b for a, b in zip(small, large, strict=True)]
    yield _figure("rtt-put", "`Expect: 100-continue` sent, three steps and 20 MiB", 0, *sent)


_IDLE = ("S3 requests of import, start-up, a page, and a form without a file", 0)


def _figure(name: str, measure: str, wanted: int, mine: int, naive: int) -> Figure:
    return Figure(
        id=name,
        measure=measure,
        base="exact",
        ours=mine,
        naive=naive,
        local=None,
        target=wanted,
        gate=wanted,
        exact=True,
        unit="",
    )


def _each(
    ground: Ground, work: Callable[[Site], object], servers: int, kind: str | None = None
) -> list[int]:
    """Return what the work costs ours and the article's; a warm connection is not counted."""
    counts = []
    with sites(ground, "ours", "naive", servers=servers) as each:
        for site in each.values():
            site.upload()
            ground.count()
            work(site)
            seen = ground.count()
            counts.append(seen.get(kind, 0) if kind else sum(seen.values()) - seen.get("Expect", 0))
    return counts


def _idle(ground: Ground) -> list[int]:
    counts = []
    for make in (ours, bare):
        ground.count()
        app = make(ground)
        for path in ("/hello", "/missing"):
            call(app, environ_of("GET", path))
        Site([app]).person.submit(app, "/hello", word="yes")
        counts.append(sum(ground.count().values()))
    return counts
