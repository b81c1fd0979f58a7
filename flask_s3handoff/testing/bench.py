"""The bench on which a store is tried: a prefix of its own, swept afterwards, and a few tools."""

from __future__ import annotations

import contextlib
import hashlib
import io
import random
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

from ..errors import AlreadyExists, HandoffError
from ..paths import random_name
from ..store import Kind, Store, kind_of

RACERS = 8
PATIENCE_SECONDS = 60
PICTURE = kind_of("leo.png", "image/png")
DOCUMENT = kind_of("Übung 1.pdf", "application/pdf")


class Bench:
    """A place of its own for one promise, swept afterwards."""

    def __init__(self, store: Store, folder: str) -> None:
        self.store = store
        self.folder = folder
        self._keys: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        in_threads(self._sweep, self._keys)

    def _sweep(self, key: str) -> None:
        with contextlib.suppress(HandoffError):
            self.store.delete(key)

    def key(self, name: str = "") -> str:
        """Return a key below this bench; what is stored there will be deleted."""
        key = self.folder + (name or random_name())
        self._keys.add(key)
        return key

    def put(self, key: str, data: bytes, kind: Kind = PICTURE, *, if_absent: bool = False) -> str:
        """Store some bytes, and return their etag."""
        return self.store.put(
            key,
            io.BytesIO(data),
            size=len(data),
            sha256=sha256_of(data),
            kind=kind,
            if_absent=if_absent,
        )

    def stored(self, data: bytes, kind: Kind = PICTURE) -> str:
        """Store some bytes below a new key."""
        key = self.key()
        self.put(key, data, kind)
        return key

    def fetch(self, key: str, size: int, *, seconds: float = PATIENCE_SECONDS) -> bytes:
        """Fetch a key and return its bytes; what is told on the way must be true and in order."""
        told, threads = [0], set()

        def progress(done: int) -> None:
            told.append(done)
            threads.add(threading.get_ident())

        with tempfile.TemporaryFile() as file:
            until = time.monotonic() + seconds
            self.store.fetch(key, file.fileno(), size=size, progress=progress, until=until)
            data = file.read()
        expect(told == sorted(set(told)), f"progress goes up: {told}")
        expect(told[-1] == size, f"progress ends at {size}, not {told[-1]}")
        expect(threads <= {threading.get_ident()}, "progress is told by the calling thread")
        return data

    def copy(self, source: str, key: str, data: bytes, *, overwrite: bool = False) -> None:
        """Copy to a key, with another kind."""
        digest = sha256_of(data)
        self.store.copy(source, key, kind=DOCUMENT, sha256=digest, overwrite=overwrite)


def expect(kept: bool, detail: str) -> None:
    """Raise unless the promise was kept; unlike an assert this works under ``python -O``."""
    if not kept:
        raise AssertionError(detail)


def refused(error: type[HandoffError], call: Callable[..., object], *given: Any) -> None:
    """Expect an error of a call."""
    try:
        call(*given)
    except error:
        return
    raise AssertionError(f"expected {error.__name__}")


def some_bytes(size: int) -> bytes:
    """Return bytes without a pattern, the same each time."""
    return random.Random(size).randbytes(size)  # noqa: S311  # nothing is secret here


def sha256_of(data: bytes) -> str:
    """Return a digest as the protocol wants it."""
    return hashlib.sha256(data).hexdigest()


def in_threads(work: Callable[[Any], object], items: Iterable[object]) -> None:
    """Do the work for all items, several at a time; the first error is raised."""
    with ThreadPoolExecutor(RACERS, "s3handoff-check") as pool:
        list(pool.map(work, items))


def race(run: Callable[[int], object]) -> list[int]:
    """Start eight at one moment and return those that were not told that the key exists."""
    won: list[int] = []
    start = threading.Barrier(RACERS)

    def racer(n: int) -> None:
        start.wait(PATIENCE_SECONDS)
        with contextlib.suppress(AlreadyExists):
            run(n)
            won.append(n)

    in_threads(racer, range(RACERS))
    return won


def expect_served(url: str, data: bytes, kind: Kind) -> None:
    """Fetch an address and compare bytes, type and disposition."""
    served = get(url)
    expect(served is not None, "the address was refused")
    expect(served == (data, kind.content_type, kind.disposition), f"served as {served}")


def get(url: str) -> tuple[bytes, str | None, str | None] | None:
    """Fetch an address as a browser would; None if it is refused."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310  # the store's own address
            headers = answer.headers
            return answer.read(), headers["Content-Type"], headers["Content-Disposition"]
    except urllib.error.HTTPError as refused:
        refused.close()
        return None
