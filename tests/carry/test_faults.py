"""The store fails: pages that carry nothing go on, what must be carried is 503, nothing is left."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from typing import Any

import pytest
from flask import Flask, redirect, render_template_string, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import Unavailable
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.browser_like import Browser, Upload
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.small_apps import answer, apps_of, count, fleet_of, form, memory, page, settled

pytestmark = pytest.mark.oldest


def site(app: Flask, handoff: S3Handoff) -> None:
    """Answers of every kind to an upload."""
    answer(app, "/page", lambda: page(shown(), form("/page")))
    answer(app, "/bare", lambda: page(shown()))
    answer(app, "/json", lambda: json.dumps({"seen": shown()}))
    answer(
        app, "/away", lambda: (request.files["avatar"], redirect("https://elsewhere.example/"))[1]
    )
    answer(app, "/redirect", lambda: (request.files["avatar"], redirect("/bare"))[1])
    answer(app, "/blind", lambda: page(form("/page")))
    answer(app, "/token", lambda: (request.files["avatar"], handoff.token())[1])
    answer(app, "/promote", lambda: handoff.promote(request.files["avatar"], "users/1.png"))
    answer(app, "/link", lambda: handoff.url(request.files["avatar"]))
    fields = page("{{ s3handoff.fields() }}")
    answer(app, "/fields", lambda: (request.files["avatar"], render_template_string(fields))[1])


@pytest.mark.parametrize("url", ["/bare", "/json", "/away", "/blind"])
def test_rule_1_an_answer_that_carries_nothing_does_not_fail_with_the_store(url: str) -> None:
    """One-step uploads go on working while S3 is down (I10)."""
    with fleet_of(site) as fleet:
        memory(fleet).fail_with(Unavailable())
        seen = Browser(fleet).post(url, [("avatar", LEO)], follow=False)
        assert seen.status in (200, 302)


@pytest.mark.parametrize("url", ["/page", "/redirect", "/token", "/promote", "/link", "/fields"])
def test_rule_1_an_answer_that_must_carry_is_503_with_retry_after(url: str) -> None:
    """No token, no link and no key without the bytes; and no cookie for nothing."""
    with fleet_of(site) as fleet:
        memory(fleet).fail_with(Unavailable())
        browser = Browser(fleet)
        seen = browser.post(url, [("avatar", LEO)], follow=False)
        assert seen.status == 503
        assert int(seen.headers["Retry-After"]) > 0
        assert "_s3handoff" not in seen.text + str(seen.headers)
        assert not browser.cookies
        memory(fleet).recover()
        assert browser.post(url, [("avatar", LEO)], follow=False).status in (200, 302)


class Gate(MemoryStore):
    """A store that answers a PUT when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.asked = threading.Event()

    def put(self, *arguments: Any, **options: Any) -> str:
        """Wait, then keep."""
        self.asked.set()
        assert self.opened.wait(30)
        return super().put(*arguments, **options)


def test_rule_1_no_token_leaves_before_the_store_has_acknowledged() -> None:
    """The page waits for the PUT; the page that carries nothing does not."""
    store = Gate()
    with fleet_of(site, store=store) as fleet:
        browser = Browser(fleet)
        assert browser.post("/bare", [("avatar", LEO)]).status == 200
        assert store.asked.wait(10)
        store.asked.clear()
        done: list[Any] = []
        sender = threading.Thread(
            target=lambda: done.append(browser.post("/page", [("avatar", ADA)]))
        )
        sender.start()
        assert store.asked.wait(10)
        sender.join(0.5)
        assert done == []
        assert [verb for verb, _ in store.calls if verb == "put"] == []
        store.opened.set()
        sender.join(10)
        assert done[0].form().token
        settled(fleet)


def test_the_view_runs_while_the_store_is_still_busy() -> None:
    """``S3HANDOFF_MIRROR = "overlap"``: the bytes travel beside the view."""
    store = Gate()

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            assert shown()
            assert store.asked.wait(10)
            assert not store.keys()
            store.opened.set()
            return page(form("/"))

    with fleet_of(build, store=store) as fleet:
        assert Browser(fleet).post("/", [("avatar", LEO)]).form().token


def test_rule_10_a_store_that_never_answers_is_given_up_in_time() -> None:
    """``S3HANDOFF_DEADLINE`` for the whole request, however many files it has."""
    store = Gate()
    try:
        with fleet_of(site, store=store, deadline=0.3) as fleet:
            began = time.monotonic()
            files: list[tuple[str, str | Upload]] = [
                ("avatar", LEO),
                ("b", ADA),
                ("c", ADA),
                ("d", ADA),
            ]
            assert Browser(fleet).post("/page", files).status == 503
            assert time.monotonic() - began < 15
            store.opened.set()
            settled(fleet)
    finally:
        store.opened.set()


def test_a_server_that_has_the_file_goes_on_without_the_store() -> None:
    """Two copies, the store gone: the one with the local copy still shows and carries it."""
    with fleet_of(site) as fleet:
        fleet.kill(fleet.copies[2])
        browser = Browser(fleet)
        seen = browser.post("/page", [("avatar", LEO)])
        seen = browser.submit(seen)
        settled(fleet)
        memory(fleet).fail_with(Unavailable())
        for _ in range(4):
            seen = browser.submit(seen)
            assert line_of(LEO) in seen.text


def test_one_of_two_files_fails() -> None:
    """503; what the store does have is carried in the answer, what it has not is not."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: page(shown(), form("/")))
        app.register_error_handler(
            Unavailable, lambda e: (page(f"<p>{e.filename}</p>", form("/")), 503)
        )

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/", [("avatar", LEO)])
        settled(fleet)
        memory(fleet).fail_with(Unavailable(), verbs=["put"])
        failed = browser.post("/", [("_s3handoff", seen.form().token), ("cv", ADA)])
        assert failed.status == 503
        assert "<p>ada.png</p>" in failed.text
        memory(fleet).recover()
        again = browser.submit(failed)
        assert line_of(LEO) in again.text
        assert line_of(ADA, "cv") not in again.text


def test_f2_a_failed_edit_does_not_cost_the_upload() -> None:
    """The page before still has its revision (rule 4)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/show", lambda: page(shown(), form("/crop"), form("/show")))

        @app.post("/crop")
        def crop() -> str:
            request.files["avatar"].replace(b"cropped")
            return page(shown(), form("/show"))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/show", [("avatar", LEO)])
        memory(fleet).fail_with(Unavailable(), verbs=["put"])
        assert browser.submit(seen, "/crop").status == 503
        memory(fleet).recover()
        assert line_of(LEO) in browser.submit(seen, "/show").text
        assert line_of(Upload("leo.png", b"cropped")) in browser.submit(seen, "/crop").text


def test_the_answer_that_was_given_up_is_closed() -> None:
    """A page that could not carry is not sent; its generator and its callbacks end all the same."""
    closed: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> Any:
            request.files["avatar"].read(1)
            response = app.response_class(iter([form("/")]))
            response.call_on_close(lambda: closed.append("closed"))
            return response

    with fleet_of(build) as fleet:
        memory(fleet).fail_with(Unavailable())
        assert Browser(fleet).post("/", [("avatar", LEO)]).status == 503
        assert closed == ["closed"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE])
def test_f15_f16_a_full_disk_is_503_and_nothing_is_left(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of the files of that form which came before and after the one that failed (F15, F16)."""
    with fleet_of(site) as fleet:
        from flask_s3handoff.draft import Draft

        whole, tries = Draft.publish, [0]

        def publish(draft: Any, relpath: str) -> str:
            tries[0] += 1
            if tries[0] == 2:
                draft.close()
                raise Unavailable(detail=os.strerror(number))
            return whole(draft, relpath)

        monkeypatch.setattr(Draft, "publish", publish)
        files: list[tuple[str, str | Upload]] = [("a", LEO), ("b", LEO), ("c", LEO)]
        assert Browser(fleet).post("/page", files).status == 503
        settled(fleet)
        assert count(fleet, "put") == 1
        descriptors = [
            os.readlink(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd") if exists(n)
        ]
        assert not [name for name in descriptors if "s3handoff-fleet" in name]


def exists(number: str) -> bool:
    """Tell whether a descriptor is still there."""
    return os.path.lexists(f"/proc/self/fd/{number}")


def test_f35_a_cleaner_that_removes_every_local_copy_is_not_noticed() -> None:
    """The file is fetched again, for reading and for editing (F35)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/edit")))

        @app.post("/edit")
        def edit() -> str:
            sweep(app)
            file: Any = request.files["avatar"]
            first = len(file.read())
            sweep(app)
            return page(f"{first} {os.path.getsize(file.path)}", form("/edit"))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/add", [("avatar", LEO)])
        for _ in range(3):
            seen = browser.submit(seen)
            assert f"{len(LEO.data)} {len(LEO.data)}" in seen.text


def sweep(app: Flask) -> None:
    """Remove everything in an app's work folder, as a cleaner of temporary files does."""
    import shutil

    shutil.rmtree(app.config["S3HANDOFF_WORK_DIR"], ignore_errors=True)


def test_f28_a_client_that_goes_away_leaves_nothing() -> None:
    """The connection breaks in the middle of the body (F28)."""

    class Broken:
        def __init__(self, data: bytes) -> None:
            self.data = io.BytesIO(data)

        def read(self, size: int = -1) -> bytes:
            if chunk := self.data.read(size):
                return chunk
            raise ConnectionResetError

    with fleet_of(site) as fleet:
        body = (
            b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + b"x" * 70_000
        )
        app = apps_of(fleet)[0]
        environ = {
            "REQUEST_METHOD": "POST", "PATH_INFO": "/page", "CONTENT_TYPE": "multipart/form-data; boundary=b",
            "CONTENT_LENGTH": "100000", "wsgi.input": Broken(body), "SERVER_NAME": "localhost", "SERVER_PORT": "80",
            "wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1", "wsgi.errors": io.StringIO(),
        }  # fmt: skip
        seen: list[str] = []

        def start_response(status: str, *_: Any) -> Any:
            seen.append(status)

        try:
            b"".join(app.wsgi_app(environ, start_response))
        except ConnectionResetError:
            seen.append("400")
        assert seen[0].startswith("400")
        settled(fleet)
        assert count(fleet) == 0
        assert not parts_of(fleet)


def parts_of(fleet: Fleet) -> list[str]:
    """List local copies and partial files."""
    return [
        name
        for copy in fleet.copies
        for folder, _, names in os.walk(copy.disk)
        for name in names
        if f"{os.sep}lock" not in folder
    ]
