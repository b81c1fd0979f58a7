"""Which responses carry, what is added to them, and what is left exactly as it was."""

from __future__ import annotations

import gzip
import io
import os
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import (
    Flask,
    Response,
    abort,
    current_app,
    redirect,
    render_template_string,
    request,
    send_file,
    stream_with_context,
)

from flask_s3handoff import S3Handoff
from tests.browser_like import Browser, Page, Refused
from tests.carry.test_carry import LEO, line_of, shown
from tests.small_apps import FILE, answer, count, fleet_of, form, memory, page

pytestmark = pytest.mark.oldest

PAGE = page("é", form("/show"))


def answering(make: Callable[[], Any]) -> Any:
    """Build an app that takes an upload and answers with this."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.route("/", methods=["GET", "POST", "HEAD"])
        def view() -> Any:
            request.files.get("avatar")
            return make()

        answer(app, "/show", shown)

    return build


def sent(make: Callable[[], Any], *, times: int = 1, **settings: Any) -> Page:
    """Upload a file and return the answer: the first one sets the cookie as well."""
    with fleet_of(answering(make), **settings) as fleet:
        browser = Browser(fleet)
        return [browser.post("/", [("avatar", LEO)], follow=False) for _ in range(times)][-1]


def typed(content_type: str, body: str | bytes = PAGE, **headers: str) -> Callable[[], Response]:
    """Return a view that answers with these headers."""

    def make() -> Response:
        response = Response(body, content_type=content_type)
        response.headers.update({k.replace("_", "-"): v for k, v in headers.items()})
        return response

    return make


# --- who carries -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", [200, 201, 202, 203, 400, 401, 403, 404, 405, 409, 413, 422, 500, 503]
)
def test_a_page_of_any_status_carries(status: int) -> None:
    """A validation error shown again is the main use (H77)."""
    seen = sent(lambda: (PAGE, status))
    assert seen.status == status
    assert seen.form().token


def test_the_page_of_an_error_handler_carries() -> None:
    """``abort(422)`` and the app's own page for it, with the form again."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: (request.files["avatar"], abort(422)))
        answer(app, "/show", shown)
        app.register_error_handler(422, lambda _: (PAGE, 422))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/", [("avatar", LEO)])
        assert seen.status == 422
        assert line_of(LEO) in browser.submit(seen).text


def test_f38_the_page_of_an_exception_carries_the_file_as_it_was(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A view that breaks off in the middle of an edit leaves no half-edited revision (F38)."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            with open(request.files["avatar"].path, "r+b") as picture:
                picture.truncate(3)
                raise RuntimeError("in the middle")

        answer(app, "/show", shown)
        app.register_error_handler(500, lambda _: (PAGE, 500))

    with fleet_of(build, TESTING=False) as fleet:
        browser = Browser(fleet)
        seen = browser.post("/", [("avatar", LEO)])
        assert seen.status == 500
        assert line_of(LEO) in browser.submit(seen).text
    assert "in the middle" in caplog.text


def test_an_exception_that_the_server_gets_leaves_nothing_open() -> None:
    """With ``PROPAGATE_EXCEPTIONS`` no response ever leaves; streams and edit copies go all the same."""
    seen: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            seen.append(request.files["avatar"].path)
            request.files["avatar"].read(3)
            raise LookupError("broken")

    with fleet_of(build) as fleet:
        with pytest.raises(LookupError):
            Browser(fleet).post("/", [("avatar", LEO)])
        assert not os.path.exists(seen[0])


@pytest.mark.parametrize("method_not_allowed", [True, False])
def test_pages_of_flask_itself_carry(method_not_allowed: bool) -> None:
    """404 and 405 come before any view; a page with a form for them may carry what was sent."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], PAGE)[1])
        answer(app, "/show", shown)
        answer(app, "/only-get", shown, "GET")
        for status in (404, 405):
            app.register_error_handler(status, lambda e: (PAGE, e.code))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        token = browser.post("/add", [("avatar", LEO)]).form().token
        url = "/only-get" if method_not_allowed else "/nowhere"
        seen = browser.post(url, [("_s3handoff", token)])
        assert seen.status == (405 if method_not_allowed else 404)
        assert line_of(LEO) in browser.submit(seen).text


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "text/html; charset=utf-8",
        "TEXT/HTML;charset=ISO-8859-1",
        'text/html; charset="utf-8"',
    ],
)
def test_html_in_ascii_compatible_charsets_carries(content_type: str) -> None:
    """Also a fragment without ``<html>``, as htmx asks for it (H70)."""
    assert sent(typed(content_type, form("/show"))).form().token


def left_alone(make: Callable[[], Any], method: str = "POST") -> None:
    """Check that an answer to an upload is what it is without us, headers and all."""
    with fleet_of(answering(make)) as fleet, fleet_of(answering(make), enabled=False) as without:
        values = [("avatar", LEO)]
        if method == "HEAD":
            seen, plain = (Browser(f).send("HEAD", "/") for f in (fleet, without))
        else:
            seen, plain = (Browser(f).post("/", values, follow=False) for f in (fleet, without))
        assert seen.data == plain.data
        assert without_date(seen) == without_date(plain)
        assert seen.status == plain.status


def without_date(seen: Page) -> list[tuple[str, str]]:
    """Return the headers, but for the time of day."""
    return sorted((name, value) for name, value in seen.headers if name != "Date")


UNTOUCHED: dict[str, Callable[[], Any]] = {
    "json": typed("application/json", '{"html": "<form method=post>"}'),
    "plain": typed("text/plain"),
    "xhtml": typed("application/xhtml+xml"),
    "xml": typed("text/xml"),
    "svg": typed("image/svg+xml"),
    "multipart": typed("multipart/mixed; boundary=x"),
    "turbo stream": typed("text/vnd.turbo-stream.html"),
    "utf-16": typed("text/html; charset=utf-16", PAGE.encode("utf-16")),
    "iso-2022-jp": typed("text/html; charset=iso-2022-jp"),
    "unknown charset": typed("text/html; charset=x-user-defined"),
    "gzip": typed("text/html", gzip.compress(PAGE.encode()), Content_Encoding="gzip"),
    "identity": typed("text/html", PAGE, Content_Encoding="br"),
    "attachment": typed("text/html", PAGE, Content_Disposition="attachment; filename=a.html"),
    "ATTACHMENT": typed("text/html", PAGE, Content_Disposition=" ATTACHMENT"),
    "204": lambda: ("", 204),
    "206": lambda: Response(PAGE, 206, {"Content-Range": f"bytes 0-9/{len(PAGE)}"}),
    "304": lambda: Response(None, 304, {"ETag": '"x"'}),
    "passthrough": lambda: send_file(io.BytesIO(PAGE.encode()), mimetype="text/html"),
    "no form": lambda: page("nothing to send"),
    "get form": lambda: page('<form action="/show"><input name="q"></form>'),
    "foreign form": lambda: page(form("https://evil.example/")),
    "opted out": lambda: page(form("/show", attributes='data-s3handoff="off"')),
    "foreign button": lambda: page(form("/show", '<button formaction="//evil.example">x</button>')),
    "in a template": lambda: page(f"<template>{form('/show')}</template>"),
    "empty": lambda: Response("", content_type="text/html"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_rule_6_what_cannot_carry_is_left_exactly_alone(name: str) -> None:
    """Types, encodings, downloads, statuses and pages without a form of ours (H72–H78)."""
    left_alone(UNTOUCHED[name])


def test_two_content_types_are_left_alone() -> None:
    """Nobody knows which of them a browser takes (H73)."""

    def make() -> Response:
        response = Response(PAGE, content_type="text/html")
        response.headers.add("Content-Type", "text/plain")
        return response

    left_alone(make)


def test_an_answer_to_head_is_left_alone() -> None:
    """There is no body to add to (H76)."""
    left_alone(lambda: PAGE, "HEAD")


# --- what is added --------------------------------------------------------------------------------------------


def test_rule_6_taking_our_bytes_out_gives_the_apps_page_back() -> None:
    """Two forms, one required input, text around: everything else is byte for byte the app's."""
    html = page(
        "é<p>", form("/a", FILE.replace(">", " required>")), "<!-- x -->", form("/b"), "\r\n\0"
    )
    seen = sent(typed("text/html; charset=utf-8", html))
    assert len(seen.tokens) == 2
    ours = re.compile(rb'<input type="hidden" name="_s3handoff" value="[^"]+" autocomplete="off">')
    assert (
        ours.sub(b"", seen.data).replace(b"data-s3handoff-required", b"required") == html.encode()
    )
    assert int(seen.headers["Content-Length"]) == len(seen.data)


def test_a_required_input_whose_file_is_carried_does_not_block_the_form() -> None:
    """The browser would not submit the form without a new choice (H64)."""
    field = '<input type="file" name="avatar" required>'

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: page(shown(), form("/", field)))

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        with pytest.raises(Refused):
            browser.submit(browser.open("/"))
        seen = browser.submit(browser.open("/"), avatar=LEO)
        assert "data-s3handoff-required" in seen.text
        assert line_of(LEO) in browser.submit(seen).text


def test_a_required_input_of_another_field_stays_required() -> None:
    """Nothing is carried for it."""
    seen = sent(lambda: page(form("/", '<input type="file" name="cv" required>')))
    assert seen.form().token
    with pytest.raises(Refused):
        Browser(lambda *_: []).submit(seen)


def test_a_form_that_has_a_token_already_gets_no_second_one() -> None:
    """The explicit way and the injected one do not add up (H63)."""
    seen = sent(
        lambda: render_template_string(f"{form('/a', '{{ s3handoff.fields() }}')}{form('/b')}")
    )
    assert len(seen.form("/a").tokens) == 1
    assert len(seen.form("/b").tokens) == 1


# --- headers ---------------------------------------------------------------------------------------------------


def test_rule_7_a_page_with_a_token_is_kept_by_nobody() -> None:
    """Validators and words for CDNs go; ``private, no-cache`` comes (H79, H80)."""
    gone = {
        "ETag": '"abc"', "Last-Modified": "Mon, 23 Nov 2026 10:00:00 GMT", "Content-MD5": "x",
        "Digest": "x", "Repr-Digest": "x", "Content-Digest": "x", "Accept-Ranges": "bytes",
        "Expires": "Mon, 23 Nov 2099 10:00:00 GMT", "Surrogate-Control": "max-age=9", "CDN-Cache-Control": "max-age=9",
        "Surrogate-Key": "x", "X-Accel-Expires": "9",
    }  # fmt: skip
    caching = {
        "Cache-Control": "public, max-age=600, s-maxage=600, immutable",
        "Vary": "Accept-Encoding",
    }
    seen = sent(lambda: Response(PAGE, headers={**gone, **caching, "X-Own": "kept"}), times=2)
    assert seen.form().token
    assert not set(gone) & {name for name, _ in seen.headers}
    assert seen.headers["Cache-Control"] == "private, no-cache"
    assert {"accept-encoding", "cookie"} <= {
        word.strip().lower() for word in seen.headers["Vary"].split(",")
    }
    assert seen.headers["Referrer-Policy"] == "same-origin"
    assert seen.headers["X-Own"] == "kept"


def test_rule_7_an_apps_own_no_store_and_policies_stay() -> None:
    """What is stricter than ours is not loosened."""
    own = {"Cache-Control": "no-store, max-age=0", "Vary": "*", "Referrer-Policy": "no-referrer"}
    seen = sent(lambda: Response(PAGE, headers=own))
    assert "no-store" in seen.headers["Cache-Control"]
    assert "private" in seen.headers["Cache-Control"]
    assert seen.headers["Vary"] == "*"
    assert seen.headers["Referrer-Policy"] == "no-referrer"


KEEP = {
    "Cache-Control": "public, max-age=600",
    "X-Accel-Expires": "600",
    "CDN-Cache-Control": "max-age=600",
    "Expires": "Mon, 23 Nov 2099 10:00:00 GMT",
}


@pytest.mark.parametrize("name", KEEP)
@pytest.mark.parametrize("way", ["/", "/go"])
def test_rule_7_t15_an_after_request_cannot_let_caches_keep_a_token(name: str, way: str) -> None:
    """The classic hook that makes every page cacheable runs after us; a page with a token stays private."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answering(lambda: PAGE)(app, handoff)
        answer(app, "/go", lambda: (request.files["avatar"], redirect("/"))[1])

        @app.after_request
        def let_everybody_keep_it(response: Response) -> Response:
            response.headers[name] = KEEP[name]
            return response

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = [browser.post(way, [("avatar", LEO)], follow=False)]
        if way == "/go":
            seen.append(browser.open(seen[0].location))
        for one in seen:
            assert one.headers["Cache-Control"] == "private, no-cache"
            assert not (KEEP.keys() - {"Cache-Control"}) & {header for header, _ in one.headers}
        assert Browser(fleet).open("/").headers[name] == KEEP[name]


def test_an_etag_made_after_us_is_not_a_validator_of_a_page_with_a_token() -> None:
    """``after_request`` runs later: what it adds is over the final bytes, and not our business."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answering(lambda: PAGE)(app, handoff)

        @app.after_request
        def hash_it(response: Response) -> Response:
            assert b"_s3handoff" in response.get_data()
            response.headers["X-Length"] = str(len(response.get_data()))
            return response

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/", [("avatar", LEO)])
        assert seen.headers["X-Length"] == str(len(seen.data))


def test_cookies_of_the_app_stay_beside_ours() -> None:
    """``Set-Cookie`` is added to, never replaced."""

    def make() -> Response:
        response = Response(PAGE)
        response.set_cookie("own", "1")
        return response

    cookies = sent(make).headers.getlist("Set-Cookie")
    assert [cookie.partition("=")[0][:10] for cookie in cookies] == ["own", "s3handoff-"]


def test_over_https_the_cookie_is_of_this_host_alone() -> None:
    """``__Host-``, Secure, HttpOnly, SameSite=Lax, no domain (T6)."""
    with fleet_of(answering(lambda: PAGE)) as fleet:
        browser = Browser(fleet, origin="https://shop.example")
        cookie = browser.post("/", [("avatar", LEO)]).headers["Set-Cookie"]
        assert cookie.startswith("__Host-s3handoff-")
        words = {word.strip().split("=")[0] for word in cookie.split(";")[1:]}
        assert {"Secure", "HttpOnly", "SameSite", "Path"} <= words
        assert "Domain" not in words


# --- streams ------------------------------------------------------------------------------------------------------


def test_a_streamed_page_is_read_whole_and_carries() -> None:
    """A generator of a small page is like a page; its context lives as long as it needs it."""

    def make() -> Response:
        def chunks() -> Iterator[str]:
            yield "<!doctype html>"
            yield request.path
            yield from form("/show")

        return Response(stream_with_context(chunks()))

    seen = sent(make)
    assert seen.form().token
    assert int(seen.headers["Content-Length"]) == len(seen.data)


@pytest.mark.parametrize("why", ["long", "slow"])
def test_a_long_or_slow_stream_passes_through(why: str, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond 1 MiB or 250 ms it is let through as it is, and the log says what is lost (rule 5)."""
    filler = "x" * 65536
    drawn: list[float] = []

    def make() -> Response:
        def chunks() -> Iterator[str]:
            yield form("/show")
            for _ in range(40):
                if why == "slow":
                    time.sleep(0.02)
                drawn.append(time.monotonic())
                yield filler if why == "long" else "x"

        return Response(chunks())

    seen = sent(make)
    assert not seen.tokens
    assert seen.text == form("/show") + (filler if why == "long" else "x") * 40
    assert "Set-Cookie" not in seen.headers
    assert "can carry" in caplog.text


class Counted:
    """A body that counts how often it is closed."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = iter(chunks)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def __next__(self) -> bytes:
        return next(self.chunks)

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("kind", ["page", "no form", "json", "long", "token"])
def test_a_body_is_closed_exactly_once(kind: str) -> None:
    """Whatever became of it (H82), and so is what the app hung on its response."""
    chunks = {
        "page": [PAGE.encode()],
        "no form": [b"<p>"],
        "json": [b"{}"],
        "token": [b"{", b"}"],
        "long": [b"<form method=post>", *[b"x" * 65536] * 20],
    }
    body, closed = Counted(*chunks[kind]), list[str]()

    def make() -> Response:
        if kind == "token":
            assert current_app.jinja_env.globals["s3handoff"].token()  # type: ignore[attr-defined]
        content_type = "application/json" if kind in ("json", "token") else "text/html"
        response = Response(body, content_type=content_type)
        response.call_on_close(lambda: closed.append("closed"))
        return response

    seen = sent(make)
    assert seen.status == 200
    assert bool(seen.tokens) is (kind == "page")
    assert body.closed == 1
    assert closed == ["closed"]


def test_f41_a_stream_that_breaks_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    """It breaks while we read ahead: the app's error page, and nothing left open (F41)."""
    closed: list[str] = []

    def make() -> Response:
        def chunks() -> Iterator[bytes]:
            yield b"<form method=post>"
            raise RuntimeError("broken stream")

        response = Response(chunks())
        response.call_on_close(lambda: closed.append("closed"))
        return response

    assert sent(make, TESTING=False).status == 500
    assert closed == ["closed"]
    assert "broken stream" in caplog.text


def test_a_file_that_is_sent_passes_through_without_being_read() -> None:
    """``send_file`` keeps ``wsgi.file_wrapper`` and its length."""
    seen = sent(lambda: send_file(io.BytesIO(b"<form method=post>" * 9), "text/html"))
    assert seen.data == b"<form method=post>" * 9
    assert not seen.tokens


# --- silence ----------------------------------------------------------------------------------------------------


def test_rule_5_no_way_out_is_a_warning_once_per_endpoint(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the endpoint and says what to do; not at every request."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/json", lambda: (request.files["avatar"], {"ok": True})[1])
        answer(app, "/bare", lambda: (request.files["avatar"], page("thanks"))[1])

    with fleet_of(build) as fleet:
        for url in ("/json", "/bare") * 3:
            assert Browser(fleet).post(url, [("avatar", LEO)]).status == 200
        lines = [r.getMessage() for r in caplog.records if "can carry" in r.getMessage()]
        assert len(lines) <= 2 * len(fleet.copies)
        assert {line.split(" answered")[0] for line in lines} == {"at /json", "at /bare"}
        per_app = len(lines) / len(fleet.copies)
        assert per_app == 2, "each app tells once, for each of its endpoints"


def test_rule_5_no_warning_when_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """Promoted, discarded, asked for by ``token()``: nothing is missing."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/a", lambda: {"key": handoff.promote(request.files["avatar"], "users/1.png")})
        answer(app, "/b", lambda: {"gone": request.files["avatar"].discard()})
        answer(app, "/c", lambda: (request.files["avatar"], {"token": handoff.token()})[1])

    with fleet_of(build) as fleet:
        for url in "/a", "/b", "/c":
            assert Browser(fleet).post(url, [("avatar", LEO)]).status == 200
    assert "can carry" not in caplog.text


def test_an_unknown_page_warns_under_one_name(caplog: pytest.LogCaptureFixture) -> None:
    """404s of a thousand paths are one line, not a thousand, and take no memory."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.before_request
        def look() -> None:
            request.files.get("avatar")

    with fleet_of(build) as fleet:
        for n in range(12):
            assert Browser(fleet).post(f"/nowhere/{n}", [("avatar", LEO)]).status == 404
        lines = [r for r in caplog.records if "can carry" in r.getMessage()]
        assert len(lines) == len(fleet.copies)


# --- idle -------------------------------------------------------------------------------------------------------


def test_rule_8_pages_without_upload_or_token_ask_nothing(tmp_path: Any) -> None:
    """No S3 call, no work folder, no thread, no cookie, and the page as the app wrote it."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/", lambda: PAGE)

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        for seen in (browser.open("/"), browser.post("/", [("a", "b")]), browser.post("/")):
            assert seen.text == PAGE
            assert not {"Set-Cookie", "Vary", "Cache-Control"} & {name for name, _ in seen.headers}
        assert count(fleet) == 0
        assert not [name for copy in fleet.copies for name in os.listdir(copy.disk)]


def test_rule_9_the_calls_of_three_steps_on_three_servers() -> None:
    """1 PUT, 1 GET, 1 PUT for the edit, 1 COPY."""
    from tests.carry.test_carry import wizard

    with fleet_of(wizard) as fleet:
        browser = Browser(fleet)
        crop = browser.submit(browser.open("/"), avatar=LEO)
        browser.submit(browser.submit(crop, width="9"), "/save", name="leo")
        assert [verb for verb, _ in memory(fleet).calls] == ["put", "fetch", "put", "copy"]


@pytest.mark.parametrize(
    "look",
    [
        lambda file: bool(file), lambda file: file.filename, lambda file: file.mimetype, lambda file: file.content_type,
        lambda file: hasattr(file, "read"), lambda file: file.size, lambda file: file.sha256, lambda file: repr(file),
        lambda file: file.headers, lambda file: file.content_length, lambda file: file.closed, lambda file: file.name,
        lambda file: hasattr(file, "nonsense"), lambda file: file.readable() and file.seekable(), lambda _: None,
    ],
)  # fmt: skip
def test_rule_9_looking_at_a_file_costs_no_get(look: Callable[[Any], object]) -> None:
    """Truth, names, types, sizes and the end of the request fetch nothing."""

    def build(app: Flask, handoff: S3Handoff) -> None:
        answer(app, "/add", lambda: (request.files["avatar"], PAGE)[1])
        answer(app, "/show", lambda: (look(request.files["avatar"]), page(form("/show")))[1])

    with fleet_of(build) as fleet:
        browser = Browser(fleet)
        seen = browser.submit(browser.post("/add", [("avatar", LEO)]))
        browser.submit(seen)
        assert [verb for verb, _ in memory(fleet).calls] == ["put"]


@pytest.mark.parametrize("source", ["path", "copy"])
def test_sending_the_carried_file_itself_leaves_nothing_open(source: str) -> None:
    """A preview by ``send_file``: such a body tells nobody its end, and the edit copy goes all the same."""
    paths: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/preview")
        def preview() -> Response:
            file: Any = request.files["avatar"]
            paths.append(file.path)
            ways = {"path": file.path, "copy": io.BytesIO(file.read())}
            return send_file(ways[source], mimetype="image/png")

    with fleet_of(build) as fleet:
        seen = Browser(fleet).post("/preview", [("avatar", LEO)])
        assert seen.data == LEO.data
        assert not os.path.exists(paths[0])


def test_an_after_request_that_answers_something_else() -> None:
    """Its new response knows nothing of ours; stream and edit copy end with the request all the same."""
    paths: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> str:
            file: Any = handoff.get("avatar")
            paths.append(file.path)
            file.read(1)
            return PAGE

        app.after_request(lambda _: Response("something else"))

    with fleet_of(build) as fleet:
        assert Browser(fleet).post("/", [("avatar", LEO)]).text == "something else"
        assert not os.path.exists(paths[0])


def test_a_stream_may_read_the_file_and_its_edit_copy_to_the_end() -> None:
    """Both live until the last byte has left, and no longer."""
    paths: list[str] = []

    def build(app: Flask, handoff: S3Handoff) -> None:
        @app.post("/")
        def view() -> Response:
            file: Any = request.files["avatar"]
            paths.append(file.path)

            def chunks() -> Iterator[bytes]:
                with open(paths[0], "rb") as copy:
                    yield copy.read()
                yield file.read()

            return Response(stream_with_context(chunks()), content_type="image/png")

    with fleet_of(build) as fleet:
        assert Browser(fleet).post("/", [("avatar", LEO)]).data == LEO.data * 2
        assert not os.path.exists(paths[0])


# --- pages with more than our form ------------------------------------------------------------------

OTHERS = (
    form("/login", '<input type="password" name="p">')
    + '<form action="/search"><input name="q"></form>'
    + form("/logout", attributes='data-s3handoff="off"')
    + form("/show", FILE, attributes="data-s3handoff")
)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["/login", "/show"]),
        ({"inject": "marked"}, ["/show"]),
        ({"inject": "off"}, []),
        ({"paths": ["/show", "/wizard"]}, []),
    ],
    ids=["default", "marked", "off", "other-paths"],
)
def test_h62_h84_a_page_of_several_forms(settings: dict[str, Any], expected: list[str]) -> None:
    """By default each form of ours that goes by POST; marked ones alone where a page shows others' HTML."""
    seen = sent(lambda: page(OTHERS), **settings)
    assert [str(f.element.get("action")) for f in seen.forms if f.tokens] == expected


def test_h65_an_input_like_ours_is_judged_like_ours() -> None:
    """What stands in the form already, by whomever, is sent beside ours: one is refused, one is used."""
    with fleet_of(answering(lambda: PAGE)) as fleet:
        mallory, leo = Browser(fleet), Browser(fleet)
        planted = mallory.post("/", [("avatar", LEO)]).form().token
        own = leo.post("/", [("avatar", LEO)]).form().token
        for first, last in ((planted, own), (own, planted), ("x", own), (own, "x")):
            tokens = [("_s3handoff", first), ("_s3handoff", last)]
            seen = leo.post("/show", tokens)
            assert seen.status == (403 if planted in (first, last) else 200)
            assert (line_of(LEO) in seen.text) == (planted not in (first, last))
        filled = sent(
            lambda: page(form("/show", '<input type="hidden" name="_s3handoff" value="x">'))
        )
        assert filled.form().tokens == ["x"]


def test_h66_what_a_browser_fills_in_again_is_good_too() -> None:
    """We ask it not to; where it does so all the same, an older token is as good as its page was."""
    with fleet_of(answering(lambda: PAGE)) as fleet:
        browser = Browser(fleet)
        older = browser.post("/", [("avatar", LEO)])
        newer = browser.submit_form(older.form(), {})
        assert line_of(LEO) in newer.text
        assert 'autocomplete="off"' in older.text
        assert line_of(LEO) in browser.post("/show", [("_s3handoff", older.form().token)]).text


def test_h81_a_strict_content_security_policy_has_nothing_to_forbid() -> None:
    """What is added is one hidden input: no script, no style, no handler, no address."""
    policy = "default-src 'none'; form-action 'self'; base-uri 'none'; require-trusted-types-for 'script'"
    seen = sent(typed("text/html", Content_Security_Policy=policy))
    assert seen.headers["Content-Security-Policy"] == policy
    added = re.sub(
        r'<input type="hidden" name="_s3handoff" value="[^"]+" autocomplete="off">', "", seen.text
    )
    assert added == PAGE


@pytest.mark.parametrize("row", ["F48", "B92"])
def test_a_form_that_comes_without_its_cookie_is_told(row: str) -> None:
    """From another site a ``SameSite=Lax`` cookie stays at home, and some browsers keep none at all."""
    with fleet_of(answering(lambda: PAGE)) as fleet:
        home = Browser(fleet)
        first = home.post("/", [("avatar", LEO)])
        assert first.status == 200
        assert "SameSite=Lax" in first.headers["Set-Cookie"]
        seen = Browser(fleet).post("/show", [("_s3handoff", first.form().token)])
        assert seen.status == 403
        assert "cookies are off" in seen.text
        if row == "F48":  # the same page, sent from our own site, still works
            assert line_of(LEO) in home.submit(first).text
