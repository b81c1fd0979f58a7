"""Break a copy of the package on purpose, one line at a time: the named test must notice.

    python -m tests.run_mutants             all of tests/mutants.toml
    python -m tests.run_mutants paths.py    those whose file or test contains the word

A mutant that no test kills is a hole in the tests. One that does not apply, does not compile or
cannot be collected proves nothing, and fails as well.
"""

from __future__ import annotations

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "flask_s3handoff"
COPIED = (PACKAGE, "tests", "example_app", "pyproject.toml", "README.md", "CONTRIBUTING.md")
WORKERS = 2
SECONDS = 20  # a mutant that hangs has been noticed
ALL_PASSED, SOME_FAILED = 0, 1


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
        return None

    def undo(self, copy: Path) -> None:
        """Bring the original back."""
        shutil.copy(ROOT / PACKAGE / self.file, copy / PACKAGE / self.file)


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


def run_tests(copy: Path, tests: Iterable[str]) -> subprocess.CompletedProcess[str]:
    """Run tests against a copy."""
    # Byte code is judged by time and size: two mutants within a second would share it.
    env = {
        **os.environ,
        "PYTHONPATH": str(copy),
        "PYTHONDONTWRITEBYTECODE": "1",
        "FUZZ_SHRINK": "0",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"--timeout={SECONDS}", *tests]
    return subprocess.run(
        command, cwd=copy, env=env, check=False, capture_output=True, text=True, timeout=600
    )


def check_unbroken(copy: Path, mutants: list[Mutant]) -> None:
    """Give up unless the copy is what gets imported, and every named test passes on it."""
    env = {**os.environ, "PYTHONPATH": str(copy)}
    where = [sys.executable, "-c", f"import {PACKAGE}; print({PACKAGE}.__file__)"]
    found = subprocess.check_output(where, cwd=copy, env=env, text=True).strip()
    if not found.startswith(str(copy)):
        sys.exit(f"the tests would import {found}, not the copy")
    result = run_tests(copy, sorted({mutant.test for mutant in mutants}))
    if result.returncode != ALL_PASSED:
        output = result.stdout + result.stderr
        sys.exit(f"{output}\nthe unbroken package must pass these tests first")


def verdict(copies: queue.Queue[Path], mutant: Mutant) -> str | None:
    """Try one mutant on a free copy; return what is wrong, or None when its test failed."""
    copy = copies.get()
    try:
        if wrong := mutant.apply(copy):
            return wrong
        code = run_tests(copy, [mutant.test]).returncode
        mutant.undo(copy)
    finally:
        copies.put(copy)
    if code == SOME_FAILED:
        return None
    return "SURVIVED" if code == ALL_PASSED else f"pytest could not run the test (exit {code})"


def report(mutant: Mutant, wrong: str | None) -> None:
    """Print one line of the table."""
    sign = "FAILED" if wrong else "ok"
    print(f"{sign:<7}{mutant.file:<14}{mutant.why}  [{mutant.test.removeprefix('tests/unit/')}]")
    if wrong:
        print(f"       {wrong}: {mutant.old.strip()!r} -> {mutant.new.strip()!r}")
    sys.stdout.flush()


def try_all(mutants: list[Mutant]) -> list[str | None]:
    """Try the mutants on two copies at a time, and report each as soon as it is known."""
    verdicts = []
    with (
        tempfile.TemporaryDirectory(prefix="s3h-mutants-") as folder,
        ThreadPoolExecutor(WORKERS) as pool,
    ):
        copies: queue.Queue[Path] = queue.Queue()
        for number in range(WORKERS):
            copies.put(copy_tree(Path(folder) / str(number)))
        check_unbroken(Path(folder) / "0", mutants)
        results = pool.map(partial(verdict, copies), mutants)
        for mutant, wrong in zip(mutants, results, strict=True):
            report(mutant, wrong)
            verdicts.append(wrong)
    return verdicts


def main(words: list[str]) -> int:
    """Try every mutant that is asked for, and close with the two counts."""
    started = time.monotonic()
    listed = load(ROOT / "tests" / "mutants.toml")
    wanted = [m for m in listed if all(word in m.file or word in m.test for word in words)]
    verdicts = try_all(wanted)
    failed = sum(wrong is not None for wrong in verdicts)
    print(f"mutants in {time.monotonic() - started:.0f} s: ", end="")
    print(f"{len(verdicts) - failed} passed, {failed} failed")
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
