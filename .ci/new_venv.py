"""Make a virtual environment, or say what is missing for it: `python new_venv.py FOLDER`."""

from __future__ import annotations

import subprocess
import sys


def main(folder: str) -> None:
    """Create the environment; one that is there already stays as it is."""
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make PYTHON=…")
    made = subprocess.run([sys.executable, "-m", "venv", folder], check=False)
    if made.returncode:
        sys.exit("No virtual environment: on Debian and Ubuntu, apt-get install python3-venv.")


if __name__ == "__main__":
    main(sys.argv[1])
