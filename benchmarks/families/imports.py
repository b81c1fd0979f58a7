"""What it costs to import us, beside Flask itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.ground import ROOT, Ground
from benchmarks.rounds import Run, contest

_IMPORT = """
import sys, time
began = time.process_time()
import flask
middle = time.process_time()
{statement}
print(middle - began, time.process_time() - middle, "boto3" in sys.modules)
"""


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure in fresh interpreters, each against the import of Flask in itself."""
    compiled = ground.new_folder("compiled")
    runs = {
        "ours": _importing("from flask_s3handoff import S3Handoff", compiled, lazy=True),
        "naive": _importing("import boto3; boto3.session.Session()", compiled, lazy=False),
    }
    result = contest(ground.rounds(31, 9), runs)
    yield Figure(
        id="import",
        measure="import of the package, after Flask; boto3 is not imported",
        base="`import flask` in the same process",
        ours=result.typical("ours"),
        naive=result.typical("naive"),
        target=0.25,
        gate=1.0,
    )


def _importing(statement: str, compiled: Path, *, lazy: bool) -> Run:
    """Import what is compiled already, as pip leaves it; the first run, to warm up, does that."""
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(compiled), "PYTHONDONTWRITEBYTECODE": ""}

    def run() -> float:
        command = [sys.executable, "-c", _IMPORT.format(statement=statement)]
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, cwd=ROOT, env=environ
        )
        flask, mine, has_boto3 = done.stdout.split()
        assert has_boto3 == str(not lazy)
        return float(mine) / float(flask)

    return run
