"""Who is measured against whom: each round runs all of them, in turn forwards and backwards.

The machine's mood changes within a run more than what is measured. So no time is compared with one
of another minute: each round gives a ratio to its own base, and the median of these is the figure.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

BASE = "base"
Run = Callable[[], float]  # does the work, and returns what it took


@dataclass(frozen=True)
class Contest:
    """What each of them took, round by round."""

    took: Mapping[str, list[float]]

    def ratio(self, name: str, base: str = BASE) -> float:
        """Return the median of the per-round ratios of one to another."""
        pairs = zip(self.took[name], self.took[base], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)

    def typical(self, name: str = BASE) -> float:
        """Return the median of what one took, for scale."""
        return statistics.median(self.took[name])


def contest(rounds: int, runs: Mapping[str, Run]) -> Contest:
    """Run all of them once to warm up, then so many rounds.

    >>> contest(3, {"base": lambda: 1.0, "ours": lambda: 2.0}).ratio("ours")
    2.0
    """
    for run in runs.values():
        run()
    took: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        order = list(runs) if number % 2 == 0 else list(runs)[::-1]
        for name in order:
            took[name].append(runs[name]())
    return Contest(took)


def timed(
    work: Callable[[], object],
    *,
    times: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Run:
    """Make a run of some work, done so many times in a row."""

    def run() -> float:
        began = clock()
        for _ in range(times):
            work()
        return (clock() - began) / times

    return run


def busy(work: Callable[[], object], *, times: int = 1) -> Run:
    """Time the processor instead: work that waits for nobody, measured though others work too."""
    return timed(work, times=times, clock=time.process_time)
