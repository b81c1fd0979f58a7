"""One at a time: among the threads of a process, and among the processes of a server.

Threads wait on a lock, which greenlets can too; processes on ``flock``, which the kernel releases
when a holder is killed. Nobody waits longer than they can.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO

from .disk import open_private
from .errors import Unavailable

_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02


class Turns:
    """Who goes first among the threads of this process, name by name."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._guard = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._waiting: Counter[str] = Counter()

    def of_this_process(self) -> Turns:
        """Return these, or new ones: a parent's locks are held by threads that a child has not."""
        return self if self._pid == os.getpid() else Turns()

    @contextmanager
    def take(self, name: str, *, until: float) -> Iterator[None]:
        """Wait for the name until a ``time.monotonic`` moment; after it, raise ``Unavailable``."""
        with self._guard:
            lock = self._locks.setdefault(name, threading.Lock())
            self._waiting[name] += 1
        try:
            if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
                raise Unavailable()
            try:
                yield
            finally:
                lock.release()
        finally:
            self._leave(name)

    def _leave(self, name: str) -> None:
        with self._guard:
            self._waiting[name] -= 1
            if not self._waiting[name]:
                del self._waiting[name], self._locks[name]


@contextmanager
def locked_file(path: str, *, until: float) -> Iterator[None]:
    """Hold a lock among processes for as long as the block lasts; leaves no file behind."""
    lock = _lock(path, until)
    try:
        yield
    finally:
        _unlock(lock)


def _lock(path: str, until: float) -> IO[bytes]:
    """Lock a file among processes: ``flock``, since ``lockf`` lets all threads of one through."""
    while True:
        lock = open(path, "ab", buffering=0, opener=open_private)  # noqa: SIM115 - see _unlock
        try:
            _wait_for(lock, until)
            if _is_at(lock, path):
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()  # its holder was done and removed it: queue at the new one


def _wait_for(lock: IO[bytes], until: float) -> None:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise Unavailable() from None
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        except OSError:  # no locks on this file system (F36): two fetches do no harm
            return None


def _is_at(lock: IO[bytes], path: str) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(lock.fileno()))
    except FileNotFoundError:
        return False


def _unlock(lock: IO[bytes]) -> None:
    with suppress(OSError):
        os.unlink(lock.name)
    with suppress(OSError):  # not only by closing: a child forked meanwhile has the descriptor too
        fcntl.flock(lock, fcntl.LOCK_UN)
    lock.close()
