"""Watching disks: a copy of an app that uses another copy's disk is stopped and told on.

By an audit hook, which a process keeps once it has it (PEP 578). It sees what is opened, listed,
renamed, linked or removed. ``stat`` raises no audit event, so a mere ``os.path.exists`` goes
unseen, and so does another program.
"""

from __future__ import annotations

import contextvars
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

DISK = "copy-"
# How many of an event's arguments are paths.
_PATHS = {
    "open": 1,
    "os.chmod": 1,
    "os.link": 2,
    "os.listdir": 1,
    "os.mkdir": 1,
    "os.remove": 1,
    "os.rename": 2,
    "os.rmdir": 1,
    "os.scandir": 1,
    "os.symlink": 2,
    "os.truncate": 1,
    "os.utime": 1,
    "sqlite3.connect": 1,
}


class ForeignDisk(AssertionError):
    """A copy of the app used another copy's disk: on real servers the file would not be there."""


@dataclass(frozen=True)
class Watched:
    """Whose doings are watched: its own disk, and the home of all disks."""

    disk: str
    home: str


_now: contextvars.ContextVar[Watched | None] = contextvars.ContextVar("watched", default=None)
_always: list[Watched] = []
_is_hooked = False


def disk_of(home: str, index: int) -> str:
    """Return the path of one copy's disk."""
    return os.path.join(home, f"{DISK}{index}")


@contextmanager
def watching(watched: Watched) -> Iterator[None]:
    """Watch what this thread does in the block; threads that it starts are not seen."""
    _hook()
    token = _now.set(watched)
    try:
        yield
    finally:
        _now.reset(token)


def watch_always(watched: Watched) -> None:
    """Watch everything that this process does from now on."""
    _always[:] = [watched]
    _hook()


def raise_foreign_use(home: str) -> None:
    """Raise ``ForeignDisk`` if there was any since the last call, also if the app hid it."""
    with suppress(FileNotFoundError):
        with open(_report_of(home), encoding="utf-8") as report:
            said = report.read()
        os.unlink(_report_of(home))
        raise ForeignDisk(said)


def _hook() -> None:
    global _is_hooked
    if _is_hooked:
        return
    _is_hooked = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (paths := _PATHS.get(event)) and (watched := _now.get() or next(iter(_always), None)):
            for path in arguments[:paths]:
                _judge(watched, path)

    sys.addaudithook(hook)


def _judge(watched: Watched, path: object) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return  # a descriptor: it was judged when it was opened
    try:
        name = os.path.realpath(os.fsdecode(path))
    except ValueError:  # a NUL byte: what was called says so itself
        return
    is_a_disk = name.startswith(os.path.join(watched.home, DISK))
    if is_a_disk and not (name + os.sep).startswith(watched.disk + os.sep):
        _report(watched, name)


def _report(watched: Watched, name: str) -> None:
    """Tell the fleet by a file, since the app may hide what is raised, and raise it."""
    message = f"The copy with the disk {watched.disk} used {name}, which is another copy's disk.\n"
    report = os.open(_report_of(watched.home), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(report, message.encode())
    finally:
        os.close(report)
    raise ForeignDisk(message)


def _report_of(home: str) -> str:
    return os.path.join(home, "foreign-disk.txt")
