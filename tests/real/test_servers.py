"""The real parts do what the other tests rely on."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.servers import (
    CountingProxy,
    LoadBalancer,
    S3Server,
    WebServer,
    bucket,
    counting_proxy,
    keys,
)

APP = """
import os
from flask import Flask, request

def create_app():
    app = Flask(__name__)
    app.add_url_rule("/", view_func=name, methods=["GET", "POST"])
    return app

def name():
    return f"{os.environ['NAME']} {len(request.get_data())}"
"""

Gunicorn = Callable[..., AbstractContextManager[WebServer]]
Haproxy = Callable[..., AbstractContextManager[LoadBalancer]]


def ask(url: str, body: bytes | None = None) -> str:
    """Send one request and return the answer's text."""
    with urllib.request.urlopen(url, body, timeout=20) as answer:
        text: bytes = answer.read()
    return text.decode()


@pytest.fixture
def trio(tmp_path: Path, gunicorn: Gunicorn) -> Iterator[list[WebServer]]:
    """Three processes of one app, one per kind of worker."""
    (tmp_path / "tiny.py").write_text(APP)
    kinds = [("sync", True), ("gthread", False), ("gevent", False)]
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                gunicorn(
                    "tiny:create_app()",
                    worker_class=kind,
                    preload=preload,
                    cwd=tmp_path,
                    env={"NAME": kind},
                )
            )
            for kind, preload in kinds
        ]


def test_requests_go_round_and_survive_a_killed_server(
    trio: list[WebServer], haproxy: Haproxy
) -> None:
    """Round robin deals out each request; a server that was just killed costs nobody a request."""
    with haproxy([server.port for server in trio]) as balancer:
        assert {ask(balancer.url) for _ in range(3)} == {"sync 0", "gthread 0", "gevent 0"}
        trio[1].kill9()
        sent = b"x" * 1_000_000
        answers = [ask(balancer.url, sent) for _ in range(4)]
    assert sorted(answers) == ["gevent 1000000"] * 2 + ["sync 1000000"] * 2


def test_a_drained_server_gets_no_request(trio: list[WebServer], haproxy: Haproxy) -> None:
    """A backend can be taken out, and put back, while haproxy runs."""
    with haproxy([server.url for server in trio]) as balancer:
        balancer.drain(0)
        assert "sync 0" not in {ask(balancer.url) for _ in range(6)}
        balancer.restore(0)
        balancer.wait_up(3)
        assert "sync 0" in {ask(balancer.url) for _ in range(6)}


def test_an_app_that_does_not_start_is_an_error_with_its_log(
    tmp_path: Path, gunicorn: Gunicorn
) -> None:
    """Nobody waits thirty seconds for a spelling mistake."""
    (tmp_path / "tiny.py").write_text(APP)
    with pytest.raises(RuntimeError, match="App failed to load"):
        gunicorn("tiny:creat_app()", cwd=tmp_path).__enter__()


def test_the_counting_proxy_tells_the_kinds_apart(s3: S3Server) -> None:
    """Every kind of request is counted once, and each server still accepts its signature."""
    with counting_proxy(s3) as proxy:
        name, client = bucket(proxy.server), proxy.server.client
        proxy.reset()
        client.put_object(Bucket=name, Key="a/ä b", Body=b"x" * 3_000_000)
        assert client.get_object(Bucket=name, Key="a/ä b")["Body"].read() == b"x" * 3_000_000
        client.head_object(Bucket=name, Key="a/ä b")
        client.copy_object(Bucket=name, Key="b", CopySource={"Bucket": name, "Key": "a/ä b"})
        assert keys(proxy.server, name) == ["a/ä b", "b"]
        client.delete_object(Bucket=name, Key="b")
        assert proxy.kinds == ["PUT", "GET", "HEAD", "COPY", "LIST", "DELETE"]
        assert (proxy.count("PUT", prefix="a/"), proxy.count("PUT", prefix="b")) == (1, 0)


def test_the_counting_proxy_sees_a_multipart_upload(proxy: CountingProxy) -> None:
    """Begin, part and abort are told from plain uploads."""
    name, client = bucket(proxy.server), proxy.server.client
    proxy.reset()
    upload = client.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    client.upload_part(Bucket=name, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    client.abort_multipart_upload(Bucket=name, Key="k", UploadId=upload)
    assert proxy.counts() == {"MULTIPART": 2, "PART": 1}
    with pytest.raises(ValueError, match="FETCH"):
        proxy.count("FETCH")


@pytest.mark.parametrize("name", ["weed", "rgw"])
def test_the_servers_check_signatures(name: str, request: pytest.FixtureRequest) -> None:
    """A wrong secret is refused, so a test that passes here proves that ours was right."""
    server: S3Server = request.getfixturevalue(name)
    forger = S3Server(server.name, server.url, server.access_key, "0" * 40)
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        forger.client.list_buckets()
