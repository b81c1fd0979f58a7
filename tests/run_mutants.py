"""Break a copy of the package on purpose, one line at a time: the named test must notice.

    python -m tests.run_mutants             all of tests/mutants.toml
    python -m tests.run_mutants paths.py    those whose file or test contains the word

A mutant that no test kills is a hole in the tests. One that does not apply, does not compile or
cannot be collected proves nothing, and fails as well.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "flask_s3handoff"
COPIED = (
    *(PACKAGE, "tests", "example_app", "benchmarks", "docs"),
    *("pyproject.toml", "README.md", "CONTRIBUTING.md"),
)
WORKERS = (os.cpu_count() or 1) + 1  # some of them wait
SECONDS = 20  # a mutant that hangs has been noticed
BEGIN_SECONDS = 60  # one that keeps its test from beginning has not: that proves nothing
COLLECT_SECONDS = 600  # all tests of the list, where nothing is compiled yet
ALL_PASSED, SOME_FAILED = 0, 1
_times = itertools.count(1)  # seconds after the epoch, when no file of ours was written


@dataclass(frozen=True)
class Mutant:
    """One sabotage: in `file` (below the package) `old` becomes `new`, and `test` must fail."""

    file: str
    old: str
    new: str
    test: str
    why: str

    def apply(self, copy: Path) -> str | None:
        """Change the copy; return what is wrong with this mutant, or None."""
        path = copy / PACKAGE / self.file
        source = path.read_text() if path.exists() else ""
        if (times := source.count(self.old)) != 1:
            return f"`old` occurs {times} times"
        changed = source.replace(self.old, self.new)
        try:
            compile(changed, self.file, "exec")
        except SyntaxError as error:
            return f"does not compile: {error}"
        path.write_text(changed)
        # Byte code is judged by time and size: no two mutants may share it.
        os.utime(path, ns=(0, next(_times) * 1_000_000_000))
        return None

    def undo(self, copy: Path) -> None:
        """Bring the original back."""
        shutil.copy2(ROOT / PACKAGE / self.file, copy / PACKAGE / self.file)


@dataclass(frozen=True)
class Result:
    """What came of a run: pytest's code (None: it hung), whether a test began, what was printed."""

    code: int | None
    began: bool
    output: str


class Unfit(Exception):
    """Nothing can be tried on this tree."""


def load(path: Path) -> list[Mutant]:
    """Read the list; an unknown or missing key is an error at once."""
    return [Mutant(**entry) for entry in tomllib.loads(path.read_text())["mutant"]]


def copy_tree(folder: Path) -> Path:
    """Copy what the unit tests need; the tree itself is never edited."""
    waste = shutil.ignore_patterns("__pycache__", "screenshots")
    folder.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=waste)
        elif (ROOT / name).exists():
            shutil.copy(ROOT / name, folder / name)
    return folder


class Worker:
    """A copy, and a warm parent that runs tests on it (warm.py)."""

    def __init__(self, copy: Path, seconds: float) -> None:
        self.copy = copy
        self._output = copy.with_suffix(".out")
        self._seconds = seconds
        temporary = copy.with_suffix(".tmp")
        temporary.mkdir()
        own = {"PYTHONPATH": str(copy), "TMPDIR": str(temporary), "FUZZ_SHRINK": "0"}
        self._env = {**os.environ, **own}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.warm"],
            cwd=copy,
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, tests: Sequence[str], *, patience: float = BEGIN_SECONDS) -> Result:
        """Run tests against the copy as it is now."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        times = {"seconds": self._seconds, "patience": patience}
        order = {"tests": tests, "output": str(self._output), **times}
        self._output.write_text("")
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        if not (answer := self._parent.stdout.readline()):
            raise RuntimeError("the warm parent has ended: see above")
        return Result(**json.loads(answer), output=self._output.read_text(errors="replace"))

    def check_unbroken(self, tests: Sequence[str]) -> None:
        """Give up unless the copy is what gets imported, and every named test passes on it."""
        where = [sys.executable, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"]
        found = subprocess.check_output(where, cwd=self.copy, env=self._env, text=True).strip()
        if not found.startswith(f"{self.copy}{os.sep}"):
            raise Unfit(f"the tests would import {found}, not the copy")
        if tests and (result := self.run(tests, patience=COLLECT_SECONDS)).code != ALL_PASSED:
            said = f"{result.output}\n(exit {result.code})"
            raise Unfit(f"{said} the unbroken package must pass these tests first")

    def close(self) -> None:
        """Let the parent end."""
        self._parent.communicate()


def verdict(workers: queue.Queue[Worker], mutant: Mutant) -> str | None:
    """Try one mutant on a free copy; return what is wrong, or None when its test failed."""
    worker = workers.get()
    try:
        if wrong := mutant.apply(worker.copy):
            return wrong
        result = worker.run([mutant.test])
        mutant.undo(worker.copy)
    finally:
        workers.put(worker)
    if result.code == SOME_FAILED or (result.code is None and result.began):
        return None
    if result.code == ALL_PASSED:
        return "SURVIVED"
    last = " ".join(result.output.split()[-12:])
    return f"pytest could not run the test (exit {result.code}): … {last}"


def report(mutant: Mutant, wrong: str | None) -> None:
    """Print one line of the table."""
    sign = "FAILED" if wrong else "ok"
    print(f"{sign:<7}{mutant.file:<14}{mutant.why}  [{mutant.test.removeprefix('tests/unit/')}]")
    if wrong:
        print(f"       {wrong}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}")
    sys.stdout.flush()


def try_all(mutants: list[Mutant], *, seconds: float = SECONDS) -> list[str | None]:
    """Try the mutants on a few copies at a time, and report each as soon as it is known."""
    verdicts = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="s3h-mutants-")))
        workers: queue.Queue[Worker] = queue.Queue()
        for number in range(WORKERS):
            workers.put(worker := Worker(copy_tree(folder / str(number)), seconds))
            stack.callback(worker.close)
        pool = stack.enter_context(ThreadPoolExecutor(WORKERS))  # the first to end
        tests = sorted({mutant.test for mutant in mutants})
        shares = [tests[number::WORKERS] for number in range(WORKERS)]
        list(pool.map(Worker.check_unbroken, list(workers.queue), shares))
        for mutant, wrong in zip(
            mutants, pool.map(partial(verdict, workers), mutants), strict=True
        ):
            report(mutant, wrong)
            verdicts.append(wrong)
    return verdicts


def main(words: list[str]) -> int:
    """Try every mutant that is asked for, and close with the two counts."""
    started = time.monotonic()
    listed = load(ROOT / "tests" / "mutants.toml")
    wanted = [m for m in listed if all(word in m.file or word in m.test for word in words)]
    try:
        verdicts = try_all(wanted)
    except Unfit as reason:
        sys.exit(str(reason))
    failed = sum(wrong is not None for wrong in verdicts)
    print(f"mutants in {time.monotonic() - started:.0f} s: ", end="")
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
