"""Folders: what this process reads and writes below them is mirrored and brought back.

::

    before a read, a stat      the file is brought, once per file and request
    before a write             it is noted; before one that keeps what is there, brought as well
    before the response leaves what was written is mirrored, what was removed is deleted

A face says which request it is. Threads that the app starts are no request: what they write is the
only request's that has to do with folders, else nobody's, and a flush mirrors it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

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
from .whose import Whose
from .workdir import WorkDir

log = logging.getLogger("flask_s3handoff")

MEMO_LENGTH = 4096


class Folders(Whose):
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
        super().__init__(Errands(mirror.submit, seconds=config.deadline_seconds))
        self.submit = mirror.submit
        self._spots: dict[str, Spot | None] = {}
        watch(self, stats=True)

    # A request leaves

    def settle(self, *, may_fail: bool = True) -> dict[str, str]:
        """Mirror what the request of this context wrote, and return when the store has it (rule 1).

        What nobody's thread wrote goes along. Raises ``Unavailable``, or ``AlreadyExists`` where a
        name that was free was taken meanwhile; without ``may_fail`` the log tells. Returns what
        tokens have to name: keys and sha256.
        """
        if self.is_idle:
            return {}
        scope = self.here()
        with unwatched():
            if self.errands.pending:
                self._try(scope or Scope(self.seconds), self.errands.pending, may_fail=False)
            if scope is not None:
                scope.note_changes()
                self._try(scope, scope, may_fail=may_fail)
            return {} if scope is None else self._kept(scope)

    def _kept(self, scope: Scope) -> dict[str, str]:
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
            self._see_to(work, spot)
            return
        is_free = spot.folder.place.immutable or scope.asked.get(spot) is False
        work.write(spot, was_free=is_free and spot.folder.beneath.stat(spot.relpath) is None)
        if not spot.folder.place.immutable:
            spot.folder.begin_write(spot.relpath)
        self._see_to(work, spot)

    def _on_rename(self, touch: Touch) -> None:
        source, target = self.spot(touch.path), self.spot(touch.target)
        if source is not None and os.path.isdir(touch.path):
            self._bring_tree(source)
            self._remove_tree(source)
        elif source is not None:
            self._bring(source)
        if target is not None:
            self._write(target)
        if source is not None and not os.path.isdir(touch.path):
            self._remove(source)

    def _on_link(self, touch: Touch) -> None:
        if (source := self.spot(touch.path)) is not None:
            self._bring(source)
        if (target := self.spot(touch.target)) is not None:
            self._write(target)

    def _on_remove(self, touch: Touch) -> None:
        if (spot := self.spot(touch.path)) is not None:
            self._bring(spot)
            self._remove(spot)

    def _remove(self, spot: Spot) -> None:
        work = self._work()
        work.remove(spot)
        if spot in work.gone:
            spot.folder.begin_write(spot.relpath)
        else:  # nobody ever had it
            spot.folder.end_write(spot.relpath)
        self._see_to(work, spot)

    def _on_clear(self, touch: Touch) -> None:
        if (spot := self.spot(touch.path)) is not None:
            self._remove_all(spot)

    def _remove_all(self, tree: Spot) -> None:
        work = self._work()
        work.trees.add(tree)
        self._see_to(work, tree)

    def _remove_tree(self, tree: Spot) -> None:
        """Note that a folder has another name now; what was not brought from the store stays."""
        if tree.folder.place.read_through:
            self._remove_all(tree)
            return
        for relpath in tree.folder.beneath.files(tree.relpath):
            self._remove(Spot(tree.folder, relpath))

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
        if path not in self._spots:
            if len(self._spots) >= MEMO_LENGTH:
                self._spots.clear()  # no order to keep, no lock
            self._spots[path] = self._find_spot(path)
        return self._spots.get(path) or self._find_spot(path)

    def _find_spot(self, path: str) -> Spot | None:
        around = [f for f in self.folders if path.startswith(f.root + "/")]
        if not around:
            return None
        folder = max(around, key=lambda folder: len(folder.root))
        relpath = folder.relpath_of(path)
        return None if relpath is None else Spot(folder, relpath)

    # From the store

    def _bring(self, spot: Spot) -> bool:
        """Let the newest be here, once per request; tell whether there may be a file at all."""
        scope = self._scope()
        if any(spot in work.writes for work in self._works()):
            return True
        if self._is_being_removed(spot):
            return False
        place = spot.folder.place
        if spot in scope.asked or (place.immutable and spot in scope.seen):
            return scope.asked.get(spot, True)
        if place.read_through or self._is_named(scope, spot):
            self._ask(scope, spot)
        return scope.asked.get(spot, True) or spot in scope.seen

    def _is_named(self, scope: Scope, spot: Spot) -> bool:
        """Tell whether a token of this request names a file; its body may be read for that."""
        if scope.is_learning:
            return False  # what reads the body touches a folder itself
        scope.is_learning = True
        try:
            return spot.folder.key_of(spot.relpath) in self.learn()
        finally:
            scope.is_learning = False

    def _ask(self, scope: Scope, spot: Spot) -> None:
        if spot.folder.beneath.is_folder(spot.relpath):  # no file can take its place
            scope.asked[spot] = True
            return
        if not (spot.folder.place.immutable and spot.folder.beneath.stat(spot.relpath)):
            with scope.patience.spend() as until:
                scope.asked[spot] = spot.folder.refresh(spot.relpath, until=until)
        if (seen := spot.folder.beneath.stat(spot.relpath)) is not None:
            scope.seen[spot] = Identity.of(seen)

    def _make_folder(self, spot: Spot) -> None:
        """Make a folder that is there on another server; asked once per request."""
        if spot.relpath and not spot.folder.beneath.is_folder(spot.relpath):
            scope = self._scope()
            if spot not in scope.listed and not self._is_being_removed(spot):
                scope.listed.add(spot)
                with scope.patience.spend() as until:
                    self._mirror.do(lambda: spot.folder.make_folder(spot.relpath), until=until)

    def _bring_tree(self, spot: Spot) -> None:
        """Bring what the store has below a folder that is about to be named anew."""
        with self._scope().patience.spend() as until:
            found = self._mirror.do(lambda: list(spot.folder.keys_below(spot.relpath)), until=until)
        for relpath in found:
            self._bring(Spot(spot.folder, relpath))
