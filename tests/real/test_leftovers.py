"""Rule 11: what a server has left when its requests are over, whether they went well or not."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from flask_s3handoff.pool import THREADS
from tests.conftest import need
from tests.real.browser import Form, picture
from tests.real.site import SERVERS, Site, site
from tests.servers import S3Server, free_ports, keys, wait_until

MIB = 1 << 20
SIDES = {"left": 3, "top": 4, "right": 40, "bottom": 30}
SLACK_SECONDS = 3  # for a machine that has other things to do
LIMIT = {"S3HANDOFF_MAX_FILE_SIZE": 16 * MIB}
HEAD = (
    b"POST /add HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
)
PART = (
    b'--b\r\nContent-Disposition: form-data; name="avatar"; filename="a.png"\r\n'
    b"Content-Type: image/png\r\n\r\n"
)
READ_BYTES = 64 << 10  # what the parser takes at once


class Worker:
    """The worker of a site with one server, seen from outside."""

    def __init__(self, where: Site) -> None:
        with where.browser() as person:
            self.pid = int(person.get("/").answer.headers["X-Pid"])
        self.where = where
        self.folder = next(iter(where.folders.values()))

    @property
    def descriptors(self) -> list[str]:
        """What it holds open."""
        names = []
        for number in os.listdir(f"/proc/{self.pid}/fd"):
            with suppress(FileNotFoundError):  # closed meanwhile
                names.append(os.readlink(f"/proc/{self.pid}/fd/{number}"))
        return names

    @property
    def threads(self) -> int:
        """How many it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def has_nothing_left(self) -> bool:
        """Tell whether all is gone by now: an answer may come before the last clean-up."""
        return not (self.local_leftovers() or unfinished(self.where))

    def local_leftovers(self) -> list[str]:
        """Return open files, drafts, edit copies and locks."""
        open_files = [name for name in self.descriptors if name.startswith(str(self.folder))]
        kinds = [self.folder / kind for kind in ("part", "edit", "lock")]
        on_disk = [str(path) for kind in kinds if kind.exists() for path in kind.iterdir()]
        return open_files + on_disk

    def forget_copies(self) -> None:
        """Remove every local copy, as a cleaner of temporary files does."""
        for day in self.folder.glob("2*"):
            shutil.rmtree(day)


def apply_lifecycle(where: Site) -> None:
    """Drop what a dead server has left in the bucket, as its lifecycle rule does after a day."""
    answer = where.s3.client.list_multipart_uploads(Bucket=where.bucket)
    for upload in answer.get("Uploads", ()):
        named = {"Key": upload["Key"], "UploadId": upload["UploadId"]}
        where.s3.client.abort_multipart_upload(Bucket=where.bucket, **named)


def unfinished(where: Site) -> list[str]:
    """Return the multipart uploads of the bucket that are neither complete nor aborted."""
    answer = where.s3.client.list_multipart_uploads(Bucket=where.bucket)
    return [upload["Key"] for upload in answer.get("Uploads", ())]


@pytest.fixture(params=["sync", "gthread", "gevent", "waitress"])
def worker(request: pytest.FixtureRequest, weed: S3Server) -> Iterator[Worker]:
    """One server of the avatar app, by each kind."""
    need("waitress" if request.param == "waitress" else "gunicorn")
    kind = SERVERS[request.param]
    with site(weed, labels="A", serve=kind, config=LIMIT) as where:
        yield Worker(where)


def walk(worker: Worker) -> None:
    """Take every step, each on a server that has forgotten the file."""
    with worker.where.browser() as person:
        page = person.submit(person.get("/"), [picture()])
        worker.forget_copies()
        page = person.submit(page, (), **SIDES)
        worker.forget_copies()
        looked = person.send(Form(f"{worker.where.url}/look", page.form.values))
        assert looked.json() == {"size": [37, 26]}
        assert person.submit(page).text.startswith("users/")


def test_rule_11_nothing_is_left_of_many_flows(worker: Worker) -> None:
    """After 24 flows, no file, and no descriptor or thread more than after eight."""
    idle = worker.threads
    for _ in range(8):
        walk(worker)
    early = len(worker.descriptors)
    for _ in range(16):
        walk(worker)
    wait_until(worker.has_nothing_left, what="the end of all files and uploads")
    assert worker.threads <= idle + THREADS
    assert len(worker.descriptors) <= early + 1  # one more connection that waits for work


def begin_upload(where: Site, size: int, sent: int) -> socket.socket:
    """Send the start of a body of this size, and keep the rest."""
    url = urlsplit(where.url)
    connection = socket.create_connection((url.hostname, url.port or 80))
    connection.sendall(HEAD % (url.netloc.encode(), size) + PART.ljust(sent, b"x"))
    return connection


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"], indirect=True)
@pytest.mark.parametrize("ending", ["fin", "reset"])
def test_rule_3_t39_an_upload_that_breaks_off_is_no_file(worker: Worker, ending: str) -> None:
    """Parts are in S3 already when the browser goes away: they are dropped, and so is the draft."""
    with begin_upload(worker.where, 12 * MIB, 7 * MIB) as connection:
        wait_until(lambda: unfinished(worker.where), what="the first part")
        if ending == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(worker.has_nothing_left, what="the end of all files and uploads")
    assert keys(worker.where.s3, worker.where.bucket) == []
    assert list(worker.folder.glob("2*")) == []


@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"], indirect=True)
def test_rule_11_nothing_is_left_of_an_upload_that_is_too_large(worker: Worker) -> None:
    """Refused while it arrives, with 413, after some of its parts are in S3."""
    with begin_upload(worker.where, 40 * MIB, 12 * MIB) as connection:
        wait_until(lambda: unfinished(worker.where), what="the first part")
        connection.sendall(b"x" * (4 * MIB + READ_BYTES))
        answer = connection.recv(100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    wait_until(worker.has_nothing_left, what="the end of all files and uploads")
    assert keys(worker.where.s3, worker.where.bucket) == []


@pytest.mark.leaves_parts
@pytest.mark.parametrize("worker", ["gthread"], indirect=True)
def test_rule_11_a_server_that_is_killed_leaves_nothing_on_its_disk(worker: Worker) -> None:
    """A draft has no name until it is whole, so the kernel removes it. Parts in S3 stay: the
    lifecycle rule of the bucket drops them."""
    with begin_upload(worker.where, 12 * MIB, 7 * MIB):
        wait_until(lambda: unfinished(worker.where), what="the first part")
        worker.where.kill9("A")
    apply_lifecycle(worker.where)
    assert [path for path in worker.folder.rglob("*") if path.is_file()] == []


def test_rule_10_an_upload_that_cannot_be_stored_is_503_in_time(weed: S3Server) -> None:
    """With S3 gone, pages that carry nothing work, and an upload says so before its deadline."""
    nobody = weed.at(f"http://127.0.0.1:{free_ports(1)[0]}")
    config = {"S3HANDOFF_DEADLINE": 3}
    with site(weed, labels="A", through=nobody, config=config) as where, where.browser() as person:
        worker, page = Worker(where), person.get("/")
        began = time.monotonic()
        refused = person.submit(page, [picture()])
        assert time.monotonic() - began < 3 + SLACK_SECONDS
        assert refused.status == 503
        assert int(refused.answer.headers["Retry-After"]) > 0
        assert "_s3handoff" not in refused.text
        assert person.get("/").status == 200
        wait_until(lambda: not worker.local_leftovers(), what="the end of all files")
