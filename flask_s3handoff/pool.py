"""Work beside the request: a few threads per process, made when first needed.

A pool that was used before a fork is dead in the child, silently (performance: ``submit`` never
runs), so each process has its own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TypeVar

from .errors import Unavailable

THREADS = 8

T = TypeVar("T")


class Pool:
    """The threads of this process; jobs start in the order in which they were submitted."""

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._by_pid: dict[int, ThreadPoolExecutor] = {}  # a parent's is kept, and never touched

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have the work done; raises ``Unavailable`` when the interpreter is going down."""
        try:
            return self._mine().submit(work)
        except RuntimeError as error:
            raise Unavailable() from error

    def _mine(self) -> ThreadPoolExecutor:
        pid = os.getpid()
        if pid not in self._by_pid:
            # Of two threads here at once one makes a pool for nothing: it has no threads yet.
            mine = ThreadPoolExecutor(self._threads, thread_name_prefix="s3handoff")
            self._by_pid.setdefault(pid, mine)
        return self._by_pid[pid]

    def close(self) -> None:
        """Wait until nothing is under way, and end the threads; ``submit`` makes new ones."""
        while mine := self._by_pid.pop(os.getpid(), None):
            mine.shutdown(wait=True)  # what ends now may have more to do, in a pool made anew


def result_of(future: Future[T], *, until: float) -> T:
    """Wait for a result until a ``time.monotonic`` moment; then give up and raise ``Unavailable``.

    Work that nobody has started by then is not started any more.
    """
    try:
        return future.result(timeout=max(0.0, until - time.monotonic()))
    except (CancelledError, OSError) as error:  # TimeoutError is an OSError
        future.cancel()
        raise Unavailable() from error
