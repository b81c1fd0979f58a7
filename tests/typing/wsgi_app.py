"""What a user of another framework writes. mypy reads it, nobody runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

from flask_s3handoff import Handoff, HandoffFile, HandoffMiddleware
from flask_s3handoff.wsgi import RequestHandle

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """An app in the type of the standard library."""
    handle: RequestHandle = environ["s3handoff"]
    assert_type(handle.get("avatar"), HandoffFile | None)
    assert_type(handle.promote("avatar", "users/1/a.jpg"), str)
    assert_type(handle.url("users/1/a.jpg", expires=60), str)
    handle.replace("avatar", b"bytes")
    handle.discard("avatar")
    handle.discard(7)  # type: ignore[arg-type]
    start_response("200 OK", [])
    return [b"kept"]


def user(environ: WSGIEnvironment) -> str | None:
    """Whose request this is."""
    name: str | None = environ.get("REMOTE_USER")
    return name


wrapped = HandoffMiddleware(
    application, Handoff.from_mapping({"S3HANDOFF_STORE": "memory"}), principal=user
)
HandoffMiddleware(application)  # type: ignore[call-arg]
again: HandoffMiddleware = HandoffMiddleware(wrapped, Handoff.from_mapping({}))
