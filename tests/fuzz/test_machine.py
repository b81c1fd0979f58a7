"""Thousands of sequences of what people and machines do, each answer judged by a model (machine.py)."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from hypothesis import seed
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.budget import FACTOR, settings_for
from tests.fuzz.machine import STATUS, Machine, Site

SEQUENCES = 2000 * FACTOR
SHARDS = 40  # each so short that a mutant of it is soon decided
STEPS = 14
ran: list[int] = []


@pytest.fixture(scope="module", autouse=True)
def site() -> Iterator[Site]:
    """Four servers for all sequences; their log lines would be a million."""
    log = logging.getLogger("flask_s3handoff")
    level = log.level
    log.setLevel(logging.CRITICAL)
    Machine.site = site = Site()
    yield site
    site.close()
    log.setLevel(level)


@pytest.mark.timeout(120 * FACTOR)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_answer_is_what_the_model_says(shard: int, site: Site) -> None:
    """The right bytes or an explicit error with the right reason; nothing lost, nothing left."""
    options = settings_for(SEQUENCES // SHARDS, stateful_step_count=STEPS)
    seed(shard)(Machine)
    run_state_machine_as_test(Machine, settings=options)
    ran.append(shard)


def test_two_thousand_sequences_ran() -> None:
    """And they met every reason that there is, and mostly bytes."""
    if len(ran) < SHARDS:
        pytest.skip("some of the sequences were not asked for, or failed")
    print(f"{Machine.sequences} sequences, answers: {dict(Machine.answers)}")
    assert Machine.sequences >= SEQUENCES
    assert set(Machine.answers) == {*STATUS, "forged", "bytes"}
    assert min(Machine.answers.values()) >= 20
