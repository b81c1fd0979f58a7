"""Local copies: published in one step, verified when found, fetched once, evicted when old.

::

    <work folder>/               0700, ours
     ├─ 20261123/k3v9…/leo.jpg   local copies at their relative paths: 0400, never written twice
     ├─ edit/41-k3v9…/leo.jpg    edit copies: one request's own
     ├─ lock/k3v9…               held while one fetches and others wait
     └─ part/k3v9…               drafts, where the file system has no O_TMPFILE

Nothing here is precious: what is missing, torn or damaged is fetched again. So nothing is fsynced,
and a cleaner may remove whatever it likes at any time (F35).
"""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from typing import IO

from .disk import Identity, despite_cleaners, disk, open_private, refused, shortage
from .draft import Draft
from .errors import InvalidKey
from .flight import Turns, locked_file
from .paths import clean_name, is_relpath, random_name
from .root import Root
from .sweep import sweep

log = logging.getLogger("flask_s3handoff")

FLIGHT_SECONDS = 20.0
SWEEP_SECONDS = 60
_CHUNK_BYTES = 256 * 1024
_MEMO_LENGTH = 4096
_ATTEMPTS = 8
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_DAMAGED = (errno.EIO, errno.ELOOP, errno.EISDIR)
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class WorkDir:
    """The folder of one app on one server, shared by its processes.

    ``path`` is made on first use. It must be a folder of our own that nobody else can write, or
    ``ConfigError`` is raised. Where nothing can be written, and without a ``path``, a private
    folder for temporary files takes its place, named after ``fallback``: the app's instance path.
    """

    def __init__(
        self,
        path: str | None,
        *,
        fallback: str | None = None,
        max_bytes: int,
        max_age_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._root = Root(path, fallback=fallback)
        self._max_bytes = max_bytes
        self._max_age_seconds = max_age_seconds
        self._now = now
        self._has_tmpfile = hasattr(os, "O_TMPFILE")
        self._known: dict[str, tuple[Identity, str]] = {}
        self._turns = Turns()
        self._swept_at = -math.inf
        self._unswept_bytes = 0

    def look(self) -> tuple[str, str | None]:
        """Return the folder and what is wrong with it, and make nothing."""
        return self._root.look()

    # Drafts and local copies

    def begin(self, size: int = 0) -> Draft:
        """Open a draft for at least ``size`` bytes; close it, published or not."""
        self.check_room(size)
        with disk():
            return despite_cleaners(self._begin)

    def check_room(self, size: int = 0) -> None:
        """Raise ``Unavailable`` when ``size`` bytes more would leave the disk too little (T19).

        Local copies go first: they can be fetched again.
        """
        with disk():
            if (short := despite_cleaners(lambda: self._shortage(size))) > 0:
                self.evict(short_bytes=short)
            if short > 0 and despite_cleaners(lambda: self._shortage(size)) > 0:
                raise OSError(errno.ENOSPC, "too little free space is left", self._root.path())

    def _shortage(self, size: int) -> int:
        return shortage(self._root.path(), size)

    def _begin(self) -> Draft:
        if (fd := self._open_nameless()) is not None:
            return Draft(fd, part=None, publish=self.publish)
        part = os.path.join(self.folder("part"), f"{random_name()}.part")
        fd = open_private(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o400)
        return Draft(fd, part=part, publish=self.publish)

    def _open_nameless(self) -> int | None:
        """Open a file that is gone by itself if we are killed, where that can be had."""
        if self._has_tmpfile and os.path.exists("/proc/self/fd"):
            try:
                return open_private(self._root.path(), os.O_TMPFILE | os.O_RDWR, 0o400)
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
        self._has_tmpfile = False
        return None

    def publish(self, draft: Draft, relpath: str) -> str:
        """Make a draft the local copy of ``relpath``, in one step, and return its path."""
        path = self._path(relpath)
        with disk():
            despite_cleaners(lambda: self._link(draft, relpath, path))
        self._unswept_bytes += draft.size
        if self._is_sweep_due():
            self.evict()
        return path

    def _link(self, draft: Draft, relpath: str, path: str) -> None:
        for _ in range(_ATTEMPTS):
            self._root.path()
            _make_folders(path)
            try:
                _link_file(draft, path)
            except FileExistsError:  # another thread or process was first: the same bytes
                if self.find(relpath, size=draft.size, sha256=draft.sha256):
                    return
            else:
                self._remember(relpath, os.fstat(draft.fd), draft.sha256)
                return
        raise FileExistsError(errno.EEXIST, "a damaged file cannot be removed", path)

    def find(self, relpath: str, *, size: int, sha256: str) -> str | None:
        """Return the path of the local copy if its bytes are these; a damaged one is removed.

        The bytes are hashed when this process first sees them; then a ``stat`` is enough.
        """
        path = self._path(relpath)
        with disk():
            try:
                if self._is_known(relpath, path, size, sha256):
                    return path
                if self._is_intact(relpath, path, size, sha256):
                    return path
            except OSError as error:
                if error.errno in _GONE:
                    return None
                if error.errno not in _DAMAGED:
                    raise
        log.warning("The local copy %s is damaged: it is fetched again", relpath)
        with suppress(OSError):
            os.unlink(path)
        return None

    def _is_known(self, relpath: str, path: str, size: int, sha256: str) -> bool:
        known = (Identity.of(os.lstat(path)), sha256)
        return known[0].size == size and self._known.get(relpath) == known

    def _is_intact(self, relpath: str, path: str, size: int, sha256: str) -> bool:
        with open(path, "rb", buffering=0, opener=open_private) as copy:
            seen = os.fstat(copy.fileno())
            if not stat.S_ISREG(seen.st_mode) or seen.st_size != size:
                return False
            if hashlib.file_digest(copy, "sha256").hexdigest() != sha256:
                return False
        self._remember(relpath, seen, sha256)
        return True

    def _remember(self, relpath: str, seen: os.stat_result, sha256: str) -> None:
        if len(self._known) >= _MEMO_LENGTH:
            self._known.clear()  # costs one hash per file; no lock, no order to keep
        self._known[relpath] = (Identity.of(seen), sha256)

    # Edit copies

    def edit_copy(self, source: str, name: str) -> str:
        """Return the path of a private, writable copy with this name.

        Raises ``FileNotFoundError`` when the local copy is gone: rehydrate it again.
        """
        with _open_copy(source) as original, disk():
            return despite_cleaners(lambda: self._copy(original, clean_name(name)))

    def _copy(self, original: IO[bytes], name: str) -> str:
        folder = os.path.join(self.folder("edit"), f"{os.getpid()}-{random_name()}")
        os.mkdir(folder, 0o700)
        path = os.path.join(folder, name)
        try:
            original.seek(0)
            with open(path, "xb", opener=open_private) as copy:
                shutil.copyfileobj(original, copy, _CHUNK_BYTES)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return path

    def drop_edit_copy(self, path: str) -> None:
        """Remove an edit copy and what else was written beside it."""
        folder = os.path.dirname(path)
        if os.path.dirname(folder) != os.path.join(self._root.path(), "edit"):
            raise ValueError(f"{path!r} is no edit copy")
        shutil.rmtree(folder, ignore_errors=True)

    # One at a time

    @contextmanager
    def flight(self, relpath: str, *, until: float | None = None) -> Iterator[None]:
        """Let one thread of one process through for each file; the others wait, then find it.

        ``until`` is a ``time.monotonic`` moment; after it, ``Unavailable`` is raised.
        """
        self._path(relpath)
        moment = time.monotonic() + FLIGHT_SECONDS if until is None else until
        self._turns = self._turns.of_this_process()
        with self._turns.take(relpath, until=moment), ExitStack() as turn:
            with disk():
                despite_cleaners(lambda: turn.enter_context(self._lock(relpath, moment)))
            yield

    def _lock(self, relpath: str, until: float) -> AbstractContextManager[None]:
        return locked_file(os.path.join(self.folder("lock"), relpath.split("/")[1]), until=until)

    # Eviction

    def evict(self, *, short_bytes: int = 0) -> None:
        """Remove what outlived its claim, the oldest beyond ``max_bytes``, and what a kill left.

        ``short_bytes`` more go where the disk lacks them.
        """
        now = self._swept_at = self._now()
        self._unswept_bytes = 0
        with disk():
            root = self._root.path()
        sweep(
            root,
            max_bytes=self._max_bytes,
            short_bytes=short_bytes,
            max_age_seconds=self._max_age_seconds,
            now=now,
        )

    def _is_sweep_due(self) -> bool:
        """Sweep once a minute, sooner when much was written: the limit is for the disk's sake."""
        rested = 0 <= self._now() - self._swept_at < SWEEP_SECONDS
        return not rested or self._unswept_bytes > self._max_bytes / 8

    # The folder itself

    def _path(self, relpath: str) -> str:
        """Return where this relative path lies; it is judged here though it was signed (B31)."""
        if not is_relpath(relpath):
            raise InvalidKey(f"{relpath!r:.100} is not a relative path of ours.")
        with disk():
            return os.path.join(self._root.path(), relpath)

    def folder(self, name: str) -> str:
        """Return a folder of ours in the work folder, made if need be."""
        folder = os.path.join(self._root.path(), name)
        with suppress(FileExistsError):
            os.mkdir(folder, 0o700)
        return folder


def _make_folders(path: str) -> None:
    box = os.path.dirname(path)
    try:
        os.mkdir(box, 0o700)
    except FileExistsError:
        return
    except FileNotFoundError:  # the first of its day
        with suppress(FileExistsError):
            os.mkdir(os.path.dirname(box), 0o700)
        os.mkdir(box, 0o700)


def _link_file(draft: Draft, path: str) -> None:
    """Give a draft its name, unless it is taken."""
    if draft.part is None:
        # Given a descriptor, Python calls linkat, which alone follows the link in /proc.
        os.link(f"/proc/self/fd/{draft.fd}", path, src_dir_fd=draft.fd, follow_symlinks=True)
        return
    try:
        os.link(draft.part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "taken", path) from error
        os.rename(draft.part, path)  # over one that came just now: it has the same bytes
    draft.forget_part()


def _open_copy(path: str) -> IO[bytes]:
    try:
        return open(path, "rb", opener=open_private)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise refused(error) from error
