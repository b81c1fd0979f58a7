"""What it costs that an app has a folder: to a hello, and to each ``open`` and ``stat``.

An audit hook cannot be taken out again, so each is measured in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure
from benchmarks.ground import ROOT, Ground
from benchmarks.rivals import ours
from benchmarks.rounds import Contest, Run, busy, contest
from benchmarks.wire import call, environ_of
from flask_s3handoff.audit import unwatched
from tests.servers import S3Server

TIMES = 2000
MICRO = 1e6
_BASES = {
    "open": "`open` of a file elsewhere, without a folder",
    "stat": "`os.stat` of a file elsewhere, without a folder",
}
_CALLS = {
    "open-elsewhere": "open",
    "stat-elsewhere": "stat",
    "open-in-folder": "open",
    "stat-in-folder": "stat",
}


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure a hello, and calls elsewhere and in the folder, inside of a request and outside."""
    runs: dict[str, Run] = {
        "base": _child(ground, "none", "hello"),
        "ours": _child(ground, "folder", "hello"),
    }
    result = contest(ground.rounds(31, 7), runs)
    yield Figure(
        id="folders-hello",
        measure="hello of an app with a folder",
        base="hello of the same app without one",
        ours=result.ratio("ours"),
        target=1.03,
        gate=1.10,
        scale=f"{MICRO * result.typical():.0f} µs",
    )
    if not ground.quick:  # they have no gate
        yield from _calls(ground)


def _calls(ground: Ground) -> Iterator[Figure]:
    for name, base in _CALLS.items():
        for where in ("outside", "inside"):
            what = f"{name} {where}"
            runs = {"base": _child(ground, "none", base), "ours": _child(ground, "folder", what)}
            yield _added(contest(ground.rounds(9, 3), runs), name, where, base)


def _added(result: Contest, name: str, where: str, base: str) -> Figure:
    return Figure(
        id=f"{name}-{where}",
        measure=f"µs that one call takes longer, {where} of a request ({name.replace('-', ' ')})",
        base=_BASES[base],
        ours=round(MICRO * (result.typical("ours") - result.typical()), 2),
        unit=" µs",
        scale=f"{MICRO * result.typical():.1f} µs",
    )


def _child(ground: Ground, kind: str, what: str) -> Run:
    command = [sys.executable, "-m", __name__, kind, what, ground.server.url, ground.bucket]

    def run() -> float:
        folder = str(ground.new_folder("folders"))
        done = subprocess.run(
            [*command, folder], check=True, capture_output=True, text=True, cwd=ROOT
        )
        return float(json.loads(done.stdout))

    return run


def _main(kind: str, what: str, url: str, bucket: str, folder: str) -> None:
    ground = Ground(S3Server("fake", url, "", ""), bucket, Path(folder), quick=True)
    uploads = Path(os.path.realpath(folder), "uploads")
    uploads.mkdir()
    kept = {"kept/": {"path": str(uploads), "immutable": True}}
    app = ours(ground, S3HANDOFF_PLACES=kept if kind == "folder" else {})
    file = uploads / "file" if "folder" in what else Path(folder, "file")
    _unseen(file)

    @app.get("/work")
    def work() -> str:
        return str(_timed(what, str(file)))

    if what == "hello":
        print(busy(lambda: call(app, environ_of("GET", "/hello")), times=TIMES)())
    elif what.endswith("inside"):
        print(call(app, environ_of("GET", "/work")).body.decode())
    else:
        print(_timed(what, str(file)))


def _unseen(file: Path) -> None:
    """Make a file as another program would have made it before."""
    with unwatched():
        file.touch()


def _timed(what: str, path: str) -> float:
    one: Any = os.stat if what.startswith("stat") else _open
    one(path)  # what is looked up once per request is not what each call costs
    return busy(lambda: one(path), times=TIMES)()


def _open(path: str) -> None:
    with open(path, "rb"):
        pass


if __name__ == "__main__":
    _main(*sys.argv[1:])
