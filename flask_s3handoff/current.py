"""What the current app and the current request have: state, exchange, signals."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote

from blinker import Namespace
from flask import Flask, current_app, request

from .exchange import Exchange
from .handoff import Handoff
from .paths import is_below
from .visit import Visit

log = logging.getLogger("flask_s3handoff")

EXTENSION_KEY = "s3handoff"
EXCHANGE_KEY = "s3handoff"
EXEMPT_MARK = "_s3handoff_exempt"

signals = Namespace()
file_mirrored = signals.signal("file_mirrored")
file_rehydrated = signals.signal("file_rehydrated")
file_revised = signals.signal("file_revised")
file_promoted = signals.signal("file_promoted")
file_discarded = signals.signal("file_discarded")
token_refused = signals.signal("token_refused")


@dataclass
class State:
    """What one app has: ``app.extensions["s3handoff"]``."""

    handoff: Handoff
    principal: Callable[[], object]
    has_warned_of_plain_http: bool = False


def send_signal(app: Flask, event: str, facts: dict[str, Any]) -> None:
    """Tell the listeners; the sender is the app, as with Flask's own signals."""
    signals.signal(event).send(app, **facts)


def current_state(app: Flask | None = None) -> State:
    """Return what this app has; a ``RuntimeError`` of Flask's outside of an app context."""
    return cast(State, (app or current_app).extensions[EXTENSION_KEY])


def current_handoff() -> Handoff:
    """Return the rooms of the current app."""
    return current_state().handoff


def current_exchange() -> Exchange:
    """Return the story of the current request, begun if need be."""
    if EXCHANGE_KEY not in request.environ:
        request.environ[EXCHANGE_KEY] = current_handoff().exchange(_visit())
    return cast(Exchange, request.environ[EXCHANGE_KEY])


def parsed_exchange() -> Exchange:
    """Return the story of the current request after its body has been parsed."""
    _ = request.files
    return current_exchange()


def acts_here() -> bool:
    """Tell whether we act on this request: switched on, on our paths, not in an exempt view."""
    config = current_handoff().config
    view = current_app.view_functions.get(request.endpoint or "")
    return (
        config.enabled
        and is_below(request.path, config.paths)
        and not getattr(view, EXEMPT_MARK, False)
    )


def _visit() -> Visit:
    state = current_state()
    _warn_of_plain_http(state)
    secure = state.handoff.config.cookie_secure
    return Visit(
        method=request.method,
        path=quote(request.root_path + request.path, safe="/:@!$&'()*+,;=~"),
        script_root=quote(request.root_path, safe="/:@!$&'()*+,;=~"),
        origin=request.host_url.rstrip("/"),
        secure=request.is_secure if secure is None else secure,
        cookies=request.cookies,
        endpoint=request.endpoint or "a page without a view",
        principal=lambda: _text_or_none(state.principal()),
    )


def _text_or_none(principal: object) -> str | None:
    return None if principal is None else str(principal)


def _warn_of_plain_http(state: State) -> None:
    forwarded = request.headers.get("X-Forwarded-Proto", "")
    if forwarded == "https" and not request.is_secure and not state.has_warned_of_plain_http:
        state.has_warned_of_plain_http = True
        log.warning(
            "X-Forwarded-Proto says https, but the request looks plain: put werkzeug's ProxyFix"
            " around the app, or set S3HANDOFF_COOKIE_SECURE=True"
        )
