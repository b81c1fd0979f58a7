"""One target under atheris: it changes inputs until they reach new lines, and keeps those that do.

    python -m tests.fuzz.guided body FOLDER -max_total_time=60

``FOLDER`` gets what was found; the rest goes to libFuzzer. The committed inputs are read first.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

TARGETS = ("body", "refill", "token", "paths", "forms")
CORPUS = Path(__file__).with_name("corpus")
# What is watched for new lines; the oracles themselves are not.
WATCHED = ["flask_s3handoff", "werkzeug.sansio.multipart", "werkzeug.formparser", "werkzeug.http"]


def main(target: str, folder: str, *options: str) -> None:
    """Fuzz until an option of libFuzzer says stop; it ends the process itself."""
    import atheris  # no wheel for every platform

    with atheris.instrument_imports(include=WATCHED):
        module = importlib.import_module(f"tests.fuzz.fuzz_{target}")
    fixed = ["-timeout=25", "-rss_limit_mb=2048", "-max_len=4096", f"-artifact_prefix={folder}-"]
    atheris.Setup([__file__, *fixed, *options, folder, str(CORPUS / target)], module.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
