"""What may go from a work folder: what outlived its claim, what is too much, what a kill left."""

from __future__ import annotations

import calendar
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

FRESH_SECONDS = 300  # younger ones may be in use by a request that goes on
JUST_NOW_SECONDS = 10  # even on a full disk: somebody is about to open it
LEFTOVER_SECONDS = 6 * 3600
_DAY_AND_SKEW_SECONDS = 86_400 + 3600


def sweep(
    root: str, *, max_bytes: int, max_age_seconds: float, now: float, short_bytes: int = 0
) -> None:
    """Remove local copies that are too old, then the oldest until ``max_bytes`` are kept.

    Where the disk lacks ``short_bytes``, that much less is kept.
    """
    copies = sorted(_copies_below(root))
    total = sum(copy.size for copy in copies)
    most = min(max_bytes, total - short_bytes)
    for copy in copies:
        age = now - copy.modified_at
        outlived = age > FRESH_SECONDS and copy.is_older(max_age_seconds, now)
        if outlived or (total > most and age > JUST_NOW_SECONDS):
            _remove(copy)
            total -= copy.size
    for path, modified_at in _leftovers_below(root):
        if now - modified_at > LEFTOVER_SECONDS:
            _discard(path)


class _Copy(NamedTuple):
    """A local copy as a sweep sees it; sorted, the oldest come first."""

    modified_at: float
    size: int
    path: str
    day: str

    def is_older(self, seconds: float, now: float) -> bool:
        """Tell whether no claim can name it: it came long ago, or was uploaded even earlier."""
        return now - self.modified_at > seconds or now - _end_of(self.day) > seconds


def _end_of(day: str) -> float:
    try:
        return calendar.timegm(time.strptime(day, "%Y%m%d")) + _DAY_AND_SKEW_SECONDS
    except ValueError:
        return 0.0


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # removed meanwhile
        return []


def _copies_below(root: str) -> Iterator[_Copy]:
    for day in _entries(root):
        if not day.name.isdecimal():
            continue
        for box in _entries(day.path):
            for entry in _entries(box.path):
                with suppress(OSError):
                    seen = entry.stat(follow_symlinks=False)
                    yield _Copy(seen.st_mtime, seen.st_size, entry.path, day.name)


def _leftovers_below(root: str) -> Iterator[tuple[str, float]]:
    for name in ("edit", "part", "lock"):
        for entry in _entries(os.path.join(root, name)):
            with suppress(OSError):
                yield entry.path, entry.stat(follow_symlinks=False).st_mtime


def _remove(copy: _Copy) -> None:
    """Remove a local copy, and its folders where nothing else is in them."""
    box = os.path.dirname(copy.path)
    for remove, path in ((os.unlink, copy.path), (os.rmdir, box), (os.rmdir, os.path.dirname(box))):
        with suppress(OSError):  # another process sweeps too
            remove(path)


def _discard(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
    shutil.rmtree(path, ignore_errors=True)
