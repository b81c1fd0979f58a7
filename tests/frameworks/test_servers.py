"""The wrapped apps under the servers that people run: gunicorn and waitress, two of each."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from tests import servers
from tests.conftest import need
from tests.servers import WebServer

PICTURE = b"\x89PNG\r\n\x1a\n the picture of Leo" * 20_000
HEAD = b'--B\r\nContent-Disposition: form-data; name="avatar"; filename="leo.png"\r\nContent-Type: image/png\r\n\r\n'
BODY = HEAD + PICTURE + b"\r\n--B--\r\n"
MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}


class Pair(NamedTuple):
    """Two servers with a disk each, and one store."""

    first: WebServer
    second: WebServer


Start = Callable[[str, dict[str, str]], AbstractContextManager[WebServer]]
KINDS: dict[str, Start] = {
    "gunicorn sync": lambda app, env: servers.gunicorn(app, env=env),
    "gunicorn gthread": lambda app, env: servers.gunicorn(app, worker_class="gthread", env=env),
    "gunicorn gevent": lambda app, env: servers.gunicorn(app, worker_class="gevent", env=env),
    "waitress": lambda app, env: servers.waitress(app, env=env),
}


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Two of each kind, with the app that is no framework's."""
    need(request.param.split()[0])
    with ExitStack() as stack:
        both = [
            KINDS[request.param](
                "tests.frameworks.served:create_app()",
                {
                    "APP": "bare",
                    "SECRET_KEY": "0123456789abcdef" * 2,
                    "S3HANDOFF_STORE": f"dir:{tmp_path / 'store'}",
                    "S3HANDOFF_WORK_DIR": str(tmp_path / name),
                },
            )
            for name in ("first", "second")
        ]
        yield Pair(*map(stack.enter_context, both))


def token_of(page: requests.Response) -> str:
    """Return the token of a page."""
    found = re.search(r'name="_s3handoff" value="([^"]+)"', page.text)
    assert found, page.text
    return found[1]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_goes_from_one_server_to_the_other(pair: Pair, chunked: bool) -> None:
    """Also if the body comes without a length (B7); the connection serves more than one request."""
    body = (BODY[at : at + 70_001] for at in range(0, len(BODY), 70_001)) if chunked else BODY
    title = b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\n\r\n'
    with requests.Session() as browser:
        sent = (chunk for part in (title, *body) for chunk in [part]) if chunked else title + BODY
        page = browser.post(f"{pair.first.url}/add", data=sent, headers=MULTIPART)
        assert page.status_code == 422
        cropped = browser.post(
            f"{pair.second.url}/crop", data={"_s3handoff": token_of(page), "width": "99"}
        )
        saved = browser.post(f"{pair.first.url}/save", data={"_s3handoff": token_of(cropped)})

    assert saved.text == "users/654/avatar.png leo.png image/png 99"


def test_a_line_that_breaks_leaves_nothing(pair: Pair, tmp_path: Path) -> None:
    """B5, rule 3: half a file is none, on either disk and in the store; the server goes on."""
    connection = http.client.HTTPConnection("127.0.0.1", pair.first.port, timeout=20)
    connection.putrequest("POST", "/add")
    for name, value in {**MULTIPART, "Content-Length": str(len(BODY))}.items():
        connection.putheader(name, value)
    connection.endheaders(BODY[: len(BODY) // 2])
    connection.close()
    with requests.Session() as browser:
        assert browser.get(f"{pair.first.url}/").status_code == 200

    assert [
        p for p in tmp_path.rglob("*") if p.is_file() and p.stat().st_size > 0 and "2" in p.parts
    ] == []
    assert not list((tmp_path / "first").glob("2*"))
    assert not list((tmp_path / "store").rglob("*.png"))


def test_the_error_of_a_stranger_reaches_the_browser(pair: Pair) -> None:
    """Answered before the app is called, with the body read: the connection stays usable."""
    title = b'--B\r\nContent-Disposition: form-data; name="title"\r\n\r\n\r\n'
    page = requests.post(f"{pair.first.url}/add", data=title + BODY, headers=MULTIPART)
    with requests.Session() as stranger:
        answer = stranger.post(
            f"{pair.second.url}/crop", data={"_s3handoff": token_of(page), "width": "9"}
        )
        assert answer.status_code == 403
        assert stranger.get(f"{pair.second.url}/").status_code == 200
