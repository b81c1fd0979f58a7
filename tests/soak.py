"""Hours of people with pictures, on three servers: nothing may grow, nothing may be left behind.

python -m tests.soak [MINUTES]      default 60; Linux, with the parts of `make test-deps`
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.real.browser import cropped, picture
from tests.real.site import Site, site
from tests.servers import WebServer, keys, weed

PEOPLE = 6
BOX = (4, 4, 40, 30)
WARM_UP_SECONDS = 30
MAX_GROWTH = 1.25  # of memory, after the warm-up: allocators settle late
MAX_MORE_FILES = 8  # a keep-alive connection to S3 per thread of the pool


@dataclass(frozen=True)
class Load:
    """What the processes of one server hold."""

    memory_bytes: int
    files: int


def main(minutes: float) -> int:
    """Run, print a line per minute, and close with the counts."""
    with weed() as s3, site(s3) as running:
        stop, done, wrong = threading.Event(), list[str](), list[str]()
        with ThreadPoolExecutor(PEOPLE) as people:
            jobs = [people.submit(live, running, stop, done, wrong) for _ in range(PEOPLE)]
            try:
                wrong += list(watch(running, minutes * 60, done))
            finally:
                stop.set()
        wrong += [str(job.exception()) for job in jobs if job.exception()]
        wrong += list(left_behind(running))
    print("\n".join(wrong))
    print(f"soak: {len(done)} passed, {len(wrong)} failed")
    return 1 if wrong else 0


def live(running: Site, stop: threading.Event, done: list[str], wrong: list[str]) -> None:
    """Be one person after another: upload, crop, save, and compare what was stored."""
    while not stop.is_set():
        upload = picture(size=(64 + len(done) % 50, 48))
        with running.browser() as browser:
            page = browser.submit(browser.get("/"), files=[upload])
            left, top, right, bottom = BOX
            page = browser.submit(page, left=left, top=top, right=right, bottom=bottom)
            saved = browser.submit(page)
        if saved.status != 200 or running.stored(saved.text) != cropped(upload, BOX):
            wrong.append(f"{saved.status} from {saved.server}: {saved.text[:200]}")
        else:
            done.append(saved.text)


def watch(running: Site, seconds: float, done: list[str]) -> Iterator[str]:
    """Compare what each server holds at the end with what it held after the warm-up."""
    time.sleep(min(WARM_UP_SECONDS, seconds / 4))
    before = {label: load(server) for label, server in running.servers.items()}
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(60.0, left))
        print(f"{len(done)} flows; {loads(running)}", flush=True)
    for label, server in running.servers.items():
        now, then = load(server), before[label]
        if (
            now.memory_bytes > then.memory_bytes * MAX_GROWTH
            or now.files > then.files + MAX_MORE_FILES
        ):
            yield f"server {label} grew from {then} to {now}"


def loads(running: Site) -> str:
    """Say in one line what the servers hold."""
    held = {label: load(server) for label, server in running.servers.items()}
    return ", ".join(f"{n}: {h.memory_bytes >> 20} MiB, {h.files} files" for n, h in held.items())


def load(server: WebServer) -> Load:
    """Add up the master and its workers."""
    pids = [server.pid, *children(server.pid)]
    memory = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 for pid in pids)
    return Load(memory, sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids))


def children(pid: int) -> list[int]:
    """List the workers of a master."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def left_behind(running: Site) -> Iterator[str]:
    """Find unfinished files and unfinished uploads, and keys that nobody knows."""
    for folder in running.folders.values():
        yield from (f"left behind: {path}" for path in folder.rglob("*.part"))
    listed = running.s3.client.list_multipart_uploads(Bucket=running.bucket)
    yield from (f"unfinished upload: {u['Key']}" for u in listed.get("Uploads", ()))
    if strange := [
        k for k in keys(running.s3, running.bucket) if not k.startswith(("handoff/", "users/"))
    ]:
        yield f"strange keys: {strange[:5]}"


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if sys.argv[1:] else 60.0))
