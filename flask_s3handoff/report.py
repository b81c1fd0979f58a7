"""What the command line prints: tables that line up, or lines for machines.

With rich (the extra ``cli``) the tables line up and have colours on a terminal; without it the same
lines come plain, their cells separated by tabs. rich is imported when a table is printed: servers
never need it.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import IO, Any

_STYLES = {"ok": "green", "changed": "cyan", "skipped": "dim"}
_STYLES |= {"warning": "yellow", "needed": "yellow", "failure": "bold red", "failed": "bold red"}
_WIDE = 10_000


def table(rows: Sequence[Sequence[str]], *, file: IO[str] | None = None) -> None:
    """Print rows of cells, without a heading: each line stands for itself in a pipe."""
    out = file or sys.stdout
    # A key may hold what a terminal would obey; what cannot be printed is written out.
    rows = [[cell if cell.isprintable() else repr(cell) for cell in row] for row in rows]
    if find_spec("rich") is None:
        out.writelines("\t".join(row).rstrip() + "\n" for row in rows)
    elif rows:
        _rich_table(rows, out)


def _rich_table(rows: Sequence[Sequence[str]], out: IO[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for number in range(len(rows[0])):
        grid.add_column(no_wrap=number < len(rows[0]) - 1)
    for row in rows:
        grid.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console = Console(file=out, highlight=False)
    if console.is_terminal:
        console.print(grid)
        return
    wide = Console(file=out, highlight=False, width=_WIDE)
    with wide.capture() as captured:
        wide.print(grid)
    out.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def as_json(value: Any, *, file: IO[str] | None = None) -> None:
    """Print a value for machines."""
    print(json.dumps(value, indent=2, default=str), file=file or sys.stdout)


def size_of(count: int) -> str:
    """Return a number of bytes as people read it.

    >>> size_of(999), size_of(3_500_000)
    ('999 B', '3.3 MiB')
    """
    amount, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1024 and len(units) > 1:
        amount, units = amount / 1024, units[1:]
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def age_of(when: datetime, *, now: float | None = None) -> str:
    """Return how long ago something was, in its largest unit.

    >>> from datetime import UTC
    >>> age_of(datetime.fromtimestamp(0, UTC), now=7300)
    '2 h'
    """
    seconds = max(0, int((time.time() if now is None else now) - when.timestamp()))
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
