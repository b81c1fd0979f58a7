"""F19, F22, F31–F33 and the whole story of S3 being down, on real servers of every kind."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from flask_s3handoff.store import kind_of
from tests.conftest import need
from tests.faults.flow import client_factory, store_of
from tests.real.browser import Browser, Form, Page, bytes_of, cropped, picture
from tests.real.site import SERVERS, Site, site
from tests.real.test_leftovers import PART, begin_upload
from tests.servers.faulty import FaultProxy, fault_proxy
from tests.servers.process import wait_until
from tests.servers.strict import StrictS3

BOX = (3, 4, 40, 30)
SIDES = dict(zip(("left", "top", "right", "bottom"), BOX, strict=True))
DEADLINE = {"S3HANDOFF_DEADLINE": 2}
SLACK_SECONDS = 8  # for a machine that has other things to do


@pytest.fixture
def wire(s3: StrictS3) -> Iterator[FaultProxy]:
    """What the servers have between themselves and S3."""
    with fault_proxy(int(s3.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of server."""
    name: str = request.param
    need("waitress" if name == "waitress" else "gunicorn")
    return name


def good(page: Page) -> Page:
    """Insist on an answer that is no error."""
    assert page.status == 200, page.text
    return page


def send(person: Browser, path: str, page: Page, **values: Any) -> Page:
    """Send the hidden values of a page elsewhere."""
    return person.send(Form(f"{person.site}{path}", page.form.values), **values)


@pytest.mark.parametrize(
    "how", [{"refuse": True}, {"blackhole": True}], ids=["refused", "swallowed"]
)
def test_f2_f4_s3_is_down_and_comes_back(
    s3: StrictS3, wire: FaultProxy, kind: str, how: dict[str, bool]
) -> None:
    """Pages that carry nothing go on, and uploads of one step; what must be carried is 503 in time.

    The server that has the file goes on without S3; and then all of it works again.
    """
    through = s3.server.at(wire.url)
    with (
        site(s3.server, labels="A", serve=SERVERS[kind], through=through, config=DEADLINE) as where,
        where.browser() as person,
    ):
        upload = picture()
        page = good(person.submit(person.get("/"), [upload]))
        wire.fail(**how)
        wire.reset_all()
        start = good(person.get("/"))
        assert good(person.post("/look", [upload])).json() == {"size": [64, 48]}
        assert good(send(person, "/look", page)).json() == {"size": [64, 48]}
        began = time.monotonic()
        refused = person.submit(start, [upload])
        assert time.monotonic() - began < 2 + SLACK_SECONDS
        assert refused.status == 503
        assert int(refused.answer.headers["Retry-After"]) > 0
        assert "_s3handoff" not in refused.text
        assert person.submit(page, (), **SIDES).status == 503  # an edit is as precious
        wire.fail()
        page = good(person.submit(page, (), **SIDES))
        key = good(person.submit(page)).text
        bucket = s3.buckets[where.bucket]
        assert bucket[key].data == cropped(upload, BOX)
        assert all(
            bytes_of(upload) == v.data for k, v in bucket.items() if v.data != bucket[key].data
        )


def test_f19_every_server_dies_in_turn(s3: StrictS3) -> None:
    """The one that took the upload, then the one that cropped; the third one saves."""
    need("haproxy")
    need("gunicorn")
    with site(s3.server) as three, three.browser() as person:
        upload = picture()
        page = good(person.submit(person.get("/"), [upload]))
        three.kill9(page.server)
        page = good(person.submit(page, (), **SIDES))
        three.kill9(page.server)
        saved = good(person.submit(page))
        assert s3.buckets[three.bucket][saved.text].data == cropped(upload, BOX)


@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"], indirect=True)
def test_f22_a_server_that_is_asked_to_end_finishes_its_upload(s3: StrictS3, kind: str) -> None:
    """SIGTERM in the middle of a body: the rest is taken, stored and answered, and then it ends."""
    data = bytes_of(picture()) + b"x" * 200_000  # more than a parser takes at once
    body = data + b"\r\n--b--\r\n"
    with site(s3.server, labels="A", serve=SERVERS[kind], config=DEADLINE) as where:
        with begin_upload(where, len(PART) + len(body), len(PART)) as connection:
            connection.sendall(body[:150_000])
            ask_to_end(where)
            connection.sendall(body[150_000:])
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"_s3handoff" in answer
        wait_until(lambda: not where.servers["A"].process.running, what="the end of the server")
        assert [found.data for found in s3.buckets[where.bucket].values()] == [data]


@pytest.mark.parametrize("kind", ["gthread"], indirect=True)
def test_f22_an_upload_that_stalls_does_not_keep_a_server_from_ending(
    s3: StrictS3, kind: str
) -> None:
    """The rest never comes: the server ends after its grace, and nothing partial is stored."""
    with site(s3.server, labels="A", serve=SERVERS[kind], config=DEADLINE) as where:
        with begin_upload(where, 300_000, 200_000):
            ask_to_end(where)
            wait_until(lambda: not where.servers["A"].process.running, what="the end of the server")
        assert s3.buckets[where.bucket] == {}


def ask_to_end(where: Site) -> None:
    """Send SIGTERM when the upload has reached the app."""
    server = where.servers["A"]
    wait_until(lambda: where.folders["A"].exists(), what="the upload's draft")
    os.kill(server.pid, signal.SIGTERM)
    wait_until(lambda: "Handling signal: term" in server.log, what="the signal")


def test_f32_many_threads_use_a_store_first_at_once(s3: StrictS3) -> None:
    """64 of them: one client, and each its own bytes."""
    made: list[object] = []

    def factory(*given: Any, **options: Any) -> Any:
        made.append(given)
        return client_factory(s3)(*given, **options)

    store = store_of(s3, deadline_seconds=20.0, client_factory=factory)
    together = threading.Barrier(64)
    wrong: list[int] = []

    def use(n: int) -> None:
        data = bytes([n]) * 1000
        digest = hashlib.sha256(data).hexdigest()
        together.wait(30)
        kind = kind_of("a.bin", "")
        store.put(f"users/{n}", io.BytesIO(data), size=1000, sha256=digest, kind=kind)
        with store.open(f"users/{n}") as opened:
            if opened.read() != data:
                wrong.append(n)

    threads = [threading.Thread(target=use, args=(n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (wrong, len(made), len(s3.buckets["staging"])) == ([], 1, 64)


GREENLETS = """
from gevent import monkey; monkey.patch_all()
import hashlib, io, sys, gevent
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.store import kind_of

store = S3Store(bucket="staging", region="eu-west-1", endpoint_url=sys.argv[1], deadline_seconds=20.0)

def use(n):
    data = bytes([n]) * 1000
    digest = hashlib.sha256(data).hexdigest()
    store.put(f"users/{n}", io.BytesIO(data), size=1000, sha256=digest, kind=kind_of("a", ""))
    with store.open(f"users/{n}") as opened:
        assert opened.read() == data

gevent.joinall([gevent.spawn(use, n) for n in range(20)], raise_error=True)
"""


def test_f33_greenlets_use_a_store_first_at_once(s3: StrictS3) -> None:
    """Patched before anything of ours was imported: no warning, no recursion, no wrong byte."""
    done = subprocess.run(
        [sys.executable, "-c", GREENLETS, s3.url],
        env={**os.environ, **s3.server.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(s3.buckets["staging"]) == 20
