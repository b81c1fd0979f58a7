"""What an exchange is given: its patience."""

from __future__ import annotations

import time

import pytest

from flask_s3handoff.visit import Patience

MIB = 1 << 20


class Clock:
    """A clock that is moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which patience is measured."""
    return Clock(monkeypatch)


def test_rule_10_the_deadline_grows_with_the_file(clock: Clock) -> None:
    """`S3HANDOFF_DEADLINE`, and a second more for each MiB."""
    with Patience(7).spend() as until:
        assert until == clock.now + 7
    with Patience(7).spend(10 * MIB) as until:
        assert until == clock.now + 17


def test_rule_10_the_waits_of_one_request_share_its_deadline(clock: Clock) -> None:
    """What one wait took is gone for the next; what its file was allowed is not counted."""
    patience = Patience(7)
    with patience.spend(2 * MIB):
        clock.now += 5
    with patience.spend() as until:
        assert until == clock.now + 4


@pytest.mark.parametrize("error", [None, TimeoutError])
def test_rule_10_when_patience_is_over_nothing_is_waited_for(
    clock: Clock, error: type[Exception] | None
) -> None:
    """A wait that ended in an error counts as well; more than all cannot be taken."""
    patience = Patience(7)
    try:
        with patience.spend():
            clock.now += 30
            if error:
                raise error
    except TimeoutError:
        pass
    with patience.spend() as until:
        assert until == clock.now


def test_what_was_waited_for_the_store_is_added_up(clock: Clock) -> None:
    """All of it counts, also what a file's size allows beside the deadline."""
    patience = Patience(7)
    for size, seconds in ((10 * MIB, 4.0), (0, 0.5)):
        with patience.spend(size):
            clock.now += seconds

    assert patience.waited_seconds == 4.5
