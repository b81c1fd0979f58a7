"""One real server as a child process: started, awaited, stopped by its own id, its log kept."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

# Below the kernel's ephemeral range: no outgoing connection can sit on a server's port.
FIRST_PORT, LAST_PORT = 10_000, 32_000
_dice = random.SystemRandom()


def free_ports(count: int) -> list[int]:
    """Choose free ports on 127.0.0.1, at random, so that parallel runs do not meet."""
    ports: set[int] = set()
    while len(ports) < count:
        port = _dice.randrange(FIRST_PORT, LAST_PORT)
        if _is_free(port):
            ports.add(port)
    return list(ports)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(condition: Callable[[], T], *, what: str, seconds: float = 30.0) -> T:
    """Poll until the condition is true and return its value, or say what was awaited in vain.

    >>> wait_until(lambda: 1 + 1, what="arithmetic")
    2
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.02)
    return value


def answers_http(url: str) -> bool:
    """Is there an HTTP answer of any status?"""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False
    return True


def listens(port: int) -> bool:
    """Does a server accept connections on this port?"""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def missing_commands(*commands: str) -> str | None:
    """Say which of the commands are not installed, or None."""
    absent = [command for command in commands if find_command(command) is None]
    return f"not installed: {', '.join(absent)} (make test-deps)" if absent else None


def find_command(command: str) -> str | None:
    """Find a command beside this Python (a wheel brought it) or on the PATH."""
    beside = Path(sys.executable).parent / command
    return str(beside) if beside.exists() else shutil.which(command)


def clean_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Copy the environment without what would change another program's Python or credentials."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AWS_", "FLASK_"))}
    return {**kept, **(extra or {})}


@contextlib.contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Lend a temporary folder with a short name: Unix sockets allow about 100 characters."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Process:
    """A child in its own process group, writing to a log file."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start the command; `log` receives both of its outputs."""
        self.name = Path(command[0]).name
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=clean_env() if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The id of the child, which is also that of its group."""
        return self._child.pid

    @property
    def running(self) -> bool:
        """Is the child still there?"""
        return self._child.poll() is None

    def text(self) -> str:
        """Read the whole log."""
        return self.log.read_text(errors="replace")

    def wait_ready(self, ready: Callable[[], object], *, seconds: float = 30.0) -> None:
        """Wait for the condition; a child that ends first or is late fails with its log."""
        try:
            wait_until(
                lambda: not self.running or ready(), what=f"{self.name} ready", seconds=seconds
            )
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.text()[-4000:]}") from None
        if not self.running:
            raise RuntimeError(f"{self.name} ended at start:\n{self.text()[-4000:]}")

    def kill9(self) -> None:
        """Kill the child and its children at once, as a power cut would."""
        self._signal(signal.SIGKILL)
        self._child.wait(10)

    def stop(self, seconds: float = 5.0) -> None:
        """Ask the child to end; kill it when it does not within the given time."""
        if self.running:
            self._child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(seconds)
        self.kill9()

    def _signal(self, number: signal.Signals) -> None:
        # The group outlives its leader while a worker is left: asked even of a dead child.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


@contextlib.contextmanager
def running(
    process: Process, ready: Callable[[], object], *, grace: float = 5.0
) -> Iterator[Process]:
    """Lend a process once it is ready; stop it in the end, on every path."""
    try:
        process.wait_ready(ready)
        yield process
    finally:
        process.stop(grace)
