"""Measure everything, or ``--quick``: the exact counts and loose gates, in two minutes.

    python -m benchmarks                 # benchmarks/results.md, docs/benchmarks/*.svg
    python -m benchmarks --quick         # exit 1 where a gate fails
    python -m benchmarks --only html     # one family anew; `curves` are the plots

With --quick a gate that fails is measured once more: a pause of somebody else's is not ours.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.ground import ROOT, Ground, fake_ground
from benchmarks.table import in_short, publish

# Each is a module of `families/`.
QUICK_ROOM = 1.4
FAMILIES = (
    "counts",
    "uploads",
    "steps",
    "memory",
    "cpu",
    "html",
    "idle",
    "flight",
    "fork",
    "imports",
    "folders",
    "real",
)


CURVES = "curves"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; return 1 when a gate fails."""
    asked = _parser().parse_args(arguments)
    logging.disable(logging.WARNING)  # answers without a form are meant here
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="s3h-bench-") as folder,
        fake_ground(Path(folder), quick=asked.quick, share=asked.share) as ground,
    ):
        figures = list(_measure(ground, asked.only or FAMILIES))
        if not asked.quick:
            _draw(ground, asked.only)
    failed = [figure.id for figure in figures if not figure.passes_gate]
    took = time.monotonic() - began
    print(f"\n{len(figures)} figures in {took:.0f} s; gates failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="few rounds, no plots")
    parser.add_argument("--share", type=int, default=1, help="run one of so many rounds")
    parser.add_argument("--only", nargs="+", choices=(*FAMILIES, CURVES), help="these only")
    return parser


def _draw(ground: Ground, only: Sequence[str] | None) -> None:
    if only and CURVES not in only:
        return
    from benchmarks.curves import curves
    from benchmarks.plots import draw  # the server that runs the gates needs no matplotlib

    for curve in curves(ground):
        print(draw(curve).relative_to(ROOT), flush=True)


def _measure(ground: Ground, families: Sequence[str]) -> Iterator[Figure]:
    for name in (name for name in families if name != CURVES):
        figures = _figures(ground, name)
        if ground.quick and not all(figure.passes_gate for figure in figures):
            figures = _better(figures, _figures(ground, name))
        print(*map(in_short, figures), sep="\n", flush=True)
        if not ground.quick:
            publish(figures)
        yield from figures


def _figures(ground: Ground, name: str) -> list[Figure]:
    ground.steer(rtt=0.0, rate=0.0)
    module = importlib.import_module(f"benchmarks.families.{name}")
    figures = list(module.measure(ground))
    return [_loosened(figure) for figure in figures] if ground.quick else figures


def _loosened(figure: Figure) -> Figure:
    """Give a ratio of few rounds room: on a busy machine only a collapse is a failure."""
    if figure.exact or figure.gate is None:
        return figure
    return replace(figure, gate=round(figure.gate * QUICK_ROOM, 3))


def _better(first: Sequence[Figure], second: Sequence[Figure]) -> list[Figure]:
    """Take what passes: a gate fails only when it has failed twice."""
    return [one if one.passes_gate else other for one, other in zip(first, second, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
