"""A file that is not there yet: written and hashed in one pass, published in one step."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from .disk import disk, refused

_CHUNK_BYTES = 256 * 1024


class Draft:
    """An unpublished file: what is written is hashed in the same pass.

    Bytes come by ``write``, or by ``os.pwrite`` to ``fd`` and then ``absorb``, never by both::

        with workdir.begin() as draft:
            draft.write(b"...")
            path = draft.publish(relpath)
    """

    def __init__(self, fd: int, *, part: str | None, publish: Publish) -> None:
        self.size = 0
        self.part = part
        self._publish = publish
        self._file = open(fd, "r+b", buffering=0)  # noqa: SIM115 - closed by close()
        self._digest = hashlib.sha256()

    @property
    def fd(self) -> int:
        """The open file, for ``os.pread`` and ``os.pwrite``."""
        return self._file.fileno()

    @property
    def sha256(self) -> str:
        """The sha256 of the first ``size`` bytes, in hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> int:
        """Append bytes; raises ``Unavailable`` when the disk is full."""
        try:  # not `disk()`: this is the one line of ours that runs for every 64 KiB
            done = self._file.write(data)
            while done < len(data):
                done += self._file.write(memoryview(data)[done:])
        except OSError as error:
            raise refused(error) from error
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    def absorb(self, end: int) -> None:
        """Hash the bytes up to ``end``, which are in place by now."""
        with disk():
            while self.size < end:
                data = os.pread(self.fd, min(_CHUNK_BYTES, end - self.size), self.size)
                if not data:
                    return  # shorter than promised: `holds` will say so
                self._digest.update(data)
                self.size += len(data)

    def holds(self, *, size: int, sha256: str) -> bool:
        """Tell whether the file is exactly this, with not a byte after it."""
        self.absorb(size)
        with disk():
            return os.fstat(self.fd).st_size == self.size == size and self.sha256 == sha256

    def publish(self, relpath: str) -> str:
        """Make this the local copy of ``relpath``, in one step, and return its path."""
        return self._publish(self, relpath)

    def forget_part(self) -> None:
        """Remove the draft's own name, if it has one."""
        part, self.part = self.part, None
        if part is not None:
            with suppress(OSError):  # published by a rename, or swept
                os.unlink(part)

    def close(self) -> None:
        """Close the file; what was not published is gone. Idempotent."""
        self._file.close()
        self.forget_part()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()


Publish = Callable[[Draft, str], str]
