"""An app that lets every cache keep its pages, as many do for visitors who are not logged in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff

KEEP = {
    "Cache-Control": "public, max-age=600, s-maxage=600",
    "X-Accel-Expires": "600",
    "Surrogate-Control": "max-age=600",
    "CDN-Cache-Control": "max-age=600",
}
FORM = '<form method="post" action="/{}" enctype="multipart/form-data"><button>go</button></form>'


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app: add a picture, look at it on pages that anybody may keep for ten minutes."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    S3Handoff(app)
    app.add_url_rule("/add", view_func=add, methods=["POST"])
    app.add_url_rule("/add-and-stay", view_func=add_and_stay, methods=["POST"])
    app.add_url_rule("/edit", view_func=edit)
    app.add_url_rule("/image", view_func=image)
    app.add_url_rule("/show", view_func=image, methods=["POST"], endpoint="show")
    app.after_request(let_everybody_keep_it)
    return app


def add() -> Response:
    """Take a picture, and go on by a redirect."""
    _ = request.files["avatar"]
    return redirect("/edit")


def add_and_stay() -> str:
    """Take a picture, and answer with a page that goes on."""
    _ = request.files["avatar"]
    return FORM.format("show")


def edit() -> str:
    """A page that is the same for everybody, but for the token."""
    return FORM.format("show")


def image() -> Response:
    """Send the picture, or nothing."""
    files = list(request.files.values())
    return Response(files[0].read() if files else b"nothing", content_type="image/png")


def let_everybody_keep_it(response: Response) -> Response:
    """Say what CDNs and proxies like to hear, but for the picture that a form has brought."""
    if request.endpoint == "show":
        response.headers["Cache-Control"] = "no-store"
        return response
    response.headers.update(KEEP)
    return response
