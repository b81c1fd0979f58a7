"""``make fuzz``: each target for some time, the state machine and the properties many times over.

    python -m tests.fuzz                            an hour, shared by all targets
    python -m tests.fuzz --hours 8 --target body    one of them (or several: repeat the option)

What reached new lines is kept in ``build/fuzz/TARGET``, beside the committed corpus, for the next
run; an input that failed lies there as ``TARGET-crash-…``. ``--target pages`` is the campaign of
random pages, which needs no atheris (fuzz_forms.py); ``--target machine`` is pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from .guided import CORPUS, TARGETS

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "fuzz"
CAMPAIGNS = ("pages", "machine", *TARGETS)
PAGES_PER_SECOND = 250  # about, on one core
EXAMPLES_SECONDS = 90  # about, for what CI runs


def guided(
    target: str, seconds: int, folder: Path, *, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run one target under atheris in a process of its own; what it found is kept in a folder."""
    (folder / target).mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.guided",
        target,
        str(folder / target),
        f"-max_total_time={seconds}",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        env = {**os.environ, "TMPDIR": scratch, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=ROOT, env=env, check=False, text=True, capture_output=capture
        )


def run(campaign: str, seconds: int) -> int:
    """Run one campaign for about so long, and return its exit code."""
    print(f"--- {campaign}: {seconds} s", flush=True)
    if campaign in TARGETS:
        return guided(campaign, seconds, KEPT).returncode
    if campaign == "pages":
        command = [
            "-m",
            "tests.fuzz.fuzz_forms",
            "--documents",
            str(max(2000, seconds * PAGES_PER_SECOND)),
        ]
        return subprocess.run([sys.executable, *command], cwd=ROOT, check=False).returncode
    env = {**os.environ, "FUZZ_FACTOR": str(max(1, seconds // EXAMPLES_SECONDS))}
    tests = [f"tests/fuzz/test_{name}.py" for name in ("machine", "properties")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests], cwd=ROOT, env=env, check=False
    ).returncode


def main() -> int:
    """Run the campaigns that were asked for; none stops the others."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="for all of them together")
    parser.add_argument("--target", action="append", choices=CAMPAIGNS, help="all, unless told")
    options = parser.parse_args()
    wanted = options.target or CAMPAIGNS
    seconds = max(1, int(options.hours * 3600 / len(wanted)))
    failed = [campaign for campaign in wanted if run(campaign, seconds) != 0]
    print(f"failed: {', '.join(failed)}" if failed else f"nothing found beyond {CORPUS}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
