"""Figures → benchmarks/results.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Figure

HEAD = ("id", "measure", "base", "ours", "by hand", "local disk", "target", "gate", "", "load")
RESULTS = Path(__file__).with_name("results.md")
_NOTES = Path(__file__).with_name("notes.md")
_PACKAGES = ("flask", "werkzeug", "boto3")
_HEAD = """\
# Results

Written by `make bench`; [`__init__.py`](__init__.py) says how it is measured. Ratios are medians of
per-round ratios to the base of the same run; smaller is better. *By hand* is `save`, `upload_file`,
`download_file` in sequence, with boto3 as it comes; *local disk* is one server without any S3. In
brackets is what the base took, for scale only. What waits for nobody is measured by processor time.
*Load* is the load average of the minute: beyond the number of cores, others were working too, and
what has to wake up in time is shown worse than it is.
"""


def publish(figures: Sequence[Figure]) -> None:
    """Write these figures into the page; those of other families stay as they were measured."""
    rows = dict(_published())
    rows |= {figure.id: _line(_row(figure)) for figure in figures}
    table = "".join([_line(HEAD), _line(("---",) * len(HEAD)), *rows.values()])
    RESULTS.write_text("\n".join((_HEAD, _machine(), table, _NOTES.read_text())))


def _published() -> Iterator[tuple[str, str]]:
    page = RESULTS.read_text() if RESULTS.exists() else ""
    for line in page.splitlines(keepends=True):
        if line.startswith("| `"):
            yield line.split("`")[1], line


def in_short(figure: Figure) -> str:
    """Return a figure as a line for the terminal."""
    ours, naive, local = (
        _value(value, figure) for value in (figure.ours, figure.naive, figure.local)
    )
    sign = "=" if figure.exact else "≤"
    gate, target = (_bound(sign, most, figure) for most in (figure.gate, figure.target))
    values = f"ours {ours:10} by hand {naive:10} local {local:10} gate {gate:10} target {target:10}"
    return f"{figure.id:12} {values} {figure.verdict}"


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return f"{machine}, Python {platform.python_version()}, {packages}.\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _row(figure: Figure) -> tuple[str, ...]:
    base = f"{figure.base} [{figure.scale}]" if figure.scale else figure.base
    values = (figure.ours, figure.naive, figure.local)
    sign = "=" if figure.exact else "≤"
    wanted = (_bound(sign, figure.target, figure), _bound(sign, figure.gate, figure))
    cells = (*(_value(value, figure) for value in values), *wanted)
    return (f"`{figure.id}`", figure.measure, base, *cells, figure.verdict, f"{figure.load:.0f}")


def _value(value: float | None, figure: Figure) -> str:
    if value is None:
        return "–"
    if figure.exact:
        return f"{value:.0f}"
    digits = 1 if value >= 10 or figure.unit != "×" else 3
    return f"{value:.{digits}f}{figure.unit}"


def _bound(sign: str, value: float | None, figure: Figure) -> str:
    return "–" if value is None else f"{sign} {value:g}{figure.unit if figure.unit != '×' else ''}"
