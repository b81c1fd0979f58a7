"""An app with one folder, whose views are whatever a test wants done there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Self

from flask import Flask, request

from flask_s3handoff import S3Handoff
from flask_s3handoff.audit import unwatched
from flask_s3handoff.testing import Fleet, MemoryStore
from tests.servers import wait_until

Doing = Callable[[str], object]


class Shelf:
    """Copies of an app with separate disks; each is told to do something, one after the other."""

    def __init__(
        self, size: int = 3, *, store: MemoryStore | None = None, config: Any = None, **options: Any
    ) -> None:
        self._options = options
        self._doing: Doing = len
        self.raises: BaseException | None = None
        self.store = store or MemoryStore()
        self.fleet = Fleet(self._create_app, size, store=self.store, config=config)
        self.apps = [copy.app for copy in self.fleet.copies if isinstance(copy.app, Flask)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.close()

    def folder(self, n: int) -> str:
        """Return the path of copy n's folder."""
        return os.path.join(self.fleet.copies[n].disk, "files")

    def do(self, n: int, doing: Doing, *, status: int = 200, method: str = "post") -> str:
        """Let a view of copy n do something in its folder, and return what it said."""
        self._doing = doing
        answer = self.apps[n].test_client().open("/", method=method)
        assert answer.status_code == status, answer.text
        return answer.text

    def read(self, n: int, name: str) -> bytes:
        """Let a view of copy n read a file."""
        found: list[bytes] = []
        self.do(n, lambda folder: found.append(read(os.path.join(folder, name))))
        return found[0]

    def has(self, n: int, name: str) -> bool:
        """Let a view of copy n ask whether there is a file."""
        return self.do(n, lambda folder: os.path.exists(os.path.join(folder, name))) == "True"

    def handoff(self, n: int) -> Any:
        """Return copy n's rooms."""
        return self.apps[n].extensions["s3handoff"].handoff

    def asked(self, *verbs: str) -> list[tuple[str, str]]:
        """Return what the store was asked, and forget it."""
        calls = [call for call in self.store.calls if not verbs or call[0] in verbs]
        self.store.calls.clear()
        return calls

    def _create_app(self, config: dict[str, Any]) -> Flask:
        app = Flask(__name__)
        folder = os.path.join(config["FLEET_DISK"], "files")
        os.makedirs(folder, exist_ok=True)
        app.config.from_mapping(S3HANDOFF_PATHS=[])
        app.config.from_mapping(config)
        app.config.setdefault("S3HANDOFF_PLACES", {"files/": {"path": folder, **self._options}})
        app.config["PROPAGATE_EXCEPTIONS"] = False
        S3Handoff(app)

        @app.route("/", methods=["GET", "POST"])
        def view() -> str:
            return str(self._doing(folder))

        @app.post("/save")
        def save() -> str:
            request.files["file"].save(os.path.join(folder, request.form["name"]))
            return "saved"

        @app.post("/async")
        async def later() -> str:
            return str(self._doing(folder))

        return app


def read(path: str) -> bytes:
    """Read a file as an app does."""
    with open(path, "rb") as file:
        return file.read()


def write(name: str, data: bytes, mode: str = "wb") -> Doing:
    """Return what writes a file as an app does."""

    def doing(folder: str) -> None:
        with open(os.path.join(folder, name), mode) as file:
            file.write(data if "b" in mode else data.decode())

    return doing


def put_unseen(path: str, data: bytes) -> None:
    """Write a file as another program would: no hook of this process sees it."""
    with unwatched(), open(path, "wb") as file:
        file.write(data)


def read_unseen(path: str) -> bytes:
    """Read a file as another program would."""
    with unwatched():
        return read(path)


def steps(*doings: Doing) -> Doing:
    """Return what does one after the other, and says what the last one said."""
    return lambda folder: [doing(folder) for doing in doings][-1]


def wait_for_key(shelf: Shelf, key: str) -> None:
    """Wait until the store has a key."""
    wait_until(lambda: set(shelf.store.keys()) >= {key}, what=f"{key} in the store")
