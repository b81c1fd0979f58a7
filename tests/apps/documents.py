"""An app that takes several documents, shows their names and, a step later, reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from flask import Flask, redirect, render_template_string, request, url_for
from werkzeug.wrappers import Response

from flask_s3handoff import S3Handoff
from tests.apps.avatar import name_the_server

PAGE = """<!doctype html>
<html lang="en"><title>Documents</title>
<ul>{% for file in files %}<li>{{ file.filename }}</li>{% endfor %}</ul>
<form method="post" action="{{ url_for('check') }}"><button>Check</button></form></html>"""
FORM = """<!doctype html>
<html lang="en"><title>Send</title>
<form method="post" action="{{ url_for('send') }}" enctype="multipart/form-data">
<input type="file" name="documents" multiple><button>Send</button></form></html>"""
METHODS = ("read", "seek", "tell", "readline", "save", "close", "__iter__", "no_such_name")


def create_app(config: Mapping[str, Any] | None = None) -> Flask:
    """Return the app; its settings come as in ``tests.apps.avatar``."""
    app = Flask(__name__)
    app.config.from_prefixed_env()
    app.config.from_mapping(config or {})
    S3Handoff(app)
    app.add_url_rule("/", view_func=ask)
    app.add_url_rule("/hello", view_func=hello)
    app.add_url_rule("/send", view_func=send, methods=["POST"])
    app.add_url_rule("/listed", view_func=listed)
    app.add_url_rule("/glance", view_func=glance, methods=["POST"])
    app.add_url_rule("/ignore", view_func=ignore, methods=["POST"])
    app.add_url_rule("/check", view_func=check, methods=["POST"])
    app.after_request(name_the_server)
    return app


def hello() -> str:
    """Answer without a form, a file or a token."""
    return "hello"


def ask() -> str:
    """Show the form of step 1."""
    return render_template_string(FORM)


def send() -> Response:
    """Step 1: take the documents and go on to another page, as one should after a POST."""
    assert request.files.getlist("documents")
    return redirect(url_for("listed"), 303)


def listed() -> str:
    """Step 2: show their names."""
    return render_template_string(PAGE, files=request.files.getlist("documents"))


def glance() -> str:
    """Ask everything about a document that its bytes are not needed for."""
    document = request.files["documents"]
    assert document
    assert document.filename
    assert document.mimetype
    assert [name for name in METHODS if not hasattr(document, name)] == ["no_such_name"]
    return render_template_string(PAGE, files=[document])


def ignore() -> str:
    """Never look at the form: "are you sure?"."""
    return render_template_string(PAGE)


def check() -> dict[str, list[list[str]]]:
    """Step 3: read them all."""
    return {"documents": [_described(file) for file in request.files.getlist("documents")]}


def _described(file: Any) -> list[str]:
    return [file.filename, hashlib.sha256(file.read()).hexdigest()]
