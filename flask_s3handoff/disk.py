"""The local disk: what it refuses is ``Unavailable``, and what is made on it is for us alone."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple, TypeVar

from .errors import Unavailable

log = logging.getLogger("flask_s3handoff")

FLOOR_BYTES = 64 << 20
FLOOR_PARTS = 20
_ATTEMPTS = 8

T = TypeVar("T")


class Identity(NamedTuple):
    """What changes when a file is written, truncated or replaced."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, s: os.stat_result) -> Identity:
        """Return the identity that a ``stat`` has seen."""
        return cls(s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


class disk:  # noqa: N801 - a class, since `@contextmanager` takes as long as what it is around
    """Say ``Unavailable`` for whatever the disk refuses (F15, F16)."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError):
            raise refused(error) from error


def refused(error: OSError) -> Unavailable:
    """Return what to raise; the operator reads in the log what the disk said."""
    name = errno.errorcode.get(error.errno or 0, "unknown")
    log.error("The work folder cannot be used: %s (%s)", name, error)
    return Unavailable(errno=error.errno, detail=name)


def shortage(folder: str, size: int) -> int:
    """Return how many bytes this disk lacks to take ``size`` more and still have its floor free.

    The floor is 64 MiB, or a twentieth of a smaller disk: who fills the work folder must not stop
    whatever else writes there (T19). Not positive: there is room.
    """
    seen = os.statvfs(folder)
    if not seen.f_blocks:  # a file system that does not know
        return 0
    floor = min(FLOOR_BYTES, seen.f_blocks * seen.f_frsize // FLOOR_PARTS)
    return floor + size - seen.f_bavail * seen.f_frsize


def despite_cleaners(work: Callable[[], T]) -> T:
    """Do it again when a folder vanishes under it (F35): every try makes what it needs."""
    for _ in range(_ATTEMPTS - 1):
        with suppress(FileNotFoundError):
            return work()
    return work()


def open_private(path: str, flags: int, mode: int = 0o600) -> int:
    """Open a file that nobody else can read, never through a link; an ``opener`` for ``open``."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
