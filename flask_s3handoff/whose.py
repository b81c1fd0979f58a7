"""Whose doing it is: of the request that a context does, of the only one under way, or nobody's.

A face says which request a context does. A request has a ``Scope`` from the first that it touches a
folder; one that touches none costs nothing. Threads that an app starts are no request's.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from werkzeug.wsgi import ClosingIterator

from .errands import Errands
from .paths import random_name
from .scope import Scope, Spot, Work
from .tokens import Kept

MOMENT_SECONDS = 0.5  # how long a miss is remembered outside of a request

Environ = dict[str, Any]

_all: weakref.WeakSet[Whose] = weakref.WeakSet()


class Whose:
    """The requests of one app that have to do with its folders."""

    def __init__(self, errands: Errands) -> None:
        self.errands = errands
        self.seconds = errands.seconds
        self.context: Callable[[], Environ | None] = lambda: None
        """Gives the environ of the request that this context does; set by a face."""
        self.learn: Callable[[], Mapping[str, Kept]] = dict
        """Gives what the tokens of that request name; set by a face."""
        self.key = f"s3handoff.scope.{random_name()}"
        """Where an environ keeps its scope: of two apps in one environ, each its own."""
        self.active: set[Scope] = set()
        """The requests under way that have touched a folder."""
        self._moment = (0.0, Scope(self.seconds))
        _all.add(self)

    def leave(self, environ: Environ) -> None:
        """End a request; what it wrote since it was settled, or while it streamed, follows."""
        scope = environ.setdefault(self.key, None)
        if scope is not None:
            self.active.discard(scope)
            if scope:
                self.errands.later(scope.take())

    def left(self, environ: Environ, body: Iterable[bytes]) -> Iterable[bytes]:
        """End a request that was answered; where it left a file open, with its last byte."""
        if environ.get(self.key):  # what is still open is mirrored when it is closed
            return ClosingIterator(body, partial(self.leave, environ))
        self.leave(environ)
        return body

    @property
    def is_idle(self) -> bool:
        """Whether nobody has anything to do with a folder: so it is for nearly every request."""
        pending = self.errands.pending  # not by its truth: that is one call more for every request
        return not (self.active or pending.writes or pending.gone or pending.trees)

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
        """Return the request of this context, begun if need be; else the only one under way."""
        environ = self.context()
        if environ is not None and self.key not in environ:
            scope = environ[self.key] = Scope(self.seconds)
            self.active.add(scope)
            return scope
        if (here := self.here()) is not None:
            return here
        under_way = tuple(self.active)
        return under_way[0] if len(under_way) == 1 else None

    def here(self) -> Scope | None:
        """Return what the request of this context has done with folders; one that is over, none."""
        environ = self.context()
        scope = None if environ is None else environ.get(self.key)
        return scope if scope in self.active else None

    def forget_requests(self) -> None:
        """Forget the requests of our parent: who was forked in one of them has none."""
        self.active = set()
        if (environ := self.context()) is not None:
            environ[self.key] = None  # it never ends in this process

    def _work(self) -> Work:
        request = self._request()
        return self.errands.pending if request is None else request

    def _see_to(self, work: Work, spot: Spot) -> None:
        """Have done what no request settles: nobody's, and of one that has ended meanwhile."""
        if work is self.errands.pending:
            self.errands.soon()
        elif work not in self.active:
            self.errands.later(work.take())
        if work is not self.here():  # a thread's
            self.errands.look_again(spot)

    def _works(self) -> tuple[Work, ...]:
        return (self.errands.pending, *tuple(self.active))

    def _is_being_removed(self, spot: Spot) -> bool:
        return any(work.removes(spot) for work in self._works())


def _forget_requests() -> None:
    for whose in _all:
        whose.forget_requests()


os.register_at_fork(after_in_child=_forget_requests)
