"""The main job in one process: three copies of an app, three disks, one file."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from flask import Flask, redirect, render_template_string, request, url_for
from werkzeug.test import Client

from flask_s3handoff import S3Handoff
from flask_s3handoff.testing import Fleet, MemoryStore

FORM = """<!doctype html><title>crop</title>
<form method="post" action="{{ action }}">{{ s3handoff.fields() if explicit }}<button>go</button></form>"""
PICTURE = b"\x89PNG not really, but these are the bytes" * 50


def create_app(config: dict[str, Any]) -> Flask:
    """Return the three-step app: add, crop, save."""
    app = Flask(__name__)
    app.config.from_mapping(S3HANDOFF_PLACES={"users/": {}}, **config)
    handoff = S3Handoff(app)
    explicit = config.get("EXPLICIT", False)

    @app.post("/add")
    def add() -> str:
        assert request.files["avatar"].filename == "leo.png"
        return render_template_string(FORM, action=url_for("crop"), explicit=explicit)

    @app.post("/crop")
    def crop() -> str:
        with open(request.files["avatar"].path, "r+b") as picture:
            picture.write(b"cropped")
            picture.truncate(1000)
        return render_template_string(FORM, action=url_for("save"), explicit=explicit)

    @app.post("/save")
    def save() -> str:
        return handoff.promote(request.files["avatar"], "users/654/avatar.png")

    @app.post("/redirecting")
    def redirecting() -> Any:
        assert request.files["avatar"]
        return redirect(url_for("show", size=2) + "#top")

    @app.post("/unread")
    def unread() -> str:
        return FORM

    @app.post("/exempt")
    @handoff.exempt
    def exempt() -> str:
        handoff.restore(request.headers["X-Token"])
        return FORM

    @app.get("/show")
    def show() -> str:
        assert "_s3handoff" not in request.url + request.full_path + str(request.args)
        return render_template_string(FORM, action=url_for("crop"), explicit=False)

    return app


@pytest.fixture(params=["round-robin", "random", "adversarial"])
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Yield a fleet by each routing."""
    with Fleet(create_app, routing=request.param) as fleet:
        yield fleet


def token_of(page: str) -> str:
    """Return the token of the first form of a page."""
    found = re.search(r'name="_s3handoff" value="([A-Za-z0-9._~-]+)"', page)
    assert found, page
    return found[1]


def upload(client: Client, url: str = "/add") -> Any:
    """Send the picture as a browser does."""
    return client.post(url, data={"avatar": (BytesIO(PICTURE), "leo.png")})


def stored(fleet: Fleet, key: str) -> bytes:
    """Return what the store has under a key."""
    assert isinstance(fleet.store, MemoryStore)
    with fleet.store.open(key) as opened:
        return opened.read(-1)


def test_one_file_is_carried_through_three_servers(fleet: Fleet) -> None:
    """Upload, crop, save: each on another disk; the saved object is the cropped bytes."""
    client = fleet.client()
    page = upload(client)
    page = client.post("/crop", data={"_s3handoff": token_of(page.text)})
    saved = client.post("/save", data={"_s3handoff": token_of(page.text)})

    assert saved.text == "users/654/avatar.png"
    wanted = (b"cropped" + PICTURE[7:])[:1000]
    assert hashlib.sha256(stored(fleet, saved.text)).digest() == hashlib.sha256(wanted).digest()


def test_the_explicit_field_carries_as_well() -> None:
    """``{{ s3handoff.fields() }}`` in a template, with nothing injected beside it."""
    config = {"EXPLICIT": True}
    with Fleet(create_app, config=config) as fleet:
        client = fleet.client()
        page = upload(client)
        assert page.text.count("_s3handoff") == 1
        page = client.post("/crop", data={"_s3handoff": token_of(page.text)})
        client.post("/save", data={"_s3handoff": token_of(page.text)})

        assert stored(fleet, "users/654/avatar.png").startswith(b"cropped")


def test_a_file_is_carried_across_a_redirect(fleet: Fleet) -> None:
    """The token travels in the query, and the app never sees it there."""
    client = fleet.client()
    answer = upload(client, "/redirecting")

    assert answer.status_code == 302
    assert re.fullmatch(r"/show\?size=2&_s3handoff=[A-Za-z0-9._~-]+#top", answer.location)
    page = client.get(answer.location)
    page = client.post("/crop", data={"_s3handoff": token_of(page.text)})
    client.post("/save", data={"_s3handoff": token_of(page.text)})
    assert stored(fleet, "users/654/avatar.png").startswith(b"cropped")


def test_a_page_with_a_token_is_private(fleet: Fleet) -> None:
    """Rule 7: no shared store of responses ever keeps a token."""
    client = fleet.client()
    page = upload(client)

    assert page.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" not in page.headers.get("Vary", "")  # or Back could not show it
    assert "Cookie" in upload(client).headers["Vary"]
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert int(page.headers["Content-Length"]) == len(page.data)
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("s3handoff-")
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie


def test_another_browser_cannot_use_the_token(fleet: Fleet) -> None:
    """A stolen token is foreign: 403 when the bytes are used (T5)."""
    token = token_of(upload(fleet.client()).text)

    assert fleet.client().post("/crop", data={"_s3handoff": token}).status_code == 403


def test_b23d_an_encoded_upload_is_refused(fleet: Fleet) -> None:
    """A body that the client has compressed is not taken for the file (415)."""
    data = {"avatar": (BytesIO(PICTURE), "leo.png")}
    answer = fleet.client().post("/add", data=data, headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 415


def read_of_unread(browser: Client) -> int:
    """Return how many bytes were read of a body that the view does not read."""
    body = BytesIO(b"_s3handoff=token")
    form = "application/x-www-form-urlencoded"
    browser.post("/unread", input_stream=body, content_type=form, content_length=16)
    return body.tell()


def test_t18_nobody_waits_for_the_unread_body_of_a_stranger(fleet: Fleet) -> None:
    """Without a cookie of ours its tokens would be foreign: a stalled POST holds no thread."""
    browser = fleet.client()

    assert read_of_unread(browser) == 0
    upload(browser)
    assert read_of_unread(browser) == 16


def test_an_exempt_view_carries_nothing_that_it_restored(fleet: Fleet) -> None:
    """Exempt is exempt: no injection, whatever the view itself does."""
    client = fleet.client()
    token = token_of(upload(client).text)

    assert "_s3handoff" not in client.post("/exempt", headers={"X-Token": token}).text
