"""Rule 10 at the WSGI face: memory does not grow with the file."""

from __future__ import annotations

import subprocess
import sys


def test_rule_10_a_file_of_256_mib_goes_through_flat_memory() -> None:
    """Uploaded on one server, brought back on another, read there: all in windows and chunks."""
    command = [sys.executable, "-m", "tests.frameworks.big_upload", "256"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr
