"""S3Store against a server that answers as scripted: what is asked, and what is made of the answer."""

from __future__ import annotations

import base64
import errno
import gc
import hashlib
import io
import logging
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3.session
import pytest
from botocore.awsrequest import AWSResponse

from flask_s3handoff.config import HandoffConfig, Place
from flask_s3handoff.errors import (
    AlreadyExists,
    ConfigError,
    Corrupt,
    HandoffError,
    InvalidKey,
    Missing,
    TooLarge,
    Unavailable,
)
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import AWS, CEPH_RGW, SEAWEEDFS, kind_of
from tests.scripted import Answer, Asked, ScriptedS3, Step, serving
from tests.sentinels import sentinel
from tests.servers.process import wait_until

KEY = "handoff/20261123/aaaaaaaaaaaaaaaaaaaaaaaaaa/leo.jpg"
PICTURE = kind_of("leo.jpg", "image/jpeg")
OWNER, OTHER_OWNER = "123456789012", "210987654321"
KEY_ID, SECRET = "AKSENTINELKEYID00001", sentinel("sentinel-secret-access-key")
MIB = 1 << 20


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedS3]:
    """The scripted server, and credentials for it in the SDK's chain."""
    with pytest.MonkeyPatch.context() as patch, ScriptedS3().running() as running:
        patch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setattr(running, "factory", boto3.session.Session().client, raising=False)
        yield running


@pytest.fixture(scope="module")
def store(server: ScriptedS3) -> S3Store:
    """A store of that server, as an app would make it."""
    return make(server, owner=OWNER, capabilities=AWS)


def make(server: ScriptedS3, **options: Any) -> S3Store:
    """A store of that server; all share one session, which takes long to make."""
    given = {
        "bucket": "staging",
        "region": "eu-west-1",
        "endpoint_url": server.url,
        "deadline_seconds": 20.0,
        "client_factory": getattr(server, "factory", None),
    }
    return S3Store(**{**given, **options})


def put(store: S3Store, key: str = KEY, data: bytes = b"picture", **options: Any) -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=PICTURE, **options)


def fetch(store: S3Store, size: int, *, seconds: float = 10.0) -> bytes:
    with tempfile.TemporaryFile() as file:
        until = time.monotonic() + seconds
        store.fetch(KEY, file.fileno(), size=size, progress=lambda _: None, until=until)
        return file.read()


def copy(store: S3Store, data: bytes = b"x", key: str = "users/1/leo.jpg", **options: Any) -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.copy(KEY, key, kind=PICTURE, sha256=digest, **{"overwrite": False, **options})


def sha256_header(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def listing(*keys: str, more: str = "") -> Answer:
    """A page of a listing."""
    entries = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size>"
        "<LastModified>2026-11-23T10:00:00Z</LastModified></Contents>"
        for key in keys
    )
    rest = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{more}</NextContinuationToken>"
    return Answer(
        body=f"<ListBucketResult>{entries}{rest if more else ''}</ListBucketResult>".encode()
    )


UPLOADED = Answer(body=b"<R><UploadId>u1</UploadId></R>")
COPIED = Answer(body=b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")


class TestWhatIsAsked:
    """Requests carry what the design asks for, and nothing that costs a round trip."""

    def test_a_put_names_digest_kind_and_length(self, server: ScriptedS3, store: S3Store) -> None:
        """S3 itself checks the bytes, and keeps type, disposition and digest."""
        server.will(Answer())
        put(store)
        (asked,) = server.asked
        assert (asked.method, asked.path, asked.body) == ("PUT", f"/staging/{KEY}", b"picture")
        assert asked.headers["x-amz-checksum-sha256"] == sha256_header(b"picture")
        assert asked.headers["x-amz-meta-sha256"] == hashlib.sha256(b"picture").hexdigest()
        assert asked.headers["content-type"] == "image/jpeg"
        assert asked.headers["content-disposition"] == 'inline; filename="leo.jpg"'
        assert asked.headers["content-length"] == "7"

    def test_no_request_waits_for_100_continue(self, server: ScriptedS3, store: S3Store) -> None:
        """`Expect` would double the time of a small PUT (calls: Expect headers = 0)."""
        server.will(Answer())
        put(store)
        server.will(UPLOADED, Answer())
        store.begin(KEY, kind=PICTURE).part(1, io.BytesIO(b"part"), 4)
        assert not [asked for asked in server.asked if "expect" in asked.headers]

    def test_the_sdk_adds_no_checksum_of_its_own(self, server: ScriptedS3, store: S3Store) -> None:
        """Trailers and CRCs break S3-compatible servers over TLS (F44)."""
        server.will(UPLOADED, Answer())
        store.begin(KEY, kind=PICTURE).part(1, io.BytesIO(b"part"), 4)
        for asked in server.asked:
            assert not [name for name in asked.headers if name.startswith("x-amz-checksum-")]
            assert "x-amz-sdk-checksum-algorithm" not in asked.headers
            assert "aws-chunked" not in asked.headers.get("content-encoding", "")

    def test_t28_every_call_names_the_owner(self, server: ScriptedS3) -> None:
        """A bucket that somebody else has by now refuses every verb (T28, P6)."""
        store = make(server, owner=OWNER, capabilities=CEPH_RGW)
        for count, answers, call in every_call(store):
            server.will(*answers)
            call()
            owners = [a.headers.get("x-amz-expected-bucket-owner") for a in server.asked]
            assert owners == [OWNER] * count, server.methods()
            copies = [a for a in server.asked if "x-amz-copy-source" in a.headers]
            assert {a.headers["x-amz-source-expected-bucket-owner"] for a in copies} <= {OWNER}

    def test_no_owner_is_named_unless_configured(self, server: ScriptedS3) -> None:
        """Most buckets have none configured."""
        server.will(Answer())
        put(make(server))
        assert "x-amz-expected-bucket-owner" not in server.asked[0].headers

    def test_encryption_is_asked_for_on_every_write(self, server: ScriptedS3) -> None:
        """A KMS key implies its algorithm; reads name neither (P5)."""
        store = make(server, kms_key_id="alias/uploads", capabilities=SEAWEEDFS)
        server.will(Answer(), UPLOADED, COPIED, Answer())
        put(store)
        store.begin(KEY, kind=PICTURE)
        copy(store)
        store.stat(KEY)
        named = [a.headers.get("x-amz-server-side-encryption") for a in server.asked]
        keys = [a.headers.get("x-amz-server-side-encryption-aws-kms-key-id") for a in server.asked]
        assert named == ["aws:kms"] * 3 + [None]
        assert keys == ["alias/uploads"] * 3 + [None]

    def test_a_copy_replaces_kind_and_digest(self, server: ScriptedS3, store: S3Store) -> None:
        """What the source was stored as does not travel with it."""
        server.will(COPIED)
        copy(store, b"x")
        headers = server.asked[0].headers
        assert headers["x-amz-copy-source"] == f"staging/{KEY}"
        assert headers["x-amz-metadata-directive"] == "REPLACE"
        assert headers["x-amz-meta-sha256"] == hashlib.sha256(b"x").hexdigest()
        assert headers["if-none-match"] == "*"

    def test_an_overwriting_copy_has_no_condition(self, server: ScriptedS3, store: S3Store) -> None:
        """`overwrite=True` is one request, too."""
        server.will(COPIED)
        copy(store, overwrite=True)
        assert "if-none-match" not in server.asked[0].headers
        assert server.methods() == ["PUT"]


class Wire(io.BytesIO):
    """An empty answer, and what was about to be sent."""

    def __init__(self) -> None:
        super().__init__(b"<R><UploadId>u1</UploadId></R>")
        self.sent: list[Any] = []

    def factory(self, *given: Any, **options: Any) -> Any:
        """Make a client that sends to this wire."""
        client = boto3.session.Session().client(*given, **options)
        client.meta.events.register("before-send.s3", self.answer)
        return client

    def answer(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        self.seek(0)
        return AWSResponse(request.url, 200, {"ETag": "e"}, self)

    def stream(self) -> Iterator[bytes]:
        yield self.read()


def test_over_tls_the_payload_is_neither_signed_nor_framed(server: ScriptedS3) -> None:
    """`aws-chunked` bodies fail on Ceph over TLS only, which a test over plain HTTP hides (F44)."""
    wire = Wire()
    store = make(server, endpoint_url=None, client_factory=wire.factory, capabilities=AWS)
    put(store)
    store.begin(KEY, kind=PICTURE).part(1, io.BytesIO(b"part"), 4)
    single, _, part = wire.sent
    for request, length in ((single, b"7"), (part, b"4")):
        assert request.url.startswith("https://staging.s3.eu-west-1.amazonaws.com/handoff/")
        assert request.headers["X-Amz-Content-SHA256"] in (b"UNSIGNED-PAYLOAD", "UNSIGNED-PAYLOAD")
        assert request.headers["Content-Length"] in (length, length.decode())
        assert not {"Expect", "Content-Encoding", "X-Amz-Trailer"} & set(request.headers)


def every_call(store: S3Store) -> Iterator[tuple[int, list[Step], Callable[[], object]]]:
    """Each verb once, with the number of requests and the answers that it needs."""
    gone = Answer.error(404, "NoSuchKey")
    yield 1, [Answer()], lambda: put(store)
    yield 1, [Answer()], lambda: put(store, if_absent=True)
    yield 3, [UPLOADED, Answer(), Answer(body=b"<R/>")], lambda: upload(store)
    yield 2, [UPLOADED, Answer(204)], lambda: store.begin(KEY, kind=PICTURE).abort()
    yield 1, [serving(b"picture")], lambda: fetch(store, 7)
    yield 5, [serving(bytes(9 * MIB))], lambda: fetch(store, 9 * MIB)
    yield 1, [serving(b"picture")], lambda: store.open(KEY).close()
    yield 1, [Answer()], lambda: store.stat(KEY)
    yield 2, [gone, COPIED], lambda: copy(store)
    yield 1, [COPIED], lambda: copy(store, overwrite=True)
    yield 1, [Answer(204)], lambda: store.delete(KEY)
    yield 2, [listing("users/1/a", more="t"), listing()], lambda: list(store.list("users/1/"))


def upload(store: S3Store) -> None:
    started = store.begin(KEY, kind=PICTURE)
    started.part(1, io.BytesIO(b"part"), 4)
    started.complete(size=4, sha256="")


class TestWhere:
    """A key goes to the bucket of the longest place that it lies below."""

    @pytest.fixture
    def places(self, server: ScriptedS3) -> S3Store:
        """Staging, and three places."""
        return make(
            server,
            owner=OWNER,
            capabilities=AWS,
            places=(
                Place(prefix="users/"),
                Place(
                    prefix="users/public/", bucket="public", region="us-west-2", acl="public-read"
                ),
                Place(prefix="other/", bucket="other", owner=OTHER_OWNER),
            ),
        )

    @pytest.mark.parametrize(
        ("key", "bucket", "region", "owner", "acl"),
        [
            (KEY, "staging", "eu-west-1", OWNER, None),
            ("users/1/a", "staging", "eu-west-1", OWNER, None),
            ("users/public/a", "public", "us-west-2", OWNER, "public-read"),
            ("users/publicity", "staging", "eu-west-1", OWNER, None),
            ("other/a", "other", "eu-west-1", OTHER_OWNER, None),
        ],
    )
    def test_place(
        self,
        server: ScriptedS3,
        places: S3Store,
        key: str,
        bucket: str,
        region: str,
        owner: str,
        acl: str | None,
    ) -> None:
        """Bucket, region, owner and ACL are the place's; what it leaves out is the default's."""
        server.will(Answer())
        put(places, key)
        (asked,) = server.asked
        assert asked.path == f"/{bucket}/{key}"
        assert f"/{region}/s3/" in asked.headers["authorization"]
        assert asked.headers["x-amz-expected-bucket-owner"] == owner
        assert asked.headers.get("x-amz-acl") == acl

    def test_a_copy_may_cross_buckets(self, server: ScriptedS3, places: S3Store) -> None:
        """Each side has its own owner; the ACL is the target's."""
        server.will(COPIED)
        copy(places, key="other/a")
        (asked,) = server.asked
        assert asked.path == "/other/other/a"
        assert asked.headers["x-amz-copy-source"] == f"staging/{KEY}"
        assert asked.headers["x-amz-expected-bucket-owner"] == OTHER_OWNER
        assert asked.headers["x-amz-source-expected-bucket-owner"] == OWNER

    def test_a_listing_asks_the_place(self, server: ScriptedS3, places: S3Store) -> None:
        """A prefix that is the place itself lies in the place."""
        server.will(listing())
        assert list(places.list("other/")) == []
        assert (server.asked[0].path, server.asked[0].query["prefix"]) == ("/other", ["other/"])

    def test_an_acl_that_would_be_dropped_is_refused(self, server: ScriptedS3) -> None:
        """SeaweedFS takes `public-read` and keeps the file private, without a word."""
        with pytest.raises(ConfigError, match="acl"):
            make(server, places=(Place(prefix="a/", acl="public-read"),), capabilities=SEAWEEDFS)

    def test_the_configuration_arrives(self, server: ScriptedS3) -> None:
        """`from_config` hands every setting on."""
        config = HandoffConfig.from_mapping(
            {
                "S3HANDOFF_BUCKET": "configured",
                "S3HANDOFF_REGION": "ap-south-1",
                "S3HANDOFF_ENDPOINT_URL": server.url,
                "S3HANDOFF_BUCKET_OWNER": OWNER,
                "S3HANDOFF_SSE": "AES256",
                "S3HANDOFF_PLACES": {"users/": {"bucket": "people"}},
                "S3HANDOFF_DEADLINE": 2,
            }
        )
        server.will(Answer())
        store = S3Store.from_config(config)
        put(store)
        put(store, "users/1/a")
        staged, placed = server.asked
        assert (staged.path, placed.path) == (f"/configured/{KEY}", "/people/users/1/a")
        assert "/ap-south-1/s3/" in staged.headers["authorization"]
        assert staged.headers["x-amz-expected-bucket-owner"] == OWNER
        assert staged.headers["x-amz-server-side-encryption"] == "AES256"
        assert not store.capabilities.conditional_copy, "an unknown endpoint is not trusted to"


class TestErrors:
    """Whatever S3 says leaves as one of our errors, once."""

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (404, "NoSuchKey", Missing),
            (404, "NoSuchBucket", Unavailable),  # F7
            (403, "AccessDenied", Missing),  # F6
            (403, "InvalidAccessKeyId", Unavailable),  # F5
            (403, "SignatureDoesNotMatch", Unavailable),
            (403, "RequestTimeTooSkewed", Unavailable),  # F9
            (403, "InvalidObjectState", Unavailable),  # P18, B80
            (400, "ExpiredToken", Unavailable),
            (400, "KMS.DisabledException", Unavailable),
            (416, "InvalidRange", Corrupt),
            (429, "TooManyRequests", Unavailable),  # B77
            (500, "InternalError", Unavailable),  # F1
            (503, "SlowDown", Unavailable),  # F2
        ],
    )
    def test_b77_b80_reading(
        self, server: ScriptedS3, store: S3Store, status: int, code: str, error: type[HandoffError]
    ) -> None:
        """A GET that fails (B77, B80)."""
        server.will(Answer.error(status, code))
        for read in (lambda: fetch(store, 7), lambda: store.open(KEY)):
            with pytest.raises(HandoffError) as raised:
                read()
            assert type(raised.value) is error
            assert raised.value.__cause__ is not None
            assert raised.value.facts["detail"] == code

    @pytest.mark.parametrize(
        ("status", "code", "error"),
        [
            (400, "BadDigest", Corrupt),
            (400, "XAmzContentChecksumMismatch", Corrupt),
            (400, "InvalidDigest", Corrupt),
            (400, "AccessControlListNotSupported", ConfigError),  # P1
            (400, "KeyTooLongError", InvalidKey),
            (400, "EntityTooLarge", TooLarge),
            (400, "InvalidRequest", Unavailable),
            (403, "AccessDenied", Unavailable),
            (404, "NoSuchBucket", Unavailable),
            (409, "ConditionalRequestConflict", Unavailable),  # F14
            (412, "PreconditionFailed", AlreadyExists),
            (501, "NotImplemented", Unavailable),
            (503, "SlowDown", Unavailable),
        ],
    )
    def test_b77_b80_writing(
        self, server: ScriptedS3, store: S3Store, status: int, code: str, error: type[HandoffError]
    ) -> None:
        """A PUT that fails (B77, B80)."""
        server.will(Answer.error(status, code))
        with pytest.raises(HandoffError) as raised:
            put(store)
        assert type(raised.value) is error
        assert raised.value.facts["detail"] == code

    @pytest.mark.parametrize(
        "answer",
        [
            Answer(500, b"<html>oops</html>"),
            Answer(503),
            Answer(200, b"<not xml"),
            Answer(200, b"<!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>" * 2),
            Answer(500, b"<Error>" + b"x" * (1 << 20)),
            Answer(reset=True, length=100),
        ],
        ids=["html", "empty", "no-xml", "entities", "megabyte", "reset"],
    )
    def test_b77_b81_answers_that_are_not_s3(
        self, server: ScriptedS3, store: S3Store, answer: Answer
    ) -> None:
        """A proxy's page, half an XML, a cut: unavailable (B77, B81)."""
        server.will(answer)
        with pytest.raises(Unavailable):
            list(store.list("users/1/"))

    def test_b76_b82_answers_that_say_too_little(self, server: ScriptedS3, store: S3Store) -> None:
        """A 200 that lacks what it must say is no success (B76, B82)."""
        nothing = Answer(body=b"<R/>", headers={"ETag": "", "Last-Modified": ""})
        server.will(nothing)
        for call in (
            lambda: store.begin(KEY, kind=PICTURE),
            lambda: store.stat(KEY),
            lambda: store.open(KEY),
        ):
            with pytest.raises(Unavailable):
                call()
        server.will(Answer(body=b"<R><Contents><Size>1</Size></Contents></R>"))
        assert list(store.list("users/1/")) == []

    # http.client gives up on such a line, and leaves its socket to the collector.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize(
        "headers",
        [
            {"x-amz-meta-a": "x" * (1 << 20)},
            {f"x-amz-meta-{n}": "x" * 5000 for n in range(200)},
            {"x-amz-meta-name": "\xe9\xff"},
        ],
        ids=["one-of-1-MB", "1-MB-of-them", "latin-1"],
    )
    def test_b84_headers_of_any_size_are_an_answer_or_an_error_of_ours(
        self, server: ScriptedS3, store: S3Store, headers: dict[str, str]
    ) -> None:
        """Bounded by the SDK, and never a traceback of ``http.client``."""
        for call in (lambda: fetch(store, 7), lambda: store.stat(KEY), lambda: put(store)):
            server.will(Answer(body=b"picture", headers=headers))
            with suppress(HandoffError):
                call()
        gc.collect()

    @pytest.mark.parametrize("call", ["copy", "complete"])
    def test_b76_success_with_an_error_inside_is_an_error(
        self, server: ScriptedS3, store: S3Store, call: str
    ) -> None:
        """S3 may start with 200 and fail later (F13, B76)."""
        failed = Answer(200, Answer.error(200, "InternalError").body)
        server.will(*([UPLOADED, Answer(), failed] if call == "complete" else [failed]))
        with pytest.raises(Unavailable):
            upload(store) if call == "complete" else copy(store)

    @pytest.mark.parametrize("status", [301, 307])
    def test_b78_a_redirect_loop_ends(
        self, server: ScriptedS3, store: S3Store, status: int
    ) -> None:
        """The SDK meets one with a RecursionError, and never calls the other host (F8, B78)."""
        with ScriptedS3().running() as elsewhere:
            server.will(Answer(status, headers={"Location": elsewhere.url}))
            with pytest.raises(Unavailable):
                put(store)
            assert elsewhere.asked == []

    def test_nobody_listens(self) -> None:
        """A refused connection is unavailable, not a traceback of sockets."""
        with ScriptedS3().running() as gone:
            pass
        with pytest.raises(Unavailable) as raised:
            make(gone).stat(KEY)
        assert raised.value.facts["detail"] == "EndpointConnectionError"

    def test_no_credentials(self, server: ScriptedS3, monkeypatch: pytest.MonkeyPatch) -> None:
        """An SDK without credentials is the operator's matter: the user sees a 503."""
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(Unavailable) as raised:
            put(make(server, client_factory=None))
        assert raised.value.facts["detail"] == "NoCredentialsError"

    def test_the_log_has_the_code_and_no_secret(
        self, server: ScriptedS3, store: S3Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An operator sees what S3 said, never keys or signatures (T38)."""
        body = (
            f"<Error><Code>SignatureDoesNotMatch</Code><AWSAccessKeyId>{KEY_ID}</AWSAccessKeyId>"
            "<StringToSign>AWS4-HMAC-SHA256</StringToSign></Error>"
        )
        server.will(Answer(403, body.encode(), {"x-amz-request-id": "R1"}))
        with (
            caplog.at_level(logging.DEBUG, "flask_s3handoff"),
            pytest.raises(Unavailable) as raised,
        ):
            put(store)
        assert (
            f"put_object of staging/{KEY} failed: SignatureDoesNotMatch (HTTP 403, request R1"
            in caplog.text
        )
        told = caplog.text + str(raised.value) + repr(raised.value.facts)
        assert not [word for word in (KEY_ID, SECRET, "AWS4-HMAC", "Signature=") if word in told]

    def test_a_gone_file_is_told_apart_in_the_log(
        self, server: ScriptedS3, store: S3Store, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without s3:ListBucket a missing key looks forbidden; the operator gets the hint (F6)."""
        server.will(Answer(403))
        with pytest.raises(Missing):
            store.stat(KEY)
        assert "s3:ListBucket" in caplog.text


class TestAgain:
    """What is worth another attempt gets one, with the whole body."""

    def test_a_server_error_is_retried(self, server: ScriptedS3) -> None:
        """One 500 is nothing that a user sees (F1)."""
        server.will(Answer(500), Answer())
        put(make(server, deadline_seconds=5.0))
        assert [asked.body for asked in server.asked] == [b"picture"] * 2

    def test_a_conflict_is_asked_again(self, server: ScriptedS3, store: S3Store) -> None:
        """409 means that another writer is at work right now (F14)."""
        conflict = Answer.error(409, "ConditionalRequestConflict")
        server.will(conflict, conflict, Answer.error(412, "PreconditionFailed"))
        with pytest.raises(AlreadyExists):
            put(store, if_absent=True)
        assert [asked.body for asked in server.asked] == [b"picture"] * 3

    def test_expired_credentials_are_asked_for_again(self, server: ScriptedS3) -> None:
        """A new session reads the chain anew; the body starts over (F5)."""
        made = []

        def factory(*given: Any, **options: Any) -> Any:
            made.append(given)
            return boto3.session.Session().client(*given, **options)

        server.will(Answer.error(400, "ExpiredToken"), Answer())
        put(make(server, client_factory=factory))
        assert [asked.body for asked in server.asked] == [b"picture"] * 2
        assert len(made) == 2

    def test_a_body_that_is_taken_too_slowly(self, server: ScriptedS3) -> None:
        """Time is counted over the whole body, not from byte to byte (F4)."""

        class Slow(io.BytesIO):
            def read(self, _: int | None = -1, /) -> bytes:
                threading.Event().wait(0.05)
                return super().read(1)

        server.will(Answer())
        before = time.monotonic()
        with pytest.raises(Unavailable):
            make(server, deadline_seconds=0.3).put(
                KEY, Slow(bytes(60)), size=60, sha256="00" * 32, kind=PICTURE
            )
        assert time.monotonic() - before < 15  # and not for ever

    def test_our_own_object_is_not_in_our_way(self, server: ScriptedS3) -> None:
        """The first answer was lost, the next attempt finds the key taken, by us."""
        digest = hashlib.sha256(b"picture").hexdigest()
        there = Answer(headers={"x-amz-meta-sha256": digest})
        server.will(Answer(500), Answer.error(412, "PreconditionFailed"), there)
        put(make(server, deadline_seconds=5.0), if_absent=True)
        assert server.methods() == ["PUT", "PUT", "HEAD"]

    def test_a_key_taken_by_others_stays_theirs(self, server: ScriptedS3, store: S3Store) -> None:
        """Without a retry the same bytes below the key are somebody else's."""
        server.will(Answer.error(412, "PreconditionFailed"))
        with pytest.raises(AlreadyExists):
            put(store, if_absent=True)
        assert server.methods() == ["PUT"]


class TestCopying:
    """Promotion does not overwrite, whatever the endpoint can do (T30, P9)."""

    def test_the_same_copy_again_is_success(self, server: ScriptedS3, store: S3Store) -> None:
        """A double submit promotes once (F24)."""
        there = Answer(headers={"x-amz-meta-sha256": hashlib.sha256(b"x").hexdigest()})
        server.will(Answer.error(412, "PreconditionFailed"), there)
        copy(store, b"x")
        server.will(Answer.error(412, "PreconditionFailed"), there)
        with pytest.raises(AlreadyExists):
            copy(store, b"another")

    def test_an_unknown_endpoint_is_looked_at_first(self, server: ScriptedS3) -> None:
        """Ceph takes the condition and overwrites all the same."""
        server.will(Answer())
        with pytest.raises(AlreadyExists):
            copy(make(server))
        assert "PUT" not in server.methods()
        server.will(Answer(404), COPIED)
        copy(make(server))
        assert server.methods() == ["HEAD", "PUT"]
        assert "if-none-match" not in server.asked[1].headers

    def test_an_endpoint_from_the_environment_is_unknown_too(
        self, server: ScriptedS3, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`AWS_ENDPOINT_URL` is part of the SDK's chain: path style there, and nothing assumed."""
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        store = make(server, endpoint_url=None, client_factory=None)
        server.will(Answer(404), COPIED)
        copy(store)
        assert [a.path for a in server.asked] == ["/staging/users/1/leo.jpg"] * 2
        assert server.methods() == ["HEAD", "PUT"]

    def test_amazon_is_known(self) -> None:
        """All of it is documented there, and nobody is asked to find out."""
        assert S3Store(bucket="acme-uploads", region="eu-west-1").capabilities == AWS

    def test_what_may_not_be_seen_is_not_overwritten(self, server: ScriptedS3) -> None:
        """A 403 says nothing about what is there, so nothing is copied."""
        server.will(Answer(403), COPIED)
        with pytest.raises(Unavailable):
            copy(make(server))
        assert server.methods() == ["HEAD"]

    def test_an_endpoint_that_says_it_cannot(self, server: ScriptedS3) -> None:
        """501 to the condition: look first from now on, and say so in the capabilities (P9)."""
        store = make(server, capabilities=AWS)
        server.will(Answer.error(501, "NotImplemented"), Answer(404), COPIED, Answer(404), COPIED)
        copy(store)
        copy(store)
        assert server.methods() == ["PUT", "HEAD", "PUT", "HEAD", "PUT"]
        assert not store.capabilities.conditional_copy

    def test_other_bytes_do_not_stay(self, server: ScriptedS3, store: S3Store) -> None:
        """S3 tells the digest of the copy; a wrong copy is deleted (rule 2)."""
        wrong = sha256_header(b"other")
        said = f"<CopyObjectResult><ChecksumSHA256>{wrong}</ChecksumSHA256></CopyObjectResult>"
        server.will(Answer(body=said.encode()), Answer(204))
        with pytest.raises(Corrupt):
            copy(store, b"x")
        assert server.asked[0].headers["x-amz-checksum-algorithm"] == "SHA256"
        assert server.methods() == ["PUT", "DELETE"]

    def test_a_digest_of_parts_is_not_the_digest(self, server: ScriptedS3, store: S3Store) -> None:
        """`…-3` is made of three parts' digests, and says nothing about ours."""
        said = f"<R><ChecksumSHA256>{sha256_header(b'other')}-3</ChecksumSHA256></R>"
        server.will(Answer(body=said.encode()))
        copy(store, b"x")

    def test_put_if_absent_without_conditions(self, server: ScriptedS3) -> None:
        """An endpoint without conditional PUTs is looked at first, too."""
        store = make(server, capabilities=replace(AWS, conditional_put=False))
        server.will(Answer(404), Answer())
        put(store, if_absent=True)
        assert server.methods() == ["HEAD", "PUT"]
        assert "if-none-match" not in server.asked[1].headers


class TestUploads:
    """Multipart: one object, or nothing that costs money."""

    def test_parts_are_named_in_order(self, server: ScriptedS3, store: S3Store) -> None:
        """Whatever order they came in; S3 checks their length together."""
        server.will(UPLOADED, Answer(), Answer(), Answer(body=b"<R/>"))
        started = store.begin(KEY, kind=PICTURE)
        started.part(2, io.BytesIO(b"cd"), 2)
        started.part(1, io.BytesIO(b"ab"), 2)
        started.complete(size=4, sha256="")
        completed = server.asked[-1]
        assert completed.body.index(b"<PartNumber>1<") < completed.body.index(b"<PartNumber>2<")
        assert completed.headers["x-amz-mp-object-size"] == "4"

    def test_missing_parts_are_noticed_here(self, server: ScriptedS3, store: S3Store) -> None:
        """Less than was read from the client is never completed (rule 3)."""
        server.will(UPLOADED, Answer())
        started = store.begin(KEY, kind=PICTURE)
        started.part(1, io.BytesIO(b"ab"), 2)
        with pytest.raises(Corrupt):
            started.complete(size=4, sha256="")
        assert server.methods() == ["POST", "PUT"]

    @pytest.mark.parametrize(("length", "found"), [(4, True), (5, False)])
    def test_a_lost_answer_to_complete(
        self, server: ScriptedS3, store: S3Store, length: int, found: bool
    ) -> None:
        """The upload is gone because the object is there; if it is there."""
        gone = Answer.error(404, "NoSuchUpload")
        server.will(UPLOADED, Answer(), gone, Answer(length=length))
        if found:
            upload(store)
        else:
            with pytest.raises(Unavailable):
                upload(store)

    def test_a_part_that_lands_after_the_abort_is_dropped(
        self, server: ScriptedS3, store: S3Store
    ) -> None:
        """S3 keeps, and bills, a part that was on its way; so the abort is said again."""
        aborted = threading.Event()

        def late(asked: Asked) -> Answer:
            aborted.wait(10)
            return Answer()

        server.will(UPLOADED, late, Answer(204))
        started = store.begin(KEY, kind=PICTURE)
        sender = threading.Thread(target=started.part, args=(1, io.BytesIO(b"x"), 1))
        sender.start()
        wait_until(lambda: len(server.asked) == 2, what="the part on its way")
        started.abort()
        aborted.set()
        sender.join(10)
        assert server.methods() == ["POST", "PUT", "DELETE", "DELETE"]

    def test_abort_never_raises(self, server: ScriptedS3, store: S3Store) -> None:
        """Clean-up paths call it; what stays is left to the lifecycle rule, and logged."""
        for failed in (Answer.error(404, "NoSuchUpload"), Answer.error(403, "AccessDenied")):
            server.will(UPLOADED, failed)
            started = store.begin(KEY, kind=PICTURE)
            started.abort()
            with pytest.raises(Unavailable):
                started.part(1, io.BytesIO(b"x"), 1)


class TestFetching:
    """Bytes are whole and of the right length, or there is an error, in time (F3, F4, F12)."""

    def test_one_plain_get_up_to_8_mib(self, server: ScriptedS3, store: S3Store) -> None:
        """Most files are small: no HEAD, no range (rule 9)."""
        data = bytes(8 * MIB)
        server.will(serving(data))
        assert fetch(store, len(data)) == data
        assert server.methods() == ["GET"]
        assert "range" not in server.asked[0].headers

    def test_ranges_above(self, server: ScriptedS3, store: S3Store) -> None:
        """A large file comes by several connections, each byte once."""
        data = random.Random(1).randbytes(20 * MIB)
        server.will(serving(data))
        assert fetch(store, len(data)) == data
        asked = sorted(int(a.headers["range"][6:].split("-")[0]) for a in server.asked)
        assert len(asked) > 3
        assert asked[0] == 0

    def test_a_cut_connection_is_taken_up(self, server: ScriptedS3, store: S3Store) -> None:
        """The rest is asked for by range, not all of it again."""
        data = b"0123456789"
        server.will(Answer(body=data[:4], length=10), serving(data))
        assert fetch(store, 10) == data
        assert server.asked[1].headers["range"] == "bytes=4-9"

    def test_a_reset_connection_is_taken_up(self, server: ScriptedS3, store: S3Store) -> None:
        """A reset may take what the kernel had, so how far we came is not known here."""
        data = random.Random(2).randbytes(MIB)
        server.will(Answer(body=data[: MIB // 2], length=MIB, reset=True), serving(data))
        assert fetch(store, MIB) == data

    def test_a_body_that_never_ends_well(self, server: ScriptedS3, store: S3Store) -> None:
        """Three cuts are enough."""
        short = {"Content-Range": "bytes 4-9/10"}
        server.will(Answer(body=b"0123", length=10), Answer(206, b"", short, length=6))
        with pytest.raises(Unavailable) as raised:
            fetch(store, 10)
        assert raised.value.facts["detail"] == "cut"
        assert len(server.asked) == 3

    @pytest.mark.parametrize(
        ("answer", "size"),
        [
            (Answer(body=b"12345"), 4),
            (Answer(body=b"12345"), 6),
            (Answer(body=b"12345", chunked=True), 4),
            (Answer(206, b"1234", {"Content-Range": "bytes 0-3/4"}), 4),
            (Answer(200, bytes(9 * MIB)), 9 * MIB),
            (Answer(206, bytes(MIB), {"Content-Range": f"bytes 0-{MIB - 1}/{MIB}"}), 9 * MIB),
        ],
        ids=["longer", "shorter", "chunked", "206", "range ignored", "another range"],
    )
    def test_t31_b74_b79_other_lengths_are_corrupt(
        self, server: ScriptedS3, store: S3Store, answer: Answer, size: int
    ) -> None:
        """Status and length are judged before bytes are kept (B74, B79)."""
        server.will(answer)
        with pytest.raises(Corrupt):
            fetch(store, size)
        assert len(server.asked) == 1 or size > 8 * MIB

    def test_a_drip_ends_at_the_deadline(self, server: ScriptedS3, store: S3Store) -> None:
        """A byte now and then keeps every socket's timeout away, but not ours (F4)."""
        server.will(Answer(body=bytes(10_000), drip=True))
        before = time.monotonic()
        with pytest.raises(Unavailable) as raised:
            fetch(store, 10_000, seconds=0.3)
        assert raised.value.facts["detail"] == "deadline"
        assert time.monotonic() - before < 15  # and not for ever

    def test_silence_ends(self, server: ScriptedS3) -> None:
        """A server that takes the request and says nothing is given up (F4)."""
        server.will(Answer(silent=True))
        before = time.monotonic()
        with pytest.raises(Unavailable):
            make(server, deadline_seconds=0.5).stat(KEY)
        assert time.monotonic() - before < 15  # and not for ever

    def test_a_disk_that_takes_nothing(self, server: ScriptedS3, store: S3Store) -> None:
        """A local write that fails is unavailable, with its errno (F15)."""
        server.will(serving(b"picture"))
        with open(os.devnull, "rb") as readonly, pytest.raises(Unavailable) as raised:
            store.fetch(KEY, readonly.fileno(), size=7, progress=print, until=time.monotonic() + 5)
        assert raised.value.facts["errno"] == errno.EBADF

    def test_an_opened_file_that_is_cut(self, server: ScriptedS3, store: S3Store) -> None:
        """A permanent file never just ends early."""
        server.will(Answer(body=b"0123", length=10))
        with store.open(KEY) as opened:
            assert [opened.read(2), opened.read(2)] == [b"01", b"23"]
            with pytest.raises(Unavailable):
                opened.read(2)
        with store.open(KEY) as opened, pytest.raises(Unavailable):
            opened.read()

    def test_an_opened_file_that_drips(self, server: ScriptedS3) -> None:
        """The time that reads take is counted, not the time that the reader takes (F4)."""
        server.will(Answer(body=bytes(10_000), drip=True))
        before = time.monotonic()
        with make(server, deadline_seconds=0.3).open(KEY) as opened, pytest.raises(Unavailable):
            opened.read()
        assert time.monotonic() - before < 15  # and not for ever
        server.will(serving(b"picture"))
        with make(server, deadline_seconds=0.3).open(KEY) as opened:
            threading.Event().wait(0.4)
            assert opened.read() == b"picture"

    def test_connections_are_used_again(self, server: ScriptedS3, store: S3Store) -> None:
        """A fetch reads to the end, so that its connection goes back to the pool."""
        ports = set()

        def noting(asked: Asked) -> Answer:
            ports.add(asked.port)
            return Answer(body=b"picture")

        server.will(noting)
        for _ in range(5):
            fetch(store, 7)
        assert len(ports) == 1


class TestListing:
    """A listing gives our keys, page by page."""

    def test_the_next_page_is_asked_for_when_needed(
        self, server: ScriptedS3, store: S3Store
    ) -> None:
        """A gallery that shows ten pays for one page."""
        server.will(listing("users/1/a", "users/1/b", more="t1"), listing("users/1/c"))
        found = store.list("users/1/")
        assert server.asked == []
        assert [next(found).key, next(found).key] == ["users/1/a", "users/1/b"]
        assert len(server.asked) == 1
        assert [entry.key for entry in found] == ["users/1/c"]
        assert server.asked[1].query["continuation-token"] == ["t1"]

    def test_b83_keys_that_are_not_ours_are_left_out(
        self, server: ScriptedS3, store: S3Store
    ) -> None:
        """A console's folder marker, a key outside, one with dots (B83)."""
        server.will(listing("users/1/", "users/10/x", "users/1/../2", "users/1/ok"))
        assert [entry.key for entry in store.list("users/1/")] == ["users/1/ok"]

    def test_b83_a_listing_that_goes_in_circles_ends(
        self, server: ScriptedS3, store: S3Store
    ) -> None:
        """The same continuation twice is the end (B83)."""
        server.will(listing("users/1/a", more="again"))
        assert len(list(store.list("users/1/"))) == 2


class TestAddresses:
    """url() is made here, without asking anybody."""

    def test_presigned(self, server: ScriptedS3, store: S3Store) -> None:
        """SigV4, with the kind that a browser is to see, for as long as asked."""
        server.will(Answer())
        kind = kind_of("a&b=ü.pdf", "application/pdf")
        url = store.url("users/1/ü +%&?.jpg", expires_seconds=77, kind=kind)
        query = parse_qs(urlsplit(url).query)
        assert unquote(urlsplit(url).path) == "/staging/users/1/ü +%&?.jpg"
        assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
        assert query["X-Amz-Expires"] == ["77"]
        assert query["response-content-type"] == [kind.content_type]
        assert query["response-content-disposition"] == [kind.disposition]
        assert query["X-Amz-SignedHeaders"] == ["host"], "a browser sends no header of ours"
        assert server.asked == []

    def test_without_a_kind_it_is_served_as_it_was_stored(self, store: S3Store) -> None:
        """Type and disposition were kept with the object."""
        assert "response-content" not in store.url("users/1/a.jpg", expires_seconds=60)

    @pytest.mark.usefixtures("server")
    @pytest.mark.parametrize(
        ("bucket", "address"),
        [
            ("acme-uploads", "acme-uploads.s3.eu-central-1.amazonaws.com"),
            ("up.acme.com", "s3.dualstack.eu-central-1.amazonaws.com/up.acme.com"),
            (
                "arn:aws:s3:eu-central-1:123456789012:accesspoint/uploads",
                "uploads-123456789012.s3-accesspoint.eu-central-1.amazonaws.com",
            ),
        ],
    )
    def test_amazon_is_addressed_in_the_buckets_region(self, bucket: str, address: str) -> None:
        """The global address redirects, which a young bucket's presigned GET does not outlive (P13)."""
        store = S3Store(bucket=bucket, region="eu-central-1")
        assert store.url(KEY, expires_seconds=60).startswith(f"https://{address}/{KEY}?")

    def test_public_places_have_plain_addresses(self, server: ScriptedS3) -> None:
        """The CDN's address and the whole key, quoted so that nothing ends it early (B54)."""
        place = Place(prefix="public/", public_url="https://cdn.example.com/")
        store = make(server, places=(place,))
        url = store.url('public/ü/a b?c#d"e.jpg', expires_seconds=60)
        assert url == "https://cdn.example.com/public/%C3%BC/a%20b%3Fc%23d%22e.jpg"


def test_f33_importing_and_making_a_store_leaves_the_sdk_alone() -> None:
    """boto3 takes as long as two imports of Flask, and gevent must patch before it (rule 8, F33)."""
    code = (
        "import sys, flask_s3handoff, flask_s3handoff.testing\n"
        "from flask_s3handoff.s3 import S3Store\n"
        "S3Store(bucket='acme-uploads')\n"
        "sys.exit(bool({'boto3', 'botocore', 's3transfer', 'urllib3'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
