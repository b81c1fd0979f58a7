"""The bench itself: the strict S3 takes what the SDK signs and refuses all else; the wire fails."""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from flask_s3handoff.store import AWS
from flask_s3handoff.testing import check_store
from tests import leaks
from tests.faults.flow import store_of
from tests.scripted import Answer
from tests.servers.faulty import Balancer, FaultProxy, fault_proxy
from tests.servers.sigv4 import Judge, Refused
from tests.servers.strict import FLOOR, OWNER, REGION, StrictS3, damaged

BODY = b"the picture of Leo"


# --- the strict S3 keeps what S3 promises ---------------------------------------------------------


def test_the_strict_s3_keeps_every_promise_of_a_store(s3: StrictS3) -> None:
    """Our own client over it passes the contract that SeaweedFS and Ceph pass, nothing lacking."""
    promises = check_store(store_of(s3, capabilities=AWS))
    assert {promise.state for promise in promises} == {"ok"}


# --- signatures -----------------------------------------------------------------------------------


Signed = tuple[str, str, dict[str, str], bytes]


def signed(s3: StrictS3, *, token: str | None = None) -> Signed:
    """Have the SDK's own signer sign a PUT; return method, target, headers and body."""
    who = s3.server
    request = AWSRequest("PUT", f"{s3.url}/staging/a/leo.png?x-id=PutObject", data=BODY)
    request.headers["x-amz-meta-sha256"] = "0" * 64
    request.headers["Content-Type"] = "image/png"
    credentials = Credentials(who.access_key, who.secret_key, token)
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(credentials, "s3", REGION).add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    url = urlsplit(s3.url)
    return "PUT", "/staging/a/leo.png?x-id=PutObject", {"host": url.netloc, **headers}, BODY


def send(s3: StrictS3, request: Signed) -> tuple[int, str]:
    """Send it as it is; return the status and the code of the error."""
    method, target, headers, body = request
    connection = http.client.HTTPConnection(urlsplit(s3.url).netloc, timeout=10)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, text.partition("<Code>")[2].partition("<")[0]
    finally:
        connection.close()


def flipped(text: str, at: int = -1) -> str:
    """Change one character into another one that is as likely."""
    other = "1" if text[at] == "0" else "0"
    at %= len(text)
    return text[:at] + other + text[at + 1 :]


def header(name: str, at: int = -1) -> Callable[[Signed], Signed]:
    """Flip a byte of this header."""
    return lambda r: (r[0], r[1], {**r[2], name: flipped(r[2][name], at)}, r[3])


FLIPS: dict[str, tuple[Callable[[Signed], Signed], str]] = {
    "signature": (header("authorization"), "SignatureDoesNotMatch"),
    "access key": (header("authorization", 30), "InvalidAccessKeyId"),
    "signed headers": (
        lambda r: (
            r[0],
            r[1],
            {**r[2], "authorization": r[2]["authorization"].replace("host;", "")},
            r[3],
        ),
        "AccessDenied",
    ),
    "method": (lambda r: ("GET", *r[1:]), "SignatureDoesNotMatch"),
    "path": (lambda r: (r[0], r[1].replace("leo", "le0"), r[2], r[3]), "SignatureDoesNotMatch"),
    "query": (lambda r: (r[0], r[1].replace("Put", "Put0"), r[2], r[3]), "SignatureDoesNotMatch"),
    "header": (header("x-amz-meta-sha256"), "SignatureDoesNotMatch"),
    "unsigned header": (
        lambda r: (r[0], r[1], {**r[2], "x-amz-meta-more": "1"}, r[3]),
        "AccessDenied",
    ),
    "date": (header("x-amz-date", 14), "SignatureDoesNotMatch"),
    "digest": (header("x-amz-content-sha256"), "SignatureDoesNotMatch"),
    "body": (lambda r: (*r[:3], r[3][:-1] + b"x"), "XAmzContentSHA256Mismatch"),
    "no signature": (
        lambda r: (r[0], r[1], {k: v for k, v in r[2].items() if k != "authorization"}, r[3]),
        "AccessDenied",
    ),
}


def test_what_the_sdk_signs_is_taken(s3: StrictS3) -> None:
    """The signer is the SDK's, the judge is ours."""
    assert send(s3, signed(s3)) == (200, "")


@pytest.mark.parametrize("what", FLIPS)
def test_one_flipped_byte_is_refused(s3: StrictS3, what: str) -> None:
    """Of each part of a signed request; and nothing is stored."""
    flip, code = FLIPS[what]
    assert send(s3, flip(signed(s3)))[1] == code
    assert s3.buckets["staging"] == {}


def test_an_old_or_early_request_is_refused(s3: StrictS3) -> None:
    """Sixteen minutes off, to either side."""
    for minutes in (-16, 16):
        moment = datetime.now(UTC) + timedelta(minutes=minutes)
        s3.now = functools.partial(lambda then: then, moment)
        assert send(s3, signed(s3)) == (403, "RequestTimeTooSkewed")


def test_another_region_is_refused_with_the_right_one(s3: StrictS3) -> None:
    """As S3 says it."""
    method, target, headers, body = signed(s3)
    headers["authorization"] = headers["authorization"].replace(REGION, "us-west-2")
    assert send(s3, (method, target, headers, body)) == (400, "AuthorizationHeaderMalformed")


def test_a_session_token_must_be_the_keys_own_and_alive(s3: StrictS3) -> None:
    """Temporary credentials end."""
    name, key = next(iter(s3.keys.items()))
    s3.keys = {name: replace(key, token="session", ends=datetime.now(UTC) + timedelta(hours=1))}
    assert send(s3, signed(s3, token="session")) == (200, "")
    assert send(s3, signed(s3, token="other")) == (400, "InvalidToken")
    assert send(s3, signed(s3)) == (400, "InvalidToken")
    s3.keys = {name: replace(key, token="session", ends=datetime.now(UTC))}
    assert send(s3, signed(s3, token="session")) == (400, "ExpiredToken")


def test_a_presigned_url_is_taken_until_it_is_changed_or_old(s3: StrictS3) -> None:
    """As a browser would send it."""
    s3.server.client.put_object(Bucket="staging", Key="a b", Body=BODY)
    given = {"Bucket": "staging", "Key": "a b", "ResponseContentType": "text/plain"}
    url = s3.server.client.generate_presigned_url("get_object", Params=given, ExpiresIn=60)
    target = url.removeprefix(s3.url)
    host = {"host": urlsplit(s3.url).netloc}
    with urlopen(url) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (BODY, "text/plain")
    for old, new in [("60&", "61&"), ("text", "test"), ("a%20b", "a%20c"), (target[-1:], "")]:
        changed = target[:-1] if not new else target.replace(old, new)
        assert send(s3, ("GET", changed, host, b""))[0] == 403
    s3.now = lambda: datetime.now(UTC) + timedelta(seconds=62)
    assert send(s3, ("GET", target, host, b"")) == (403, "AccessDenied")


# --- POST policies --------------------------------------------------------------------------------


@pytest.fixture
def form(s3: StrictS3) -> dict[str, str]:
    """The fields of a presigned POST, as the SDK makes them."""
    post = s3.server.client.generate_presigned_post(
        "staging",
        "inbox/leo.png",
        Fields={"Content-Type": "image/png"},
        Conditions=[
            {"Content-Type": "image/png"},
            ["content-length-range", 1, 100],
            ["starts-with", "$x-amz-meta-name", "leo"],
        ],
        ExpiresIn=60,
    )
    return {**post["fields"], "x-amz-meta-name": "leo's", "bucket": "staging"}


def judge(s3: StrictS3, *, later: int = 0) -> Judge:
    """Return a judge whose clock is later by so many seconds."""
    return Judge(s3.keys, REGION, datetime.now(UTC) + timedelta(seconds=later))


def test_a_post_that_keeps_its_policy_is_taken(s3: StrictS3, form: dict[str, str]) -> None:
    """The policy is the SDK's."""
    judge(s3).check_post(form, BODY)


BAD_POSTS: dict[str, tuple[Mapping[str, str | None], bytes, int, str]] = {
    "signature": ({"x-amz-signature": "0" * 64}, BODY, 0, "SignatureDoesNotMatch"),
    "policy": ({"policy": base64.b64encode(b'{"conditions": []}').decode()}, BODY, 0, "SignatureDoesNotMatch"),
    "key": ({"key": "inbox/other.png"}, BODY, 0, "AccessDenied"),
    "type": ({"Content-Type": "text/html"}, BODY, 0, "AccessDenied"),
    "prefix": ({"x-amz-meta-name": "ada"}, BODY, 0, "AccessDenied"),
    "bucket": ({"bucket": "other"}, BODY, 0, "AccessDenied"),
    "extra field": ({"acl": "public-read"}, BODY, 0, "AccessDenied"),
    "too large": ({}, b"x" * 101, 0, "EntityTooLarge"),
    "too small": ({}, b"", 0, "EntityTooSmall"),
    "too late": ({}, BODY, 61, "AccessDenied"),
    "no key id": ({"x-amz-credential": "/20261123/eu-west-1/s3/aws4_request"}, BODY, 0, "AuthorizationHeaderMalformed"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_POSTS)
def test_a_post_that_breaks_its_policy_is_refused(
    s3: StrictS3, form: dict[str, str], what: str
) -> None:
    """One condition after the other."""
    changes, body, later, code = BAD_POSTS[what]
    with pytest.raises(Refused) as refused:
        judge(s3, later=later).check_post(
            {**form, **{k: v or "" for k, v in changes.items()}}, body
        )
    assert refused.value.code == code


# --- owners, digests, conditions, what is not taken -------------------------------------------------


def asking(s3: StrictS3, verb: str, **given: Any) -> str:
    """Ask by the SDK; return ``""`` or the code of the error."""
    try:
        getattr(s3.server.client, verb)(**{"Bucket": "staging", "Key": "k", **given})
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def sha256(data: bytes) -> str:
    """Return a digest as the header has it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def md5(data: bytes) -> str:
    """Return a digest as the older header has it."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


JUDGED: list[tuple[str, str, dict[str, Any]]] = [
    ("", "put_object", {"Body": BODY, "ExpectedBucketOwner": OWNER}),
    ("AccessDenied", "put_object", {"Body": BODY, "ExpectedBucketOwner": "210987654321"}),
    ("AccessDenied", "copy_object", {"CopySource": "staging/there", "ExpectedSourceBucketOwner": "210987654321"}),
    ("", "put_object", {"Body": BODY, "ChecksumSHA256": sha256(BODY)}),
    ("BadDigest", "put_object", {"Body": BODY, "ChecksumSHA256": sha256(b"")}),
    ("", "put_object", {"Body": BODY, "ContentMD5": md5(BODY)}),
    ("BadDigest", "put_object", {"Body": BODY, "ContentMD5": md5(b"")}),
    ("AccessControlListNotSupported", "put_object", {"Body": BODY, "ACL": "public-read"}),
    ("NotImplemented", "put_object", {"Body": BODY, "Tagging": "a=b"}),
    ("", "put_object", {"Body": BODY, "IfNoneMatch": "*"}),
    ("PreconditionFailed", "put_object", {"Key": "there", "Body": BODY, "IfNoneMatch": "*"}),
    ("PreconditionFailed", "put_object", {"Key": "there", "Body": BODY, "IfMatch": '"0"'}),
    ("PreconditionFailed", "get_object", {"Key": "there", "IfMatch": '"0"'}),
    ("304", "get_object", {"Key": "there", "IfNoneMatch": md5(BODY)}),
    ("InvalidRange", "get_object", {"Key": "there", "Range": "bytes=99-"}),
    ("", "copy_object", {"CopySource": "staging/there"}),
    ("PreconditionFailed", "copy_object", {"CopySource": "staging/there", "CopySourceIfMatch": '"0"'}),
    ("PreconditionFailed", "copy_object", {"CopySource": "staging/there", "CopySourceIfNoneMatch": md5(BODY)}),
    ("NoSuchKey", "get_object", {}),
    ("404", "head_object", {}),
    ("NoSuchBucket", "get_object", {"Bucket": "other"}),
    ("NoSuchUpload", "abort_multipart_upload", {"UploadId": "x"}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "verb", "given"), JUDGED)
def test_it_is_judged_as_s3_judges(
    s3: StrictS3, code: str, verb: str, given: dict[str, Any]
) -> None:
    """Owner, digest, condition, ACL, and what we never send."""
    s3.server.client.put_object(Bucket="staging", Key="there", Body=BODY)
    etag = s3.buckets["staging"]["there"].etag
    named = {k: etag if v == md5(BODY) and k != "ContentMD5" else v for k, v in given.items()}
    assert asking(s3, verb, **named) == code


def test_trailing_checksums_are_refused(s3: StrictS3) -> None:
    """As Ceph and others refuse the SDK's ``aws-chunked`` bodies (F44)."""
    method, target, headers, body = signed(s3)
    request = AWSRequest(method, s3.url + target, data=body)
    request.headers["x-amz-trailer"] = "x-amz-checksum-crc32"
    request.headers["Content-Encoding"] = "aws-chunked"
    who = s3.server
    request.context["payload_signing_enabled"] = True
    S3SigV4Auth(Credentials(who.access_key, who.secret_key), "s3", REGION).add_auth(request)
    lower = {name.lower(): value for name, value in request.headers.items()}
    assert (
        send(s3, (method, target, {"host": headers["host"], **lower}, body))[1] == "NotImplemented"
    )


def test_parts_are_judged(s3: StrictS3) -> None:
    """5 MiB at least but for the last, by their ETags, in order, of the whole size."""
    client, place = s3.server.client, {"Bucket": "staging", "Key": "k"}

    def upload(*parts: bytes, order: int = 1, etag: str = "", size: int = 0) -> str:
        begun = client.create_multipart_upload(**place)["UploadId"]
        made = [
            {
                "PartNumber": n,
                "ETag": etag
                or client.upload_part(**place, UploadId=begun, PartNumber=n, Body=part)["ETag"],
            }
            for n, part in enumerate(parts, 1)
        ]
        more = {"MpuObjectSize": size} if size else {}
        listed = {"Parts": made[::order]}
        code = asking(
            s3, "complete_multipart_upload", UploadId=begun, MultipartUpload=listed, **more
        )
        if code:
            assert s3.unfinished() == ["k"]
            client.abort_multipart_upload(**place, UploadId=begun)
        return code

    assert upload(b"x" * FLOOR, b"y") == ""
    assert s3.buckets["staging"]["k"].data == b"x" * FLOOR + b"y"
    assert upload(b"x", b"y") == "EntityTooSmall"
    assert upload(b"x" * FLOOR, b"y", order=-1) == "InvalidPartOrder"
    assert upload(b"x", etag='"0"') == "InvalidPart"
    assert upload(b"x", size=2) == "InvalidRequest"
    assert s3.unfinished() == []


def test_an_unfinished_upload_fails_the_test_that_left_it(
    s3: StrictS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch that follows every test asks every store."""
    monkeypatch.setattr(leaks, "SECONDS", 0.0)
    begun = s3.server.client.create_multipart_upload(Bucket="staging", Key="left")["UploadId"]
    assert leaks.Watch([]).leaks() == [f"unfinished upload left in {s3.url}"]
    s3.server.client.abort_multipart_upload(Bucket="staging", Key="left", UploadId=begun)
    assert leaks.Watch([]).leaks() == []


# --- its faults -------------------------------------------------------------------------------------


def test_a_fault_stands_in_the_way_as_often_as_told(s3: StrictS3) -> None:
    """By kind; and then all is well again."""
    s3.server.client.put_object(Bucket="staging", Key="k", Body=BODY)
    s3.fail("GET", Answer.error(503, "SlowDown"), times=2, after=1)
    assert [asking(s3, "get_object") for _ in range(4)] == ["", "SlowDown", "SlowDown", ""]
    s3.fail("GET", damaged(lambda answer: replace(answer, body=b"x" + answer.body[1:])))
    read = [s3.server.client.get_object(Bucket="staging", Key="k")["Body"].read() for _ in "12"]
    assert read == [b"x" + BODY[1:], BODY]
    assert s3.count("GET") == 6


# --- the wire ---------------------------------------------------------------------------------------


class Echo(BaseHTTPRequestHandler):
    """Answers a POST with its body."""

    seen: list[bytes]

    def do_POST(self) -> None:
        """Give back what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append(body)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[HTTPServer]:
    """A server that gives back what it is sent."""
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Echo,), {"seen": []}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def wire(echo: HTTPServer) -> Iterator[FaultProxy]:
    """A faulty wire before it."""
    with fault_proxy(echo.server_address[1]) as proxy:
        yield proxy


def post(port: int, body: bytes, *, seconds: float = 10.0) -> bytes:
    """Send a body and return what comes back."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request("POST", "/", body)
        return connection.getresponse().read()
    finally:
        connection.close()


def test_a_healthy_wire_changes_nothing(wire: FaultProxy) -> None:
    """Not a byte, of a megabyte."""
    body = bytes(range(256)) * 4096
    assert post(wire.port, body) == body
    assert wire.connections == 1


def test_a_slow_wire_takes_its_time(wire: FaultProxy) -> None:
    """Latency and rate."""
    wire.fail(latency_seconds=0.05, bytes_per_second=1_000_000)
    began = time.monotonic()
    assert post(wire.port, b"x" * 100_000) == b"x" * 100_000
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("refuse", True, ConnectionError),
        ("reset_after_up", 1000, ConnectionError),
        ("cut_after_down", 30_000, http.client.IncompleteRead),
        ("blackhole", True, TimeoutError),
    ],
)
def test_a_broken_wire_breaks(
    wire: FaultProxy, name: str, value: int, error: type[Exception]
) -> None:
    """Refused, reset on the way up, cut on the way down, swallowed; and well again."""
    wire.fail(**{name: value})
    with pytest.raises(error):
        post(wire.port, b"x" * 60_000, seconds=0.5)
    wire.fail()
    assert post(wire.port, b"y") == b"y"


def test_a_balancer_sends_a_post_twice(echo: HTTPServer) -> None:
    """To one server and to the next; the client sees one answer."""
    with Balancer([echo.server_address[1]] * 2).running() as balancer:
        assert post(balancer.server_address[1], b"once") == b"once"
        assert echo.RequestHandlerClass.seen == [b"once"] * 2  # type: ignore[attr-defined]
        balancer.replays, balancer.cut = False, 2
        assert post(balancer.server_address[1], b"once") == b"on"
        assert balancer.answers == [200, 200, 200]
