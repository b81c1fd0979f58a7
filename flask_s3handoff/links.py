"""Our own route to the files of stores that have no presigned URLs: folders and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from werkzeug.wrappers import Response
from werkzeug.wsgi import wrap_file

from .handoff import Handoff

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

R = TypeVar("R", bound=Response)


def serve_link(handoff: Handoff, environ: WSGIEnvironment, link: str, response_class: type[R]) -> R:
    """Return the file that a signed link names; it can do nothing in a browser but be looked at.

    Raises ``Forged`` or ``Missing``.
    """
    body, kind = handoff.open_link(link)
    response = response_class(
        wrap_file(environ, body), content_type=kind.content_type, direct_passthrough=True
    )
    response.headers["Content-Disposition"] = kind.disposition
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "sandbox"
    response.headers["Cache-Control"] = "private"
    return response
