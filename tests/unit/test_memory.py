"""MemoryStore: what a test can learn from it, and make it do."""

from __future__ import annotations

import hashlib
import io

import pytest

from flask_s3handoff.errors import Missing, Unavailable
from flask_s3handoff.memory import MemoryStore
from flask_s3handoff.store import Kind, kind_of

KIND = kind_of("a.png", "image/png")


def put(store: MemoryStore, key: str, data: bytes = b"picture") -> None:
    digest = hashlib.sha256(data).hexdigest()
    store.put(key, io.BytesIO(data), size=len(data), sha256=digest, kind=KIND)


def test_calls_are_counted() -> None:
    """In order, with their keys; looking into the store is not a call."""
    store = MemoryStore()
    put(store, "a/b")
    store.copy(
        "a/b", "c/d", kind=KIND, sha256=hashlib.sha256(b"picture").hexdigest(), overwrite=False
    )
    list(store.list("c/"))
    assert store.keys() == ["a/b", "c/d"]
    assert store.bytes_of("c/d") == b"picture"
    assert store.kind_of("c/d") == Kind("image/png", 'inline; filename="a.png"')
    assert store.calls == [("put", "a/b"), ("copy", "c/d"), ("list", "c/*")]


def test_parts_are_counted_too() -> None:
    """A test sees how a large file travelled."""
    store = MemoryStore()
    upload = store.begin("a/b", kind=KIND)
    upload.part(1, io.BytesIO(b"x"), 1)
    upload.complete(size=1, sha256=hashlib.sha256(b"x").hexdigest())
    assert [verb for verb, _ in store.calls] == ["begin", "part", "complete"]


def test_faults_come_as_often_as_asked() -> None:
    """Only for the verbs that were named; each is counted."""
    store = MemoryStore()
    store.fail_with(Unavailable("down"), verbs=["put"], times=2)
    for _ in range(2):
        with pytest.raises(Unavailable, match="down"):
            put(store, "a/b")
    with pytest.raises(Missing):
        store.stat("a/b")
    put(store, "a/b")
    assert [verb for verb, _ in store.calls] == ["put", "put", "stat", "put"]


def test_faults_last_until_recovery() -> None:
    """Without a number the store is down for every verb, aborts included, which stay quiet."""
    store = MemoryStore()
    upload = store.begin("a/b", kind=KIND)
    store.fail_with(Unavailable())
    for _ in range(3):
        with pytest.raises(Unavailable):
            put(store, "a/b")
    with pytest.raises(Unavailable):
        upload.part(1, io.BytesIO(b"x"), 1)
    upload.abort()
    store.recover()
    put(store, "a/b")
    assert store.calls[-2:] == [("abort", "a/b"), ("put", "a/b")]


def test_a_verb_that_is_none_is_refused() -> None:
    """A typing error in a test must not make it pass."""
    with pytest.raises(ValueError, match="upload"):
        MemoryStore().fail_with(Unavailable(), verbs=["upload"])
