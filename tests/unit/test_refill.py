"""Bodies that the app behind the middleware reads: the very bytes, or the file in the token's place."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.sansio.multipart import Field, File

from flask_s3handoff.bodyscan import faithful_filename, names_a_file
from flask_s3handoff.bodywriter import file_head
from flask_s3handoff.errors import Missing, Unavailable
from flask_s3handoff.spool import MEMORY_BYTES
from tests.bad_tokens import GARBAGE
from tests.unit.test_body import ACCEPTED, END, TOO_LARGE
from tests.unit.test_body import MALFORMED as MALFORMED_TABLE
from tests.wsgi_bench import (
    MULTIPART,
    PICTURE,
    URLENCODED,
    Bench,
    bench,
    file,
    multipart,
    text,
)

BIG = os.urandom(MEMORY_BYTES) + b"\r\n--" + os.urandom(1000)
UNTOUCHED = {
    "a form": (multipart(text("title", "Leo")), MULTIPART),
    "an upload": (multipart(text("a", "1"), file("avatar", "leo.png", PICTURE[:9])), MULTIPART),
    "a large upload": (multipart(file("avatar", "leo.png", BIG), text("a", "1")), MULTIPART),
    "a large text": (multipart(text("a", b"x" * 3_000_000)), MULTIPART),
    "an empty file input": (
        multipart(file("avatar", "", b"", "application/octet-stream")),
        MULTIPART,
    ),
    "preamble and epilogue": (b"hello\r\n" + multipart(text("a", "1")) + b"bye", MULTIPART),
    "line feeds only": (b'--B\nContent-Disposition: form-data; name="a"\n\n1\n--B--\n', MULTIPART),
    "latin-1 text": (multipart(text("a", b"\xe9\xff")), MULTIPART),
    "a part of parts": (multipart(b"Content-Type: x/y\r\n" + text("a", "1")), MULTIPART),
    "no part": (b"--B--\r\n", MULTIPART),
    "the name in a text": (multipart(text("a", 'name="_s3handoff"')), MULTIPART),
    "urlencoded": (b"a=1&b=%zz&&c&=d&a=+", URLENCODED),
    "the name in a value": (b"a=_s3handoff&b=2", URLENCODED),
    "json": (b'{"_s3handoff": "x"}', "application/json"),
    "text": (b"--B\r\n_s3handoff", "text/plain"),
    "nothing": (b"", MULTIPART),
}
# Bodies that cannot be read, with a text in them, a file or a token.
MALFORMED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "B1 no boundary": ("multipart/form-data", lambda part: multipart(part)),
    "B2 another boundary": ("multipart/form-data; boundary=C", lambda part: multipart(part)),
    "B3 cut in a part": (MULTIPART, lambda part: multipart(part)[:-9]),
    "B4 no last delimiter": (MULTIPART, lambda part: multipart(part, end=b"")),
    "B9 no disposition": (MULTIPART, lambda part: multipart(part, b"Content-Type: a/b\r\n\r\n1")),
    "B10 no name": (
        MULTIPART,
        lambda part: multipart(part, b"Content-Disposition: form-data\r\n\r\n1"),
    ),
    "B15 a long name": (MULTIPART, lambda part: multipart(part, text("n" * 300, "1"))),
    "B16 headers in latin-1": (
        MULTIPART,
        lambda part: multipart(part, b"X: \xff\r\n" + text("a", "1")),
    ),
    "B17 too many parts": (MULTIPART, lambda part: multipart(part, *[text("a", "")] * 10_001)),
    "B20 endless headers": (MULTIPART, lambda part: multipart(part, b"X: " + b"x" * 600_000)),
    "B23 endless preamble": (MULTIPART, lambda part: b"x" * 600_000 + b"\r\n" + multipart(part)),
}
NEEDS_READING = {"B1 no boundary", "B2 another boundary", "B23 endless preamble"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Bench]:
    """A middleware and its app."""
    with bench(tmp_path) as made:
        yield made


def files_of(app: Bench) -> list[tuple[str, str | None, str | None, bytes]]:
    """Return the files that werkzeug finds in what the app saw last."""
    request = app.last.request
    with request:
        return [
            (field, f.filename, f.content_type, f.read())
            for field, f in request.files.items(multi=True)
        ]


def fields_of(app: Bench) -> list[tuple[str, str]]:
    """Return the texts that werkzeug finds in what the app saw last."""
    with app.last.request as request:
        return list(request.form.items(multi=True))


# What passes


@pytest.mark.parametrize("case", UNTOUCHED)
def test_a_body_without_a_token_is_what_the_app_reads(app: Bench, case: str) -> None:
    """Byte for byte, with the headers that it came with."""
    body, content_type = UNTOUCHED[case]
    app.post(body, content_type)

    assert app.last.body == body
    assert app.last.environ["CONTENT_TYPE"] == content_type
    assert app.last.environ["CONTENT_LENGTH"] == str(len(body))


@pytest.mark.parametrize("case", UNTOUCHED)
def test_a_chunked_body_is_what_the_app_reads(app: Bench, case: str) -> None:
    """B7: without a length, from a server that knows the end."""
    body, content_type = UNTOUCHED[case]
    chunked = {
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    app.post(body, content_type, environ=chunked)

    assert app.last.body == body
    assert app.last.environ["CONTENT_LENGTH"] == ""
    assert app.last.environ["HTTP_TRANSFER_ENCODING"] == "chunked"


@pytest.mark.parametrize(
    "size", [0, 1, 65_535, 65_536, MEMORY_BYTES - 200, MEMORY_BYTES, 2_000_000]
)
def test_a_fresh_file_is_mirrored_as_it_passes(app: Bench, size: int) -> None:
    """The app reads it, the store has it, the page carries it; also across the edge of memory."""
    data = os.urandom(size)
    body = multipart(text("title", "Leo"), file("avatar", "leo.png", data))
    app.post(body)
    app.close()

    assert app.last.body == body
    (key,) = app.store.keys()
    assert app.store.bytes_of(key) == data


def test_the_app_reads_lines_and_leftovers_too(app: Bench) -> None:
    """What PEP 3333 asks of an input: read, readline, readlines, iteration; and an end."""
    app.reads = False
    found: list[Any] = []

    def read(environ: Any, start_response: Any) -> list[bytes]:
        stream = environ["wsgi.input"]
        found.extend([stream.read(3), stream.readline(), next(iter(stream)), stream.readlines(1)])
        found.extend([stream.read(), stream.read(10), stream.readline()])
        start_response("204 No Content", [])
        return []

    app.answer = read
    app.post(b"a=1\nb=2\nc=3\nd=4\ne=5", URLENCODED)

    assert found == [b"a=1", b"\n", b"b=2\n", [b"c=3\n"], b"d=4\ne=5", b"", b""]


# What becomes the file again


@pytest.mark.parametrize("size", [0, 1, 70_000, 2_000_000])
def test_a_token_becomes_the_file_again(app: Bench, size: int) -> None:
    """As if the browser had sent it: same field, name, type and bytes; the token is gone."""
    data = os.urandom(size)
    token = app.upload(file("avatar", "leo.png", data))
    app.post(multipart(text("_s3handoff", token), text("title", "Leo")))

    assert files_of(app) == [("avatar", "leo.png", "image/png", data)]
    assert fields_of(app) == [("title", "Leo")]
    assert b"_s3handoff" not in app.last.body
    assert app.last.environ["CONTENT_LENGTH"] == str(len(app.last.body))


def test_the_boundary_is_a_fresh_one(app: Bench) -> None:
    """B60: a file that holds the form's own boundary stays whole."""
    kept = [text("_s3handoff", app.upload()), text("a", "1")]
    body, content_type = (
        multipart(*kept, boundary=b"Q", end=b"--Q--\r\n"),
        "multipart/form-data; boundary=Q",
    )
    app.post(body, content_type)
    first = app.last.environ["CONTENT_TYPE"]
    app.post(body, content_type)

    assert files_of(app) == [("avatar", "leo.png", "image/png", PICTURE)]
    assert app.last.environ["CONTENT_TYPE"] != first


def test_other_parts_stay_as_they_were(app: Bench) -> None:
    """Their headers and bytes are not understood, and so cannot be changed."""
    odd = b"content-disposition : form-data ;name=x\r\nContent-Type: text/plain; charset=latin1\r\n\r\n\xe9\r"
    fresh = file("other", "a'b;%22.txt", b"\0\r\n-", "text/plain ; x=y")
    token = app.upload()
    app.post(multipart(text("_s3handoff", token), odd, fresh, text("", "nameless")))

    boundary = re.search(r"boundary=(\S+)", app.last.environ["CONTENT_TYPE"])
    assert boundary
    parts = app.last.body.split(b"--" + boundary[1].encode())
    assert parts[0] == b""
    assert parts[1:4] == [b"\r\n%s\r\n" % part for part in (odd, fresh, text("", "nameless"))]
    assert parts[4].startswith(
        b'\r\nContent-Disposition: form-data; name="avatar"; filename="leo.png"\r\n'
    )
    assert parts[5] == b"--\r\n"


def test_a_file_takes_the_place_of_its_empty_input(app: Bench) -> None:
    """B12: the order of the form is kept; several files of one field stand together."""
    token = app.upload(file("a", "1.txt", b"1"), file("b", "2.txt", b"2"), file("a", "3.txt", b"3"))
    empty = [file("b", "", b""), file("c", "", b""), file("a", "", b""), file("a", "", b"")]
    app.post(multipart(text("_s3handoff", token), *empty))

    assert [f[:2] for f in files_of(app)] == [
        ("b", "2.txt"),
        ("c", ""),
        ("a", "1.txt"),
        ("a", "3.txt"),
    ]


def test_b36_a_file_chosen_anew_beats_the_token(app: Bench) -> None:
    """B36: the app sees one avatar, the new one."""
    token = app.upload()
    app.post(multipart(text("_s3handoff", token), file("avatar", "new.png", b"new")))

    assert files_of(app) == [("avatar", "new.png", "image/png", b"new")]


def test_b35_the_same_token_twice_is_one_file(app: Bench) -> None:
    """B35."""
    token = app.upload()
    app.post(multipart(text("_s3handoff", token), text("_s3handoff", token)))

    assert len(files_of(app)) == 1


def test_b38_a_token_as_a_file_is_none(app: Bench) -> None:
    """B38: it is taken out like any part of that name, and restores nothing."""
    token = app.upload()
    app.post(multipart(file("_s3handoff", "token.txt", token.encode()), text("a", "1")))

    assert files_of(app) == []
    assert fields_of(app) == [("a", "1")]


def test_a_field_named_like_ours_inside_a_name_is_not_ours(app: Bench) -> None:
    """B62: only the exact name is."""
    body = multipart(text("my_s3handoff", "x"), file("avatar_s3handoff", "_s3handoff", b"1"))
    app.post(body)

    assert app.last.body == body


def test_a_urlencoded_form_with_a_file_becomes_multipart(app: Bench) -> None:
    """It has to: names and values keep their bytes, whatever they are."""
    token = app.upload()
    app.post(f"title=a+b%26%0D%0A&_s3handoff={token}&n%22%5C=%FF&empty&empty=".encode(), URLENCODED)

    assert app.last.environ["CONTENT_TYPE"].startswith("multipart/form-data; boundary=")
    assert files_of(app) == [("avatar", "leo.png", "image/png", PICTURE)]
    assert fields_of(app) == [
        ("title", "a b&\r\n"),
        ('n"\\', "\ufffd"),
        ("empty", ""),
        ("empty", ""),
    ]
    assert b"\r\n\r\n\xff\r\n" in app.last.body


def test_a_urlencoded_form_without_a_file_stays_one(app: Bench) -> None:
    """A forged token is taken out; nothing else changes."""
    app.post(b"a=%7a&_s3handoff=forged&&b", URLENCODED + "; charset=utf-8")

    assert app.last.body == b"a=%7a&b"
    assert app.last.environ["CONTENT_TYPE"] == URLENCODED + "; charset=utf-8"
    assert app.last.environ["CONTENT_LENGTH"] == "7"
    assert [e.code for e in app.last.environ["s3handoff"].errors] == ["forged"]


def test_b16_a_name_that_is_no_utf_8_does_not_cost_the_form(app: Bench) -> None:
    """In the header of a part it would: there each parser is strict, and none in a urlencoded form."""
    token = app.upload()
    app.post(f"caf%E9=1&_s3handoff={token}&a=2".encode(), URLENCODED)

    assert fields_of(app) == [("caf\ufffd", "1"), ("a", "2")]
    assert len(files_of(app)) == 1


def test_a_charset_survives(app: Bench) -> None:
    """Django decodes the texts of a form by it."""
    token = app.upload()
    app.post(
        multipart(text("_s3handoff", token)), 'multipart/form-data; charset=latin-1; boundary="B"'
    )

    assert app.last.environ["CONTENT_TYPE"].endswith("; charset=latin-1")


def test_what_was_true_of_the_old_body_only_is_taken_out(app: Bench) -> None:
    """Its digests, and that it was chunked."""
    token = app.upload()
    body = multipart(text("_s3handoff", token))
    claims = {"HTTP_CONTENT_MD5": "x", "HTTP_DIGEST": "x", "HTTP_TRANSFER_ENCODING": "chunked"}
    app.post(body, environ={**claims, "wsgi.input_terminated": True, "CONTENT_LENGTH": ""})

    assert not set(claims) & set(app.last.environ)
    assert app.last.environ["CONTENT_LENGTH"] == str(len(app.last.body))
    assert len(files_of(app)) == 1


def test_b23c_every_split_of_a_body_gives_the_same(app: Bench) -> None:
    """B23c: whatever the line cuts, each part begins and ends where it did."""
    token = app.upload(file("avatar", "leo.png", b"\r\n--Q\r"))
    body = multipart(text("a", "\r\n-"), text("_s3handoff", token), text("b", "\r"))
    wanted = [[("a", "\r\n-"), ("b", "\r")], [("avatar", "leo.png", "image/png", b"\r\n--Q\r")]]
    for at in range(1, len(body)):
        app.post(body, environ={"wsgi.input": Cut(body[:at], body[at:])})
        assert [fields_of(app), files_of(app)] == wanted, at


def test_a_urlencoded_token_is_seen_across_every_split(app: Bench) -> None:
    """The name of our field may come in two pieces."""
    body = f"a=1&_s3handoff={app.upload()}&b=2".encode()
    for at in range(1, 20):
        app.post(body, URLENCODED, environ={"wsgi.input": Cut(body[:at], body[at:])})
        assert len(files_of(app)) == 1, at


class Cut:
    """A stream of two chunks."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = [*chunks]

    def read(self, size: int) -> bytes:
        """Return what has come."""
        chunk = self._chunks.pop(0) if self._chunks else b""
        if len(chunk) > size:
            self._chunks.insert(0, chunk[size:])
        return chunk[:size]


# What cannot be had


@pytest.mark.parametrize("on_error", ["raise", "collect"])
@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("expired", 410),
        ("foreign", 403),
        ("missing", 410),
        ("corrupt", 502),
        ("unavailable", 503),
        ("too_large", 413),
    ],
)
@pytest.mark.parametrize("encoding", [MULTIPART, URLENCODED])
def test_a_file_that_cannot_be_had_is_said(
    tmp_path: Path, on_error: str, what: str, status: int, encoding: str
) -> None:
    """Answered in the app's place with the error's status; or it is absent, and listed."""
    with bench(tmp_path, on_error=on_error, max_file_size=10_000) as app:
        token = app.upload()
        spoil(app, what)
        body = (
            multipart(text("_s3handoff", token), text("a", "1"))
            if encoding == MULTIPART
            else f"a=1&_s3handoff={token}".encode()
        )
        response = app.post(body, encoding)

        if on_error == "raise":
            assert response.status_code == status
            assert len(app.seen) == 1
            assert "Retry-After" in response.headers or what != "unavailable"
        else:
            assert response.status_code == 200
            assert (files_of(app), fields_of(app)) == ([], [("a", "1")])
            assert [
                (e.field, e.filename, e.code) for e in app.last.environ["s3handoff"].errors
            ] == [("avatar", "leo.png", what)]


def spoil(app: Bench, what: str) -> None:
    """Make it impossible to have the file."""
    if what == "expired":
        app.later(90_000)
    elif what == "foreign":
        app.cookies.clear()
    elif what == "too_large":
        object.__setattr__(app.handoff.config, "max_file_size_bytes", 10)
    else:
        app.forget_local_copies()
        errors = {"missing": Missing, "unavailable": Unavailable}
        if what == "corrupt":
            (key,) = app.store.keys()
            bad = b"x" * len(PICTURE)
            digest = hashlib.sha256(bad).hexdigest()
            app.store.put(
                key, BytesIO(bad), size=len(bad), sha256=digest, kind=app.store.kind_of(key)
            )
        else:
            app.store.fail_with(errors[what](), verbs=["fetch"])


def test_a_forged_token_is_only_listed(app: Bench) -> None:
    """Anybody can send one: the app's own view goes on."""
    app.post(multipart(text("_s3handoff", "x.y"), text("a", "1")))

    assert fields_of(app) == [("a", "1")]
    assert [e.code for e in app.last.environ["s3handoff"].errors] == ["forged"]


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_body_with_a_file_is_an_error(app: Bench, case: str) -> None:
    """Rule 3: what one parser would take for a shorter file and another for none is nobody's."""
    content_type, make = MALFORMED[case]
    response = app.post(make(file("avatar", "leo.png", b"picture")), content_type)
    app.close()

    if case in NEEDS_READING:  # no part was found, and so no file
        assert app.last.body == make(file("avatar", "leo.png", b"picture"))
    else:
        assert response.status_code in (400, 413)
        assert app.seen == []
    assert app.store.keys() == []


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_body_with_a_token_is_an_error(app: Bench, case: str) -> None:
    """Rule 5: the app would see a form without its file."""
    content_type, make = MALFORMED[case]
    token = app.upload()
    response = app.post(make(text("_s3handoff", token)), content_type)

    assert response.status_code in (400, 413)
    assert len(app.seen) == 1


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_body_with_neither_is_the_apps_affair(app: Bench, case: str) -> None:
    """It passes as it came: its parser may be the more lenient one."""
    content_type, make = MALFORMED[case]
    app.post(make(text("title", "Leo")), content_type)

    assert app.last.body == make(text("title", "Leo"))


# The tables of test_body.py once more, in front of an app.


@pytest.mark.parametrize(
    ("body", "options"),
    [*MALFORMED_TABLE.values(), *((body, {}) for body in TOO_LARGE.values())],
    ids=[*MALFORMED_TABLE, *TOO_LARGE],
)
def test_a_bad_body_is_refused_or_passes_as_it_came(
    app: Bench, body: bytes, options: dict[str, Any]
) -> None:
    """400 or 413 in the app's place, or the app's own affair; and nothing is stored or left."""
    environ = {name: value for name, value in options.items() if name != "content_type"}
    app.reads = "CONTENT_LENGTH" not in environ
    answer = app.post(body, options.get("content_type", MULTIPART), environ=environ)
    app.close()

    assert answer.status_code in (200, 400, 413)
    assert len(app.seen) == (answer.status_code == 200)
    assert answer.status_code == 200 or app.store.keys() == []
    if app.seen and app.reads:
        assert app.last.body == body


@pytest.mark.parametrize(("body", "files"), ACCEPTED.values(), ids=ACCEPTED)
def test_an_odd_body_is_the_very_bytes_and_its_files_are_stored(
    app: Bench, body: bytes, files: list[tuple[str, str, bytes]]
) -> None:
    """What is odd but clear passes untouched, and each of its files goes to the store whole."""
    app.post(body + END)
    app.close()

    assert app.last.body == body + END
    stored = map(app.store.bytes_of, app.store.keys())
    assert sorted(stored) == sorted(data for _, _, data in files)


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("encoding", [MULTIPART, URLENCODED])
def test_a_bad_token_costs_nothing_and_the_form_arrives(
    app: Bench, name: str, encoding: str
) -> None:
    """B24, B25, B27: the app sees its own fields, and is told."""
    token = GARBAGE[name].encode()
    as_pair = b"_s3handoff=" + quote_from_bytes(token).encode() + b"&a=1"
    body = (
        multipart(text("_s3handoff", token), text("a", "1")) if encoding == MULTIPART else as_pair
    )
    app.post(body, encoding)

    assert [e.code for e in app.last.environ["s3handoff"].errors] == ["forged"]
    assert fields_of(app) == [("a", "1")]
    assert app.store.calls == []


@pytest.mark.parametrize("length", ["abc", "-1", "+5", "5, 5", ""])
def test_b6_a_length_that_is_none_is_the_servers_affair(app: Bench, length: str) -> None:
    """B6: nothing can be read safely, and nothing is."""
    app.reads = False
    app.post(multipart(file("avatar", "leo.png", b"1")), environ={"CONTENT_LENGTH": length})

    assert app.last.environ["CONTENT_LENGTH"] == length
    assert app.store.keys() == []


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
@pytest.mark.parametrize("terminated", [True, False])
def test_b5_a_line_that_broke_is_an_error(app: Bench, content_type: str, terminated: bool) -> None:
    """B5: nobody waits for the answer, and the app must not act on half a form."""
    body = multipart(text("title", "Leo"))
    environ: dict[str, Any] = {"CONTENT_LENGTH": str(len(body) + 9)}
    if terminated:
        environ["wsgi.input_terminated"] = True
    response = app.post(body, content_type, environ=environ)

    assert response.status_code == 400
    assert app.seen == []


def test_b23d_a_compressed_body_passes(app: Bench) -> None:
    """B23d: nobody but the app may know what to do with it."""
    body = b"\x1f\x8b not really"
    app.post(body, environ={"HTTP_CONTENT_ENCODING": "gzip"})

    assert app.last.body == body


@pytest.mark.parametrize(
    ("settings", "parts"), [({"max_file_size": 1000}, 1), ({"max_files": 2}, 3)]
)
def test_the_limits_count_here_too(tmp_path: Path, settings: dict[str, Any], parts: int) -> None:
    """413 before the app runs, and nothing is stored."""
    with bench(tmp_path, **settings) as app:
        response = app.post(multipart(*[file("a", "a.txt", b"x" * (1500 // parts))] * parts))
        app.close()

        assert response.status_code == 413
        assert app.seen == []
        assert app.store.keys() == []


def test_a_huge_urlencoded_form_with_a_token_is_refused(app: Bench) -> None:
    """It would have to be held in memory; without a token it passes."""
    assert app.post(b"_s3handoff=x&a=" + b"x" * (4 << 20), URLENCODED).status_code == 413
    app.post(b"a=" + b"x" * (4 << 20), URLENCODED)

    assert len(app.last.body) == (4 << 20) + 2


def test_a_flood_of_token_bytes_is_refused(app: Bench) -> None:
    """Tokens are all that is held in memory."""
    response = app.post(multipart(*[text("_s3handoff", "x" * 60_000)] * 10))

    assert response.status_code == 413


def test_b34_many_tokens_are_not_all_looked_at(app: Bench) -> None:
    """B34: the store is asked for none of them."""
    app.post(multipart(*[text("_s3handoff", f"x.{n}") for n in range(1000)]))

    codes = [e.code for e in app.last.environ["s3handoff"].errors]
    assert codes == ["too_large", *["forged"] * 20]


# Switched off, or elsewhere


@pytest.mark.parametrize(("content_type", "left"), [(MULTIPART, None), (URLENCODED, b"a=1")])
def test_switched_off_tokens_are_taken_out(
    tmp_path: Path, content_type: str, left: bytes | None
) -> None:
    """The way out: nothing is stored, restored or refused."""
    with bench(tmp_path, enabled=False) as app:
        parts = [text("_s3handoff", "x.y"), file("avatar", "leo.png", PICTURE), text("a", "1")]
        app.post(multipart(*parts) if left is None else b"_s3handoff=x.y&a=1", content_type)

        assert fields_of(app) == [("a", "1")]
        if left is None:
            assert files_of(app) == [("avatar", "leo.png", "image/png", PICTURE)]
        assert (app.last.environ["s3handoff"].files, app.store.calls) == ([], [])


@pytest.mark.parametrize("case", list(MALFORMED))
def test_switched_off_nothing_is_refused(tmp_path: Path, case: str) -> None:
    """A malformed body passes, whatever is in it."""
    content_type, make = MALFORMED[case]
    body = make(file("avatar", "leo.png", b"picture"))
    with bench(tmp_path, enabled=False) as app:
        app.post(body, content_type)
        assert app.last.body == body


@pytest.mark.parametrize(("method", "takes"), [("PUT", True), ("PATCH", True), ("DELETE", False)])
def test_the_methods_that_bring_forms(app: Bench, method: str, takes: bool) -> None:
    """B23g: as werkzeug has them."""
    body = multipart(text("_s3handoff", app.upload()))
    app.send(method, "/", body, MULTIPART)

    assert (len(files_of(app)) == 1) is takes
    assert (app.last.body == body) is not takes


def test_a_local_copy_that_a_cleaner_took_is_fetched_again(app: Bench) -> None:
    """F35: between being found and being opened."""
    body = multipart(text("_s3handoff", app.upload()))
    app.close()
    exchange_of = app.handoff.exchange

    def with_a_cleaner(visit: Any) -> Any:
        exchange = exchange_of(visit)
        find, exchange.local_copy = exchange.local_copy, lambda file: cleaned(find(file))  # type: ignore[method-assign]
        return exchange

    cleaned_paths: list[str] = []

    def cleaned(path: str) -> str:
        if not cleaned_paths:
            os.unlink(path)
            cleaned_paths.append(path)
        return path

    app.handoff.exchange = with_a_cleaner  # type: ignore[method-assign]
    assert app.post(body).status_code == 200

    assert cleaned_paths
    assert files_of(app) == [("avatar", "leo.png", "image/png", PICTURE)]


def test_elsewhere_a_body_is_not_even_read(tmp_path: Path) -> None:
    """Off S3HANDOFF_PATHS the app has the server's own stream."""
    with bench(tmp_path, paths=["/profile/"]) as app:
        app.reads = False
        body = multipart(file("avatar", "leo.png", b"1"))
        stream = Cut(body)
        app.post(body, path="/other", environ={"wsgi.input": stream})
        assert app.last.environ["wsgi.input"] is stream
        assert stream.read(1) == body[:1]

        app.post(multipart(file("avatar", "leo.png", b"1")), path="/profile/edit")
        assert app.last.environ["s3handoff"].get("avatar")


# Names


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a\r\nX-Evil: 1", "image/png"),
        ("a\0b\n", "image/png"),
        ("a", "image/png\r\nX: y"),
        ("a", "é"),
    ],
)
def test_nothing_ends_the_line_of_a_header(name: str, kind: str) -> None:
    """B55, B57: what would break a line is dropped, a type that could is not believed."""
    head = file_head(name, name, kind)

    assert head.count(b"\r\n") == 3
    assert head.count(b"\n") == 3
    assert b"\0" not in head


def test_a_file_that_only_other_parsers_see_is_an_error(app: Bench) -> None:
    """A name that ends with a backslash, as browsers send it: werkzeug finds a text, Django a file."""
    response = app.post(multipart(file("avatar", "x\\", PICTURE)))
    assert response.status_code == 400

    app.post(multipart(text('a; filename=\\"x', "1"), text("b", "; filename=x")))
    assert len(app.seen) == 1


@pytest.mark.parametrize(
    "unit", ['\\"', '";filename="', ';filename="\\', '"', "\\", ";\t", ";filename="]
)
def test_reading_a_name_takes_linear_time(unit: str) -> None:
    """B22: 400 KB of it, which would take minutes otherwise (this test would run into its limit)."""
    headers = Headers(
        {"Content-Disposition": f'form-data; name="a"{unit * (400_000 // len(unit))}'}
    )

    assert faithful_filename(File(name="a", filename="x", headers=headers)) is not None
    assert names_a_file(Field(name="a", headers=headers)) in (True, False)


def test_a_name_of_nothing_but_marks_still_names_a_file(app: Bench) -> None:
    """B53: with an empty name the app would take it for a file that was not chosen."""
    token = app.upload(file("avatar", "\u202e\u200b", PICTURE))
    app.post(multipart(text("_s3handoff", token)))

    assert files_of(app) == [("avatar", "file", "image/png", PICTURE)]


def test_the_errors_of_a_bad_body_are_werkzeugs() -> None:
    """They are answered by calling them: each is a WSGI app."""
    assert issubclass(Missing, HTTPException)
