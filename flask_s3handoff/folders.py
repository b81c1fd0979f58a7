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
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial

from werkzeug.wsgi import ClosingIterator

from .audit import Touch, Verb, unwatched, watch
from .config import HandoffConfig
from .disk import Identity
from .errands import Errands
from .errors import HandoffError, InvalidKey, Unreadable
from .folder import Folder
from .ledger import Ledger
from .mirror import Mirror
from .scope import Scope, Spot, Work
from .store import Store
from .workdir import WorkDir

log = logging.getLogger("flask_s3handoff")

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
        self.seconds = config.deadline_seconds
        self.submit = mirror.submit
        self._active: set[Scope] = set()
        self.errands = Errands(self.submit, seconds=self.seconds)
        self._moment = (0.0, Scope(self.seconds))
        watch(self, stats=True)

    # A request

    def enter(self) -> Scope:
        """Begin a request: what this context does from now on is its doing."""
        scope = Scope(self.seconds)
        self._active.add(scope)
        # A request that was left in another context would be here for good.
        under_way = [pair for pair in _scopes.get() if pair[0].is_under_way(pair[1])]
        _scopes.set((*under_way, (self, scope)))
        return scope

    def is_under_way(self, scope: Scope) -> bool:
        """Tell whether a request was begun and has not ended."""
        return scope in self._active

    def leave(self, scope: Scope) -> None:
        """End a request; what it wrote since it was settled, or while it streamed, follows."""
        self._active.discard(scope)
        _scopes.set(tuple(pair for pair in _scopes.get() if pair[1] is not scope))
        if scope:
            self.errands.later(scope.take())

    def leave_with(self, scope: Scope, answer: Callable[[], Iterable[bytes]]) -> Iterable[bytes]:
        """Have a request answered, and end it; where it left a file open, with its last byte."""
        try:
            body = answer()
        except BaseException:
            self.leave(scope)
            raise
        if scope:  # what is still open is mirrored when it is closed
            return ClosingIterator(body, partial(self.leave, scope))
        self.leave(scope)
        return body

    def settle(self, scope: Scope, *, may_fail: bool = True) -> None:
        """Mirror what a request wrote, and return when the store has it (rule 1).

        What nobody's thread wrote goes along. Raises ``Unavailable``, or ``AlreadyExists`` where a
        name that was free was taken meanwhile; without ``may_fail`` the log tells.
        """
        if not scope.is_used() and not self.errands.pending:
            return
        with unwatched():
            scope.note_changes()
            if self.errands.pending:
                self._try(scope, self.errands.pending, may_fail=False)
            self._try(scope, scope, may_fail=may_fail)

    def kept(self, scope: Scope) -> dict[str, str]:
        """Return what tokens have to name: keys and sha256 of what a request stored for others.

        Where the store is asked for every name that is read, nothing has to be named.
        """
        spots = [spot for spot in scope.stored if not spot.folder.place.read_through]
        noted = {s.folder.key_of(s.relpath): s.folder.noted_sha256(s.relpath) for s in spots}
        return {key: sha256 for key, sha256 in noted.items() if sha256}

    def _try(self, scope: Scope, work: Work, *, may_fail: bool) -> None:
        try:
            with scope.patience.spend(work.size()) as until:
                taken = work.take_finished()
                scope.stored |= self.errands.carry_out(taken, until)
        except HandoffError as error:
            if may_fail:
                raise
            log.warning("A folder is mirrored later: %s", error.reason)

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
        spot = self.spot(touch.path)
        if spot is None or self._bring(spot) or "." in os.path.basename(touch.path):
            return  # what has a suffix is a file's name
        self._make_folder(spot)

    def _on_list(self, touch: Touch) -> None:
        if (spot := self.spot(touch.path)) is not None:
            self._make_folder(spot)

    def _on_write(self, touch: Touch) -> None:
        if os.path.isdir(touch.path):  # that NamedTemporaryFile opens
            return
        if (spot := self.spot(touch.path)) is None:
            log.warning("%r has a name that cannot be a key: it is not mirrored", touch.path)
            return
        if touch.keeps if not touch.is_new else not spot.folder.place.immutable:
            self._bring(spot)
        self._write(spot)

    def _write(self, spot: Spot) -> None:
        self._make_folder(Spot(spot.folder, os.path.dirname(spot.relpath)))
        scope, work = self._scope(), self._work()
        if spot in work.writes:
            return
        is_free = spot.folder.place.immutable or scope.asked.get(spot) is False
        work.write(spot, was_free=is_free and spot.folder.beneath.stat(spot.relpath) is None)
        if not spot.folder.place.immutable:
            spot.folder.begin_write(spot.relpath)
        if work is self.errands.pending:
            self.errands.soon()

    def _on_rename(self, touch: Touch) -> None:
        source, target = self.spot(touch.path), self.spot(touch.target)
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
        if (source := self.spot(touch.path)) is not None:
            self._bring(source)
        if (target := self.spot(touch.target)) is not None:
            self._write(target)

    def _on_remove(self, touch: Touch) -> None:
        if (spot := self.spot(touch.path)) is not None:
            self._bring(spot)
            self._work().remove(spot)

    def _on_clear(self, touch: Touch) -> None:
        if (spot := self.spot(touch.path)) is not None:
            self._work().trees.add(spot)

    _on: dict[Verb, Callable[[Folders, Touch], None]] = {  # noqa: RUF012 - a table, never changed
        "stat": _on_read,
        "read": _on_read,
        "list": _on_list,
        "write": _on_write,
        "rename": _on_rename,
        "link": _on_link,
        "remove": _on_remove,
        "clear": _on_clear,
    }

    def track(self, path: str | os.PathLike[str]) -> None:
        """Mirror this file, or what is in this folder: for writers that Python does not see."""
        if (spot := self.spot(os.path.abspath(path))) is None:
            raise InvalidKey(f"{os.fspath(path)!r:.200} does not lie in a folder, or has no key.")
        self._work().write(spot, was_free=False)

    # Who does it, and where

    def spot(self, path: str) -> Spot | None:
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
            scope = Scope(self.seconds)
            self._moment = (time.monotonic(), scope)
        return scope

    def _request(self) -> Scope | None:
        for folders, scope in reversed(_scopes.get()):  # the innermost, if one asks another
            if folders is self and self.is_under_way(scope):
                return scope
        active = tuple(self._active)  # others enter and leave meanwhile
        return active[0] if len(active) == 1 else None

    def _work(self) -> Work:
        request = self._request()
        return self.errands.pending if request is None else request

    def _is_written_here(self, spot: Spot) -> bool:
        return any(spot in work.writes for work in (self.errands.pending, *self._active))

    # From the store

    def _bring(self, spot: Spot) -> bool:
        """Let the newest be here, once per request; tell whether there may be a file at all."""
        scope = self._scope()
        if self._is_written_here(spot):
            return True
        if spot not in scope.asked and (spot.folder.place.read_through or scope.names(spot)):
            self._ask(scope, spot)
        return scope.asked.get(spot, True) or spot in scope.seen

    def _ask(self, scope: Scope, spot: Spot) -> None:
        if not (spot.folder.place.immutable and spot.folder.beneath.stat(spot.relpath)):
            with scope.patience.spend() as until:
                scope.asked[spot] = spot.folder.refresh(spot.relpath, until=until)
        if (seen := spot.folder.beneath.stat(spot.relpath)) is not None:
            scope.seen[spot] = Identity.of(seen)

    def _make_folder(self, spot: Spot) -> None:
        """Make a folder that is there on another server; asked once per request."""
        if spot.relpath and not spot.folder.beneath.is_folder(spot.relpath):
            scope = self._scope()
            if spot not in scope.listed:
                scope.listed.add(spot)
                with scope.patience.spend() as until:
                    self._mirror.do(lambda: spot.folder.make_folder(spot.relpath), until=until)

    def _bring_tree(self, spot: Spot) -> None:
        """Bring what the store has below a folder that is about to be named anew."""
        with self._scope().patience.spend() as until:
            found = self._mirror.do(lambda: list(spot.folder.keys_below(spot.relpath)), until=until)
        for relpath in found:
            self._bring(Spot(spot.folder, relpath))
