"""Observe mode around a Flask app: nothing is installed but a gate and a look at what leaves."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import IO, Any

from flask import Flask, request
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response

from .current import current_state, is_exempt
from .observe import Observer, Visitor, current_visitor, quietly
from .paths import TOKEN_FIELD


def stand_by(app: Flask) -> None:
    """Observe an app."""
    handoff = current_state(app).handoff
    around: Any = app  # mypy takes no assignment to a method; Flask documents this one
    around.wsgi_app = Observer(handoff.config, handoff.rooms.signer).around(app.wsgi_app)
    around.process_response = _looking(app)


def _looking(app: Flask) -> Callable[..., Response]:
    original: Callable[..., Any] = app.process_response

    def process_response(*arguments: Any) -> Any:  # Flask 3.2 passes its context first
        if visitor := current_visitor():
            quietly(_look, visitor, arguments[-1])
        return original(*arguments)

    return process_response


def _look(visitor: Visitor, response: Response) -> None:
    visitor.notes.endpoint = request.endpoint or ""
    visitor.notes.rule = request.url_rule.rule if request.url_rule else ""
    if is_exempt():
        return
    parsed = vars(request)  # what the view has asked for; we ask for nothing
    if "files" in parsed:
        _look_at_files(visitor, parsed["files"].items(multi=True))
        for token in parsed["form"].getlist(TOKEN_FIELD):
            visitor.token(token, "form")
    visitor.leave(response.status_code, response.headers, lambda: _page(response))


def _look_at_files(visitor: Visitor, files: Any) -> None:
    for field, file in files:
        if file.filename:
            visitor.upload(field, file.filename, _size_of(file))


def _size_of(file: FileStorage) -> int | None:
    """Return the size of an upload without moving in it, or None where that cannot be told."""
    stream: IO[bytes] | Any = getattr(file.stream, "_file", file.stream)  # of a spooled file
    if getattr(stream, "closed", True):
        return None
    if isinstance(stream, io.BytesIO):
        return stream.getbuffer().nbytes
    return os.fstat(stream.fileno()).st_size


def _page(response: Response) -> bytes | None:
    if response.direct_passthrough or not response.is_sequence:
        return None
    return b"".join(response.iter_encoded())
