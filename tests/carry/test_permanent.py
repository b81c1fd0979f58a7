"""Permanent files: promote, open, put, delete, list, url; in a request and out of one."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.errors import AlreadyExists, Forged, InvalidKey, Missing
from flask_s3handoff.testing import MemoryStore
from tests.browser_like import Browser, Upload
from tests.carry.test_carry import ADA, LEO, line_of, shown
from tests.small_apps import answer, apps_of, at, count, fleet_of, form, memory, page

pytestmark = pytest.mark.oldest


def make_app(store: MemoryStore | str, **config: Any) -> tuple[Flask, S3Handoff]:
    """Return one app, for what needs no fleet."""
    app = Flask(__name__)
    app.config.from_mapping(
        SECRET_KEY="k" * 32,
        TESTING=True,
        S3HANDOFF_STORE=store,
        S3HANDOFF_PLACES={"users/": {}, "users/vip/": {}},
        **config,
    )
    return app, S3Handoff(app)


def test_promote_is_a_copy_inside_the_store() -> None:
    """One COPY, no byte through this server; name, type and sha256 go along."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/save", lambda: handoff.promote(request.files["avatar"], "users/1.png"))

    with fleet_of(build) as fleet:
        assert Browser(fleet).post("/save", [("avatar", LEO)]).text == "users/1.png"
        assert [verb for verb, _ in memory(fleet).calls] == ["put", "copy"]
        kind = memory(fleet).kind_of("users/1.png")
        assert kind.content_type == "image/png"
        assert "leo.png" in kind.disposition
        entry = memory(fleet).stat("users/1.png")
        assert entry.sha256 == hashlib.sha256(LEO.data).hexdigest()


def test_promote_of_an_edit_saves_the_edit() -> None:
    """An edit copy is settled first."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/save")
        def save() -> str:
            file: Any = request.files["avatar"]
            with open(file.path, "wb") as copy:
                copy.write(b"edited")
            return str(file.promote("users/1.png"))

    with fleet_of(build) as fleet:
        Browser(fleet).post("/save", [("avatar", LEO)])
        assert memory(fleet).bytes_of("users/1.png") == b"edited"


@pytest.mark.parametrize("overwrite", [False, True])
def test_t30_promote_and_what_is_there_already(overwrite: bool) -> None:
    """The same revision again is success; another one is 409 unless ``overwrite`` is asked for."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/save")
        def save() -> str:
            return handoff.promote(request.files["avatar"], "users/1.png", overwrite=overwrite)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        assert browser.post("/save", [("avatar", LEO)]).status == 200
        assert browser.post("/save", [("avatar", LEO)]).status == 200
        assert browser.post("/save", [("avatar", ADA)]).status == (200 if overwrite else 409)
        assert memory(fleet).bytes_of("users/1.png") == (ADA if overwrite else LEO).data


BAD_KEYS = [
    "", "1.png", "/users/1.png", "users", "users/", "users/../secret", "users//x", "users/./x", "handoff/x/y", "users/a\0b",
    "users\\x", "users/\ud800", "users/" + "x" * 1024, "Users/1.png", "users/x/", "../users/1.png",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
def test_t29_only_keys_below_a_place_are_taken(key: str) -> None:
    """A confused deputy cannot reach staging, another prefix or anything upwards (T29)."""
    store = MemoryStore()
    app, handoff = make_app(store)
    with app.app_context():
        for use in (
            lambda: handoff.put(b"x", key), lambda: handoff.open(key), lambda: handoff.delete(key), lambda: handoff.url(key),
        ):  # fmt: skip
            with pytest.raises(InvalidKey):
                use()
    with app.test_client() as client:
        app.add_url_rule(
            "/", "save", lambda: handoff.promote(request.files["f"], key), methods=["POST"]
        )
        assert (
            client.post("/", data={"f": (__import__("io").BytesIO(b"x"), "f")}).status_code == 400
        )
    assert [verb for verb, _ in store.calls if verb != "put"] == []


@pytest.mark.parametrize("prefix", ["", "users", "/", "handoff/", "users/../", "other/", "users//"])
def test_t29_only_prefixes_below_a_place_are_listed(prefix: str) -> None:
    """``users/1`` would find ``users/10`` as well, so a prefix ends with a slash."""
    app, handoff = make_app(MemoryStore())
    with app.app_context(), pytest.raises(InvalidKey):
        list(handoff.list(prefix))


def test_put_open_list_delete_without_a_request(tmp_path: Path) -> None:
    """As a background job does it; sources are bytes, a path, an open file."""
    store = MemoryStore()
    app, handoff = make_app(store, S3HANDOFF_WORK_DIR=str(tmp_path / "work"))
    (tmp_path / "report.csv").write_bytes(b"a,b\n")
    with app.app_context():
        assert handoff.put(b"one", "users/1/a.txt") == "users/1/a.txt"
        handoff.put(str(tmp_path / "report.csv"), "users/1/b.csv")
        handoff.put(tmp_path / "report.csv", "users/1/c.csv")
        with open(tmp_path / "report.csv", "rb") as source:
            handoff.put(source, "users/10/d.csv")
        handoff.put(b"one", "users/1/a.txt")  # the same bytes again are success
        with pytest.raises(AlreadyExists):
            handoff.put(b"two", "users/1/a.txt")
        handoff.put(b"two", "users/1/a.txt", overwrite=True)

        found = list(handoff.list("users/1/"))
        assert [(f.key, f.size) for f in found] == [
            ("users/1/a.txt", 3),
            ("users/1/b.csv", 4),
            ("users/1/c.csv", 4),
        ]
        assert abs((datetime.now(UTC) - found[0].last_modified).total_seconds()) < 60
        with handoff.open("users/1/b.csv") as opened:
            assert opened.read(2) == b"a,"
            assert opened.seek(0) == 0
            assert opened.read() == b"a,b\n"
        handoff.delete("users/1/a.txt")
        handoff.delete("users/1/a.txt")
        with pytest.raises(Missing):
            handoff.open("users/1/a.txt")
    assert not list((tmp_path / "work").rglob("*.part"))


def test_a_type_is_told_or_guessed(tmp_path: Path) -> None:
    """Safe raster types inline, all else as an attachment (T25)."""
    store = MemoryStore()
    app, handoff = make_app(store, S3HANDOFF_WORK_DIR=str(tmp_path / "work"))
    with app.app_context():
        handoff.put(b"x", "users/a.png", content_type="image/png")
        handoff.put(b"x", "users/a.html", content_type="text/html")
        handoff.put(b"x", "users/a.svg", content_type="image/svg+xml")
    assert store.kind_of("users/a.png").content_type == "image/png"
    assert store.kind_of("users/a.png").disposition.startswith("inline")
    for key in ("users/a.html", "users/a.svg"):
        assert store.kind_of(key).content_type == "application/octet-stream"
        assert store.kind_of(key).disposition.startswith("attachment")


# --- our own route, for stores without addresses ---------------------------------------------------------


def gallery(app: Flask, handoff: S3Handoff) -> None:
    """Show the picture while it is carried, and all that were saved."""

    @app.post("/add")
    def add() -> str:
        return page(f'<img src="{handoff.url(request.files["avatar"])}">', form("/save"))

    @app.post("/save")
    def save() -> str:
        handoff.promote(request.files["avatar"], "users/1/avatar.png")
        return page(*(f'<img src="{stored.url()}">' for stored in handoff.list("users/1/")))


def image_of(text: str) -> str:
    """Return the first image's address."""
    return text.partition('src="')[2].partition('"')[0]


@pytest.mark.parametrize("kind", ["memory", "dir"])
def test_a_store_without_addresses_is_served_by_a_signed_route(kind: str, tmp_path: Path) -> None:
    """On whichever server; inline only for safe types, sandboxed, and for a while."""
    store = MemoryStore() if kind == "memory" else f"dir:{tmp_path / 'store'}"
    with fleet_of(gallery, store=store, url_expires=300) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("avatar", LEO)])
        saved = browser.submit(added)
        for seen in (added, saved):
            url = image_of(seen.text)
            picture = browser.open(url)
            assert picture.status == 200
            assert picture.data == LEO.data
            assert picture.headers["Content-Type"] == "image/png"
            assert picture.headers["Content-Disposition"].startswith("inline")
            assert picture.headers["X-Content-Type-Options"] == "nosniff"
            assert "sandbox" in picture.headers["Content-Security-Policy"]
            assert browser.send("HEAD", url).status == 200
            assert browser.open(url[:-1] + ("A" if url[-1] != "A" else "B")).status == Forged.code


def test_a_link_dies_in_time() -> None:
    """``S3HANDOFF_URL_EXPIRES`` seconds after it was made."""
    with fleet_of(gallery, url_expires=300) as fleet:
        at(fleet, -299)
        browser = Browser(fleet)
        url = image_of(browser.post("/add", [("avatar", LEO)]).text)
        assert browser.open(url).status == 200
        at(fleet, -301)
        url = image_of(browser.post("/add", [("avatar", LEO)]).text)
        assert browser.open(url).status == Forged.code


def test_a_page_that_is_not_an_image_is_never_shown_inline() -> None:
    """HTML uploaded as a picture comes as an attachment of no type (T25)."""
    with fleet_of(gallery) as fleet:
        browser = Browser(fleet)
        evil = Upload("x.html", b"<script>alert(1)</script>", "text/html")
        picture = browser.open(image_of(browser.post("/add", [("avatar", evil)]).text))
        assert picture.headers["Content-Type"] == "application/octet-stream"
        assert picture.headers["Content-Disposition"].startswith("attachment")


def test_the_url_in_a_template_settles_the_edit() -> None:
    """What is shown is the picture as it is now, durable before it is visible (rule 1)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/add")
        def add() -> str:
            file: Any = request.files["avatar"]
            with open(file.path, "wb") as copy:
                copy.write(b"edited")
            return page(f'<img src="{file.url()}">')

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        assert (
            browser.open(image_of(browser.post("/add", [("avatar", LEO)]).text)).data == b"edited"
        )


def test_a_place_with_a_public_url_is_not_presigned() -> None:
    """The public address where there is one (the store's own business, told to it by the place)."""
    from flask_s3handoff.config import HandoffConfig
    from flask_s3handoff.s3 import S3Store

    config = HandoffConfig.from_mapping(
        {"S3HANDOFF_BUCKET": "bucket", "S3HANDOFF_REGION": "eu-central-1",
         "S3HANDOFF_PLACES": {"users/": {"public_url": "https://cdn.example/u/"}}}
    )  # fmt: skip
    url = S3Store.from_config(config).url("users/a b.png", expires_seconds=60)
    assert url.startswith("https://cdn.example/u/")
    assert "X-Amz" not in url


def test_the_routes_of_two_apps_do_not_open_each_others_files() -> None:
    """Another key, another app: the link is forged there."""
    with fleet_of(gallery) as fleet, fleet_of(gallery) as other:
        url = image_of(Browser(fleet).post("/add", [("avatar", LEO)]).text)
        assert Browser(other).open(url).status == Forged.code


def test_a_file_that_is_no_handoff_file_can_be_promoted() -> None:
    """An exempt view, or an app that is switched off: the bytes are stored instead of copied."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/save")
        @handoff.exempt
        def save() -> str:
            return handoff.promote(request.files["avatar"], "users/1.png")

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        assert browser.post("/save", [("avatar", LEO)]).text == "users/1.png"
        assert browser.post("/save", [("avatar", LEO)]).status == 200
        assert browser.post("/save", [("avatar", ADA)]).status == 409
        assert memory(fleet).bytes_of("users/1.png") == LEO.data


def test_reopen_of_what_is_not_there() -> None:
    """410, like any file that is gone; nothing is carried."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(
            app,
            "/again",
            lambda: page(str(handoff.reopen("users/none.png", "avatar")), form("/again")),
        )

    with fleet_of(build) as fleet:
        assert Browser(fleet).open("/again").status == 410
        assert apps_of(fleet)
        assert count(fleet, "put") == 0


def test_f25_a_promoted_file_is_carried_no_further_but_its_old_page_is() -> None:
    """Back to the page before the save still has its revision (F25)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: page(shown(), form("/save"), form("/add")))

        @app.post("/save")
        def save() -> str:
            handoff.promote(request.files["avatar"], "users/1.png")
            return page(form("/add"))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        added = browser.post("/add", [("avatar", LEO)])
        assert not browser.submit(added, "/save").tokens
        assert line_of(LEO) in browser.submit(added, "/add").text
        assert abort is not None


def test_put_stores_the_whole_of_a_file_that_was_looked_into() -> None:
    """A check of the first bytes does not cost them."""
    app, handoff = make_app(MemoryStore())

    with app.app_context(), BytesIO(b"GIF89a picture") as picture:
        assert picture.read(6) == b"GIF89a"
        handoff.put(picture, "users/1.gif")
        with handoff.open("users/1.gif") as stored:
            assert stored.read() == b"GIF89a picture"
