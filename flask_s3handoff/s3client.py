"""The wall to boto3: clients made late and tuned once, foreign errors translated once.

This is the only room that imports boto3, and it does so when a client is first needed: importing
this package stays cheap, and gevent can patch before ssl is loaded (F33). An error of the SDK is
judged by what it says, not by its class, and leaves as one of ours (F5–F8, F12–F14).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import urlsplit

from .errors import (
    AlreadyExists,
    ConfigError,
    Corrupt,
    HandoffError,
    InvalidKey,
    Missing,
    TooLarge,
    Unavailable,
)
from .store import Unchanged

log = logging.getLogger("flask_s3handoff")

CONNECT_TIMEOUT_SECONDS = 3.0
MAX_CONNECTIONS = 32
ClientFactory = Callable[..., Any]


class Clients:
    """One client per process, region and endpoint, made on first use.

    boto3's clients may be shared by threads but not made by several at once, and their sockets
    must not outlive a fork: two processes on one connection read each other's answers (F31, F32).
    """

    def __init__(
        self, *, endpoint_url: str | None, deadline_seconds: float, factory: ClientFactory | None
    ) -> None:
        self._endpoint_url = endpoint_url
        self._deadline_seconds = deadline_seconds
        self._factory = factory
        self._own = _Own(os.getpid())

    def get(self, region: str | None, *, dotted: bool = False) -> Any:
        """Return this process's client for a region, and for buckets with a dot in their name."""
        own = self._own
        if own.pid != os.getpid():
            own = self._own = _Own(os.getpid())
        if (region, dotted) not in own.clients:
            with own.lock:
                if (region, dotted) not in own.clients:
                    own.clients[region, dotted] = self._make(own, region, dotted=dotted)
        return own.clients[region, dotted]

    def forget(self) -> None:
        """Start afresh, so that the SDK's chain is asked for credentials again (F5)."""
        self._own = _Own(os.getpid())

    def _make(self, own: _Own, region: str | None, *, dotted: bool) -> Any:
        if own.factory is None:
            own.factory = self._factory or _new_session().client
        make = partial(own.factory, "s3", region_name=region, endpoint_url=self._endpoint_url)
        client = make(config=self._config(self._endpoint_url, dotted=dotted))
        if not self._endpoint_url and not is_amazon(client):
            client = make(config=self._config(client.meta.endpoint_url, dotted=dotted))
        client.meta.events.register_last("before-call.s3", _adjust_headers)
        return client

    def _config(self, endpoint_url: str | None, *, dotted: bool) -> Any:
        return _tuned(self._deadline_seconds, _addressing(endpoint_url, dotted=dotted))


@dataclass(eq=False)
class _Own:
    """What belongs to one process."""

    pid: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    clients: dict[tuple[str | None, bool], Any] = field(default_factory=dict)
    factory: ClientFactory | None = None


def _new_session() -> Any:
    import boto3.session  # takes as long as two imports of Flask: not before it is needed
    import botocore.session

    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
    return boto3.session.Session(botocore_session=core)


def _timestamp(value: Any) -> datetime:
    """Read the date of a header; the SDK tries every format there is, for a twelfth of a GET."""
    from botocore.utils import parse_timestamp  # see _new_session

    with suppress(TypeError, ValueError):
        return parsedate_to_datetime(value)
    return cast(datetime, parse_timestamp(value))


def credentials_method() -> str | None:
    """Say where the SDK's chain finds credentials (``iam-role``, ``env``, …), or None."""
    found = _new_session().get_credentials()
    return found and str(found.method)


def host_region() -> str | None:
    """Return the region that this host is in, as its environment or its metadata service says."""
    from botocore.utils import InstanceMetadataRegionFetcher  # see _new_session

    said = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    region = said or InstanceMetadataRegionFetcher(timeout=1, num_attempts=1).retrieve_region()
    return region and str(region)


def is_amazon(client: Any) -> bool:
    """Tell whether this client asks Amazon; ``AWS_ENDPOINT_URL`` may say otherwise, too."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu"))


def _addressing(endpoint_url: str | None, *, dotted: bool) -> dict[str, Any]:
    """Return how the bucket is told, so that presigned URLs go to its own region (P13).

    Elsewhere than at Amazon the path is the one way that is sure to work. At Amazon a name with a
    dot breaks TLS unless it stands in the path, and then only dual-stack names have a region.
    """
    if endpoint_url:
        return {"addressing_style": "path"}
    if dotted:
        return {"addressing_style": "path", "use_dualstack_endpoint": True}
    return {"addressing_style": "virtual"}


def _tuned(deadline_seconds: float, addressing: dict[str, Any]) -> Any:
    """Return the settings that were measured (reference: performance, section 2)."""
    import boto3  # see _new_session
    from botocore.config import Config

    attempts, read_timeout = patience(deadline_seconds)
    return Config(
        # The SDK puts its own together anew for each request, twice: a seventh of what a PUT takes.
        user_agent=f"flask_s3handoff Boto3/{boto3.__version__}",
        signature_version="s3v4",
        connect_timeout=min(CONNECT_TIMEOUT_SECONDS, read_timeout),
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        tcp_keepalive=True,
        max_pool_connections=MAX_CONNECTIONS,
        # We send our own sha256. The SDK's trailers fail on Ceph and others over TLS (F44).
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        # Over TLS only; over plain HTTP the SDK signs the payload all the same.
        s3={"payload_signing_enabled": False, **addressing},
    )


def patience(deadline_seconds: float) -> tuple[int, float]:
    """Return attempts and read timeout in seconds that fit into a deadline with their pauses.

    Between attempts the SDK waits up to 1 s, then up to 2 s.

    >>> patience(21.0)
    (3, 6.0)
    """
    attempts, pauses = (
        (3, 3.0) if deadline_seconds >= 9 else (2, 1.0) if deadline_seconds >= 3 else (1, 0.0)
    )
    return attempts, (deadline_seconds - pauses) / attempts


NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_headers: ContextVar[Mapping[str, str]] = ContextVar("s3handoff_headers", default=NO_HEADERS)


@contextmanager
def sending(headers: Mapping[str, str]) -> Iterator[None]:
    """Send headers that this release of the SDK may not know: boto3 1.36 copies unconditionally."""
    token = _headers.set(headers)
    try:
        yield
    finally:
        _headers.reset(token)


def _adjust_headers(params: dict[str, Any], **_: Any) -> None:
    """Save the round trip of ``100-continue``, half the time of a small PUT, and add our own.

    Must return None: the SDK takes anything else for the answer.
    """
    params["headers"].pop("Expect", None)
    params["headers"].update(_headers.get())


@contextmanager
def translated(verb: str, key: str) -> Iterator[None]:
    """Turn whatever the SDK raises into one of our errors, and log what an operator needs."""
    try:
        yield
    except HandoffError:
        raise
    except Exception as error:  # it also raises RecursionError, OSError and ValueError (F8)
        raise _translation(error, verb, key) from error


_HINTS = {
    "AccessControlListNotSupported": "This bucket has ACLs switched off: take 'acl' out of"
    " S3HANDOFF_PLACES, and open public files by a bucket policy or a CDN.",
    "NoRegionError": "S3HANDOFF_REGION is missing: name the region of the bucket.",
    "InvalidRegionError": "S3HANDOFF_REGION is not the name of a region.",
    "EntityTooLarge": "One request stores or copies at most 5 GiB.",
    "KeyTooLongError": "A segment of this key is too long for this store.",
}
_ERRORS: dict[str, type[HandoffError]] = {
    **dict.fromkeys(("NoSuchKey", "NotFound", "404"), Missing),
    **dict.fromkeys(("PreconditionFailed", "412"), AlreadyExists),
    **dict.fromkeys(("BadDigest", "InvalidDigest", "InvalidRange"), Corrupt),
    **dict.fromkeys(("XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"), Corrupt),
    **dict.fromkeys(("NoRegionError", "InvalidRegionError"), ConfigError),
    **dict.fromkeys(("NotModified", "304"), Unchanged),
    "AccessControlListNotSupported": ConfigError,
    "EntityTooLarge": TooLarge,
    "KeyTooLongError": InvalidKey,
}
DENIED = ("AccessDenied", "Forbidden", "403")
_READS = ("get_object", "head_object")
_EVERYDAY = (
    *("NoSuchKey", "NotFound", "404", "NoSuchUpload"),
    *("PreconditionFailed", "412", "NotModified", "304"),
)


def _translation(error: Exception, verb: str, key: str) -> HandoffError:
    answer = _Answer.of(error)
    if answer.code not in _EVERYDAY:
        log.warning("%s of %s failed: %s (%s)", verb, key, answer.code, answer)
    ours = _ERRORS.get(answer.code, Unavailable)
    if answer.code in DENIED and verb in _READS:
        log.warning("It is taken as gone: without s3:ListBucket a key that is gone is denied (F6)")
        ours = Missing
    return ours(
        _HINTS.get(answer.code),
        verb=verb,
        detail=answer.code,
        status=answer.status,
        retries=answer.retries,
    )


@dataclass(frozen=True)
class _Answer:
    """What an error of the SDK says of itself; never the request, which holds signatures (T38)."""

    code: str
    status: int | None = None
    request_id: str | None = None
    retries: int = 0

    @classmethod
    def of(cls, error: Exception) -> _Answer:
        response = getattr(error, "response", None)
        if not isinstance(response, dict):
            return cls(type(error).__name__)
        said, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
        code = str(said.get("Code") or meta.get("HTTPStatusCode"))
        if "maximum allowable size" in str(said.get("Message")):  # of a copy; an InvalidRequest
            code = "EntityTooLarge"
        return cls(
            code, meta.get("HTTPStatusCode"), meta.get("RequestId"), meta.get("RetryAttempts", 0)
        )

    def __str__(self) -> str:
        return (
            f"HTTP {self.status or '-'}, request {self.request_id or '-'}, {self.retries} retries"
        )
