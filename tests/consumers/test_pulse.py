"""Whether loops turn: what is slow and may be, what hangs, and what has not begun."""

from __future__ import annotations

import pytest

from consumers.pulse import LOOP_SILENT_SECONDS, START_SECONDS, Pulse
from infra.postgres.database import TRANSACTION_DEADLINE_SECONDS
from tests.clocks import Clock


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def pulse(clock: Clock) -> Pulse:
    """A process in which nothing has begun."""
    return Pulse(clock=clock)


def test_a_batch_that_takes_all_it_may_is_slow_and_not_stuck(pulse: Pulse, clock: Clock) -> None:
    """Thirty seconds of a transaction are borne, and as much again."""
    pulse.loop("ingest")

    clock.seconds += TRANSACTION_DEADLINE_SECONDS
    assert (pulse.stuck(), pulse.ages()) == ([], {"ingest": 30.0})
    clock.seconds += LOOP_SILENT_SECONDS - TRANSACTION_DEADLINE_SECONDS
    assert pulse.stuck() == []
    clock.seconds += 1
    assert pulse.stuck() == ["ingest has not turned for 61 s (it may take 60)"]


def test_a_beat_begins_anew(pulse: Pulse, clock: Clock) -> None:
    """Whoever turns again is well."""
    beat = pulse.loop("sweep")
    clock.seconds += 100

    beat()

    assert (pulse.stuck(), pulse.ages()) == ([], {"sweep": 0.0})


def test_each_loop_has_its_own_limit(pulse: Pulse, clock: Clock) -> None:
    """A lane that may wait for a file does not count as stuck with the others; its kind shows the slowest."""
    pulse.loop("the lane of north by file", kind="lanes", limit_seconds=180)
    clock.seconds += 50
    pulse.loop("the lane of south by webhook", kind="lanes", limit_seconds=90)
    clock.seconds += 95

    assert pulse.stuck() == ["the lane of south by webhook has not turned for 95 s (it may take 90)"]
    assert pulse.ages() == {"lanes": 145.0}


def test_a_loop_that_ended_in_order_is_not_missed(pulse: Pulse, clock: Clock) -> None:
    """A lane whose agency left the file is not there any more."""
    pulse.loop("dispatch")
    lane = pulse.loop("the lane of north by file", kind="lanes", limit_seconds=1)
    clock.seconds += 2

    pulse.end(lane)

    assert (pulse.stuck(), pulse.ages()) == ([], {"dispatch": 2.0})


def test_a_role_may_wait_for_its_servers_and_not_for_ever(pulse: Pulse, clock: Clock) -> None:
    """Before its loop begins it is alive for as long as its start may take."""
    clock.seconds += START_SECONDS
    assert (pulse.has_begun, pulse.stuck()) == (False, [])
    clock.seconds += 1
    assert pulse.stuck() == ["nothing has begun for 121 s"]
