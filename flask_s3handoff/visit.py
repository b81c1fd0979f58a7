"""What an exchange is given: the rooms of its app, the facts of its request, and its patience."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from .config import HandoffConfig
from .mirror import Mirror
from .store import SLOWEST_BYTES_PER_SECOND, Kind, Store
from .tokens import TokenSigner
from .workdir import WorkDir

LINK_ROUTE = "/_s3handoff/"


@dataclass(frozen=True)
class Rooms:
    """What every request of one app shares."""

    config: HandoffConfig
    signer: TokenSigner
    workdir: WorkDir
    mirror: Mirror
    store: Callable[[], Store]
    notify: Callable[[str, dict[str, Any]], None]
    now: Callable[[], float] = time.time
    warned: set[str] = field(default_factory=set)

    def link(self, key: str, kind: Kind | None, seconds: int, script_root: str) -> str:
        """Return a URL for this key: the store's own, or our signed route where it has none."""
        store = self.store()
        if store.capabilities.presigned_urls:
            return store.url(key, expires_seconds=seconds, kind=kind)
        sent_as = [kind.content_type, kind.disposition] if kind else ["", ""]
        text = self.signer.mint_link(key, int(self.now()) + seconds, sent_as)
        return f"{script_root}{LINK_ROUTE}{text}"


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What a face tells about its request. ``path`` includes ``script_root``."""

    method: str
    path: str
    script_root: str
    origin: Callable[[], str]
    secure: bool
    cookies: Mapping[str, str] = field(repr=False)  # an error tracker shows the rest (T38)
    endpoint: str
    principal: Callable[[], str | None]
    eager: bool = False  # the app sees whole files: they are fetched before it runs


@dataclass(frozen=True)
class Refusal:
    """A token or a file of one that could not be used: field, filename and code."""

    field: str | None
    filename: str | None
    code: str
    message: str


class Patience:
    """How long one request still waits for the store: a budget, plus a file's size at 1 MiB/s."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self.waited_seconds = 0.0

    @contextmanager
    def spend(self, size: int = 0) -> Iterator[float]:
        """Give the moment (``time.monotonic``) until which to wait; charge what was used."""
        began, allowance = time.monotonic(), size / SLOWEST_BYTES_PER_SECOND
        try:
            yield began + max(self._left, 0.0) + allowance
        finally:
            took = time.monotonic() - began
            self.waited_seconds += took
            self._left -= max(0.0, took - allowance)
