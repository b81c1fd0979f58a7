"""Folders: what this process reads and writes below them is mirrored and brought back.

::

    before a read, a stat      the file is brought, once per file and request
    before a write             it is noted; before one that keeps what is there, brought as well
    before the response leaves what was written is mirrored, what was removed is deleted

A context variable says which request does it. It is empty in threads that the app starts: what
they write is the only request's that is under way, else nobody's, and a flush mirrors it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar

from .audit import Touch, Verb, unwatched, watch
from .config import HandoffConfig
from .disk import Identity
from .errors import AlreadyExists, HandoffError, InvalidKey, Unreadable
from .folder import Folder
from .ledger import Ledger
from .mirror import Mirror
from .pool import result_of
from .scope import Scope, Spot, Work, open_for_writing
from .store import SLOWEST_BYTES_PER_SECOND, Store
from .workdir import WorkDir

log = logging.getLogger("flask_s3handoff")

FLUSH_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
MOMENT_SECONDS = 0.5  # how long a miss is remembered outside of a request

_scopes: ContextVar[tuple[tuple[Folders, Scope], ...]] = ContextVar("s3handoff_scopes", default=())


class Folders:
    """The folders of one app, watched from now on for as long as this object lives."""

    def __init__(
        self, config: HandoffConfig, *, mirror: Mirror, store: Callable[[], Store], workdir: WorkDir
    ) -> None:
        ledger = Ledger(workdir)
        self.folders = [
            Folder(place, mirror=mirror, store=store, ledger=ledger) for place in config.folders
        ]
        self.roots = tuple(folder.root for folder in self.folders)
        self._mirror = mirror
        self._seconds = config.deadline_seconds
        self._active: set[Scope] = set()
        self._pending = Work()
        self._moment = (0.0, Scope(self._seconds))
        self._flusher: threading.Thread | None = None
        self._flusher_pid = 0
        watch(self, stats=any(folder.place.read_through for folder in self.folders))

    # A request

    def enter(self) -> Scope:
        """Begin a request: what this context does from now on is its doing."""
        scope = Scope(self._seconds)
        self._active.add(scope)
        _scopes.set((*_scopes.get(), (self, scope)))
        return scope

    def leave(self, scope: Scope) -> None:
        """End a request; what it wrote since it was settled, or while it streamed, follows."""
        self._active.discard(scope)
        _scopes.set(tuple(pair for pair in _scopes.get() if pair[1] is not scope))
        if scope:
            self._pending.add(scope.take())
            self._flush_soon()

    def settle(self, scope: Scope, *, may_fail: bool = True) -> None:
        """Mirror what a request wrote, and return when the store has it (rule 1).

        What nobody's thread wrote goes along. Raises ``Unavailable``, or ``AlreadyExists`` where a
        name that was free was taken meanwhile; without ``may_fail`` the log tells.
        """
        if not scope.is_used() and not self._pending:
            return
        with unwatched():
            scope.note_changes()
            self._settle_pending(scope)
            busy = open_for_writing(scope.writes)
            try:
                with scope.patience.spend(_size_of(scope.writes)) as until:
                    self._carry_out(scope.take(but=busy), until)
            except HandoffError:
                if may_fail:
                    raise
                log.exception("What a failed request wrote is mirrored later")
                self._flush_soon()

    def _settle_pending(self, scope: Scope) -> None:
        """Mirror what nobody's thread wrote; if that fails it is no failure of this request."""
        if not self._pending:
            return
        try:
            with scope.patience.spend(_size_of(self._pending.writes)) as until:
                self._flush(until)
        except HandoffError:
            log.warning("What a thread wrote is mirrored later")

    # What happens

    def touched(self, touch: Touch) -> None:
        """Hear what the app is about to do."""
        with unwatched():
            try:
                self._on[touch.verb](self, touch)
            except HandoffError as error:
                if touch.verb == "stat":  # `os.path.exists` takes an OSError for a no
                    raise
                raise Unreadable(error.description, path=touch.path) from error

    def _on_read(self, touch: Touch) -> None:
        spot = self._spot(touch.path)
        if spot is not None and spot.folder.place.read_through:
            self._bring(spot)

    def _on_write(self, touch: Touch) -> None:
        if os.path.isdir(touch.path):  # that NamedTemporaryFile opens
            return
        if (spot := self._spot(touch.path)) is None:
            log.warning("%r has a name that cannot be a key: it is not mirrored", touch.path)
            return
        if touch.keeps if not touch.is_new else not spot.folder.place.immutable:
            self._bring(spot)
        self._write(spot)

    def _write(self, spot: Spot) -> None:
        scope, work = self._scope(), self._work()
        if spot in work.writes:
            return
        is_free = spot.folder.place.immutable or scope.asked.get(spot) is False
        work.write(spot, was_free=is_free and spot.folder.beneath.stat(spot.relpath) is None)
        if not spot.folder.place.immutable:
            spot.folder.begin_write(spot.relpath)
        if work is self._pending:
            self._flush_soon()

    def _on_rename(self, touch: Touch) -> None:
        source, target = self._spot(touch.path), self._spot(touch.target)
        if source is not None and os.path.isdir(touch.path):
            self._bring_tree(source)
            self._work().trees.add(source)
        elif source is not None:
            self._bring(source)
        if target is not None:
            self._write(target)
        if source is not None and not os.path.isdir(touch.path):
            self._work().remove(source)

    def _on_link(self, touch: Touch) -> None:
        if (source := self._spot(touch.path)) is not None:
            self._bring(source)
        if (target := self._spot(touch.target)) is not None:
            self._write(target)

    def _on_remove(self, touch: Touch) -> None:
        if (spot := self._spot(touch.path)) is not None:
            self._bring(spot)
            self._work().remove(spot)

    def _on_clear(self, touch: Touch) -> None:
        if (spot := self._spot(touch.path)) is not None:
            self._work().trees.add(spot)

    _on: dict[Verb, Callable[[Folders, Touch], None]] = {  # noqa: RUF012 - a table, never changed
        "stat": _on_read,
        "read": _on_read,
        "write": _on_write,
        "rename": _on_rename,
        "link": _on_link,
        "remove": _on_remove,
        "clear": _on_clear,
    }

    def track(self, path: str | os.PathLike[str]) -> None:
        """Mirror this file, or what is in this folder: for writers that Python does not see."""
        if (spot := self._spot(os.path.abspath(path))) is None:
            raise InvalidKey(f"{os.fspath(path)!r:.200} does not lie in a folder, or has no key.")
        self._work().write(spot, was_free=False)

    # Who does it, and where

    def _spot(self, path: str) -> Spot | None:
        """Return the file that a path means: of the innermost folder, where they lie in another."""
        around = [f for f in self.folders if path.startswith(f.root + "/")]
        if not around:
            return None
        folder = max(around, key=lambda folder: len(folder.root))
        relpath = folder.relpath_of(path)
        return None if relpath is None else Spot(folder, relpath)

    def _scope(self) -> Scope:
        """Return the request that does it; outside of one, what is remembered for a moment."""
        if (scope := self._request()) is not None:
            return scope
        began, scope = self._moment
        if time.monotonic() - began > MOMENT_SECONDS:
            scope = Scope(self._seconds)
            self._moment = (time.monotonic(), scope)
        return scope

    def _request(self) -> Scope | None:
        for folders, scope in _scopes.get():
            if folders is self:
                return scope
        return next(iter(self._active)) if len(self._active) == 1 else None

    def _work(self) -> Work:
        request = self._request()
        return self._pending if request is None else request

    def _is_written_here(self, spot: Spot) -> bool:
        return any(spot in work.writes for work in (self._pending, *self._active))

    # From the store

    def _bring(self, spot: Spot) -> None:
        scope = self._scope()
        if spot in scope.asked or self._is_written_here(spot):
            return
        if not (spot.folder.place.immutable and spot.folder.beneath.stat(spot.relpath)):
            with scope.patience.spend() as until:
                scope.asked[spot] = spot.folder.refresh(spot.relpath, until=until)
        if (seen := spot.folder.beneath.stat(spot.relpath)) is not None:
            scope.seen[spot] = Identity.of(seen)

    def _bring_tree(self, spot: Spot) -> None:
        """Bring what the store has below a folder that is about to be named anew."""
        with self._scope().patience.spend() as until:
            found = self._mirror.do(lambda: list(spot.folder.keys_below(spot.relpath)), until=until)
        for relpath in found:
            self._bring(Spot(spot.folder, relpath))

    # To the store

    def flush(self) -> None:
        """Mirror what was written outside of any request, now: at the end of a script or task."""
        with unwatched():
            self._flush(time.monotonic() + self._seconds + _seconds_for(self._pending))

    def _flush(self, until: float) -> None:
        work = self._pending.take(but=open_for_writing(self._pending.writes))
        self._carry_out(work, until)

    def _carry_out(self, work: Work, until: float) -> None:
        """Store what was written, then delete what was removed; what fails is done later."""
        failure = self._all_done([_put(*write) for write in _expanded(work.writes)], until)
        if failure is None or isinstance(failure, AlreadyExists):
            failure = (
                self._all_done([_remove(work)] if work.gone or work.trees else [], until) or failure
            )
        if failure is None:
            return
        if not isinstance(failure, AlreadyExists):  # that is decided: the other one has the name
            self._pending.add(work)
            self._flush_soon()
        raise failure

    def _all_done(self, jobs: Iterable[Callable[[], None]], until: float) -> HandoffError | None:
        """Have all of it done, and return what failed worst."""
        worst: HandoffError | None = None
        for future in [self._mirror.submit(job) for job in jobs]:
            try:
                result_of(future, until=until)
            except HandoffError as error:
                worst = error if worst is None or isinstance(worst, AlreadyExists) else worst
        return worst

    def _flush_soon(self) -> None:
        """Have a thread mirror what no request will: it ends when there is nothing left."""
        alive = self._flusher is not None and self._flusher.is_alive()
        if not alive or self._flusher_pid != os.getpid():
            self._flusher_pid = os.getpid()
            self._flusher = threading.Thread(
                target=_flush_until_done, args=[weakref.ref(self)], name="s3handoff-flush"
            )
            self._flusher.start()


def _flush_until_done(reference: weakref.ref[Folders]) -> None:
    """Be the thread that flushes; when the process wants to end, try once more and end too."""
    pause = FLUSH_SECONDS
    while True:
        is_last = not _main_thread_lives_after(pause)
        if (folders := reference()) is None or not folders._pending:
            return
        try:
            folders.flush()
            pause = FLUSH_SECONDS
        except HandoffError:
            log.warning("What was written outside of a request is not mirrored yet")
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        if is_last:
            return
        del folders


def _main_thread_lives_after(seconds: float) -> bool:
    threading.main_thread().join(seconds)
    return threading.main_thread().is_alive()


def _put(spot: Spot, was_free: bool) -> Callable[[], None]:
    def put() -> None:
        with unwatched():
            spot.folder.put(spot.relpath, if_absent=was_free)

    return put


def _remove(work: Work) -> Callable[[], None]:
    def remove() -> None:
        with unwatched():
            for spot in _removed(work):
                spot.folder.delete(spot.relpath)

    return remove


def _expanded(writes: dict[Spot, bool]) -> Iterator[tuple[Spot, bool]]:
    """Yield what was written; of a folder that was named anew, or is tracked, all its files."""
    for spot, was_free in writes.items():
        if spot.folder.beneath.is_folder(spot.relpath):
            for relpath in spot.folder.beneath.files(spot.relpath):
                yield Spot(spot.folder, relpath), False
        else:
            yield spot, was_free


def _removed(work: Work) -> set[Spot]:
    trees = {
        Spot(tree.folder, relpath)
        for tree in work.trees
        for relpath in tree.folder.keys_below(tree.relpath)
    }
    return work.gone | trees


def _seconds_for(work: Work) -> float:
    return _size_of(work.writes) / SLOWEST_BYTES_PER_SECOND


def _size_of(spots: Iterable[Spot]) -> int:
    seen = (spot.folder.beneath.stat(spot.relpath) for spot in spots)
    return sum(s.st_size for s in seen if s is not None)
