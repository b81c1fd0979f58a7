"""A load balancer: deals out HTTP requests in turn, to whichever server is there. Never sticky.

One request per connection, both ways streamed as they come, so bodies need no understanding. It is
for a demo on one machine: no TLS, no keep-alive, no health checks but the connection itself.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import socketserver
import threading
from collections.abc import Sequence

from .child import HOST

MAX_HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 64 * 1024
IDLE_SECONDS = 60
LINGER_SECONDS = 10
_OURS = (b"connection:", b"keep-alive:", b"x-forwarded-")
_NOBODY = (
    b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
    b"No server took this request. Please try again.\n"
)


class Balancer(socketserver.ThreadingTCPServer):
    """Listens on a port and deals requests out to the ports of the servers behind it."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int, backends: Sequence[int]) -> None:
        super().__init__((HOST, port), _Connection)
        self._backends = list(backends)
        self._turns = itertools.count()

    def connect(self) -> socket.socket | None:
        """Connect to the next server; one that does not listen is passed over."""
        turn = next(self._turns)
        for step in range(len(self._backends)):
            port = self._backends[(turn + step) % len(self._backends)]
            with contextlib.suppress(OSError):
                return socket.create_connection((HOST, port), timeout=IDLE_SECONDS)
        return None


class _Connection(socketserver.BaseRequestHandler):
    """One request and its answer."""

    server: Balancer
    request: socket.socket

    def handle(self) -> None:
        self.request.settimeout(IDLE_SECONDS)
        head, body = self._read_head()
        if not head:
            return
        backend = self.server.connect()
        if backend is None:
            self.request.sendall(_NOBODY)
            return
        with backend:
            self._exchange(backend, self._forwarded(head) + body)

    def _read_head(self) -> tuple[bytes, bytes]:
        """Read up to the empty line; what came after it belongs to the body."""
        received = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in received and len(received) < MAX_HEAD_BYTES:
                chunk = self.request.recv(CHUNK_BYTES)
                if not chunk:
                    break
                received += chunk
        head, end, body = received.partition(b"\r\n\r\n")
        return (head, body) if end else (b"", b"")

    def _forwarded(self, head: bytes) -> bytes:
        """Say for whom we ask; believe nobody else who says so."""
        request_line, *headers = head.split(b"\r\n")
        kept = [line for line in headers if not line.lower().startswith(_OURS)]
        host = next((h[5:].strip() for h in headers if h.lower().startswith(b"host:")), b"")
        added = [
            b"X-Forwarded-For: " + self.client_address[0].encode(),
            b"X-Forwarded-Proto: http",
            b"X-Forwarded-Host: " + host,
            b"Connection: close",
        ]
        return b"\r\n".join([request_line, *kept, *added, b"", b""])

    def _exchange(self, backend: socket.socket, start: bytes) -> None:
        sender = threading.Thread(target=_pass_on, args=(self.request, backend, start), daemon=True)
        sender.start()
        if not _pass_on(backend, self.request):
            with contextlib.suppress(OSError):
                self.request.sendall(_NOBODY)
                self.request.shutdown(socket.SHUT_WR)
        # A server may answer "too large" before it has read everything. Who sends must not be cut
        # off, or the browser would show a lost connection in place of the answer.
        sender.join(LINGER_SECONDS)


def _pass_on(source: socket.socket, target: socket.socket, start: bytes = b"") -> int:
    """Copy until the source ends, and say how much; when the target is gone, read on.

    A source that had nothing to say leaves the target open for whoever has.
    """
    passed, target_is_there = 0, True
    with contextlib.suppress(OSError):
        chunk = start or source.recv(CHUNK_BYTES)
        while chunk:
            if target_is_there:
                target_is_there = _send(target, chunk)
            passed += len(chunk)
            chunk = source.recv(CHUNK_BYTES)
    if passed:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
    return passed


def _send(target: socket.socket, chunk: bytes) -> bool:
    try:
        target.sendall(chunk)
    except OSError:
        return False
    return True
