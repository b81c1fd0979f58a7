"""The contract of stores on real servers, and what only they can show."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3.session
import pytest

from flask_s3handoff.config import Place
from flask_s3handoff.errors import Missing, Unavailable
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import CEPH_RGW, MOTO, SEAWEEDFS, Capabilities, kind_of
from flask_s3handoff.testing import check_store
from tests.servers import CountingProxy, S3Server, bucket, keys

KIND = kind_of("leo.png", "image/png")
DECLARED = {"weed": SEAWEEDFS, "rgw": CEPH_RGW, "moto": MOTO}
LACKING = {
    "weed": set[str](),
    "rgw": {"conditional_copy", "checksums"},
    "moto": {"conditional_copy", "checksums", "presigned_urls"},
}
MIB = 1 << 20


@pytest.fixture
def store_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., S3Store]:
    """Make a store in a fresh bucket of a server, with credentials by the SDK's chain."""

    def make(server: S3Server, **options: Any) -> S3Store:
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        given = {"endpoint_url": server.url, "capabilities": DECLARED[server.name]}
        return S3Store(**{"bucket": bucket(server), **given, **options})

    return make


def put(store: S3Store, key: str, data: bytes, **options: Any) -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=KIND, **options)


def fetch(store: S3Store, key: str, size: int) -> bytes:
    with tempfile.TemporaryFile() as file:
        until = time.monotonic() + 30
        store.fetch(key, file.fileno(), size=size, progress=lambda _: None, until=until)
        return file.read()


def test_the_contract_on_every_server(s3: S3Server, store_of: Callable[..., S3Store]) -> None:
    """Each with what is declared of it, and nothing else lacking; the bucket is empty afterwards."""
    name = bucket(s3)
    promises = check_store(store_of(s3, bucket=name))
    assert {p.detail for p in promises if p.state == "lacking"} == LACKING[s3.name]
    assert keys(s3, name) == []
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=name)


@pytest.mark.parametrize("lack", ["conditional_copy", "checksums"])
def test_what_ceph_lacks_it_lacks(
    rgw: S3Server, store_of: Callable[..., S3Store], lack: str
) -> None:
    """What is declared as lacking would break a promise; else the declaration is out of date."""
    claimed = Capabilities(**{"conditional_copy": False, "checksums": False, lack: True})
    with pytest.raises(AssertionError, match="breaks a promise"):
        check_store(store_of(rgw, capabilities=claimed))


@pytest.mark.parametrize("name", ["weed", "rgw"])
def test_f5_a_wrong_secret_is_unavailable(
    request: pytest.FixtureRequest, store_of: Callable[..., S3Store], name: str
) -> None:
    """The store refuses us, the user sees a 503, nothing is stored (F5); moto takes any secret."""
    s3: S3Server = request.getfixturevalue(name)
    store = store_of(s3)
    wrong = boto3.session.Session(s3.access_key, "wrong-secret")
    stranger = S3Store(
        bucket=store._buckets[-1].name,
        endpoint_url=s3.url,
        client_factory=wrong.client,
    )
    with pytest.raises(Unavailable) as raised:
        put(stranger, "users/1/a", b"x")
    assert raised.value.facts["detail"] == "SignatureDoesNotMatch"
    with pytest.raises(Missing):
        store.stat("users/1/a")


def test_an_acl_opens_only_its_place(rgw: S3Server, store_of: Callable[..., S3Store]) -> None:
    """`acl` makes a place public, and leaves staging private (B73)."""
    name = bucket(rgw)
    store = store_of(rgw, bucket=name, places=(Place(prefix="public/", acl="public-read"),))
    put(store, "handoff/a", b"private")
    digest = hashlib.sha256(b"private").hexdigest()
    store.copy("handoff/a", "public/a", kind=KIND, sha256=digest, overwrite=False)
    with urllib.request.urlopen(f"{rgw.url}/{name}/public/a") as answer:
        assert answer.read() == b"private"
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(f"{rgw.url}/{name}/handoff/a")
    refused.value.close()


def test_a_copy_crosses_buckets(s3: S3Server, store_of: Callable[..., S3Store]) -> None:
    """Staging in one bucket, users' files in another, by one request of S3."""
    other = bucket(s3)
    store = store_of(s3, places=(Place(prefix="users/", bucket=other),))
    put(store, "handoff/a", b"avatar")
    digest = hashlib.sha256(b"avatar").hexdigest()
    store.copy("handoff/a", "users/1/a.png", kind=KIND, sha256=digest, overwrite=False)
    assert keys(s3, other) == ["users/1/a.png"]
    assert [entry.key for entry in store.list("users/1/")] == ["users/1/a.png"]
    assert fetch(store, "users/1/a.png", 6) == b"avatar"


def test_requests_are_counted(proxy: CountingProxy, store_of: Callable[..., S3Store]) -> None:
    """One request for each verb, whatever it does; nothing on making a store (rules 8 and 9)."""
    store = store_of(proxy.server)
    put(store, "handoff/a", b"avatar")
    fetch(store, "handoff/a", 6)
    digest = hashlib.sha256(b"avatar").hexdigest()
    store.copy("handoff/a", "users/1/a.png", kind=KIND, sha256=digest, overwrite=False)
    store.url("users/1/a.png", expires_seconds=60)
    store.delete("users/1/a.png")
    name = store._buckets[-1].name
    asked = [request.kind for request in proxy.requests if request.bucket == name]
    assert asked == ["BUCKET", "PUT", "GET", "COPY", "DELETE"]


FORKING = """
import os, sys, tempfile, time
from flask_s3handoff.s3 import S3Store

store = S3Store(bucket=sys.argv[1], endpoint_url=sys.argv[2])

def read_all():
    for n in range(8):
        with tempfile.TemporaryFile() as file:
            until = time.monotonic() + 30
            store.fetch(f"users/{n}/a", file.fileno(), size=1000, progress=lambda _: None, until=until)
            assert file.read() == b"%d" % n * 1000, n

read_all()
children = [pid for _ in range(2) if (pid := os.fork())]
for _ in range(10):
    read_all()
if len(children) == 2:
    sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children))
"""


def test_f31_a_child_process_has_its_own_connections(
    s3: S3Server, store_of: Callable[..., S3Store]
) -> None:
    """gunicorn --preload: the parent has used its client, and all go on with it (F31, rule 12)."""
    name = bucket(s3)
    store = store_of(s3, bucket=name)
    for n in range(8):
        put(store, f"users/{n}/a", b"%d" % n * 1000)
    done = subprocess.run(
        [sys.executable, "-c", FORKING, name, s3.url],
        env={**os.environ, **s3.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_f32_sixteen_threads_share_a_store(s3: S3Server, store_of: Callable[..., S3Store]) -> None:
    """First use by all of them at once, then each its own bytes (F32)."""
    store = store_of(s3)
    start = threading.Barrier(16)
    wrong: list[int] = []

    def use(n: int) -> None:
        start.wait(10)
        data = bytes([n]) * 100_000
        put(store, f"users/{n}/a", data)
        if fetch(store, f"users/{n}/a", len(data)) != data:
            wrong.append(n)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(list(store.list("users/"))) == 16


def test_a_large_file_travels_whole(s3: S3Server, store_of: Callable[..., S3Store]) -> None:
    """40 MiB by parts, and back by ranges."""
    store = store_of(s3)
    data = os.urandom(40 * MIB + 3)
    upload = store.begin("handoff/large", kind=KIND)
    for number, start in enumerate(range(0, len(data), 5 * MIB), 1):
        piece = data[start : start + 5 * MIB]
        upload.part(number, io.BytesIO(piece), len(piece))
    upload.complete(size=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert fetch(store, "handoff/large", len(data)) == data


def test_an_aborted_upload_costs_nothing(s3: S3Server, store_of: Callable[..., S3Store]) -> None:
    """No parts stay at the server, even if one was on its way (rule 11)."""
    name = bucket(s3)
    store = store_of(s3, bucket=name)
    upload = store.begin("handoff/large", kind=KIND)
    sender = threading.Thread(target=_send_part, args=(upload,))
    sender.start()
    upload.abort()
    sender.join(30)
    assert "Uploads" not in s3.client.list_multipart_uploads(Bucket=name)
    assert keys(s3, name) == []


def _send_part(upload: Any) -> None:
    try:
        upload.part(1, io.BytesIO(bytes(8 * MIB)), 8 * MIB)
    except Unavailable:
        pass  # the abort was first
