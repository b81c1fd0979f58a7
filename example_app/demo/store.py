"""The embedded object storage: SeaweedFS, or moto where that does not run."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from .child import HOST, Child, DidNotStart, free_ports, running

BUCKET = "handoff-demo"
REGION = "us-east-1"
WITHOUT_STORE = (
    "There is no S3 here: install SeaweedFS (requirements/s3server.txt) or moto"
    " (requirements/moto.txt)."
)


@dataclass(frozen=True)
class Store:
    """Where the storage listens, who may use it, and what to say of it."""

    name: str
    url: str
    access_key: str
    secret_key: str
    remark: str = ""

    @property
    def credentials(self) -> dict[str, str]:
        """What a server needs in its environment, and nowhere else."""
        return {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def create_bucket(self) -> bool:
        """Create the bucket; False as long as the storage cannot do it."""
        try:
            _client(self).create_bucket(Bucket=BUCKET)
        except (BotoCoreError, ClientError):
            return False
        return True


@contextlib.contextmanager
def embedded_store(folder: Path) -> Iterator[Store]:
    """Run a storage that keeps its files in this folder, with credentials that no other run has."""
    access_key, secret_key = "AK" + secrets.token_hex(8).upper(), secrets.token_hex(20)
    with contextlib.ExitStack() as stack:
        weed = find_weed()
        try:
            store = stack.enter_context(_seaweedfs(weed, folder, access_key, secret_key))
        except (DidNotStart, OSError):
            store = stack.enter_context(_moto(access_key, secret_key))
        yield store


def find_weed() -> str:
    """Return SeaweedFS's command: beside this Python, where its wheel puts it, or on the path."""
    beside = Path(sys.executable).parent / "weed"
    return str(beside) if beside.exists() else shutil.which("weed") or "weed"


@contextlib.contextmanager
def _seaweedfs(weed: str, folder: Path, access_key: str, secret_key: str) -> Iterator[Store]:
    services = ("s3", "master", "volume", "filer", "admin")
    flags = [f"-{name}.port{kind}" for name in services for kind in ("", ".grpc")]
    ports = free_ports(len(flags))
    store = Store("SeaweedFS", f"http://{HOST}:{ports[0]}", access_key, secret_key)
    command = [weed, "mini", f"-ip={HOST}", f"-ip.bind={HOST}", f"-dir={folder / 'data'}"]
    command += ["-master.telemetry=false", "-webdav=false", "-admin.ui=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]  # two ports less that others may use
    command += [f"-s3.localSocket={folder / 's3.sock'}"]  # else it stays among the temp files
    command += [f"{flag}={port}" for flag, port in zip(flags, ports, strict=True)]
    child = Child(store.name, command, folder=folder, env=store.credentials)
    with running(child, store.create_bucket):
        yield store


@contextlib.contextmanager
def _moto(access_key: str, secret_key: str) -> Iterator[Store]:
    try:
        from moto.server import ThreadedMotoServer  # seconds to load, and mostly not needed
    except ImportError as error:
        raise DidNotStart(WITHOUT_STORE) from error
    server = ThreadedMotoServer(ip_address=HOST, port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        remark = "SeaweedFS does not run here. moto checks no signatures: for a look only."
        store = Store("moto", f"http://{HOST}:{port}", access_key, secret_key, remark)
        store.create_bucket()
        yield store
    finally:
        server.stop()


def _client(store: Store) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        region_name=REGION,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        config=Config(
            proxies={},
            connect_timeout=2,
            read_timeout=10,
            retries={"total_max_attempts": 1},
            s3={"addressing_style": "path"},
        ),
    )
