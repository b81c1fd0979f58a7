"""Curves → docs/benchmarks/*.svg."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams |= {"svg.hashsalt": "benchmarks", "svg.fonttype": "path", "font.size": 9}

import matplotlib.pyplot as plt  # noqa: E402 - the backend is chosen first

from benchmarks.curves import NAMES, Curve  # noqa: E402
from benchmarks.ground import ROOT  # noqa: E402

FOLDER = ROOT / "docs" / "benchmarks"
_LOOKS: dict[str, dict[str, Any]] = {
    "base": {"color": "#8a8a8a", "linestyle": "--", "marker": "."},
    "ours": {"color": "#0b6e4f", "linewidth": 2.2, "marker": "o"},
    "naive": {"color": "#c0392b", "marker": "s"},
    "local": {"color": "#2c5f9e", "linestyle": ":", "marker": "^"},
}
_RECEIVING = "receiving, and nothing else"


def draw(curve: Curve) -> Path:
    """Draw a curve into a file of its own."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(5.6, 3.4), layout="constrained")
    for rival in _LOOKS:
        if points := sorted(curve.points.get(rival, [])):
            axes.plot(*zip(*points, strict=True), label=_label(curve, rival), **_LOOKS[rival])
    axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
    if curve.logarithmic:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_yscale("symlog" if curve.name == "memory" else "log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, fontsize=8)
    path = FOLDER / f"{curve.name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path


def _label(curve: Curve, rival: str) -> str:
    is_receiving = rival == "base" and curve.name in ("sizes", "memory")
    return _RECEIVING if is_receiving else NAMES[rival]
