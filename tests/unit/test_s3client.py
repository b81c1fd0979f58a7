"""Clients: late, tuned, one per process and region."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ProfileNotFound

from flask_s3handoff.errors import Unavailable
from flask_s3handoff.s3 import S3Store
from flask_s3handoff.s3client import Clients, _timestamp, patience


class CountingFactory:
    """Makes clients that can do nothing, slowly, and remembers how."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def __call__(self, _: str, **options: Any) -> FakeClient:
        with self._lock:
            self.made.append(options)
        threading.Event().wait(0.01)
        return FakeClient()


class FakeClient:
    """A client with an event system, and no verbs."""

    def __init__(self) -> None:
        self.meta = self.events = self
        self.endpoint_url = "https://s3.eu-west-1.amazonaws.com"
        self.hooks: list[str] = []

    def register_last(self, event: str, _: Any) -> None:
        self.hooks.append(event)


def clients(factory: Any, *, endpoint_url: str | None = None, seconds: float = 20.0) -> Clients:
    return Clients(endpoint_url=endpoint_url, deadline_seconds=seconds, factory=factory)


def test_nothing_is_made_before_it_is_needed() -> None:
    """Import and start-up make no client (rule 8)."""
    factory = CountingFactory()
    S3Store(bucket="acme-uploads", client_factory=factory)
    assert factory.made == []


def test_many_threads_make_one_client() -> None:
    """boto3's sessions must not be used by two threads at once (F32)."""
    factory = CountingFactory()
    shared = clients(factory)
    start = threading.Barrier(16)

    def first_use(_: int) -> Any:
        start.wait(10)
        return shared.get("eu-west-1")

    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(first_use, range(16)))
    assert len(factory.made) == 1
    assert len({id(client) for client in got}) == 1


def test_each_region_has_its_own() -> None:
    """A place may lie in another region than staging."""
    factory = CountingFactory()
    shared = clients(factory)
    assert shared.get("eu-west-1") is shared.get("eu-west-1")
    assert shared.get("us-west-2") is not shared.get("eu-west-1")
    assert [made["region_name"] for made in factory.made] == ["eu-west-1", "us-west-2"]


def test_a_child_does_not_use_its_parents_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one connection would read each other's answers (F31, rule 12)."""
    shared = clients(CountingFactory())
    parents = shared.get(None)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    childs = shared.get(None)
    assert childs is not parents
    assert shared.get(None) is childs


def test_a_lock_that_was_held_during_the_fork_does_not_hold_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread of the parent may have been making a client at that moment."""
    forked, go_on = threading.Event(), threading.Event()

    def factory(service: str, **options: Any) -> FakeClient:
        if threading.current_thread() is parent:
            forked.set()
            go_on.wait(10)
        return FakeClient()

    shared = clients(factory)
    parent = threading.Thread(target=shared.get, args=(None,))
    parent.start()
    forked.wait(10)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    try:
        assert shared.get(None) is not None
    finally:
        go_on.set()
        parent.join(10)


@pytest.fixture
def config() -> Any:
    """What the SDK is told when nothing is configured."""
    factory = CountingFactory()
    client = clients(factory).get("eu-west-1")
    assert client.hooks == ["before-call.s3"]
    return factory.made[0]["config"]


def test_the_sdk_is_tuned(config: Any) -> None:
    """Each of these has a reason in the reference (performance 2, P13, P19, F44)."""
    assert config.signature_version == "s3v4"
    assert config.user_agent.startswith("flask_s3handoff ")
    assert config.request_checksum_calculation == "when_required"
    assert config.response_checksum_validation == "when_required"
    assert config.retries == {"mode": "standard", "total_max_attempts": 3}
    assert config.tcp_keepalive
    assert config.max_pool_connections >= 16
    assert config.s3["payload_signing_enabled"] is False


@pytest.mark.parametrize("seconds", [0.1, 0.5, 1, 2.9, 3, 5, 8.9, 9, 20, 60, 3600])
def test_all_attempts_fit_into_the_deadline(seconds: float) -> None:
    """A server that takes requests and never answers is given up in time (F4, rule 10)."""
    attempts, read_timeout = patience(seconds)
    longest_pauses = sum(2**n for n in range(attempts - 1))
    assert read_timeout > 0
    assert attempts * read_timeout + longest_pauses <= seconds + 1e-9
    factory = CountingFactory()
    clients(factory, seconds=seconds).get(None)
    config = factory.made[0]["config"]
    assert config.connect_timeout <= min(3.0, config.read_timeout)
    assert config.retries["total_max_attempts"] == attempts


def test_a_client_that_cannot_be_made_is_unavailable() -> None:
    """A profile that is not there, and whatever else the SDK finds wrong with its own settings."""

    def factory(*_: Any, **__: Any) -> Any:
        raise ProfileNotFound(profile="nobody")

    store = S3Store(bucket="acme-uploads", client_factory=factory)
    with pytest.raises(Unavailable):
        store.stat("users/1/a")
    with pytest.raises(Unavailable):
        store.copy("a/b", "c/d", kind=None, sha256="", overwrite=False)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        store.url("a/b", expires_seconds=1)


@pytest.mark.parametrize(
    "said", ["Mon, 23 Nov 2026 10:00:00 GMT", "2026-11-23T10:00:00.000Z", "1795428000"]
)
def test_every_date_of_an_answer_is_read(said: str) -> None:
    """The quick reader takes those of headers, the SDK's own those of lists."""
    assert _timestamp(said) == datetime(2026, 11, 23, 10, tzinfo=UTC)
