"""The three-step app: add a picture, crop it, save it. Its views contain no token and no S3 call.

Settings come from the environment by Flask's own rule (``FLASK_SECRET_KEY``,
``FLASK_S3HANDOFF_BUCKET``, …), or from a mapping, as a ``Fleet`` gives them. Every answer names
the server that gave it.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from typing import Any

from flask import Flask, abort, current_app, render_template_string, request, url_for
from PIL import Image
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff

PAGE = """<!doctype html>
<html lang="en"><title>{{ title }}</title>
<form method="post" action="{{ action }}" enctype="multipart/form-data">
{% for name in numbers %}<label>{{ name }} <input name="{{ name }}" type="number"></label>
{% endfor %}{% if asks_file %}<label>Picture <input name="avatar" type="file"></label>
{% endif %}<button>{{ title }}</button>
</form></html>"""
SIDES = ("left", "top", "right", "bottom")


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app, bound to nobody yet: nothing is contacted before the first upload."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {}, S3HANDOFF_PLACES={"users/": {}})
    S3Handoff(app)
    app.add_url_rule("/", view_func=ask_picture)
    app.add_url_rule("/add", view_func=add, methods=["POST"])
    app.add_url_rule("/crop", view_func=crop, methods=["POST"])
    app.add_url_rule("/look", view_func=look, methods=["POST"])
    app.add_url_rule("/save", view_func=save, methods=["POST"])
    app.after_request(name_the_server)
    return app


def ask_picture() -> str:
    """Show the form of step 1."""
    return render_template_string(PAGE, title="Add", action=url_for("add"), asks_file=True)


def add() -> str:
    """Step 1: look at the picture and ask what to cut out."""
    with Image.open(request.files["avatar"].stream) as picture:
        picture.verify()
    return render_template_string(PAGE, title="Crop", action=url_for("crop"), numbers=SIDES)


def crop() -> str:
    """Step 2: cut it out and ask whether to save it."""
    left, top, right, bottom = (int(request.form[side]) for side in SIDES)
    path = request.files["avatar"].path
    with Image.open(path) as picture:
        cut = picture.crop((left, top, right, bottom))
    cut.save(path)
    return render_template_string(PAGE, title="Save", action=url_for("save"))


def look() -> dict[str, list[int]]:
    """Open the picture by its path, and leave it as it is."""
    with Image.open(request.files["avatar"].path) as picture:
        return {"size": list(picture.size)}


def save() -> Response:
    """Step 3: keep it for good. Answers with its key."""
    picture = request.files.get("avatar") or abort(400)
    key = picture.promote(f"users/654/{uuid.uuid4().hex}.png")
    return Response(key, content_type="text/plain")


def name_the_server(response: Response) -> Response:
    """Say who answered."""
    response.headers["X-Server"] = current_app.config.get("LABEL", "")
    response.headers["X-Pid"] = str(os.getpid())
    return response
