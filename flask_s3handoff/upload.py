"""A large file on its way to the store while the rest of it still arrives.

The disk is the buffer: parts are windows of the draft, read with ``pread`` when they are sent, so
memory does not grow with the file. The parts of one upload take at most four threads of the pool:
a large file cannot keep the small ones waiting.
"""

from __future__ import annotations

import functools
import io
import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from .draft import Draft
from .errors import Unavailable
from .pool import Pool
from .store import Parts

PART_BYTES = 5 << 20  # S3 takes no smaller one but the last
TAIL_BYTES = 3 << 19  # what is left to be sent when the last byte has arrived: 1.5 MiB
MAX_PARTS = 10_000
STREAMS = 4


def part_size_of(expected: int | None, *, most: int | None = None) -> int:
    """Return the size of every part but the last, in bytes, for a file of about ``expected``.

    All are alike, since some endpoints refuse others, and such that a small one is left for the
    end, when somebody waits. Of unknown length, a file of at most ``most`` fits into all parts.
    """
    if expected is None:
        return max(PART_BYTES, -(-(most or 0) // MAX_PARTS))
    count = min((expected - TAIL_BYTES) // PART_BYTES, MAX_PARTS - 1)
    return PART_BYTES if count < 1 else -(-(expected - TAIL_BYTES) // count)


class Slice(io.RawIOBase):
    """A window of an open file with a position of its own; closing it leaves the file open."""

    def __init__(self, fd: int, start: int, size: int) -> None:
        super().__init__()
        self._fd = fd
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True: a PUT that failed is sent again from its start."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a position within the window."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Return at most ``size`` bytes, nothing at the end."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        data = os.pread(self._fd, wanted, self._start + self._at)
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # any writable buffer
        """Fill a buffer as far as the window reaches."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Part(NamedTuple):
    number: int
    start: int
    size: int


class _Whole(NamedTuple):
    size: int
    sha256: str


class Upload:
    """One multipart upload; it owns the draft once ``complete`` or ``abort`` was called.

    ``outcome`` is done when the store has acknowledged the whole, or when nothing is left of it.
    """

    def __init__(self, pool: Pool, begin: Callable[[], Parts], draft: Draft) -> None:
        self.outcome: Future[None] = Future()
        self.sent = 0
        self._pool = pool
        self._begin = begin
        self._draft = draft
        self._parts: Parts | None = None
        self._beginning = threading.Lock()
        self._lock = threading.Lock()
        self._queue: deque[_Part] = deque()
        self._count = 0
        self._running = 0
        self._failure: BaseException | None = None
        self._whole: _Whole | None = None
        self._is_decided = False
        self._is_concluded = False

    def send(self, size: int) -> None:
        """Send the next bytes of the draft as a part, soon."""
        with self._lock:
            self._count += 1
            if self._failure is None:
                self._queue.append(_Part(self._count, self.sent, size))
            self.sent += size
        self._go_on()

    def complete(self, *, size: int, sha256: str) -> None:
        """Make one object of the parts when all of them are there."""
        with self._lock:
            self._whole = _Whole(size, sha256)
            self._is_decided = True
        self._go_on()

    def abort(self) -> None:
        """Send nothing more and leave nothing in the store. Idempotent; never waits."""
        with self._lock:
            self._fail(Unavailable())
            self._is_decided = True
        self._go_on()

    def _fail(self, failure: BaseException) -> None:
        self._failure = self._failure or failure
        self._queue.clear()

    def _go_on(self) -> None:
        """Start what can be started now; where nothing can, because Python ends, give up."""
        parts, is_last = self._due()
        for part in parts:
            try:
                self._pool.submit(functools.partial(self._send_one, part))
            except Unavailable as failure:
                self._sent_one(failure)
        if is_last:
            try:
                self._pool.submit(self._conclude)
            except Unavailable:
                self._conclude()

    def _due(self) -> tuple[list[_Part], bool]:
        with self._lock:
            room = STREAMS - self._running
            parts = [self._queue.popleft() for _ in range(min(room, len(self._queue)))]
            self._running += len(parts)
            is_last = self._is_decided and not (self._running or self._is_concluded)
            self._is_concluded = self._is_concluded or is_last
        return parts, is_last

    def _send_one(self, part: _Part) -> None:
        failure = None
        try:
            body = Slice(self._draft.fd, part.start, part.size)
            self._begun().part(part.number, body, part.size)
        except BaseException as error:  # noqa: BLE001 - raised by `outcome`, for who waits for it
            failure = error
        self._sent_one(failure)

    def _sent_one(self, failure: BaseException | None) -> None:
        with self._lock:
            self._running -= 1
            if failure is not None:
                self._fail(failure)
        self._go_on()

    def _begun(self) -> Parts:
        """Begin the upload with its first part; the parts beside it wait for that."""
        with self._beginning:
            if self._failure is not None:
                raise self._failure
            if self._parts is None:
                try:
                    self._parts = self._begin()
                except BaseException as error:
                    self._failure = error
                    raise
            return self._parts

    def _conclude(self) -> None:
        failure = self._failure or self._completed()
        try:
            if failure is not None and self._parts is not None:
                self._parts.abort()
        finally:
            self._draft.close()
            if failure is None:
                self.outcome.set_result(None)
            else:
                self.outcome.set_exception(failure)

    def _completed(self) -> BaseException | None:
        whole = self._whole
        try:
            if whole is not None:
                self._begun().complete(size=whole.size, sha256=whole.sha256)
        except BaseException as error:  # noqa: BLE001 - as above
            return error
        return None
