"""Kinds: what a browser will be told about a stored file, whatever the client said of it."""

from __future__ import annotations

from email.message import Message
from email.utils import collapse_rfc2231_value

import pytest
from werkzeug.http import parse_options_header

from flask_s3handoff.store import MAX_ENCODED_NAME_LENGTH, OCTET_STREAM, kind_of


def names_in(disposition: str) -> list[str]:
    """What two independent parsers read as the file name: the mail package's and werkzeug's.

    Of a plain and an encoded name the encoded one counts (RFC 6266, 4.3).
    """
    message = Message()
    message["Content-Disposition"] = disposition
    said = message.get_params(header="content-disposition") or []
    assert {name for name, _ in said[1:]} == {"filename"}
    _, options = parse_options_header(disposition)
    assert set(options) == {"filename"}
    return [collapse_rfc2231_value(said[-1][1]), options["filename"]]


@pytest.mark.parametrize(
    "name",
    [
        "leo.png",
        "my holiday (2).jpg",
        'a"b.png',  # B54
        "a;b.png",
        "a%0d%0aX: y.png",
        "a%41.png",
        "a'b.png",
        "é.png",
        "e\u0301.png",  # B50
        "日本語.png",  # B52
        "😀",
        "ＣＯＮ.txt",  # B51
        ".htaccess",  # B44
        "-rf",
        "$(id).png",
        "filename=x; filename*=y",
    ],
)
def test_b54_names_come_back_as_they_were(name: str) -> None:
    """One name, whichever parser reads it (B54)."""
    disposition = kind_of(name, "image/png").disposition
    assert names_in(disposition) == [name, name]
    assert disposition.isascii()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("a\r\nX-Evil: 1", "aX-Evil: 1"),  # B55
        ("a\r\n X", "a X"),
        ("a\rb\nc\0d\x7fe", "abcde"),
        ("gnp\u202efdp.exe", "gnpfdp.exe"),  # B53
        ("../../etc/passwd", "passwd"),  # B41
        ("..\\..\\x.png", "x.png"),
        ("dir/sub/x.png", "x.png"),  # B61
        ("", "file"),
        ("/", "file"),
        ("  ", "file"),
    ],
)
def test_b55_names_are_made_safe(given: str, kept: str) -> None:
    """No control character, no folder, never nothing."""
    disposition = kind_of(given, "image/png").disposition
    assert names_in(disposition) == [kept, kept]
    assert disposition.isprintable()


@pytest.mark.parametrize("letter", ["a", "ü", "日", "😀", '"', "%"])
def test_b49_long_names_fit_into_what_s3_keeps(letter: str) -> None:
    """S3 refuses more than 2 KB of headers; the suffix stays (B49)."""
    disposition = kind_of(letter * 300 + ".jpeg", "image/jpeg").disposition
    assert len(disposition) < MAX_ENCODED_NAME_LENGTH + 300
    for name in names_in(disposition):
        assert name.endswith(letter + ".jpeg")
        assert len(name) > 60


@pytest.mark.parametrize(
    "said", ["image/png", "IMAGE/PNG", " image/png ", "IMAGE/PNG ; q=1", "image/png;charset=x"]
)
def test_b57_pictures_are_shown(said: str) -> None:
    """Raster types, whatever their spelling, are stored by our spelling (B57)."""
    kind = kind_of("leo.png", said)
    assert kind.content_type == "image/png"
    assert kind.disposition.startswith("inline; ")


@pytest.mark.parametrize(
    "said",
    [
        "image/svg+xml",  # B56
        "text/html",
        "text/html;image/png",  # B57
        "image/png, text/html",
        "image/png\r\nX: y",
        "image/pngx",
        "xximage/png",
        "*/*",
        "image/*",
        "",
        "image/png" * 2000,
        "application/pdf",
    ],
)
def test_b56_b57_all_else_is_a_download_of_no_type(said: str) -> None:
    """What could run in a browser, or claims two things, is only ever saved (T25)."""
    kind = kind_of("leo.png", said)
    assert kind.content_type == OCTET_STREAM
    assert kind.disposition.startswith("attachment; ")


@pytest.mark.parametrize("name", ["x.html", "x.svg", "x.exe", "x.png.html", "x.PHP"])
def test_b56_a_picture_by_another_name_is_a_download(name: str) -> None:
    """`x.html` that says image/png would open as a page once it is saved (B56)."""
    assert kind_of(name, "image/png").content_type == OCTET_STREAM


@pytest.mark.parametrize("name", ["leo.png", "leo.JPG", "leo", "leo.jfif"])
def test_a_picture_whose_suffix_is_another_pictures_is_shown(name: str) -> None:
    """Apps save a PNG under the name that the JPEG had."""
    assert kind_of(name, "image/png").content_type == "image/png"
