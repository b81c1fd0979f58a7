"""DirStore: the store protocol over a folder, for development or a disk that servers share.

::

    <root>/users/1/~leo.jpg.json      the record of users/1/leo.jpg: its kind and its blob's name
    <root>/users/1/k3v9…~leo.jpg      the blob: its bytes, never written twice

The record *is* the object. It is linked into place where there must be none, and renamed into place
otherwise, so that a reader sees the old object or the new one and never half of either. Symbolic
links below the root are not followed.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Self

from .disk import open_private
from .errors import AlreadyExists, ConfigError, Corrupt, InvalidKey, Missing, Unavailable
from .paths import check_key, check_prefix
from .ranges import Span, fill
from .records import (
    Record,
    Spot,
    chunks_of,
    load,
    name_of,
    new_record,
    publish,
    read_record,
    record_paths,
    remove,
    write,
)
from .store import LOCAL, Content, Entry, Kind, OpenedFile, Unchanged

log = logging.getLogger("flask_s3handoff")

_ATTEMPTS = 3


class DirStore:
    """A store in a folder, which is made on first use with mode 0700.

    >>> DirStore("/srv/shared/handoff")
    DirStore('/srv/shared/handoff')
    """

    capabilities = LOCAL

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._root = os.path.abspath(path)

    def __repr__(self) -> str:
        return f"DirStore({self._root!r})"

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
        """Keep the bytes, if they are those that were announced."""
        body.seek(0)
        record = new_record(key, kind, size, sha256)
        return self._keep("put", record, chunks_of(body), overwrite=not if_absent)

    def begin(self, key: str, *, kind: Kind) -> DirParts:
        """Start a multipart upload, whose parts are blobs without a record."""
        with _disk("begin"):
            return DirParts(self, self._spot(key, make=True), kind)

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        """Write the bytes into a file."""
        with self.open(key) as opened, _disk("fetch"):
            if opened.entry.size != size:
                raise Corrupt("The store has another length than was signed.")
            blob = opened.file.fileno()
            fill(fd, size, lambda span: _Slice(blob, span), progress=progress, until=until)

    def open(self, key: str, *, unless: str = "") -> OpenedFile:
        """Open the bytes for reading; a reader keeps what it has opened."""
        spot = self._spot(key)
        with _disk("open"):
            for _ in range(_ATTEMPTS):
                record, written = read_record(spot)
                if unless == record.blob:
                    raise Unchanged
                # Between the two, another writer may have put a new record in place.
                with contextlib.suppress(FileNotFoundError):
                    path = spot.path_of(record.blob)
                    blob = open(path, "rb", opener=open_private)  # noqa: SIM115  # the caller closes it
                    return OpenedFile(record.entry(written), blob)
        raise Missing(detail="NoSuchKey")

    def stat(self, key: str) -> Entry:
        """Tell about the object."""
        with _disk("stat"):
            record, written = read_record(self._spot(key))
            return record.entry(written)

    def copy(self, source: str, key: str, *, kind: Kind, sha256: str, overwrite: bool) -> None:
        """Copy the object; the same bytes below the key already are success."""
        check_key(key)
        with self.open(source) as opened:
            record = new_record(key, kind, opened.entry.size, sha256)
            try:
                self._keep("copy", record, chunks_of(opened), overwrite=overwrite)
            except AlreadyExists:
                if self.stat(key).sha256 != sha256:
                    raise

    def delete(self, key: str) -> None:
        """Delete the object, if it is there."""
        spot = self._spot(key)
        with contextlib.suppress(Missing), _disk("delete"):
            record, _ = read_record(spot)
            os.unlink(spot.record_path)
            os.unlink(spot.path_of(record.blob))

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield what lies below a prefix, one folder at a time."""
        with _disk("list"):
            for path in record_paths(self._folder(check_prefix(prefix)[:-1].split("/"))):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    record, written = load(path)
                    yield replace(record.entry(written), content_type=None, sha256=None)

    def url(self, key: str, **_: object) -> str:
        """Refuse: what lies in a folder has no address (``capabilities.presigned_urls``)."""
        raise ConfigError(f"{key!r} lies in a folder, which has no addresses of its own.")

    def _keep(self, verb: str, record: Record, chunks: Iterable[bytes], *, overwrite: bool) -> str:
        """Write the blob, judge it, and let the record name it; nothing is left of what fails."""
        with _disk(verb):
            spot = self._spot(record.key, make=True)
            record = replace(record, blob=spot.new_blob())
            blob = spot.path_of(record.blob)
            try:
                _refuse_other_bytes(record, *write(blob, chunks))
                publish(spot, record, overwrite=overwrite)
            except BaseException:
                remove(blob)
                raise
            return record.blob

    def _spot(self, key: str, *, make: bool = False) -> Spot:
        *folders, name = check_key(key).split("/")
        folder = self._folder(folders)
        if make:
            os.makedirs(self._root, mode=0o700, exist_ok=True)
            os.makedirs(folder, exist_ok=True)
        return Spot(key, folder, name_of(name))

    def _folder(self, segments: Sequence[str]) -> str:
        """Return the folder of these segments, or refuse one behind a symbolic link."""
        folder = os.path.join(os.path.realpath(self._root), *map(name_of, segments))
        if os.path.realpath(folder) != folder:
            raise InvalidKey(f"{'/'.join(segments)!r} leads through a symbolic link.")
        return folder


class DirParts:
    """A multipart upload of a DirStore: each part waits in a file of its own."""

    def __init__(self, store: DirStore, spot: Spot, kind: Kind) -> None:
        self._store = store
        self._spot = spot
        self._kind = kind
        self._parts: dict[int, str] = {}
        self._ended = False

    def part(self, number: int, body: Content, size: int) -> None:
        """Keep one part; one that lands after the abort is dropped as well."""
        if self._ended:
            raise Unavailable(verb="part", detail="NoSuchUpload")
        path = self._spot.path_of(self._spot.new_blob())
        body.seek(0)
        with _disk("part"):
            written, _ = write(path, chunks_of(body))
        self._parts[number] = path
        if written != size or self._ended:
            self.abort()
            raise Corrupt("A part of this upload is not whole.")

    def complete(self, *, size: int, sha256: str) -> None:
        """Make one object of the parts."""
        paths = [self._parts[number] for number in sorted(self._parts)]
        record = new_record(self._spot.key, self._kind, size, sha256)
        self._store._keep("complete", record, _joined(paths), overwrite=True)
        self.abort()

    def abort(self) -> None:
        """Remove the parts."""
        self._ended = True
        for path in list(self._parts.values()):
            remove(path)
        self._parts.clear()


def _refuse_other_bytes(record: Record, size: int, sha256: str) -> None:
    if (size, sha256) != (record.size, record.sha256):
        raise Corrupt("These are not the bytes that were announced.", detail="BadDigest")


def _joined(paths: Iterable[str]) -> Iterator[bytes]:
    for path in paths:
        with open(path, "rb", opener=open_private) as file:
            yield from chunks_of(file)


class _Slice:
    """The bytes of one span of a file that others read at the same time."""

    def __init__(self, fd: int, span: Span) -> None:
        self._fd = fd
        self._at, self._stop = span.start, span.stop

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read1(self, size: int, /) -> bytes:
        data = os.pread(self._fd, min(size, self._stop - self._at), self._at)
        self._at += len(data)
        return data


@contextlib.contextmanager
def _disk(verb: str) -> Iterator[None]:
    """Turn what the disk says into one of our errors."""
    try:
        yield
    except OSError as error:
        log.warning("%s in the store's folder failed: %s", verb, error.strerror)
        raise Unavailable(verb=verb, detail=type(error).__name__, errno=error.errno) from error
