"""The same small app, five times: a file in step 1, read again in every later step.

``bare`` does no more than it must and knows no other server; ``limit`` is that with one raw request
to S3, in sequence; ``article`` is what people write by hand: ``save``, ``upload_file``,
``download_file``, boto3 as it comes; ``local`` is plain disk on one server; ``ours`` is the app of
``local`` without a word about files, and one line more.
"""

from __future__ import annotations

import http.client
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, Any
from urllib.parse import urlsplit

from flask import Flask, Request, request

from benchmarks.ground import KIB, Ground
from benchmarks.wire import Answer, Person, Zeros
from flask_s3handoff import S3Handoff

FILE_BYTES = 200 * KIB
SECRET = "0123456789abcdef" * 2
# A page as a template makes it, 20 KB: a head, a navigation, rows, and one form in the midst of it.
_ROW = '<tr class="row"><td><a href="/item/7?from=list">An item</a></td><td>12.50</td></tr>\n'
_HEAD = "<!doctype html><html><head><title>Step</title></head><body><table>\n" + _ROW * 120
_FORM = '</table><form method="post" action="/step">\n%s<button>Go on</button></form><table>\n'
_INPUT = '<input type="hidden" name="%s" value="%s">'
_TAIL = _ROW * 120 + "</table></body></html>\n"
_FIELD = re.compile(rb'<input type="hidden" name="([^"]+)" value="([^"]*)"')


def page(**fields: str) -> str:
    """Return the page that answers every step."""
    return _HEAD + _FORM % "".join(_INPUT % pair for pair in fields.items()) + _TAIL


PLAIN_PAGE = page()


@dataclass
class Site:
    """Servers of one rival, and a person who goes from one to the next with every step."""

    apps: Sequence[Flask]
    person: Person = field(default_factory=Person)
    turn: int = 0

    def upload(self, size: int = FILE_BYTES, *, rate: float = 0.0, path: str = "/upload") -> Answer:
        """Take step 1."""
        return self.person.upload(self._next(), Zeros(size, rate=rate), path)

    def step(self, before: Answer, path: str = "/step") -> Answer:
        """Send the form of the page before."""
        return self.person.submit(self._next(), path, **fields_of(before))

    def flow(self, steps: int = 3) -> None:
        """Take step 1 and the others."""
        answer = self.upload()
        for _ in range(steps - 1):
            answer = self.step(answer)

    def _next(self) -> Any:
        self.turn += 1
        return self.apps[self.turn % len(self.apps)]


def fields_of(answer: Answer) -> dict[str, str]:
    """Return what a browser sends of the form of a page."""
    return {name.decode(): value.decode() for name, value in _FIELD.findall(answer.body)}


def _new_app() -> Flask:
    app = Flask("benchmarks")
    app.config["SECRET_KEY"] = SECRET  # as every app has one: Flask looks for a session then

    @app.route("/hello", methods=["GET", "POST"])
    def hello() -> str:
        return "Hello, World!"

    return app


class _NullRequest(Request):
    """Receives a file and keeps nothing of it."""

    def _get_file_stream(self, *_args: Any, **_options: Any) -> IO[bytes]:
        return _Null()


class _Null(BytesIO):
    def write(self, data: Any, /) -> int:
        return len(data)


def bare(ground: Ground, view_seconds: float = 0.0) -> Flask:  # noqa: ARG001 - as the others
    """Receive, and answer: what no server can do without."""
    app = _new_app()
    app.request_class = _NullRequest

    @app.post("/upload")
    def upload() -> str:
        assert request.files["file"]
        time.sleep(view_seconds)
        return PLAIN_PAGE

    @app.post("/step")
    def step() -> str:
        assert request.form is not None
        return PLAIN_PAGE

    @app.post("/formless")
    def formless() -> str:
        assert request.form is not None
        return "done"

    return app


def limit(ground: Ground, view_seconds: float = 0.0) -> Flask:
    """Receive into memory, then send one bare request; later steps send one as well."""
    app, client = _new_app(), ground.client()
    key = {"Bucket": ground.bucket, "Key": f"limit/{secrets.token_hex(8)}"}
    put_url, get_url = (
        client.generate_presigned_url(verb, Params=key, ExpiresIn=36_000)
        for verb in ("put_object", "get_object")
    )
    client.put_object(**key, Body=bytes(FILE_BYTES))  # each server fetches one of its own
    raw = Raw(ground.server.url)

    @app.post("/upload")
    def upload() -> str:
        data = request.files["file"].read()
        time.sleep(view_seconds)
        raw.ask("PUT", put_url, data)
        return PLAIN_PAGE

    @app.post("/step")
    def step() -> str:
        assert request.form is not None
        assert raw.ask("GET", get_url)
        return PLAIN_PAGE

    return app


class Raw:
    """One connection to an S3, kept open."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)

    def ask(self, method: str, url: str, body: bytes | None = None) -> bytes:
        """Send one request to a presigned URL and return the body of its answer."""
        split = urlsplit(url)
        self._connection.request(method, f"{split.path}?{split.query}", body)
        answer = self._connection.getresponse()
        data = answer.read()
        assert answer.status == 200, (answer.status, data[:500])
        return data


def article(ground: Ground, view_seconds: float = 0.0) -> Flask:
    """Save, send, remember the key; in the next step fetch, and read."""
    app, client = _new_app(), ground.client()
    folder = ground.new_folder("article")

    @app.post("/upload")
    def upload() -> str:
        key = secrets.token_hex(16)
        request.files["file"].save(folder / key)
        client.upload_file(str(folder / key), ground.bucket, key)
        time.sleep(view_seconds)
        (folder / key).unlink()
        return page(key=key)

    @app.post("/step")
    def step() -> str:
        key = request.form["key"]
        client.download_file(ground.bucket, key, str(folder / key))
        assert (folder / key).read_bytes()
        (folder / key).unlink()
        return page(key=key)

    return app


def local(ground: Ground, view_seconds: float = 0.0) -> Flask:
    """Save and read on this one server: the best case of sticky sessions."""
    app, folder = _new_app(), ground.new_folder("local")

    @app.post("/upload")
    def upload() -> str:
        key = secrets.token_hex(16)
        request.files["file"].save(folder / key)
        time.sleep(view_seconds)
        return page(key=key)

    @app.post("/step")
    def step() -> str:
        key = request.form["key"]
        assert (folder / key).read_bytes()
        return page(key=key)

    @app.post("/formless")
    def formless() -> str:
        with (folder / request.form["key"]).open("rb") as stream:
            assert stream.read(16)
        return "done"

    return app


def ours(ground: Ground, view_seconds: float = 0.0, **settings: Any) -> Flask:
    """Use the file of the request, and nothing else."""
    app = _new_app()
    app.config |= {"S3HANDOFF_WORK_DIR": str(ground.new_folder("ours")), **ground.settings}
    app.config |= settings
    S3Handoff(app)

    @app.post("/upload")
    def upload() -> str:
        assert request.files["file"]
        time.sleep(view_seconds)
        return PLAIN_PAGE

    @app.post("/step")
    def step() -> str:
        assert request.files["file"].read()
        return PLAIN_PAGE

    @app.post("/formless")
    def formless() -> str:
        assert request.files["file"].read(16)
        return "done"

    return app


RIVALS = {"base": limit, "ours": ours, "naive": article, "local": local}


@contextmanager
def sites(
    ground: Ground, *names: str, servers: int = 1, view_seconds: float = 0.0
) -> Iterator[dict[str, Site]]:
    """Run servers of these rivals; those of ours wait in the end for what is still being sent."""
    made = {
        name: Site([RIVALS[name](ground, view_seconds) for _ in range(servers)]) for name in names
    }
    try:
        yield made
    finally:
        for app in made["ours"].apps if "ours" in made else ():
            app.extensions["s3handoff"].handoff.rooms.mirror.close()
