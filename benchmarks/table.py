"""Figures → benchmarks/results.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Figure

HEAD = ("id", "measure", "base", "ours", "by hand", "local disk", "target", "gate", "verdict")
_NOTES = Path(__file__).with_name("notes.md")


def table(figures: Sequence[Figure]) -> str:
    """Return the Markdown table."""
    rows = [HEAD, ("---",) * len(HEAD), *map(_row, figures)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def in_short(figure: Figure) -> str:
    """Return a figure as a line for the terminal."""
    ours, naive, local = (
        _value(value, figure) for value in (figure.ours, figure.naive, figure.local)
    )
    gate = _bound("=" if figure.exact else "≤", figure.gate, figure)
    values = f"ours {ours:10} by hand {naive:10} local {local:10} gate {gate:10}"
    return f"{figure.id:12} {values} {figure.verdict}"


def report(figures: Sequence[Figure], *, minutes: float, load: float) -> str:
    """Return the whole page: how it was measured, the table, and what the table does not say."""
    return "\n".join((_HEAD, _machine(minutes, load), table(figures), _NOTES.read_text()))


_HEAD = """\
# Results

Written by `make bench`; [`__init__.py`](__init__.py) says how it is measured. Ratios are medians of
per-round ratios to the base of the same run; smaller is better. *By hand* is `save`, `upload_file`,
`download_file` in sequence, with boto3 as it comes; *local disk* is one server without any S3. In
brackets is what the base took, for scale only. What waits for nobody is measured by processor time.
"""


def _machine(minutes: float, load: float) -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    python = f"Python {platform.python_version()}"
    return f"{machine}, load average {load:.1f}, {python}, {packages}; {minutes:.0f} minutes.\n"


_PACKAGES = ("flask", "werkzeug", "boto3")


def _row(figure: Figure) -> tuple[str, ...]:
    base = f"{figure.base} [{figure.scale}]" if figure.scale else figure.base
    values = (figure.ours, figure.naive, figure.local)
    sign = "=" if figure.exact else "≤"
    wanted = (_bound(sign, figure.target, figure), _bound(sign, figure.gate, figure))
    cells = (*(_value(value, figure) for value in values), *wanted)
    return (f"`{figure.id}`", figure.measure, base, *cells, figure.verdict)


def _value(value: float | None, figure: Figure) -> str:
    if value is None:
        return "–"
    if figure.exact:
        return f"{value:.0f}"
    digits = 1 if value >= 10 or figure.unit != "×" else 3
    return f"{value:.{digits}f}{figure.unit}"


def _bound(sign: str, value: float | None, figure: Figure) -> str:
    return "–" if value is None else f"{sign} {value:g}{figure.unit if figure.unit != '×' else ''}"
