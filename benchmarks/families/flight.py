"""Many at once on a server that has not the file: one fetches, the others wait for it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from benchmarks.families.steps import handoff_of
from benchmarks.figures import Figure
from benchmarks.ground import Ground
from benchmarks.rivals import FILE_BYTES, ours
from benchmarks.rounds import Run, contest, timed
from flask_s3handoff.mirror import Mirror, Revision

THREADS = 16


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure 16 threads against one, and count what they ask."""
    ground.steer(rtt=0.04)
    mirror = handoff_of(ours(ground)).rooms.mirror
    digest = hashlib.sha256(bytes(FILE_BYTES)).hexdigest()
    revision = Revision(f"20261123/{'b' * 26}/leo.jpg", FILE_BYTES, digest)
    ground.client().put_object(
        Bucket=ground.bucket, Key=mirror.key_of(revision.relpath), Body=bytes(FILE_BYTES)
    )
    with ThreadPoolExecutor(THREADS) as threads:
        runs = {
            "base": _cold(mirror, revision, threads, 1),
            "ours": _cold(mirror, revision, threads, THREADS),
        }
        result = contest(ground.rounds(41, 11), runs)
        ground.count()
        runs["ours"]()
        asked = sum(ground.count().values())
    mirror.close()
    yield Figure(
        id="flight",
        measure="16 threads want one file that this server has not, RTT 40 ms",
        base="one thread",
        ours=result.ratio("ours"),
        target=1.10,
        gate=1.40,
        scale=f"{1000 * result.typical():.1f} ms",
    )
    yield Figure(
        id="flight-gets",
        measure="S3 requests of these 16",
        base="exact",
        ours=asked,
        naive=THREADS,
        target=1,
        gate=1,
        exact=True,
        unit="",
    )


def _cold(mirror: Mirror, revision: Revision, threads: ThreadPoolExecutor, count: int) -> Run:
    def want(_: int) -> str:
        return mirror.rehydrate(revision, until=time.monotonic() + 30)[0]

    def run() -> float:
        took = timed(lambda: list(threads.map(want, range(count))))()
        os.unlink(want(0))
        return took

    return run
