"""rich: the tables of the command line line up."""

from __future__ import annotations

import io

import pytest

from flask_s3handoff.report import table


def test_columns_line_up_in_a_pipe() -> None:
    """Whole lines, however long, without colours, markup or trailing blanks."""
    with io.StringIO() as out:
        rows = [("ok", "secret key", "fine"), ("warning", "x", "not [so] fine")]
        table([*rows, ("ok", "long", "x" * 500)], file=out)
        first, second, third = out.getvalue().splitlines()
    assert first == "ok       secret key  fine"
    assert second == "warning  x           not [so] fine"
    assert third.endswith("x" * 500)


def test_columns_line_up_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long text wraps within its own column; states have colours."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            """Say that a person is looking."""
            return True

    with Terminal() as out:
        table([("failure", "lifecycle", "word " * 30), ("ok", "x", "fine")], file=out)
        lines = out.getvalue().splitlines()
    assert len(lines) > 2
    assert "\x1b[" in lines[0]
    assert lines[1].startswith(" " * 20)
