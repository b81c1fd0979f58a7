"""F1–F9, F12–F14, F34, F44, F45: S3 fails in every way that it has, and what a person sees of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3.session
import botocore.session
import pytest
from botocore.credentials import RefreshableCredentials
from werkzeug.test import create_environ, run_wsgi_app

from flask_s3handoff.errors import Unavailable
from flask_s3handoff.store import AWS, SEAWEEDFS
from tests.browser_like import MULTIPART, Browser, Page, Upload, encode
from tests.carry.test_carry import ADA, LEO, line_of
from tests.faults.flow import (
    BIG,
    WIDTH,
    add,
    client_factory,
    crop,
    fleet_over,
    good,
    save,
    saved,
    staged,
    walk,
)
from tests.scripted import Answer, ScriptedS3
from tests.servers.faulty import FaultProxy, fault_proxy
from tests.servers.process import wait_until
from tests.servers.sigv4 import Key
from tests.servers.strict import Fault, StrictS3, damaged, done_but_lost
from tests.small_apps import apps_of, handoffs_of, settled

SLACK_SECONDS = 8  # for a machine that has other things to do
LARGE = Upload("large.bin", b"x" * 60_000)
SMALL_KINDS = ("PUT", "GET", "COPY")
LARGE_KINDS = ("BEGIN", "PART", "COMPLETE")
ONCE = {
    "500": Answer.error(500, "InternalError"),
    "503": Answer.error(503, "SlowDown"),
    "cut": Answer(reset=True, length=100),
    "html": Answer(502, b"<html>Bad Gateway</html>"),
}


@pytest.fixture
def wire(s3: StrictS3) -> Iterator[FaultProxy]:
    """A faulty wire before S3."""
    with fault_proxy(int(s3.url.rpartition(":")[2])) as proxy:
        yield proxy


def upload_of(kind: str) -> Upload:
    """Return a file whose way has requests of this kind."""
    return BIG if kind in LARGE_KINDS else LEO


@contextmanager
def in_time(seconds: float) -> Iterator[None]:
    """Insist on an end within a deadline, generously."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds + SLACK_SECONDS


def is_refused(page: Page, reason: str = "unavailable", status: int = 503) -> bool:
    """Tell whether a page says so, and when to come back, and carries nothing."""
    told = (page.status, f"<p>{reason} avatar</p>" in page.text) == (status, True)
    again = status != 503 or int(page.headers["Retry-After"]) > 0
    return told and again and "_s3handoff" not in page.text


# --- once: nothing is seen --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*SMALL_KINDS, *LARGE_KINDS])
def test_f1_one_server_error_is_not_seen(s3: StrictS3, kind: str) -> None:
    """Of any request of any step: it is asked again, and all goes on."""
    with fleet_over(s3, deadline=4.0) as fleet:
        s3.fail(kind, ONCE["500"])
        walk(fleet, s3, upload_of(kind))
        settled(fleet)
        assert s3.count(kind) > 1


@pytest.mark.parametrize("once", ["503", "cut", "html"])
def test_f1_other_ways_to_fail_once(s3: StrictS3, once: str) -> None:
    """A busy server, a connection cut before the answer, a proxy's page."""
    with fleet_over(s3, deadline=4.0) as fleet:
        s3.fail("PUT", ONCE[once])
        walk(fleet, s3)


@pytest.mark.parametrize("kind", ["PUT", "COPY", "PART", "COMPLETE"])
def test_f1_what_was_done_but_not_heard_is_done_once(s3: StrictS3, kind: str) -> None:
    """The first answer is lost: the second attempt meets what the first has made."""
    with fleet_over(s3, deadline=4.0) as fleet:
        s3.fail(kind, done_but_lost(ONCE["500"]))
        walk(fleet, s3, upload_of(kind))


# --- for good: 503, in time, and nothing is lost ------------------------------------------------------


def test_f2_a_store_that_is_too_busy_is_503_and_what_was_typed_is_kept(s3: StrictS3) -> None:
    """Whoever submits again when it is well gets on; pages that carry nothing never failed."""
    with fleet_over(s3, deadline=2.0) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        s3.fail("any", Answer.error(503, "SlowDown"), times=None)
        with in_time(2.0):
            refused = browser.submit(shown, "/show")
        assert is_refused(refused)
        assert "my title" in refused.text
        with in_time(2.0):
            assert is_refused(browser.post("/show", [("avatar", ADA), ("title", "my title")]))
        assert good(browser.open("/hello")).text == "hello"
        assert line_of(ADA) in good(browser.post("/once", [("avatar", ADA)])).text
        settled(fleet)
        s3.heal()
        assert line_of(LEO) in good(browser.submit(shown, "/show")).text
        assert staged(s3) == [LEO.data]


def test_f2_a_promotion_that_cannot_be_made_is_503_and_can_be_made_later(s3: StrictS3) -> None:
    """Nothing is stored for good meanwhile, and the page still works."""
    with fleet_over(s3, deadline=2.0) as fleet:
        browser = Browser(fleet)
        cropped = crop(browser, add(browser))
        s3.fail("COPY", Answer.error(503, "SlowDown"), times=None)
        with in_time(2.0):
            assert browser.submit(cropped, "/save", name="leo").status == 503
        settled(fleet)
        assert saved(s3) is None
        s3.heal()
        save(browser, cropped)
        assert saved(s3) == LEO.data[:WIDTH]


@pytest.mark.parametrize("upload", [LARGE, BIG], ids=["put", "parts"])
def test_f3_a_reset_in_the_middle_of_a_body_is_not_seen(
    s3: StrictS3, wire: FaultProxy, upload: Upload
) -> None:
    """The file is rewound and sent again."""
    with fleet_over(s3, deadline=4.0, endpoint_url=wire.url) as fleet:
        wire.fail(first=1, reset_after_up=30_000)
        walk(fleet, s3, upload)
        assert wire.connections > 1


def test_f3_parts_that_never_arrive_are_dropped(s3: StrictS3, wire: FaultProxy) -> None:
    """503, and the upload that had begun is aborted."""
    with fleet_over(s3, deadline=2.0, endpoint_url=wire.url) as fleet:
        wire.fail(reset_after_up=30_000)
        with in_time(2.0 + len(BIG.data) / (1 << 20)):
            assert is_refused(Browser(fleet).post("/add", [("avatar", BIG)]))
        settled(fleet)
        assert s3.count("BEGIN") == 1
        assert (s3.unfinished(), staged(s3)) == ([], [])


def test_f3_a_download_that_is_cut_goes_on_where_it_was(s3: StrictS3, wire: FaultProxy) -> None:
    """Not from the start, and not with a wrong byte."""
    with fleet_over(s3, deadline=4.0, endpoint_url=wire.url) as fleet:
        browser = Browser(fleet)
        shown = add(browser, LARGE)
        wire.reset_all()
        wire.fail(first=1, cut_after_down=30_000)
        crop(browser, shown)
        gets = [asked for asked in s3.asked if asked.method == "GET"]
        assert len(gets) == 2
        assert not gets[1].headers["range"].startswith("bytes=0-")


HANGING: dict[str, tuple[str, Answer | Fault]] = {
    "put": ("PUT", Answer(silent=True)),
    "begin": ("BEGIN", Answer(silent=True)),
    "part": ("PART", Answer(silent=True)),
    "complete": ("COMPLETE", Answer(silent=True)),
    "get": ("GET", Answer(silent=True)),
    "get-stalls": (
        "GET",
        damaged(lambda a: replace(a, body=a.body[:99], length=len(a.body), stall=True)),
    ),
    "get-drips": ("GET", damaged(lambda a: replace(a, drip=True))),
    "copy": ("COPY", Answer(silent=True)),
    "copy-drips": ("COPY", Answer(body=b" " * 4000, drip=True)),
}


@pytest.mark.parametrize("what", HANGING)
def test_f4_a_store_that_hangs_holds_nobody(s3: StrictS3, what: str) -> None:
    """503 within the deadline, at whatever request it hangs; then the same page works."""
    kind, hanging = HANGING[what]
    with fleet_over(s3, deadline=1.0) as fleet:
        browser = Browser(fleet)
        upload = upload_of(kind)
        pages = {"COPY": lambda: crop(browser, add(browser)), "GET": lambda: add(browser)}
        page = pages.get(kind, lambda: good(browser.open("/")))()
        values: dict[str, Any] = {"COPY": {"name": "leo"}, "GET": {}}.get(kind, {"avatar": upload})
        s3.fail(kind, hanging, times=None)
        with in_time(1.0 + len(upload.data) / (1 << 20)):
            assert browser.submit(page, "/save" if kind == "COPY" else 0, **values).status == 503
        s3.stopped.set()  # lets the handlers go; the next ones would wait
        settled(fleet)
        s3.stopped.clear()
        s3.heal()
        assert s3.unfinished() == []
        good(browser.submit(page, "/save" if kind == "COPY" else 0, **values))


@pytest.mark.parametrize("verb", ["list", "delete", "put"])
def test_f4_a_permanent_file_is_not_waited_for_either(s3: StrictS3, verb: str) -> None:
    """An answer that drips keeps every timeout of a socket away, but not ours (rule 10)."""
    with fleet_over(s3, deadline=1.0) as fleet:
        handoff = handoffs_of(fleet)[0]
        asks: dict[str, Callable[[], object]] = {
            "list": lambda: list(handoff.list("users/")),
            "delete": lambda: handoff.delete("users/leo.png"),
            "put": lambda: handoff.put(b"leo", "users/leo.png"),
        }
        s3.fail("any", Answer(body=b" " * 1000, drip=True), times=None)
        with in_time(1.0), pytest.raises(Unavailable):
            asks[verb]()
        s3.stopped.set()
        settled(fleet)


def test_f4_a_wire_that_swallows_everything(s3: StrictS3, wire: FaultProxy) -> None:
    """No reset, no answer: 503 in time; a server that has the file goes on all the same."""
    with fleet_over(s3, deadline=1.0, endpoint_url=wire.url) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        shown = good(browser.submit(shown, "/show"))  # two servers have it by now
        fleet.kill(next(copy for copy in fleet.copies if copy.answered == 0))
        wire.fail(blackhole=True)
        with in_time(1.0):
            assert is_refused(browser.post("/show", [("avatar", ADA)]))
        for _ in range(2):
            assert line_of(LEO) in good(browser.submit(shown, "/show")).text
        wire.fail()


# --- refused ------------------------------------------------------------------------------------------


DENIED = {
    "InvalidAccessKeyId": 403,
    "SignatureDoesNotMatch": 403,
    "AccessDenied": 403,
    "AccountProblem": 403,
    "InvalidToken": 400,
}


@pytest.mark.parametrize("code", DENIED)
def test_f5_a_store_that_refuses_us_is_503_without_a_word(
    s3: StrictS3, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked once, the operator reads the code, and the visitor nothing of it; no key is told."""
    with fleet_over(s3, deadline=20.0) as fleet:
        browser = Browser(fleet)
        s3.fail("PUT", Answer.error(DENIED[code], code), times=None)
        refused = browser.post("/add", [("avatar", LEO)])
        assert is_refused(refused)
        assert s3.count("PUT") == 1
    assert code in caplog.text
    assert code not in refused.text
    who = s3.server
    assert not [
        word for word in (who.access_key, who.secret_key) if word in caplog.text + refused.text
    ]


def test_f5_expired_credentials_are_asked_for_again(s3: StrictS3) -> None:
    """The key has ended; the chain has a new one: nothing is seen."""
    made: list[Any] = []

    def factory(*given: Any, **options: Any) -> Any:
        made.append(given)
        return client_factory(s3)(*given, **options)

    with fleet_over(s3, client_factory=factory) as fleet:
        browser = Browser(fleet)
        cropped = crop(browser, add(browser))
        (old,) = s3.keys
        s3.keys = {"AKNEW": Key("a new secret"), old: replace(s3.keys[old], ends=datetime.now(UTC))}
        save(browser, cropped)
    assert saved(s3) == LEO.data[:WIDTH]
    assert len(made) == 2


def test_f6_a_file_that_is_denied_is_gone(s3: StrictS3, caplog: pytest.LogCaptureFixture) -> None:
    """Without s3:ListBucket S3 does not say which: 410, what was typed stays, the log has the hint."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        s3.fail("GET", Answer.error(403, "AccessDenied"), times=None)
        refused = browser.submit(shown, "/show")
    assert is_refused(refused, "missing", 410)
    assert "my title" in refused.text
    assert "s3:ListBucket" in caplog.text


def test_f7_without_its_bucket_an_upload_is_503_at_once(
    s3: StrictS3, caplog: pytest.LogCaptureFixture
) -> None:
    """Asked once; pages that carry nothing go on."""
    del s3.buckets["staging"]
    with fleet_over(s3, deadline=20.0) as fleet:
        browser = Browser(fleet)
        assert is_refused(browser.post("/add", [("avatar", LEO)]))
        assert s3.count() == 1
        assert good(browser.open("/hello")).text == "hello"
        assert line_of(LEO) in good(browser.post("/once", [("avatar", LEO)])).text
    assert "NoSuchBucket" in caplog.text


@pytest.mark.parametrize("status", [301, 307])
def test_f8_no_other_host_is_asked(s3: StrictS3, status: int) -> None:
    """A redirect elsewhere, again and again: 503, and nobody else has seen our signature."""
    with ScriptedS3().running() as elsewhere, fleet_over(s3, deadline=2.0) as fleet:
        away = Answer.error(status, "PermanentRedirect")
        to = {"Location": elsewhere.url, "x-amz-bucket-region": "us-west-2"}
        s3.fail("any", replace(away, headers=to), times=None)
        with in_time(2.0):
            assert is_refused(Browser(fleet).post("/add", [("avatar", LEO)]))
        assert elsewhere.asked == []


def test_f8_a_wrong_region_is_not_seen(s3: StrictS3) -> None:
    """S3 names the right one, and the SDK signs again for it."""
    with fleet_over(s3, region="us-west-2") as fleet:
        seen = Browser(fleet).post("/add", [("avatar", LEO)])
    assert seen.status == 200
    assert s3.kinds == ["PUT", "PUT"]


@pytest.mark.parametrize("minutes", [-16, 16])
def test_f9_a_host_whose_clock_is_wrong_is_told(
    s3: StrictS3, minutes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """S3 takes nothing that is signed a quarter of an hour off: 503, and the log says why."""
    s3.now = lambda: datetime.now(UTC) + timedelta(minutes=minutes)
    with fleet_over(s3) as fleet:
        assert is_refused(Browser(fleet).post("/add", [("avatar", LEO)]))
    assert "RequestTimeTooSkewed" in caplog.text


# --- wrong bytes --------------------------------------------------------------------------------------


def _gzipped(answer: Answer) -> Answer:
    import gzip

    body = gzip.compress(answer.body)
    return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})


WRONG: dict[str, Callable[[Answer], Answer]] = {
    "flipped": lambda a: replace(a, body=a.body[:500] + bytes([a.body[500] ^ 1]) + a.body[501:]),
    "shorter": lambda a: replace(a, body=a.body[:-1]),
    "longer": lambda a: replace(a, body=a.body + b"x"),
    "truncated": lambda a: replace(a, body=a.body[:100], length=len(a.body)),
    "empty": lambda a: replace(a, body=b""),
    "no-length": lambda a: replace(a, body=a.body[:-1], chunked=True),
    "another-file": lambda a: replace(a, body=ADA.data),
    "gzip": _gzipped,
}


@pytest.mark.parametrize("what", WRONG)
def test_f12_wrong_bytes_are_never_shown(s3: StrictS3, what: str) -> None:
    """An error, no local copy of them, and the right file as soon as it can be had."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        s3.fail("GET", damaged(WRONG[what]), times=None)
        refused = browser.submit(shown, "/show")
        assert refused.status in (502, 503)
        assert refused.text.count("<p>") == 1
        assert "my title" in refused.text
        s3.heal()
        for _ in range(3):
            assert line_of(LEO) in good(browser.submit(shown, "/show")).text


def test_f12_an_object_that_was_changed_in_the_store_is_never_shown(
    s3: StrictS3, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever wrote there, it is not what was signed; the log is loud about it."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        shown = good(browser.post("/show", [("avatar", LEO)]))
        ((key, stored),) = s3.buckets["staging"].items()
        s3.buckets["staging"][key] = replace(stored, data=LEO.data[:-1] + b"!")
        assert is_refused(browser.submit(shown, "/show"), "corrupt", 502)
    assert [r for r in caplog.records if r.levelno == logging.ERROR and "other bytes" in r.message]


SAID_200 = {
    "at-once": Answer(200, Answer.error(200, "InternalError").body),
    "after-whitespace": Answer(200, b"\n  \n" + Answer.error(200, "InternalError").body),
}


@pytest.mark.parametrize("how", SAID_200)
@pytest.mark.parametrize("kind", ["PUT", "COPY", "COMPLETE"])
def test_f13_success_with_an_error_inside_is_asked_again(s3: StrictS3, kind: str, how: str) -> None:
    """200, and then an error document: nothing was done, so it is done now."""
    with fleet_over(s3, deadline=4.0) as fleet:
        s3.fail(kind, SAID_200[how])
        walk(fleet, s3, upload_of(kind))


@pytest.mark.parametrize("kind", ["PUT", "COPY", "COMPLETE"])
def test_f13_success_with_an_error_inside_is_no_success(s3: StrictS3, kind: str) -> None:
    """Each time: 503, no token, nothing stored for good, nothing unfinished."""
    with fleet_over(s3, deadline=2.0) as fleet:
        browser = Browser(fleet)
        page = crop(browser, add(browser)) if kind == "COPY" else browser.open("/")
        s3.fail(kind, SAID_200["at-once"], times=None)
        values: dict[str, Any] = {"name": "leo"} if kind == "COPY" else {"avatar": upload_of(kind)}
        seen = browser.submit(page, "/save" if kind == "COPY" else 0, **values)
        settled(fleet)
        assert seen.status == 503
        assert "_s3handoff" not in seen.text
        assert (saved(s3), s3.unfinished()) == (None, [])


# --- conflicts ----------------------------------------------------------------------------------------


def test_f14_a_conflict_with_another_writer_is_asked_again(s3: StrictS3) -> None:
    """409 to a conditional copy, twice: nothing is seen."""
    with fleet_over(s3) as fleet:
        s3.fail("COPY", Answer.error(409, "ConditionalRequestConflict"), times=2)
        walk(fleet, s3)
        assert s3.count("COPY") == 3


def test_f14_two_at_once_to_one_key(s3: StrictS3) -> None:
    """The same revision twice is twice success; another one is told, and overwrites nothing."""
    with fleet_over(s3) as fleet:
        browser = Browser(fleet)
        leo, ada = crop(browser, add(browser)), crop(browser, add(browser, ADA))
        together = threading.Barrier(2)

        def saving(page: Page) -> Callable[[Browser], Page]:
            def run(line: Browser) -> Page:
                together.wait(10)
                return line.submit(page, "/save", name="leo")

            return run

        assert [p.status for p in browser.together(saving(leo), saving(leo))] == [200, 200]
        assert saved(s3) == LEO.data[:WIDTH]
        assert browser.submit(ada, "/save", name="leo").status == 409
        assert saved(s3) == LEO.data[:WIDTH]


# --- credentials that end, endpoints that lack, listings that lag --------------------------------------


class Provider:
    """Gives out keys that live for so long, as a role's do."""

    def __init__(self, s3: StrictS3, seconds: float) -> None:
        self.s3 = s3
        self.seconds = seconds
        self.given: list[Key] = []

    def fetch(self) -> dict[str, str]:
        """Make a new key, known to S3 until it ends."""
        ends = datetime.now(UTC) + timedelta(seconds=self.seconds)
        name, number = f"ASROLE{len(self.given)}", len(self.given)
        key = Key(f"secret {number}", token=f"token {number}", ends=ends)
        self.given.append(key)
        self.s3.keys[name] = key
        told = {"access_key": name, "secret_key": key.secret, "token": str(key.token)}
        return {**told, "expiry_time": ends.isoformat()}

    def factory(self) -> Any:
        """Return what makes clients that ask for new keys in time."""
        session = botocore.session.get_session()
        session._credentials = RefreshableCredentials.create_from_metadata(
            self.fetch(), self.fetch, "role", advisory_timeout=0, mandatory_timeout=0
        )
        return boto3.session.Session(botocore_session=session).client


class Halting:
    """A body that stops in the middle until something has happened."""

    def __init__(self, body: bytes, at: int, until: Callable[[], bool]) -> None:
        self._body, self._at, self._until, self._gone = memoryview(body), at, until, 0

    def read(self, size: int = -1) -> bytes:
        """Return what comes next."""
        if self._gone >= self._at:
            wait_until(self._until, what="what this body waits for")
        data = self._body[self._gone :][: None if size < 0 else min(size, 65536)]
        self._gone += len(data)
        return bytes(data)


def test_f34_credentials_that_end_during_a_long_upload(s3: StrictS3) -> None:
    """Each request is signed with those of its moment: parts before and after, one file."""
    provider = Provider(s3, seconds=1.5)
    with fleet_over(s3, client_factory=provider.factory(), deadline=10.0) as fleet:
        body, content_type = encode([("avatar", BIG)], MULTIPART)

        def first_key_is_over() -> bool:
            return s3.count("PART") > 0 and datetime.now(UTC) > (provider.given[0].ends or s3.now())

        environ = {
            **create_environ("/add", method="POST"),
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": Halting(body, 10 << 20, first_key_is_over),
        }
        answer, status, _ = run_wsgi_app(fleet, environ, buffered=True)
        assert status == "200 OK", b"".join(answer)
    assert staged(s3) == [BIG.data]
    assert len(provider.given) > 1


def test_f44_an_endpoint_that_takes_nothing_but_the_old_protocol(s3: StrictS3) -> None:
    """No trailers, no ``aws-chunked``, no header that S3 did not always have."""
    new = ("x-amz-trailer", "x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32", "expect")
    with fleet_over(s3, capabilities=SEAWEEDFS) as fleet:
        walk(fleet, s3)
        walk_big = Browser(fleet)
        add(walk_big, BIG)
    assert [name for asked in s3.asked for name in asked.headers if name in new] == []
    assert [a for a in s3.asked if "STREAMING" in a.headers.get("x-amz-content-sha256", "")] == []


def test_f44_an_endpoint_that_cannot_copy_conditionally(s3: StrictS3) -> None:
    """It says 501 to the condition: we look first, from then on."""

    def refuses(asked: Any, proceed: Callable[[], Answer]) -> Answer:
        conditional = "if-none-match" in asked.headers
        return Answer.error(501, "NotImplemented") if conditional else proceed()

    with fleet_over(s3, capabilities=AWS) as fleet:
        s3.fail("COPY", refuses, times=None)
        walk(fleet, s3)
        walk(fleet, s3)
        assert [kind for kind in s3.kinds if kind in ("COPY", "HEAD")][:3] == [
            "COPY",
            "HEAD",
            "COPY",
        ]


def test_f45_a_listing_that_lags_breaks_no_step(s3: StrictS3) -> None:
    """Nothing is listed on the way; ``list`` itself tells what S3 tells, and later all of it."""
    empty = Answer(body=b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>")
    with fleet_over(s3) as fleet:
        s3.fail("LIST", empty, times=1)
        walk(fleet, s3)
        assert s3.count("LIST") == 0
        handoff = handoffs_of(fleet)[0]
        with apps_of(fleet)[0].app_context():
            assert list(handoff.list("users/")) == []
            assert [found.key for found in handoff.list("users/")] == ["users/leo.png"]
