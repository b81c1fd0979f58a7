"""A body on its way, kept as it came: a small one in memory, a large one in a nameless file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO

from werkzeug.exceptions import ClientDisconnected

from .disk import disk
from .draft import Draft

MEMORY_BYTES = 256 * 1024
_CHUNK_BYTES = 64 * 1024


class Spool:
    """A stream that remembers every byte that is read from it.

    ``expected`` is its size in bytes, if known: what ends before is ``ClientDisconnected``.
    ``begin`` opens a draft, when the first 256 KiB are over. ``watchword`` is looked for in what
    passes: ``has_watchword`` tells whether it was there.
    """

    def __init__(
        self,
        source: IO[bytes],
        begin: Callable[[], Draft],
        *,
        expected: int | None,
        watchword: bytes,
    ) -> None:
        self.size = 0
        self.has_watchword = False
        self._source = source
        self._begin = begin
        self._expected = expected
        self._watchword = watchword
        self._tail = b""
        self._memory = bytearray()
        self._draft: Draft | None = None

    @property
    def fd(self) -> int | None:
        """The open file that has it all, or None while it is in memory."""
        return None if self._draft is None else self._draft.fd

    def slice(self, start: int, end: int) -> bytes:
        """Return these bytes, while it is in memory."""
        return bytes(self._memory[start:end])

    def read(self, size: int) -> bytes:
        """Return the next bytes, at most ``size``; nothing at the end."""
        data = self._source.read(size)
        if data:
            self._keep(data)
        elif self._expected is not None and self.size < self._expected:
            raise ClientDisconnected()
        return data

    def drain(self) -> None:
        """Read it to its end."""
        while self.read(_CHUNK_BYTES):
            pass

    def close(self) -> None:
        """Close the file, and it is gone."""
        if self._draft is not None:
            self._draft.close()

    def _keep(self, data: bytes) -> None:
        self._watch(data)
        self.size += len(data)
        if self._draft is None and self.size <= MEMORY_BYTES:
            self._memory += data
            return
        if self._draft is None:
            self._draft = self._begin()
            _write(self._draft.fd, self._memory)
            self._memory.clear()
        _write(self._draft.fd, data)

    def _watch(self, data: bytes) -> None:
        if not self.has_watchword:
            seen = self._tail + data
            self.has_watchword = self._watchword in seen
            self._tail = seen[1 - len(self._watchword) :]


def _write(fd: int, data: bytes | bytearray) -> None:
    """Append bytes without hashing them, as ``Draft.write`` would."""
    rest = memoryview(data)
    with disk():
        while rest:
            rest = rest[os.write(fd, rest) :]
