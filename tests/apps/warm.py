"""The avatar app of somebody who warms up before the fork: a whole upload, in the master."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import cast

from flask import Flask, current_app
from PIL import Image

from flask_s3handoff import S3Handoff
from tests.apps import avatar

OBJECTS = 16
BYTES = 20_000
CONNECTIONS = 8


def create_app() -> Flask:
    """Return the app after it has used its clients, its threads and its work folder."""
    app = avatar.create_app()
    app.add_url_rule("/object/<int:number>", view_func=read)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        list(threads.map(partial(_put_and_read, app), range(OBJECTS)))
    _upload(app)
    return app


def _put_and_read(app: Flask, number: int) -> None:
    """Leave an idle connection behind: the more of them there are, the more go wrong."""
    with app.app_context():
        _handoff(app).put(content(number), _key(number))
        read(number)


def read(number: int) -> bytes:
    """Return a permanent file, by one GET."""
    with _handoff(current_app).open(_key(number)) as file:
        return file.read()


def content(number: int) -> bytes:
    """Return what every server should answer."""
    return f"{number:04d}".encode() * (BYTES // 4)


def _upload(app: Flask) -> None:
    picture = BytesIO()
    Image.new("L", (8, 8)).save(picture, "png")
    picture.seek(0)
    app.test_client().post("/add", data={"avatar": (picture, "warm.png")})


def _handoff(app: Flask) -> S3Handoff:
    return cast(S3Handoff, app.jinja_env.globals["s3handoff"])


def _key(number: int) -> str:
    return f"users/warm/{number}"
