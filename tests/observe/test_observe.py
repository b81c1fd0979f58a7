"""Observe mode: nothing changes, and the log tells who needed a file of whom."""

from __future__ import annotations

import contextlib
import gc
import inspect
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, render_template, request, stream_with_context
from PIL import Image
from werkzeug.datastructures import FileStorage
from werkzeug.test import Client, TestResponse, encode_multipart

from flask_s3handoff import S3Handoff
from flask_s3handoff.config import HandoffConfig
from flask_s3handoff.facts import Fact, facts_of
from flask_s3handoff.survey import report_of
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.apps import avatar
from tests.browser_like import Browser, Upload
from tests.observe import portrait_app
from tests.small_apps import FILE, answer, form, page

pytestmark = pytest.mark.oldest
LOGGER = "flask_s3handoff.observe"
LEO = Upload("leo.png", b"a picture of Leo" * 100, "image/png")
SECRET = "a secret key of 32 random bytes!"


@pytest.fixture(autouse=True)
def nobody_watches_on() -> Iterator[None]:
    """Let an observed app be gone after its test."""
    yield
    gc.collect()


@pytest.fixture
def facts(caplog: pytest.LogCaptureFixture) -> Callable[..., list[Fact]]:
    """Return the facts that were logged since the last call, of these kinds."""

    def told(*kinds: str) -> list[Fact]:
        lines = [record.getMessage() for record in caplog.records if record.name == LOGGER]
        caplog.clear()
        return [fact for fact in facts_of(lines) if not kinds or fact.what in kinds]

    return told


def app_with(folder: Path, *, store: Any = None, **settings: Any) -> Flask:
    """Return an app without views that observes, unless told; its uploads are in `folder`."""
    app = Flask(__name__, instance_path=str(folder / "instance"))
    app.config.from_mapping(SECRET_KEY=SECRET, S3HANDOFF_OBSERVE=True, **settings)
    S3Handoff(app, store=store)
    return app


def upload(client: Client, path: str = "/", **form: Any) -> TestResponse:
    """Choose Leo's picture."""
    data = {"avatar": (BytesIO(LEO.data), LEO.filename, LEO.content_type), **form}
    return client.post(path, data=data)


def walk(browser: Browser) -> None:
    """Go through the three steps, as far as they go."""
    crop = browser.submit(browser.open("/"), portrait=LEO)
    browser.open(crop.text.split('src="')[1].split('"')[0])
    browser.submit(crop)
    browser.open("/portrait/done")


# --- the app that is everywhere ---------------------------------------------------------------------


def test_three_servers_tell_of_the_bug_and_what_to_set() -> None:
    """Each has a log of its own; together they say who looked for whose file, and where."""
    with Fleet(
        portrait_app.create_app,
        processes=True,
        config={"S3HANDOFF_OBSERVE": True, "TESTING": False},
    ) as fleet:
        for _ in range(2):
            walk(Browser(fleet))
        logs = [Path(copy.disk, "app.log") for copy in fleet.copies]
        report = report_of(line for log in logs for line in log.read_text().splitlines())
        disks = [copy.disk for copy in fleet.copies]

        assert not [path for disk in disks for path in Path(disk).glob("work*")]
    assert "Do we have this bug? YES: " in report
    assert "GET /photos/<name>  [photo]" in report
    assert "of another server's file failed" in report
    assert all(f"web{number}/" in report for number in range(3))
    assert 'S3HANDOFF_PATHS = ["/photos/", "/portrait/"]' in report
    assert f'    "uploads/": {{"path": "{disks[0]}/uploads", "immutable": True}},' in report


def test_one_server_tells_that_the_bug_waits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Everything works, because there is only one."""
    app = portrait_app.create_app(
        {"SECRET_KEY": SECRET, "S3HANDOFF_OBSERVE": True, "UPLOADS": str(tmp_path / "uploads")}
    )
    walk(Browser(app))
    report = report_of(record.getMessage() for record in caplog.records)

    assert "NOT SEEN, BUT IT WAITS: 3 reads of an upload worked only" in report
    assert f'"uploads/": {{"path": "{tmp_path}/uploads", "immutable": True}}' in report


# --- what a request did ------------------------------------------------------------------------------


def keep(folder: Path) -> Any:
    request.files["avatar"].save(folder / "leo.png")


def keep_by_temporary(folder: Path) -> Any:
    descriptor, name = tempfile.mkstemp(dir=folder)
    os.close(descriptor)
    os.replace(name, folder / "leo.png")


def use_temporary(folder: Path) -> Any:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        request.files["avatar"].save(file)
        Path(file.name).read_bytes()


def find_free_name(folder: Path) -> Any:
    number = 1
    while (path := folder / f"{number}.png").exists():
        number += 1
    request.files["avatar"].save(path)


def rename(folder: Path) -> Any:
    os.rename(folder / "old.png", folder / "new.png")


def look_twice(folder: Path) -> Any:
    if not (folder / "no.png").exists():
        (folder / "no.png").read_bytes()


def make_folder(folder: Path) -> Any:
    if not (folder / "made").exists():
        (folder / "made").mkdir()


def write_in_vain(folder: Path) -> Any:
    with contextlib.suppress(FileNotFoundError):
        (folder / "not made" / "leo.png").write_bytes(b"1")


def fail(folder: Path) -> Any:
    keep(folder)
    raise KeyError("the view's own mistake")


def write_log(folder: Path) -> Any:
    handler = logging.FileHandler(folder / "audit.txt", delay=True)
    logging.getLogger("an.app").addHandler(handler)
    logging.getLogger("an.app").warning("a line")
    logging.getLogger("an.app").removeHandler(handler)
    handler.close()


def show_template(folder: Path) -> Any:
    return render_template("page.html")


DEEDS: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "keep": (keep, ["upload leo.png 1600", "write leo.png new"]),
    "by a temporary file": (keep_by_temporary, ["write leo.png new"]),
    "a temporary file": (use_temporary, ["upload leo.png 1600"]),
    "a free name": (find_free_name, ["upload leo.png 1600", "write 2.png new"]),
    "overwrite": (
        lambda folder: (folder / "old.png").write_bytes(b"1"),
        ["write old.png"],
    ),
    "rename": (rename, ["remove old.png", "write new.png new"]),
    "remove": (lambda folder: (folder / "old.png").unlink(), ["remove old.png"]),
    "rmtree": (lambda folder: shutil.rmtree(folder / "deep"), ["remove deep/old.png"]),
    "look twice": (look_twice, ["read no.png no open"]),
    "look for a folder": (make_folder, []),
    "write in vain": (write_in_vain, []),
    "fail": (fail, ["upload leo.png 1600", "write leo.png new"]),
    "log": (write_log, []),
    "template": (show_template, []),
    "import": (lambda _: __import__("this_module_is_not_there", level=0), []),
    "nothing": (lambda _: request.method, []),
}


@pytest.mark.parametrize(("act", "told"), DEEDS.values(), ids=DEEDS)
def test_what_a_request_did_is_told_at_its_end(
    act: Callable[[Path], Any], told: list[str], tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """What it kept, took away and looked for; nothing that it made and removed again."""
    folder, app = tmp_path / "files", app_with(tmp_path)
    (folder / "deep").mkdir(parents=True)
    for name in ("1.png", "old.png", "deep/old.png"):
        (folder / name).write_bytes(b"old")
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/page.html").write_text("<p>page</p>")
    for path in tmp_path.rglob("*"):
        os.utime(path, (0, 0))
    app.template_folder = str(tmp_path / "templates")
    app.config["PROPAGATE_EXCEPTIONS"] = False
    grow_old(app)
    answer(app, "/", lambda: act(folder) or "done")
    upload(app.test_client())

    kinds = ("upload", "write", "remove", "read")
    assert [in_words(fact, folder) for fact in facts(*kinds)] == told


def grow_old(app: Flask) -> None:
    """Let every file of this test be older than the process seems to be."""
    observer = inspect.getclosurevars(app.wsgi_app).nonlocals["self"]
    observer.known.began += 3600


def in_words(fact: Fact, folder: Path) -> str:
    """Say what a fact is about."""
    if fact.what == "upload":
        return f"upload {fact.more['filename']} {fact.more['size']}"
    words = [fact.what, os.path.relpath(fact.file, folder)]
    if fact.what == "read":
        words += ["yes" if fact.more["there"] else "no", fact.more["by"]]
    return " ".join([*words, *(["new"] if fact.more.get("new") else [])])


def test_a_file_of_an_earlier_request_is_known(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """Who reads it is told once per view; a later process tells of it too, by its age."""
    for _ in range(2):
        app = app_with(tmp_path)
        answer(app, "/", lambda: keep(tmp_path) or "done")
        answer(app, "/look", lambda: (tmp_path / "leo.png").read_bytes())
        client = app.test_client()
        upload(client)
        facts()
        client.get("/look"), client.get("/look")
        (read,) = facts()

        assert (read.what, read.more["there"], read.more["known"]) == ("read", True, True)


def test_a_request_that_reads_its_own_file_is_no_news(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """It will do so on every server."""
    app = app_with(tmp_path)
    answer(app, "/", lambda: keep(tmp_path) or (tmp_path / "leo.png").read_bytes())
    upload(app.test_client())

    assert [fact.what for fact in facts()] == ["upload", "write"]


def test_a_file_beside_another_servers_uploads_is_news(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """A process of the same server wrote it: this one knows only that it came after the app."""
    app = app_with(tmp_path)
    (tmp_path / "leo.png").write_bytes(b"1")
    answer(app, "/look", lambda: (tmp_path / "leo.png").read_bytes())
    app.test_client().get("/look")

    assert [(fact.more["there"], fact.more["known"]) for fact in facts()] == [(True, False)]


def test_a_thread_that_writes_beside_the_uploads_is_told_later(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """By the next request, and as nobody's."""
    app = app_with(tmp_path)

    def add() -> str:
        keep(tmp_path)
        return "done"

    def make_small() -> str:
        thread = threading.Thread(target=(tmp_path / "small.png").write_bytes, args=(b"1",))
        thread.start()
        thread.join()
        return "done"

    answer(app, "/", add)
    answer(app, "/small", make_small)
    client = app.test_client()
    for path in ("/", "/small", "/nowhere"):
        upload(client, path)
    written = [(fact.request == "", in_words(fact, tmp_path)) for fact in facts("write")]

    assert written == [(False, "write leo.png new"), (True, "write small.png new")]


def test_what_a_stream_reads_is_told(tmp_path: Path, facts: Callable[..., list[Fact]]) -> None:
    """After the view has returned; the next request says it."""
    app = app_with(tmp_path)

    def stream() -> Iterator[bytes]:
        yield (tmp_path / "leo.png").read_bytes()

    answer(app, "/", lambda: keep(tmp_path) or "done")
    answer(app, "/look", lambda: stream_with_context(stream()))
    client = app.test_client()
    upload(client)
    assert client.get("/look").data == LEO.data
    client.get("/no")

    assert [fact.path for fact in facts("read")] == ["/look"]


# --- what would be mirrored, carried, rehydrated ----------------------------------------------------


def flow(app: Flask) -> None:
    """A page that answers the upload, and a redirect in the middle."""
    two = page(form("/flow/crop"), form("/flow/drop", FILE), form("https://other.example/"))
    answer(app, "/flow/add", lambda: (request.files, two)[1])
    answer(app, "/flow/crop", lambda: redirect("/flow/done"))
    answer(app, "/flow/done", lambda: page(form("/flow/save")))
    answer(app, "/flow/save", lambda: "saved")
    answer(app, "/elsewhere", lambda: (request.files, redirect("/flow/done"))[1])


def test_pages_and_redirects_that_would_carry_are_told(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """How many forms of ours, where they go, and which later requests would bring a token."""
    app = app_with(tmp_path)
    flow(app)
    client = app.test_client()
    leo, big, none = (
        FileStorage(BytesIO(data), name)
        for name, data in (("leo.png", LEO.data), ("big.png", b"x" * 700_000), ("", b""))
    )
    boundary, body = encode_multipart({"avatar": leo, "avatar2": big, "none": none})
    content_type = f"multipart/form-data; boundary={boundary}"
    client.post("/flow/add", data=body, content_type=content_type)
    for path, method in (("crop", "POST"), ("done", "GET"), ("save", "POST"), ("save", "GET")):
        client.open(f"/flow/{path}", method=method)
    client.get("/elsewhere")
    told = [
        (fact.what, fact.endpoint.removeprefix("at /flow/"), dict(fact.more)) for fact in facts()
    ]

    assert told == [
        ("upload", "add", {"field": "avatar", "filename": "leo.png", "size": 1600}),
        ("upload", "add", {"field": "avatar2", "filename": "big.png", "size": 700_000}),
        ("page", "add", {"status": 200, "forms": 2, "targets": ["/flow/crop", "/flow/drop"]}),
        ("token", "crop", {"source": "form", "expected": True}),
        ("redirect", "crop", {"status": 302, "target": "/flow/done"}),
        ("token", "done", {"source": "query", "expected": True}),
        ("page", "done", {"status": 200, "forms": 1, "targets": ["/flow/save"]}),
        ("token", "save", {"source": "form", "expected": True}),
    ]


def test_settings_say_what_would_be_told(tmp_path: Path, facts: Callable[..., list[Fact]]) -> None:
    """Paths, exempt views, and forms that would get no token."""
    app = app_with(tmp_path, S3HANDOFF_PATHS=["/flow/"], S3HANDOFF_INJECT="off")
    flow(app)
    app.view_functions["at /flow/save"] = S3Handoff().exempt(lambda: str(request.files))
    client = app.test_client()
    for path in ("/elsewhere", "/flow/save"):
        upload(client, path)
    assert facts() == []
    upload(client, "/flow/add")

    assert [fact.what for fact in facts()] == ["upload"]


def test_with_folders_only_uploads_are_told_on_all_paths(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """The settings of an app that keeps paths do not hide where its files come from."""
    places = {"photos/": {"path": str(tmp_path / "photos")}}
    app = app_with(tmp_path, S3HANDOFF_PATHS=[], S3HANDOFF_PLACES=places)
    flow(app)
    upload(app.test_client(), "/flow/add")

    assert [fact.what for fact in facts()] == ["upload"]


def token_of(folder: Path) -> str:
    """Return a token of a server that carries."""
    app = Flask("carries", instance_path=str(folder / "carries"))
    app.config.from_mapping(SECRET_KEY=SECRET)
    S3Handoff(app, store=MemoryStore())
    answer(app, "/", lambda: (request.files, page(form("/flow/crop")))[1])
    return upload(app.test_client()).text.split('value="')[1].split('"')[0]


def test_a_token_of_another_server_is_told_and_left_alone(
    tmp_path: Path, facts: Callable[..., list[Fact]]
) -> None:
    """While a site is switched over, one server after the other."""
    token = token_of(tmp_path)
    app = app_with(tmp_path)
    answer(app, "/", lambda: [*request.form.items(), *request.args.items()])
    client = app.test_client()
    read = {"source": "form", "files": [{"field": "avatar", "name": "leo.png", "size": 1600}]}

    assert client.post("/", data={"_s3handoff": token}).json == [["_s3handoff", token]]
    assert [dict(fact.more) for fact in facts()] == [read]
    assert client.get("/?_s3handoff=x.y").json == [["_s3handoff", "x.y"]]
    assert [dict(fact.more) for fact in facts()] == [{"source": "query", "refused": "forged"}]


# --- nothing changes ----------------------------------------------------------------------------------


def answers_of(app: Flask) -> list[Any]:
    """Return all that a client sees of some requests."""
    app.config["PROPAGATE_EXCEPTIONS"] = False
    client = app.test_client()
    picture = {"avatar": (BytesIO(avatar_png()), "leo.png", "image/png")}
    seen = [
        client.get("/"),
        client.post("/add", data=picture),
        client.post("/add", data={"avatar": (BytesIO(b"no picture"), "leo.png")}),
        client.post("/add", data=b"no form", content_type="multipart/form-data; boundary=x"),
        client.post("/crop", data=dict.fromkeys(avatar.SIDES, "1")),
        client.post("/save", data={"_s3handoff": "token"}),
        client.get("/nowhere?_s3handoff=token"),
        client.head("/"),
        client.put("/add"),
    ]
    return [(response.status, list(response.headers), response.data) for response in seen]


def avatar_png() -> bytes:
    """Return a small picture."""
    body = BytesIO()
    Image.new("RGB", (4, 4)).save(body, "PNG")
    return body.getvalue()


def test_every_answer_is_the_apps_own_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, headers in their order, bodies, routes: as if we had never been installed."""
    monkeypatch.setattr(Flask, "auto_find_instance_path", lambda _: str(tmp_path / "instance"))
    observed = avatar.create_app({"SECRET_KEY": SECRET, "S3HANDOFF_OBSERVE": True})
    monkeypatch.setattr(avatar, "S3Handoff", lambda _app: None)
    plain = avatar.create_app({"SECRET_KEY": SECRET})

    assert answers_of(observed) == answers_of(plain)
    assert list(map(str, observed.url_map.iter_rules())) == list(
        map(str, plain.url_map.iter_rules())
    )
    assert observed.request_class is plain.request_class
    assert not (tmp_path / "instance").exists()


def test_no_store_is_made(tmp_path: Path) -> None:
    """No bucket is asked for anything, also where folders are set up already."""
    store = MemoryStore()
    places = {"pictures/": {"path": str(tmp_path)}}
    app = app_with(tmp_path, store=store, S3HANDOFF_PLACES=places)
    flow(app)
    upload(app.test_client(), "/flow/add")

    assert (store.calls, sorted(tmp_path.iterdir())) == ([], [])
    assert app.extensions["s3handoff"].handoff.folders is None


def test_the_extension_answers_as_if_switched_off(tmp_path: Path) -> None:
    """A template that asks for the hidden input gets none."""
    app = app_with(tmp_path)
    handoff: Any = app.jinja_env.globals["s3handoff"]
    answer(app, "/", lambda: f"{handoff.fields()}{handoff.files}{handoff.get('avatar')}")

    assert upload(app.test_client()).text == "[]None"


def test_an_app_that_is_gone_is_not_kept_by_its_last_request(tmp_path: Path) -> None:
    """A thread remembers whose request it was in, and no more of it."""
    app = app_with(tmp_path)
    flow(app)
    upload(app.test_client(), "/flow/add", _s3handoff="x.y")
    gone = weakref.ref(app)
    del app
    gc.collect()

    assert gone() is None


def test_switched_off_is_off(tmp_path: Path, facts: Callable[..., list[Fact]]) -> None:
    """`S3HANDOFF_ENABLED = False` beats it: nobody watches, and tokens are stripped."""
    gc.collect()
    before = os.stat
    app = app_with(tmp_path, S3HANDOFF_ENABLED=False)
    answer(app, "/", lambda: (keep(tmp_path), dict(request.form))[1])
    assert upload(app.test_client(), _s3handoff="token").json == {}

    assert (facts(), os.stat is before) == ([], True)


@pytest.mark.parametrize("development", [True, False])
def test_no_bucket_is_needed_to_observe(development: bool, tmp_path: Path) -> None:
    """A team that is asking the question has none."""
    config = HandoffConfig.from_mapping(
        {"S3HANDOFF_OBSERVE": True}, instance_path=str(tmp_path), development=development
    )

    assert (config.only_observes, config.is_active, config.store) == (True, False, "s3")


def test_our_own_mistake_is_logged_and_the_answer_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a form can do to our reader of forms."""
    app = app_with(tmp_path)
    flow(app)
    monkeypatch.setattr("flask_s3handoff.observe.eligible_forms", lambda *_args, **_options: 1 / 0)

    assert upload(app.test_client(), "/flow/add").status_code == 200
    assert [r.exc_info is not None for r in caplog.records if r.levelname == "ERROR"] == [True]


UNHEARD = """
import logging.config, sys
from io import BytesIO
from flask import Flask, request
from flask_s3handoff import S3Handoff
app = Flask("app")
app.config.from_mapping(S3HANDOFF_OBSERVE=True, SECRET_KEY="k" * 32)
S3Handoff(app)
if sys.argv[1] == "silenced":
    handlers = {"out": {"class": "logging.StreamHandler"}}
    logging.config.dictConfig({"version": 1, "handlers": handlers, "root": {"handlers": ["out"]}})
app.add_url_rule("/", view_func=lambda: str(request.files), methods=["POST"])
app.test_client().post("/", data={"a": (BytesIO(b"1"), "a.png")})
"""


@pytest.mark.parametrize("logging_is", ["unconfigured", "silenced"])
def test_facts_are_seen_whatever_the_app_does_about_logging(logging_is: str) -> None:
    """Once each, on the standard error."""
    done = subprocess.run(
        [sys.executable, "-c", UNHEARD, logging_is],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert [fact.what for fact in facts_of(done.stderr.splitlines())] == ["upload"]
