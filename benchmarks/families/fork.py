"""What was used before a fork and is used after it: whose bytes does a child read?"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.ground import ROOT, Ground
from benchmarks.rivals import ours
from flask_s3handoff.paths import new_relpath
from tests.servers import S3Server

CHILDREN, READS = 8, 10
DEADLINE_SECONDS = 60.0
Read = Callable[[int], bytes]


def measure(ground: Ground) -> Iterator[Figure]:
    """Count wrong bodies and children that never ended, of 80 reads in 8 children."""
    ground.steer(rtt=0.02)
    mine, naive = (_run(ground, kind) for kind in ("ours", "naive"))
    for number, what in enumerate(("wrong bodies", "children that hang")):
        yield Figure(
            id="fork" if number == 0 else "fork-hangs",
            measure=f"{what}; 80 reads in 8 children, after a warm-up in the master",
            base="exact",
            ours=mine[number],
            naive=naive[number],
            target=0,
            gate=0,
            exact=True,
            unit="",
        )


def _run(ground: Ground, kind: str) -> tuple[int, int]:
    command = [sys.executable, "-m", __name__, kind, ground.server.url, ground.bucket]
    command.append(str(ground.new_folder("fork")))
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    wrong, hanging = done.stdout.split()
    return int(wrong), int(hanging)


def _main(kind: str, url: str, bucket: str, folder: str) -> None:
    ground = Ground(S3Server("fake", url, "", ""), bucket, Path(folder), quick=True)
    read = _reader_of_ours(ground) if kind == "ours" else _reader_by_hand(ground)
    read(0)
    children = [_forked(read, number) for number in range(CHILDREN)]
    ended = _codes(children)
    for child in set(children) - set(ended):
        os.kill(child, 9)
        os.waitpid(child, 0)
    print(sum(ended.values()), CHILDREN - len(ended))


def _forked(read: Read, number: int) -> int:
    child = os.fork()
    if child == 0:
        wrong = 0
        for _ in range(READS):
            try:
                wrong += read(number) != _body(number)
            except Exception:  # noqa: BLE001 - whatever it is, it is not the file
                wrong += 1
        os._exit(wrong)
    return child


def _codes(children: list[int]) -> dict[int, int]:
    """Wait for all children, but not for ever; return how many bodies each of them got wrong."""
    codes: dict[int, int] = {}
    until = time.monotonic() + DEADLINE_SECONDS
    while len(codes) < len(children) and time.monotonic() < until:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            codes[pid] = os.waitstatus_to_exitcode(status)
        else:
            time.sleep(0.01)
    return codes


def _body(number: int) -> bytes:
    return bytes([65 + number]) * (3_000 * (number + 1))


def _reader_by_hand(ground: Ground) -> Read:
    client = ground.client()
    for number in range(CHILDREN):
        client.put_object(Bucket=ground.bucket, Key=f"fork/{number}", Body=_body(number))

    def read(number: int) -> bytes:
        body: bytes = client.get_object(Bucket=ground.bucket, Key=f"fork/{number}")["Body"].read()
        return body

    return read


def _reader_of_ours(ground: Ground) -> Read:
    app = ours(ground, S3HANDOFF_PLACES={"fork/": {}})
    handoff = app.extensions["s3handoff"].handoff
    keys = [f"fork/{new_relpath('x')}" for _ in range(CHILDREN)]
    for number, key in enumerate(keys):
        handoff.put(_body(number), key)

    def read(number: int) -> bytes:
        with handoff.open(keys[number]) as stream:
            body: bytes = stream.read()
            return body

    return read


if __name__ == "__main__":
    _main(*sys.argv[1:])
