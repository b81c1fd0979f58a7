"""Three steps in no framework at all: werkzeug's parser, and an app that is a function."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from markupsafe import escape
from werkzeug.wrappers import Request, Response

from flask_s3handoff.wsgi import Handoff, HandoffMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

START = '<form method="post" action="/add" enctype="multipart/form-data"><input name="title" value="{title}"><input type="file" name="avatar" required>{said}<button>add</button></form>'
CROP = '<form method="post" action="/crop"><input name="width" value="9"><button>crop</button></form><p>{name}</p>'
SAVE = '<form method="post" action="/save" enctype="multipart/form-data"><input type="file" name="avatar"><button>save</button></form><p>{name}</p>'


def add(request: Request) -> Response:
    """Take the file, and ask for a title first."""
    if not request.files["avatar"].filename:
        return html(START, 400, title="", said="Which picture?")
    if not request.form["title"]:
        return html(START, 422, title="", said="What is it called?")
    return Response("", 303, {"Location": "/crop"})


def crop(request: Request) -> Response:
    """Keep the first bytes."""
    handle = request.environ["s3handoff"]
    if request.method == "GET":
        return html(CROP, name=handle.get("avatar").filename)
    picture = request.files["avatar"]
    handle.replace("avatar", picture.read()[: int(request.form["width"])])
    return html(SAVE, name=picture.filename)


def save(request: Request) -> Response:
    """Save what was cropped, and tell what was seen."""
    picture = request.files["avatar"]
    seen = f"{picture.filename} {picture.content_type} {len(picture.read())}"
    key = request.environ["s3handoff"].promote("avatar", "users/654/avatar.png")
    return Response(f"{key} {seen}")


VIEWS: dict[str, Callable[[Request], Response]] = {"/add": add, "/crop": crop, "/save": save}


def html(page: str, status: int = 200, **values: Any) -> Response:
    """Fill in a page."""
    return Response(
        page.format_map({k: escape(v) for k, v in values.items()}),
        status,
        content_type="text/html; charset=utf-8",
    )


@Request.application
def application(request: Request) -> Response:
    """Route."""
    if request.path == "/":
        return html(START, title="", said="")
    return VIEWS[request.path](request)


def create_app(config: dict[str, Any]) -> WSGIApplication:
    """Return one copy."""
    settings = {"S3HANDOFF_PLACES": {"users/": {}}, **config}
    return HandoffMiddleware(application, Handoff.from_mapping(settings))
