"""The plot of docs/scaling.md, and the table's place in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.fleet import WAYS, Outcome, compare
from benchmarks.fleet_parts import Site

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, PLOT = DOCS / "scaling.md", DOCS / "benchmarks" / "fleet.svg"
TABLE = re.compile(r"(?<=<!-- fleet: table -->\n).*?(?=\n<!-- /fleet -->)", re.DOTALL)
SERVERS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 300, 500, 1000)
LIVES = (1, 2, 4, 8, 24, 72, 168)
Value = Callable[[Outcome], float]
LOOKS = {"handoff": ("#0b6e4f", "o"), "sticky": ("#b25d00", "s"), "shared": ("#3559a8", "^")}


def write(table: str, site: Site) -> None:
    """Put the table into the page, and the plot beside it."""
    PAGE.write_text(TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    by_life = [out for life in LIVES for out in compare(replace(site, life=life), [10])]
    draw(compare(site, SERVERS), by_life, PLOT)


def draw(by_servers: Sequence[Outcome], by_life: Sequence[Outcome], path: Path) -> None:
    """Draw requests and seconds against the number of servers, lost flows against their lives."""
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    asked, slow, lost = figure.subplots(1, 3)
    calm = [outcome for outcome in by_servers if outcome.disk_load < 1]  # else it depends on when
    _lines(asked, by_servers, _servers, lambda o: sum(o.requests.values()) / o.site.flows)
    _lines(slow, calm, _servers, lambda o: o.p99)
    _lines(lost, by_life, lambda o: o.site.life, lambda o: o.per_million(o.lost))
    asked.set(title="S3 requests per flow", xlabel="servers")
    slow.set(title="seconds that a flow waits, 99th percentile", xlabel="servers")
    lost.set(title="flows lost, per million", xlabel="hours that a server lives")
    slow.legend(frameon=False, loc="lower right")
    path.parent.mkdir(exist_ok=True)
    # The same numbers make the same file, so that a change of the picture is a change of them.
    with mpl.rc_context({"svg.hashsalt": "fleet", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _servers(outcome: Outcome) -> float:
    return outcome.site.servers


def _lines(axes: Axes, outcomes: Sequence[Outcome], x: Value, y: Value) -> None:
    """Draw one line per way."""
    for way in WAYS:
        points = [(x(outcome), y(outcome)) for outcome in outcomes if outcome.way == way]
        colour, marker = LOOKS[way]
        axes.plot(*zip(*points, strict=True), color=colour, marker=marker, markersize=4, label=way)
    axes.set(xscale="log", ylim=(0, None))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.3)
