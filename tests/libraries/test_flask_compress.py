"""Flask-Compress, made before us or after us, for the app or for one view."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from flask import Flask, Response, redirect, render_template_string, request
from flask_compress import Compress

from flask_s3handoff import S3Handoff
from flask_s3handoff.testing import Fleet
from tests.browser_like import Browser, Page, Upload
from tests.small_apps import form, page

PICTURE = Upload("leo.png", b"\x89PNG Leo" * 100, "image/png")
PAGE = page("<p>long enough to be compressed</p>" * 50, form("/show"))


def create_app(config: dict[str, Any]) -> Flask:
    """Return an app with both extensions, in the order that ``config`` says."""
    app = Flask(__name__)
    app.config.from_mapping(config)
    handoff, compress = S3Handoff(), Compress()
    order = config["ORDER"]
    if order == "us first":
        handoff.init_app(app)
        compress.init_app(app)
    elif order == "us last":
        compress.init_app(app)
        handoff.init_app(app)
    else:
        app.config["COMPRESS_REGISTER"] = False
        compress.init_app(app)
        handoff.init_app(app)

    def view() -> str:
        request.files.get("avatar")
        return PAGE

    def stream() -> Response:
        request.files.get("avatar")
        return Response(iter([PAGE[:100], PAGE[100:]]))

    def go() -> Any:
        request.files.get("avatar")
        return redirect("/view")

    for name, body in (("view", view), ("stream", stream), ("go", go)):
        if order == "by decorator":
            body = compress.compressed()(body)
        app.add_url_rule(f"/{name}", name, body, methods=["GET", "POST"])
    app.add_url_rule("/show", "show", lambda: request.files["avatar"].read(), methods=["POST"])
    return app


@pytest.fixture(params=["us first", "us last", "by decorator"])
def fleet(request: pytest.FixtureRequest) -> Any:
    """Three copies, for each order."""
    with Fleet(create_app, config={"ORDER": request.param}) as fleet:
        yield fleet


def unzipped(seen: Page) -> Page:
    """Return the page as a browser sees it."""
    assert seen.headers["Content-Encoding"] == "gzip"
    return Page(seen.url, seen.status, seen.headers, gzip.decompress(seen.data))


@pytest.mark.parametrize("url", ["/view", "/stream", "/go"])
def test_a_compressed_page_carries(fleet: Fleet, url: str) -> None:
    """The form is filled before the page is compressed, in whichever order they were made."""
    browser = Browser(fleet, headers={"Accept-Encoding": "gzip"})
    seen = unzipped(browser.post(url, [("avatar", PICTURE)]))
    assert seen.form().token
    shown = browser.submit(seen)
    body = gzip.decompress(shown.data) if "Content-Encoding" in shown.headers else shown.data
    assert body == PICTURE.data


def test_a_page_without_a_file_is_compressed_as_ever(fleet: Fleet) -> None:
    """Nothing of ours is in it."""
    seen = unzipped(Browser(fleet, headers={"Accept-Encoding": "gzip"}).open("/view"))
    assert seen.text == PAGE
    assert "Set-Cookie" not in seen.headers


def test_a_view_that_compresses_its_own_page(caplog: pytest.LogCaptureFixture) -> None:
    """Its body cannot be read: the log says what to do, and ``fields()`` in the page carries (rule 5)."""

    def factory(config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        app.config.from_mapping(config)
        S3Handoff(app)

        def zipped(template: str) -> Response:
            request.files.get("avatar")
            body = gzip.compress(render_template_string(template).encode())
            return Response(body, headers={"Content-Encoding": "gzip"})

        explicit = page(form("/show", "{{ s3handoff.fields() }}"))
        app.add_url_rule("/bare", "bare", lambda: zipped(PAGE), methods=["POST"])
        app.add_url_rule("/fields", "fields", lambda: zipped(explicit), methods=["POST"])
        app.add_url_rule("/show", "show", lambda: request.files["avatar"].read(), methods=["POST"])
        return app

    with Fleet(factory) as fleet:
        browser = Browser(fleet)
        assert not unzipped(browser.post("/bare", [("avatar", PICTURE)])).tokens
        assert "fields()" in caplog.text
        seen = unzipped(browser.post("/fields", [("avatar", PICTURE)]))
        assert browser.submit(seen).data == PICTURE.data
