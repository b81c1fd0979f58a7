"""What every measurement stands on: an S3, a folder, and how many rounds there are."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3

from tests.servers import Process, S3Server, bucket, free_ports
from tests.servers.process import clean_env, listens, running

KIB, MIB = 1 << 10, 1 << 20
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ground:
    """An S3 server with a bucket, and a folder that is empty at first."""

    server: S3Server
    bucket: str
    folder: Path
    quick: bool
    share: int = 1  # of the rounds, for those in a hurry: one of so many

    def rounds(self, many: int, few: int = 3) -> int:
        """Return how many rounds to run: many for what is published, few for the gates."""
        return few if self.quick else max(few, many // self.share)

    def new_folder(self, name: str) -> Path:
        """Make a folder of our own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def steer(self, **settings: float) -> None:
        """Set the line: ``rtt`` in seconds, ``rate`` in bytes per second and connection."""
        self._bench(settings)

    def count(self) -> dict[str, int]:
        """Return what the fake S3 was asked since this was last called, by kind."""
        return self._bench({"reset": 1})

    def _bench(self, query: Mapping[str, float]) -> dict[str, int]:
        host = self.server.url.removeprefix("http://")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as connection:
            connection.request("GET", f"/_bench?{urlencode(query)}")
            counts: dict[str, int] = json.loads(connection.getresponse().read())
            return counts

    def client(self) -> Any:
        """Return a client as the article makes it: boto3's defaults."""
        return boto3.session.Session().client("s3", endpoint_url=self.server.url)

    @property
    def settings(self) -> dict[str, Any]:
        """Return what an app of ours is configured with."""
        return {
            "S3HANDOFF_BUCKET": self.bucket,
            "S3HANDOFF_ENDPOINT_URL": self.server.url,
            "S3HANDOFF_REGION": self.server.region,
        }


@contextlib.contextmanager
def fake_ground(folder: Path, *, quick: bool, share: int = 1) -> Iterator[Ground]:
    """Run the fake S3 in a process of its own."""
    (port,) = free_ports(1)
    server = S3Server("fake", f"http://127.0.0.1:{port}", "AKFAKE", "secret")
    command = [sys.executable, "-m", "benchmarks.fake_s3", str(port)]
    process = Process(command, log=folder / "fake_s3.log", env=clean_env(), cwd=ROOT)
    with running(process, lambda: listens(port)), credentials(server):
        yield Ground(server, "bench", folder / "fake", quick, share)


@contextlib.contextmanager
def real_ground(server: S3Server, ground: Ground) -> Iterator[Ground]:
    """Stand on a real server."""
    with credentials(server):
        folder = ground.folder / server.name
        yield replace(ground, server=server, bucket=bucket(server), folder=folder)


@contextlib.contextmanager
def credentials(server: S3Server) -> Iterator[None]:
    """Let the SDK's chain find the credentials of this server."""
    before = {name: os.environ.get(name) for name in server.env}
    os.environ.update(server.env)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
