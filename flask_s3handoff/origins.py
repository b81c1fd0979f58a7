"""Whose address is it? The one judge of URLs that a token may be sent to.

It is an accept-list: what is not plainly ours is not ours. ``urllib`` says "same host" for
``/\\evil`` and ``https:///evil``, where browsers go to evil (threats 0.3; CVE-2021-32618).
"""

from __future__ import annotations

import re
from collections.abc import Collection

from .paths import normal_url_path, resolve_url_path

_C0_AND_SPACE = "".join(map(chr, range(0x21)))
_TAB_AND_NEWLINES = dict.fromkeys(map(ord, "\t\n\r"))
_UNCLEAN = re.compile("[\x00-\x1f\x7f\ufffd\ud800-\udfff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]*[a-z0-9])(?::([0-9]{1,5}))?(?=[/?#]|\Z)", re.A | re.I)
_DEFAULT_PORTS = {"http": 80, "https": 443}


def is_own_url(
    url: str, *, trusted_origins: Collection[str] = (), own_origin: str | None = None
) -> bool:
    """Tell whether a URL reference in our page, or in our ``Location``, stays with us.

    An absolute one does when its origin is ``own_origin`` (None: not known) or a trusted one.

    >>> is_own_url("../save?x=1"), is_own_url("/\\\\evil.example"), is_own_url("https:evil")
    (True, False, False)
    """
    url = clean_url(url)
    if _UNCLEAN.search(url) or "\\" in re.split("[?#]", url, maxsplit=1)[0]:
        return False
    if not _SCHEME.match(url):
        return not url.startswith("//")
    origin = _origin(url)
    return origin is not None and origin in map(_origin, (own_origin or "", *trusted_origins))


def clean_url(url: str) -> str:
    r"""Take away what browsers ignore: spaces around a URL, tabs and newlines in it (H37).

    >>> clean_url(" \t/sa\nve ")
    '/save'
    """
    return url.strip(_C0_AND_SPACE).translate(_TAB_AND_NEWLINES)


def path_in_app(reference: str, page: str, script_root: str) -> str | None:
    """Return the path within an app that a URL of its page means, or None if that is elsewhere.

    >>> path_in_app("../save?x=1", "/shop/cart/", "/shop")
    '/save'
    """
    path = resolve_url_path(page, clean_url(reference))
    root = normal_url_path(script_root).rstrip("/")
    inside = path == root or path.startswith(root + "/")
    return (path[len(root) :] or "/") if inside else None


def _origin(url: str) -> tuple[str, str, int] | None:
    found = _ORIGIN.match(url)
    if not found:
        return None
    scheme = found[1].lower()
    return scheme, found[2].lower(), int(found[3] or _DEFAULT_PORTS[scheme])
