"""Real parts for tests, each a context manager, each stopped by its own process id.

`available("rgw")` says why a part is missing, or None. In tests take the fixtures of conftest.py.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.servers.counting import CountingProxy, S3Request, counting_proxy
from tests.servers.process import Process, find_command, free_ports, scratch, wait_until
from tests.servers.rgw import rgw, rgw_available
from tests.servers.s3 import (
    S3Server,
    bucket,
    keys,
    moto_available,
    moto_server,
    unfinished_uploads,
    weed,
    weed_available,
)
from tests.servers.web import (
    ROOT,
    Cache,
    LoadBalancer,
    WebServer,
    gunicorn,
    gunicorn_available,
    haproxy,
    haproxy_available,
    nginx,
    nginx_available,
    waitress,
    waitress_available,
)

__all__ = [
    "ROOT",
    "Cache",
    "CountingProxy",
    "LoadBalancer",
    "Process",
    "S3Request",
    "S3Server",
    "WebServer",
    "available",
    "bucket",
    "counting_proxy",
    "find_chromium",
    "find_command",
    "free_ports",
    "gunicorn",
    "haproxy",
    "keys",
    "moto_server",
    "nginx",
    "rgw",
    "scratch",
    "unfinished_uploads",
    "wait_until",
    "waitress",
    "weed",
]


def find_chromium() -> str | None:
    """Find a browser: the system's, or the one that `playwright install chromium` brought."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    system = [Path(path) for path in map(find_command, names) if path]
    downloaded = Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome")
    # Ubuntu's `chromium` is a stub that only works where snaps do.
    usable = (path for path in [*system, *sorted(downloaded)] if not _is_snap_stub(path))
    return next(map(str, usable), None)


def _is_snap_stub(path: Path) -> bool:
    with path.open("rb") as program:
        return b"snap install" in program.read(4096)


def chromium_available() -> str | None:
    """Why there is no browser here, or None."""
    return None if find_chromium() else "not installed: chromium (make test-deps)"


_WHY_NOT: dict[str, Callable[[], str | None]] = {
    "chromium": chromium_available,
    "gunicorn": gunicorn_available,
    "haproxy": haproxy_available,
    "moto": moto_available,
    "nginx": nginx_available,
    "rgw": rgw_available,
    "waitress": waitress_available,
    "weed": weed_available,
}


def available(part: str) -> str | None:
    """Why this part cannot run here, or None when it can."""
    return _WHY_NOT[part]()
