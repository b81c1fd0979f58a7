"""What every face does when a request arrives: hide its token from the app, and tell who asks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from werkzeug.exceptions import SecurityError
from werkzeug.wrappers import Request

from .binding import binding_cookies
from .leaving import take_query_token
from .paths import TOKEN_FIELD, quoted_path
from .visit import Rooms, Visit

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

log = logging.getLogger("flask_s3handoff")

QUERY_TOKEN_KEY = "s3handoff.query_token"
_PAGES = ("HTTP_REFERER", "HTTP_HX_CURRENT_URL")  # `redirect(request.referrer)`, and htmx's
_PLAIN_HTTP = "plain http behind https"


def hide_query_token(environ: WSGIEnvironment) -> None:
    """Take the token out of the URL and the referrer, so that neither the app nor a log shows it.

    It is kept for GET and HEAD, under ``QUERY_TOKEN_KEY``; elsewhere it means nothing (B37).
    """
    if "QUERY_STRING" in environ and TOKEN_FIELD in environ["QUERY_STRING"]:
        _take_query_token(environ)
    for name in _PAGES:
        if name in environ and TOKEN_FIELD in environ[name]:
            environ[name] = _without_token(environ[name])


def _take_query_token(environ: WSGIEnvironment) -> None:
    environ["QUERY_STRING"], token = take_query_token(environ["QUERY_STRING"])
    for name in ("REQUEST_URI", "RAW_URI"):
        if name in environ:
            environ[name] = _without_token(environ[name])
    if token and environ["REQUEST_METHOD"] in ("GET", "HEAD"):
        environ[QUERY_TOKEN_KEY] = token


def _without_token(url: str) -> str:
    path, mark, query = url.partition("?")
    kept, _ = take_query_token(query)
    return f"{path}{mark}{kept}" if kept else path


def visit_of(
    request: Request,
    rooms: Rooms,
    *,
    endpoint: str,
    principal: Callable[[], object],
    eager: bool = False,
) -> Visit:
    """Tell about a request: where it goes, from which browser, for which user.

    ``endpoint`` is what a warning is about; ``principal`` gives the user's id, or ``None``.
    """
    _warn_of_plain_http(request, rooms)
    secure = rooms.config.cookie_secure
    return Visit(
        method=request.method,
        path=quoted_path(request.root_path + request.path),
        script_root=quoted_path(request.root_path),
        origin=lambda: _origin_of(request),
        secure=request.is_secure if secure is None else secure,
        cookies=binding_cookies(request.environ.get("HTTP_COOKIE", "")),
        endpoint=endpoint,
        principal=lambda: _text_or_none(principal()),
        eager=eager,
    )


def _origin_of(request: Request) -> str:
    """Return the origin that the browser asked, or nothing when its host is not a trusted one."""
    try:
        return request.host_url.rstrip("/")
    except (SecurityError, ValueError):  # not trusted (T41), or no host at all; the app answers
        return ""


def _text_or_none(principal: object) -> str | None:
    return None if principal is None else str(principal)


def _warn_of_plain_http(request: Request, rooms: Rooms) -> None:
    forwarded = request.environ.get("HTTP_X_FORWARDED_PROTO", "")
    if forwarded == "https" and not request.is_secure and _PLAIN_HTTP not in rooms.warned:
        rooms.warned.add(_PLAIN_HTTP)
        log.warning(
            "X-Forwarded-Proto says https, but the request looks plain: put werkzeug's ProxyFix"
            " around the app, or set S3HANDOFF_COOKIE_SECURE=True"
        )
