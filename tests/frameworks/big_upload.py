"""One large file through the middleware, and through another one: how much memory that takes.

    python -m tests.frameworks.big_upload 256

Prints the growth of the process in MiB, after a small file has gone the same way; fails if that is
more than what four threads and their buffers take, whatever the size.
"""

from __future__ import annotations

import hashlib
import os
import re
import resource
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_s3handoff.wsgi import Handoff, HandoffMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

MIB = 1 << 20
MIB_ALLOWED = 16.0
BLOCK = os.urandom(MIB)
HEAD = b'--B\r\nContent-Disposition: form-data; name="film"; filename="film.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
TAIL = b"\r\n--B--\r\n"


class Generated:
    """A body that is made while it is read: ``mib`` blocks, each of them different."""

    def __init__(self, mib: int) -> None:
        self.size = len(HEAD) + mib * MIB + len(TAIL)
        self._chunks = self._body(mib)
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._rest = self._rest or next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _body(self, mib: int) -> Iterator[bytes]:
        yield HEAD
        yield from blocks(mib)
        yield TAIL


def blocks(mib: int) -> Iterator[bytes]:
    """Return the file."""
    for number in range(mib):
        yield number.to_bytes(8) + BLOCK[8:]


def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Hash the file part of the body as it comes, and answer with a form."""
    size, digest, tail = int(environ["CONTENT_LENGTH"]), hashlib.sha256(), b""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += environ["wsgi.input"].readline()
    boundary = head.split(b"\r\n")[0]
    left = size - len(head) - len(b"\r\n" + boundary + b"--\r\n")
    while left:
        data = environ["wsgi.input"].read(min(65_536, left))
        digest.update(data)
        left -= len(data)
    tail = environ["wsgi.input"].read(1000)
    assert tail == b"\r\n" + boundary + b"--\r\n", tail
    start_response("200 OK", [("Content-Type", "text/html"), ("X-Digest", digest.hexdigest())])
    return [b"<form method=post></form>"]


def server(folder: Path, name: str) -> HandoffMiddleware:
    """Return one server: its own work folder, the common store."""
    settings = {
        "S3HANDOFF_STORE": f"dir:{folder / 'store'}",
        "S3HANDOFF_WORK_DIR": str(folder / name),
    }
    secret = {
        "SECRET_KEY": "0123456789abcdef",
        "S3HANDOFF_BIND": "off",
        "S3HANDOFF_REDIRECTS": False,
    }
    return HandoffMiddleware(app, Handoff.from_mapping({**settings, **secret}))


def post(middleware: HandoffMiddleware, stream: Any, size: int, content_type: str) -> Any:
    """Send a body; return the page and the digest of the file that the app read."""
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ |= {"wsgi.input": stream, "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(size)}
    page, status, headers = run_wsgi_app(middleware, environ, buffered=True)
    assert status == "200 OK", (status, b"".join(page))
    return b"".join(page).decode(), headers["X-Digest"]


def carry(folder: Path, mib: int) -> None:
    """Upload on one server, send the token to another: the app reads the same bytes on both."""
    body = Generated(mib)
    page, uploaded = post(server(folder, "one"), body, body.size, "multipart/form-data; boundary=B")
    (token,) = re.findall(r'name="_s3handoff" value="([^"]+)"', page)
    form = f"_s3handoff={token}".encode()
    middle = server(folder, "two")
    _, carried = post(middle, Whole(form), len(form), "application/x-www-form-urlencoded")
    expected = hashlib.sha256()
    for block in blocks(mib):
        expected.update(block)
    assert uploaded == carried == expected.hexdigest()


class Whole:
    """A small body."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data, self._data = self._data[:size], self._data[size:]
        return data


def peak_mib() -> float:
    """Return the most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(mib: int) -> int:
    """Carry a small file, then the large one."""
    with tempfile.TemporaryDirectory() as folder:
        carry(Path(folder) / "small", 48)
        before = peak_mib()
        carry(Path(folder) / "large", mib)
    growth = peak_mib() - before
    print(f"{mib} MiB through two servers: {growth:.1f} MiB more memory")
    return 0 if growth < MIB_ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
