"""What a user of Flask writes. mypy reads it, nobody runs it.

An error that a user should get is expected where it says ``type: ignore``: without it, mypy calls
the comment unused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, assert_type

from flask import Flask, request
from markupsafe import Markup

from flask_s3handoff import HandoffError, HandoffFile, S3Handoff, file_rehydrated
from flask_s3handoff.errors import AlreadyExists, Expired, Unavailable
from flask_s3handoff.handoff import StoredFile
from flask_s3handoff.testing import Fleet, MemoryStore, check_store, token_of
from flask_s3handoff.visit import Refusal

app = Flask(__name__)
handoff = S3Handoff(app)
later = S3Handoff(store=MemoryStore())
later.init_app(app)


@app.post("/save/<int:user>")
@handoff.exempt
def save(user: int) -> str:
    """Views keep their signature under our decorators."""
    return str(user)


assert_type(save(7), str)
save("seven")  # type: ignore[arg-type]


@handoff.principal_loader
def user_id() -> int | None:
    """Whatever has a text will do for an id."""
    return None


def this_request() -> None:
    """What a view asks."""
    assert_type(handoff.files, list[HandoffFile])
    assert_type(handoff.get("avatar"), HandoffFile | None)
    assert_type(handoff.getlist("photos"), list[HandoffFile])
    assert_type(handoff.errors, list[Refusal])
    assert_type(handoff.fields(), Markup)
    assert_type(handoff.token(), str)
    assert_type(handoff.restore("token"), list[HandoffFile])
    handoff.get("avatar").discard()  # type: ignore[union-attr]
    handoff.files = []  # type: ignore[misc]
    for refusal in handoff.errors:
        assert_type(refusal.code, str)
        assert_type(refusal.filename, str | None)
    handoff.forget()


def a_file(file: HandoffFile) -> str:
    """What a HandoffFile has; it goes wherever a FileStorage goes."""
    assert_type(file.path, str)
    assert_type(file.size, int)
    assert_type(file.field, str)
    assert_type(file.sha256, str)
    assert_type(file.relpath, str)
    assert_type(file.filename, str | None)
    assert_type(file.stream, IO[bytes])
    assert_type(file.url(expires=60), str)
    file.replace(b"bytes")
    file.replace("a/path")
    file.replace(3)  # type: ignore[arg-type]
    file.url(60)  # type: ignore[call-arg]
    file.discard()
    return file.promote("users/1/a.jpg", overwrite=True)


def permanent_files() -> None:
    """What needs no request."""
    with handoff.open("users/1/a.jpg") as stream:
        assert_type(stream.read(), bytes)
    assert_type(handoff.put(b"bytes", "users/1/a.jpg", content_type="image/jpeg"), str)
    assert_type(handoff.promote(request.files["avatar"], "users/1/a.jpg"), str)
    assert_type(handoff.reopen("users/1/a.jpg", "avatar"), HandoffFile)
    assert_type(handoff.list("users/1/"), Iterator[StoredFile])
    assert_type(handoff.url("users/1/a.jpg", expires=60), str)
    assert_type([file.size for file in handoff.list("users/1/")], list[int])
    handoff.delete("users/1/a.jpg")
    handoff.put("text", "users/1/a.txt", owner="me")  # type: ignore[call-arg]
    handoff.promote("avatar", "users/1/a.jpg")  # type: ignore[arg-type]


@app.errorhandler(HandoffError)
def lost(error: HandoffError) -> str:
    """An error tells its reason, and of which file."""
    assert_type(error.reason, str)
    assert_type(error.field, str | None)
    assert_type(error.code, int | None)
    return f"{error.reason}: {error.description}"


def errors() -> None:
    """Each can be caught by its class."""
    try:
        a_file(handoff.files[0])
    except (AlreadyExists, Expired, Unavailable) as error:
        assert_type(error.filename, str | None)


@file_rehydrated.connect
def count(_app: Flask, file: HandoffFile, source: str, seconds: float) -> None:
    """A listener is an ordinary function."""


def tests(factory: type[Flask]) -> None:
    """What a test suite uses."""
    with Fleet(lambda config: factory(str(config)), routing="adversarial") as fleet:
        answer = fleet.client().get("/")
        assert_type(token_of(answer), str)
    assert_type(next(promise.name for promise in check_store(MemoryStore())), str)
    Fleet(app)  # type: ignore[arg-type]
