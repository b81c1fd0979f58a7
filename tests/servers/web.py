"""Real web servers: gunicorn and waitress processes, and haproxy or nginx in front of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.sentinels import found
from tests.servers.process import (
    Process,
    clean_env,
    find_command,
    free_ports,
    listens,
    missing_commands,
    running,
    scratch,
    wait_until,
)

ROOT = Path(__file__).resolve().parents[2]

# Written by each worker after it has loaded the app; a request to find out would count as one.
READY = "worker has loaded the app"
HOOKS = f"""
def post_worker_init(worker):
    worker.log.info({READY!r})
"""

HAPROXY = """\
global
  stats socket {folder}/admin.sock mode 600 level admin
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  option forwardfor
  # Each request is dealt out anew, none rides on an earlier request's connection.
  option http-server-close
  # A backend that has just been killed refuses the connection: try the next one.
  option redispatch 1
  retries 5
frontend f
  bind 127.0.0.1:{port}
  default_backend app
backend app
  balance {balance}
"""

NGINX = """\
daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache levels=1 keys_zone=pages:1m;
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 100m;
    location / {{
      proxy_pass http://127.0.0.1:{backend};
      proxy_set_header Host $http_host;
      add_header X-Cache $upstream_cache_status always;
      {options}
    }}
  }}
}}
"""


@dataclass(frozen=True)
class WebServer:
    """A gunicorn or waitress: its master's id, its port, its log."""

    process: Process
    port: int

    @property
    def pid(self) -> int:
        """The id of the master process."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where it listens, without a closing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything it wrote so far."""
        return self.process.text()

    def kill9(self) -> None:
        """Kill the master and its workers at once."""
        self.process.kill9()

    def stop(self) -> None:
        """Ask it to finish its requests and end."""
        self.process.stop()


def gunicorn_available() -> str | None:
    """Why gunicorn cannot run here, or None."""
    return missing_commands("gunicorn")


@contextlib.contextmanager
def gunicorn(
    app: str,
    *,
    worker_class: str = "sync",
    workers: int = 1,
    threads: int = 4,
    preload: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Iterator[WebServer]:
    """Run an app, such as `"example_app.web:create_app()"`; `threads` count for gthread only.

    The process inherits no credentials: give it `s3.env`, and the app's settings, by `env`.
    """
    (port,) = free_ports(1)
    with scratch("s3h-gunicorn") as folder:
        hooks = folder / "hooks.py"
        hooks.write_text(HOOKS)
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            app,
            f"--config={hooks}",
            "--no-control-socket",
        ]
        command += [f"--bind=127.0.0.1:{port}", f"--workers={workers}", "--graceful-timeout=5"]
        command += [f"--worker-class={worker_class}", f"--worker-tmp-dir={folder}"]
        command += [f"--threads={threads}"] if worker_class == "gthread" else []
        command += ["--preload"] if preload else []
        own = {"PYTHONPATH": f"{cwd}:{ROOT}", "PYTHONUNBUFFERED": "1", **(env or {})}
        process = Process(command, log=folder / "gunicorn.log", env=clean_env(own), cwd=cwd)
        with running(process, lambda: process.text().count(READY) >= workers):
            yield WebServer(process, port)
        assert not list(found(process.text())), "told in the log of gunicorn (T38)"


def waitress_available() -> str | None:
    """Why waitress cannot run here, or None."""
    return missing_commands("waitress-serve")


@contextlib.contextmanager
def waitress(
    app: str, *, threads: int = 4, env: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> Iterator[WebServer]:
    """Run an app, named as for `gunicorn`, in one process of threads."""
    (port,) = free_ports(1)
    with scratch("s3h-waitress") as folder:
        command = [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{port}"]
        command += [f"--threads={threads}", "--call", app.removesuffix("()")]
        own = {"PYTHONPATH": f"{cwd}:{ROOT}", "PYTHONUNBUFFERED": "1", **(env or {})}
        process = Process(command, log=folder / "waitress.log", env=clean_env(own), cwd=cwd)
        with running(process, lambda: listens(port)):
            yield WebServer(process, port)
        assert not list(found(process.text())), "told in the log of waitress (T38)"


@dataclass(frozen=True)
class LoadBalancer:
    """A haproxy: where it listens, and a way to take backends out and in."""

    process: Process
    port: int
    socket_path: Path

    @property
    def url(self) -> str:
        """Where it listens, without a closing slash."""
        return f"http://127.0.0.1:{self.port}"

    def drain(self, index: int) -> None:
        """Send no more requests to this backend (0 is the first)."""
        self.tell(f"disable server app/s{index}")

    def restore(self, index: int) -> None:
        """Send requests to this backend again."""
        self.tell(f"enable server app/s{index}")

    def up(self) -> int:
        """Count the backends that get requests."""
        rows = [row.split(",") for row in self.tell("show stat").splitlines()]
        return sum(
            row[0] == "app" and row[1] != "BACKEND" and row[17] == "UP" for row in rows if row[1:]
        )

    def wait_up(self, count: int) -> None:
        """Wait until the health checks see that many backends."""
        wait_until(lambda: self.up() == count, what=f"haproxy sees {count} backends")

    def tell(self, command: str) -> str:
        """Send a command to haproxy's admin socket and return its answer."""
        with socket.socket(socket.AF_UNIX) as admin:
            admin.settimeout(5)
            admin.connect(str(self.socket_path))
            admin.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: admin.recv(65536), b"")).decode()


def haproxy_available() -> str | None:
    """Why haproxy cannot run here, or None."""
    return missing_commands("haproxy")


@contextlib.contextmanager
def haproxy(
    backends: Sequence[int | str], *, balance: str = "roundrobin"
) -> Iterator[LoadBalancer]:
    """Balance over ports or URLs of 127.0.0.1; a dead backend is taken out within half a second."""
    (port,) = free_ports(1)
    with scratch("s3h-haproxy") as folder:
        conf = folder / "haproxy.cfg"
        servers = "".join(map(_backend, range(len(backends)), backends))
        conf.write_text(HAPROXY.format(folder=folder, port=port, balance=balance) + servers)
        command = [find_command("haproxy") or "haproxy", "-db", "-f", str(conf)]
        process = Process(command, log=folder / "haproxy.log")
        admin = folder / "admin.sock"  # appears after the port, a moment later
        with running(process, lambda: admin.exists() and listens(port)):
            balancer = LoadBalancer(process, port, admin)
            balancer.wait_up(len(backends))
            yield balancer


def _backend(index: int, where: int | str) -> str:
    port = str(where).rpartition(":")[2]
    return f"  server s{index} 127.0.0.1:{port} check inter 200 fall 1 rise 1\n"


@dataclass(frozen=True)
class Cache:
    """An nginx with a shared cache: where it listens, and what lies in its folder."""

    process: Process
    port: int
    folder: Path

    @property
    def url(self) -> str:
        """Where it listens, without a closing slash."""
        return f"http://127.0.0.1:{self.port}"

    def kept(self) -> list[bytes]:
        """Return every response that it keeps, head and body, with the URL that it is kept under."""
        return [path.read_bytes() for path in (self.folder / "cache").rglob("*") if path.is_file()]


def nginx_available() -> str | None:
    """Why nginx cannot run here, or None."""
    return None if find_nginx() else "not installed: nginx (make test-deps)"


def find_nginx() -> str | None:
    """Find nginx, which Debian keeps where only root looks."""
    return find_command("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(backend: int, *options: str) -> Iterator[Cache]:
    """Put nginx before a port of 127.0.0.1; `options` are directives of its `location /`.

    `proxy_cache pages;` keeps answers for as long as they allow it. `X-Cache` says whence each came.
    """
    (port,) = free_ports(1)
    with scratch("s3h-nginx") as folder:
        conf = folder / "nginx.conf"
        conf.write_text(
            NGINX.format(
                folder=folder,
                port=port,
                backend=backend,
                options="\n      ".join(options),
                user="user root;"
                if os.geteuid() == 0
                else "",  # else its workers are somebody else
            )
        )
        command = [
            find_nginx() or "nginx",
            "-p",
            str(folder),
            "-c",
            str(conf),
            "-e",
            str(folder / "error.log"),
        ]
        process = Process(command, log=folder / "nginx.log")
        with running(process, lambda: listens(port)):
            yield Cache(process, port, folder)
