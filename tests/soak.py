"""A crowd with pictures, on three servers: no error, nothing may grow, nothing may be left behind.

python -m tests.soak [--minutes 10] [--flows 200]     Linux, with the parts of `make test-deps`
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import requests
from PIL import Image

from tests.real.browser import Browser, Page, Upload, cropped, png
from tests.real.site import Site, site
from tests.servers import WebServer, gunicorn, keys, weed

THINK_SECONDS = (2.0, 8.0)  # the least and the most between two steps
MORE_PEOPLE = 1.15  # some are always between two flows
SIZE, BOX = (220, 160), (4, 4, 200, 140)
WORK_FOLDER_BYTES = 16 << 20  # reached within a minute, so that growth beyond it shows
FOLDER_LIMIT = WORK_FOLDER_BYTES * 1.25  # a sweep comes late, and leaves what is a moment old
SAMPLE_SECONDS = 5.0
WARM_UP_SECONDS = 60.0  # allocators settle, pools fill
REST_SECONDS = 30.0  # for idle connections to be closed
LOGGED = ("Traceback", "[ERROR]", "[CRITICAL]", "WARNING")


class Load(NamedTuple):
    """What a server holds: its master and workers together, and its work folder."""

    memory: int
    descriptors: int
    threads: int
    folder: int
    copies: int


# At rest so much more may be there than at rest after the warm-up: a share, and a few.
SHARE = {"memory": 0.05, "descriptors": 0.0, "threads": 0.0}
FEW = {"memory": 8 << 20, "descriptors": 8, "threads": 0}  # connections to S3 are kept in a pool


@dataclass(frozen=True)
class Sample:
    """One moment: the flows that are under way, and what each server holds."""

    in_flight: int
    loads: dict[str, Load]


class Crowd:
    """People who upload, crop and save, one flow after another, with pauses to think."""

    def __init__(self, where: Site, people: int) -> None:
        self.done = self.in_flight = 0
        self.wrong: list[str] = []
        self.seconds: list[float] = []  # that the answers to forms took
        self._where = where
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._pictures = [noise(number) for number in range(16)]
        self._people = [threading.Thread(target=self._live, args=(n,)) for n in range(people)]

    def __enter__(self) -> Self:
        """Come in one after another."""
        for person in self._people:
            person.start()
            time.sleep(sum(THINK_SECONDS) / 2 / len(self._people))
        return self

    def __exit__(self, *_: object) -> None:
        """Let everybody finish."""
        self._stop.set()
        for person in self._people:
            person.join()

    def _live(self, number: int) -> None:
        dice = random.Random(number)
        while not self._stop.is_set():
            try:
                self._flow(dice, *dice.choice(self._pictures))
            except (AssertionError, LookupError, requests.RequestException) as error:
                self.wrong.append(f"{type(error).__name__}: {error}"[:300])

    def _flow(self, dice: random.Random, upload: Upload, wanted: bytes) -> None:
        with self._where.browser() as browser:
            page = browser.get("/")
            with self._counted():
                page = self._submit(browser, page, [upload])
                time.sleep(dice.uniform(*THINK_SECONDS))
                sides = zip(("left", "top", "right", "bottom"), BOX, strict=True)
                page = self._submit(browser, page, (), **dict(sides))
                time.sleep(dice.uniform(*THINK_SECONDS))
                page = self._submit(browser, page)
        assert self._where.stored(page.text) == wanted, f"other bytes under {page.text}"
        self.done += 1

    def _submit(
        self, browser: Browser, page: Page, files: Sequence[Upload] = (), **values: Any
    ) -> Page:
        begun = time.monotonic()
        answer = browser.submit(page, files, **values)
        self.seconds.append(time.monotonic() - begun)
        assert answer.status == 200, f"{answer.status} from {answer.server}: {answer.text}"
        return answer

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1


def noise(seed: int) -> tuple[Upload, bytes]:
    """Return a picture of some 35 KB that is like no other, and what its crop should be."""
    pixels = random.Random(seed).randbytes(SIZE[0] * SIZE[1])
    upload = ("avatar", (f"{seed}.png", png(Image.frombytes("L", SIZE, pixels)), "image/png"))
    return upload, cropped(upload, BOX)


def soak(minutes: float, flows: int) -> int:
    """Run, print a line every half minute, and close with what was seen."""
    serve = partial(gunicorn, worker_class="gthread", threads=8)
    config = {"S3HANDOFF_WORK_DIR_MAX_BYTES": WORK_FOLDER_BYTES}
    with weed() as s3, site(s3, serve=serve, config=config) as where:
        rests, wrong, seconds = [], list[str](), minutes * 60
        for each in (min(WARM_UP_SECONDS, seconds), seconds):
            with Crowd(where, round(flows * MORE_PEOPLE)) as crowd:
                samples = list(watched(where, crowd, each))
            rests.append(at_rest(where))
            wrong += crowd.wrong
        wrong += [*too_few(samples, flows), *too_much(samples), *grown(*rests), *left_behind(where)]
    print("\n".join([*told(samples, crowd), "at rest after the warm-up"]))
    print("\n".join([shown(rests[0]), "at rest at the end", shown(rests[1]), *wrong[:50]]))
    print(f"soak: {crowd.done} passed, {len(wrong)} failed")
    return 1 if wrong else 0


def at_rest(where: Site) -> dict[str, Load]:
    """Wait until nobody closes connections any more, and look."""
    end, held = time.monotonic() + REST_SECONDS, loads_of(where)
    while time.monotonic() < end:
        time.sleep(SAMPLE_SECONDS)
        before, held = held, loads_of(where)
        if all(held[label].descriptors == before[label].descriptors for label in held):
            break
    return held


def watched(where: Site, crowd: Crowd, seconds: float) -> Iterator[Sample]:
    """Look every few seconds."""
    end, said = time.monotonic() + seconds, 0.0
    while time.monotonic() < end:
        time.sleep(SAMPLE_SECONDS)
        loads = loads_of(where)
        yield Sample(crowd.in_flight, loads)
        if time.monotonic() - said > 30:
            said = time.monotonic()
            print(f"{crowd.done} flows, {crowd.in_flight} in flight; {shown(loads)}", flush=True)


def loads_of(where: Site) -> dict[str, Load]:
    """Look at every server."""
    return {label: load_of(where, label) for label in where.servers}


def load_of(where: Site, label: str) -> Load:
    """Add up the master and its workers, and the files of the work folder."""
    server, folder = where.servers[label], where.folders[label]
    pids = [server.pid, *children(server)]
    copies = list(sizes(folder))
    return Load(
        memory=sum(int(Path(f"/proc/{n}/statm").read_text().split()[1]) * 4096 for n in pids),
        descriptors=sum(len(list(Path(f"/proc/{n}/fd").iterdir())) for n in pids),
        threads=sum(len(list(Path(f"/proc/{n}/task").iterdir())) for n in pids),
        folder=sum(copies),
        copies=len(copies),
    )


def sizes(folder: Path) -> Iterator[int]:
    """Yield the sizes of files of which any may go at any moment."""
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.stat(os.path.join(path, name)).st_size


def children(server: WebServer) -> list[int]:
    """List the workers of a master."""
    pid = server.pid
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def shown(loads: Mapping[str, Load]) -> str:
    """Say in one line what the servers hold."""
    return "; ".join(
        f"{label}: {held.memory >> 20} MiB, {held.descriptors} descriptors, "
        f"{held.threads} threads, {held.copies} copies of {held.folder >> 20} MiB"
        for label, held in loads.items()
    )


def grown(before: Mapping[str, Load], after: Mapping[str, Load]) -> Iterator[str]:
    """Name what a server has more of at the end than after the warm-up."""
    for label in before:
        for name, share in SHARE.items():
            then, now = getattr(before[label], name), getattr(after[label], name)
            if now > then * (1 + share) + FEW[name]:
                yield f"{name} of server {label} grew from {then:,} to {now:,}"


def too_much(samples: Sequence[Sample]) -> Iterator[str]:
    """Name work folders that went beyond their limit."""
    for label in samples[0].loads:
        if (most := max(each.loads[label].folder for each in samples)) > FOLDER_LIMIT:
            yield f"the work folder of server {label} held {most:,} bytes"


def too_few(samples: Sequence[Sample], flows: int) -> Iterator[str]:
    """Insist on the crowd that was asked for."""
    if (seen := statistics.median(sample.in_flight for sample in samples)) < flows:
        yield f"{seen:.0f} flows were in flight, not {flows}: this machine is too slow for it"


def told(samples: Sequence[Sample], crowd: Crowd) -> Iterator[str]:
    """Say what was seen."""
    flights = [sample.in_flight for sample in samples]
    quantiles = statistics.quantiles(crowd.seconds, n=100)
    folder = max(load.folder for sample in samples for load in sample.loads.values())
    memory = max(load.memory for sample in samples for load in sample.loads.values())
    yield f"in flight: {min(flights)} to {max(flights)}, median {statistics.median(flights):.0f}"
    yield f"an answer to a form: median {quantiles[49]:.3f} s, 99 % within {quantiles[98]:.3f} s"
    yield f"at most {memory >> 20} MiB of memory, and {folder >> 20} MiB in a work folder"


def left_behind(where: Site) -> Iterator[str]:
    """Find unfinished files and uploads, keys that nobody knows, and complaints in the logs."""
    for label, folder in where.folders.items():
        kinds = [folder / kind for kind in ("part", "edit", "lock")]
        left = [path for kind in kinds if kind.exists() for path in kind.iterdir()]
        yield from (f"left behind: {path.relative_to(folder)} of server {label}" for path in left)
        lines = where.servers[label].log.splitlines()
        yield from (f"{label}: {line}" for line in lines if any(word in line for word in LOGGED))
    listed = where.s3.client.list_multipart_uploads(Bucket=where.bucket)
    yield from (f"unfinished upload: {u['Key']}" for u in listed.get("Uploads", ()))
    known = ("handoff/", "users/")
    strange = [key for key in keys(where.s3, where.bucket) if not key.startswith(known)]
    yield from (f"strange key: {key}" for key in strange)


def main() -> int:
    """Read the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0, help="%(default)s")
    parser.add_argument("--flows", type=int, default=200, help="in flight at once (%(default)s)")
    options = parser.parse_args()
    if options.minutes <= 0 or options.flows < 1:
        parser.error("--minutes and --flows must be more than 0")
    return soak(options.minutes, options.flows)


if __name__ == "__main__":
    sys.exit(main())
