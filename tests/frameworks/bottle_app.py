"""Three steps in Bottle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bottle

from flask_s3handoff.wsgi import Handoff, HandoffMiddleware

from .bare_app import CROP, SAVE, START

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def html(page: str, status: int = 200, **values: str) -> str:
    """Fill in a page."""
    bottle.response.status = status
    return page.format_map({k: bottle.html_escape(v) for k, v in values.items()})


def start() -> str:
    """Show the form."""
    return html(START, title="", said="")


def add() -> str:
    """Take the file, and ask for a title first."""
    if not bottle.request.files.get("avatar"):
        return html(START, 400, title="", said="Which picture?")
    if not bottle.request.forms.title:
        return html(START, 422, title="", said="What is it called?")
    bottle.redirect("/crop", 303)
    return ""


def show() -> str:
    """Show what came along, without reading it."""
    return html(CROP, name=bottle.request.environ["s3handoff"].get("avatar").filename)


def crop() -> str:
    """Keep the first bytes."""
    picture = bottle.request.files.avatar
    width = int(bottle.request.forms.width)
    bottle.request.environ["s3handoff"].replace("avatar", picture.file.read(width))
    return html(SAVE, name=picture.raw_filename)


def save() -> str:
    """Save what was cropped, and tell what was seen."""
    picture = bottle.request.files.avatar
    key = bottle.request.environ["s3handoff"].promote("avatar", "users/654/avatar.png")
    bottle.response.content_type = "text/plain; charset=utf-8"
    return f"{key} {picture.raw_filename} {picture.content_type} {len(picture.file.read())}"


app = bottle.Bottle()
app.route("/", "GET", start)
app.route("/add", "POST", add)
app.route("/crop", "GET", show)
app.route("/crop", "POST", crop)
app.route("/save", "POST", save)


def create_app(config: dict[str, Any]) -> WSGIApplication:
    """Return one copy."""
    settings = {"S3HANDOFF_PLACES": {"users/": {}}, **config}
    return HandoffMiddleware(app, Handoff.from_mapping(settings))
