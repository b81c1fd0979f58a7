"""A strict S3 of our own, in this process: it refuses whatever S3 refuses, and fails as it is told.

Unlike ``ScriptedS3``, over which it is built, it keeps objects and answers by itself; unlike moto it
checks signatures, owners, digests and conditions, takes no ACL, no ``aws-chunked`` body and no
header that it does not know. Faults stand in its way, by kind of request::

    with StrictS3().running() as s3:
        s3.fail("PUT", Answer.error(503, "SlowDown"), times=2)     # instead of the PUT
        s3.fail("GET", damaged(flip_a_bit))                        # the GET's answer, changed
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import secrets
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Self
from urllib.parse import quote, unquote
from xml.sax.saxutils import escape

from tests import leaks
from tests.scripted import Answer, Asked, ScriptedS3
from tests.servers.counting import S3Request, parse
from tests.servers.s3 import S3Server
from tests.servers.sigv4 import Judge, Key, Refused

OWNER = "123456789012"
REGION = "eu-west-1"
MIB = 1 << 20
FLOOR = 5 * MIB
_KNOWN = re.compile(
    r"x-amz-(date|content-sha256|security-token|meta-.+|metadata-directive|acl"
    r"|expected-bucket-owner|source-expected-bucket-owner|mp-object-size|server-side-encryption.*"
    r"|(sdk-)?checksum-(algorithm|sha256|mode|type)|copy-source(-if-(none-)?match)?)"
)
Proceed = Callable[[], Answer]
Fault = Callable[[Asked, Proceed], Answer]


@dataclass(frozen=True)
class Stored:
    """One object."""

    data: bytes
    headers: dict[str, str]
    modified: datetime
    etag: str

    @property
    def sha256(self) -> str:
        """The digest of the bytes, base64 as S3 tells it."""
        return _base64_sha256(self.data)


@dataclass
class Unfinished:
    """A multipart upload on its way."""

    bucket: str
    key: str
    headers: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)


class StrictS3(ScriptedS3):
    """Buckets of one owner in one region."""

    def __init__(self, *, checks: bool = True) -> None:
        super().__init__()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Unfinished] = {}
        self.keys = {"AKSTRICT000000000001": Key("strict-secret-access-key")}
        self.owner = OWNER
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.kinds: list[str] = []
        self._checks = checks
        self._faults: list[_Planned] = []
        self._guard = threading.RLock()

    @property
    def server(self) -> S3Server:
        """How to reach it: its address and the first of its keys."""
        name, key = next(iter(self.keys.items()))
        return S3Server("strict", self.url, name, key.secret, REGION)

    def bucket(self, name: str = "staging") -> str:
        """Make a bucket."""
        self.buckets.setdefault(name, {})
        return name

    # Faults

    def fail(
        self, kind: str, fault: Answer | Fault, *, times: int | None = 1, after: int = 0
    ) -> None:
        """Let requests of a kind fail: so many of them (all for ``None``), the first ``after`` not."""
        step = fault if callable(fault) else (lambda _asked, _proceed, said=fault: said)
        with self._guard:
            self._faults.append(_Planned(kind, step, times, after))

    def heal(self) -> None:
        """Be well again; forget what was asked."""
        with self._guard:
            self._faults.clear()
            self.asked, self.kinds = [], []

    def count(self, *kinds: str) -> int:
        """How often it was asked, for these kinds or at all."""
        return sum(1 for kind in self.kinds if not kinds or kind in kinds)

    def unfinished(self) -> list[str]:
        """The keys of multipart uploads that were neither completed nor aborted."""
        with self._guard:
            return [upload.key for upload in self.uploads.values()]

    def apply_lifecycle(self) -> int:
        """Drop unfinished uploads, as the rule of the bucket does after a day; return how many."""
        with self._guard:
            count = len(self.uploads)
            self.uploads.clear()
            return count

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Serve until the end of the block; what is unfinished then fails the test."""
        leaks.watch_store(self.url, self.unfinished)
        with super().running():
            yield self

    # One request

    def next(self, asked: Asked) -> Answer:
        """Answer a request, unless a fault stands in its way."""
        request = _parsed(asked)
        kind = _kind_of(request)
        with self._guard:
            self.asked.append(asked)
            self.kinds.append(kind)
            planned = next((fault for fault in self._faults if fault.takes(kind)), None)

        def proceed() -> Answer:
            with self._guard:
                return self._checked(kind, request, asked)

        return planned.fault(asked, proceed) if planned else proceed()

    def _checked(self, kind: str, request: S3Request, asked: Asked) -> Answer:
        try:
            if self._checks:
                judge = Judge(self.keys, REGION, self.now())
                judge.check(asked.method, asked.target, asked.headers, asked.body)
                self._check_rest(request, asked)
            handler: Callable[[S3Request, bytes], Answer] = getattr(self, f"_{kind.lower()}")
            return handler(request, asked.body)
        except Refused as refused:
            return _document(refused)

    def _check_rest(self, request: S3Request, asked: Asked) -> None:
        headers = request.headers
        for name in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
            if headers.get(name, self.owner) != self.owner:
                raise Refused(403, "AccessDenied", "another owner")
        if "x-amz-acl" in headers:
            raise Refused(400, "AccessControlListNotSupported")
        if unknown := [n for n in headers if n.startswith("x-amz-") and not _KNOWN.fullmatch(n)]:
            raise Refused(501, "NotImplemented", f"{unknown}")
        if "aws-chunked" in headers.get("content-encoding", "") or "x-amz-trailer" in headers:
            raise Refused(501, "NotImplemented", "trailers")
        _check_digests(headers, asked.body)

    # What it does, by kind

    def _put(self, request: S3Request, body: bytes) -> Answer:
        objects = self._objects(request)
        _check_free(request, objects.get(request.key))
        stored = Stored(body, _kept(request), self.now(), _etag(body))
        objects[request.key] = stored
        return Answer(headers={"ETag": stored.etag, "x-amz-checksum-sha256": stored.sha256})

    def _get(self, request: S3Request, _body: bytes) -> Answer:
        stored = self._stored(request)
        headers = _told(stored, request)
        if (wanted := request.headers.get("if-match")) and wanted != stored.etag:
            raise Refused(412, "PreconditionFailed")
        if request.headers.get("if-none-match") == stored.etag:
            return Answer(304, headers={"ETag": stored.etag})
        if said := request.headers.get("range"):
            return _range(stored, said, headers)
        return Answer(200, stored.data, headers)

    def _head(self, request: S3Request, _body: bytes) -> Answer:
        stored = self._stored(request)
        return Answer(200, stored.data, _told(stored, request))

    def _delete(self, request: S3Request, _body: bytes) -> Answer:
        self._objects(request).pop(request.key, None)
        return Answer(204)

    def _copy(self, request: S3Request, _body: bytes) -> Answer:
        bucket, _, key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        source = self._stored(S3Request("GET", f"/{bucket}/{quote(key)}", {}, {}))
        if request.headers.get("x-amz-copy-source-if-match", source.etag) != source.etag:
            raise Refused(412, "PreconditionFailed")
        if request.headers.get("x-amz-copy-source-if-none-match") == source.etag:
            raise Refused(412, "PreconditionFailed")
        objects = self._objects(request)
        _check_free(request, objects.get(request.key))
        replaces = request.headers.get("x-amz-metadata-directive") == "REPLACE"
        headers = _kept(request) if replaces else source.headers
        objects[request.key] = replace(source, headers=headers, modified=self.now())
        inner = (
            f"<ETag>{escape(source.etag)}</ETag><ChecksumSHA256>{source.sha256}</ChecksumSHA256>"
        )
        return _xml("CopyObjectResult", inner)

    def _list(self, request: S3Request, _body: bytes) -> Answer:
        prefix, start = request.query.get("prefix", ""), request.query.get("continuation-token", "")
        most = int(request.query.get("max-keys", 1000))
        below = sorted(k for k in self._objects(request) if k.startswith(prefix) and k > start)
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(stored.data)}</Size>"
            f"<LastModified>{stored.modified:%Y-%m-%dT%H:%M:%SZ}</LastModified></Contents>"
            for key in below[:most]
            for stored in [self._objects(request)[key]]
        )
        more = (
            f"<NextContinuationToken>{escape(below[most - 1])}</NextContinuationToken>"
            if below[most:]
            else ""
        )
        return _xml(
            "ListBucketResult", f"{found}<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
        )

    def _bucket(self, request: S3Request, _body: bytes) -> Answer:
        if request.method == "PUT":
            self.bucket(request.bucket)
        self._objects(request)
        return Answer()

    def _begin(self, request: S3Request, _body: bytes) -> Answer:
        self._objects(request)
        name = secrets.token_hex(8)
        self.uploads[name] = Unfinished(request.bucket, request.key, _kept(request))
        return _xml("InitiateMultipartUploadResult", f"<UploadId>{name}</UploadId>")

    def _part(self, request: S3Request, body: bytes) -> Answer:
        self._upload(request).parts[int(request.query["partNumber"])] = body
        return Answer(headers={"ETag": _etag(body)})

    def _complete(self, request: S3Request, body: bytes) -> Answer:
        upload = self._upload(request)
        chosen = [_chosen(part) for part in ET.fromstring(body).iter() if part.tag.endswith("Part")]  # noqa: S314 - our own SDK's
        parts = [_checked_part(upload, *part) for part in chosen]
        if [number for number, _ in chosen] != sorted({number for number, _ in chosen}):
            raise Refused(400, "InvalidPartOrder")
        if any(len(part) < FLOOR for part in parts[:-1]):
            raise Refused(400, "EntityTooSmall")
        data = b"".join(parts)
        if int(request.headers.get("x-amz-mp-object-size", len(data))) != len(data):
            raise Refused(400, "InvalidRequest", "x-amz-mp-object-size")
        objects = self._objects(request)
        _check_free(request, objects.get(request.key))
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(parts)}"'
        objects[request.key] = Stored(data, upload.headers, self.now(), etag)
        del self.uploads[request.query["uploadId"]]
        return _xml("CompleteMultipartUploadResult", f"<ETag>{escape(etag)}</ETag>")

    def _abort(self, request: S3Request, _body: bytes) -> Answer:
        self._upload(request)
        del self.uploads[request.query["uploadId"]]
        return Answer(204)

    def _uploads(self, request: S3Request, _body: bytes) -> Answer:
        found = [(n, u.key) for n, u in self.uploads.items() if u.bucket == request.bucket]
        rows = (
            f"<Upload><Key>{escape(k)}</Key><UploadId>{n}</UploadId></Upload>" for n, k in found
        )
        return _xml("ListMultipartUploadsResult", "".join(rows))

    def _objects(self, request: S3Request) -> dict[str, Stored]:
        if request.bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket")
        return self.buckets[request.bucket]

    def _stored(self, request: S3Request) -> Stored:
        objects = self._objects(request)
        if request.key not in objects:
            raise Refused(404, "NoSuchKey")
        return objects[request.key]

    def _upload(self, request: S3Request) -> Unfinished:
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (request.bucket, request.key):
            raise Refused(404, "NoSuchUpload")
        return upload


@dataclass
class _Planned:
    kind: str
    fault: Fault
    times: int | None
    after: int

    def takes(self, kind: str) -> bool:
        """Tell whether this request fails, and count it."""
        if self.kind not in (kind, "any") or self.times == 0:
            return False
        if self.after:
            self.after -= 1
            return False
        self.times = None if self.times is None else self.times - 1
        return True


def damaged(change: Callable[[Answer], Answer]) -> Fault:
    """Do what was asked, and change the answer."""
    return lambda _asked, proceed: change(proceed())


def done_but_lost(answer: Answer) -> Fault:
    """Do what was asked, and answer something else: the first answer was lost."""

    def fault(_asked: Asked, proceed: Proceed) -> Answer:
        proceed()
        return answer

    return fault


def _parsed(asked: Asked) -> S3Request:
    request = parse(f"{asked.method} {asked.target} HTTP/1.1\r\n".encode())
    return replace(request, headers=asked.headers)


def _kind_of(request: S3Request) -> str:
    if request.kind == "BUCKET" or (request.kind == "MULTIPART" and not request.key):
        return "UPLOADS" if "uploads" in request.query else "BUCKET"
    if request.kind != "MULTIPART":
        return request.kind
    if request.method == "DELETE":
        return "ABORT"
    return "BEGIN" if "uploads" in request.query else "COMPLETE"


def _document(refused: Refused) -> Answer:
    rest = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in refused.details.items())
    body = f"<Error><Code>{refused.code}</Code>{rest}</Error>".encode()
    return Answer(refused.status, body, {"Content-Type": "application/xml"})


def _xml(root: str, inner: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?><{root}>{inner}</{root}>'
    return Answer(body=body.encode(), headers={"Content-Type": "application/xml"})


def _check_digests(headers: dict[str, str] | object, body: bytes) -> None:
    assert isinstance(headers, dict)
    if headers.get("x-amz-checksum-sha256", said := _base64_sha256(body)) != said:
        raise Refused(400, "BadDigest", "x-amz-checksum-sha256")
    md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    if headers.get("content-md5", md5) != md5:
        raise Refused(400, "BadDigest", "Content-MD5")


def _check_free(request: S3Request, there: Stored | None) -> None:
    if request.headers.get("if-none-match") == "*" and there is not None:
        raise Refused(412, "PreconditionFailed")
    wanted = request.headers.get("if-match")
    if wanted is not None and (there is None or wanted != there.etag):
        raise Refused(412, "PreconditionFailed")


def _kept(request: S3Request) -> dict[str, str]:
    names = ("content-type", "content-disposition", "content-encoding", "cache-control")
    return {
        name: value
        for name, value in request.headers.items()
        if name in names or name.startswith("x-amz-meta-")
    }


def _told(stored: Stored, request: S3Request) -> dict[str, str]:
    said = {
        n.removeprefix("response-"): v
        for n, v in request.query.items()
        if n.startswith("response-")
    }
    fixed = {"ETag": stored.etag, "Last-Modified": format_datetime(stored.modified, usegmt=True)}
    return {**stored.headers, **said, **fixed}


def _range(stored: Stored, said: str, headers: dict[str, str]) -> Answer:
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", said)
    size = len(stored.data)
    if match is None or int(match[1]) >= size:
        raise Refused(416, "InvalidRange")
    first, last = int(match[1]), min(int(match[2] or size - 1), size - 1)
    named = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
    return Answer(206, stored.data[first : last + 1], named)


def _chosen(part: ET.Element) -> tuple[int, str]:
    said = {child.tag.rpartition("}")[2]: child.text or "" for child in part}
    return int(said["PartNumber"]), said["ETag"]


def _checked_part(upload: Unfinished, number: int, etag: str) -> bytes:
    part = upload.parts.get(number)
    if part is None or _etag(part).strip('"') != etag.strip('"'):
        raise Refused(400, "InvalidPart")
    return part


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def _base64_sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()
