"""The avatar app with every logger at DEBUG but the SDK's, which tells its own signatures there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from flask_s3handoff.files import HandoffFile
from tests.apps import avatar
from tests.sentinels import NOT_OURS


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app, with a redirect, a link and a view that fails on top."""
    logging.basicConfig(level=logging.DEBUG)
    for name in NOT_OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    app = avatar.create_app(config)
    app.add_url_rule("/go", view_func=go, methods=["POST"])
    app.add_url_rule("/link", view_func=link, methods=["POST"])
    app.add_url_rule("/fail", view_func=fail, methods=["POST"])
    return app


def go() -> Response:
    """Carry the picture across a redirect."""
    _ = request.files["avatar"]
    return redirect("/")


def link() -> str:
    """Give a presigned link to the picture."""
    return cast(HandoffFile, request.files["avatar"]).url()


def fail() -> str:
    """Break, with the picture and its request at hand."""
    raise RuntimeError(f"{request.files['avatar']!r} {request!r}")
