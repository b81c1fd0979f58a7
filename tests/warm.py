"""A warm parent for tests/run_mutants.py: what every test imports is imported once, then forked.

It never imports the package or a test: each child does that itself, from the folder that it stands
in, so that what it runs is what lies there now. Orders and answers are lines of JSON.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

PACKAGE = "flask_s3handoff"
# Slow to import and the same for every mutant; one that is missing here costs time and nothing else.
SHARED = (
    *("pytest", "_pytest.pytester", "pytest_timeout", "hypothesis.strategies", "boto3", "requests"),
    *("botocore.config", "botocore.httpsession", "botocore.signers", "botocore.handlers"),
    *("s3transfer.manager", "flask.testing", "werkzeug.test", "werkzeug.serving", "jinja2.ext"),
    *("multiprocessing.pool", "multiprocessing.popen_spawn_posix", "concurrent.futures.thread"),
    *(
        "xml.etree.ElementTree",
        "html.parser",
        "http.client",
        "zipfile",
        "PIL.Image",
        "PIL.ImageDraw",
    ),
)
BEGAN = b"."
GRACE = 1.5  # pytest-timeout comes first, with a traceback; it cannot end everything
DIED = -1000  # the system knows why
SOME_FAILED = 1
ELSEWHERE = 70  # no code of pytest's: it could not run, or the package came from somewhere else


class _Life:
    """A plugin that tells the parent of each test that begins."""

    def __init__(self, pipe: int) -> None:
        self.began = False
        self._pipe = pipe

    def pytest_runtest_logstart(self) -> None:
        """Give a sign of life."""
        self.began = True
        os.write(self._pipe, BEGAN)


def main() -> None:
    """Answer one order after another, until there are no more."""
    for name in SHARED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a child's collector passes over what is ours, and its pages stay shared
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


def run(tests: Sequence[str], output: str, seconds: float, patience: float) -> dict[str, Any]:
    """Run tests in a child: its exit code (None if it hung), and whether a test began.

    Each test has ``seconds``, and ``patience`` seconds are left for the first to begin.
    """
    if any(name.partition(".")[0] == PACKAGE for name in sys.modules):
        sys.exit(f"{PACKAGE} was imported before the fork: mutants would not be seen")
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        _be_pytest(tests, output, seconds, writing)
    os.close(writing)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(pid, pid)  # as the child does: whoever comes first
    try:
        code, began = _awaited(reading, patience, seconds * GRACE)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)  # the child, and whatever its tests have started
        _, status = os.waitpid(pid, 0)
    return {"code": os.waitstatus_to_exitcode(status) if code == DIED else code, "began": began}


def _awaited(pipe: int, first: float, then: float) -> tuple[int | None, bool]:
    """Follow a child until it says its code, dies, or says nothing for too long."""
    began = False
    while select.select([pipe], [], [], then if began else first)[0]:
        if not (said := os.read(pipe, 4096)):
            return DIED, began
        began = began or BEGAN in said
        if code := said.strip(BEGAN):
            return code[0], began
    return None, began


def _be_pytest(tests: Sequence[str], output: str, seconds: float, pipe: int) -> NoReturn:
    """Be the child: say the code and end at once, whatever threads a broken test has left."""
    code, life = ELSEWHERE, _Life(pipe)
    try:
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(output, os.O_WRONLY | os.O_APPEND), 1)
        os.dup2(1, 2)
        pytest = importlib.import_module("pytest")
        options = ["-x", "-q", "-p", "no:cacheprovider", f"--timeout={seconds}"]
        # Its plugins are here already, and have no asserts of ours.
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
        code = int(pytest.main([*options, *tests], plugins=[life]))
        code = code if _is_ours() else ELSEWHERE
    except BaseException:  # noqa: BLE001 - nothing may go back into the parent's loop
        traceback.print_exc()
        # On the way out pytest raises what only the collector has found: a test has failed late.
        code = SOME_FAILED if life.began else ELSEWHERE
    finally:
        sys.stdout.flush()
        os.write(pipe, bytes([code]))
        os._exit(code)


def _is_ours() -> bool:
    """Tell whether the package, where a test has imported it, came from this folder."""
    found = getattr(sys.modules.get(PACKAGE), "__file__", None)
    return found is None or found.startswith(os.getcwd() + os.sep)


if __name__ == "__main__":
    main()
