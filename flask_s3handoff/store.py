"""What a store is: eight verbs, one contract, and what an endpoint may honestly lack.

::

    store.py       this page: the protocol and its values      (imports only the ground)
     ├─ dirstore.py   a folder: development, or a shared disk
     ├─ memory.py     a dictionary: tests
     └─ s3.py         S3 and what speaks S3, over s3client.py  (the only import of boto3)

Every store passes ``testing.check_store``. Nobody above this floor learns botocore: a verb ends
well, or with ``Missing``, ``AlreadyExists``, ``Corrupt``, ``Unavailable``, ``InvalidKey`` or
``ConfigError``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Protocol, Self
from urllib.parse import quote

from .errors import HandoffError
from .paths import MAX_SUFFIX_LENGTH, display_name, suffix_of

OCTET_STREAM = "application/octet-stream"
# S3 refuses more than 2 KB of headers that it stores, and 255 letters of Chinese take 2,295.
MAX_ENCODED_NAME_LENGTH = 900
SLOWEST_BYTES_PER_SECOND = 1 << 20  # what a file adds to a deadline (rule 10)


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What an endpoint does; what it lacks is declared here and never assumed."""

    conditional_put: bool = True
    """A PUT with ``If-None-Match: *`` has one winner; else we look first, and a race is left."""
    conditional_copy: bool = True
    """The same for a COPY."""
    checksums: bool = True
    """A PUT whose bytes do not have the sha256 that it names is refused."""
    acls: bool = True
    """An ACL that a place names is obeyed or refused, not silently dropped."""
    presigned_urls: bool = True
    """``url()`` is enough for a browser, and one that was changed or has expired is refused."""


# What was seen when ``check_store`` and tests/real/ ran (docs/decisions/0011-capabilities.md).
AWS = Capabilities()
UNKNOWN_ENDPOINT = Capabilities(conditional_copy=False)
SEAWEEDFS = Capabilities(acls=False)
CEPH_RGW = Capabilities(conditional_copy=False, checksums=False)
LOCAL = Capabilities(acls=False, presigned_urls=False)
MOTO = Capabilities(conditional_copy=False, checksums=False, presigned_urls=False)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the store tells about one object; a listing knows no type and no digest."""

    key: str
    size: int
    last_modified: datetime
    content_type: str | None = None
    sha256: str | None = None
    etag: str = ""
    """What changes with the object, to be given back as ``unless``; empty where nobody tells."""


class Unchanged(HandoffError):
    """The object still is what ``unless`` said. It never leaves the package."""

    reason = "unchanged"


@dataclass(frozen=True)
class Kind:
    """The content type and disposition with which an object is stored and served."""

    content_type: str
    disposition: str


class Content(Protocol):
    """Bytes that can be read again from their start, because a PUT may be tried again."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, nothing at the end."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a position; 0 is the first byte to be stored."""


class Opened(Protocol):
    """A permanent file while it is being read; a context manager."""

    @property
    def entry(self) -> Entry:
        """What the answer itself said about the object."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, nothing at the end. A cut answer is ``Unavailable``."""

    def close(self) -> None:
        """Let go of the connection; idempotent."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class OpenedFile:
    """``Opened`` over a local file."""

    def __init__(self, entry: Entry, file: BinaryIO) -> None:
        self.entry = entry
        self.file = file
        self.read = file.read
        self.close = file.close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Parts(Protocol):
    """A multipart upload in progress. Threads may send parts at the same time."""

    def part(self, number: int, body: Content, size: int) -> None:
        """Send one part; numbers start at 1, and all but the last are at least 5 MiB."""

    def complete(self, *, size: int, sha256: str) -> None:
        """Make one object of the parts; ``Corrupt`` if they are not ``size`` bytes together."""

    def abort(self) -> None:
        """Drop all parts. Idempotent, also beside a part on its way; never raises."""


class Store(Protocol):
    """Where files wait for the next server.

    Keys are whole keys, as ``paths.check_key`` takes them. Verbs may be called from any thread
    and, after a fork, from any process.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this endpoint does."""

    def put(
        self,
        key: str,
        body: Content,
        *,
        size: int,
        sha256: str,
        kind: Kind,
        if_absent: bool = False,
    ) -> str:
        """Store ``size`` bytes in one request, and return their ``Entry.etag``.

        With ``if_absent`` it may be ``AlreadyExists``.
        """

    def begin(self, key: str, *, kind: Kind) -> Parts:
        """Start a multipart upload, whose object may have no ``sha256`` in its entry."""

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        """Write the object's ``size`` bytes into the file ``fd``.

        ``progress(n)`` is called by this thread, in order, when the first ``n`` bytes are in place,
        so that they can be hashed while the rest is on its way. ``until`` is on the clock of
        ``time.monotonic``. Another length is ``Corrupt``.
        """

    def open(self, key: str, *, unless: str = "") -> Opened:
        """Open the object for reading, by one request.

        Raises ``Unchanged`` while it has the etag ``unless``.
        """

    def stat(self, key: str) -> Entry:
        """Tell about the object, or raise ``Missing``."""

    def copy(self, source: str, key: str, *, kind: Kind, sha256: str, overwrite: bool) -> None:
        """Copy an object inside the store, with a new kind and digest.

        Where the key is taken it is ``AlreadyExists``, unless ``overwrite``, and success if what is
        there has this sha256 already (a double submit).
        """

    def delete(self, key: str) -> None:
        """Delete the object; one that is not there is deleted already."""

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield what lies below a prefix, which ends with a slash, page by page as it is needed."""

    def url(self, key: str, *, expires_seconds: int, kind: Kind | None = None) -> str:
        """Return an address of the object, served as ``kind``, or as it was stored."""


# Rendered by browsers as pictures and nothing else: no scripts, no plug-ins (threat T25).
_RASTER_TYPES = ("image/avif", "image/bmp", "image/gif", "image/jpeg", "image/png", "image/webp")
_RASTER_SUFFIXES = (
    ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp", "",
)  # fmt: skip
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9 _.()+-]*")


def kind_of(filename: str, content_type: str) -> Kind:
    """Return the kind to store: pictures inline, all else as an attachment of no type (B56, B57).

    >>> kind_of("leo.png", "IMAGE/PNG ; q=1")
    Kind(content_type='image/png', disposition='inline; filename="leo.png"')
    >>> kind_of("x.svg", "image/svg+xml").content_type
    'application/octet-stream'
    """
    name = _base_name(filename)
    said = content_type.partition(";")[0].strip(" \t").lower()
    if said in _RASTER_TYPES and suffix_of(name).lower() in _RASTER_SUFFIXES:
        return Kind(said, f"inline; {_name_parameters(name)}")
    return Kind(OCTET_STREAM, f"attachment; {_name_parameters(name)}")


def _base_name(filename: str) -> str:
    """Return the last segment: a download that names a folder is refused or mended by browsers."""
    return re.split(r"[/\\]", display_name(filename))[-1].strip() or "file"


def _name_parameters(name: str) -> str:
    """Write the name by RFC 6266: plain, or with an ASCII fallback and by RFC 8187 (B54, B55)."""
    if _PLAIN_NAME.fullmatch(name):
        return f'filename="{name}"'
    return f"filename=\"{_ascii_name(name)}\"; filename*=UTF-8''{quote(_shortened(name), safe='')}"


def _ascii_name(name: str) -> str:
    """Return a fallback without quotes, backslashes and percent signs, which clients read apart."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9 _.()+-]+", "_", plain).strip(" ") or "file"


def _shortened(name: str) -> str:
    """Cut letters off the stem until the encoded name fits into the headers that S3 keeps."""
    suffix = suffix_of(name) if len(suffix_of(name)) <= MAX_SUFFIX_LENGTH + 1 else ""
    stem = name.removesuffix(suffix)
    while stem and len(quote(stem + suffix, safe="")) > MAX_ENCODED_NAME_LENGTH:
        stem = stem[:-1]
    return stem + suffix
