"""Probes: a few bytes written, read, fetched by URL and deleted, to see what a store does.

They lie below staging, where a lifecycle rule would empty them out, and for a moment below each
place. What is found is told as a ``Finding``.
"""

from __future__ import annotations

import hashlib
import io
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal

from .config import HandoffConfig, Place
from .errors import AlreadyExists, Corrupt, HandoffError
from .paths import new_relpath, random_name
from .provision import reason_of
from .s3admin import BucketAdmin
from .store import Store, kind_of

State = Literal["ok", "warning", "failure"]
SLOW_SECONDS = 0.25
KIND = kind_of("s3handoff-check.txt", "text/plain")
GRANT = "give the servers what `flask s3handoff policy` prints"
SHUT = "take away what opens it: a bucket policy, an ACL, or a public web server on this store"


@dataclass(frozen=True)
class Finding:
    """One line of a check-up: what was looked at, what was found, and what mends it."""

    name: str
    state: State
    text: str
    mend: str = ""


@dataclass
class Probe:
    """One store under examination."""

    store: Store
    config: HandoffConfig
    admin: BucketAdmin | None = None
    _written: list[str] = field(default_factory=list)

    def findings(self) -> Iterator[Finding]:
        """Examine the store; what it wrote is deleted on every path."""
        try:
            yield from self._findings()
        finally:
            left = [key for key in self._written if not self._deleted(key)]
        if left:
            text = f"{len(left)} probes stay until the lifecycle rule comes: servers may not delete"
            yield Finding("delete", "ok", f"{text} in staging")
        else:
            yield Finding("delete", "ok", "the probes are gone")

    def _findings(self) -> Iterator[Finding]:
        data = random_name().encode()
        try:
            self._put(data)  # and makes the connection, which the next need not wait for
            key = self._written[0]
            wrote = self._seconds(lambda: self._put(data))
            read = self._seconds(lambda: self._expect(key, data))
        except HandoffError as error:
            yield Finding("write and read", "failure", reason_of(error), GRANT)
            return
        yield _speed(wrote, read)
        yield from _told("presigned URL", self._url(key, data))
        yield from _told("staging", self._plain_url(key))
        yield from _told("conditional writes", self._if_absent(key, data))
        yield from _told("checksums", self._checksum(data))
        yield from _told("conditional copies", self._conditional_copy(key))
        for place in self.config.places:
            yield from _told(place.prefix, self._place(place, key, data))

    def _url(self, key: str, data: bytes) -> Iterator[Finding]:
        if not self.store.capabilities.presigned_urls:
            yield Finding("presigned URL", "ok", "none here: a signed route of the app instead")
            return
        seen = _get(self.store.url(key, expires_seconds=60))
        if seen == data:
            yield Finding("presigned URL", "ok", "opens the file")
        else:
            text = "does not open the file from here: " + (
                seen if isinstance(seen, str) else "other bytes"
            )
            yield Finding(
                "presigned URL", "failure", text, "the endpoint must be reachable by browsers"
            )

    def _plain_url(self, key: str) -> Iterator[Finding]:
        """Staging is never public: without a signature nothing may open."""
        if not self.store.capabilities.presigned_urls:
            return
        plain = self.store.url(key, expires_seconds=60).partition("?")[0]
        if isinstance(_get(plain), bytes):
            yield Finding("staging", "failure", "anybody can read it without a signature", SHUT)
        else:
            yield Finding("staging", "ok", "is not public: without a signature it is refused")

    def _if_absent(self, key: str, data: bytes) -> Iterator[Finding]:
        try:
            self._put(data + b"2", key, if_absent=True)
        except AlreadyExists:
            yield Finding("conditional writes", "ok", "of two writers one is refused")
            return
        text = "this endpoint overwrites all the same: of two writers at once the last wins"
        yield Finding("conditional writes", "warning", text, "give permanent files unique keys")

    def _checksum(self, data: bytes) -> Iterator[Finding]:
        try:
            self._put(data, digest_of=b"others")
        except Corrupt:
            yield Finding("checksums", "ok", "bytes with another digest are refused")
            return
        text = (
            "not checked by this endpoint: damage on the way is found only when a file is fetched"
        )
        yield Finding("checksums", "warning", text, "serve it by https, which notices damage too")

    def _conditional_copy(self, key: str) -> Iterator[Finding]:
        if self.admin is None:
            return
        self._put(b"taken")
        if self.admin.has_conditional_copy(key, self._written[-1]):
            yield Finding("conditional copies", "ok", "of two promotions one is refused")
            return
        text = "not done by this endpoint: promote() looks first, and leaves a moment in between"
        yield Finding("conditional copies", "warning", text, "promote to unique keys")

    def _place(self, place: Place, source: str, data: bytes) -> Iterator[Finding]:
        key = f"{place.prefix}s3handoff-check-{random_name()}.txt"
        sha256 = hashlib.sha256(data).hexdigest()
        self.store.copy(source, key, kind=KIND, sha256=sha256, overwrite=True)
        try:
            self._expect(key, data)
            if place.public_url and (seen := _get(self.store.url(key, expires_seconds=60))) != data:
                text = f"{place.public_url} does not serve its files"
                mend = "let the CDN read the bucket, or take 'public_url' out"
                yield Finding(place.prefix, "warning", f"{text}: {seen!r:.60}", mend)
                return
        finally:
            self.store.delete(key)
        yield Finding(place.prefix, "ok", "promoted to, read and deleted")

    def _put(
        self, data: bytes, key: str = "", *, if_absent: bool = False, digest_of: bytes = b""
    ) -> None:
        if not key:
            key = self.config.prefix + new_relpath("s3handoff-check.txt")
            self._written.append(key)
        sha256 = hashlib.sha256(digest_of or data).hexdigest()
        self.store.put(
            key, io.BytesIO(data), size=len(data), sha256=sha256, kind=KIND, if_absent=if_absent
        )

    def _expect(self, key: str, data: bytes) -> None:
        with closing(self.store.open(key)) as opened:
            if opened.read(len(data)) != data:
                raise Corrupt(verb="get_object", detail="other bytes")

    def _deleted(self, key: str) -> bool:
        try:
            self.store.delete(key)
        except HandoffError:
            return False
        return True

    def _seconds(self, work: Callable[[], None]) -> float:
        began = time.monotonic()
        work()
        return time.monotonic() - began


def _told(name: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """Yield what a check finds; what the store refuses is a failure of this check, not of all."""
    try:
        yield from check
    except HandoffError as error:
        yield Finding(name, "failure", reason_of(error), GRANT)


def _speed(wrote: float, read: float) -> Finding:
    text = f"a small PUT took {wrote * 1000:.0f} ms, a GET {read * 1000:.0f} ms"
    if max(wrote, read) < SLOW_SECONDS:
        return Finding("latency", "ok", text)
    return Finding("latency", "warning", text, "put bucket and servers into one region")


def _get(url: str) -> bytes | str:
    """Return what an address gives to anybody, or the reason why not."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own store's address
            return bytes(answer.read(1000))
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except (OSError, ValueError) as error:
        return type(error).__name__


def date_of(url: str) -> str | None:
    """Return the ``Date`` that a server writes, whatever else it answers."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - our own store's address
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
            return str(answer.headers["Date"])
    except urllib.error.HTTPError as error:
        with closing(error):
            return str(error.headers["Date"])
    except (OSError, ValueError):
        return None
