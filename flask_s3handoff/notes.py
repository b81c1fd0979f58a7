"""What one request does with files, noted while it runs, and told as facts when it is over."""

from __future__ import annotations

import logging
import os
import secrets
import stat
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from .audit import Touch
from .facts import Fact

MAX_FACTS = 500  # of one request
MAX_KNOWN = 20_000  # paths that a process remembers
_SUFFIXES = (".py", ".pyc", ".so", ".log", ".pid", ".lock", "-journal", "-wal", "-shm")
_SYSTEM = ("/proc/", "/dev/", "/sys/", "/etc/", "/usr/lib/", "/usr/share/")


class Known:
    """What a process has learnt: what requests wrote and read, and where flows go on."""

    def __init__(self) -> None:
        self.began = time.time() - 1.0  # a file system's clock is coarser
        self.written: dict[str, None] = {}
        self.folders: dict[str, None] = {}
        self.upload_folders: dict[str, None] = {}
        self.read: dict[tuple[str, str], None] = {}
        self.targets: dict[tuple[str, str], None] = {}

    def is_news(self, path: str, seen: os.stat_result) -> bool:
        """Tell whether a file that is there may have come with a request, and not with the app."""
        return (
            path in self.written
            or os.path.dirname(path) in self.folders
            or seen.st_ctime >= self.began  # unlike its mtime, nobody can set it back
        )


def learn(things: dict[Any, None], thing: Any) -> bool:
    """Remember one thing, for a while; tell whether it was new."""
    if thing in things:
        return False
    if len(things) >= MAX_KNOWN:
        with suppress(StopIteration, KeyError, RuntimeError):  # another thread was here as well
            del things[next(iter(things))]
    things[thing] = None
    return True


class Notes:
    """One request. Nothing is said before its end: what it wrote and removed again is no fact."""

    __slots__ = (
        *("known", "server", "method", "path", "rule", "endpoint", "is_over", "has_upload"),
        *("_request", "_facts", "_written", "_ever_written", "_reads"),
    )

    def __init__(self, known: Known, server: str, method: str, path: str) -> None:
        self.known = known
        self.server = server
        self.method, self.path, self.rule, self.endpoint = method, path, "", ""
        self.is_over = self.has_upload = False
        self._request = ""
        self._facts: list[tuple[float, str, dict[str, Any]]] = []
        self._written: dict[str, tuple[float, bool]] = {}
        self._ever_written: set[str] = set()
        self._reads: dict[str, tuple[float, bool, str]] = {}

    def say(self, what: str, **more: Any) -> None:
        """Note a fact that is certain by now."""
        self._facts.append((time.time(), what, more))

    def touch(self, touch: Touch) -> None:
        """Note what is about to happen to a file."""
        if is_ignored(touch.path) and (not touch.target or is_ignored(touch.target)):
            return
        if len(self._reads) + len(self._written) + len(self._facts) >= MAX_FACTS:
            return
        if touch.verb in ("read", "stat"):
            self._look(touch)
        elif touch.verb in ("write", "link"):
            self._write(touch.target or touch.path, keeps=touch.keeps)
        elif touch.verb == "rename":
            self._remove(touch.path)
            self._write(touch.target)
        elif touch.verb == "remove":
            self._remove(touch.path)

    def _look(self, touch: Touch) -> None:
        path, by = touch.path, "open" if touch.verb == "read" else "stat"
        if path in self._ever_written:
            return
        seen = seen_at(path)
        if seen is not None and not (stat.S_ISREG(seen.st_mode) and self.known.is_news(path, seen)):
            return
        before = self._reads.get(path)
        if before is None or (before[1] and seen is None) or by == "open":
            self._reads[path] = (time.time(), seen is not None, by)

    def _write(self, path: str, *, keeps: bool = False) -> None:
        if keeps and path in _open_logs():
            return
        if path not in self._written:
            self._written[path] = (time.time(), seen_at(path) is None)
        self._ever_written.add(path)

    def _remove(self, path: str) -> None:
        is_own = self._written.pop(path, None) is not None and path not in self.known.written
        if not is_own and seen_at(path) is not None:
            self.say("remove", file=path)

    def end(self) -> Iterator[Fact]:
        """Yield what is still true now that the request is over; a body may stream later on."""
        self.is_over = True
        for path, (at, new) in self._written.items():
            if (seen := seen_at(path)) is not None and stat.S_ISREG(seen.st_mode):
                self._facts.append((at, "write", {"file": path, "new": new}))
                self._learn(path)
        for path, (at, there, by) in self._reads.items():
            if self._is_told(path, there):
                known = path in self.known.written
                more = {"file": path, "there": there, "by": by, "known": known}
                self._facts.append((at, "read", more))
        facts, self._facts, self._written, self._reads = self._facts, [], {}, {}
        return (self._fact(*said) for said in facts)

    def _is_told(self, path: str, there: bool) -> bool:
        """Leave out who looked for a free name or a folder, and what was told already."""
        if not there:
            return path not in self._ever_written and not os.path.isdir(path)
        return learn(self.known.read, (self.endpoint or self.path, path))

    def _learn(self, path: str) -> None:
        learn(self.known.written, path)
        learn(self.known.folders, os.path.dirname(path))
        if self.has_upload:
            learn(self.known.upload_folders, os.path.dirname(path))

    def _fact(self, at: float, what: str, more: dict[str, Any]) -> Fact:
        self._request = self._request or secrets.token_hex(4)
        return Fact(
            what=what,
            at=round(at, 4),
            server=self.server,
            pid=os.getpid(),
            request=self._request,
            method=self.method,
            path=self.path,
            rule=self.rule,
            endpoint=self.endpoint,
            more=more,
        )


def seen_at(path: str) -> os.stat_result | None:
    """Return what is at a path, or None."""
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def is_ignored(path: str) -> bool:
    """Tell of Python's own files, the system's, and what is written beside every app."""
    return path.startswith(_PREFIXES) or path.endswith(_SUFFIXES)


def _python_folders() -> set[str]:
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    folders = {os.path.realpath(sysconfig.get_path(name)) for name in names}
    folders |= {sysconfig.get_path(name) for name in names}
    return folders | ({sys.prefix} if sys.prefix != sys.base_prefix else set())


_PREFIXES = (*_SYSTEM, *(f"{folder}/" for folder in _python_folders()))


def _open_logs() -> set[str]:
    """Return the files of the app's log, which is written in every request."""
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    return {h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)}
