"""Rule 10 at the WSGI face: memory does not grow with the file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MIB_ALLOWED = 16.0  # what four threads and their buffers take, whatever the size (1 GiB: 10)


def test_rule_10_a_file_of_256_mib_goes_through_flat_memory(tmp_path: Path) -> None:
    """Uploaded on one server, brought back on another, read there: all in windows and chunks."""
    command = [sys.executable, "-m", "tests.frameworks.big_upload", "256", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < MIB_ALLOWED
