"""The doctor: everything that must be right for files to find their way, one line each.

A check is a small function that yields what it finds. It changes nothing but the probes that it
writes and deletes again.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from .audit import unwatched
from .bucketcheck import bucket_findings
from .config import Place
from .errors import HandoffError
from .handoff import Handoff
from .probe import Finding, Probe, date_of
from .s3admin import BucketAdmin, admins
from .s3client import credentials_method, host_region

MAX_SKEW_SECONDS = 60
_LASTING = ("env", "shared-credentials-file", "config-file")
_FREE_BYTES = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What a face knows of its app, and a Handoff does not."""

    behind_proxy_fix: bool = False


def examine(
    handoff: Handoff, surroundings: Surroundings, *, write: bool = True
) -> Iterator[Finding]:
    """Examine an app, this host and its store; without ``write`` no probe is written."""
    yield from _keys(handoff)
    yield from _cookies(handoff, surroundings)
    yield from _work_folder(handoff)
    for place in handoff.config.folders:
        yield from _folder(place)
    if handoff.config.store == "s3":
        yield from _buckets(handoff, write=write)
        return
    yield from _other_store(handoff)
    if write:
        yield from Probe(handoff.store(), handoff.config).findings()


def _buckets(handoff: Handoff, *, write: bool) -> Iterator[Finding]:
    buckets = admins(handoff.config)
    yield from _credentials(buckets[0])
    yield from _clock(buckets[0])
    for admin in buckets:
        found = list(bucket_findings(admin, handoff.config, host_region))
        yield from found
        # The first says whether it is there; SeaweedFS would make a missing one for a probe.
        write = write and found[0].state == "ok"
    if write:
        yield from Probe(handoff.store(), handoff.config, buckets[0]).findings()


def _keys(handoff: Handoff) -> Iterator[Finding]:
    try:
        prints = handoff.rooms.signer.fingerprints()
    except HandoffError as error:
        yield Finding("secret key", "failure", str(error.description), "SECRET_KEY")
        return
    text = f"fingerprint {prints[-1]}: the same on every server"
    if len(prints) > 1:
        text += f"; also verified: {', '.join(prints[:-1])}"
    yield Finding("secret key", "ok", text)


def _cookies(handoff: Handoff, surroundings: Surroundings) -> Iterator[Finding]:
    if handoff.config.bind == "off":
        text = "tokens work for whoever has them, and nothing is carried across a redirect"
        yield Finding("cookie", "warning", text, 'S3HANDOFF_BIND = "cookie"')
        return
    if handoff.config.cookie_secure:
        yield Finding("cookie", "ok", "is sent by https only")
        return
    seen = "behind ProxyFix" if surroundings.behind_proxy_fix else "as the app itself sees requests"
    text = f"is Secure on requests that came by https, {seen}"
    if surroundings.behind_proxy_fix:
        yield Finding("cookie", "ok", text)
    else:
        mend = (
            "S3HANDOFF_COOKIE_SECURE = True; and werkzeug's ProxyFix behind a proxy that ends TLS"
        )
        yield Finding("cookie", "warning", text, mend)


def _work_folder(handoff: Handoff) -> Iterator[Finding]:
    path, wrong = handoff.rooms.workdir.look()
    if wrong:
        yield Finding("work folder", "failure", wrong, "chmod, chown or S3HANDOFF_WORK_DIR")
        return
    there, most = path, handoff.config.work_dir_max_bytes
    while not os.path.exists(there):
        there = os.path.dirname(there)
    free = shutil.disk_usage(there).free
    text = f"{path}: {free >> 20} MiB are free, at most {most >> 20} MiB are used"
    if free < min(most, _FREE_BYTES):
        yield Finding("work folder", "warning", text, "S3HANDOFF_WORK_DIR, or a larger disk")
    else:
        yield Finding("work folder", "ok", text if there == path else f"{text}; made on first use")


def _folder(place: Place) -> Iterator[Finding]:
    """Look at an app's own folder, which is the app's to make."""
    path = place.path or ""
    name = f"folder {place.prefix}"
    with unwatched():  # looking is no reading: nothing is brought from the store
        if not os.path.isdir(path):
            text = f"{path} is not there: nothing is written or read"
            yield Finding(name, "warning", text, "the app makes it, or mkdir")
        elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            yield Finding(name, "failure", f"{path} cannot be read and written", "chown, chmod")
        else:
            yield Finding(name, "ok", path)


def _other_store(handoff: Handoff) -> Iterator[Finding]:
    store = handoff.config.store
    if store == "memory":
        text = "in memory: no other process has it"
        yield Finding("store", "warning", text, "S3HANDOFF_BUCKET")
    elif isinstance(store, str):
        text = f"the folder {store.removeprefix('dir:')}: every server must have it mounted"
        yield Finding("store", "warning", text, "S3HANDOFF_BUCKET")
    else:
        yield Finding("store", "ok", f"{store!r}, your own")


def _credentials(
    admin: BucketAdmin, method: Callable[[], str | None] = credentials_method
) -> Iterator[Finding]:
    try:
        found, at_amazon = method(), admin.is_amazon()
    except Exception as error:  # noqa: BLE001 - whatever the SDK finds wrong with its own settings
        yield Finding("credentials", "failure", type(error).__name__, "the SDK's own settings")
        return
    if not found:
        text = "the SDK's chain finds none"
        yield Finding("credentials", "failure", text, "a role for the servers, or AWS_PROFILE")
    elif at_amazon and found in _LASTING:
        text = f"by {found}: keys that last until somebody takes them away"
        yield Finding("credentials", "warning", text, "a role for the servers")
    else:
        yield Finding("credentials", "ok", f"by {found}")


def _clock(
    admin: BucketAdmin,
    date: Callable[[str], str | None] = date_of,
    now: Callable[[], float] = time.time,
) -> Iterator[Finding]:
    theirs = None
    with suppress(HandoffError, ValueError, TypeError):  # TypeError: an older Python, of None
        theirs = parsedate_to_datetime(str(date(admin.endpoint_url()))).timestamp()
    if theirs is None:
        text = f"{admin.holding.name}: the endpoint does not answer, or without a date"
        yield Finding("clock", "warning", text, "S3HANDOFF_ENDPOINT_URL, the network")
        return
    skew = now() - theirs
    if abs(skew) > MAX_SKEW_SECONDS:
        text = f"this host is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the store"
        yield Finding(
            "clock", "failure", text, "NTP: signatures and tokens are judged by the clock"
        )
    else:
        yield Finding("clock", "ok", f"within {MAX_SKEW_SECONDS} s of the store's")
