"""The footer of every page: which server answered, and how it came by the file.

It listens to the extension's signals and keeps the last few requests in the session. Nothing else
in the example knows of servers.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, current_app, g, request, session
from werkzeug.exceptions import BadRequest

from flask_s3handoff import file_mirrored, file_promoted, file_rehydrated, file_revised

REMEMBERED = 5
Stop = dict[str, Any]


def init_app(app: Flask) -> None:
    """Watch the requests of an app, and give its templates ``this_stop`` and ``earlier_stops``."""
    file_mirrored.connect(_uploaded, app)
    file_rehydrated.connect(_rehydrated, app)
    file_revised.connect(_revised, app)
    file_promoted.connect(_promoted, app)
    app.after_request(_remember)
    app.context_processor(lambda: {"this_stop": _stop(), "earlier_stops": _earlier()})


def _uploaded(_app: Flask, **_: Any) -> None:
    _facts()["file"] = "uploaded"


def _rehydrated(_app: Flask, source: str, seconds: float, **_: Any) -> None:
    _facts().update(file=source, milliseconds=round(seconds * 1000, 1))


def _revised(_app: Flask, **_: Any) -> None:
    _facts()["revised"] = True


def _promoted(_app: Flask, **_: Any) -> None:
    _facts()["promoted"] = True


def _facts() -> Stop:
    """Return what the signals have told of this request so far."""
    facts: Stop = g.setdefault("journey_facts", {})
    return facts


def _stop() -> Stop:
    """Describe this request; a file whose bytes no view has read is only ``named``."""
    return {
        "server": current_app.config["LABEL"],
        "method": request.method,
        "path": request.path,
        "file": "named" if _brought_a_file() else "none",
        **_facts(),
    }


def _brought_a_file() -> bool:
    try:
        return bool(request.files)
    except BadRequest:  # a malformed form to a view that did not read it
        return False


def _earlier() -> list[Stop]:
    return list(session.get("journey", []))


def _remember(response: Response) -> Response:
    """Keep this request for the footers to come, unless it only served a script or a picture."""
    followed_by_script = request.method == "GET" and "X-Requested-With" in request.headers
    if request.blueprint == "pages" and not followed_by_script:
        session["journey"] = [_stop(), *_earlier()][:REMEMBERED]
    return response
