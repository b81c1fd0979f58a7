"""What a DirStore has on disk: blobs with the bytes, and records that name them.

A name that begins with a tilde is a record, one with a tilde further on is a blob, and one without
is a folder: no segment of a key keeps a tilde.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Protocol

from .disk import open_private
from .errors import AlreadyExists, Corrupt, Missing
from .paths import random_name
from .store import Entry, Kind

log = logging.getLogger("flask_s3handoff")

READ_BYTES = 1 << 20
MAX_NAME_BYTES = 200  # a name on disk has at most 255, and ours grows by a prefix and a suffix

_FIELDS = dict.fromkeys(("key", "content_type", "disposition", "sha256", "blob"), str) | {
    "size": int
}


@dataclass(frozen=True, kw_only=True)
class Record:
    """What is known of one object; kept as JSON."""

    key: str
    size: int
    content_type: str
    disposition: str
    sha256: str
    blob: str

    def entry(self, written: float) -> Entry:
        """Return what the protocol tells."""
        return Entry(
            key=self.key,
            size=self.size,
            last_modified=datetime.fromtimestamp(written, UTC),
            content_type=self.content_type,
            sha256=self.sha256,
            etag=self.blob,
        )


@dataclass(frozen=True)
class Spot:
    """Where one key lies on the disk."""

    key: str
    folder: str
    name: str

    @property
    def record_path(self) -> str:
        """The path of the record."""
        return os.path.join(self.folder, f"~{self.name}.json")

    def new_blob(self) -> str:
        """Return a name for new bytes."""
        return f"{random_name()}~{self.name}"

    def path_of(self, blob: str) -> str:
        """Return the path of a blob, which lies beside its record and nowhere else."""
        if "/" in blob:
            raise _corrupt(f"{self.record_path} names a blob elsewhere")
        return os.path.join(self.folder, blob)


def name_of(segment: str) -> str:
    """Return a name without a tilde and not too long; a long one is known by its digest.

    >>> name_of("50% ~ leo.jpg")
    '50%25 %7E leo.jpg'
    """
    name = segment.replace("%", "%25").replace("~", "%7E")
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    return "%x" + hashlib.sha256(segment.encode()).hexdigest()


def new_record(key: str, kind: Kind, size: int, sha256: str) -> Record:
    """Return a record that names no blob yet."""
    return Record(
        key=key,
        size=size,
        content_type=kind.content_type,
        disposition=kind.disposition,
        sha256=sha256,
        blob="",
    )


def read_record(spot: Spot) -> tuple[Record, float]:
    """Return a key's record, and when it was written."""
    try:
        record, written = load(spot.record_path)
    except FileNotFoundError as error:
        raise Missing(detail="NoSuchKey") from error
    if record.key != spot.key:
        raise _corrupt(f"{spot.record_path} is the record of another key")
    return record, written


def load(path: str) -> tuple[Record, float]:
    """Return the record in a file, and when it was written."""
    with open(path, "rb", opener=open_private) as file:
        try:
            said = json.load(file)
        except ValueError:
            said = None
        if not isinstance(said, dict) or {n: type(v) for n, v in said.items()} != _FIELDS:
            raise _corrupt(f"{path} is not a record of a DirStore")
        return Record(**said), os.fstat(file.fileno()).st_mtime


def _corrupt(what: str) -> Corrupt:
    """Return the error; which file it is, is for the operator and not for a page (T38)."""
    log.error("The store's folder is damaged: %s", what)
    return Corrupt()


def record_paths(folder: str) -> Iterator[str]:
    """Yield the records below a folder, one folder at a time."""
    try:
        found = sorted(os.scandir(folder), key=lambda item: item.name)
    except FileNotFoundError:
        return
    for item in found:
        if item.is_dir(follow_symlinks=False):
            yield from record_paths(item.path)
        elif item.name.startswith("~") and item.name.endswith(".json"):
            yield item.path


def publish(spot: Spot, record: Record, *, overwrite: bool) -> None:
    """Put a record in place in one step."""
    new = os.path.join(spot.folder, f"~{random_name()}.tmp")
    try:
        write(new, [json.dumps(asdict(record)).encode()])
        if overwrite:
            _replace(spot, new)
        else:
            os.link(new, spot.record_path)
    except FileExistsError as error:
        raise AlreadyExists from error
    finally:
        remove(new)


def _replace(spot: Spot, new: str) -> None:
    old = None
    with contextlib.suppress(Missing, Corrupt):
        record, _ = read_record(spot)
        old = spot.path_of(record.blob)
    os.replace(new, spot.record_path)
    if old:
        remove(old)


def write(path: str, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a new file to the disk itself, and return its size and sha256."""
    size, digest = 0, hashlib.sha256()
    with open(path, "xb", opener=open_private) as file:
        for chunk in chunks:
            size += file.write(chunk)
            digest.update(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


class Readable(Protocol):
    """Whatever can be read."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, nothing at the end."""


def chunks_of(body: Readable) -> Iterator[bytes]:
    """Yield a body by the mebibyte."""
    while chunk := body.read(READ_BYTES):
        yield chunk


def remove(path: str) -> None:
    """Remove a file that nobody names any more; one that cannot be removed is only litter."""
    with contextlib.suppress(OSError):
        os.unlink(path)
