"""What an attacker tries with real requests, named for the threats; each of these once succeeded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_s3handoff import S3Handoff, carriage
from flask_s3handoff.mirror import Mirror
from tests.browser_like import MULTIPART, Browser, encode
from tests.carry.test_carry import LEO
from tests.small_apps import answer, fleet_of, form, page

pytestmark = pytest.mark.oldest


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_t15_what_a_token_in_the_url_brings_is_kept_by_nobody(method: str) -> None:
    """A CDN that ignores query strings would show one person's file to the next (rule 7)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/raw"))[1])

        @app.get("/raw")
        def raw() -> Any:
            content = b"".join(file.read() for file in request.files.values())
            answered = app.response_class(content, mimetype="image/png")
            answered.cache_control.public = True
            answered.cache_control.max_age = 600
            answered.add_etag()
            return answered

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        there = browser.post("/add", [("avatar", LEO)], follow=False).location
        seen = browser.send(method, there)
        assert seen.data == (LEO.data if method == "GET" else b"")
        assert seen.headers["Cache-Control"] == "private, no-cache"
        assert seen.headers["Vary"] == "Cookie"
        assert seen.headers["Referrer-Policy"] == "same-origin"
        assert "ETag" not in seen.headers
        other = browser.open("/raw")
        assert other.headers["Cache-Control"] == "public, max-age=600"


@pytest.mark.parametrize("host", ["evil.example", "a b", "[", ""])
def test_t41_a_token_sent_to_a_host_that_is_not_trusted_is_no_server_error(host: str) -> None:
    """Flask answers 400 by itself; anybody could make it a 500, with any text as a token."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        app.config["PROPAGATE_EXCEPTIONS"] = False
        answer(app, "/", lambda: page("home", form("/")))

    with fleet_of(build, TRUSTED_HOSTS=["localhost"]) as fleet:
        body, content_type = encode([("_s3handoff", "x.y")], MULTIPART)
        for method, query in (("POST", ""), ("GET", "_s3handoff=x.y")):
            builder = EnvironBuilder(
                method=method, query_string=query, data=body, content_type=content_type
            )
            environ = {**builder.get_environ(), "HTTP_HOST": host, "SERVER_NAME": "localhost"}
            status = run_wsgi_app(fleet, environ, buffered=True)[1]
            assert status in ("400 BAD REQUEST", "200 OK")  # Flask 3.0 trusts every host


def test_t14_no_header_that_names_the_page_shows_its_token() -> None:
    """A view that sends htmx back to where it was would give a discarded file out again."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/edit"))[1])
        answer(app, "/edit", lambda: page(form("/headers")))
        answer(app, "/headers", lambda: str(request.headers))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        there = browser.post("/add", [("avatar", LEO)]).url
        assert "_s3handoff=" in there
        seen = browser.open("/headers", Referer=there, HX_Current_URL=there)
        assert seen.text.count("http://localhost/edit") == 2
        assert "_s3handoff=" not in seen.text


@pytest.mark.parametrize("target", [" /admin", "\t/admin", "/flow/\t../admin", "/flow/.\t./admin"])
def test_h37_white_space_does_not_lead_a_redirect_off_our_paths(target: str) -> None:
    """Browsers take it out of a URL: all of these are ``/admin``, where nothing is carried to."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/flow/add")
        def add() -> Any:
            assert request.files["avatar"]
            return app.response_class(status=302, headers={"Location": target})

    with fleet_of(build, paths=["/flow"]) as fleet:
        seen = Browser(fleet).post("/flow/add", [("avatar", LEO)], follow=False)
        assert "_s3handoff" not in seen.location


def test_switched_off_nothing_leaves_that_a_view_has_put_on_its_way() -> None:
    """``S3HANDOFF_ENABLED=False`` is the way out: no token, no cookie, also after ``reopen``."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.get("/")
        def edit() -> str:
            handoff.put(LEO.data, "users/leo.png", overwrite=True)
            file = handoff.reopen("users/leo.png", "avatar")
            assert file.read() == LEO.data
            return page(f"<p>{handoff.token()}{handoff.fields()}</p>", form("/"))

    with fleet_of(build, enabled=False) as fleet:
        browser = Browser(fleet)
        seen = browser.open("/")
        assert seen.text == page("<p></p>", form("/"))
        assert not browser.cookies


def test_t38_a_wrong_setting_is_told_in_the_log_and_not_to_visitors(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Flask answers with an ``HTTPException``'s text and logs none: names, paths and silence."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        app.config["SECRET_KEY"] = "short"
        answer(app, "/", lambda: page(str(request.files), form("/")))

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/", [("avatar", LEO)])
        assert seen.status == 500
        assert "SECRET_KEY" not in seen.text
        assert "SECRET_KEY is too weak" in caplog.text


@pytest.mark.parametrize("use", ["read", "path", "bundle"])
def test_f35_a_local_copy_that_goes_just_before_it_is_opened_is_fetched_again(
    use: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever fills the work folder makes it evict what others are about to open: that was a 500."""
    gone: list[str] = []
    found = Mirror.rehydrate

    def rehydrate(*arguments: Any, **options: Any) -> Any:
        path, source = found(*arguments, **options)
        if not gone:
            gone.append(path)
            os.unlink(path)
        return path, source

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], redirect("/use"))[1])

        @app.get("/use")
        def used() -> str:
            file: Any = request.files["avatar"]
            return str(os.path.getsize(file.path) if use == "path" else len(file.read()))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        if use == "bundle":
            monkeypatch.setattr(carriage, "MAX_URL_TOKEN_LENGTH", 1)
        there = browser.post("/add", [("avatar", LEO)], follow=False).location
        monkeypatch.setattr(Mirror, "rehydrate", rehydrate)
        assert browser.open(there).text == str(len(LEO.data))
        assert gone


def test_t22_a_link_in_the_place_of_the_edit_copy_is_not_followed() -> None:
    """An archive that a view unpacks beside the file may bring one: to the server's own files."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/unpack")
        def unpack() -> str:
            file: Any = request.files["avatar"]
            path = file.path
            os.unlink(path)
            os.symlink(__file__, path)
            return page(form("/read"))

        answer(app, "/read", lambda: request.files["avatar"].read())

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/unpack", [("avatar", LEO)])
        assert browser.submit(seen).data == LEO.data


def test_t38_a_damaged_store_folder_is_not_told_to_visitors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer to a broken record named the path of the folder on the server's disk."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: handoff.open("users/leo.png").read())

    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "~leo.png.json").write_text("{}")
    with fleet_of(build, store=f"dir:{tmp_path}") as fleet:
        seen = Browser(fleet).open("/")
        assert seen.status == 502
        assert str(tmp_path) not in seen.text
        assert str(tmp_path) in caplog.text
