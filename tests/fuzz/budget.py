"""How many examples a property gets: the same ones in CI, others at each run elsewhere."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, Phase, settings

# `make fuzz` multiplies what CI runs.
FACTOR = int(os.environ.get("FUZZ_FACTOR", "1"))
IN_CI = os.environ.get("CI") == "true"
# The shortest example is for people: a mutant is dead without it.
PHASES = [Phase.generate] if os.environ.get("FUZZ_SHRINK") == "0" else list(Phase)


def settings_for(examples: int, **options: Any) -> settings:
    """Return settings for so many examples; what failed is shown, not kept."""
    return settings(
        max_examples=examples,
        derandomize=IN_CI,
        database=None,
        phases=PHASES,
        report_multiple_bugs=False,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        **options,
    )
