"""Something that listens on loopback and passes on what comes, with a thread for each direction."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


class Relay:
    """Accepts connections, and gives each its own to the target; ``_carry`` says what passes."""

    def __init__(self, target: int) -> None:
        """Bind a port; ``start`` accepts connections."""
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Accept connections in the background."""
        self._spawn(self._accept)

    def stop(self) -> None:
        """Close every connection and wait for the threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
        self._listener.close()
        with self._lock:
            living = list(self._open)
        for connection in living:
            shut(connection, socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(5)

    def _spawn(self, work: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=work, args=args, name=type(self).__name__, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._spawn(self._serve, self._listener.accept()[0])

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), self._connected() as server:
            for connection in (client, server):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._tracked(client, server):
                self._carry(client, server)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        raise NotImplementedError

    def _connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._target))

    @contextlib.contextmanager
    def _tracked(self, *connections: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.update(connections)
        try:
            yield
        finally:
            with self._lock:
                self._open.difference_update(connections)


def shut(connection: socket.socket, how: int) -> None:
    """Shut a connection down, unless it is gone already."""
    with contextlib.suppress(OSError):
        connection.shutdown(how)
