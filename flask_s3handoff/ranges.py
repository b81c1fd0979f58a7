"""Fill a local file from a store: one stream when it is small, eight at once when it is large.

One stream is bound by what one connection carries, eight take a third of the time (measured at
64 MiB and 40 ms). They land out of order; whoever hashes them is told in order how far it may go.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from .disk import refused
from .errors import Corrupt, Unavailable

SINGLE_GET_BYTES = 8 << 20
RANGE_BYTES = 8 << 20
STREAMS = 8
READ_BYTES = 256 << 10
ATTEMPTS = 3


class Reader(Protocol):
    """A body on its way. ``read1`` gives what has arrived, so that a drip cannot hold us (F4)."""

    def read1(self, size: int, /) -> bytes:
        """Wait for some bytes, at most ``size``; nothing at the end."""


class Span(NamedTuple):
    """The bytes ``[start, stop)``; ``whole`` if they are all there is."""

    start: int
    stop: int
    whole: bool


Get = Callable[[Span], AbstractContextManager[Reader]]


def fill(fd: int, size: int, get: Get, *, progress: Callable[[int], None], until: float) -> None:
    """Write the ``size`` bytes that ``get`` gives into ``fd``, and tell ``progress`` in order.

    ``get`` raises our own errors for what has no bytes; a body that is cut is taken up again.
    """
    landing = _Landing(fd, get, _spans(size), until)
    if len(landing.spans) == 1:
        landing.pour(0, progress)
    else:
        landing.pour_all(progress)


def _spans(size: int) -> list[Span]:
    if size <= SINGLE_GET_BYTES:
        return [Span(0, size, whole=True)]
    step = min(RANGE_BYTES, max(RANGE_BYTES // 4, -(-size // STREAMS)))
    return [Span(start, min(start + step, size), whole=False) for start in range(0, size, step)]


class _Cut(Exception):
    """The body ended before its length; no error yet, it is taken up where it was left."""


class _Landing:
    """One file while it arrives."""

    def __init__(self, fd: int, get: Get, spans: list[Span], until: float) -> None:
        self.spans = spans
        self._fd = fd
        self._get = get
        self._until = until
        self._landed = [span.start for span in spans]
        self._complete = 0  # so many spans, from the first on, are in place
        self._news = threading.Condition()
        self._failure: BaseException | None = None
        self._stopped = False

    def pour_all(self, progress: Callable[[int], None]) -> None:
        """Fetch all spans, a few at a time; the threads end with this call (rule 11)."""
        pool = ThreadPoolExecutor(STREAMS, thread_name_prefix="s3handoff-range")
        try:
            for n in range(len(self.spans)):
                pool.submit(self._pour_one, n)
            self._follow(progress)
        finally:
            self._stopped = True
            pool.shutdown(wait=True, cancel_futures=True)

    def _pour_one(self, n: int) -> None:
        try:
            self.pour(n, self._tell)
        except BaseException as failure:  # noqa: BLE001  # raised by the thread that waits for it
            self._failure = self._failure or failure
            self._tell(0)

    def _tell(self, _: int) -> None:
        with self._news:
            self._news.notify()

    def _follow(self, progress: Callable[[int], None]) -> None:
        """Tell in order what is in place, from this one thread, until all is."""
        told = 0
        while told < self.spans[-1].stop:
            told = self._wait_for_more_than(told)
            progress(told)

    def _wait_for_more_than(self, told: int) -> int:
        with self._news:
            self._news.wait_for(lambda: self._frontier() > told or self._failure, self._left())
        if self._failure:
            raise self._failure
        if (frontier := self._frontier()) == told:
            raise Unavailable(detail="deadline")
        return frontier

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def _frontier(self) -> int:
        """Return how many bytes are in place without a gap before them."""
        last = len(self.spans) - 1
        while (
            self._complete < last
            and self._landed[self._complete] == self.spans[self._complete].stop
        ):
            self._complete += 1
        return self._landed[self._complete]

    def pour(self, n: int, progress: Callable[[int], None], attempts: int = ATTEMPTS) -> None:
        """Fetch one span, going on where a cut connection left off (F3, B74)."""
        try:
            self._pour_rest(n, progress)
        except _Cut as cut:
            if attempts == 1:
                raise Unavailable(detail="cut") from cut
            self.pour(n, progress, attempts - 1)

    def _pour_rest(self, n: int, progress: Callable[[int], None]) -> None:
        start, stop, whole = self.spans[n]
        at = self._landed[n]
        with self._get(Span(at, stop, whole=whole and at == start)) as reader:
            while data := self._read(reader, stop - at):
                if at + len(data) > stop:
                    raise Corrupt("The store gave more bytes than were signed.")
                _write_at(self._fd, data, at)
                at += len(data)
                self._landed[n] = at
                progress(at)
        if at < stop:
            raise _Cut

    def _read(self, reader: Reader, left: int) -> bytes:
        if self._stopped or time.monotonic() >= self._until:
            raise Unavailable(detail="deadline")
        try:
            # One byte more than is left tells an answer that is too long from one that fits.
            return reader.read1(min(READ_BYTES, left + 1))
        except Exception as error:  # whatever a transport raises, the span is taken up again
            if left == 0:
                return b""
            raise _Cut from error


def _write_at(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        try:
            written = os.pwrite(fd, view, at)
        except OSError as error:
            raise refused(error) from error
        view, at = view[written:], at + written
