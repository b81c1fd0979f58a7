"""The only place where a relative path, a key or a URL path is made or judged.

A relative path names a handed-off file on local disk, in the store (after the prefix) and in the
token::

    20261123/k3v9…26 characters…/leo.jpg
    └ day    └ random            └ cleaned name: ASCII, at most 80 characters, suffix kept

Nothing here touches a disk. What is signed is judged again before it is used (threats T1, B31).
"""

from __future__ import annotations

import re
import secrets
import time
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote

from .errors import InvalidKey

TOKEN_FIELD = "_s3handoff"
MAX_NAME_LENGTH = 80
MAX_SUFFIX_LENGTH = 16
MAX_KEY_BYTES = 900  # S3 allows 1,024; SeaweedFS refuses that (reference: components)
MAX_FILENAME_LENGTH = 255
MAX_FIELD_BYTES = 255

_LETTERS = b"abcdefghijklmnopqrstuvwxyz234567" * 8  # one for each byte
_RANDOM_LENGTH = 26  # 26 × 5 bits: nobody guesses one
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}"
_RELPATH = re.compile(rf"[0-9]{{8}}/[a-z2-7]{{{_RANDOM_LENGTH}}}/{_NAME}")
_UNSAFE_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_DOTS = re.compile(r"\.{2,}")
_CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
_DEVICE = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.IGNORECASE)
_BAD_SEGMENT = re.compile(r"\.*|.*[\x00-\x1f\x7f\\\ud800-\udfff].*", re.DOTALL)


def new_relpath(filename: str, *, now: float | None = None) -> str:
    """Make the relative path of a new revision.

    >>> new_relpath("Foto von Leo.JPG", now=0)[9:]  # doctest: +SKIP
    'k3v9…/Foto_von_Leo.JPG'
    """
    day = time.strftime("%Y%m%d", time.gmtime(time.time() if now is None else now))
    return f"{day}/{random_name()}/{clean_name(filename)}"


def random_name() -> str:
    """Return 26 random characters of ``[a-z2-7]``: 130 bits."""
    return secrets.token_bytes(_RANDOM_LENGTH).translate(_LETTERS).decode()


def is_relpath(text: object) -> bool:
    """Tell whether this is exactly a relative path as we make them, and nothing more."""
    return isinstance(text, str) and _RELPATH.fullmatch(text) is not None and ".." not in text


def clean_name(filename: str) -> str:
    """Return an ASCII name for disk and key, with the suffix by which code picks formats.

    >>> clean_name("../../Ünï côdé.PNG")
    'Uni_code.PNG'
    >>> clean_name("con.txt"), clean_name("日本語")
    ('_con.txt', 'file')
    """
    base = re.split(r"[/\\]", filename)[-1]
    ascii_name = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    name = _UNSAFE_NAME.sub("_", ascii_name).strip("._-")
    name = _DOTS.sub(".", name)
    if "." not in name and (lost := re.search(r"\.([A-Za-z0-9]{1,16})$", base.rstrip())):
        name = f"{name or 'file'}.{lost[1]}" if name != lost[1] else f"file.{name}"
    name = f"_{name}" if _DEVICE.fullmatch(name) else name or "file"
    return _DOTS.sub(".", _shortened(name, MAX_NAME_LENGTH))  # the cut may bring two together


def display_name(filename: str) -> str:
    """Return the client's own name without control and direction marks, at most 255 characters.

    >>> display_name("gnp\\u202efdp.exe\\x00")
    'gnpfdp.exe'
    """
    return _shortened(_CONTROL.sub("", filename), MAX_FILENAME_LENGTH)


def _shortened(name: str, most: int) -> str:
    """Cut a name to ``most`` characters, and keep its suffix."""
    stem, dot, suffix = name.rpartition(".")
    if len(name) <= most:
        return name
    if not dot or len(suffix) > MAX_SUFFIX_LENGTH:
        return name[:most]
    return f"{stem[: most - len(suffix) - 1]}.{suffix}"


def suffix_of(relpath: str) -> str:
    """Return the suffix with its dot, or an empty string."""
    name = relpath.rpartition("/")[2]
    stem, dot, suffix = name.rpartition(".")
    return f".{suffix}" if dot and stem else ""


def check_key(key: object) -> str:
    """Return the key of a permanent file, or raise ``InvalidKey``.

    Refused are empty, ``.`` and ``..`` segments, a leading or trailing slash, backslashes and
    control characters: servers and browsers disagree about each of them.
    """
    if not isinstance(key, str) or not key or not _is_encodable(key, MAX_KEY_BYTES):
        raise InvalidKey(f"A key is text of 1 to {MAX_KEY_BYTES} bytes, not {key!r:.100}.")
    if any(_BAD_SEGMENT.fullmatch(segment) for segment in key.split("/")):
        raise InvalidKey(f"{key!r:.100} has an empty, '.' or '..' segment or an unsafe character.")
    return key


def check_prefix(prefix: object) -> str:
    """Return a prefix that ends with a slash, or raise ``InvalidKey``.

    >>> check_prefix("users/1/")
    'users/1/'
    """
    if not isinstance(prefix, str) or not prefix.endswith("/"):
        raise InvalidKey(
            f"A prefix ends with a slash, so 'users/1/' is not 'users/10/': {prefix!r:.100}"
        )
    if prefix.startswith("/"):
        raise InvalidKey(f"A prefix does not begin with a slash: {prefix!r:.100}")
    check_key(prefix[:-1])
    return prefix


def _is_encodable(text: str, most: int) -> bool:
    try:
        return len(text.encode()) <= most
    except UnicodeEncodeError:  # a lone surrogate
        return False


def quoted_path(path: str) -> str:
    """Return a decoded URL path as a browser writes it.

    >>> quoted_path("/profile/léo & co")
    '/profile/l%C3%A9o%20&%20co'
    """
    return quote(path, safe="/:@!$&'()*+,;=~")


def normal_url_path(path: str) -> str:
    """Return a URL path decoded once, with its dot segments resolved, as a router sees it.

    >>> normal_url_path("/profile/%2e%2e/admin")
    '/admin'
    """
    if path.startswith("/") and "." not in path and "%" not in path:
        return path  # as most are
    asked_for = _without_dots(path, unquote)  # a browser resolves `%2e`, and cuts at no `%2f`
    return _without_dots(unquote(asked_for), str)


def _without_dots(path: str, read: Callable[[str], str]) -> str:
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if read(segment) == "..":
            del segments[-1:]
        elif read(segment) != ".":
            segments.append(segment)
    tail = "/" if path.endswith(("/.", "/..")) and segments and segments[-1] else ""
    return "/" + "/".join(segments) + tail


def resolve_url_path(base_path: str, reference: str) -> str:
    """Return the path that a same-origin URL reference means on the page at ``base_path``.

    >>> resolve_url_path("/profile/edit", "../save?x=1#top")
    '/save'
    """
    if not reference:
        return normal_url_path(base_path)
    path = re.split(r"[?#]", reference, maxsplit=1)[0]
    if absolute := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*", path):
        path = path[absolute.end() :] or "/"
    if not path:
        return normal_url_path(base_path)
    if not path.startswith("/"):
        path = base_path.rpartition("/")[0] + "/" + path
    return normal_url_path(path)


def is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    """Tell whether a URL path lies on one of the prefixes: ``/a`` covers ``/a`` and ``/a/b``.

    >>> is_below("/profile/edit", ("/profile",)), is_below("/profiles", ("/profile",))
    (True, False)
    """
    for prefix in prefixes:
        stem = prefix.rstrip("/")
        if path == stem or path.startswith(stem + "/"):
            return True
    return False
