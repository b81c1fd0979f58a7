"""check_store: what every store promises, in a form that can be run.

A contract that runs beats one that is read: a store of your own, or an endpoint that nobody has
tried, is checked in a few seconds. Only what the store declares as lacking is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..paths import random_name
from ..store import Store
from .bench import Bench
from .promises import PROMISES


@dataclass(frozen=True)
class Promise:
    """What came of one promise: kept, or declared as lacking and not tried."""

    name: str
    state: Literal["ok", "lacking"]
    detail: str = ""


def check_store(store: Store, *, prefix: str = "check/") -> list[Promise]:
    """Try every promise of a store, and tell which were kept; raise at the first that was broken.

    About 80 MiB in 1,100 objects are written below ``prefix`` and deleted again.

    >>> from flask_s3handoff.testing import MemoryStore
    >>> {promise.name: promise.state for promise in check_store(MemoryStore())}["round trip"]
    'ok'
    """
    return [_try(store, prefix, *promise) for promise in PROMISES]


def _try(
    store: Store, prefix: str, name: str, needs: str | None, check: Callable[[Bench], None]
) -> Promise:
    if needs and not getattr(store.capabilities, needs):
        return Promise(name, "lacking", needs)
    with Bench(store, f"{prefix}{random_name()}/") as bench:
        try:
            check(bench)
        except Exception as broken:  # whatever a store raises breaks the promise
            raise AssertionError(f"{store!r} breaks a promise: {name}: {broken!r}") from broken
    return Promise(name, "ok", (check.__doc__ or "").strip())
