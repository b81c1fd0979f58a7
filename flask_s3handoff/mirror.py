"""One pass over the bytes: into the local copy, the digest and the store.

::

    receive ─▶ Inflow.write ─▶ draft + sha256 ─▶ finish ─▶ local copy
                    │ from 5 MiB on                 │
                    └─▶ parts, beside the request   └─▶ one PUT, beside the request ─▶ Pending

What the store does happens in the pool; a request waits for it no longer than it says.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import IO, Literal, NamedTuple, TypeVar

from .draft import Draft
from .errors import Corrupt, InvalidKey, TooLarge
from .paths import is_relpath, new_relpath
from .pool import Pool, result_of
from .store import Kind, Parts, Store, kind_of
from .upload import Slice, Upload, part_size_of
from .workdir import WorkDir

log = logging.getLogger("flask_s3handoff")

_CHUNK_BYTES = 256 * 1024

T = TypeVar("T")


class Revision(NamedTuple):
    """One immutable state of a file: its relative path, size in bytes and sha256 in hex."""

    relpath: str
    size: int
    sha256: str


class Pending:
    """A revision on its way to the store."""

    def __init__(self, future: Future[None], *, give_up: Callable[[], object]) -> None:
        self._future = future
        self._give_up = give_up

    @property
    def done(self) -> bool:
        """Tell whether it is decided, well or not."""
        return self._future.done()

    def wait(self, until: float) -> None:
        """Return when the store has acknowledged the bytes; raise what it said otherwise.

        ``until`` is a ``time.monotonic`` moment: after it, ``Unavailable`` is raised, and the
        store is asked no more. Idempotent.
        """
        try:
            result_of(self._future, until=until)
        except BaseException:
            self._give_up()
            raise


class Inflow:
    """The sink of one file; ``finish`` it when the body is known to be whole, or ``abort`` it."""

    def __init__(self, mirror: Mirror, filename: str, content_type: str, part_size: int) -> None:
        self.filename = filename
        self.content_type = content_type
        self._mirror = mirror
        self._kind = kind_of(filename, content_type)
        self._relpath = new_relpath(filename)
        self._part_size = part_size
        self._draft = mirror.workdir.begin()
        self._upload: Upload | None = None
        self._is_over = False

    @property
    def size(self) -> int:
        """How many bytes were written."""
        return self._draft.size

    def write(self, data: bytes, /) -> int:
        """Take the next bytes; ``TooLarge`` beyond the limit, ``Unavailable`` on a full disk."""
        size = self._draft.size + len(data)
        self._mirror.check_size(size, self.filename)
        self._draft.write(data)
        while size - self._sent >= self._part_size:
            self._send(self._part_size)
        return len(data)

    def seek(self, _offset: int, _whence: int = 0, /) -> int:
        """Do nothing: werkzeug rewinds a part when it has ended."""
        return 0

    def finish(self) -> tuple[Revision, Pending, str]:
        """Publish the local copy; what is left of the file travels while the caller goes on."""
        try:
            path = self._draft.publish(self._relpath)
            revision = Revision(self._relpath, self.size, self._draft.sha256)
            pending = self._dispatch(revision)
        except BaseException:
            self.abort()
            raise
        self._is_over = True
        return revision, pending, path

    def abort(self) -> None:
        """Leave nothing behind, here or in the store; idempotent, and nothing after ``finish``."""
        if self._is_over:
            return
        self._is_over = True
        if self._upload is None:
            self._draft.close()
        else:
            self._upload.abort()

    @property
    def _sent(self) -> int:
        return 0 if self._upload is None else self._upload.sent

    def _send(self, size: int) -> None:
        self._mirror.workdir.check_room()
        if self._upload is None:
            self._upload = self._mirror.upload(self._relpath, self._draft, self._kind)
        self._upload.send(size)

    def _dispatch(self, revision: Revision) -> Pending:
        upload = self._upload
        if upload is None:
            return self._mirror.put(revision, self._draft, self._kind)
        if revision.size > upload.sent:
            upload.send(revision.size - upload.sent)
        upload.complete(size=revision.size, sha256=revision.sha256)
        return Pending(upload.outcome, give_up=upload.abort)


class Mirror:
    """The way between this server and the store, for one app.

    ``store`` may be a function: it is called when the store is first needed.
    """

    def __init__(
        self,
        store: Store | Callable[[], Store],
        workdir: WorkDir,
        *,
        prefix: str,
        max_file_size_bytes: int | None,
    ) -> None:
        self.workdir = workdir
        self._store = store
        self._prefix = prefix
        self._max_bytes = max_file_size_bytes
        self._pool = Pool()

    # From the app to the store

    def receive(
        self, filename: str, content_type: str, *, content_length: int | None = None
    ) -> Inflow:
        """Open the sink of one file. ``content_length`` is about what will come, in bytes."""
        size = part_size_of(content_length, most=self._max_bytes)
        return Inflow(self, filename, content_type, size)

    def revise(
        self, source: str | IO[bytes], *, filename: str, content_type: str
    ) -> tuple[Revision, Pending, str]:
        """Make a new revision of a file, from its start: of a path, or of an open binary file."""
        with _opened(source) as (stream, size):
            inflow = self.receive(filename, content_type, content_length=size)
            try:
                while data := stream.read(_CHUNK_BYTES):
                    inflow.write(data)
                return inflow.finish()
            finally:
                inflow.abort()

    def check_size(self, size: int, filename: str) -> None:
        """Raise ``TooLarge`` beyond ``S3HANDOFF_MAX_FILE_SIZE``."""
        if self._max_bytes is not None and size > self._max_bytes:
            raise TooLarge(
                f"The file is larger than {self._max_bytes:,} bytes.",
                filename=filename,
                max_bytes=self._max_bytes,
            )

    def upload(self, relpath: str, draft: Draft, kind: Kind) -> Upload:
        """Begin to send a large draft in parts. For ``Inflow`` only."""
        begin = functools.partial(self._begin, self.key_of(relpath), kind)
        upload = Upload(self._pool, begin, draft)
        upload.outcome.add_done_callback(functools.partial(_log_failure, relpath))
        return upload

    def _begin(self, key: str, kind: Kind) -> Parts:
        return self._the_store().begin(key, kind=kind)

    def put(self, revision: Revision, draft: Draft, kind: Kind) -> Pending:
        """Send a draft in one request, and close it then. For ``Inflow`` only."""
        future = self._pool.submit(lambda: self._put(revision, draft, kind))
        future.add_done_callback(lambda _: draft.close())  # for when nobody ever starts it
        future.add_done_callback(functools.partial(_log_failure, revision.relpath))
        return Pending(future, give_up=future.cancel)

    def _put(self, revision: Revision, draft: Draft, kind: Kind) -> None:
        with draft:
            self._the_store().put(
                self.key_of(revision.relpath),
                Slice(draft.fd, 0, revision.size),
                size=revision.size,
                sha256=revision.sha256,
                kind=kind,
            )

    # From the store to the app

    def rehydrate(
        self, revision: Revision, *, until: float
    ) -> tuple[str, Literal["local", "store"]]:
        """Return the path of the local copy, after one GET if this server has none.

        Raises ``Missing``, ``Corrupt`` or ``Unavailable``.
        """
        if path := self._find(revision):
            return path, "local"
        with self.workdir.flight(revision.relpath, until=until):
            if path := self._find(revision):
                return path, "local"
            future = self._pool.submit(lambda: self._fetch(revision, until))
            return result_of(future, until=until), "store"

    def _find(self, revision: Revision) -> str | None:
        return self.workdir.find(revision.relpath, size=revision.size, sha256=revision.sha256)

    def _fetch(self, revision: Revision, until: float) -> str:
        key, size = self.key_of(revision.relpath), revision.size
        with self.workdir.begin(size) as draft:
            self._the_store().fetch(key, draft.fd, size=size, progress=draft.absorb, until=until)
            if not draft.holds(size=size, sha256=revision.sha256):
                log.error("The store gave other bytes for %s than were signed", key)
                raise Corrupt()
            return draft.publish(revision.relpath)

    # Both

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have something done beside the request."""
        return self._pool.submit(work)

    def do(self, work: Callable[[], T], *, until: float) -> T:
        """Have something done beside the request, and wait for it until then."""
        return result_of(self.submit(work), until=until)

    def key_of(self, relpath: str) -> str:
        """Return the key of a revision; its relative path is judged though it was signed (B31)."""
        if not is_relpath(relpath):
            raise InvalidKey(f"{relpath!r:.100} is not a relative path of ours.")
        return self._prefix + relpath

    def close(self) -> None:
        """Wait for everything that is under way, and end the threads."""
        self._pool.close()

    def _the_store(self) -> Store:
        return self._store() if callable(self._store) else self._store


def _log_failure(relpath: str, future: Future[None]) -> None:
    """Tell the operator: where nothing is carried, nobody else asks (rule 1)."""
    error = None if future.cancelled() else future.exception()
    if error is not None or future.cancelled():
        log.warning("%s did not reach the store: %r", relpath, error or "too late")


@contextmanager
def _opened(source: str | IO[bytes]) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open a path, or rewind what is open: a picture just saved into it leaves it at its end."""
    if isinstance(source, str):
        with open(source, "rb", buffering=0) as stream:
            yield stream, os.fstat(stream.fileno()).st_size
        return
    size = None
    if source.seekable():
        size = source.seek(0, os.SEEK_END)
        source.seek(0)
    yield source, size
