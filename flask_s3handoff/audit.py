"""What this process does with files: one audit hook, judged once, told to those who watch.

Python tells a hook what it is about to open, rename, link or remove (PEP 578). A hook cannot be
taken out again, so there is one for all apps, installed when somebody first watches. ``os.stat``
raises no event: it, ``lstat`` and ``access`` are wrapped for as long as somebody wants to know.

What is done through a descriptor, by another program or by a library's own C code goes unseen.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, Protocol

from .errors import HandoffError

log = logging.getLogger("flask_s3handoff")

Verb = Literal["read", "write", "rename", "link", "remove", "clear", "list", "stat"]
_NO_DIR_FD = -1
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_STATS = ("stat", "lstat", "access")
_SUPPORTS = ("supports_dir_fd", "supports_fd", "supports_follow_symlinks", "supports_effective_ids")


class Touch(NamedTuple):
    """What is about to be done to ``path``: absolute, and lexically normal.

    ``target`` is the new name of a rename or link. A write that ``keeps`` begins with what is
    there; one ``is_new`` if it wants nothing to be there. ``clear`` removes a whole tree.
    """

    verb: Verb
    path: str
    target: str = ""
    keeps: bool = False
    is_new: bool = False


class Watcher(Protocol):
    """Who wants to know what happens below some folders."""

    @property
    def roots(self) -> tuple[str, ...]:
        """Absolute paths without a slash at their end; ``"/"`` for everything."""

    def touched(self, touch: Touch) -> None:
        """Hear what is about to happen; an ``OSError`` or ``HandoffError`` is the app's to see."""


class _Watch(NamedTuple):
    root: str  # as touches name it
    spelling: str  # as the app may name it
    watcher: weakref.ref[Watcher]


_watches: tuple[_Watch, ...] = ()
_wants_stats: weakref.WeakSet[Any] = weakref.WeakSet()
_roots: tuple[str, ...] = ()
_is_hooked = False
_is_ours: ContextVar[bool] = ContextVar("s3handoff_is_ours", default=False)


def watch(watcher: Watcher, *, stats: bool = False) -> None:
    """Tell ``watcher``, until it is gone, what is done below its roots; ``stats``: and asked."""
    reference = weakref.ref(watcher, _forget_dead)
    with unwatched():  # to look for links is to ask
        spellings = [(root, name) for root in watcher.roots for name in _names_of(root)]
    _renew(*_watches, *(_Watch(root, spelling, reference) for root, spelling in spellings))
    if stats:
        _wants_stats.add(watcher)
        _wrap_stats()
    _install_hook()


def _names_of(root: str) -> set[str]:
    return {root, os.path.realpath(root)}


def unwatch(watcher: Watcher) -> None:
    """Tell ``watcher`` nothing more. Idempotent."""
    _renew(*(found for found in _watches if found.watcher() is not watcher))
    _wants_stats.discard(watcher)
    _forget_dead()


def _forget_dead(_: object = None) -> None:
    _renew(*(found for found in _watches if found.watcher() is not None))
    if not _wants_stats:
        _unwrap_stats()


def _renew(*watches: _Watch) -> None:
    global _watches, _roots
    _watches, _roots = watches, tuple({found.spelling for found in watches})


@contextmanager
def unwatched() -> Iterator[None]:
    """Do what watchers do themselves: nobody is told."""
    token = _is_ours.set(True)
    try:
        yield
    finally:
        _is_ours.reset(token)


def _install_hook() -> None:
    global _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if (judge := _JUDGES.get(event)) is None or not _roots:
        return
    _judge(judge, *arguments)


def _judge(judge: Callable[..., None], *arguments: Any) -> None:
    try:
        judge(*arguments)
    except (OSError, HandoffError):
        raise
    except Exception:  # whatever is wrong with us, the app's own call goes on
        with unwatched():  # the log writes to files, and reads our source for the traceback
            log.exception("What happens to %r could not be judged", arguments[:1])


# What each event means


def _on_open(path: Any, _mode: Any, flags: int) -> None:
    if flags & os.O_DIRECTORY:  # a folder, or a nameless file in one
        return
    if not flags & _WRITING:
        _tell("read", path)
    elif (name := _normal(path)) and not _is_folder(name):
        _tell("write", name, keeps=not flags & os.O_TRUNC, is_new=bool(flags & os.O_EXCL))


def _is_folder(name: str) -> bool:
    """Tell whether a folder stands for a file in it that has no name yet, as in `tempfile`."""
    with unwatched():
        return os.path.isdir(name)


def _on_rename(source: Any, target: Any, source_fd: int, target_fd: int) -> None:
    _tell_two("rename", _at(source, source_fd), _at(target, target_fd))


def _on_link(source: Any, target: Any, source_fd: int, target_fd: int) -> None:
    _tell_two("link", _at(source, source_fd), _at(target, target_fd))


def _on_remove(path: Any, dir_fd: int) -> None:
    _tell("remove", _at(path, dir_fd))


def _on_rmtree(path: Any, dir_fd: int | None = None) -> None:
    _tell("clear", _at(path, _NO_DIR_FD if dir_fd is None else dir_fd))


def _on_list(path: Any) -> None:
    _tell("list", "." if path is None else path)


def _on_truncate(path: Any, _length: int) -> None:
    _tell("write", path, keeps=True)


_JUDGES: dict[str, Callable[..., None]] = {
    "open": _on_open,
    "os.link": _on_link,
    "os.listdir": _on_list,
    "os.remove": _on_remove,
    "os.rename": _on_rename,
    "os.scandir": _on_list,
    "os.truncate": _on_truncate,
    "shutil.rmtree": _on_rmtree,
}


def _at(path: Any, dir_fd: int) -> Any:
    """Return a path that is relative to an open folder as one that is not, where that is told."""
    if dir_fd == _NO_DIR_FD or isinstance(path, int):
        return path
    try:
        return os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fsdecode(path))
    except OSError:
        return None


# Whom it concerns


def _tell(verb: Verb, path: Any, *, keeps: bool = False, is_new: bool = False) -> None:
    if (name := _normal(path)) is None or _is_ours.get():
        return
    for watcher, below in _concerned(name):
        watcher.touched(Touch(verb, below, keeps=keeps, is_new=is_new))


def _tell_two(verb: Verb, source: Any, target: Any) -> None:
    """Tell of both names; one that lies elsewhere is told as it is."""
    if _is_ours.get():
        return
    source, target = _absolute(source), _absolute(target)
    if source is None or target is None:
        return
    sources, targets = _names_by_watcher(source), _names_by_watcher(target)
    for watcher in {**sources, **targets}:
        watcher.touched(Touch(verb, sources.get(watcher, source), targets.get(watcher, target)))


def _names_by_watcher(name: str) -> dict[Watcher, str]:
    return dict(_concerned(name)) if name.startswith(_roots) else {}


def _normal(path: Any) -> str | None:
    """Return the absolute name of what may lie below a root, else None; most end here."""
    if type(path) is not str or path[:1] != "/" or path[-1:] == "/" or not _is_plain(path):
        path = _absolute(path)
    return path if path is not None and path.startswith(_roots) else None


def _is_plain(path: str) -> bool:
    return "/." not in path and "//" not in path and "\0" not in path


def _absolute(path: Any) -> str | None:
    """Return an absolute, normal path; None for a descriptor and for what is no path."""
    if isinstance(path, int):
        return None
    try:
        name = os.path.abspath(os.fsdecode(path))
    except (TypeError, OSError, ValueError):  # a working folder that is gone; no path at all
        return None
    if "\0" in name:  # what was called says so itself
        return None
    return name[1:] if name.startswith("//") else name  # POSIX lets two slashes mean more


def _concerned(name: str) -> Iterator[tuple[Watcher, str]]:
    """Yield those who watch this name, each once, and the name as they know it."""
    told = set()
    for root, spelling, reference in _watches:
        watcher = reference()
        if watcher is None or id(watcher) in told or not _is_below(name, spelling):
            continue
        told.add(id(watcher))
        yield watcher, root + name[len(spelling) :] if spelling != "/" else name


def _is_below(name: str, root: str) -> bool:
    return name == root or name.startswith(root if root == "/" else root + "/")


# What raises no event


def _wrap_stats() -> None:
    for name in _STATS:
        original = getattr(os, name)
        if not hasattr(original, _MARK):
            _put_in_place(name, original, _telling(original))


def _unwrap_stats() -> None:
    for name in _STATS:
        wrapper = getattr(os, name)
        original = getattr(wrapper, _MARK, None)
        if original and wrapper is _telling(original):  # else somebody has wrapped ours
            _put_in_place(name, wrapper, original)


_MARK = "_s3handoff_original"


def _put_in_place(name: str, old: Any, new: Any) -> None:
    """Change a function of ``os``, also in the sets by which others ask what it can do."""
    setattr(os, name, new)
    for supports in _SUPPORTS:
        functions: set[Any] = getattr(os, supports)
        if old in functions:
            functions.add(new)


@functools.cache
def _telling(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def asked(path: Any, *args: Any, **options: Any) -> Any:
        if type(path) is not str or path.startswith(_roots) or not _is_elsewhere(path):
            _judge(_on_stat, path, options)
        return original(path, *args, **options)

    asked.__module__ = "os"  # `pickle` looks there whether it is still the same
    setattr(asked, _MARK, original)
    return asked


def _is_elsewhere(path: str) -> bool:
    """Tell of a path that begins like no root whether it can mean none of them."""
    return path[:1] == "/" and _is_plain(path)


def _on_stat(path: Any, options: dict[str, Any]) -> None:
    """Tell who wants to know; here even ``Unavailable`` reaches the app as it is.

    ``os.path.exists`` takes an ``OSError`` for a no, and the app would act on that.
    """
    if options.get("dir_fd") is not None or (name := _normal(path)) is None or _is_ours.get():
        return
    for watcher, below in _concerned(name):
        if watcher in _wants_stats:
            watcher.touched(Touch("stat", below))
