"""B41–B62: what each framework's own parser reads of a file that came back is what was uploaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import bottle
import pytest
from django.core.handlers.wsgi import WSGIRequest

from tests.wsgi_bench import (
    MULTIPART,
    PICTURE,
    URLENCODED,
    Bench,
    Seen,
    bench,
    file,
    multipart,
    text,
)

from .django_app import configure


class Read(NamedTuple):
    """A file as a framework gives it to its app."""

    field: str
    name: str | None
    content_type: str | None
    data: bytes


def environ_of(seen: Seen) -> dict[str, Any]:
    """Return the environ of a request again, unread."""
    caches = ("werkzeug.", "bottle.")
    environ = {k: v for k, v in seen.environ.items() if not k.startswith(caches)}
    return environ | {"wsgi.input": BytesIO(seen.body)}


def by_werkzeug(seen: Seen) -> list[Read]:
    """Read as Flask does."""
    with seen.request as request:
        return [
            Read(field, f.filename, f.content_type, f.read())
            for field, f in request.files.items(multi=True)
        ]


def by_django(seen: Seen) -> list[Read]:
    """Read as Django does; it gives base names only."""
    configure()
    with closing(WSGIRequest(environ_of(seen))) as request:
        return [
            Read(field, f.name, f.content_type, f.read())
            for field in request.FILES
            for f in request.FILES.getlist(field)
        ]


def by_bottle(seen: Seen) -> list[Read]:
    """Read as Bottle does; its ``filename`` is what an app may use on its disk."""
    files = bottle.LocalRequest(environ_of(seen)).files
    return [Read(field, f.filename, f.content_type, f.file.read()) for field, f in files.allitems()]


PARSERS: dict[str, Callable[[Seen], list[Read]]] = {
    "werkzeug": by_werkzeug,
    "django": by_django,
    "bottle": by_bottle,
}
# As they stand in the header: browsers escape nothing but quotes, and those as %22.
NAMES = {
    "B41 up": "../../etc/passwd",
    "B41 up, backslashes": r"..\..\x",
    "B41 absolute": "/etc/passwd",
    "B41 share": "//host/share/x",
    "B41 device": r"\\?\C:\x",
    "B42 fakepath": r"C:\fakepath\x.png",
    "B44 dot": ".",
    "B44 dots": "...",
    "B44 space": " ",
    "B44 hidden": ".htaccess",
    "B44 option": "-rf",
    "B44 shell": "$(id).png",
    "B44 backticks": "`id`.png",
    "B44 semicolon first": ";x",
    "B44 entity": "&#124;x",
    "B48 CON": "CON",
    "B48 superscript": "COM¹.txt",
    "B48 aux": "aux.tar.gz",
    "B50 combining": "e\u0301.png",
    "B50 composed": "é.png",
    "B51 full width": "ＣＯＮ.txt",
    "B51 slashes": "..／..／etc",
    "B52 Japanese": "日本語.png",
    "B52 emoji": "😀",
    "B54 quote": "a%22b.png",
    "B54 escaped quote": r"a\"b.png",
    "B54 backslash": r"a\b",
    "B54 two backslashes": r"a\\b",
    "B54 semicolon": "a;b; name=c.png",
    "B54 percent": "a%0d%0aX: y",
    "B54 equals": "a=b",
    "B54 comma": "a, b",
    "B54 apostrophe": "a'b",
    "B54 encoded word": "=?utf-8?q?x?=",
    "B60 a boundary": "--Q",
    "B61 folder": "dir/sub/x.png",
    "B62 our field": "_s3handoff",
}
# Where a framework misreads the upload itself, it reads rightly what comes back.
MENDED = {
    ("B41 up, backslashes", "werkzeug"): r"..\..\x",
    ("B41 device", "werkzeug"): r"\?\C:\x",
    ("B42 fakepath", "werkzeug"): r"C:\fakepath\x.png",
    ("B54 backslash", "werkzeug"): r"a\b",
    ("B54 quote", "django"): 'a"b.png',
    ("B54 quote", "bottle"): "ab.png",
}
# What is not shown to people is taken out (B43, B53), and no name is endless (B49).
CLEANED = {
    "B43 NUL": ("a.php\0.png", "a.php.png"),
    "B53 direction": ("gnp\u202efdp.exe", "gnpfdp.exe"),
    "B53 zero width": ("a\u200bb\u2028.png", "ab.png"),
    "B49 long": ("x" * 5000 + ".png", "x" * 251 + ".png"),
    "B49 emoji": (
        "😀" * 300,
        "😀" * 255,
    ),  # which Django takes for too many headers, at once and later
    "a tab": ("a\tb", "ab"),
}
TYPES = {
    "B56 svg": "image/svg+xml",
    "B56 html": "text/html",
    "B57 parameters": 'text/plain; charset="utf-8"; x=y',
    "B57 capitals": "IMAGE/PNG",
    "B57 anything": "*/*",
}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Bench]:
    """A middleware and its app."""
    with bench(tmp_path) as made:
        yield made


def there_and_back(app: Bench, part: bytes, content_type: str) -> tuple[Seen, Seen]:
    """Return what the app saw of the upload, and of the file that came back."""
    token = app.upload(part)
    uploaded = app.last
    back = multipart(text("_s3handoff", token), text("a", "1"))
    app.post(
        back if content_type == MULTIPART else f"_s3handoff={token}&a=1".encode(), content_type
    )
    return uploaded, app.last


@pytest.mark.parametrize("content_type", [MULTIPART, URLENCODED])
@pytest.mark.parametrize("case", NAMES)
def test_a_name_comes_back_as_it_was_read(app: Bench, case: str, content_type: str) -> None:
    """By werkzeug's, Django's and Bottle's parser alike; field, type and bytes as well."""
    part = file("avatar", NAMES[case], PICTURE)
    uploaded, back = there_and_back(app, part, content_type)

    for parser, read in PARSERS.items():
        expected = read(uploaded)
        if mended := MENDED.get((case, parser)):
            assert expected[0].name != mended, (
                "it reads that rightly by now: take it out of the list"
            )
            expected = [expected[0]._replace(name=mended)]
        assert read(back) == expected, parser


@pytest.mark.parametrize("case", CLEANED)
def test_a_name_comes_back_without_its_tricks(app: Bench, case: str) -> None:
    """Each parser reads the name that our own messages show."""
    name, shown = CLEANED[case]
    _, back = there_and_back(app, file("avatar", name, PICTURE), MULTIPART)

    assert by_werkzeug(back) == [Read("avatar", shown, "image/png", PICTURE)]
    if case != "B49 emoji":
        assert by_django(back)[0].name == shown
    assert by_bottle(back)[0].data == PICTURE


@pytest.mark.parametrize("case", TYPES)
def test_a_type_comes_back_as_it_was_read(app: Bench, case: str) -> None:
    """The app's own check of it decides the same."""
    uploaded, back = there_and_back(app, file("avatar", "x", PICTURE, TYPES[case]), MULTIPART)

    for parser, read in PARSERS.items():
        assert read(back)[0].content_type == read(uploaded)[0].content_type, parser


@pytest.mark.parametrize("field", ["ava tar", "a'b", "é", "a[]", "a.b", "日本", "a=b", "a%22b"])
def test_a_field_comes_back_as_it_was_read(app: Bench, field: str) -> None:
    """B14, B54 for names of fields."""
    uploaded, back = there_and_back(app, file(field, "x.png", PICTURE), MULTIPART)

    assert by_werkzeug(back) == by_werkzeug(uploaded)
    if field != "a%22b":  # which Django and Bottle misread in the upload
        assert by_django(back) == by_django(uploaded)
        assert by_bottle(back) == by_bottle(uploaded)


@pytest.mark.parametrize(
    "text_bytes", [b"", b"\r\n", b"\xff\xfe", "日本".encode(), b"--B\r\n", b"a&b=c"]
)
def test_texts_beside_a_file_are_read_the_same(app: Bench, text_bytes: bytes) -> None:
    """By each parser, whichever way the form came."""
    token = app.upload()
    app.post(
        multipart(text("a", text_bytes), boundary=b"Z", end=b"--Z--\r\n"), f"{MULTIPART[:-1]}Z"
    )
    expected = texts_of(app.last)
    for body, kind in (
        (
            multipart(
                text("_s3handoff", token), text("a", text_bytes), boundary=b"Z", end=b"--Z--\r\n"
            ),
            f"{MULTIPART[:-1]}Z",
        ),
        (
            b"a="
            + b"".join(b"%%%02x" % byte for byte in text_bytes)
            + f"&_s3handoff={token}".encode(),
            URLENCODED,
        ),
    ):
        app.post(body, kind)
        assert texts_of(app.last) == expected
        assert len(by_django(app.last)) == 1


def texts_of(seen: Seen) -> list[str]:
    """Return the text ``a`` as each framework reads it; Bottle fails where it is no UTF-8."""
    configure()
    with seen.request as request, closing(WSGIRequest(environ_of(seen))) as django_request:
        found: list[str] = [request.form["a"], django_request.POST["a"]]
    return (
        found if "\ufffd" in found[0] else [*found, bottle.LocalRequest(environ_of(seen)).POST["a"]]
    )
