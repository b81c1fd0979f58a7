"""What a flow costs on N servers: S3 requests, bytes, seconds, and flows lost. A simulation.

    python -m benchmarks.fleet                                        the table of docs/scaling.md
    python -m benchmarks.fleet --servers 12 --rate 5 --size 4000000   your own site
    python -m benchmarks.fleet --write                                table and plot, into docs/

Three ways to have the file in the next step, tried on the same people:

    handoff   any server takes any step; local copies save GETs until they are evicted
    sticky    the balancer sends a person back to the server of step 1; the file dies with it
    shared    any server takes any step; all of them read and write one shared disk

In all three the file that is kept ends in S3. `tests/real/test_fleet_model.py` holds the first
against real servers. Not modelled: the person's own line, the processor, a shared disk that fails.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

from benchmarks.fleet_parts import S3, Flow, Lives, Site, WorkFolder

SERVERS = (1, 3, 10, 100, 1000)
MILLION = 1_000_000
LOCAL_BYTES_PER_SECOND = 1e9  # a server's own disk, mostly its memory


@dataclass(frozen=True)
class Outcome:
    """What came of it: counts of all flows together, and the seconds that one flow waited."""

    way: str
    site: Site
    requests: Mapping[str, int]
    sent: int  # bytes to the store
    fetched: int  # bytes from the store
    local: float  # of the steps that read, how many found a local copy
    died: int  # flows that had to begin again, in this run
    lost: float  # the same, averaged over the moments at which servers end
    p50: float
    p99: float
    disk_load: float  # seconds of the shared disk's time that each second asks for

    def per_million(self, count: float) -> float:
        """Scale a count of this run to a million flows."""
        return count * MILLION / self.site.flows


class Way(Protocol):
    """How the file comes to the next step."""

    s3: S3
    read: int
    found: int
    lost: float
    disk_seconds: float

    def route(self, flow: Flow) -> int:
        """Choose the server of the next step."""

    def serve(self, flow: Flow, step: str, server: int, now: float) -> float | None:
        """Take a step that begins now; return its seconds, or None when the file is lost."""


Route = Callable[[Flow], int]


def at_random(site: Site) -> Route:
    """Deal each request to any server, as a balancer without memory does."""
    dice = random.Random(f"route {site.seed}")
    return lambda _: dice.randrange(site.servers)


class Handoff:
    """Ours. `route` may be another balancer, such as one that repeats what a real one did."""

    lost = disk_seconds = 0.0

    def __init__(self, site: Site, route: Route | None = None) -> None:
        self.s3 = S3(site)
        self.read = self.found = 0
        self.route = route or at_random(site)
        self._site, self._lives = site, Lives(site)
        self._folders = [WorkFolder(site) for _ in range(site.servers)]
        self._born = [0.0] * site.servers

    def serve(self, flow: Flow, step: str, server: int, now: float) -> float | None:
        """Mirror beside the view, fetch before it, mirror an edit after it, copy on keeping."""
        folder = self._folder(server, now)
        if step == "upload":
            folder.add((flow.number, 0), now)
            return max(self._site.view, self.s3.put(arriving=True))
        if step == "keep":
            return self._site.view + self.s3.copy()
        seconds = self._rehydrated(flow, folder, now) + self._site.view
        if step == "edit":
            flow.revision += 1
            folder.add((flow.number, flow.revision), now)
            seconds += self.s3.put()
        return seconds

    def _rehydrated(self, flow: Flow, folder: WorkFolder, now: float) -> float:
        self.read += 1
        if folder.has((flow.number, flow.revision)):
            self.found += 1
            return self._site.size / LOCAL_BYTES_PER_SECOND
        folder.add((flow.number, flow.revision), now)
        return self.s3.get()

    def _folder(self, server: int, now: float) -> WorkFolder:
        folder, born = self._folders[server], self._lives.born(server, now)
        if self._born[server] != born:
            self._born[server] = born
            folder.clear()
        return folder


class Sticky:
    """One server per person: nothing to fetch, and nothing left when that server ends.

    Few servers end in a run, and each takes all its people with it: so ``lost`` adds up the chance
    that each pause had of being somebody's last, which has the same mean and little noise.
    """

    disk_seconds = 0.0

    def __init__(self, site: Site) -> None:
        self.s3 = S3(site)
        self.read = self.found = 0
        self.lost = 0.0
        self._site, self._lives, self._any = site, Lives(site), at_random(site)
        self._life = site.life * 3600

    def route(self, flow: Flow) -> int:
        """Stay where the upload went."""
        return self._any(flow) if flow.home < 0 else flow.home

    def serve(self, flow: Flow, step: str, server: int, now: float) -> float | None:
        """Work on the server's own disk."""
        if step == "upload":
            flow.home = server
        else:
            self.lost += 1 - math.exp((flow.since - now) / self._life)
            if self._lives.born(server, now) > flow.since:
                return None
        flow.since = now
        if step == "keep":
            return self._site.view + self.s3.put()
        if step != "upload":
            self.read, self.found = self.read + 1, self.found + 1
        return self._site.view + self._site.size / LOCAL_BYTES_PER_SECOND


class Shared:
    """Every server on one disk, which takes one file after another."""

    def __init__(self, site: Site) -> None:
        self.s3 = S3(site)
        self.read = self.found = 0
        self.lost = self.disk_seconds = 0.0
        self.route = at_random(site)
        self._site, self._free_at = site, 0.0
        self._per_file = site.disk_latency + site.size / site.disk_speed

    def serve(self, flow: Flow, step: str, server: int, now: float) -> float | None:  # noqa: ARG002
        """Wait for the disk, once for each file that is read or written."""
        files = 2 if step == "edit" else 1
        waited = max(self._free_at - now, 0.0) + files * self._per_file
        self._free_at = now + waited
        self.disk_seconds += files * self._per_file
        return waited + self._site.view + (self.s3.put() if step == "keep" else 0.0)


WAYS: dict[str, Callable[[Site], Way]] = {"handoff": Handoff, "sticky": Sticky, "shared": Shared}


def simulate(way: str, site: Site, *, route: Route | None = None) -> Outcome:
    """Let all people through, in the order of time.

    >>> simulate("handoff", Site(servers=1, flows=100)).requests
    {'PUT': 200, 'COPY': 100}
    """
    taken = Handoff(site, route) if route else WAYS[way](site)
    waits = [flow.waited for flow in _finished(taken, site)]
    percentiles = statistics.quantiles(waits, n=100) if len(waits) > 1 else waits * 99
    return Outcome(
        way=way,
        site=site,
        requests=dict(taken.s3.requests),
        sent=taken.s3.sent,
        fetched=taken.s3.fetched,
        local=taken.found / taken.read if taken.read else 1.0,
        died=site.flows - len(waits),
        lost=taken.lost,
        p50=percentiles[49],
        p99=percentiles[98],
        disk_load=taken.disk_seconds * site.rate * site.servers / site.flows,
    )


def _finished(way: Way, site: Site) -> Iterator[Flow]:
    """Yield each flow that comes to its end."""
    # A server with all its threads busy lets the request wait for the first that is free.
    free = [[0.0] * site.threads for _ in range(site.servers)]
    thinking = random.Random(f"think {site.seed}")
    arrivals = _arrivals(site)
    queue = [next(arrivals)]
    while queue:
        now, _, flow = heapq.heappop(queue)
        if flow.step == 0 and (newcomer := next(arrivals, None)):
            heapq.heappush(queue, newcomer)
        server = way.route(flow)
        begun = max(now, free[server][0])
        seconds = way.serve(flow, site.flow[flow.step], server, begun)
        if seconds is None:
            continue
        left = begun + seconds
        heapq.heapreplace(free[server], left)
        flow.waited += left - now
        flow.step += 1
        if flow.step == len(site.flow):
            yield flow
        else:
            pause = thinking.expovariate(1 / site.think) if site.think else 0.0
            heapq.heappush(queue, (left + pause, flow.number, flow))


def _arrivals(site: Site) -> Iterator[tuple[float, int, Flow]]:
    dice, now = random.Random(f"arrive {site.seed}"), 0.0
    for number in range(site.flows):
        now += dice.expovariate(site.rate * site.servers)
        yield now, number, Flow(number)


# --- the table ------------------------------------------------------------------------------------

HEAD = (
    *("servers", "way", "PUT", "COPY", "GET", "GB to S3", "GB from S3", "found locally"),
    *("flows lost", "seconds, 50 %", "seconds, 99 %", "disk load"),
)


def table(outcomes: Iterable[Outcome]) -> str:
    """Write outcomes as Markdown, per million flows; parts of large files count as PUT."""
    rows = [HEAD, ["---:" if head != "way" else "---" for head in HEAD], *map(_row, outcomes)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(outcome: Outcome) -> list[str]:
    asked, million = outcome.requests, outcome.per_million
    puts = sum(asked.get(kind, 0) for kind in ("PUT", "PART", "MULTIPART"))
    counts = (puts, asked.get("COPY", 0), asked.get("GET", 0))
    ours, disk = outcome.way == "handoff", outcome.way == "shared"
    return [
        f"{outcome.site.servers:,}",
        outcome.way,
        *(f"{million(count):,.0f}" for count in counts),
        *(f"{million(count) / 1e9:,.0f}" for count in (outcome.sent, outcome.fetched)),
        f"{outcome.local:.1%}" if ours else "–",
        f"{million(outcome.lost):,.0f}",
        *("grows" if outcome.disk_load >= 1 else f"{s:.3f}" for s in (outcome.p50, outcome.p99)),
        f"{outcome.disk_load:.0%}" if disk else "–",
    ]


def compare(site: Site, servers: Sequence[int]) -> list[Outcome]:
    """Try every way on every number of servers."""
    sites = [replace(site, servers=count) for count in servers]
    return [simulate(way, each) for each in sites for way in WAYS]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or write it and the plot into docs/."""
    options = vars(_parser().parse_args(arguments))
    servers, writes = options.pop("servers"), options.pop("write")
    try:
        site = Site(**options)
        outcomes = compare(site, servers)
    except ValueError as wrong:
        sys.exit(f"fleet: {wrong}")
    print(table(outcomes))
    if writes:
        from benchmarks.fleet_plot import write  # matplotlib, for this option only

        write(table(outcomes), site)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--servers", type=int, nargs="+", default=SERVERS, help="how many")
    parser.add_argument("--write", action="store_true", help="into docs/")
    for each in fields(Site)[1:]:
        name, why = each.name.replace("_", "-"), f"{each.metadata['why']} (%(default)s)"
        parser.add_argument(
            f"--{name}",
            type=type(each.default),
            default=each.default,
            help=why.replace("% ", "%% "),
        )
    return parser


if __name__ == "__main__":
    main()
