"""The demo's load balancer: in turn, streaming, and past the servers that are gone."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from example_app.demo.balancer import Balancer

Answer = Callable[[socket.socket], None]
SECONDS = 10
OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@contextlib.contextmanager
def backend(answer: Answer) -> Iterator[int]:
    """Run a server that answers each connection as told; lend its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, answer))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


def _serve(listener: socket.socket, answer: Answer) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(SECONDS)
                answer(connection)


def says(text: bytes) -> Answer:
    """Answer with the same text, whatever is asked."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(OK + text)

    return answer


def echoes(connection: socket.socket) -> None:
    """Answer with the head of the request."""
    connection.sendall(OK + connection.recv(65536))


def refuses(connection: socket.socket) -> None:
    """Answer before the body was read, as a server does that finds it too large."""
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\n\r\nsmaller, please")


@contextlib.contextmanager
def balanced(*ports: int) -> Iterator[int]:
    """Run the balancer over these ports; lend its own."""
    with Balancer(0, ports) as balancer:
        thread = threading.Thread(target=balancer.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield balancer.server_address[1]
        finally:
            balancer.shutdown()
            thread.join(SECONDS)


def ask(port: int, request: bytes = b"GET / HTTP/1.1\r\nHost: demo\r\n\r\n") -> bytes:
    """Send a request, and read the answer to its end."""
    with visitor(port) as connection:
        connection.sendall(request)
        return read(connection)


def visitor(port: int) -> socket.socket:
    """Connect to the balancer."""
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def read(connection: socket.socket) -> bytes:
    """Read to the end."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def body(answer: bytes) -> bytes:
    """What comes after the head."""
    return answer.partition(b"\r\n\r\n")[2]


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_each_request_goes_to_the_next_server() -> None:
    """Round robin, never sticky."""
    with backend(says(b"a")) as a, backend(says(b"b")) as b, balanced(a, b) as port:
        assert [body(ask(port)) for _ in range(4)] == [b"a", b"b", b"a", b"b"]


def test_a_server_that_is_gone_is_passed_over() -> None:
    """Nobody notices."""
    with backend(says(b"b")) as b, balanced(free_port(), b, free_port()) as port:
        assert [body(ask(port)) for _ in range(4)] == [b"b"] * 4


@pytest.mark.parametrize("answer", [None, lambda connection: connection.recv(65536)])
def test_no_answer_at_all_is_a_502(answer: Answer | None) -> None:
    """No server is left, or the one that took the request has died over it."""
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(backend(answer)) if answer else free_port()
        port = stack.enter_context(balanced(behind))
        assert ask(port).startswith(b"HTTP/1.1 502 ")


def test_the_server_learns_for_whom_we_ask_from_us_alone() -> None:
    """What a visitor says about that is not believed; the host stays as it was."""
    spoofed = (
        b"GET /x HTTP/1.1\r\nHost: demo:8000\r\nX-Forwarded-For: 203.0.113.9\r\n"
        b"x-forwarded-proto: https\r\nConnection: keep-alive\r\n\r\n"
    )
    with backend(echoes) as behind, balanced(behind) as port:
        seen = body(ask(port, spoofed)).split(b"\r\n")
    assert seen[:2] == [b"GET /x HTTP/1.1", b"Host: demo:8000"]
    assert sorted(seen[2:-2]) == [
        b"Connection: close",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Host: demo:8000",
        b"X-Forwarded-Proto: http",
    ]


def test_a_body_is_passed_on_while_it_still_arrives() -> None:
    """The server has the first half before the second is sent."""
    has_first = threading.Event()

    def answer(connection: socket.socket) -> None:
        received = b""
        while b"first" not in received:
            received += connection.recv(65536)
        has_first.set()
        while b"second" not in received:
            received += connection.recv(65536)
        connection.sendall(OK + b"both")

    with backend(answer) as behind, balanced(behind) as port, visitor(port) as sender:
        sender.sendall(b"POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: 11\r\n\r\nfirst")
        assert has_first.wait(SECONDS)
        sender.sendall(b"second")
        assert read(sender).endswith(b"both")


def test_an_early_answer_reaches_who_is_still_sending() -> None:
    """20 MB are on their way when the server says "too large" and closes: the answer is read."""
    size = 20_000_000
    head = b"POST / HTTP/1.1\r\nHost: demo\r\nContent-Length: %d\r\n\r\n" % size
    with backend(refuses) as behind, balanced(behind) as port:
        assert ask(port, head + bytes(size)).endswith(b"smaller, please")


@pytest.mark.parametrize("request_bytes", [b"GET / HTTP/1.1\r\nHost:", b"\r\n" + b"x" * 70_000])
def test_half_a_request_is_dropped(request_bytes: bytes) -> None:
    """Nobody is asked, and the balancer goes on."""
    with backend(says(b"a")) as a, balanced(a) as port:
        with visitor(port) as sender, contextlib.suppress(ConnectionResetError):
            sender.sendall(request_bytes)
            sender.shutdown(socket.SHUT_WR)
            assert read(sender) == b""
        assert body(ask(port)) == b"a"
