"""What is still to be done for a request: which files it wrote, removed, and has asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from .disk import Identity
from .folder import Folder
from .visit import Patience


class Spot(NamedTuple):
    """One file of one folder."""

    folder: Folder
    relpath: str

    @property
    def path(self) -> str:
        """Where it lies on this server."""
        return self.folder.path_of(self.relpath)

    def is_within(self, tree: Spot) -> bool:
        """Tell whether this is a folder, or lies in it."""
        inside = f"{self.relpath}/".startswith(f"{tree.relpath}/")
        return self.folder is tree.folder and inside


class Work:
    """What was written and removed, and the store does not know yet."""

    def __init__(self) -> None:
        self.writes: dict[Spot, bool] = {}
        """What was written, and whether its name was free by what the app was told."""
        self.gone: set[Spot] = set()
        """What was removed."""
        self.trees: set[Spot] = set()
        """Folders that were removed, or named anew, with all that is below them."""

    def __bool__(self) -> bool:
        return bool(self.writes or self.gone or self.trees)

    def write(self, spot: Spot, *, was_free: bool) -> None:
        """Note a write. What the app removed itself before is not free for others to take."""
        self.writes.setdefault(spot, was_free and spot not in self.gone)

    def remove(self, spot: Spot) -> None:
        """Note a removal; what had a free name, and was not mirrored yet, never was."""
        if not self.writes.pop(spot, False):
            self.gone.add(spot)

    def removes(self, spot: Spot) -> bool:
        """Tell whether this is being removed: it is not there, whatever the store still has."""
        return spot in self.gone or any(spot.is_within(tree) for tree in tuple(self.trees))

    def size(self) -> int:
        """Return how many bytes were written, or are in files that were written to."""
        seen = (spot.folder.beneath.stat(spot.relpath) for spot in list(self.writes))
        return sum(s.st_size for s in seen if s is not None)

    def take_finished(self) -> Work:
        """Return what there is to do, and forget it, but for writes that still go on."""
        return self.take(but=open_for_writing(list(self.writes)))

    def take(self, *, but: Callable[[Spot], bool] = lambda _: False) -> Work:
        """Return what there is to do, and forget it."""
        taken, kept = Work(), Work()
        writes, self.writes = self.writes, {}
        for spot, was_free in writes.items():
            (kept if but(spot) else taken).writes[spot] = was_free
        self.writes = {**kept.writes, **self.writes}
        taken.gone, self.gone = self.gone, set()
        taken.trees, self.trees = self.trees, set()
        return taken

    def add(self, other: Work) -> None:
        """Take over what somebody else could not do."""
        self.writes = {**other.writes, **self.writes}
        self.gone |= other.gone
        self.trees |= other.trees


class Scope(Work):
    """One request and the folders, from the first that it touches one."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.asked: dict[Spot, bool] = {}
        """What was looked for in the store, and whether it was there: a moment's memory."""
        self.listed: set[Spot] = set()
        """Folders that were looked for in the store."""
        self.seen: dict[Spot, Identity] = {}
        """What is here by our doing, as it was then."""
        self.stored: set[Spot] = set()
        """What was mirrored for this request."""
        self.is_learning = False
        self.patience = Patience(seconds)

    def note_changes(self) -> None:
        """Find what was written by those whom nobody sees: libraries in C, other programs."""
        for spot, before in list(self.seen.items()):  # threads of the app may still bring more
            now = spot.folder.beneath.stat(spot.relpath)
            if now is not None and Identity.of(now) != before and spot not in self.writes:
                self.write(spot, was_free=False)


def open_for_writing(spots: Iterable[Spot]) -> Callable[[Spot], bool]:
    """Return a judge of which of these files this process has open for writing (Linux).

    What is half written is not mirrored: it waits for the next occasion.
    """
    paths = {os.path.realpath(spot.path): spot for spot in spots}
    busy = {paths[path] for path in _paths_open_for_writing() if path in paths} if paths else set()
    return busy.__contains__


def _paths_open_for_writing() -> Iterator[str]:
    with suppress(FileNotFoundError):
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError, ValueError):  # the listing's own descriptor is gone by now
                path = os.readlink(f"/proc/self/fd/{fd}")
                if path.startswith("/") and _is_writable(fd):
                    yield path


def _is_writable(fd: str) -> bool:
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as info:
        flags = next(line for line in info if line.startswith("flags:")).split()[1]
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
