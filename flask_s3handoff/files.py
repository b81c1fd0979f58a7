"""HandoffFile: a werkzeug FileStorage whose bytes may still be in the store.

Whatever an app or a library does with an upload works on it. It fetches when its bytes are first
used, and not before: truth, name, type and ``hasattr`` cost nothing.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import mimetypes
import os
from contextlib import suppress
from typing import IO, Any, Protocol

from werkzeug.datastructures import FileStorage, Headers

from .disk import Identity, despite_cleaners, disk
from .errors import HandoffError
from .paths import display_name
from .tokens import Claim

log = logging.getLogger("flask_s3handoff")

_STREAM_METHODS = frozenset(
    name
    for name in dir(io.BufferedReader)
    if not name.startswith("_") and callable(getattr(io.BufferedReader, name))
)


class Keeper(Protocol):
    """What a file asks of the request that carries it."""

    def local_copy(self, file: HandoffFile) -> str:
        """Return the path of the immutable local copy, fetched if need be."""

    def edit_copy(self, file: HandoffFile) -> str:
        """Return the path of a new private, writable copy."""

    def revise(self, file: HandoffFile, source: str | IO[bytes]) -> None:
        """Make a new revision of these bytes."""

    def url_of(self, file: HandoffFile, expires: int | None) -> str:
        """Return a URL of this revision."""

    def promote(self, file: HandoffFile, key: str, overwrite: bool) -> str:
        """Copy this revision to its permanent key."""

    def discard(self, file: HandoffFile) -> None:
        """Carry this file no further."""


class HandoffFile(FileStorage):
    """One file of this request: fresh, or uploaded in an earlier request to another server.

    A ``FileStorage`` in every respect, and in addition::

        file = request.files["avatar"]
        with Image.open(file.path) as image:          # a private, writable copy
            image.crop(box).save(file.path)           # the edit becomes a new revision
        file.promote(f"users/{user.id}/{uuid4()}.jpg")

    Raises ``HandoffError`` when its bytes are first used and cannot be had (410, 403, 503, …).
    """

    def __init__(
        self,
        claim: Claim,
        keeper: Keeper,
        *,
        headers: Headers | None = None,
        error: HandoffError | None = None,
    ) -> None:
        self._claim = claim
        self._keeper = keeper
        self._error = error
        self._stream: IO[bytes] | None = None
        self._edit_path: str | None = None
        self._edit_stat: Identity | None = None
        self._given_headers = headers
        self.name = claim.field
        self.filename = claim.filename

    @functools.cached_property
    def headers(self) -> Headers:  # type: ignore[override]  # it can be written
        """The headers of the part, as they came or as they were signed."""
        headers = Headers(self._given_headers or {"Content-Type": self._claim.content_type})
        headers["Content-Length"] = str(self._claim.size)
        return headers

    @property
    def field(self) -> str:
        """The name of the form field that the file came in."""
        return self._claim.field

    @property
    def size(self) -> int:
        """The size of this revision in bytes."""
        return self.claim.size

    @property
    def sha256(self) -> str:
        """The sha256 of this revision, 64 hex digits."""
        return self.claim.sha256

    @property
    def relpath(self) -> str:
        """The relative path of this revision."""
        return self.claim.relpath

    @property
    def claim(self) -> Claim:
        """The claim of the newest revision; a new name and an edit are settled first."""
        self.settle()
        return self._claim

    def _settle_name(self) -> None:
        """Take on the name that the app gave the file, and the type that goes with it."""
        name = display_name(self.filename or "") or self._claim.filename
        if name != self._claim.filename:
            kind = mimetypes.guess_type(name)[0] or self._claim.content_type
            self._claim = self._claim._replace(filename=name, content_type=kind)
            self.headers["Content-Type"] = kind

    @property
    def error(self) -> HandoffError | None:
        """What will be raised when the bytes are used, or ``None``."""
        return self._error

    @property
    def path(self) -> str:
        """A private copy on this server's disk, with the right suffix, for reading and editing.

        It lives as long as the request. What is written to it becomes a new revision.
        """
        if self._edit_path is None or not os.path.exists(self._edit_path):
            self._edit_path = self._keeper.edit_copy(self)
            self._edit_stat = Identity.of(os.stat(self._edit_path))
        return self._edit_path

    def url(self, *, expires: int | None = None) -> str:
        """Return a URL of this revision for ``expires`` seconds; an edit is settled first."""
        return self._keeper.url_of(self, expires)

    def replace(self, source: bytes | IO[bytes] | str | os.PathLike[str]) -> None:
        """Make a new revision of these bytes, of this file object or of the file at this path."""
        if isinstance(source, bytes | bytearray | memoryview):
            source = io.BytesIO(source)
        self._close_stream()
        self._keeper.revise(self, os.fspath(source) if isinstance(source, os.PathLike) else source)
        self._edit_path = self._edit_stat = None

    def promote(self, key: str, *, overwrite: bool = False) -> str:
        """Copy this revision to a permanent key, inside S3, and carry the file no further.

        The same revision to the same key again is success. Raises ``InvalidKey``,
        ``AlreadyExists`` or ``Unavailable``.
        """
        return self._keeper.promote(self, key, overwrite)

    def discard(self) -> None:
        """Give the file up: it is carried no further."""
        self._keeper.discard(self)

    def settle(self) -> None:
        """Take on a new name, and make a new revision of the edit copy if it was changed."""
        self._settle_name()
        path = self._edit_path
        if path is None or not self._was_edited(path):
            return
        self._edit_stat = Identity.of(os.stat(path))
        if self._edit_stat.size != self._claim.size or _sha256_of(path) != self._claim.sha256:
            self._keeper.revise(self, path)

    def _was_edited(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            if not os.path.islink(path):  # an archive, unpacked beside it, may bring one (T22)
                return Identity.of(os.stat(path)) != self._edit_stat
        log.warning("The edit copy of %s was moved away: its revision stays", self._claim.relpath)
        self._edit_path = None
        return False

    def drop_edit(self) -> None:
        """Stay the revision that it is. For the keeper only."""
        self._edit_path = self._edit_stat = None

    def became(self, claim: Claim) -> None:
        """Take on the claim of a new revision. For the keeper only."""
        self._claim = claim
        self.headers["Content-Length"] = str(claim.size)

    @property
    def stream(self) -> IO[bytes]:
        """The bytes, read-only; opened, and fetched if need be, when asked for."""
        if self._stream is None or self._stream.closed or self._was_replaced(self._stream):
            self._close_stream()
            with disk():  # EMFILE, say, is a 503 too (F16)
                self._stream = despite_cleaners(self._opened)
        return self._stream

    @stream.setter
    def stream(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def _opened(self) -> IO[bytes]:
        return open(self._readable_path(), "rb")

    def _readable_path(self) -> str:
        if self._edit_path is not None and os.path.exists(self._edit_path):
            return self._edit_path
        return self._keeper.local_copy(self)

    def _was_replaced(self, stream: IO[bytes]) -> bool:
        """Tell whether an edit put another file in the place of the one that is open."""
        if self._edit_path is None:
            return False
        try:
            here, there = os.fstat(stream.fileno()), os.stat(self._edit_path)
        except (OSError, ValueError, AttributeError):
            return False
        return (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino)

    def close(self) -> None:
        """Close the stream; the next use opens it again from the start."""
        self._close_stream()

    @property
    def is_open(self) -> bool:
        """Whether a stream is open. For the keeper only."""
        return self._stream is not None

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @property
    def closed(self) -> bool:
        """False: a closed stream is opened again when it is used."""
        return False

    def readable(self) -> bool:
        """Return True, without a fetch."""
        return True

    def seekable(self) -> bool:
        """Return True, without a fetch."""
        return True

    def writable(self) -> bool:
        """Return False: edit ``path``, or ``replace`` the bytes."""
        return False

    def __getattr__(self, name: str) -> Any:
        """Pass the methods of a binary file on to the stream, opened when one is called."""
        if name in _STREAM_METHODS:
            return functools.partial(self._on_stream, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _on_stream(self, method: str, *args: Any, **options: Any) -> Any:
        return getattr(self.stream, method)(*args, **options)


def _sha256_of(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
