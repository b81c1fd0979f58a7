"""F10–F11, F22–F30, F38–F43, F46–F48: people, browsers, balancers, and deployments that differ."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, request
from werkzeug.serving import make_server
from werkzeug.test import create_environ, run_wsgi_app

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import HandoffError
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.testing import Fleet
from tests.apps.failing import create_app
from tests.browser_like import MULTIPART, Browser, Page, Upload, encode
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.faults.flow import (
    BIG,
    WIDTH,
    add,
    fleet_over,
    good,
    save,
    saved,
    say_what_is_wrong,
    staged,
    store_of,
    walk,
)
from tests.real import browser as real
from tests.servers.faulty import Balancer, fault_proxy
from tests.servers.process import wait_until
from tests.servers.strict import StrictS3
from tests.small_apps import answer, apps_of, at, fleet_of, form, page, settled

SECRET = "a secret that is long enough"


@pytest.fixture
def fleet(s3: StrictS3) -> Iterator[Fleet]:
    """Three copies over a strict S3."""
    with fleet_over(s3) as running:
        yield running


# --- clocks, and what is gone -------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", range(-120, 121, 15))
def test_f10_servers_whose_clocks_differ(fleet: Fleet, seconds: int) -> None:
    """Nothing is seen up to a minute; a file from farther in the future counts as expired."""
    browser = Browser(fleet)
    page = good(browser.post("/show", [("avatar", LEO)]))
    at(fleet, seconds)
    seen = browser.submit(page, "/show")
    assert (line_of(LEO) in seen.text) == (seconds >= -60)
    assert seen.status == (200 if seconds >= -60 else 410)


def test_f10_a_claim_ends_in_time_wherever_it_is_read(fleet: Fleet) -> None:
    """A minute early or late of a day, and no sooner on any server than it says."""
    browser = Browser(fleet)
    page = good(browser.post("/show", [("avatar", LEO)]))
    for seconds, status in [(86_400 - 90, 200), (86_400 + 90, 410)]:
        at(fleet, seconds)
        assert browser.submit(page, "/show").status == status


def test_f11_a_file_that_was_deleted_is_told_and_the_rest_is_kept(
    s3: StrictS3, fleet: Fleet
) -> None:
    """410 with the field's name; what was typed is there, and a file that is chosen again works."""
    browser = Browser(fleet)
    page = good(browser.post("/show", [("avatar", LEO)]))
    s3.buckets["staging"].clear()
    gone = browser.submit(page, "/show")
    assert gone.status == 410
    assert "<p>missing avatar</p>" in gone.text
    assert "my title" in gone.text
    values: list[tuple[str, str | Upload]] = [("_s3handoff", page.form().token), ("avatar", ADA)]
    assert line_of(ADA) in good(browser.post("/show", values)).text


# --- twice --------------------------------------------------------------------------------------------


def test_f23_two_submits_at_once_do_not_meet(s3: StrictS3, fleet: Fleet) -> None:
    """Two crops of one page on two servers: two revisions, both of the picture as it was."""
    browser = Browser(fleet)
    page = add(browser)
    together = threading.Barrier(2)

    def cropping(width: int) -> Any:
        def run(line: Browser) -> Page:
            together.wait(10)
            return good(line.submit(page, width=str(width)))

        return run

    narrow, wide = browser.together(cropping(10), cropping(200))
    save(browser, wide, "wide")
    save(browser, narrow, "narrow")
    assert (saved(s3, "narrow"), saved(s3, "wide")) == (LEO.data[:10], LEO.data[:200])
    assert sorted(map(len, staged(s3))) == [10, 200, len(LEO.data)]


@pytest.fixture
def ports(s3: StrictS3, tmp_path: Path) -> Iterator[list[int]]:
    """Two servers of one site that listen, each with a disk of its own."""
    store = store_of(s3)
    with contextlib.ExitStack() as stack:
        started = []
        for name in "ab":
            config = {"SECRET_KEY": SECRET, "S3HANDOFF_WORK_DIR": str(tmp_path / name)}
            server = make_server("127.0.0.1", 0, create_app(config, store), threaded=True)
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            stack.callback(thread.join, 10)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            started.append(server.server_port)
        yield started


PICTURE: real.Upload = ("avatar", ("leo.png", LEO.data, "image/png"))


def seen(page: real.Page) -> real.Page:
    """Insist on an answer that is no error."""
    assert page.status == 200, page.text
    return page


def test_f26_a_balancer_that_sends_every_post_twice(s3: StrictS3, ports: list[int]) -> None:
    """To one server, and when its answer is lost, to the other: what is saved is right, once."""
    with Balancer(ports).running() as balancer, real.Browser(balancer.url) as person:
        page = seen(person.submit(person.get("/"), [PICTURE]))
        page = seen(person.submit(page, (), width=WIDTH))
        values = [*page.form.values, ("name", "leo")]
        assert seen(person.send(real.Form(f"{balancer.url}/save", values))).text == "users/leo.png"
        assert balancer.answers == [200] * 7
    assert saved(s3) == LEO.data[:WIDTH]
    assert len([key for key in s3.buckets["staging"] if key.startswith("users/")]) == 1


@pytest.mark.parametrize("where", [40, 300, -40])
def test_f27_a_balancer_that_cuts_a_body_and_says_so_well(
    s3: StrictS3, ports: list[int], where: int
) -> None:
    """A length that fits what was cut: 400, "submit it again", and nothing is stored."""
    with Balancer(ports).running() as balancer, real.Browser(balancer.url) as person:
        page = person.get("/")
        balancer.replays, balancer.cut = False, where
        refused = person.submit(page, [PICTURE])
    assert refused.status == 400
    assert "submit it again" in refused.text
    assert (staged(s3), s3.unfinished()) == ([], [])


# --- clients that go, or take their time ---------------------------------------------------------------


def test_f29_a_client_that_goes_during_the_answer(tmp_path: Path) -> None:
    """The server closes the answer early: streams, edit copies and descriptors are gone."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> Any:
            file: Any = request.files["avatar"]
            copy = open(file.path, "rb")  # noqa: SIM115 - closed by the answer
            response = app.response_class(
                iter([b"first", file.read(), b"last"]), mimetype="text/plain"
            )
            response.call_on_close(copy.close)
            return response

    with fleet_of(build) as fleet:
        body, content_type = encode([("avatar", LEO)], MULTIPART)
        environ = create_environ("/", method="POST", data=body, content_type=content_type)
        answer: Any
        answer, status, _ = run_wsgi_app(apps_of(fleet)[0], environ)
        assert (status, next(iter(answer))) == ("200 OK", b"first")
        answer.close()  # as PEP 3333 asks of a server
        settled(fleet)
        folder = fleet.copies[0].disk
        assert list(Path(folder).glob("work/edit/*")) == []
        targets = [f"/proc/self/fd/{n}" for n in os.listdir("/proc/self/fd")]
        assert not [t for t in targets if os.path.lexists(t) and folder in os.readlink(t)]


def test_f30_a_slow_client_costs_s3_nothing_until_it_is_done(
    s3: StrictS3, ports: list[int]
) -> None:
    """A small file is one PUT when it has arrived; others are served meanwhile."""
    with fault_proxy(ports[0]) as line, real.Browser(f"http://127.0.0.1:{ports[0]}") as other:
        line.fail(bytes_per_second=100_000)
        slow: list[real.Page] = []
        upload = ("avatar", ("a.bin", LEO.data * 40, "x/y"))
        sender = threading.Thread(
            target=lambda: slow.append(real.post_alone(f"{line.url}/add", [upload]))
        )
        sender.start()
        wait_until(lambda: line.connections, what="the slow client's connection")
        assert seen(other.get("/hello")).text == "hello"
        assert s3.count() == 0
        sender.join(30)
    seen(slow[0])
    assert s3.kinds == ["PUT"]


def test_f28_a_client_that_resets_in_the_middle(s3: StrictS3, ports: list[int]) -> None:
    """Parts of its file are on their way: they are dropped, and the server serves on."""
    with fault_proxy(ports[0]) as line:
        line.fail(reset_after_up=10 << 20)
        body, content_type = encode([("avatar", BIG)], MULTIPART)
        head = f"POST /add HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        where = ("127.0.0.1", line.port)
        with socket.create_connection(where) as client, contextlib.suppress(ConnectionError):
            client.sendall(head.encode() + body)
        wait_until(lambda: s3.count("ABORT") == s3.count("BEGIN"), what="the end of the upload")
    with real.Browser(f"http://127.0.0.1:{ports[0]}") as other:
        assert seen(other.get("/hello")).text == "hello"
    assert (staged(s3), s3.unfinished()) == ([], [])


# --- views that do odd things ---------------------------------------------------------------------------


def edited(app: Flask, handoff: S3Handoff) -> None:
    """Edit the file and answer in several ways."""

    def edit() -> HandoffFile:
        (file,) = handoff.getlist("avatar")
        file.replace(b"edited")
        return file

    answer(
        app,
        "/show",
        lambda: page(shown(), form("/show"), form("/json"), form("/redirect"), form("/same")),
    )
    answer(app, "/json", lambda: (edit(), {"token": handoff.token()})[1])
    answer(app, "/redirect", lambda: (edit(), redirect("/show"))[1])
    answer(app, "/same", lambda: (edit(), ("", 304))[1])
    app.register_error_handler(HandoffError, say_what_is_wrong)


EDITED = Upload("leo.png", b"edited")


def test_f40_an_edit_goes_along_with_a_redirect_and_a_token(s3: StrictS3) -> None:
    """And not with a 304, which has no way out: the page before keeps its revision."""
    with fleet_of(edited, store=store_of(s3)) as fleet:
        browser = Browser(fleet)
        page = good(browser.post("/show", [("avatar", LEO)]))
        assert line_of(EDITED) in good(browser.submit(page, "/redirect")).text
        token = page.form().token
        answered = good(browser.post("/json", [("_s3handoff", token)])).text
        again = answered.partition('"token":"')[2].partition('"')[0]
        assert line_of(EDITED) in good(browser.post("/show", [("_s3handoff", again)])).text
        assert browser.submit(page, "/same").status == 304
        assert line_of(LEO) in good(browser.submit(page, "/show")).text


# --- deployments ----------------------------------------------------------------------------------------


def test_f46_a_file_of_no_bytes_is_a_file(s3: StrictS3, fleet: Fleet) -> None:
    """Through all steps; and nothing chosen is still nothing."""
    browser = Browser(fleet)
    empty = Upload("empty.png", b"", "image/png")
    page = good(browser.post("/show", [("avatar", empty)]))
    assert line_of(empty) in good(browser.submit(page, "/show")).text
    assert staged(s3) == [b""]
    nothing = good(browser.post("/show", [("avatar", Upload("", b""))]))
    assert "avatar" not in nothing.text


MIB = 1 << 20


@pytest.mark.parametrize(
    "size",
    [101, 500 * 1024 - 1, 500 * 1024, 500 * 1024 + 1, 5 * MIB - 1, 5 * MIB, 5 * MIB + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1],
)  # fmt: skip
def test_f47_exact_sizes_go_through_all_steps(s3: StrictS3, fleet: Fleet, size: int) -> None:
    """At each threshold of werkzeug, of S3 and of ours."""
    walk(fleet, s3, Upload("a.bin", BIG.data[:size]))


def test_f47_one_byte_too_many(s3: StrictS3) -> None:
    """The limit itself is taken; a byte more is 413 and leaves nothing."""
    with fleet_of(edited, store=store_of(s3), max_file_size=6 * MIB) as fleet:
        good(Browser(fleet).post("/show", [("avatar", Upload("a", BIG.data[: 6 * MIB]))]))
        s3.buckets["staging"].clear()
        more = Upload("a", BIG.data[: 6 * MIB + 1])
        assert Browser(fleet).post("/show", [("avatar", more)]).status == 413
        settled(fleet)
        assert (staged(s3), s3.unfinished()) == ([], [])


@pytest.mark.parametrize("origin", ["http://localhost", "https://localhost"])
def test_f48_a_form_that_comes_back_from_another_site(
    s3: StrictS3, fleet: Fleet, origin: str
) -> None:
    """A cross-site POST brings no Lax cookie: 403, "choose it again", the rest of the form is kept."""
    browser = Browser(fleet, origin)
    page = good(browser.post("/show", [("avatar", LEO)]))
    (name,) = browser.cookies
    assert "SameSite=Lax" in page.headers["Set-Cookie"]
    assert name.startswith("__Host-s3handoff-" if origin.startswith("https") else "s3handoff-")
    abroad = Browser(fleet, origin)
    returned = abroad.post("/show", [("_s3handoff", page.form().token), ("title", "my title")])
    assert returned.status == 403
    assert "<p>foreign avatar</p>" in returned.text
    assert "my title" in returned.text
    assert line_of(LEO) in good(browser.submit(page, "/show")).text
