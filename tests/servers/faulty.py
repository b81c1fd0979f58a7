"""A network that fails: a TCP proxy with faults, and a load balancer that sends a POST twice."""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.servers.relay import Relay, shut

BLOCK = 16384
PATIENCE_SECONDS = 60


@dataclass
class Faults:
    """What is wrong with the wire, for connections of any age.

    ``up`` is from the client to the server. Limits count the bytes of one connection. With ``first``
    only so many connections from now on have them.
    """

    first: int | None = None

    latency_seconds: float = 0.0
    bytes_per_second: float | None = None
    reset_after_up: int | None = None
    cut_after_down: int | None = None
    blackhole: bool = False
    refuse: bool = False


class FaultProxy(Relay):
    """Passes bytes on as ``faults`` allow.

    >>> with fault_proxy(server.port) as wire:                   # doctest: +SKIP
    ...     wire.fail(blackhole=True)
    """

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.faults = Faults()
        self.connections = 0
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Let nobody wait, and end."""
        self._stopping.set()
        super().stop()

    def fail(self, **faults: Any) -> None:
        """Have these faults from now on; none given is a wire that is well."""
        self.connections = 0
        self.faults = Faults(**faults)

    def reset_all(self) -> None:
        """Reset every open connection, as a firewall does that has lost its state."""
        with self._lock:
            living = list(self._open)
        for connection in living:
            _will_reset(connection)
            shut(connection, socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        if self.faults.refuse:
            _will_reset(client)
            client.close()
            return
        super()._serve(client)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        is_first = self.faults.first is None or self.connections <= self.faults.first
        down = self._spawn(self._pump, server, client, False, is_first)
        self._pump(client, server, True, is_first)
        down.join()

    def _pump(self, source: socket.socket, sink: socket.socket, up: bool, is_faulty: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK):
                faults = self.faults if is_faulty else Faults()
                self._hold(len(block), faults)
                limit = faults.reset_after_up if up else faults.cut_after_down
                if limit is not None and passed + len(block) > limit:
                    sink.sendall(block[: max(0, limit - passed)])
                    self._break(source, sink, up)
                    return
                sink.sendall(block)
                passed += len(block)
        shut(sink, socket.SHUT_WR)

    def _hold(self, size: int, faults: Faults) -> None:
        time.sleep(faults.latency_seconds)
        if faults.bytes_per_second:
            time.sleep(size / faults.bytes_per_second)
        while faults.blackhole and self.faults is faults and not self._stopping.wait(0.02):
            pass

    def _break(self, source: socket.socket, sink: socket.socket, up: bool) -> None:
        """Reset both ends on the way up; end quietly on the way down, as if that were all."""
        for connection in (source, sink):
            if up:
                _will_reset(connection)
            shut(connection, socket.SHUT_RDWR)


def _will_reset(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def fault_proxy(target: int) -> Iterator[FaultProxy]:
    """Put a faulty wire before a port."""
    proxy = FaultProxy(target)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


class Balancer(ThreadingHTTPServer):
    """A load balancer that buffers a request, sends it, and sends it again to the next server.

    It does so as nginx with ``proxy_next_upstream non_idempotent``: the first answer is lost, as by
    a reset. ``cut`` sends so many bytes of a body only, with a length that fits (F27).
    """

    daemon_threads = True

    def __init__(self, backends: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Replaying)
        self.backends = backends
        self.replays = True
        self.cut: int | None = None
        self.answers: list[int] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Serve until the end of the block."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield self
        finally:
            self.shutdown()
            self.server_close()
            thread.join(10)


class _Replaying(BaseHTTPRequestHandler):
    server: Balancer

    def do_GET(self) -> None:
        """Pass a GET on, once."""
        self._pass_on(self.server.backends[:1])

    def do_POST(self) -> None:
        """Pass a POST on, and once more to the next server."""
        self._pass_on(self.server.backends if self.server.replays else self.server.backends[:1])

    def _pass_on(self, backends: list[int]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))[: self.server.cut]
        for port in backends:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            with contextlib.closing(connection):
                headers = {**self.headers, "Content-Length": str(len(body)), "Connection": "close"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                data = answer.read()
            self.server.answers.append(answer.status)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
