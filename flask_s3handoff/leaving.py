"""What is carried, written into the response: in the forms of a page, or across a redirect.

The app's response is never changed, because it may be shared: whatever carries is a new one. Every
"no" stands first, in ``_cannot_hold_forms`` and ``_redirect_target`` (threats H72–H82, B85–B87).
"""

from __future__ import annotations

import copy
import itertools
import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from werkzeug.datastructures import Headers
from werkzeug.http import dump_cookie
from werkzeug.wrappers import Response

from .binding import Cookie
from .exchange import Exchange
from .files import HandoffFile
from .origins import is_own_url, path_in_app
from .paths import TOKEN_FIELD, is_below

if TYPE_CHECKING:
    from .forms import Form

log = logging.getLogger("flask_s3handoff")

MAX_STREAM_BYTES = 1 << 20
MAX_STREAM_SECONDS = 0.25
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_WITHOUT_PAGE = frozenset({204, 205, 206, 304})
_VALIDATORS = frozenset((
    "etag", "last-modified", "content-md5", "digest", "repr-digest", "content-digest",
    "accept-ranges",
))  # fmt: skip
_FOR_CACHES = frozenset((
    "expires", "surrogate-control", "surrogate-key", "cdn-cache-control",
    "cloudflare-cdn-cache-control", "x-accel-expires",
))  # fmt: skip


def leave(exchange: Exchange, response: Response) -> Response:
    """Return the response that carries this exchange's files on, or the response as it is.

    Raises ``Unavailable`` when what must be carried could not be stored in time (rule 1).
    """
    method = exchange.visit.method
    if exchange.unread is not None and may_carry(method, response):
        raise exchange.unread  # a page without its files would lose them silently (rule 5)
    if response.status_code >= 500:
        exchange.drop_edits()
    files = exchange.carried_files()
    carries = bool(files or exchange.carriage.kept) and not exchange.forgets
    left = _carry(exchange, response, files) if carries else response
    if carries and not exchange.token_given and not _is_sent_again(method, response):
        _warn_once(exchange, response)
    private = _is_private(exchange)
    if not private and not exchange.forgets:
        return left
    left = _copy_of(response) if left is response else left
    cookies = exchange.leaving_cookies()
    _set_cookies(left, cookies)
    return _made_private(left, varies=not cookies) if private else left


def kept_private(exchange: Exchange, response: Response) -> Response:
    """Return the response as private as it left us: an ``after_request`` may have loosened that."""
    if not _is_private(exchange):
        return response
    loosened = "private" not in response.headers.get("Cache-Control", "") or any(
        name in response.headers for name in _FOR_CACHES
    )
    return _made_private(_copy_of(response), varies=False) if loosened else response


def _is_private(exchange: Exchange) -> bool:
    """Tell whether a token is in the response, or in the URL that it answers (T14, T15)."""
    return exchange.token_given or exchange.by_redirect


def with_timing(exchange: Exchange, response: Response, seconds: float) -> Response:
    """Return a response that tells a browser's developer tools what leaving took, and the store."""
    left, waited = _copy_of(response), exchange.patience.waited_seconds
    said = f"s3handoff;dur={seconds * 1000:.1f}, store;dur={waited * 1000:.1f}"
    left.headers.add("Server-Timing", said)
    return left


def may_carry(method: str, response: Response) -> bool:
    """Tell whether a response is of a kind that can carry, before anything is read for it."""
    if response.status_code in REDIRECTS:
        return redirects_alone(method, response.status_code)
    return _is_html(response)


def _is_html(response: Response) -> bool:
    return (response.mimetype or "").lower() == "text/html"


def redirects_alone(method: str, status: int) -> bool:
    """Tell whether a browser goes on by GET, so that the URL is all that it brings (B87)."""
    return status in (302, 303) or method in ("GET", "HEAD")


def _is_sent_again(method: str, response: Response) -> bool:
    """Tell whether the browser sends this body, and so the file, again itself."""
    return response.status_code in (307, 308) and method not in ("GET", "HEAD")


def _carry(exchange: Exchange, response: Response, files: Sequence[HandoffFile]) -> Response:
    if not _on_our_paths(exchange, ""):
        return response
    if response.status_code in REDIRECTS:
        return _carry_across_redirect(exchange, response, files)
    return _carry_in_page(exchange, response, files)


def _on_our_paths(exchange: Exchange, reference: str) -> bool:
    """Tell whether a URL of this page (``""``: itself) lies in our app, on ``S3HANDOFF_PATHS``."""
    path = path_in_app(reference, exchange.visit.path, exchange.visit.script_root)
    return path is not None and is_below(path, exchange.rooms.config.paths)


def _carry_across_redirect(
    exchange: Exchange, response: Response, files: Sequence[HandoffFile]
) -> Response:
    target = _redirect_target(exchange, response)
    if target is None:
        return response
    left = _copy_of(response)
    left.headers["Location"] = with_query_token(target, exchange.query_token(files))
    return left


def _redirect_target(exchange: Exchange, response: Response) -> str | None:
    """Return the URL that may be given a token, or ``None``."""
    location = response.headers.get("Location")
    config, visit = exchange.rooms.config, exchange.visit
    if not config.redirects or not location:
        return None
    if not redirects_alone(visit.method, response.status_code):
        return None
    if not is_own_url(location, trusted_origins=config.trusted_origins, own_origin=visit.origin()):
        return None
    return location if _on_our_paths(exchange, location) else None


def with_query_token(url: str, token: str) -> str:
    """Return the URL with this token in its query, in place of an older one.

    >>> with_query_token("/crop?size=2#top", "TOKEN")
    '/crop?size=2&_s3handoff=TOKEN#top'
    """
    url, hash_sign, fragment = url.partition("#")
    path, _, query = url.partition("?")
    kept = [pair for pair in query.split("&") if pair and not _is_token(pair)]
    return f"{path}?{'&'.join([*kept, f'{TOKEN_FIELD}={token}'])}{hash_sign}{fragment}"


def take_query_token(query: str) -> tuple[str, str | None]:
    """Split a query string into what is the app's and the token that is ours.

    >>> take_query_token("size=2&_s3handoff=TOKEN")
    ('size=2', 'TOKEN')
    """
    pairs = query.split("&")
    tokens = [pair.partition("=")[2] for pair in pairs if _is_token(pair)]
    return "&".join(p for p in pairs if not _is_token(p)), tokens[-1] if tokens else None


def _is_token(pair: str) -> bool:
    return pair.partition("=")[0] == TOKEN_FIELD


def _carry_in_page(
    exchange: Exchange, response: Response, files: Sequence[HandoffFile]
) -> Response:
    if exchange.rooms.config.inject == "off" or _cannot_hold_forms(exchange, response):
        return response
    from . import forms  # a third of what importing us takes waits for the first page

    chunks, is_whole, rest = _read_ahead(response, forms.MAX_PAGE_BYTES)
    page = b"".join(chunks)
    additions = _additions(exchange, response, page, files) if is_whole else []
    if additions:
        left = _copy_of(response)
        left.set_data(forms.splice(page, additions))
        return left
    return response if response.is_sequence else _copy_of(response, itertools.chain([page], rest))


def _cannot_hold_forms(exchange: Exchange, response: Response) -> bool:
    """List every reason to leave a response alone."""
    disposition = response.headers.get("Content-Disposition", "")
    return (
        exchange.visit.method == "HEAD"
        or response.status_code < 200
        or response.status_code in _WITHOUT_PAGE
        or response.direct_passthrough
        or not _is_html(response)
        or len(response.headers.getlist("Content-Type")) != 1
        or "Content-Encoding" in response.headers
        or disposition.lower().lstrip().startswith("attachment")
    )


def _read_ahead(response: Response, most_bytes: int) -> tuple[list[bytes], bool, Iterable[bytes]]:
    """Read a whole page, because a later ``<base>`` changes the answer for an earlier form.

    A stream is read for at most 1 MiB or 250 ms (judged between its chunks); what is left of it is
    returned to be let through as it is.
    """
    source, began = response.iter_encoded(), time.monotonic()
    most = most_bytes if response.is_sequence else MAX_STREAM_BYTES
    chunks: list[bytes] = []
    size = 0
    for chunk in source:
        chunks.append(chunk)
        size += len(chunk)
        late = not response.is_sequence and time.monotonic() - began > MAX_STREAM_SECONDS
        if size > most or late:
            return chunks, False, source
    return chunks, True, ()


def _additions(
    exchange: Exchange, response: Response, page: bytes, files: Sequence[HandoffFile]
) -> list[tuple[int, bytes]]:
    """Return the bytes to add to this page, with their offsets."""
    from .forms import charset_of, eligible_forms, hidden_input

    charset = charset_of(response.headers.get("Content-Type", ""))
    origins = exchange.rooms.config.trusted_origins
    inputs: dict[tuple[str, ...], bytes] = {}
    additions: list[tuple[int, bytes]] = []
    for form in eligible_forms(page, charset=charset, trusted_origins=origins):
        chosen = _files_for(exchange, form, files)
        if chosen is None or not (chosen or exchange.carriage.kept):
            continue
        which = tuple(file.relpath for file in chosen)
        if which not in inputs:
            inputs[which] = hidden_input(exchange.token(chosen))
        additions.append((form.insert_at, inputs[which]))
        additions += _lifted_requirements(form, chosen)
    return additions


def _files_for(
    exchange: Exchange, form: Form, files: Sequence[HandoffFile]
) -> Sequence[HandoffFile] | None:
    """Choose what one form carries (DESIGN 3, "what is carried, and how far"); None: not ours."""
    if not form.is_wanted(exchange.rooms.config.inject):
        return None
    if not _on_our_paths(exchange, form.action or ""):
        return None
    if not exchange.by_redirect:
        return files
    starts_afresh = {file_input.name for file_input in form.file_inputs}
    return [file for file in files if file.field not in starts_afresh]


def _lifted_requirements(form: Form, files: Sequence[HandoffFile]) -> list[tuple[int, bytes]]:
    """Let the browser submit an empty ``required`` input whose file is carried (H64)."""
    from .forms import REQUIRED_MARK

    carried = {file.field for file in files}
    return [
        (file_input.required_at, REQUIRED_MARK)
        for file_input in form.file_inputs
        if file_input.required_at is not None and file_input.name in carried
    ]


def _copy_of(response: Response, body: Iterable[bytes] | None = None) -> Response:
    """Return a new response of the same class; closing it closes the one it was made from, once."""
    left = copy.copy(response)
    if body is None and not response.is_sequence and not response.direct_passthrough:
        body = response.iter_encoded()  # its `close` is not the app's (H82)
    vars(left).update(vars(Response(response.response if body is None else body)))
    left.status = response.status
    left.headers = Headers(response.headers)
    left.direct_passthrough = response.direct_passthrough
    left.call_on_close(response.close)
    return left


def _set_cookies(response: Response, cookies: Iterable[Cookie]) -> None:
    for cookie in cookies:
        response.headers.add(
            "Set-Cookie",
            dump_cookie(
                cookie.name,
                cookie.value,
                max_age=cookie.max_age_seconds,
                secure=cookie.secure,
                httponly=True,
                samesite="Lax",
            ),
        )


def _made_private(response: Response, *, varies: bool) -> Response:
    """Keep a response that carries a token out of every shared store of responses (rule 7).

    It does not vary by the cookie that it sets itself, or Back could not show it
    (docs/decisions/0007-vary-and-back.md).
    """
    told = {name.lower() for name, _ in response.headers}
    for name in told & (_VALIDATORS | _FOR_CACHES):
        response.headers.remove(name)
    no_store = ", no-store" if "no-store" in response.headers.get("Cache-Control", "") else ""
    response.headers["Cache-Control"] = f"private, no-cache{no_store}"
    if varies and "*" not in response.vary:
        response.vary.add("Cookie")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    return response


def _warn_once(exchange: Exchange, response: Response) -> None:
    endpoint, warned = exchange.visit.endpoint, exchange.rooms.warned
    if endpoint in warned:
        return
    warned.add(endpoint)
    log.warning(
        "%s answered %s %s without a form or redirect that can carry its uploaded file to the next"
        " request: promote or discard it, use {{ s3handoff.fields() }}, or leave this path out of"
        " S3HANDOFF_PATHS",
        endpoint,
        response.status_code,
        response.mimetype,
    )
