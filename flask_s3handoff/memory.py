"""MemoryStore: the store protocol over a dictionary, for tests and for trying things out.

It counts what it is asked and fails on request, so that tests can say what they mean.
"""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from .errors import AlreadyExists, ConfigError, Corrupt, Missing, Unavailable
from .paths import check_key, check_prefix, random_name
from .ranges import fill
from .store import LOCAL, Capabilities, Content, Entry, Kind, OpenedFile, Unchanged

VERBS = (
    "put", "begin", "part", "complete", "abort",
    "fetch", "open", "stat", "copy", "delete", "list", "url",
)  # fmt: skip


@dataclass(frozen=True)
class _Object:
    data: bytes
    kind: Kind
    sha256: str | None
    written: datetime = field(default_factory=lambda: datetime.now(UTC))
    etag: str = field(default_factory=random_name)

    def entry(self, key: str) -> Entry:
        return Entry(
            key=key,
            size=len(self.data),
            last_modified=self.written,
            content_type=self.kind.content_type,
            sha256=self.sha256,
            etag=self.etag,
        )


@dataclass
class _Fault:
    error: Exception
    verbs: frozenset[str]
    times: int | None


class MemoryStore:
    """A store that lives as long as this object, in this process.

    >>> store = MemoryStore()
    >>> store.fail_with(Unavailable(), verbs=["put"], times=2)
    >>> store.calls
    []
    """

    def __init__(self, *, capabilities: Capabilities = LOCAL) -> None:
        self.capabilities = capabilities
        self.calls: list[tuple[str, str]] = []
        self._objects: dict[str, _Object] = {}
        self._faults: list[_Fault] = []
        self._lock = threading.RLock()

    # For tests

    def fail_with(
        self, error: Exception, *, verbs: Iterable[str] = VERBS, times: int | None = None
    ) -> None:
        """Let the next ``times`` calls of these verbs raise, or all until ``recover``."""
        if unknown := set(verbs) - set(VERBS):
            raise ValueError(f"not verbs of a store: {sorted(unknown)}; they are {VERBS}")
        with self._lock:
            self._faults.append(_Fault(error, frozenset(verbs), times))

    def recover(self) -> None:
        """Forget all faults."""
        with self._lock:
            self._faults.clear()

    def keys(self) -> list[str]:
        """Return all keys, sorted; not counted as a call."""
        with self._lock:
            return sorted(self._objects)

    def bytes_of(self, key: str) -> bytes:
        """Return the bytes below a key; not counted as a call."""
        return self._objects[key].data

    def kind_of(self, key: str) -> Kind:
        """Return the kind with which a key was stored; not counted as a call."""
        return self._objects[key].kind

    # The protocol

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
        self._enter("put", key)
        body.seek(0)
        data = body.read(size)
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt(detail="BadDigest")
        item = _Object(data, kind, sha256)
        self._keep(key, item, overwrite=not if_absent)
        return item.etag

    def begin(self, key: str, *, kind: Kind) -> MemoryParts:
        """Start a multipart upload."""
        self._enter("begin", key)
        return MemoryParts(self, key, kind)

    def fetch(
        self, key: str, fd: int, *, size: int, progress: Callable[[int], None], until: float
    ) -> None:
        """Write the bytes into a file."""
        self._enter("fetch", key)
        data = self._at(key).data
        if len(data) != size:
            raise Corrupt("The store has another length than was signed.")
        fill(
            fd,
            size,
            lambda span: io.BytesIO(data[span.start : span.stop]),
            progress=progress,
            until=until,
        )

    def open(self, key: str, *, unless: str = "") -> OpenedFile:
        """Open the bytes for reading."""
        self._enter("open", key)
        found = self._at(key)
        if unless == found.etag:
            raise Unchanged
        return OpenedFile(found.entry(key), io.BytesIO(found.data))

    def stat(self, key: str) -> Entry:
        """Tell about the object."""
        self._enter("stat", key)
        return self._at(key).entry(key)

    def copy(self, source: str, key: str, *, kind: Kind, sha256: str, overwrite: bool) -> None:
        """Copy the object; the same bytes below the key already are success."""
        self._enter("copy", key)
        data = self._at(check_key(source)).data
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt("The store copied other bytes than were signed.")
        try:
            self._keep(key, _Object(data, kind, sha256), overwrite=overwrite)
        except AlreadyExists:
            if self._at(key).sha256 != sha256:
                raise

    def delete(self, key: str) -> None:
        """Delete the object, if it is there."""
        self._enter("delete", key)
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str) -> Iterator[Entry]:
        """Yield what lies below a prefix, in order of keys."""
        check_prefix(prefix)
        self._enter("list", prefix + "*")
        with self._lock:
            found = {k: o for k, o in sorted(self._objects.items()) if k.startswith(prefix)}
        for key, item in found.items():
            yield replace(item.entry(key), content_type=None, sha256=None)

    def url(self, key: str, *, expires_seconds: int, kind: Kind | None = None) -> str:  # noqa: ARG002
        """Refuse: what lies in memory has no address (``capabilities.presigned_urls``)."""
        self._enter("url", key)
        raise ConfigError(f"{key!r} lies in memory, which has no addresses of its own.")

    # Inside

    def _enter(self, verb: str, key: str) -> None:
        check_key(key)
        with self._lock:
            self.calls.append((verb, key))
            for fault in self._faults:
                if verb in fault.verbs and fault.times != 0:
                    fault.times = fault.times and fault.times - 1
                    raise fault.error

    def _at(self, key: str) -> _Object:
        with self._lock:
            if key not in self._objects:
                raise Missing(detail="NoSuchKey")
            return self._objects[key]

    def _keep(self, key: str, item: _Object, *, overwrite: bool) -> None:
        with self._lock:
            if key in self._objects and not overwrite:
                raise AlreadyExists
            self._objects[key] = item


class MemoryParts:
    """A multipart upload of a MemoryStore."""

    def __init__(self, store: MemoryStore, key: str, kind: Kind) -> None:
        self._store = store
        self._key = key
        self._kind = kind
        self._parts: dict[int, bytes] = {}
        self._ended = False

    def part(self, number: int, body: Content, size: int) -> None:
        """Keep one part."""
        self._store._enter("part", self._key)
        if self._ended:
            raise Unavailable(detail="NoSuchUpload")
        body.seek(0)
        self._parts[number] = body.read(size)

    def complete(self, *, size: int, sha256: str) -> None:
        """Make one object of the parts."""
        self._store._enter("complete", self._key)
        data = b"".join(self._parts[number] for number in sorted(self._parts))
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            raise Corrupt("The parts of this upload are not the whole file.")
        self._store._keep(self._key, _Object(data, self._kind, None), overwrite=True)
        self._ended = True

    def abort(self) -> None:
        """Forget the parts."""
        self._ended = True
        self._parts.clear()
        self._store.calls.append(("abort", self._key))
