"""README, docs and code agree."""

from __future__ import annotations

import ast
import json
import re
import sys
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from flask import Flask, request
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

import flask_s3handoff
from flask_s3handoff.config import SECRET_SETTING, SETTINGS, HandoffConfig
from flask_s3handoff.errors import HandoffError
from flask_s3handoff.extension import S3Handoff
from flask_s3handoff.files import HandoffFile
from flask_s3handoff.handle import Handle
from flask_s3handoff.wsgi import RequestHandle
from tests.pages import blocks, named

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def settings_table() -> dict[str, str]:
    """Return the README's settings with the defaults that it names."""
    table = README.split("<!-- test: settings -->")[1].split("\n\n")[0]
    return dict(re.findall(r"^\| `(S3HANDOFF_\w+)` \| (.*?) \|", table, re.MULTILINE))


def test_the_settings_table_names_every_setting() -> None:
    """No setting is undocumented, and none is promised that is not there."""
    assert set(settings_table()) == {setting.name for setting in SETTINGS} | {SECRET_SETTING}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_settings_table_names_the_right_default(setting: Any) -> None:
    """A default that differs between README and code is a trap."""
    said = settings_table()[setting.name].strip("`")
    default = getattr(HandoffConfig(), setting.field)
    if setting.name == "S3HANDOFF_PLACES":
        assert (said, default) == ("{}", ())
    elif said == "–":
        assert default is None
    else:
        read = ast.literal_eval(said)
        assert (tuple(read) if isinstance(read, list) else read) == default


def public_names(cls: type) -> set[str]:
    """Return the public names that a class itself defines."""
    return {name for name in vars(cls) if not name.startswith("_")}


def test_every_public_name_of_the_extension_is_documented() -> None:
    """What a user may call stands in the README."""
    names = public_names(S3Handoff) | public_names(Handle)
    names |= public_names(RequestHandle) - {"begin", "refill"}  # for the middleware
    missing = {name for name in names - {"init_app"} if f".{name}" not in README}

    assert not missing


def test_every_own_name_of_a_file_is_documented() -> None:
    """What a HandoffFile adds to a FileStorage stands in the README."""
    own = {"field", "size", "sha256", "relpath", "path", "url", "replace", "promote", "discard"}

    assert own <= public_names(HandoffFile)
    assert not {name for name in own if f".{name}" not in README}


def test_every_reason_that_a_file_can_raise_is_documented() -> None:
    """The words to match on stand in the README, with their HTTP status."""
    for error in HandoffError.__subclasses__():
        if error.reason in ("expired", "foreign", "missing", "corrupt", "unavailable", "too_large"):
            assert f"`{error.reason}` ({error.code}" in README


def test_every_signal_is_documented() -> None:
    """Names of signals are names that users write."""
    for name in flask_s3handoff.__all__:
        assert f"`{name}`" in README or name in README


def test_the_app_of_the_readme_carries_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first block that a reader copies runs, and does what it says."""
    block = named("README.md", "run").code
    module = ModuleType("readme_app")
    module.__file__ = str(tmp_path / "readme_app.py")
    monkeypatch.setitem(sys.modules, "readme_app", module)
    monkeypatch.delenv("FLASK_S3HANDOFF_BUCKET", raising=False)
    monkeypatch.setenv("FLASK_SECRET_KEY", "a key of at least 16 bytes")
    monkeypatch.chdir(tmp_path)
    exec(compile(block, module.__file__, "exec"), vars(module))  # noqa: S102 - our own README
    client = vars(module)["app"].test_client()

    page = client.post("/avatar", data={"avatar": (BytesIO(b"picture"), "leo.jpg")})
    token = re.search(r'name="_s3handoff" value="([^"]+)"', page.text)
    assert token
    saved = client.post("/save", data={"_s3handoff": token[1]})

    assert (saved.status_code, saved.text) == (200, "users/654/avatar.jpg")


def test_the_fleet_of_the_readme_carries_a_file() -> None:
    """The block that a reader puts into a test suite passes there."""
    block = named("README.md", "fleet").code
    names = {"create_app": create_app, "BytesIO": BytesIO, "PNG": b"picture" * 100}
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README

    cast(Any, names["test_avatar_survives_three_servers"])()


def create_app(config: dict[str, Any]) -> Flask:
    """Return the README's two steps as a factory."""
    app = Flask(__name__)
    app.config.from_mapping(S3HANDOFF_PLACES={"users/": {}}, **config)
    S3Handoff(app)

    @app.post("/avatar")
    def upload() -> str:
        return f"<form method=post action=/save>{request.files['avatar'].filename}</form>"

    @app.post("/save")
    def save() -> str:
        return cast(HandoffFile, request.files["avatar"]).promote("users/654/avatar.jpg")

    return app


def test_the_wsgi_app_of_the_readme_carries_a_file(tmp_path: Path) -> None:
    """Put around an app, the block does what it says; a stand-in for Django runs its view."""
    block = named("README.md", "wsgi").code
    settings = {"S3HANDOFF_STORE": "memory", "S3HANDOFF_WORK_DIR": str(tmp_path / "work")}
    block = block.replace('"S3HANDOFF_BUCKET": "acme-uploads"', "**settings")
    names: dict[str, Any] = {"settings": settings, "SECRET_KEY": "x" * 32, "HttpResponse": Response}
    names["get_wsgi_application"] = lambda: stand_in(names)
    exec(compile(block, "README.md", "exec"), names)  # noqa: S102 - our own README
    client = Client(names["application"])

    with client.post("/avatar", data={"avatar": (BytesIO(b"picture"), "leo.jpg")}) as page:
        token = re.search(r'name="_s3handoff" value="([^"]+)"', page.get_data(as_text=True))
    assert token
    with client.post("/save", data={"_s3handoff": token[1]}) as saved:
        assert (saved.status_code, saved.get_data()) == (200, b"users/654/avatar.jpg")


def stand_in(names: dict[str, Any]) -> Any:
    """Return an app with two steps; the second is the view of the README."""

    @Request.application
    def app(request: Request) -> Response:
        if request.path == "/avatar":
            return Response("<form method=post action=/save></form>", mimetype="text/html")
        vars(request)["FILES"] = request.files
        answer: Response = names["save"](request)
        return answer

    return app


def test_every_python_block_of_the_readme_compiles() -> None:
    """No block rots."""
    found = blocks("README.md", "python")

    assert len(found) >= 3
    for block in found:
        compile(block.code, "README.md", "exec")


def test_the_example_is_twelve_lines_and_a_little() -> None:
    """An example that does not fit on a screen is not read."""
    block = named("README.md", "run").code

    assert len([line for line in block.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("page", ["SECURITY.md", "docs/deployment.md"])
def test_the_pages_for_operators_name_what_is_there(page: str) -> None:
    """Each setting is one, each policy is JSON, each link within the tree leads somewhere."""
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {setting.name for setting in SETTINGS} | {SECRET_SETTING}
    assert set(re.findall(r"S3HANDOFF_[A-Z_]+", text)) <= known
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        assert json.loads(block)["Statement"]
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert ((ROOT / page).parent / target).exists()
