"""Three more apps that keep paths, as they are written for one server."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import bottle
from flask import Flask, abort, redirect, request, send_file, url_for
from werkzeug.wrappers import Request, Response

from flask_s3handoff import Handoff, HandoffMiddleware, S3Handoff


def _app(config: dict[str, Any], **options: Any) -> tuple[Flask, str]:
    """Return an app whose only knowledge of us is its configuration."""
    app = Flask(__name__)
    app.config.from_mapping(config, S3HANDOFF_PATHS=[])
    folder = os.path.join(config["FLEET_DISK"], "uploads")
    os.makedirs(folder, exist_ok=True)
    app.config["S3HANDOFF_PLACES"] = {"kept/": {"path": folder, **options}}
    S3Handoff(app)
    return app, folder


def people(config: dict[str, Any]) -> Flask:
    """The name of the file is in a database, which all servers share."""
    app, folder = _app(config, immutable=True)

    def database() -> Any:
        return closing(sqlite3.connect(config["DATABASE"], isolation_level=None))

    @app.post("/people")
    def add() -> str:
        file = request.files["picture"]
        with database() as db:
            db.execute("create table if not exists people (id integer primary key, picture text)")
            person = db.execute("insert into people default values").lastrowid
            name = f"{person}-{file.filename}"
            file.save(os.path.join(folder, name))
            db.execute("update people set picture = ? where id = ?", [name, person])
        return str(person)

    @app.get("/people/<int:person>/picture")
    def picture(person: int) -> Response:
        with database() as db:
            (name,) = db.execute("select picture from people where id = ?", [person]).fetchone()
        return send_file(os.path.join(folder, name))

    return app


def profile(config: dict[str, Any]) -> Flask:
    """One name, written again and again."""
    app, folder = _app(config)
    path = os.path.join(folder, "avatar.png")

    @app.post("/avatar")
    def change() -> Response:
        request.files["avatar"].save(path)
        return redirect(url_for("show"))

    @app.get("/avatar")
    def show() -> Response:
        return send_file(path, max_age=0)

    return app


def photos(config: dict[str, Any]) -> Flask:
    """A free name is found by counting up; what is not there is a 404."""
    app, folder = _app(config)

    @app.post("/photos")
    def add() -> str:
        file = request.files["photo"]
        stem, suffix = os.path.splitext(os.path.basename(file.filename or ""))
        name, i = f"{stem}{suffix}", 1
        while os.path.exists(os.path.join(folder, name)):
            name, i = f"{stem}-{i}{suffix}", i + 1
        file.save(os.path.join(folder, name))
        return name

    @app.get("/photos/<name>")
    def show(name: str) -> Response:
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            abort(404)
        with open(path, "rb") as file:
            return Response(file.read())

    return app


# Other frameworks: a name in a cookie, a file in a folder


def wrapped(application: Callable[[str], Any], config: dict[str, Any]) -> HandoffMiddleware:
    """Wrap an app: the only line that changes."""
    folder = os.path.join(config["FLEET_DISK"], "media")
    os.makedirs(folder, exist_ok=True)
    places = {"media/": {"path": folder}}
    settings = {**config, "S3HANDOFF_PLACES": places, "S3HANDOFF_PATHS": []}
    return HandoffMiddleware(application(folder), Handoff.from_mapping(settings))


def bare(config: dict[str, Any]) -> HandoffMiddleware:
    """No framework."""

    def application(folder: str) -> Any:
        @Request.application
        def respond(request: Request) -> Response:
            if request.method == "POST" and request.files:
                file = request.files["file"]
                file.save(os.path.join(folder, "of-bare.txt"))
                return Response("", 303, {"Location": "/"})
            with open(os.path.join(folder, "of-bare.txt"), "r+b") as kept:
                data = kept.read()
                if request.method == "POST":
                    kept.write(b"!")
            return Response(data)

        return respond

    return wrapped(application, config)


def of_bottle(config: dict[str, Any]) -> HandoffMiddleware:
    """Bottle, whose uploads have a `save` of their own."""

    def application(folder: str) -> Any:
        app = bottle.Bottle()
        path = os.path.join(folder, "of-bottle.txt")

        def save() -> None:
            if "file" in bottle.request.files:
                bottle.request.files["file"].save(path, overwrite=True)
            else:
                with open(path, "ab") as kept:
                    kept.write(b"!")
            bottle.redirect("/", 303)

        def show() -> Any:
            return bottle.static_file("of-bottle.txt", root=folder)

        app.route("/", "POST", save)
        app.route("/", "GET", show)
        return app

    return wrapped(application, config)
