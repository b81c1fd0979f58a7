"""How much memory one upload takes, beyond receiving it: each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.ground import MIB, ROOT, Ground
from benchmarks.rivals import RIVALS, Site, bare
from tests.servers import S3Server

GIB = 1024


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure 64 MiB and 1 GiB."""
    for mib in (64,) if ground.quick else (64, GIB):
        base = peak_mib(ground, "bare", mib)
        yield Figure(
            id="rss" if mib == 64 else "rss-1g",
            measure=f"peak memory beyond receiving, {mib if mib < GIB else 1} "
            + ("MiB" if mib < GIB else "GiB"),
            base="receive and forget",
            ours=peak_mib(ground, "ours", mib) - base,
            naive=peak_mib(ground, "naive", mib) - base,
            local=peak_mib(ground, "local", mib) - base,
            target=8,
            gate=16,
            unit=" MiB",
            scale=f"{base:.1f} MiB",
        )


def peak_mib(ground: Ground, kind: str, mib: int) -> float:
    """Return by how much an upload grows a process that has taken a small one before."""
    command = [sys.executable, "-m", __name__, kind, str(mib), ground.server.url]
    command += [ground.bucket, str(ground.new_folder(kind))]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return float(done.stdout)


def _upload(kind: str, mib: int, url: str, bucket: str, folder: str) -> float:
    ground = Ground(S3Server("fake", url, "", ""), bucket, Path(folder), quick=True)
    makers = {**RIVALS, "bare": bare}
    app = makers[kind](replace(ground))
    site = Site([app])
    for _ in range(3):
        site.upload()
    before = _high_water_mib()
    site.upload(mib * MIB)
    if kind == "ours":
        app.extensions["s3handoff"].handoff.rooms.mirror.close()
    return _high_water_mib() - before


def _high_water_mib() -> float:
    """Return the most that this process ever had; ``getrusage`` tells of its parent's, too."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    print(_upload(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
