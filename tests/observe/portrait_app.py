"""The app that is everywhere: it saves a path, the session keeps the name, later steps open it."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from pathlib import Path
from typing import Any

from flask import Flask, abort, current_app, redirect, request, send_from_directory, session
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff

PAGE = '<!doctype html><title>Portrait</title><form method="post" action="{}" enctype="multipart/form-data">{}<button>go</button></form>'


def create_app(config: dict[str, Any]) -> Flask:
    """Return the app; with a `FLEET_DISK` it is the server of that name, and logs there."""
    app = Flask(__name__)
    app.config.from_mapping(config)
    if disk := config.get("FLEET_DISK"):
        be_a_server(disk)
        app.config["UPLOADS"] = os.path.join(disk, "uploads")
    S3Handoff(app)
    app.add_url_rule("/", view_func=start)
    app.add_url_rule("/portrait/add", view_func=add, methods=["POST"])
    app.add_url_rule("/portrait/crop", view_func=ask_crop)
    app.add_url_rule("/portrait/crop", view_func=crop, methods=["POST"])
    app.add_url_rule("/portrait/done", view_func=done)
    app.add_url_rule("/photos/<name>", view_func=photo)
    return app


def be_a_server(disk: str) -> None:
    """Have a name and a log of one's own, as on a machine of one's own."""
    name = os.path.basename(disk).replace("copy-", "web")
    socket.gethostname = lambda: name
    handler = logging.FileHandler(os.path.join(disk, "app.log"))
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def uploads() -> Path:
    """Return the folder, which is there."""
    folder = Path(current_app.config["UPLOADS"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def start() -> str:
    """Ask for a picture."""
    return PAGE.format("/portrait/add", '<input type="file" name="portrait">')


def add() -> Response:
    """Step 1: save it under a name that nobody else has."""
    file = request.files["portrait"]
    session["name"] = f"{uuid.uuid4().hex}{os.path.splitext(file.filename or '')[1]}"
    file.save(uploads() / session["name"])
    return redirect("/portrait/crop")


def ask_crop() -> str:
    """Step 2: show it."""
    return PAGE.format("/portrait/crop", f'<img src="/photos/{session["name"]}">')


def photo(name: str) -> Response:
    """Send a picture."""
    return send_from_directory(uploads(), name)


def crop() -> Response:
    """Step 2, answered: write a new file beside it."""
    source = uploads() / session["name"]
    if not source.exists():
        abort(404, "Where is it?")
    session["name"] = f"small-{session['name']}"
    (uploads() / session["name"]).write_bytes(source.read_bytes()[:9])
    return redirect("/portrait/done")


def done() -> Response:
    """Step 3: send what was made."""
    with open(uploads() / session["name"], "rb") as file:
        return Response(file.read(), content_type="image/png")
