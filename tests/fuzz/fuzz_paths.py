"""Any text as a file name, a key, a URL: nothing leaves the place that is meant for it.

URLs are judged by ada, which resolves them as browsers do: what we call ours stays on our origin,
and lies on the path on which we think it lies.
"""

from __future__ import annotations

import os
import posixpath

import ada_url

from flask_s3handoff.dirstore import DirStore
from flask_s3handoff.errors import InvalidKey
from flask_s3handoff.origins import clean_url, is_own_url
from flask_s3handoff.paths import (
    MAX_FILENAME_LENGTH,
    MAX_KEY_BYTES,
    MAX_NAME_LENGTH,
    check_key,
    check_prefix,
    clean_name,
    display_name,
    is_below,
    is_relpath,
    new_relpath,
    normal_url_path,
    resolve_url_path,
    suffix_of,
)
from flask_s3handoff.store import kind_of

from .choices import Choices

ORIGIN = "https://app.example"
PAGE = "/profile/edit"
FOLDER = "/srv/store"
STORE = DirStore(FOLDER)
DEVICES = {
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{name}{n}" for name in ("COM", "LPT") for n in range(10)),
}
PIECES = (
    "", "/", "..", ".", "//", "\\", "~", "%", "%2e", "%2f", "%5c", "%00", "a", "b.png", ".htaccess", "-rf", "CON", "con.", "nul", "com1.txt",
    "\0", "\n", "\r", "\t", " ", "\u202e", "\u2028", "\ufeff", "é", "e\u0301", "日本", "😀", "\ud800", "ＣＯＮ", "／", "․․", "x" * 90, "y" * 300,
    "http:", "https:", "javascript:", "https://app.example", "https://evil.example", "evil.example", "app.example", "@", ":", ":443", ":8443",
    "?", "#", "&", "=", ";", "\x01", "\x7f", "\xa0", "\x85", "+", "_s3handoff", ".tar.gz", ".JPEG", '"', "'", "[", "]", "%zz", "%c3%a9", "%ff",
)  # fmt: skip


def check(data: bytes) -> None:
    """Judge one input; ``AssertionError`` and any other exception is a find."""
    choices = Choices(data)
    judge = choices.one_of(JUDGES)
    judge(text_of(choices))


def text_of(choices: Choices) -> str:
    """Return text made of pieces, or of any bytes."""
    if choices.number(1):
        return choices.rest().decode("utf-8", "replace")
    pieces = []
    while not choices.is_over:
        pieces.append(choices.one_of(PIECES))
    return "".join(pieces)


def _name(name: str) -> None:
    """A client's name decides about no path, and never ends a line of a header (B41–B62)."""
    relpath = new_relpath(name)
    last = relpath.rpartition("/")[2]
    assert is_relpath(relpath)
    assert posixpath.normpath(relpath) == relpath
    assert os.path.normpath(os.path.join(FOLDER, relpath)).startswith(FOLDER + "/2")
    assert last == clean_name(name)
    assert clean_name(last).rstrip("._-") == last.rstrip("._-"), "a clean name stays what it is"
    assert last.isascii()
    assert len(last) <= MAX_NAME_LENGTH
    assert last.partition(".")[0].upper() not in DEVICES
    assert suffix_of(relpath) in ("", last[-len(suffix_of(relpath)) :])
    shown = display_name(name)
    assert len(shown) <= MAX_FILENAME_LENGTH
    assert display_name(shown) == shown
    assert not set(shown) & set("\0\r\n\x7f\x85\u2028\u202e\ufeff")
    kind = kind_of(name, "image/png")
    assert kind.disposition.isascii()
    assert kind.disposition.isprintable()


def _key(key: str) -> None:
    """A key is refused, or lies below its place for S3, for a disk and for a browser alike."""
    for text in (key, f"users/{key}", f"{key}/"):
        try:
            taken = check_key(text)
        except InvalidKey:
            continue
        assert taken == text
        assert len(text.encode()) <= MAX_KEY_BYTES
        assert posixpath.normpath(text) == text
        assert not text.startswith("/")
        spot = STORE._spot(text)
        assert os.path.normpath(spot.record_path) == spot.record_path
        assert spot.record_path.startswith(FOLDER + "/")
        assert max(len(name.encode()) for name in spot.record_path.split("/")) <= 255
        check_prefix(f"{text}/")


def _url(reference: str) -> None:
    """What we call our own, a browser takes to our own origin, on the path that we think of."""
    for page_origin in (ORIGIN, "http://app.example"):
        if not is_own_url(reference, own_origin=page_origin):
            continue
        try:
            there = ada_url.URL(reference, page_origin + PAGE)
        except (ValueError, UnicodeEncodeError):  # a browser sends nothing
            continue
        assert there.origin == page_origin, f"{reference!r} leads to {there.origin}"
        ours = resolve_url_path(PAGE, clean_url(reference))
        theirs = normal_url_path(there.pathname)
        assert ours.rstrip("/") == theirs.rstrip("/"), (reference, ours, theirs)
        assert is_below(ours, (theirs,))


JUDGES = (_name, _key, _url)
