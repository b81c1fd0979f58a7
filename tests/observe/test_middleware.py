"""Observe mode in front of apps that are not Flask: bodies are seen as they pass."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from flask_s3handoff.facts import Fact
from flask_s3handoff.survey import report_of
from flask_s3handoff.tap import Tap
from flask_s3handoff.wsgi import Handoff, HandoffMiddleware
from tests.frameworks import bare_app

from .test_observe import LEO, facts, upload

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["facts"]
SETTINGS = {"S3HANDOFF_OBSERVE": True, "SECRET_KEY": "a secret key of 32 random bytes!"}


@pytest.fixture(autouse=True)
def nobody_watches_on() -> Iterator[None]:
    """Let an observed app be gone after its test."""
    yield
    gc.collect()


def observed(application: WSGIApplication) -> Client:
    """Return a browser of an app that is observed."""
    return Client(HandoffMiddleware(application, Handoff.from_mapping(SETTINGS)))


def sent() -> tuple[bytes, str]:
    """Return the body of a browser with two files, a text, a token and an empty file input."""
    parts = [
        (f'"avatar"; filename="{LEO.filename}"', LEO.data),
        ('"title"', "Léo".encode()),
        ('"_s3handoff"', b"x.y"),
        ('"none"; filename=""', b""),
        ('"other"; filename="b.txt"', b"12"),
    ]
    body = b"".join(
        f"--x\r\nContent-Disposition: form-data; name={head}\r\n\r\n".encode() + data + b"\r\n"
        for head, data in parts
    )
    return body + b"--x--\r\n", "multipart/form-data; boundary=x"


def test_the_bare_app_is_observed(facts: Callable[..., list[Fact]]) -> None:
    """Its upload, the redirect that would carry it, and who would bring a token."""
    client = observed(bare_app.application)
    client.get("/")
    upload(client, "/add", title="Leo")
    upload(client, "/add", title="")
    told = [(fact.what, fact.path, dict(fact.more)) for fact in facts()]

    assert told == [
        ("upload", "/add", {"field": "avatar", "filename": "leo.png", "size": 1600}),
        ("redirect", "/add", {"status": 303, "target": "/crop"}),
        ("upload", "/add", {"field": "avatar", "filename": "leo.png", "size": 1600}),
        ("page", "/add", {"status": 422, "forms": None}),
    ]


def test_the_bare_app_answers_as_if_it_stood_alone() -> None:
    """Byte for byte."""
    client, alone = observed(bare_app.application), Client(bare_app.application)
    for send in (lambda c: upload(c, "/add", title="Leo"), lambda c: c.get("/")):
        ours, theirs = send(client), send(alone)
        assert (ours.status, list(ours.headers), ours.data) == (
            theirs.status,
            list(theirs.headers),
            theirs.data,
        )


def read_into(body: Any) -> bytes:
    read, buffer = b"", bytearray(100)
    while count := body.readinto(buffer):
        read += buffer[:count]
    return read


READERS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda body: body.read(),
    "in pieces": lambda body: b"".join(iter(lambda: body.read(7), b"")),
    "into": read_into,
    "lines": lambda body: b"".join(iter(body.readline, b"")),
    "all lines": lambda body: b"".join(body.readlines()),
    "for": lambda body: b"".join(body),
}


@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_a_body_is_seen_however_it_is_read(
    reads: Callable[[Any], bytes], facts: Callable[..., list[Fact]]
) -> None:
    """And the app gets what was sent, through an input that has all that the server's has."""
    body, content_type = sent()
    got: list[bytes] = []

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        got.append(reads(environ["wsgi.input"]))
        assert environ["wsgi.input"].getvalue() == body
        start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<form method=post action=/next></form>"]

    observed(application).post("/", data=body, content_type=content_type)
    told = [(fact.what, *fact.more.values()) for fact in facts()]

    assert got == [body]
    assert told == [
        ("upload", "avatar", "leo.png", 1600),
        ("upload", "other", "b.txt", 2),
        ("token", "form", "forged"),
        ("page", 200, 1, ["/next"]),
    ]


def test_a_token_in_a_plain_form_is_seen(facts: Callable[..., list[Fact]]) -> None:
    """Among other fields."""
    client = observed(Request.application(lambda request: Response(request.form["a"])))
    assert client.post("/", data={"a": "1", "_s3handoff": "x.y"}).text == "1"

    assert [dict(fact.more) for fact in facts()] == [{"source": "form", "refused": "forged"}]


BROKEN = [
    b"no form at all",
    b"--x\r\nbroken",
    b"--x\r\n\r\n--x--",
    b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--x--',
]


@pytest.mark.parametrize("body", BROKEN)
def test_a_body_that_is_no_form_is_the_apps_matter(
    body: bytes, facts: Callable[..., list[Fact]]
) -> None:
    """It reads what was sent, and answers as it likes."""
    client = observed(Request.application(lambda request: Response(request.stream.read())))
    answer = client.post("/", data=body, content_type="multipart/form-data; boundary=x")

    assert (answer.data, facts()) == (body, [])


def test_a_generator_that_has_not_begun_is_left_alone(facts: Callable[..., list[Fact]]) -> None:
    """It says its status while it is read."""

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        yield environ["wsgi.input"].read()

    body, content_type = sent()
    answer = observed(application).post("/", data=body, content_type=content_type)

    assert (answer.data, facts()) == (body, [])


def test_a_request_that_is_over_is_forgotten() -> None:
    """Whatever its environ holds is not kept until the thread's next one."""

    class Session:
        pass

    held: list[weakref.ref[Session]] = []

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        environ["app.session"] = session = Session()
        held.append(weakref.ref(session))
        start_response("200 OK", [])
        return []

    observed(application).get("/")
    gc.collect()

    assert held[0]() is None


def test_memory_does_not_grow_with_a_plain_form() -> None:
    """What could be a token is at the beginning, or is not looked for."""
    tap = Tap(BytesIO(b"a=" + b"1" * 2_000_000), None)
    while tap.read(65_536):
        pass

    assert len(tap._form) == 256 * 1024


def test_files_of_the_app_are_told(tmp_path: Any, facts: Callable[..., list[Fact]]) -> None:
    """What it keeps, and who looks for it."""

    def view(request: Request) -> Response:
        if request.method == "POST":
            request.files["avatar"].save(tmp_path / "leo.png")
            return Response("kept")
        return Response((tmp_path / "leo.png").read_bytes())

    client = observed(Request.application(view))
    upload(client, "/people/4711/add")
    client.get("/people/4711/show")
    told = facts()

    assert [fact.what for fact in told] == ["upload", "write", "read"]
    assert told[-1].route == "/people/*/show"
    assert report_of([]) != ""
