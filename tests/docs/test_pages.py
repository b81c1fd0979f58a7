"""Every page's code does what the page says, on three servers that share nothing but a store.

The apps are made of what stands in the pages: the Python blocks in order, and the templates.
"""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import jinja2
import pytest
from flask import Flask, request, session

import example_app
from flask_s3handoff import S3Handoff, file_rehydrated
from flask_s3handoff.errors import Unavailable
from flask_s3handoff.store import CEPH_RGW
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.browser_like import Browser, Page, Upload
from tests.pages import DOCS, all_pages, blocks, named, templates

PHOTO = Upload("leo.jpg", b"picture " * 100, "image/jpeg")
PLACES: dict[str, Any] = {"users/": {}, "documents/": {}}
# Pages whose Python is run by tests of their own.
RUN_ELSEWHERE = {
    *("README.md", "docs/deployment.md", "docs/commands.md", "docs/reliability.md"),
    *("docs/scaling.md", "docs/retrofit.md", "docs/security.md"),
}
_driven: set[str] = set()


def drives(page: str) -> Callable[[Any], Any]:
    """Say which page a test runs."""
    _driven.add(f"docs/{page}")
    return lambda test: test


def site_of(page: str, **options: Any) -> Fleet:
    """Return a fleet of the app that a page is about; ``build`` adds what the page does not show."""
    names, settings = options.pop("names", {}), options.pop("settings", {})
    build: Callable[[Flask], object] = options.pop("build", lambda _app: None)

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask("page")
        app.config.from_mapping(S3HANDOFF_PLACES=PLACES, WTF_CSRF_ENABLED=False, **settings)
        known: dict[str, Any] = {"app": app, **names}
        first = [b for b in blocks(f"docs/{page}", "python") if b.code.startswith("app.config")]
        for block in first:
            block.run(known)
        app.config.from_mapping(config)
        known["handoff"] = S3Handoff(app)
        app.jinja_loader = jinja2.DictLoader(templates(f"docs/{page}"))
        for block in blocks(f"docs/{page}", "python"):
            if block not in first:
                block.run(known)
        build(app)
        return app

    return Fleet(create_app, routing="adversarial", **options)


@pytest.fixture
def browse() -> Iterator[Callable[..., Browser]]:
    """Open a browser on the fleet of a page."""
    fleets: list[Fleet] = []

    def open_page(page: str, **options: Any) -> Browser:
        fleets.append(site_of(page, **options))
        return Browser(fleets[-1])

    yield open_page
    for fleet in fleets:
        fleet.close()


def kept(browser: Browser, key: str) -> bytes:
    """Return what the store has under a key."""
    assert isinstance(browser.app, Fleet)
    assert isinstance(browser.app.store, MemoryStore)
    return browser.app.store.bytes_of(key)


# --- begin ---------------------------------------------------------------------------------------


@drives("start.md")
def test_the_app_of_the_five_minute_start_keeps_a_picture(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its reader runs it: in debug, without a bucket."""
    monkeypatch.setenv("FLASK_DEBUG", "1")
    monkeypatch.setenv("FLASK_SECRET_KEY", "a key of at least 16 bytes")
    monkeypatch.delenv("FLASK_S3HANDOFF_BUCKET", raising=False)
    module = ModuleType("start")
    module.__file__ = str(tmp_path / "app.py")
    monkeypatch.setitem(sys.modules, "start", module)
    named("docs/start.md", "start").run(vars(module))
    browser = Browser(vars(module)["create_app"]())

    answer = browser.submit(browser.open("/avatar/"), avatar=PHOTO)
    shown = re.search(r'<img src="([^"]+)"', answer.text)
    assert shown
    assert browser.open(shown[1]).data == PHOTO.data
    assert browser.submit(answer).text == "users/654/avatar.jpg"


def test_the_form_of_the_five_minute_start_is_what_its_reader_sees() -> None:
    """The HTML that the page shows is what is in the answer."""
    (shown,) = blocks("docs/start.md", "html")
    with start_fleet() as fleet:
        answer = Browser(fleet).post("/avatar/", [("avatar", PHOTO)])

    token = answer.form().token
    assert shown.code.strip().replace("…", token) in answer.text


def start_module() -> ModuleType:
    """Return the app of the five-minute start as the module that its reader saves."""
    module = ModuleType("app")
    named("docs/start.md", "start").run(vars(module))
    return module


def start_fleet() -> Fleet:
    """Run the app of the five-minute start on three servers."""
    return Fleet(start_module().create_app, routing="adversarial")


def test_the_fleet_of_the_five_minute_start_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first test that a reader writes is green, with nothing but what the page shows."""
    monkeypatch.setitem(sys.modules, "app", start_module())
    names: dict[str, Any] = {}
    named("docs/start.md", "start fleet").run(names)

    names["test_step_2_has_the_file_of_step_1"]()


def test_the_tutorial_marks_the_one_line() -> None:
    """The line that is marked is the one that the heading speaks of."""
    page = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    marked = re.search(r":pyobject: create_app\n:emphasize-lines: (\d+)", page)
    assert marked
    source = inspect.getsource(example_app.create_app).splitlines()
    assert source[int(marked[1]) - 1].strip() == "handoff.init_app(app)"


@drives("concepts.md")
def test_a_login_keeps_a_file_and_a_logout_does_not(browse: Callable[..., Browser]) -> None:
    """The principal of the concepts page."""
    form = '<form method="post" action="/use"></form>'

    def up() -> str:
        return f"{request.files['avatar'].filename}{form}"

    def login(user: str) -> str:
        session["user_id"] = None if user == "nobody" else user
        return "hello"

    def use() -> str:
        return f"{request.files['avatar'].read()!r}{form}"

    def build(app: Flask) -> None:
        app.add_url_rule("/up", view_func=up, methods=["POST"])
        app.add_url_rule("/as/<user>", view_func=login)
        app.add_url_rule("/use", view_func=use, methods=["POST"])

    browser = browse("concepts.md", names={"session": session}, build=build)
    visitor = browser.post("/up", [("avatar", PHOTO)])
    browser.open("/as/leo")
    member = browser.submit(visitor)
    assert member.status == 200
    browser.open("/as/nobody")
    assert browser.submit(member).status == 403


# --- how to --------------------------------------------------------------------------------------


@drives("howto/validation.md")
def test_a_form_that_comes_back_still_has_its_file(browse: Callable[..., Browser]) -> None:
    """A missing name, then a name; the file was chosen once."""
    browser = browse("howto/validation.md")
    refused = browser.submit(browser.open("/profile/"), photo=PHOTO)
    assert (refused.status, "Enter your name." in refused.text) == (422, True)
    assert "data-s3handoff-required" in refused.text
    assert browser.submit(refused, name="Leo").text == "Thank you."
    assert kept(browser, "users/654/photo.jpg") == PHOTO.data


def test_a_file_that_was_refused_does_not_come_back(browse: Callable[..., Browser]) -> None:
    """The page that says so has no token."""
    browser = browse("howto/validation.md")
    refused = browser.post("/scan", [("document", PHOTO)])
    assert (refused.status, refused.tokens) == (422, [])
    scan = Upload("scan.pdf", b"%PDF-1.7 ...")
    assert browser.submit(refused, document=scan).text == "users/654/scan.pdf"


def test_flask_wtf_sees_the_carried_file(browse: Callable[..., Browser]) -> None:
    """``FileRequired`` is content with a file that was uploaded a page ago."""
    browser = browse("howto/validation.md")
    refused = browser.submit(browser.open("/apply"), resume=Upload("cv.pdf", b"%PDF-1.7"))
    assert "This field is required." in refused.text
    assert browser.submit(refused, name="Leo").text == "users/654/resume.pdf"


@drives("howto/wizard.md")
def test_the_wizard_imports_what_was_chosen_on_its_first_page(
    browse: Callable[..., Browser],
) -> None:
    """Forward, back by the button, forward again."""
    browser = browse("howto/wizard.md")
    table = Upload("a.csv", b"name;age\nLeo;7\n", "text/csv")
    second = browser.submit(browser.open("/import/"), table=table)
    assert "name;age" in second.text
    third = browser.submit(second, delimiter=",")
    again = browser.submit(third, button="back")
    third = browser.submit(again, delimiter=";")
    assert "<td>Leo</td><td>7</td>" in third.text
    assert browser.submit(third, button="import").text == "2 rows imported."


def test_a_page_of_the_wizard_without_a_file_leads_to_its_beginning(
    browse: Callable[..., Browser],
) -> None:
    """Somebody opens the last page first."""
    assert browse("howto/wizard.md").open("/import/confirm").url.endswith("/import/")


@drives("howto/redirects.md")
def test_a_file_goes_along_with_a_redirect(browse: Callable[..., Browser]) -> None:
    """The view of the page itself asserts that its URL shows no token."""
    browser = browse("howto/redirects.md")
    page = browser.post("/photos/", [("photo", PHOTO)])
    assert "_s3handoff=" in page.hops[0].location
    assert page.hops[0].location.endswith("#form")
    assert browser.submit(page, caption="Leo").text == "users/654/photo.jpg"


@drives("howto/one-flow.md")
def test_only_the_flows_that_are_named_carry(browse: Callable[..., Browser]) -> None:
    """Of two forms one carries; an exempt view has a plain upload."""
    browser = browse("howto/one-flow.md")
    page = browser.post("/profile/photo", [("photo", PHOTO)])
    assert [len(form.tokens) for form in page.forms] == [1, 0]
    plain = browser.post("/profile/import-contacts", [("contacts", PHOTO)])
    assert plain.text == f"{len(PHOTO.data)} bytes"
    assert len(browser.post("/profile/explicit", [("photo", PHOTO)]).tokens) == 1
    assert isinstance(browser.app, Fleet)
    assert len([verb for verb, _ in browser.app.store.calls if verb == "put"]) == 2  # type: ignore[union-attr]


@pytest.mark.parametrize("inject", ["marked", "off"])
def test_the_explicit_field_works_where_nothing_is_injected(
    browse: Callable[..., Browser], inject: str
) -> None:
    """And the forms that say nothing are left alone."""
    browser = browse("howto/one-flow.md", config={"S3HANDOFF_INJECT": inject})
    assert browser.post("/profile/photo", [("photo", PHOTO)]).tokens == []
    assert len(browser.post("/profile/explicit", [("photo", PHOTO)]).tokens) == 1


@drives("howto/several-files.md")
def test_one_of_several_photos_is_taken_out(browse: Callable[..., Browser]) -> None:
    """Three are chosen, one is removed on the next page, two are kept."""
    browser = browse("howto/several-files.md")
    photos = [Upload(f"{n}.jpg", b"photo %d" % n, "image/jpeg") for n in range(3)]
    page = browser.post("/album/", [("photos", photo) for photo in photos])
    first = next(c.value for c in page.form().controls if c.name == "remove")
    page = browser.submit(page, remove=first)
    assert len(browser.submit(page, button="save").text.split(", ")) == 2


@drives("howto/json.md")
def test_a_json_client_takes_the_token_along(browse: Callable[..., Browser]) -> None:
    """Up in one request, kept in another, on another server."""
    browser = browse("howto/json.md")
    said = json.loads(browser.post("/api/files", [("file", PHOTO)]).text)
    assert (said["name"], said["size"]) == ("leo.jpg", len(PHOTO.data))
    saved = send_json(browser, token=said["token"], name="Leo")
    assert kept(browser, json.loads(saved.text)["key"]) == PHOTO.data


def test_a_json_client_is_told_in_json_what_is_wrong(browse: Callable[..., Browser]) -> None:
    """The handler of the page answers with the reason."""
    refused = send_json(browse("howto/json.md"), token="made up", name="Leo")
    assert (refused.status, json.loads(refused.text)["reason"]) == (400, "forged")


def test_a_fragment_has_the_hidden_input(browse: Callable[..., Browser]) -> None:
    """Of an element that is no form."""
    assert len(browse("howto/json.md").post("/fragment", [("file", PHOTO)]).tokens) == 1


def send_json(browser: Browser, **values: str) -> Page:
    """Send JSON, as ``fetch`` does."""
    body = json.dumps(values).encode()
    return browser.send("POST", "/api/profiles", body, "application/json")


@drives("howto/celery.md")
def test_a_job_reads_the_file_by_its_key(
    browse: Callable[..., Browser], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Celery is stood in for by its one decorator; the job runs outside of the request."""
    jobs: list[tuple[Any, ...]] = []

    def shared_task(**_options: Any) -> Callable[[Any], Any]:
        return lambda job: SimpleNamespace(delay=lambda *given: jobs.append((job, *given)))

    monkeypatch.setitem(sys.modules, "celery", SimpleNamespace(shared_task=shared_task))
    browser = browse("howto/celery.md")
    key = browser.post("/documents/", [("document", Upload("a.txt", b"three short words"))]).text
    assert isinstance(browser.app, Fleet)
    other = browser.app.copies[0].app
    assert isinstance(other, Flask)
    ((job, *given),) = jobs
    with other.app_context():
        job(*given)
    assert kept(browser, f"{key}.words") == b"3"


@drives("howto/cdn.md")
def test_saved_files_are_served_in_three_ways(browse: Callable[..., Browser]) -> None:
    """A presigned redirect, a place with a public address, and an address for nginx."""

    def build(app: Flask) -> None:
        app.config["SESSION_COOKIE_SECURE"] = False
        app.add_url_rule("/login", view_func=login)

    def login() -> str:
        session["user_id"] = "654"
        return "hello"

    browser = browse("howto/cdn.md", build=build)
    assert isinstance(browser.app, Fleet)
    app = browser.app.copies[0].app
    assert isinstance(app, Flask)
    with app.app_context():
        app.jinja_env.globals["s3handoff"].put(b"picture", "users/654/leo.jpg")  # type: ignore[attr-defined]
    assert browser.open("/files/leo.jpg", follow=True).data == b"picture"
    assert browser.open("/download/leo.jpg").status == 403
    browser.open("/login")
    sent_to = browser.open("/download/leo.jpg").headers["X-Accel-Redirect"]
    assert sent_to.startswith("/stored/")


def test_a_public_place_has_public_addresses() -> None:
    """As the page says, without a signature; an S3 store is asked, and contacts nobody."""
    app = Flask("page")
    (block,) = [b for b in blocks("docs/howto/cdn.md", "python") if "public_url" in b.code]
    block.run({"app": app})
    app.config.update(S3HANDOFF_BUCKET="acme-uploads", SECRET_KEY="x" * 32)
    handoff = S3Handoff(app)
    with app.app_context():
        assert handoff.url("public/logo.png") == "https://cdn.example.com/public/logo.png"


@drives("howto/folders.md")
def test_an_app_that_keeps_paths_finds_its_files() -> None:
    """Saved on one server, read and served on others, which have disks of their own."""

    def create_app(config: dict[str, Any]) -> Flask:
        app = Flask("page")
        app.config.from_mapping(config, UPLOAD_FOLDER=f"{config['FLEET_DISK']}/uploads")
        os.mkdir(app.config["UPLOAD_FOLDER"])
        names: dict[str, Any] = {"app": app, "S3Handoff": S3Handoff}
        for block in blocks("docs/howto/folders.md", "python"):
            block.run(names)
        return app

    with Fleet(create_app, routing="adversarial") as fleet:
        browser = Browser(fleet)
        assert browser.post("/upload", [("note", Upload("a.txt", b"hello"))]).text == "HELLO"
        assert isinstance(fleet.store, MemoryStore)
        keys = fleet.store.keys()
        (key,) = (key for key in keys if key.startswith("avatars/"))
        assert browser.open(f"/notes/{key.removeprefix('avatars/')}").data == b"hello"


@drives("howto/services.md")
def test_the_settings_of_a_service_make_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways, and the function that tries a service runs."""
    app = Flask("page")
    names: dict[str, Any] = {"app": app, "S3Handoff": S3Handoff}
    for block in blocks("docs/howto/services.md", "python"):
        block.run(names)
    assert names["store"].capabilities == CEPH_RGW
    other = Flask("other")
    other.config.from_mapping({k: v for k, v in app.config.items() if k.startswith("S3HANDOFF")})
    S3Handoff(other)
    names["try_it"](MemoryStore())
    assert "ok       round trip" in capsys.readouterr().out


# --- test, log, look up --------------------------------------------------------------------------


def the_readers_tests() -> dict[str, Callable[[], None]]:
    """Return the test functions that the page shows."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks("docs/testing.md", "python"):
        block.run(names)
    factory = names["create_app"]

    def create_app(config: dict[str, Any]) -> Flask:
        app: Flask = factory(config)
        app.jinja_loader = jinja2.DictLoader(templates("docs/testing.md"))
        return app

    names["create_app"] = create_app
    return {name: value for name, value in names.items() if name.startswith("test_")}


@drives("testing.md")
@pytest.mark.parametrize("name", the_readers_tests())
def test_the_tests_of_the_testing_page_pass(name: str) -> None:
    """What a reader copies into a test suite is green there."""
    the_readers_tests()[name]()


@drives("logging.md")
@drives("reference/signals.md")
@drives("reference/errors.md")
def test_the_listener_and_the_error_handler_do_what_they_say(
    browse: Callable[..., Browser],
) -> None:
    """Each page's block is put into an app with a step that fails."""
    counted: dict[str, Any] = {}
    for block in blocks("docs/logging.md", "python") + blocks(
        "docs/reference/signals.md", "python"
    ):
        block.run(counted)

    def avatar() -> str:
        return f'{len(request.files)} files<form method="post" action="/use"></form>'

    def use() -> bytes:
        return bytes(request.files["avatar"].read())

    def build(app: Flask) -> None:
        app.add_url_rule("/avatar/", view_func=avatar, methods=["GET", "POST"])
        app.add_url_rule("/use", view_func=use, methods=["POST"])

    try:
        browser = browse("reference/errors.md", build=build)
        page = browser.post("/avatar/", [("avatar", PHOTO)])
        assert browser.submit(page).data == PHOTO.data
        assert counted["counts"] == {"local": 0, "store": 1}
        assert isinstance(browser.app, Fleet)
        browser.app.store.fail_with(Unavailable())  # type: ignore[union-attr]
        answer = browser.submit(page)
        assert (answer.status, "/avatar/" in answer.url) == (200, True)
    finally:
        file_rehydrated.disconnect(counted["count"])


@drives("reference/api.md")
def test_the_factory_of_the_api_page_makes_an_app() -> None:
    """One object, made before there is an app."""

    def make_app() -> Flask:
        app = Flask("page")
        app.config["S3HANDOFF_STORE"] = "memory"
        return app

    names: dict[str, Any] = {"make_app": make_app}
    for block in blocks("docs/reference/api.md", "python"):
        block.run(names)
    assert names["create_app"]().jinja_env.globals["s3handoff"] is names["handoff"]
    assert "s3handoff" in names["create_app"]().extensions


# --- every page ----------------------------------------------------------------------------------


def test_every_page_with_code_is_run_by_a_test() -> None:
    """A block that nobody runs rots."""
    with_code = {page for page in all_pages() if blocks(page, "python")}
    assert with_code - _driven - RUN_ELSEWHERE == set()


@pytest.mark.parametrize("page", all_pages())
def test_every_block_can_be_read_by_what_it_is_for(page: str) -> None:
    """Python compiles, shell and JSON parse, a template is one."""
    readers = {"python": compile_python, "sh": parse_shell, "bash": parse_shell}
    readers |= {"json": parse_json, "html+jinja": parse_template}
    for block in blocks(page):
        readers.get(block.language, str)(block.code)


def compile_python(code: str) -> None:
    """Raise if it is not Python."""
    compile(code, "docs", "exec")


def parse_shell(code: str) -> None:
    """Raise if it is not shell."""
    subprocess.run(["bash", "-n"], input=code, text=True, check=True, capture_output=True)


def parse_json(code: str) -> None:
    """Raise if it is not JSON."""
    json.loads(code)


def parse_template(code: str) -> None:
    """Raise if it is not a template."""
    jinja2.Environment(autoescape=True).parse(code)
