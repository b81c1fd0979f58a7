"""Start it all, print one address, and wait for Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import json
import secrets
import signal
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from .balancer import Balancer
from .child import HOST, Child, DidNotStart, free_ports, is_free
from .store import BUCKET, REGION, Store, embedded_store

ROOT = Path(__file__).resolve().parents[2]
TRIED_PORTS = 100
LOOK_SECONDS = 0.5


class Stopped(BaseException):
    """Somebody asked us to end; no ``except Exception`` stands in the way."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo until it is asked to end."""
    options = _options(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with ExitStack() as stack:
            _run(stack, options.port, options.servers)
    except Stopped:
        _say("\nStopped. Nothing is left behind.")
    except DidNotStart as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m example_app.demo", description=__doc__)
    parser.add_argument("--port", type=int, default=8000, help="or the next free one (8000)")
    parser.add_argument("--servers", type=int, default=3, help="how many servers (3)")
    return parser.parse_args(arguments)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # an impatient second Ctrl-C must not leave things
    raise Stopped


def _run(stack: ExitStack, port: int, count: int) -> None:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="handoff-demo-")))
    _say("flask_s3handoff demo: starting …")
    store = stack.enter_context(embedded_store(_made(folder / "store")))
    ports = free_ports(count)
    servers = _start_servers(stack, folder, store, ports)
    balancer = stack.enter_context(_balanced(port, ports))
    _tell(store, servers, balancer.server_address[1])
    _watch(servers)


def _settings(store: Store) -> dict[str, Any]:
    """Return what all servers have in common: the bucket and the key that signs."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(32),
        "S3HANDOFF_BUCKET": BUCKET,
        "S3HANDOFF_REGION": REGION,
        "S3HANDOFF_ENDPOINT_URL": store.url,
    }


def _start_servers(
    stack: ExitStack,
    folder: Path,
    store: Store,
    ports: Sequence[int],
) -> list[Child]:
    settings = _settings(store)
    servers = []
    for number, port in enumerate(ports, start=1):
        own = _made(folder / f"server-{number}")
        env = {**_environment(str(number), own, settings), **store.credentials}
        servers.append(Child(f"server {number}", _gunicorn(port), folder=own, env=env))
        stack.callback(servers[-1].stop)
    for server in servers:
        stack.callback(server.ask_to_stop)  # all are asked before the first is waited for
    for server, port in zip(servers, ports, strict=True):
        server.wait_for(partial(_answers, port))
    return servers


def _environment(label: str, folder: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return what one server is told: the common settings, and a folder of its own."""
    own = {"LABEL": label, "S3HANDOFF_WORK_DIR": str(folder / "work")}
    return {f"FLASK_{name}": json.dumps(value) for name, value in {**settings, **own}.items()}


def _gunicorn(port: int) -> list[str]:
    command = [sys.executable, "-m", "gunicorn", "example_app:create_app()", f"--chdir={ROOT}"]
    command += [f"--bind={HOST}:{port}", "--worker-class=gthread", "--threads=8"]
    return [*command, "--graceful-timeout=2", "--no-control-socket"]


def _answers(port: int) -> bool:
    """Ask for the first page: nobody should wait for a server that still loads its modules."""
    try:
        urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=20).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def _balanced(port: int, backends: Sequence[int]) -> Iterator[Balancer]:
    """Listen on the port that was asked for, or on the next that is free."""
    free = next((p for p in range(port, port + TRIED_PORTS) if is_free(p)), None)
    if free is None:
        raise DidNotStart(f"No free port from {port} to {port + TRIED_PORTS - 1}: use --port.")
    with Balancer(free, backends) as balancer:
        thread = threading.Thread(target=balancer.serve_forever, daemon=True)
        thread.start()
        try:
            yield balancer
        finally:
            balancer.shutdown()
            thread.join()


def _tell(store: Store, servers: Sequence[Child], port: int) -> None:
    _say(f"\n  store     {store.name} at {store.url}, bucket {BUCKET}")
    if store.remark:
        _say(f"            {store.remark}")
    for server in servers:
        _say(f"  {server.name}  process {server.pid}")
    _say(f"\n  Open      http://{HOST}:{port}/\n")
    _say("Each request goes to the next server. They share nothing but the store.")
    _say(f"End one of them (kill {servers[0].pid}) and go on. Ctrl-C ends the demo.")


def _watch(servers: Sequence[Child]) -> NoReturn:
    """Wait for a signal; say so when a server has gone."""
    left = list(servers)
    while True:
        time.sleep(LOOK_SECONDS)
        for server in [server for server in left if not server.is_running]:
            left.remove(server)
            _say(f"{server.name} has gone; {len(left)} left.")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
