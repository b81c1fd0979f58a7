"""Handoff: wires the rooms once per app, and keeps the permanent files, which need no request.

No framework here. ``S3Handoff`` (Flask) and every other face make one and ask it for exchanges.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, TypeVar

from .config import HandoffConfig, secret_keys
from .draft import Draft
from .errors import AlreadyExists, ConfigError
from .exchange import Exchange
from .mirror import Mirror
from .store import SLOWEST_BYTES_PER_SECOND, Entry, Kind, Store, kind_of
from .tokens import TokenSigner
from .visit import Rooms, Visit
from .workdir import WorkDir

if TYPE_CHECKING:
    from .folders import Folders
    from .moving import Moved, Progress

Notify = Callable[[str, dict[str, Any]], None]
Source = bytes | str | os.PathLike[str] | IO[bytes]
_COPY_BYTES = 64 * 1024
_PAGE = 1000  # what S3 lists at once: no more is asked for before it is needed

T = TypeVar("T")


@dataclass(frozen=True)
class StoredFile:
    """A permanent file as ``list`` finds it: ``size`` in bytes, ``last_modified`` aware, UTC."""

    key: str
    size: int
    last_modified: datetime
    _url: Callable[[str, int | None], str] = field(repr=False, compare=False)

    def url(self, *, expires: int | None = None) -> str:
        """Return the place's public URL, or one that works for ``expires`` seconds."""
        return self._url(self.key, expires)


class Handoff:
    """The rooms of one app, wired.

    >>> handoff = Handoff.from_mapping({"S3HANDOFF_STORE": "memory", "SECRET_KEY": "…" * 16})
    >>> handoff.config.prefix
    'handoff/'
    """

    def __init__(
        self,
        config: HandoffConfig,
        *,
        keys: Callable[[], Sequence[str | bytes]],
        notify: Notify = lambda _event, _facts: None,
    ) -> None:
        self.config = config
        self._made: dict[str, Store] = {}
        workdir = _make_workdir(config)
        mirror = Mirror(
            self.store,
            workdir,
            prefix=config.prefix,
            max_file_size_bytes=config.max_file_size_bytes,
        )
        self.rooms = Rooms(config, TokenSigner(keys), workdir, mirror, self.store, notify)
        self.folders = _make_folders(config, self.rooms)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Handoff:
        """Make a Handoff from ``S3HANDOFF_*`` settings and ``SECRET_KEY``, without Flask."""
        return cls(HandoffConfig.from_mapping(mapping), keys=lambda: secret_keys(mapping))

    def store(self) -> Store:
        """Return the store; it is made on first use, and contacted later still (rule 8)."""
        if "store" not in self._made:
            # Of two threads here at once one makes a store for nothing. A lock would be worse: who
            # is forked while another thread holds it waits for ever (rule 12).
            self._made.setdefault("store", _make_store(self.config))
        return self._made["store"]

    def exchange(self, visit: Visit) -> Exchange:
        """Begin the story of one request."""
        return Exchange(self.rooms, visit)

    def open(self, key: str) -> IO[bytes]:
        """Return a permanent file, whole and seekable, from one GET; close it after use.

        Raises ``Missing``, ``Unavailable`` or ``InvalidKey``.
        """
        self.config.place_of(key)
        return self._fetched(key)

    def put(
        self,
        source: Source,
        key: str,
        *,
        filename: str = "",
        content_type: str = "",
        overwrite: bool = False,
    ) -> str:
        """Store a permanent file under this key; the same bytes again are success."""
        self.config.place_of(key)
        kind = kind_of(filename or key.rpartition("/")[2], content_type)
        with self.rooms.workdir.begin() as draft:
            _pour(source, draft)
            try:
                self._ask(lambda: self._put(draft, key, kind, if_absent=not overwrite), draft.size)
            except AlreadyExists:
                if self.store().stat(key).sha256 != draft.sha256:
                    raise
        return key

    def _put(self, draft: Draft, key: str, kind: Kind, *, if_absent: bool) -> None:
        size, sha256 = draft.size, draft.sha256
        with _reader_of(draft) as body:
            self.store().put(key, body, size=size, sha256=sha256, kind=kind, if_absent=if_absent)

    def _ask(self, work: Callable[[], T], size: int = 0) -> T:
        """Have the store asked beside the caller, who waits as long as a request does (rule 10)."""
        allowance = self.config.deadline_seconds + size / SLOWEST_BYTES_PER_SECOND
        return self.rooms.mirror.do(work, until=time.monotonic() + allowance)

    def delete(self, key: str) -> None:
        """Delete a permanent file; one that is not there is deleted already."""
        self.config.place_of(key)
        self._ask(lambda: self.store().delete(key))

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """Yield the permanent files below a prefix: ``users/1/`` is not ``users/10/``."""
        self.config.place_of(prefix, is_prefix=True)
        return (
            StoredFile(entry.key, entry.size, entry.last_modified, self.url)
            for entry in self._entries(prefix)
        )

    def _entries(self, prefix: str) -> Iterator[Entry]:
        found = self.store().list(prefix)
        while page := self._ask(lambda: [*itertools.islice(found, _PAGE)]):
            yield from page

    def url(self, key: str, expires: int | None = None, *, script_root: str = "") -> str:
        """Return a permanent file's URL: the place's public one, or one for ``expires`` seconds."""
        place = self.config.place_of(key)
        seconds = expires or place.expires_seconds or self.config.url_expires_seconds
        return self.rooms.link(key, None, seconds, script_root)

    # Folders

    def track(self, path: str | os.PathLike[str]) -> None:
        """Mirror this file, or what is in this folder of a folder, with what the request wrote.

        For writers that Python does not see: other programs, libraries in C.
        """
        self._the_folders().track(path)

    def flush(self) -> None:
        """Mirror now what was written outside of any request: at the end of a script or a task.

        Raises ``Unavailable``; what failed is tried again while the process lives.
        """
        self._the_folders().errands.flush()

    def adopt(self, progress: Progress = lambda _done, _of: None) -> Moved:
        """Mirror every file that lies in the folders already: the way in.

        Nothing in the store is overwritten. It may be broken off and begun again.
        """
        from .moving import adopt  # see _make_store

        return adopt(self._the_folders(), progress)

    def pull(self, progress: Progress = lambda _done, _of: None) -> Moved:
        """Bring every file of the folders from the store to this disk: the way out."""
        from .moving import pull  # see _make_store

        return pull(self._the_folders(), progress)

    def _the_folders(self) -> Folders:
        if self.folders is None:
            raise ConfigError("No place in S3HANDOFF_PLACES has a 'path': there is no folder.")
        return self.folders

    def open_link(self, text: str) -> tuple[IO[bytes], Kind]:
        """Return the file that a link of our own route names, and how to send it.

        Raises ``Forged`` or ``Missing``.
        """
        key, content_type, disposition = self.rooms.signer.read_link(text)
        if content_type:
            return self._fetched(key), Kind(content_type, disposition)
        entry = self.store().stat(key)
        return self._fetched(key), kind_of(key.rpartition("/")[2], entry.content_type or "")

    def _fetched(self, key: str) -> IO[bytes]:
        with self.rooms.workdir.begin() as draft, self.store().open(key) as stored:
            while chunk := stored.read(_COPY_BYTES):
                draft.write(chunk)
            return _reader_of(draft)


def _make_store(config: HandoffConfig) -> Store:
    if not isinstance(config.store, str):
        store: Store = config.store
        return store
    # Each is imported by those that have it: together they take as long as all else of ours.
    if config.store == "s3":
        from .s3 import S3Store

        return S3Store.from_config(config)
    if config.store == "memory":
        from .memory import MemoryStore

        return MemoryStore()
    from .dirstore import DirStore

    return DirStore(config.store.removeprefix("dir:"))


def _make_folders(config: HandoffConfig, rooms: Rooms) -> Folders | None:
    """Watch the app's folders; without any, nothing is watched and nothing is wrapped."""
    if not config.folders or not config.is_active:
        return None
    from .folders import Folders  # see _make_store

    return Folders(config, mirror=rooms.mirror, store=rooms.store, workdir=rooms.workdir)


def _make_workdir(config: HandoffConfig) -> WorkDir:
    default = config.instance_path and os.path.join(config.instance_path, "s3handoff")
    return WorkDir(
        config.work_dir or default,
        fallback=None if config.work_dir else config.instance_path or os.getcwd(),
        max_bytes=config.work_dir_max_bytes,
        max_age_seconds=config.token_max_age_seconds,
    )


def _reader_of(draft: Draft) -> IO[bytes]:
    """Return the whole draft for reading; it lives on when the draft is closed."""
    reader = os.fdopen(os.dup(draft.fd), "rb")
    reader.seek(0)
    return reader


def _pour(source: Source, draft: Draft) -> None:
    if isinstance(source, bytes):
        draft.write(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as stream:
            shutil.copyfileobj(stream, draft, _COPY_BYTES)
    else:
        if source.seekable():
            source.seek(0)  # the view may have looked into it
        shutil.copyfileobj(source, draft, _COPY_BYTES)
