"""The app that everybody has: it saves a file, keeps its name in the session, and opens it again.

Not a line of it knows about several servers. What a test changes is its configuration.
"""

from __future__ import annotations

import io
import os
import uuid
from typing import Any

from flask import Flask, abort, redirect, request, send_from_directory, session, url_for
from PIL import Image
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff

SIZES = (16, 32, 48)


def picture(color: str, size: int = 64) -> bytes:
    """Return a PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), color).save(file, "PNG")
    return file.getvalue()


def create_app(config: dict[str, Any]) -> Flask:
    """Return the app; `UPLOAD_FOLDER` is below the copy's own disk."""
    app = Flask(__name__)
    app.config.from_mapping(config)
    folder = app.config["UPLOAD_FOLDER"] = os.path.join(config["FLEET_DISK"], "uploads")
    os.makedirs(folder, exist_ok=True)
    if app.config.get("WITH_HANDOFF", True):
        app.config["S3HANDOFF_PLACES"] = {
            "avatars/": {"path": folder, **app.config.get("FOLDER_OPTIONS", {})}
        }
        S3Handoff(app)
    _add_views(app)
    return app


def _add_views(app: Flask) -> None:
    @app.post("/upload")
    def upload() -> Response:
        file = request.files["avatar"]
        session["name"] = f"{uuid.uuid4().hex}.png"
        file.save(os.path.join(app.config["UPLOAD_FOLDER"], session["name"]))
        return redirect(url_for("preview"))

    @app.get("/preview")
    def preview() -> str:
        return f'<img src="{url_for("uploaded", name=session["name"])}"><form method="post" action="/crop"></form>'

    @app.get("/uploads/<path:name>")
    def uploaded(name: str) -> Response:
        return send_from_directory(app.config["UPLOAD_FOLDER"], name)

    @app.post("/crop")
    def crop() -> Response:
        path = os.path.join(app.config["UPLOAD_FOLDER"], session["name"])
        if not os.path.exists(path):
            abort(404)
        with Image.open(path) as image:
            cropped = image.crop((0, 0, 50, 50))
        session["sizes"] = [f"{session['name']}-{size}.png" for size in SIZES]
        for size, name in zip(SIZES, session["sizes"], strict=True):
            cropped.resize((size, size)).save(os.path.join(app.config["UPLOAD_FOLDER"], name))
        return redirect(url_for("done"))

    @app.get("/done")
    def done() -> dict[str, Any]:
        return {"names": session["sizes"]}
