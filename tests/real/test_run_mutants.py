"""The mutants' runner itself: what it calls killed was killed, and what survives is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests import run_mutants
from tests.run_mutants import Mutant, Unfit, Worker, copy_tree, try_all

SECONDS = 6.0  # for what hangs on purpose
ENDS = 'if not isinstance(prefix, str) or not prefix.endswith("/"):'
KILLED = Mutant(
    file="paths.py",
    old=ENDS,
    new="if not isinstance(prefix, str):",
    test="tests/unit/test_paths.py::test_a_prefix_ends_with_a_slash",
    why="killed",
)
IMPORT = "from .errors import InvalidKey"
SURVIVOR = replace(KILLED, old="T1, B31", new="T1 and B31", why="survives: a docstring")
CASES: list[tuple[Mutant, str | None]] = [
    (KILLED, None),
    (SURVIVOR, "SURVIVED"),
    (replace(KILLED, new=f"while True: pass\n    {ENDS}", why="hangs in the test"), None),
    (
        replace(KILLED, old=IMPORT, new=f"{IMPORT}\nimport nothing_of_this_name", why="no import"),
        "pytest could not run the test (exit 4)",
    ),
    (
        replace(KILLED, old=IMPORT, new=f"{IMPORT}\nimport os; os.abort()", why="dies"),
        "pytest could not run the test (exit -6)",
    ),
    (replace(KILLED, new="if not isinstance(prefix, str", why="syntax"), "does not compile"),
    (replace(KILLED, old="import", why="not one line"), "`old` occurs"),
    (replace(KILLED, old="no such line", why="no line"), "`old` occurs 0 times"),
    (
        Mutant(
            file="wsgi.py",
            old="import os\n",
            new="import os\nimport flask\n",
            test="tests/unit/test_wsgi.py::test_flask_is_not_imported",
            why="seen by a child of the test only",
        ),
        None,
    ),
    (replace(SURVIVOR, why="still survives after all that"), "SURVIVED"),
]


def test_each_verdict_is_the_right_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed, hanging or surviving; and what proves nothing is a failure, not a kill."""
    monkeypatch.setattr(run_mutants, "WORKERS", 2)
    verdicts = try_all([mutant for mutant, _ in CASES], seconds=SECONDS)

    wrong = [
        (mutant.why, verdict)
        for (mutant, wanted), verdict in zip(CASES, verdicts, strict=True)
        if not (verdict or "").startswith(wanted or "") or (verdict is None) != (wanted is None)
    ]
    assert wrong == []
    assert capsys.readouterr().out.count("FAILED") == sum(wanted is not None for _, wanted in CASES)


def test_what_keeps_a_test_from_beginning_is_no_kill(tmp_path: Path) -> None:
    """A child that hangs while it imports is ended, and said to have hung before any test."""
    endless = replace(KILLED, old=IMPORT, new=f"{IMPORT}\nwhile True: pass")
    worker = Worker(copy_tree(tmp_path / "copy"), SECONDS)
    try:
        assert endless.apply(worker.copy) is None
        result = worker.run([endless.test], patience=2.0)
    finally:
        worker.close()
    assert (result.code, result.began) == (None, False)


def test_a_test_that_fails_on_the_unbroken_package_proves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is tried then."""
    monkeypatch.setattr(run_mutants, "WORKERS", 1)
    with pytest.raises(Unfit, match="the unbroken package must pass these tests first"):
        try_all([replace(KILLED, test="tests/unit/test_paths.py::test_of_no_such_name")])
