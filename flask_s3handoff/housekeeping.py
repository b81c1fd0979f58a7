"""Looking after what is stored: listing it, and clearing staging of what nobody can name."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from .errors import HandoffError, InvalidKey
from .handoff import Handoff, StoredFile
from .paths import check_prefix
from .s3admin import admins

THREADS = 8


@dataclass(frozen=True)
class Abandoned:
    """A staged object, or an unfinished upload (of no size), that is older than was asked."""

    key: str
    size: int
    when: datetime
    is_unfinished: bool
    drop: Callable[[], None]


def listed(handoff: Handoff, prefix: str) -> Iterator[StoredFile]:
    """Yield what lies below a prefix: of a place, or of staging, which no app may list."""
    config, known = handoff.config, [place.prefix for place in handoff.config.places]
    if any(check_prefix(prefix).startswith(place) for place in known):
        return handoff.list(prefix)
    if not prefix.startswith(config.prefix):
        raise InvalidKey(f"{prefix!r} lies below none of {', '.join([*known, config.prefix])}")

    def url(key: str, expires: int | None) -> str:
        return handoff.rooms.link(key, None, expires or config.url_expires_seconds, "")

    return (
        StoredFile(entry.key, entry.size, entry.last_modified, url)
        for entry in handoff.store().list(prefix)
    )


def abandoned(
    handoff: Handoff, older_than_seconds: float, *, now: float | None = None
) -> Iterator[Abandoned]:
    """Yield what is older in staging, and nothing of any place."""
    store, prefix = handoff.store(), handoff.config.prefix
    before = (time.time() if now is None else now) - older_than_seconds
    for entry in store.list(prefix):
        if entry.last_modified.timestamp() < before:
            drop = partial(store.delete, entry.key)
            yield Abandoned(entry.key, entry.size, entry.last_modified, False, drop)
    if handoff.config.store != "s3":
        return
    admin = admins(handoff.config)[0]
    for upload in admin.unfinished(prefix):
        if upload.key.startswith(prefix) and upload.initiated.timestamp() < before:
            abort = partial(admin.abort, upload)
            yield Abandoned(upload.key, 0, upload.initiated, True, abort)


def drop_all(found: Iterable[Abandoned]) -> Iterator[HandoffError | None]:
    """Drop them, several at a time; yield for each what went wrong, or None."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="s3handoff-purge") as pool:
        yield from pool.map(_dropped, found)


def _dropped(each: Abandoned) -> HandoffError | None:
    try:
        each.drop()
    except HandoffError as error:
        return error
    return None
