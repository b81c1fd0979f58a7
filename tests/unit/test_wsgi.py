"""HandoffMiddleware as a citizen of PEP 3333, between a server and an app; and what apps say to it."""

from __future__ import annotations

import gc
import itertools
import logging
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from werkzeug.middleware.lint import LintMiddleware
from werkzeug.test import EnvironBuilder

from flask_s3handoff.errors import Expired, Forged, HandoffError, Missing, Unavailable
from flask_s3handoff.wsgi import HandoffMiddleware
from tests.wsgi_bench import (
    FORM,
    HTML,
    MULTIPART,
    PICTURE,
    URLENCODED,
    Bench,
    bench,
    file,
    multipart,
    text,
    token_of,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PLAIN = [("Content-Type", "text/plain")]
TEXT = b"<form method=post>"


# A server by the letter of PEP 3333


@dataclass
class Server:
    """Serves one request, and remembers how the app behaved."""

    app: WSGIApplication
    stop_after: int = 10**9
    status: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    sent: bool = False
    returned: Any = None

    def serve(self, environ: WSGIEnvironment) -> Server:
        """Do what PEP 3333 says that a server does."""
        self.returned = self.app(environ, self.start_response)
        try:
            for count, chunk in enumerate(self.returned):
                if count >= self.stop_after:
                    break
                self.write(chunk) if chunk else None
            self.sent = True
        finally:
            if hasattr(self.returned, "close"):
                self.returned.close()
        return self

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None, /
    ) -> Callable[[bytes], object]:
        """Take a head; another one only with exc_info, and while none was sent."""
        if exc_info and self.sent:
            raise exc_info[1].with_traceback(exc_info[2])
        assert exc_info or not self.status, "Headers already set!"
        self.status, self.headers = status, headers
        return self.write

    def write(self, data: bytes) -> None:
        """Send the head, if it was not, and bytes."""
        assert self.status, "write() before start_response()"
        assert isinstance(data, bytes)
        self.sent = True
        self.body += data


class Closing:
    """An iterable that counts its closes."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.closed = 0
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def close(self) -> None:
        """Count."""
        self.closed += 1


def exc_info(text: str = "broken") -> Any:
    """Return what sys.exc_info gives in an except block."""
    try:
        {"": 1}[text]
    except KeyError:
        return sys.exc_info()


# Ways to answer: (app, what the server sends without us). They answer FORM, or an error.


def returned(make: Callable[[], Iterable[bytes]]) -> Any:
    """Return an app that starts, and then returns this."""

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        return make()

    return app


def lazy(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Start when the first bytes are asked for."""
    start_response("200 OK", list(HTML))
    yield FORM[:9]
    yield FORM[9:]


def writing(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Write the old way."""
    write = start_response("200 OK", list(HTML))
    write(FORM[:9])
    write(b"")
    write(FORM[9:])
    return []


def writing_and_returning(
    _environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    """Write the beginning, return the rest."""
    start_response("200 OK", list(HTML))(FORM[:9])
    return [FORM[9:]]


def thinking_again(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Start, fail, and start again."""
    start_response("200 OK", list(PLAIN))
    start_response("500 Oh No", list(HTML), exc_info())
    return [FORM]


def thinking_again_lazily(
    _environ: WSGIEnvironment, start_response: StartResponse
) -> Iterator[bytes]:
    """Start, give nothing, fail, and start again."""
    start_response("200 OK", list(PLAIN))
    yield b""
    start_response("500 Oh No", list(HTML), exc_info())
    yield FORM


WAYS: dict[str, tuple[Any, str]] = {
    "a list": (returned(lambda: [FORM]), "200 OK"),
    "a tuple of two": (returned(lambda: (FORM[:5], FORM[5:])), "200 OK"),
    "a generator": (returned(lambda: (FORM[i : i + 9] for i in range(0, len(FORM), 9))), "200 OK"),
    "byte by byte": (returned(lambda: (FORM[i : i + 1] for i in range(len(FORM)))), "200 OK"),
    "empty chunks between": (returned(lambda: iter([b"", FORM[:3], b"", FORM[3:], b""])), "200 OK"),
    "something to close": (returned(lambda: Closing([FORM])), "200 OK"),
    "a lazy start": (lazy, "200 OK"),
    "write": (writing, "200 OK"),
    "write and return": (writing_and_returning, "200 OK"),
    "a second start": (thinking_again, "500 Oh No"),
    "a second start, lazily": (thinking_again_lazily, "500 Oh No"),
}
CHECKS: dict[str, Callable[[Any], Any]] = {
    "unchecked": lambda app: app,
    "wsgiref": validator,
    "werkzeug": LintMiddleware,
}
# On either side of the middleware. Behind werkzeug's check wsgiref's finds an input without `readlines`.
SIDES = sorted({*itertools.product(CHECKS, CHECKS)} - {("wsgiref", "werkzeug")})


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Bench]:
    """A middleware and its app."""
    with bench(tmp_path) as made:
        yield made


def environ_of(
    app: Bench, method: str, path: str = "/", body: bytes = b"", content_type: str = ""
) -> Any:
    """Return an environ as a server makes it, with the cookies of the bench."""
    built = EnvironBuilder(path, method=method, content_type=content_type or None)
    if content_type:
        built.input_stream, built.content_length = BytesIO(body), len(body)
    for name, value in app.cookies.items():
        built.headers.add("Cookie", f"{name}={value}")
    return built.get_environ()


def carrying(app: Bench, method: str = "GET") -> Any:
    """Return an environ that brings a file: by a form, or by the query."""
    token = app.upload()
    if method == "POST":
        return environ_of(app, "POST", "/", multipart(text("_s3handoff", token)), MULTIPART)
    return environ_of(app, method, f"/?_s3handoff={token}")


def serve(
    app: Bench, answer: Any, environ: Any, inner: str = "unchecked", outer: str = "unchecked"
) -> Server:
    """Serve one request with checks on either side of the middleware."""
    middleware = HandoffMiddleware(CHECKS[inner](answer), app.handoff)
    return Server(CHECKS[outer](middleware)).serve(environ)


def without_token(body: bytes) -> bytes:
    """Take our bytes out of a page, of which there must be some."""
    start = body.index(b'<input type="hidden" name="_s3handoff"')
    return body[:start] + body[body.index(b">", start) + 1 :]


# Every way to answer, on every side of every check


@pytest.mark.parametrize(("inner", "outer"), SIDES)
@pytest.mark.parametrize("way", WAYS)
def test_an_idle_answer_is_the_apps(app: Bench, way: str, inner: str, outer: str) -> None:
    """Status, headers and bytes; checked by both validators on either side."""
    answer, status = WAYS[way]
    served = serve(app, answer, environ_of(app, "GET"), inner, outer)

    assert (served.status, served.headers, served.body) == (status, HTML, FORM)


@pytest.mark.parametrize(("inner", "outer"), SIDES)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_that_carries_is_right_too(
    app: Bench, way: str, inner: str, outer: str, method: str
) -> None:
    """The same answer with the token in it, its length right, and nothing left open."""
    answer, status = WAYS[way]
    environ = carrying(app, method)
    served = serve(app, answer, environ, inner, outer)

    assert (served.status, without_token(served.body)) == (status, FORM)
    headers = dict(served.headers)
    assert headers["Cache-Control"] == "private, no-cache"
    assert headers.get("Content-Length", str(len(served.body))) == str(len(served.body))


@pytest.mark.parametrize("brings", ["nothing", "a large text", "a file"])
@pytest.mark.parametrize("stop_after", [0, 1, 10**9])
def test_what_the_app_returns_is_closed_once(app: Bench, brings: str, stop_after: int) -> None:
    """Whether it was read, half read or not at all."""
    bodies = [Closing([FORM, b"x", b"y"])]
    environ = carrying(app) if brings == "a file" else environ_of(app, "GET")
    if brings == "a large text":
        environ = environ_of(app, "POST", "/", multipart(text("a", "x" * 400_000)), MULTIPART)
    middleware = HandoffMiddleware(returned(lambda: bodies[0]), app.handoff)
    Server(middleware, stop_after=stop_after).serve(environ)

    assert bodies[0].closed == 1


@pytest.mark.parametrize("way", ["in the app", "in the first bytes", "in later bytes", "in close"])
@pytest.mark.parametrize("brings", ["nothing", "a file"])
def test_an_app_that_fails_fails(app: Bench, brings: str, way: str) -> None:
    """Its own exception reaches the server, and what it returned is closed once."""
    body = Closing(itertools.chain([FORM], map(fail, [b""])))
    if way == "in the first bytes":
        body = Closing(map(fail, [b""]))
    if way == "in close":
        body = Closing([FORM])
        body = FailingToClose([FORM])

    def broken(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if way == "in the app":
            fail(b"")
        start_response("200 OK", list(HTML))
        return body

    environ = carrying(app) if brings == "a file" else environ_of(app, "GET")
    with pytest.raises(ZeroDivisionError):
        serve(app, broken, environ)
    assert body.closed == (0 if way == "in the app" else 1)


def fail(_chunk: bytes) -> bytes:
    """Raise what nobody expects."""
    raise ZeroDivisionError


class FailingToClose(Closing):
    """Fails in its close."""

    def close(self) -> None:
        """Count, and fail."""
        super().close()
        fail(b"")


def after_write(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Start again when bytes were written."""
    start_response("200 OK", list(HTML))(b"begun")
    start_response("500 Oh No", list(HTML), exc_info("too late"))
    return []


def after_yield(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
    """Start again when bytes were given."""
    start_response("200 OK", list(HTML))
    yield b"begun"
    start_response("500 Oh No", list(HTML), exc_info("too late"))


@pytest.mark.parametrize("brings", ["nothing", "a file"])
@pytest.mark.parametrize("answer", [after_write, after_yield])
def test_too_late_to_start_again_is_the_apps_error(app: Bench, answer: Any, brings: str) -> None:
    """PEP 3333: a second start raises its exc_info once something was sent."""
    environ = carrying(app) if brings == "a file" else environ_of(app, "GET")
    with pytest.raises(KeyError, match="too late"):
        serve(app, answer, environ)


@pytest.mark.parametrize("brings", ["nothing", "a file"])
def test_an_app_that_starts_twice_or_never_is_told(app: Bench, brings: str) -> None:
    """As servers do."""

    def twice(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        start_response("200 OK", list(HTML))
        return []

    for answer in (twice, lambda _environ, _start: [FORM], lambda _environ, _start: iter(())):
        environ = carrying(app) if brings == "a file" else environ_of(app, "GET")
        with pytest.raises(AssertionError, match="start_response"):
            serve(app, answer, environ)


# Files, streams, large pages


@pytest.mark.parametrize("brings", ["nothing", "a file"])
@pytest.mark.parametrize("kind", [HTML, PLAIN])
def test_the_servers_own_file_comes_back_to_it(app: Bench, brings: str, kind: Any) -> None:
    """It knows its ``wsgi.file_wrapper`` and sends it without Python; H78: even if it is HTML."""
    made: list[Any] = []

    def sending(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", list(kind))
        made.append(environ["wsgi.file_wrapper"](BytesIO(TEXT), 7))
        return made[0]

    environ = carrying(app) if brings == "a file" else environ_of(app, "GET")
    environ["wsgi.file_wrapper"] = FileWrapper
    served = serve(app, sending, environ)

    assert served.returned is made[0]
    assert served.body == TEXT
    assert environ["wsgi.file_wrapper"] is FileWrapper  # gunicorn asks for its instances afterwards


def test_a_file_wrapper_that_is_no_class_is_right_too(app: Bench) -> None:
    """As uWSGI's: it is read like any other body."""

    def sending(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        start_response("200 OK", list(PLAIN))
        return environ["wsgi.file_wrapper"](BytesIO(TEXT), 7)

    environ = carrying(app)
    environ["wsgi.file_wrapper"] = lambda *arguments: FileWrapper(*arguments)
    assert serve(app, sending, environ).body == TEXT


def test_a_file_of_the_request_is_open_until_it_was_sent(app: Bench) -> None:
    """An app may answer with the edit copy itself: it is gone only after the last byte."""

    def echoing(environ: WSGIEnvironment, start_response: StartResponse) -> Any:
        path = environ["s3handoff"].get("avatar").path
        start_response("200 OK", list(PLAIN))
        return environ["wsgi.file_wrapper"](open(path, "rb"))

    environ = carrying(app)
    environ["wsgi.file_wrapper"] = FileWrapper
    assert serve(app, echoing, environ).body == PICTURE
    assert list((app.folder / "work" / "edit").iterdir()) == []


def test_a_stream_may_use_the_files_while_it_runs(app: Bench) -> None:
    """What a generator opens is closed after it."""

    def streaming(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"here it comes: "
        yield environ["s3handoff"].get("avatar").read()

    served = serve(app, streaming, carrying(app))
    assert served.body == b"here it comes: " + PICTURE


@pytest.mark.parametrize("way", ["written", "streamed"])
def test_a_page_of_many_megabytes_passes(
    app: Bench, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits for its end, and the log tells what was not carried."""
    chunk, count = b"x" * 300_000, 6

    def large(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        write = start_response("200 OK", list(HTML))
        if way == "streamed":
            return itertools.chain([FORM], itertools.repeat(chunk, count))
        write(FORM)
        for _ in range(count):
            write(chunk)
        return []

    served = serve(app, large, carrying(app))
    assert served.body == FORM + chunk * count
    assert "without a form or redirect" in caplog.text


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "304 Not Modified"])
def test_head_and_answers_without_a_page_stay_as_they_are(app: Bench, status: str) -> None:
    """H76: nothing is put in where nothing can be."""

    def bare(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response(status, list(HTML) if status == "200 OK" else [])
        return []

    for outer in ("unchecked", "wsgiref"):  # werkzeug's wants a length of a 204, which has none
        served = serve(app, bare, carrying(app, "HEAD"), outer=outer)
        assert (served.status, served.body) == (status, b"")
        own = HTML if status == "200 OK" else []
        assert served.headers[: len(own)] == own
        assert "Content-Length" not in dict(served.headers)


def test_headers_keep_their_order_and_their_number(app: Bench) -> None:
    """Cookies above all."""
    own = [("X-b", "1"), ("Set-Cookie", "a=1"), ("x-A", "2"), *HTML, ("Set-Cookie", "b=2")]

    def many(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("299 Very Own", list(own))
        return [FORM]

    served = serve(app, many, carrying(app))
    assert served.status == "299 Very Own"
    assert served.headers[: len(own)] == own


# Carrying on


def test_the_whole_way(app: Bench) -> None:
    """Upload, edit, save: the app sees an upload each time, and knows nothing of tokens."""

    def crop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["s3handoff"].replace("avatar", b"cropped")
        return list(_page(start_response))

    def save(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["s3handoff"].promote("avatar", "users/654/leo.png")
        return list(_page(start_response))

    token = app.upload()
    app.answer = crop
    token = token_of(app.post(f"_s3handoff={token}&width=7".encode(), URLENCODED))
    app.answer = save
    saved = app.post(multipart(text("_s3handoff", token), file("avatar", "", b"")))

    with app.last.request as request:
        assert request.files["avatar"].read() == b"cropped"
    assert app.store.bytes_of("users/654/leo.png") == b"cropped"
    assert b"_s3handoff" not in saved.get_data()


def _page(start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(HTML))
    return [FORM]


@pytest.mark.parametrize(
    ("location", "carries"), [("/show?a=1#top", True), ("http://evil.example/", False)]
)
def test_a_redirect_carries_to_our_own_origin(app: Bench, location: str, carries: bool) -> None:
    """And there the app never sees the token: not in the query, nor in the raw URL or the referrer."""

    def redirecting(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("303 See Other", [("Location", location), *PLAIN])
        return []

    app.answer = redirecting
    response = app.post(multipart(file("avatar", "leo.png", PICTURE)))
    assert ("_s3handoff=" in response.headers["Location"]) is carries
    if not carries:
        return
    app.answer, calls = _show, list(app.store.calls)
    target = urlsplit(response.headers["Location"])
    shown = app.get(
        f"{target.path}?{target.query}",
        environ={
            "REQUEST_URI": f"{target.path}?{target.query}",
            "HTTP_REFERER": f"http://localhost/x?{target.query}",
        },
    )

    environ = app.last.environ
    assert environ["QUERY_STRING"] == "a=1"
    assert "_s3handoff" not in environ["REQUEST_URI"] + environ["HTTP_REFERER"]
    assert shown.get_data() == b"leo.png"
    assert app.store.calls == calls  # nothing is fetched for a name


def _show(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", list(PLAIN))
    return [str(f.filename).encode() for f in environ["s3handoff"].files]


def test_after_a_redirect_a_form_of_the_same_field_starts_afresh(app: Bench) -> None:
    """The next comment must not get the last comment's attachment; another form has it."""
    fresh = b'<form method="post"><input type="file" name="avatar"></form>'
    app.answer = returned(lambda: [fresh, FORM])
    shown = app.get(f"/?_s3handoff={app.upload()}").get_data()

    assert shown.startswith(fresh)
    assert shown.count(b'name="_s3handoff"') == 1


def test_b37_a_token_in_the_query_of_a_post_means_nothing(app: Bench) -> None:
    """B37."""
    token = app.upload()
    app.post(b"a=1", URLENCODED, path=f"/?_s3handoff={token}")

    assert app.last.environ["QUERY_STRING"] == ""
    assert app.last.environ["s3handoff"].files == []


def test_off_our_paths_nothing_is_carried(tmp_path: Path) -> None:
    """But the token still leaves the URL."""
    with bench(tmp_path, paths=["/profile/"]) as app:
        assert b"_s3handoff" not in app.post(multipart(file("a", "a.txt", b"1"))).get_data()
        app.get("/elsewhere?_s3handoff=x.y&a=1")
        assert app.last.environ["QUERY_STRING"] == "a=1"
        assert app.last.environ["s3handoff"].errors == []
        assert app.store.calls == []


def test_a_store_that_is_down_is_said_instead_of_the_page(app: Bench) -> None:
    """Rule 1: no token without the bytes; the answer says to come back."""
    app.store.fail_with(Unavailable(), verbs=["put"])
    body = Closing([FORM])
    app.answer = returned(lambda: body)
    response = app.post(multipart(file("avatar", "leo.png", PICTURE)))

    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert body.closed == 1


def test_a_page_without_a_form_does_not_wait_for_the_store(app: Bench) -> None:
    """Rule 1, the other half: a one-step upload works while S3 is down."""
    app.store.fail_with(Unavailable(), verbs=["put"])
    app.answer = returned(lambda: [b"<p>Thank you"])
    assert app.post(multipart(file("avatar", "leo.png", PICTURE))).status_code == 200


def test_the_principal_binds(tmp_path: Path) -> None:
    """A token that a user got works for that user only; the callable sees the environ."""
    with bench(tmp_path, principal=lambda environ: environ.get("REMOTE_USER")) as app:
        body = multipart(file("avatar", "leo.png", PICTURE))
        token = token_of(app.post(body, environ={"REMOTE_USER": "ann"}))
        carried = multipart(text("_s3handoff", token))

        assert app.post(carried, environ={"REMOTE_USER": "ann"}).status_code == 200
        assert app.post(carried, environ={"REMOTE_USER": "bob"}).status_code == 403


def test_binding_off_is_a_bearer(tmp_path: Path) -> None:
    """No cookie is set, and none is needed."""
    with bench(tmp_path, bind="off") as app:
        token = app.upload()
        assert app.cookies == {}
        assert app.post(multipart(text("_s3handoff", token))).status_code == 200


def test_two_uploads_in_one_browser_keep_apart(app: Bench) -> None:
    """The second cookie does not end the first token."""
    tokens = [app.upload(), app.upload(file("other", "b.png", b"2"))]
    for token, field_name in zip(tokens, ["avatar", "other"], strict=True):
        app.post(multipart(text("_s3handoff", token)))
        assert app.last.environ["s3handoff"].get(field_name)


def test_a_warning_names_no_path_of_a_stranger(
    app: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What was warned of is remembered: it must not grow with what is asked for."""
    app.answer = returned(lambda: [b"no form"])
    for path in ("/one", "/two"):
        app.post(multipart(file("avatar", "leo.png", PICTURE)), path=path)

    assert len(app.handoff.rooms.warned) == 1
    assert caplog.text.count("without a form or redirect") == 1


def test_plain_http_behind_a_proxy_is_said_once(
    app: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """The cookie would not be Secure."""
    for _ in range(2):
        body = multipart(file("avatar", "leo.png", PICTURE))
        app.post(body, environ={"HTTP_X_FORWARDED_PROTO": "https"})

    assert caplog.text.count("ProxyFix") == 1


# The handle


def told(app: Bench, do: Callable[[Any], object], brings: bool = True) -> object:
    """Return what a view gets that does something with the handle."""
    found: list[object] = []

    def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found.append(do(environ["s3handoff"]))
        start_response("200 OK", list(PLAIN))
        return []

    token = app.upload(
        file("a", "1.txt", b"one"), file("a", "2.txt", b"two"), file("b", "3.txt", b"")
    )
    app.answer = view
    app.post(multipart(text("_s3handoff", token)) if brings else multipart(text("a", "1")))
    return found[0]


def test_the_handle_lists_files(app: Bench) -> None:
    """All, of a field, the first of a field, none."""
    assert told(app, lambda h: [f.filename for f in h.files]) == ["1.txt", "2.txt", "3.txt"]
    assert told(app, lambda h: [f.filename for f in h.getlist("a")]) == ["1.txt", "2.txt"]
    assert told(app, lambda h: (h.get("b").filename, h.get("c"), h.errors)) == ("3.txt", None, [])


def test_the_handle_of_an_idle_request_is_empty(app: Bench) -> None:
    """It can be asked anything, and the store is not."""
    nothing = told(
        app, lambda h: (h.files, h.get("a"), h.errors, h.fields(), h.token()), brings=False
    )
    assert nothing == ([], None, [], "", "")


def test_files_are_named_by_field_or_by_themselves(app: Bench) -> None:
    """Where a field has no file, the error names it."""
    told(app, lambda h: h.replace(h.get("a"), BytesIO(b"new")))
    told(app, lambda h: [h.discard("a"), h.discard(h.get("b"))])
    for act in (
        lambda h: h.replace("c", b""),
        lambda h: h.promote("c", "users/1"),
        lambda h: h.discard("c"),
    ):
        with pytest.raises(KeyError, match="'c'"):
            told(app, act)


def test_a_discarded_file_is_carried_no_further(app: Bench) -> None:
    """The others are."""

    def drop(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["s3handoff"].discard("a")
        return list(_page(start_response))

    app.answer = drop
    token = token_of(app.post(multipart(file("a", "1.txt", b"1"), file("b", "2.txt", b"2"))))
    app.answer = _show
    assert app.post(multipart(text("_s3handoff", token))).get_data() == b"2.txt"


def test_fields_is_markup_for_every_template_engine(app: Bench) -> None:
    """Jinja, Django and Mako ask for ``__html__``; the form is not given a second one."""

    def explicit(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        return [
            FORM.replace(
                b"<button>", environ["s3handoff"].fields().__html__().encode() + b"<button>"
            )
        ]

    app.answer = explicit
    assert token_of(app.post(multipart(file("a", "1.txt", b"1"))))


def test_a_json_client_carries_its_token_itself(app: Bench) -> None:
    """Given by ``token()``, given back to ``restore()``; the cookie goes along though the head was ready."""

    def give(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "application/json")])
        return [environ["s3handoff"].token().encode()]

    app.answer = give
    answer = app.post(multipart(file("avatar", "leo.png", PICTURE)))
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert app.cookies

    def take(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        (restored,) = environ["s3handoff"].restore(answer.get_data(True))
        start_response("200 OK", list(PLAIN))
        return [restored.read()]

    app.answer = take
    assert app.post(b"{}", "application/json").get_data() == PICTURE


def test_a_logout_takes_the_cookies_along(app: Bench) -> None:
    """What the browser still has in its pages is foreign from then on; nothing is carried."""
    token = app.upload()

    def logout(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["s3handoff"].forget()
        return list(_page(start_response))

    app.answer = logout
    answer = app.post(multipart(text("_s3handoff", token)))
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert b"_s3handoff" not in answer.get_data()
    assert app.post(multipart(text("_s3handoff", token))).status_code == 403


def test_a_forged_token_given_back_is_an_error(app: Bench) -> None:
    """The middleware answers what the app lets through."""
    app.answer = lambda environ, _start: environ["s3handoff"].restore("x.y")
    assert app.post(b"{}", "application/json").status_code == Forged.code


def test_after_the_head_it_is_too_late_to_restore(app: Bench) -> None:
    """What could not be carried must not be taken."""

    def late(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", list(PLAIN))
        yield b"begun"
        environ["s3handoff"].restore("x.y")

    with pytest.raises(RuntimeError, match="has left"):
        serve(app, late, environ_of(app, "GET"))


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("error", [Missing, Expired, Unavailable])
def test_an_error_that_the_app_lets_through_is_answered(
    app: Bench, error: type[HandoffError], lazily: bool
) -> None:
    """With its status, in place of a server's 500."""

    def view(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))
        raise error

    def lazy_view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        yield from view(environ, start_response)

    served = serve(app, lazy_view if lazily else view, environ_of(app, "GET"))
    assert served.status.startswith(str(error.code))


def test_an_error_after_the_head_is_the_servers(app: Bench) -> None:
    """Nothing else can be answered any more."""

    def view(_environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        start_response("200 OK", list(HTML))(b"begun")
        raise Missing

    with pytest.raises(Missing):
        serve(app, view, environ_of(app, "GET"))


# Links, imports, cost


def test_a_store_without_urls_has_links_of_ours(app: Bench) -> None:
    """Mounted or not; whoever changes one gets nothing."""
    urls: list[str] = []

    def link(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        handle = environ["s3handoff"]
        urls.extend(
            [handle.url(handle.get("avatar")), handle.url(app.handoff.put(b"1", "users/1.txt"))]
        )
        return list(_page(start_response))

    app.answer = link
    app.post(multipart(file("avatar", "leo.png", PICTURE)), environ={"SCRIPT_NAME": "/mounted"})
    assert all(url.startswith("/mounted/_s3handoff/") for url in urls)
    paths = [url.removeprefix("/mounted") for url in urls]

    picture = app.get(paths[0])
    assert (picture.get_data(), picture.mimetype) == (PICTURE, "image/png")
    assert picture.headers["X-Content-Type-Options"] == "nosniff"
    assert app.get(paths[1]).headers["Content-Disposition"].startswith("attachment")
    assert app.get(paths[0] + "x").status_code == 400
    assert len(app.seen) == 1


def test_flask_is_not_imported() -> None:
    """Django and Bottle need none of it."""
    code = (
        "import sys, flask_s3handoff.wsgi; print({'flask', 'jinja2', 'boto3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "set()\n"


def test_the_package_gives_the_public_names() -> None:
    """``from flask_s3handoff import Handoff, HandoffMiddleware`` leaves Flask alone as well."""
    code = "import sys; from flask_s3handoff import Handoff, HandoffMiddleware; print('flask' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stdout == "False\n"


def test_rule_8_an_idle_request_passes_through(
    app: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """What the app returns is what the server gets; no store, no disk, no log line."""
    body = Closing([FORM])
    with caplog.at_level(logging.DEBUG, "flask_s3handoff"):
        served = serve(app, returned(lambda: body), environ_of(app, "GET"))

    assert served.returned is body
    assert (app.store.calls, caplog.text) == ([], "")
    assert not (app.folder / "work").exists()


def test_rule_8_a_form_without_a_file_touches_no_disk(app: Bench) -> None:
    """Small ones are looked through in memory."""
    body = Closing([FORM])
    middleware = HandoffMiddleware(returned(lambda: body), app.handoff)
    served = Server(middleware).serve(
        environ_of(app, "POST", "/", multipart(text("a", "1")), MULTIPART)
    )

    assert served.returned is body
    assert not (app.folder / "work").exists()


@pytest.mark.parametrize("text_size", [0, 400_000])
def test_rule_11_a_request_is_gone_when_it_is_over(app: Bench, text_size: int) -> None:
    """At once, and not when Python next looks for circles: the handle is in the environ, which it knows."""
    handles: list[weakref.ref[Any]] = []

    def view(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        handles.append(weakref.ref(environ["s3handoff"]))
        assert environ["s3handoff"].files == []
        return list(_page(start_response))

    body = multipart(text("a", "x" * text_size))
    gc.disable()
    try:
        serve(
            app,
            view,
            environ_of(app, "POST", "/", body, MULTIPART) if text_size else environ_of(app, "GET"),
        )
        assert handles[0]() is None
    finally:
        gc.enable()
