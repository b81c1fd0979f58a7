"""A server that runs as a child process: started, awaited, and ended by its own id."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 5.0
# Below the range from which the system takes the ports of outgoing connections.
_PORTS = range(10_000, 32_000)


class DidNotStart(RuntimeError):
    """A server ended at once, or never became ready; the message holds the end of its log."""


class Child:
    """A process with a group of its own, so that a Ctrl-C in the terminal reaches only us."""

    def __init__(
        self, name: str, command: Sequence[str], *, folder: Path, env: Mapping[str, str]
    ) -> None:
        """Start it in this folder; its output goes to ``log`` there, temporary files to ``tmp``."""
        self.name = name
        self.log = folder / "log"
        temp = folder / "tmp"
        temp.mkdir()
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 - the commands are ours
                command,
                cwd=folder,
                env=clean_env({**env, "TMPDIR": str(temp)}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the process and of its group."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Is it still there?"""
        return self._process.poll() is None

    def wait_for(self, is_ready: Callable[[], bool]) -> None:
        """Return when it is ready, or raise ``DidNotStart``."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if not self.is_running or time.monotonic() > deadline:
                log = self.log.read_text(errors="replace")
                raise DidNotStart(f"{self.name} did not start:\n{log[-2000:]}")
            time.sleep(0.05)

    def ask_to_stop(self) -> None:
        """Ask it to end; several can be asked before one is waited for."""
        if self.is_running:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until it has ended, and end what is left of it."""
        self.ask_to_stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        # Workers may outlive the process that began them: the group is asked either way.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def running(child: Child, is_ready: Callable[[], bool]) -> Iterator[Child]:
    """Lend a child when it is ready; stop it on every path."""
    try:
        child.wait_for(is_ready)
        yield child
    finally:
        child.stop()


def clean_env(own: Mapping[str, str]) -> dict[str, str]:
    """Return our environment without accounts, settings and proxies of this machine."""
    foreign = ("AWS_", "FLASK_", "GUNICORN_", "WEB_CONCURRENCY")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    nobody = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return {**kept, **nobody, "AWS_EC2_METADATA_DISABLED": "true", "no_proxy": HOST, **own}


def free_ports(count: int) -> list[int]:
    """Choose free ports of this machine, at random, so that two demos do not meet."""
    candidates = random.SystemRandom().sample(_PORTS, len(_PORTS))
    free = (port for port in candidates if is_free(port))
    return [next(free) for _ in range(count)]


def is_free(port: int) -> bool:
    """Could a server listen here?"""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts(port: int) -> bool:
    """Does a server listen here?"""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
