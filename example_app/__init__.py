"""An avatar in three steps, written as for one server, run on many.

Upload a picture, crop it, add a name and save: each request may land on another server. The line
``handoff.init_app(app)`` is all that makes it work; ``views`` reads like any Flask app.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, redirect, render_template, url_for
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from flask_s3handoff.errors import TooLarge

from . import journey, views
from .views import handoff

MEGABYTE = 1024 * 1024
AMAZON = "https://*.amazonaws.com"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'; img-src 'self' blob: data:"
)

DEFAULTS: dict[str, Any] = {
    "S3HANDOFF_PATHS": ["/avatar/"],  # the one flow that carries a file
    "S3HANDOFF_PLACES": {"users/": {}},  # where saved avatars may go
    "S3HANDOFF_MAX_FILE_SIZE": 10 * MEGABYTE,
    "SESSION_COOKIE_SAMESITE": "Lax",  # no POST from another site brings the session along
    "LABEL": "1",  # which server this is, for the footer
}


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Make the app; settings come from ``FLASK_…`` variables, or from ``config`` in tests.

    >>> create_app({"SECRET_KEY": "…" * 16, "S3HANDOFF_STORE": "memory"}).name
    'example_app'
    """
    app = Flask(__name__)
    app.config.from_mapping(DEFAULTS)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    handoff.init_app(app)
    journey.init_app(app)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.register_blueprint(views.pages)
    app.add_url_rule("/", "home", lambda: redirect(url_for("pages.upload")))
    app.register_error_handler(HTTPException, _explain)
    app.register_error_handler(TooLarge, _too_big)
    app.register_error_handler(RequestEntityTooLarge, _too_big)
    app.after_request(_harden)
    return app


def _too_big(_error: HTTPException) -> tuple[str, int]:
    most = current_app.config["S3HANDOFF_MAX_FILE_SIZE"] // MEGABYTE
    return views.upload_page(f"Choose a smaller picture: at most {most} MB."), 413


def _explain(error: HTTPException) -> Response:
    """Say what went wrong on a page of ours, with the status and headers of the error."""
    response = Response(render_template("error.html", error=error), error.code)
    response.headers.extend(h for h in error.get_headers() if h[0] in ("Allow", "Retry-After"))
    return response


def _harden(response: Response) -> Response:
    """Allow nothing but our own files, and pictures from the store."""
    store = urlsplit(current_app.config.get("S3HANDOFF_ENDPOINT_URL") or AMAZON)
    policy = f"{POLICY} {store.scheme}://{store.netloc}"
    response.headers.setdefault("Content-Security-Policy", policy)
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response
