"""Files below one folder, reached step by step and never through a symbolic link.

The folder itself may be a link: that is the operator's choice. What lies in it is the app's, or
came out of somebody's archive, so no path leads out of it (threats T22, T23).
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from .paths import random_name

PART_PREFIX = ".s3handoff-"
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a fifo must not hold us
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ELSEWHERE = (errno.ELOOP, errno.ENOTDIR)
_SOCKET = errno.ENXIO
_NO_TMPFILE = (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL)


class Beneath:
    """The regular files below a folder, by their relative paths."""

    def __init__(self, root: str) -> None:
        self.root = root

    def stat(self, relpath: str) -> os.stat_result | None:
        """Tell about a regular file; ``None`` for anything else, and for what links hide."""
        try:
            with self._parent(relpath) as (parent, name):
                seen = os.stat(name, dir_fd=parent, follow_symlinks=False)
                self._refuse_twin(parent, name)
        except OSError as error:
            if error.errno not in (errno.ENOENT, *_ELSEWHERE):
                raise
            return None
        return seen if stat.S_ISREG(seen.st_mode) else None

    def open(self, relpath: str) -> int:
        """Open a regular file for reading; ``FileNotFoundError`` if there is none."""
        try:
            with self._parent(relpath) as (parent, name):
                fd = os.open(name, _FILE, dir_fd=parent)
        except OSError as error:
            if error.errno not in (*_ELSEWHERE, _SOCKET):
                raise
            raise FileNotFoundError(errno.ENOENT, "no file, or behind a link", relpath) from error
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise FileNotFoundError(errno.ENOENT, "not a file", relpath)
        return fd

    def sha256(self, relpath: str) -> str:
        """Return the sha256 of a file, 64 hex digits."""
        with os.fdopen(self.open(relpath), "rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def place(
        self, relpath: str, chunks: Iterable[bytes], *, modified_at: float, replaces: bool
    ) -> os.stat_result | None:
        """Put a file there in one step, once ``chunks`` has ended well, and tell about it.

        With ``replaces`` it takes the place of another; else what is there stays, and ``None`` is
        returned. Folders are made as they are needed, all with the modes of the process's umask.
        """
        with self._parent(relpath, make=True) as (parent, name):
            fd, part = _new_file(parent)
            try:
                for chunk in chunks:
                    _write(fd, chunk)
                os.utime(fd, (modified_at, modified_at))
                is_there = _name(parent, fd, part, name, replaces=replaces)
                return os.fstat(fd) if is_there else None
            finally:
                os.close(fd)
                _remove(parent, part)

    def remove(self, relpath: str) -> None:
        """Remove a file, if it is there."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(relpath) as (at, name):
            os.unlink(name, dir_fd=at)

    def files(self, below: str = "") -> Iterator[str]:
        """Yield the relative paths of all regular files, below a folder if need be."""
        try:
            entries = sorted(os.scandir(os.path.join(self.root, below)), key=lambda e: e.name)
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            relpath = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self.files(relpath)
            elif entry.is_file(follow_symlinks=False) and not entry.name.startswith(PART_PREFIX):
                yield relpath

    def make_folder(self, relpath: str) -> None:
        """Make a folder, and those around it."""
        with self._parent(f"{relpath}/x", make=True):
            pass

    def is_folder(self, relpath: str) -> bool:
        """Tell whether there is a folder, not behind a link."""
        try:
            with self._parent(f"{relpath}/x"):
                return True
        except OSError:
            return False

    @cached_property
    def _folds_case(self) -> bool:
        """Whether small and capital letters are one here, as on most disks of a Mac."""
        try:
            return os.path.samefile(self.root, self.root.swapcase())
        except OSError:
            return False

    def _refuse_twin(self, parent: int, name: str) -> None:
        """Raise where the file has another name, of which the store makes another file."""
        if self._folds_case and name not in os.listdir(parent):
            raise FileExistsError(errno.EEXIST, "a name that differs only in case is here", name)

    @contextmanager
    def _parent(self, relpath: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder that a file lies in, one segment at a time."""
        *folders, name = relpath.split("/")
        if make:
            os.makedirs(self.root, exist_ok=True)
        fd = os.open(self.root, _FOLDER)
        try:
            for folder in folders:
                fd = _step(fd, folder, make=make)
            yield fd, name
        finally:
            os.close(fd)


def _step(fd: int, folder: str, *, make: bool) -> int:
    """Go into a folder, and leave the one that is open."""
    if make:
        with suppress(FileExistsError):
            os.mkdir(folder, dir_fd=fd)
    inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=fd)
    os.close(fd)
    return inner


def _new_file(parent: int) -> tuple[int, str | None]:
    """Open a file without a name, gone by itself if we are killed; with one where need be."""
    if hasattr(os, "O_TMPFILE") and os.path.exists("/proc/self/fd"):
        try:
            return os.open(".", os.O_TMPFILE | os.O_RDWR, 0o666, dir_fd=parent), None
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
    part = f"{PART_PREFIX}{random_name()}.part"
    return os.open(part, _NEW, 0o666, dir_fd=parent), part


def _name(parent: int, fd: int, part: str | None, name: str, *, replaces: bool) -> bool:
    if not replaces:
        try:
            _link(parent, fd, part, name)
        except FileExistsError:
            return False
        return True
    new = part or f"{PART_PREFIX}{random_name()}.part"
    if part is None:
        _link(parent, fd, part, new)
    try:
        os.replace(new, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        _remove(parent, new)
        raise
    return True


def _link(parent: int, fd: int, part: str | None, name: str) -> None:
    if part is None:
        # Given a descriptor, Python calls linkat, which alone follows the link in /proc.
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=fd, dst_dir_fd=parent, follow_symlinks=True)
    else:
        os.link(part, name, src_dir_fd=parent, dst_dir_fd=parent)


def _remove(parent: int, part: str | None) -> None:
    if part is not None:
        with suppress(FileNotFoundError):
            os.unlink(part, dir_fd=parent)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
