"""What every store promises, one by one; ``contract`` tries them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from ..errors import AlreadyExists, Corrupt, HandoffError, InvalidKey, Missing, Unavailable
from ..store import Unchanged
from .bench import (
    DOCUMENT,
    PICTURE,
    RACERS,
    Bench,
    expect,
    expect_served,
    get,
    in_threads,
    race,
    refused,
    sha256_of,
    some_bytes,
)

MIB = 1 << 20
PAGE = 1000  # objects in one answer of S3
EXPIRY_PATIENCE_SECONDS = 10

PROMISES: list[tuple[str, str | None, Callable[[Bench], None]]] = []


def _promise(
    name: str, needs: str | None = None
) -> Callable[[Callable[[Bench], None]], Callable[[Bench], None]]:
    def keep(check: Callable[[Bench], None]) -> Callable[[Bench], None]:
        PROMISES.append((name, needs, check))
        return check

    return keep


@_promise("round trip")
def _(bench: Bench) -> None:
    """A file comes back as it went, and the store knows its size, type and digest."""
    data = some_bytes(70_000)
    key = bench.stored(data)
    expect(bench.fetch(key, len(data)) == data, "other bytes came back")
    entry = bench.store.stat(key)
    expect((entry.key, entry.size) == (key, len(data)), f"{entry}")
    expect(entry.content_type == PICTURE.content_type, f"{entry}")
    expect(entry.sha256 == sha256_of(data), f"{entry}")
    expect(entry.last_modified.utcoffset() == timedelta(0), "last_modified is in UTC")
    age = abs(datetime.now(UTC) - entry.last_modified)
    expect(age < timedelta(hours=1), f"last_modified is {age} from now")


@_promise("no bytes")
def _(bench: Bench) -> None:
    """A file of no bytes is a file (F46)."""
    key = bench.stored(b"")
    expect(bench.fetch(key, 0) == b"", "other bytes came back")
    expect(bench.store.stat(key).size == 0, "it has a size")


@_promise("around 8 MiB")
def _(bench: Bench) -> None:
    """Files at the size from which ranges are fetched come back whole (F47)."""
    for size in (8 * MIB - 1, 8 * MIB, 8 * MIB + 1):
        data = some_bytes(size)
        expect(bench.fetch(bench.stored(data), size) == data, f"other bytes at {size}")


@_promise("parts")
def _(bench: Bench) -> None:
    """Parts that several threads send in any order become one file."""
    data = some_bytes(12 * MIB)
    key = bench.key()
    upload = bench.store.begin(key, kind=DOCUMENT)
    pieces = {
        n: data[start : start + 5 * MIB] for n, start in enumerate(range(0, 12 * MIB, 5 * MIB), 1)
    }
    in_threads(lambda n: upload.part(n, io.BytesIO(pieces[n]), len(pieces[n])), reversed(pieces))
    upload.complete(size=len(data), sha256=sha256_of(data))
    expect(bench.fetch(key, len(data)) == data, "other bytes came back")
    expect(bench.store.stat(key).content_type == DOCUMENT.content_type, "it has another type")


@_promise("unwhole parts")
def _(bench: Bench) -> None:
    """Parts that are not the whole file do not become one."""
    key = bench.key()
    upload = bench.store.begin(key, kind=PICTURE)
    upload.part(1, io.BytesIO(b"half"), 4)
    refused(Corrupt, lambda: upload.complete(size=8, sha256=sha256_of(b"half a file")))
    upload.abort()
    refused(Missing, lambda: bench.store.stat(key))


@_promise("abort")
def _(bench: Bench) -> None:
    """An upload that is aborted, even twice, leaves nothing and cannot be completed."""
    key = bench.key()
    upload = bench.store.begin(key, kind=PICTURE)
    upload.part(1, io.BytesIO(b"x" * 5 * MIB), 5 * MIB)
    upload.abort()
    upload.abort()
    refused(HandoffError, lambda: upload.part(2, io.BytesIO(b"y"), 1))
    refused(Missing, lambda: bench.store.stat(key))
    expect(not list(bench.store.list(bench.folder)), "something is listed")


@_promise("if_absent")
def _(bench: Bench) -> None:
    """A PUT that asks for a free key leaves what is there; one that does not, replaces it."""
    key = bench.key()
    bench.put(key, b"first", if_absent=True)
    refused(AlreadyExists, lambda: bench.put(key, b"second", if_absent=True))
    expect(bench.fetch(key, 5) == b"first", "the second writer won")
    bench.put(key, b"third")
    expect(bench.fetch(key, 5) == b"third", "the file was not replaced")


@_promise("racing writers", needs="conditional_put")
def _(bench: Bench) -> None:
    """Of eight writers who want one free key at once, one gets it."""
    key = bench.key()
    won = race(lambda n: bench.put(key, b"writer %d" % n, if_absent=True))
    expect(len(won) == 1, f"{len(won)} writers won")
    expect(bench.fetch(key, 8) == b"writer %d" % won[0], "another one's bytes are there")


@_promise("wrong digest", needs="checksums")
def _(bench: Bench) -> None:
    """Bytes that do not have the digest that was announced are refused."""
    key = bench.key()
    body, wrong = io.BytesIO(b"damaged"), sha256_of(b"whole")
    refused(Corrupt, lambda: bench.store.put(key, body, size=7, sha256=wrong, kind=PICTURE))
    refused(Missing, lambda: bench.store.stat(key))


@_promise("missing")
def _(bench: Bench) -> None:
    """What is not there is Missing, for every verb that reads."""
    key, other = bench.key(), bench.key()
    refused(Missing, lambda: bench.fetch(key, 1))
    refused(Missing, lambda: bench.fetch(key, 9 * MIB))
    refused(Missing, lambda: bench.store.open(key).close())
    refused(Missing, lambda: bench.store.stat(key))
    refused(Missing, lambda: bench.copy(key, other, b""))


@_promise("another length")
def _(bench: Bench) -> None:
    """A file of another length than was signed is Corrupt, shorter or longer (F12, B74)."""
    key = bench.stored(some_bytes(1000))
    for size in (0, 999, 1001, 9 * MIB):
        refused(Corrupt, bench.fetch, key, size)
    large = bench.stored(some_bytes(9 * MIB))
    for size in (999, 9 * MIB - 1, 9 * MIB + 1):
        refused(Corrupt, bench.fetch, large, size)


@_promise("deadline")
def _(bench: Bench) -> None:
    """A fetch whose time is over ends (rule 10)."""
    key = bench.stored(some_bytes(1000))
    refused(Unavailable, lambda: bench.fetch(key, 1000, seconds=-1))


@_promise("open")
def _(bench: Bench) -> None:
    """A permanent file is read in pieces, and its entry came with it."""
    data = some_bytes(300_000)
    key = bench.stored(data, DOCUMENT)
    with bench.store.open(key) as opened:
        expect(opened.entry.size == len(data), f"{opened.entry}")
        expect(opened.entry.content_type == DOCUMENT.content_type, f"{opened.entry}")
        pieces = list(iter(lambda: opened.read(65_536), b""))
    expect(b"".join(pieces) == data, "other bytes came back")
    expect(max(map(len, pieces)) <= 65_536, "more was read than was asked for")


@_promise("open unless")
def _(bench: Bench) -> None:
    """What still has the etag that a reader knows is not sent again."""
    key = bench.key()
    known = bench.put(key, b"first")
    expect(known == bench.store.stat(key).etag != "", f"{known!r} is not the etag")
    refused(Unchanged, lambda: bench.store.open(key, unless=known))
    bench.put(key, b"second")
    with bench.store.open(key, unless=known) as opened:
        expect(opened.read() == b"second", "other bytes came")
        expect(opened.entry.etag not in ("", known), "another object has the same etag")


@_promise("copy")
def _(bench: Bench) -> None:
    """A copy has its own kind and digest, and leaves its source alone."""
    data = some_bytes(5000)
    source, key = bench.stored(data), bench.key("copies/one")
    bench.copy(source, key, data)
    expect(bench.fetch(key, len(data)) == data, "other bytes were copied")
    expect(bench.store.stat(key).content_type == DOCUMENT.content_type, "the type was copied")
    expect(bench.store.stat(key).sha256 == sha256_of(data), "the digest was not kept")
    expect(bench.store.stat(source).content_type == PICTURE.content_type, "the source changed")


@_promise("copy over")
def _(bench: Bench) -> None:
    """A copy overwrites only when asked; the same one again is success (double submit)."""
    one, two, key = bench.stored(b"one"), bench.stored(b"two"), bench.key()
    bench.copy(one, key, b"one")
    bench.copy(one, key, b"one")
    refused(AlreadyExists, lambda: bench.copy(two, key, b"two"))
    expect(bench.fetch(key, 3) == b"one", "it was overwritten")
    bench.copy(two, key, b"two", overwrite=True)
    expect(bench.fetch(key, 3) == b"two", "it was not overwritten")


@_promise("racing copies", needs="conditional_copy")
def _(bench: Bench) -> None:
    """Of eight files that are copied to one free key at once, one gets it (T30)."""
    key = bench.key()
    sources = [bench.stored(b"source %d" % n) for n in range(RACERS)]
    won = race(lambda n: bench.copy(sources[n], key, b"source %d" % n))
    expect(len(won) == 1, f"{len(won)} copies won")
    expect(bench.fetch(key, 8) == b"source %d" % won[0], "another one's bytes are there")


@_promise("odd names")
def _(bench: Bench) -> None:
    """Keys may have letters of all scripts, spaces and what URLs find special."""
    for name in (
        "Ünï côdé/日本語 🙂.png",
        "a b%20c+d&e=f?g#h;i.txt",
        "~'\"()!*$@:,",
        "e\u0301",
        "n" * 200,
    ):
        key = bench.key(name)
        bench.put(key, b"odd")
        bench.copy(key, bench.key("copy of " + name), b"odd")
        expect(bench.fetch(key, 3) == b"odd", f"{name!r} came back as something else")
        expect(key in {e.key for e in bench.store.list(bench.folder)}, f"{name!r} is not listed")


@_promise("keys that lead elsewhere")
def _(bench: Bench) -> None:
    """No verb takes a key that could mean another one (B41, T29)."""
    store = bench.store
    for key in ("", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\nb", "a\0b"):
        for ask in (store.stat, store.open, store.delete, lambda key: bench.put(key, b"")):
            refused(InvalidKey, ask, key)
        refused(InvalidKey, bench.fetch, key, 1)
        refused(InvalidKey, bench.copy, bench.key(), key, b"")


@_promise("list")
def _(bench: Bench) -> None:
    """A listing ends at its folder, and tells sizes."""
    inside = {bench.key("users/1/a"): 1, bench.key("users/1/deep/er/b"): 2}
    for key in [*inside, bench.key("users/10/c"), bench.key("users/1.jpg")]:
        bench.put(key, b"x" * inside.get(key, 3))
    found = {entry.key: entry.size for entry in bench.store.list(f"{bench.folder}users/1/")}
    expect(found == inside, f"{found}")
    expect(not list(bench.store.list(f"{bench.folder}nobody/")), "an empty folder lists something")
    refused(InvalidKey, lambda: list(bench.store.list(f"{bench.folder}users/1")))


@_promise("list pages")
def _(bench: Bench) -> None:
    """A listing of more than one page is whole, and is read as far as it is needed."""
    keys = [bench.key(f"many/{n:04}") for n in range(PAGE + 5)]
    in_threads(lambda key: bench.put(key, b""), keys)
    listing = bench.store.list(f"{bench.folder}many/")
    expect(iter(listing) is listing, "a listing is an iterator")
    first = next(listing)
    expect(first.key in keys, f"{first}")
    rest = [entry.key for entry in listing]
    expect(sorted([first.key, *rest]) == keys, f"{1 + len(rest)} of {len(keys)} are listed")


@_promise("delete")
def _(bench: Bench) -> None:
    """Deleting what is gone is deleting."""
    key = bench.stored(b"x")
    bench.store.delete(key)
    bench.store.delete(key)
    refused(Missing, lambda: bench.store.stat(key))


@_promise("url", needs="presigned_urls")
def _(bench: Bench) -> None:
    """An address gives the file, as the kind that was stored or asked for (T25)."""
    key = bench.key("Ünï côdé +%&.png")
    bench.put(key, b"picture")
    expect_served(bench.store.url(key, expires_seconds=60), b"picture", PICTURE)
    expect_served(bench.store.url(key, expires_seconds=60, kind=DOCUMENT), b"picture", DOCUMENT)


@_promise("changed url", needs="presigned_urls")
def _(bench: Bench) -> None:
    """An address that was changed opens nothing."""
    mine, other = bench.stored(b"mine"), bench.stored(b"other")
    url = bench.store.url(mine, expires_seconds=60, kind=DOCUMENT)
    for was, now in ((mine, other), ("attachment", "inline"), ("=60&", "=600&")):
        expect(was in url, f"no {was!r} in the address")
        expect(get(url.replace(was, now)) is None, f"served with {now!r} for {was!r}")
    expect(get(url.partition("?")[0]) is None, "served without a signature")


@_promise("expired url", needs="presigned_urls")
def _(bench: Bench) -> None:
    """An address opens nothing when its time is over."""
    url = bench.store.url(bench.stored(b"x"), expires_seconds=1)
    deadline = time.monotonic() + EXPIRY_PATIENCE_SECONDS
    while get(url) is not None:
        expect(time.monotonic() < deadline, f"still served after {EXPIRY_PATIENCE_SECONDS} s")
        time.sleep(0.2)
