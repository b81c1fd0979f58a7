"""A figure: what was measured, against what, what we want and what we insist on."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from benchmarks.rounds import Contest


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    ``ours``, ``naive`` and ``local`` are ratios to ``base`` unless ``unit`` says otherwise: the
    package, the article's way, plain local disk on one server. ``scale`` is what the base took,
    in words. Without a ``gate`` nothing fails; without a ``target`` it is told for comparison.
    """

    id: str
    measure: str
    base: str
    ours: float
    naive: float | None = None
    local: float | None = None
    target: float | None = None
    gate: float | None = None
    exact: bool = False
    unit: str = "×"
    scale: str = ""
    load: float = field(default_factory=lambda: os.getloadavg()[0])

    @property
    def reaches_target(self) -> bool:
        """Tell whether it is as good as we want it."""
        return self._within(self.target)

    @property
    def passes_gate(self) -> bool:
        """Tell whether it is as good as we insist."""
        return self._within(self.gate)

    @property
    def verdict(self) -> str:
        """Return a word."""
        if not self.passes_gate:
            return "**fails**"
        if self.target is None:
            return "–"
        return "reached" if self.reaches_target else "not reached"

    def _within(self, most: float | None) -> bool:
        # judged as it is printed: 1.0503 is 1.05
        return most is None or (self.ours == most if self.exact else round(self.ours, 3) <= most)


def figure_of(
    result: Contest,
    name: str,
    measure: str,
    base: str,
    *,
    target: float | None = None,
    gate: float | None = None,
) -> Figure:
    """Return the figure of a contest of all rivals, timed by the clock."""
    return Figure(
        id=name,
        measure=measure,
        base=base,
        ours=result.ratio("ours"),
        naive=result.ratio("naive") if "naive" in result.took else None,
        local=result.ratio("local") if "local" in result.took else None,
        target=target,
        gate=gate,
        scale=f"{1000 * result.typical():.1f} ms",
    )
