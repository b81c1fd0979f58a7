"""The steps after the first: on a server that has not the file, and on one that has it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flask import Flask

from benchmarks.figures import Figure, figure_of
from benchmarks.ground import MIB, Ground
from benchmarks.rivals import PLAIN_PAGE, Site, bare, fields_of, local, ours, sites
from benchmarks.rounds import Run, busy, contest, timed
from benchmarks.wire import Person
from flask_s3handoff.forms import eligible_forms, hidden_input, splice
from flask_s3handoff.handoff import Handoff
from flask_s3handoff.mirror import Revision

LARGE, S3_RATE = 64 * MIB, 100e6


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure a step across, one at home, and a large fetch."""
    yield _across(ground)
    yield from _at_home(ground)
    yield _large(ground)


def handoff_of(app: Flask) -> Handoff:
    """Return the rooms of an app of ours."""
    made: Handoff = app.extensions["s3handoff"].handoff
    return made


def forget_copies(app: Flask) -> None:
    """Make a server one that has never seen the files."""
    for copy in Path(app.config["S3HANDOFF_WORK_DIR"]).glob("2*/*/*"):
        copy.unlink()


def forget_digests(app: Flask) -> None:
    """Make this process one that has not hashed the local copies yet."""
    handoff_of(app).rooms.workdir._known.clear()


def _across(ground: Ground) -> Figure:
    ground.steer(rtt=0.04)
    with sites(ground, "base", "ours", "naive", "local") as each:
        pages = {name: site.upload() for name, site in each.items()}

        def run(name: str) -> Run:
            step = timed(lambda: each[name].step(pages[name]))

            def cold() -> float:
                if name == "ours":
                    forget_copies(each[name].apps[0])
                return step()

            return cold

        result = contest(ground.rounds(41, 9), {name: run(name) for name in each})
    return figure_of(
        result,
        "step-x",
        "step on another server, 200 KB, RTT 40 ms",
        "bare POST and one bare GET",
        target=1.10,
        gate=1.35,
    )


def _at_home(ground: Ground) -> Iterator[Figure]:
    ground.steer(rtt=0.0)
    app, plain, disk = ours(ground), bare(ground), local(ground)
    here, there = Site([app]), Site([disk])
    fields, kept = fields_of(here.upload()), fields_of(there.upload())
    mine, other = here.person, there.person
    (copy,) = Path(app.config["S3HANDOFF_WORK_DIR"]).glob("2*/*/*")
    signer, page = handoff_of(app).rooms.signer, PLAIN_PAGE.encode()

    def by_hand() -> None:
        """Do what such a step cannot do without."""
        _submit(other, plain, fields)
        with copy.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
        token = signer.mint(signer.read(fields["_s3handoff"]))
        forms = eligible_forms(page, charset="utf-8")
        splice(page, [(form.insert_at, hidden_input(token)) for form in forms])

    def unseen() -> float:
        forget_digests(app)
        return busy(lambda: _submit(mine, app, fields))()

    rounds = ground.rounds(201, 41)
    hit = contest(rounds, {"base": busy(by_hand), "ours": unseen})
    yield Figure(
        id="step-hit",
        measure="step on the server that has it, first time in this process",
        base="bare POST, one sha256, the page rewritten, the token read and signed",
        ours=hit.ratio("ours"),
        target=1.10,
        gate=2.0,
        scale=f"{1e6 * hit.typical():.0f} µs",
    )
    warm = contest(
        rounds,
        {
            "base": busy(lambda: _submit(other, plain, fields, "/formless")),
            "ours": busy(lambda: _submit(mine, app, fields, "/formless")),
            "local": busy(lambda: _submit(other, disk, kept, "/formless")),
        },
    )
    yield Figure(
        id="step-warm",
        measure="the same again, the answer without a form; the view reads the file",
        base="bare POST that reads no file",
        ours=warm.ratio("ours"),
        local=warm.ratio("local"),
        target=1.25,
        gate=4.5,
        scale=f"{1e6 * warm.typical():.0f} µs",
    )
    handoff_of(app).rooms.mirror.close()


def _submit(person: Person, app: Any, fields: dict[str, str], path: str = "/step") -> None:
    person.submit(app, path, **fields)


def _large(ground: Ground) -> Figure:
    ground.steer(rtt=0.04, rate=S3_RATE)
    client, app = ground.client(), ours(ground)
    mirror, folder = handoff_of(app).rooms.mirror, ground.new_folder("large")
    digest = hashlib.sha256(bytes(LARGE)).hexdigest()
    revision = Revision(f"20261123/{'a' * 26}/film.mp4", LARGE, digest)
    key = mirror.key_of(revision.relpath)
    client.put_object(Bucket=ground.bucket, Key=key, Body=bytes(LARGE))

    def by_hand() -> None:
        client.download_file(ground.bucket, key, str(folder / "film.mp4"))
        with (folder / "film.mp4").open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == digest
        (folder / "film.mp4").unlink()

    def fetched() -> None:
        path, _ = mirror.rehydrate(revision, until=time.monotonic() + 60)
        os.unlink(path)

    try:
        result = contest(ground.rounds(11), {"base": timed(by_hand), "ours": timed(fetched)})
    finally:
        ground.steer(rtt=0.04, rate=0)
        mirror.close()
    return Figure(
        id="down-large",
        measure="64 MiB fetched and verified, RTT 40 ms, 100 MB/s per connection",
        base="`download_file`, then one sha256",
        ours=result.ratio("ours"),
        naive=1.0,
        target=0.80,
        gate=1.0,
        scale=f"{1000 * result.typical():.0f} ms",
    )
