"""What fleet.py is made of: the site, its people, S3, the lives and work folders of servers."""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from flask_s3handoff.ranges import RANGE_BYTES, SINGLE_GET_BYTES
from flask_s3handoff.ranges import STREAMS as RANGES_AT_ONCE
from flask_s3handoff.sweep import FRESH_SECONDS, JUST_NOW_SECONDS
from flask_s3handoff.upload import STREAMS as PARTS_AT_ONCE
from flask_s3handoff.upload import TAIL_BYTES, part_size_of
from flask_s3handoff.workdir import SWEEP_SECONDS

STEPS = ("upload", "edit", "read", "keep")


def _option(default: Any, why: str) -> Any:
    """Make a field an option of the command, too."""
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True)
class Site:
    """Servers, people, S3, a shared disk. The times and speeds are assumptions: change them."""

    servers: int = _option(3, "how many")
    rate: float = _option(0.5, "flows begun per second and server")
    flows: int = _option(20_000, "flows to simulate")
    size: int = _option(200_000, "bytes of a file")
    think: float = _option(20.0, "mean seconds between two steps")
    steps: str = _option("upload,edit,keep", f"an upload, then any of {', '.join(STEPS[1:])}")
    view: float = _option(0.03, "seconds of the app's own work in a step")
    threads: int = _option(8, "requests that a server answers at once")
    work_dir: int = _option(1 << 30, "S3HANDOFF_WORK_DIR_MAX_BYTES")
    max_age: int = _option(86_400, "S3HANDOFF_TOKEN_MAX_AGE")
    life: float = _option(24.0, "mean hours until a server ends by a crash or a deploy")
    s3_median: float = _option(0.025, "seconds until S3 answers, median")
    s3_p99: float = _option(0.1, "seconds until S3 answers, 99th percentile")
    s3_speed: float = _option(80e6, "bytes per second of one connection to S3")
    disk_latency: float = _option(0.001, "seconds of the shared disk's time per file")
    disk_speed: float = _option(500e6, "bytes per second of the whole shared disk")
    seed: int = _option(1, "of the dice")

    def __post_init__(self) -> None:
        """Refuse what would be simulated as something else."""
        if unknown := [step for step in self.flow[1:] if step not in STEPS[1:]]:
            raise ValueError(f"a step is one of {', '.join(STEPS[1:])}, not {unknown[0]!r}")
        if self.flow[0] != "upload":
            raise ValueError("a flow begins with an upload: --steps upload,edit,keep")
        for name in ("servers", "rate", "flows", "threads", "life", "s3_median", "s3_speed"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name.replace('_', '-')} must be more than 0")

    @property
    def flow(self) -> tuple[str, ...]:
        """The steps of one person."""
        return tuple(self.steps.split(","))


@dataclass(slots=True)
class Flow:
    """One person; sticky routing remembers the server, `home`, and when it was last asked."""

    number: int
    step: int = 0
    home: int = -1
    revision: int = 0
    since: float = 0.0
    waited: float = 0.0


def requests_to_put(size: int) -> dict[str, int]:
    """Count the requests that bring a file of this size to S3, as `upload.py` sends it."""
    part = part_size_of(size)
    return {"PUT": 1} if size < part else {"MULTIPART": 2, "PART": -(-size // part)}


def requests_to_get(size: int) -> int:
    """Count the requests that fetch it, as `ranges.py` does."""
    if size <= SINGLE_GET_BYTES:
        return 1
    return -(-size // min(RANGE_BYTES, max(RANGE_BYTES // 4, -(-size // RANGES_AT_ONCE))))


class S3:
    """The store: counts what it is asked, and says how long that takes."""

    def __init__(self, site: Site) -> None:
        self.requests: Counter[str] = Counter()
        self.sent = self.fetched = 0
        self._size, self._speed = site.size, site.s3_speed
        self._dice = random.Random(f"s3 {site.seed}")
        self._mu = math.log(site.s3_median)
        self._sigma = math.log(max(site.s3_p99 / site.s3_median, 1.0)) / 2.326
        self._put, self._gets = requests_to_put(site.size), requests_to_get(site.size)

    def put(self, *, arriving: bool = False) -> float:
        """Take a file; of a large one that is still arriving only the tail is waited for."""
        self.requests.update(self._put)
        self.sent += self._size
        if not (parts := self._put.get("PART", 0)):
            return self._answer() + self._size / self._speed
        if arriving:
            return self._answers(2) + TAIL_BYTES / self._speed
        turns = -(-parts // PARTS_AT_ONCE)
        return self._answers(2 + turns) + self._size / self._speed / min(parts, PARTS_AT_ONCE)

    def get(self) -> float:
        """Give a file."""
        self.requests["GET"] += self._gets
        self.fetched += self._size
        turns = -(-self._gets // RANGES_AT_ONCE)
        return self._answers(turns) + self._size / self._speed / min(self._gets, RANGES_AT_ONCE)

    def copy(self) -> float:
        """Copy on its own side."""
        self.requests["COPY"] += 1
        return self._answer()

    def _answer(self) -> float:
        return self._dice.lognormvariate(self._mu, self._sigma)

    def _answers(self, count: int) -> float:
        return sum(self._answer() for _ in range(count))


class Lives:
    """When each server began: it ends at any moment with the same chance, and comes back empty."""

    def __init__(self, site: Site) -> None:
        self._dice = random.Random(f"lives {site.seed}")
        self._rate = 1 / (site.life * 3600)
        self._born = [0.0] * site.servers
        self._end = [self._dice.expovariate(self._rate) for _ in range(site.servers)]

    def born(self, server: int, now: float) -> float:
        """Return the moment from which on this server has kept its files."""
        while self._end[server] <= now:
            self._born[server] = self._end[server]
            self._end[server] += self._dice.expovariate(self._rate)
        return self._born[server]


class WorkFolder:
    """The local copies of one server: swept as `workdir.py` sweeps them, the oldest first."""

    def __init__(self, site: Site) -> None:
        self._max_bytes, self._max_age, self._size = site.work_dir, site.max_age, site.size
        self._copies: deque[tuple[float, tuple[int, int]]] = deque()
        self._names: set[tuple[int, int]] = set()
        self._swept_at, self._unswept = -math.inf, 0

    def add(self, name: tuple[int, int], now: float) -> None:
        """Publish a local copy."""
        self._copies.append((now, name))
        self._names.add(name)
        self._unswept += self._size
        if now - self._swept_at >= SWEEP_SECONDS or self._unswept > self._max_bytes / 8:
            self._sweep(now)

    def has(self, name: tuple[int, int]) -> bool:
        """Tell whether this revision is here."""
        return name in self._names

    def clear(self) -> None:
        """Come back empty."""
        self._copies.clear()
        self._names.clear()

    def _sweep(self, now: float) -> None:
        self._swept_at, self._unswept = now, 0
        while self._copies and self._may_go(now - self._copies[0][0]):
            self._names.discard(self._copies.popleft()[1])

    def _may_go(self, age: float) -> bool:
        outlived = age > max(self._max_age, FRESH_SECONDS)
        return outlived or (
            len(self._copies) * self._size > self._max_bytes and age > JUST_NOW_SECONDS
        )
