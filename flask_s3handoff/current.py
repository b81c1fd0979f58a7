"""What the current app and the current request have: state, exchange, signals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from blinker import Namespace
from flask import Flask, current_app, request

from .arriving import visit_of
from .exchange import Exchange
from .handoff import Handoff
from .paths import is_below
from .visit import Visit

EXTENSION_KEY = "s3handoff"
EXCHANGE_KEY = "s3handoff.exchange"
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
    environ = request.environ  # a proxy: each question to it looks for the request anew
    if EXCHANGE_KEY not in environ:
        environ[EXCHANGE_KEY] = current_handoff().exchange(_visit())
    return cast(Exchange, environ[EXCHANGE_KEY])


def parsed_exchange() -> Exchange:
    """Return the story of the current request after its body has been parsed."""
    _ = request.files
    return current_exchange()


def acts_here() -> bool:
    """Tell whether we act on this request: switched on, on our paths, not in an exempt view."""
    config = current_handoff().config
    return config.is_active and is_below(request.path, config.paths) and not is_exempt()


def is_exempt() -> bool:
    """Tell whether the current view wants none of us."""
    view = current_app.view_functions.get(request.endpoint or "")
    return getattr(view, EXEMPT_MARK, False)


def _visit() -> Visit:
    state = current_state()
    return visit_of(
        cast(Any, request)._get_current_object(),  # a proxy looks for it at each of ten questions
        state.handoff.rooms,
        endpoint=request.endpoint or "a page without a view",
        principal=state.principal,
    )
