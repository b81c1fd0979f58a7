"""All of a folder at once: ``adopt`` what is on the disk, ``pull`` what is in the store.

Both may be broken off and begun again: what has been done is found done.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from .audit import unwatched
from .errors import AlreadyExists
from .folders import Folders
from .scope import Spot
from .store import Entry

log = logging.getLogger("flask_s3handoff")

AT_ONCE = 16  # jobs that are handed to the threads before the first is waited for

Progress = Callable[[int, int], None]
"""Is told how many files are done, of how many."""


@dataclass(frozen=True)
class Moved:
    """What came of it: files that were moved, files that were there already, and the rest.

    ``left`` names what was left alone: what differs from the store's, what cannot be a key.
    """

    moved: int
    unchanged: int
    left: tuple[str, ...]


def adopt(folders: Folders, progress: Progress = lambda _done, _of: None) -> Moved:
    """Mirror every file that lies in the folders; nothing in the store is overwritten.

    ``progress`` is called after each file with how many are done, of how many. A file that differs
    from the store's is left as it is on both sides, and named in ``left``.
    """
    there = {entry.key: entry for folder in folders.folders for entry in folder.entries()}
    paths = [
        folder.path_of(relpath) for folder in folders.folders for relpath in folder.beneath.files()
    ]
    jobs = [partial(_adopt, folders, path, there) for path in dict.fromkeys(paths)]
    return _moved(folders, jobs, progress)


def _adopt(folders: Folders, path: str, there: dict[str, Entry]) -> tuple[str, str]:
    spot = folders.spot(path)
    if spot is None:
        return "left", path
    entry = there.get(spot.folder.key_of(spot.relpath))
    if entry is not None:
        return ("unchanged" if spot.folder.holds(spot.relpath, entry) else "left"), path
    try:
        spot.folder.put(spot.relpath, if_absent=True, yields=False)
    except AlreadyExists:  # since the listing
        return "left", path
    return "moved", path


def pull(folders: Folders, progress: Progress = lambda _done, _of: None) -> Moved:
    """Bring every file of the folders from the store to this disk: the way out.

    ``progress`` is called after each file with how many are done, of how many.
    """
    spots = [Spot(folder, relpath) for folder in folders.folders for relpath in folder.keys_below()]
    jobs = [partial(_pull, folders, spot) for spot in spots]
    return _moved(folders, jobs, progress)


def _pull(folders: Folders, spot: Spot) -> tuple[str, str]:
    if folders.spot(spot.path) != spot:  # the path belongs to a folder within this one
        return "left", spot.path
    before = spot.folder.beneath.stat(spot.relpath)
    until = time.monotonic() + folders.seconds
    with unwatched():
        is_there = spot.folder.refresh(spot.relpath, until=until)
    after = spot.folder.beneath.stat(spot.relpath)
    if not is_there or after is None:
        return "left", spot.path
    return ("unchanged" if before == after else "moved"), spot.path


Job = Callable[[], tuple[str, str]]


def _moved(folders: Folders, jobs: Sequence[Job], progress: Progress) -> Moved:
    results: dict[str, list[str]] = {"moved": [], "unchanged": [], "left": []}
    for done, (what, path) in enumerate(_each(folders, jobs), 1):
        results[what].append(path)
        progress(done, len(jobs))
    for path in results["left"]:
        log.warning("%r was left alone: it differs, or its name cannot be a key", path)
    return Moved(len(results["moved"]), len(results["unchanged"]), tuple(results["left"]))


def _each(folders: Folders, jobs: Sequence[Job]) -> Iterator[tuple[str, str]]:
    """Do a few at a time; what fails is raised in its turn."""
    under_way: deque[Future[tuple[str, str]]] = deque()
    for job in jobs:
        under_way.append(folders.submit(_unwatched(job)))
        if len(under_way) >= AT_ONCE:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _unwatched(job: Job) -> Job:
    def done() -> tuple[str, str]:
        with unwatched():
            return job()

    return done
