"""One bucket, and how it is asked: always with its owner, again where that helps, within a time.

Every request to S3 goes through ``Bucket.ask``.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from .errors import Corrupt, HandoffError, Missing, Unavailable
from .ranges import READ_BYTES
from .s3client import NO_HEADERS, Clients, is_amazon, sending, translated
from .store import SLOWEST_BYTES_PER_SECOND, Content, Entry

log = logging.getLogger("flask_s3handoff")

_PAUSES_SECONDS = (0.05, 0.2)
_CONFLICTS = ("ConditionalRequestConflict", "OperationAborted", "409")
_STALE_CREDENTIALS = ("ExpiredToken", "ExpiredTokenException")


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """Where the keys below one prefix live."""

    name: str
    clients: Clients
    prefix: str = ""
    region: str | None = None
    owner: str | None = None
    acl: str | None = None
    public_url: str | None = None

    @property
    def client(self) -> Any:
        """The SDK's client for this bucket, in this process."""
        return self.clients.get(self.region, dotted="." in self.name)

    def ask(self, verb: str, headers: Mapping[str, str] = NO_HEADERS, /, **params: Any) -> Any:
        """Ask once, and again after a conflict with another writer (F14) or with new credentials.

        The owner is named each time: a bucket that somebody else has by now refuses (T28, P6).
        """
        if self.owner:
            params["ExpectedBucketOwner"] = self.owner
        for pause in _PAUSES_SECONDS:
            try:
                return self._ask_once(verb, headers, params)
            except Unavailable as error:
                self._raise_unless_worth_another(error)
            time.sleep(pause)
        return self._ask_once(verb, headers, params)

    def is_amazon(self) -> bool:
        """Tell whether Amazon is asked, which contacts nobody."""
        with translated("client", self.name):
            return is_amazon(self.client)

    def _ask_once(self, verb: str, headers: Mapping[str, str], params: dict[str, Any]) -> Any:
        if "Body" in params:
            params["Body"].seek(0)
        where = f"{self.name}/{params.get('Key') or params.get('Prefix', '')}"
        with translated(verb, where), sending(headers):
            return getattr(self.client, verb)(Bucket=self.name, **params)

    def _raise_unless_worth_another(self, error: Unavailable) -> None:
        if error.facts["detail"] in _STALE_CREDENTIALS:
            self.clients.forget()
        elif error.facts["detail"] not in _CONFLICTS:
            raise error


def said(answer: dict[str, Any], *names: str) -> Any:
    """Return what an answer says under the first of these names; one that lacks all is none."""
    for name in names:
        if name in answer:
            return answer[name]
    raise Unavailable(f"The store's answer names no {names[0]}.", detail=f"no {names[0]}")


class Timed:
    """A body that cannot be read when its time is over: no slow taker holds us (F4)."""

    def __init__(self, body: Content, size: int, seconds: float) -> None:
        self._body = body
        self._size = size
        self._position = 0
        self._until = time.monotonic() + seconds + size / SLOWEST_BYTES_PER_SECOND

    def __len__(self) -> int:
        return self._size

    def tell(self) -> int:
        """Return the position; the SDK measures and rewinds by it."""
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position, for another attempt."""
        self._position = self._body.seek(offset, whence)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return bytes, or raise ``TimeoutError`` when the time is over."""
        if time.monotonic() >= self._until:
            raise TimeoutError("the store takes this file too slowly")
        data = self._body.read(size)
        self._position += len(data)
        return data


class Arriving:
    """The body of an answer, for ``ranges.fill``: ``read1`` waits for no more than there is."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def __enter__(self) -> Any:
        # The SDK's body has no read1; what it gives to a `with` has, from urllib3 2.1 on.
        raw = self._body.__enter__()
        return raw if hasattr(raw, "read1") else _Unhurried(raw)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection: back to the pool if it was read to its end."""
        self._body.close()


class _Unhurried:
    """An older transport: read in small bites, each of which may have to be waited for."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read1(self, size: int, /) -> bytes:
        return bytes(self._raw.read(min(size, 16 << 10)))


class S3Opened:
    """A permanent file while it is being read; what is counted is the time that reads take."""

    def __init__(self, body: Any, entry: Entry, seconds: float) -> None:
        self.entry = entry
        self._body = Arriving(body)
        self._reader = self._body.__enter__()
        self._left = entry.size
        self._patience = seconds + entry.size / SLOWEST_BYTES_PER_SECOND

    def read(self, size: int = -1, /) -> bytes:
        """Return what has arrived, at most ``size`` bytes, or all that is left."""
        if size < 0:
            return b"".join(iter(lambda: self.read(READ_BYTES), b""))
        before = time.monotonic()
        with translated("get_object", self.entry.key):
            data = bytes(self._reader.read1(size))
        self._patience -= time.monotonic() - before
        self._left -= len(data)
        if self._patience < 0 or (size and self._left and not data):
            raise Unavailable(verb="get_object", detail="deadline" if data else "cut")
        return data

    def close(self) -> None:
        """Let go of the connection; idempotent."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(kw_only=True)
class Upload:
    """A multipart upload: parts from several threads, then one object or nothing."""

    bucket: Bucket
    key: str
    upload_id: str
    seconds: float
    _parts: dict[int, tuple[str, int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _aborted: threading.Event = field(default_factory=threading.Event)

    def part(self, number: int, body: Content, size: int) -> None:
        """Send one part; one that lands after the abort is dropped as well."""
        if self._aborted.is_set():
            raise Unavailable(verb="upload_part", detail="aborted")
        timed = Timed(body, size, self.seconds)
        answer = self._ask("upload_part", PartNumber=number, Body=timed, ContentLength=size)
        with self._lock:
            self._parts[number] = (said(answer, "ETag"), size)
        if self._aborted.is_set():
            self.abort()

    def complete(self, *, size: int, sha256: str) -> None:  # noqa: ARG002  # S3 keeps no digest of the whole
        """Make one object of the parts, whose length S3 checks too."""
        if sum(length for _, length in self._parts.values()) != size:
            raise Corrupt("The parts of this upload are not the whole file.")
        parts = [
            {"PartNumber": number, "ETag": etag}
            for number, (etag, _) in sorted(self._parts.items())
        ]
        try:
            self._ask(
                "complete_multipart_upload", MultipartUpload={"Parts": parts}, MpuObjectSize=size
            )
        except Unavailable as error:
            # The first answer was lost: the upload is gone because the object is there.
            if error.facts["detail"] != "NoSuchUpload" or not self._is_there(size):
                raise

    def _is_there(self, size: int) -> bool:
        try:
            return bool(self.bucket.ask("head_object", Key=self.key).get("ContentLength") == size)
        except Missing:
            return False

    def abort(self) -> None:
        """Drop all parts; what cannot be dropped now is left to the lifecycle rule (P8)."""
        self._aborted.set()
        try:
            self._ask("abort_multipart_upload")
        except HandoffError as error:
            if error.facts.get("detail") != "NoSuchUpload":
                log.warning("The parts of %s stay for the lifecycle rule", self.key)

    def _ask(self, verb: str, **params: Any) -> Any:
        return self.bucket.ask(verb, Key=self.key, UploadId=self.upload_id, **params)
