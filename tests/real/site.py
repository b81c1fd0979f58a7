"""A site for tests: servers that share nothing but S3, behind a load balancer."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.real.browser import Browser
from tests.sentinels import sentinel
from tests.servers import (
    S3Server,
    WebServer,
    bucket,
    gunicorn,
    haproxy,
    scratch,
    waitress,
)

AVATAR = "tests.apps.avatar:create_app()"
DOCUMENTS = "tests.apps.documents:create_app()"
LABELS = "ABC"


@dataclass(frozen=True)
class Site:
    """Servers by their label, the folder of each, and the bucket that they share."""

    url: str
    servers: Mapping[str, WebServer]
    folders: Mapping[str, Path]
    s3: S3Server
    bucket: str

    def browser(self) -> Browser:
        """A new person."""
        return Browser(self.url)

    def kill9(self, label: str) -> None:
        """End a server as a power cut would, and its disk with it."""
        self.servers[label].kill9()

    def stored(self, key: str) -> bytes:
        """Return what the bucket has under a key, as the server itself gives it."""
        body: bytes = self.s3.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return body


def environment(s3: S3Server, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of a server: its credentials, and the app's settings as Flask reads them."""
    return s3.env | {f"FLASK_{name}": json.dumps(value) for name, value in settings.items()}


Serve = Callable[..., AbstractContextManager[WebServer]]
SERVERS: dict[str, Serve] = {
    "sync": partial(gunicorn, worker_class="sync"),
    "gthread": partial(gunicorn, worker_class="gthread"),
    "preload": partial(gunicorn, worker_class="gthread", preload=True),
    "gevent": partial(gunicorn, worker_class="gevent"),
    "waitress": waitress,
}


@contextmanager
def site(
    s3: S3Server,
    *,
    app: str = AVATAR,
    labels: str = LABELS,
    serve: Serve = SERVERS["gthread"],
    through: S3Server | None = None,
    config: Mapping[str, Any] | None = None,
) -> Iterator[Site]:
    """Run one server per label, and haproxy before them if there are several.

    ``through`` is the S3 as the servers see it, such as a counting proxy's.
    """
    seen = through or s3
    name = bucket(s3)
    shared = {
        "SECRET_KEY": sentinel(secrets.token_hex(32)),
        "S3HANDOFF_BUCKET": name,
        "S3HANDOFF_ENDPOINT_URL": seen.url,
        "S3HANDOFF_REGION": seen.region,
        **(config or {}),
    }
    with ExitStack() as stack:
        home = stack.enter_context(scratch("s3h-site"))
        folders = {label: home / label for label in labels}
        own = {
            label: {"LABEL": label, "S3HANDOFF_WORK_DIR": str(folders[label])} for label in labels
        }
        starts = {label: serve(app, env=environment(seen, shared | own[label])) for label in labels}
        servers = _all_started(stack, starts)
        url = next(iter(servers.values())).url
        if len(labels) > 1:
            ports = [server.port for server in servers.values()]
            url = stack.enter_context(haproxy(ports)).url
        yield Site(url, servers, folders, s3, name)
        for server in servers.values():
            server.kill9()  # an orderly end takes a second each


def _all_started(
    stack: ExitStack, starts: Mapping[str, AbstractContextManager[WebServer]]
) -> dict[str, WebServer]:
    """Start servers beside each other: each takes a second to import its app."""
    with ThreadPoolExecutor(len(starts)) as threads:
        started = threads.map(stack.enter_context, starts.values())
        return dict(zip(starts, started, strict=True))
