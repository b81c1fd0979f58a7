"""One folder of an app and its prefix in the store: what lies here at a path, and what lies there.

Files have mutable names. Which bytes are right is decided file by file: what the store has newest
wins, unless a process of this server is writing the file. Nothing here knows about requests.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import mimetypes
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import FileIO

from .audit import unwatched
from .beneath import PART_PREFIX, Beneath
from .config import Place
from .disk import Identity, refused
from .errors import AlreadyExists, Corrupt, InvalidKey, Missing, Unavailable
from .flight import Turns
from .ledger import Ledger, Note, name_of
from .mirror import Mirror
from .paths import check_key
from .pool import result_of
from .store import SLOWEST_BYTES_PER_SECOND, Entry, Kind, Opened, Store, Unchanged, kind_of
from .upload import Slice

log = logging.getLogger("flask_s3handoff")

MAX_PUT_BYTES = 4 << 30  # S3 takes 5 GiB in one request
LARGE_PART_BYTES = 64 << 20
_CHUNK_BYTES = 256 * 1024
_ATTEMPTS = 3
_OF_THE_NAME = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG)


class _Overtaken(Exception):
    """What was asked for is not wanted any more."""


class _NotOurs(Exception):
    """What lies at a path cannot be read: gone again, no file, or not for us."""


class Folder:
    """A place with a ``path``, on this server."""

    def __init__(
        self, place: Place, *, mirror: Mirror, store: Callable[[], Store], ledger: Ledger
    ) -> None:
        self.place = place
        self.root = place.path or ""
        self.beneath = Beneath(self.root)
        self._mirror = mirror
        self._store = store
        self._ledger = ledger
        self._turns = Turns()

    def __repr__(self) -> str:
        return f"Folder({self.root!r} as {self.place.prefix!r})"

    # Names

    def relpath_of(self, path: str) -> str | None:
        """Return a path's name below the folder, or ``None`` for what cannot have a key."""
        relpath = path[len(self.root) :].strip("/")
        if not relpath or relpath.rpartition("/")[2].startswith(PART_PREFIX):
            return None
        try:
            self.key_of(relpath)
        except InvalidKey:
            return None
        return relpath

    def key_of(self, relpath: str) -> str:
        """Return the key of a file; ``InvalidKey`` if S3, a browser or we would misread it."""
        return check_key(self.place.prefix + relpath)

    def path_of(self, relpath: str) -> str:
        """Return where a file lies."""
        return os.path.join(self.root, relpath)

    # From the store

    def make_folder(self, relpath: str) -> None:
        """Make a folder, if the store has files below it."""
        if any(self.entries(relpath)):
            with unwatched():
                self.beneath.make_folder(relpath)

    def refresh(self, relpath: str, *, until: float) -> bool:
        """Let the file here be what the store has, and tell whether the store has it.

        One GET, conditional where a copy is here. ``until`` is a ``time.monotonic`` moment, to
        which the file's size at 1 MiB/s is added. Raises ``Unavailable`` or ``Corrupt``.
        """
        self._turns = self._turns.of_this_process()
        with self._turns.take(relpath, until=until):
            return self._refresh(relpath, until)

    def _refresh(self, relpath: str, until: float) -> bool:
        key, here = self.key_of(relpath), self.beneath.stat(relpath)
        note = self._ledger.read(key)
        if here is None and note.is_claimed:  # removed here, and not yet in the store
            return False
        if here is not None and (self.place.immutable or note.is_being_written):
            return True
        is_as_noted = here is not None and note.identity == Identity.of(here)
        try:
            opened = self._open(key, note.etag if is_as_noted else "", until)
        except Unchanged:
            return True
        except Missing:
            if is_as_noted and note.etag and self._ledger.read(key) == note:
                self._drop(relpath, "it was deleted on another server")
            return False
        with opened:
            self._take(relpath, here, note, opened, until)
        return True

    def _open(self, key: str, unless: str, until: float) -> Opened:
        future = self._mirror.submit(lambda: self._store().open(key, unless=unless))
        try:
            return result_of(future, until=until)
        except Unavailable:
            future.add_done_callback(_close_result)  # it may still arrive
            raise

    def _take(
        self, relpath: str, here: os.stat_result | None, note: Note, opened: Opened, until: float
    ) -> None:
        """Put what the store has in place, unless those bytes are here, or newer ones."""
        entry, key = opened.entry, self.key_of(relpath)
        if here is not None:
            if note.etag and note.etag == entry.etag:
                return  # changed here, by somebody whom we did not see, and nowhere else
            if entry.sha256 == self.beneath.sha256(relpath):
                if self._ledger.read(key) == note:
                    self._ledger.write(key, Note(Identity.of(here), entry.etag, entry.sha256 or ""))
                return
        digest = hashlib.sha256()
        chunks = _verified(opened, digest, until + entry.size / SLOWEST_BYTES_PER_SECOND)
        placed = None
        with suppress(_Overtaken), _disk():
            placed = self.beneath.place(
                relpath,
                self._unless_overtaken(chunks, key, note),
                modified_at=entry.last_modified.timestamp(),
                replaces=here is not None,
            )
        if placed is not None:
            self._ledger.write(key, Note(Identity.of(placed), entry.etag, digest.hexdigest()))
            log.info("rehydrated %s (%d bytes)", key, entry.size)

    def _unless_overtaken(self, chunks: Iterator[bytes], key: str, note: Note) -> Iterator[bytes]:
        """Yield them, and raise at their end if somebody wrote or removed the file meanwhile."""
        yield from chunks
        if self._ledger.read(key) != note:
            raise _Overtaken

    def _drop(self, relpath: str, why: str) -> None:
        log.info("removed the local copy of %s: %s", self.key_of(relpath), why)
        self.beneath.remove(relpath)
        self._ledger.forget(self.key_of(relpath))

    # To the store

    def begin_write(self, relpath: str) -> None:
        """Note that this process writes or removes it: no other one of this server replaces it."""
        key = self.key_of(relpath)
        self._ledger.write(key, replace(self._ledger.read(key), writer=name_of(os.getpid())))

    def end_write(self, relpath: str) -> None:
        """Note that nobody writes or removes it any more."""
        key = self.key_of(relpath)
        note = self._ledger.read(key)
        if note.writer:
            self._ledger.write(key, replace(note, writer=""))

    def put(self, relpath: str, *, if_absent: bool = False, yields: bool = True) -> None:
        """Mirror the file as it is now; one that is gone is none of ours.

        With ``if_absent`` it raises ``AlreadyExists`` where another server's file has the name; the
        file here ``yields`` to that one.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._put(relpath, if_absent):
                    return
            except _NotOurs as error:
                self._pass_over(relpath, error)
                return
            except AlreadyExists:
                if yields:
                    self._drop(relpath, "another server's file has its name")
                raise
            except Corrupt:  # it changed while it was sent
                if attempt == _ATTEMPTS:
                    raise
        log.warning("%s changes all the time: it was mirrored as it was", self.key_of(relpath))

    def _put(self, relpath: str, if_absent: bool) -> bool:
        """Send the file, and tell whether it stayed as it was while it was sent."""
        key = self.key_of(relpath)
        with self._opened(relpath) as file:
            seen = Identity.of(os.fstat(file.fileno()))
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            note = self._ledger.read(key)
            if note.etag and (note.identity, note.sha256) == (seen, sha256):
                self.end_write(relpath)
                return True
            etag = self._send(key, file.fileno(), seen.size, sha256, if_absent)
            self._ledger.write(key, Note(seen, etag, sha256))
            log.info("mirrored %s (%d bytes)", key, seen.size)
            return Identity.of(os.fstat(file.fileno())) == seen

    def _opened(self, relpath: str) -> FileIO:
        try:
            return FileIO(self.beneath.open(relpath))
        except (FileNotFoundError, PermissionError) as error:
            raise _NotOurs(error) from error

    def _send(self, key: str, fd: int, size: int, sha256: str, if_absent: bool) -> str:
        store, kind = self._store(), _kind_of_key(key)
        if size > MAX_PUT_BYTES:
            return self._send_parts(key, fd, size, sha256, kind)
        body = Slice(fd, 0, size)
        try:
            return store.put(key, body, size=size, sha256=sha256, kind=kind, if_absent=if_absent)
        except AlreadyExists:
            entry = store.stat(key)
            if entry.sha256 == sha256:
                return entry.etag
            name = key.removeprefix(self.place.prefix)
            raise AlreadyExists(f"Another file was named {name!r:.200} just now.") from None

    def _send_parts(self, key: str, fd: int, size: int, sha256: str, kind: Kind) -> str:
        parts = self._store().begin(key, kind=kind)
        try:
            for number, start in enumerate(range(0, size, LARGE_PART_BYTES), 1):
                length = min(LARGE_PART_BYTES, size - start)
                parts.part(number, Slice(fd, start, length), length)
            parts.complete(size=size, sha256=sha256)
        except BaseException:
            parts.abort()
            raise
        return self._store().stat(key).etag

    def _pass_over(self, relpath: str, error: _NotOurs) -> None:
        """Leave alone what is gone again, what is no file, and what lies behind a link (T22).

        What we may not read the app may not either; tried again and again, it would hold up the
        rest.
        """
        if isinstance(error.__cause__, PermissionError):
            log.warning("%s cannot be read: it is not mirrored", self.path_of(relpath))
        elif os.path.islink(self.path_of(relpath)):
            log.warning("%s is a symbolic link: it is not mirrored", self.path_of(relpath))
        self.end_write(relpath)

    def difference(self, relpath: str) -> str:
        """Tell whether a file was ``written`` or ``removed`` since it was noted, if not claimed."""
        note, here = self._ledger.read(self.key_of(relpath)), self.beneath.stat(relpath)
        if note.is_claimed or (here is not None and note.identity == Identity.of(here)):
            return ""
        if here is not None:
            return "written"
        return "removed" if note.etag else ""

    def noted_sha256(self, relpath: str) -> str:
        """Return the digest of what the store was last known to have, or nothing."""
        return self._ledger.read(self.key_of(relpath)).sha256

    def delete(self, relpath: str) -> None:
        """Delete in the store what was deleted here, unless it is here again."""
        if self.beneath.stat(relpath) is not None:
            self.end_write(relpath)
            return
        key = self.key_of(relpath)
        self._store().delete(key)
        self._ledger.forget(key)
        log.info("deleted %s", key)

    # All of it

    def holds(self, relpath: str, entry: Entry) -> bool:
        """Tell whether the file here is what the store has; a HEAD where we do not know."""
        key, here = self.key_of(relpath), self.beneath.stat(relpath)
        if here is None or here.st_size != entry.size:
            return False
        note = self._ledger.read(key)
        if note.etag and (note.etag, note.identity) == (entry.etag, Identity.of(here)):
            return True
        if (sha256 := self.beneath.sha256(relpath)) != self._store().stat(key).sha256:
            return False
        self._ledger.write(key, Note(Identity.of(here), entry.etag, sha256))
        return True

    def entries(self, relpath: str = "") -> Iterator[Entry]:
        """Yield what the store has, below a folder of this folder if need be."""
        return self._store().list(self.place.prefix + (f"{relpath}/" if relpath else ""))

    def keys_below(self, relpath: str = "") -> Iterator[str]:
        """Yield the relative paths of what the store has."""
        for entry in self.entries(relpath):
            if found := self.relpath_of(f"{self.root}/{entry.key[len(self.place.prefix) :]}"):
                yield found


@contextmanager
def _disk() -> Iterator[None]:
    """Say ``Unavailable`` for what the disk refuses (F15): `exists` takes an OSError for a no."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_NAME:
            raise
        raise refused(error) from error


def _close_result(future: Future[Opened]) -> None:
    if not future.cancelled() and future.exception() is None:
        future.result().close()


def _verified(opened: Opened, digest: hashlib._Hash, until: float) -> Iterator[bytes]:
    """Yield the bytes of an answer, and raise at their end if they are not what it said."""
    size = 0
    while chunk := opened.read(_CHUNK_BYTES):
        size += len(chunk)
        digest.update(chunk)
        if time.monotonic() > until:
            raise Unavailable(detail="deadline")
        yield chunk
    entry = opened.entry
    if size != entry.size or (entry.sha256 and digest.hexdigest() != entry.sha256):
        log.error("The store gave other bytes for %s than were stored", entry.key)
        raise Corrupt()


def _kind_of_key(key: str) -> Kind:
    name = key.rpartition("/")[2]
    return kind_of(name, mimetypes.guess_type(name)[0] or "")
