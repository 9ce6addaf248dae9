"""For how long streams wait to be read, by what looks have seen."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.lag import LOOKS_MAX, Lag
from tests.builders import day
from tests.clocks import Clock

PLACE = ("billing.payments", 0)
OTHER = ("billing.payments", 1)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at zero."""
    return Clock(0.0)


@pytest.fixture
def lag(clock: Clock) -> Lag:
    """Of a worker that starts now; its wall clock stands on day 9."""
    return Lag(now=lambda: day(9), clock=clock)


def looks(lag: Lag, clock: Clock, *seen: tuple[int, int]) -> list[float]:
    """A look every five seconds, at these positions and ends."""
    found = []
    for position, end in seen:
        found.append(lag.seconds({PLACE: position}, {PLACE: end})["billing.payments"])
        clock.seconds += 5
    return found


def test_who_has_read_all_is_not_behind(lag: Lag, clock: Clock) -> None:
    """However long ago the last record came, also where the end moves on meanwhile."""
    lag.read({PLACE: day(1)})

    assert looks(lag, clock, (7, 7), (7, 7), (9, 9)) == [0, 0, 0]


def test_under_a_steady_load_the_lag_is_a_look(lag: Lag, clock: Clock) -> None:
    """At each look something waits, and all that was there at the one before has been read."""
    assert looks(lag, clock, (10, 10), (20, 22), (32, 33), (43, 45)) == [0, 5, 5, 5]


def test_a_position_that_stands_still_grows_old(lag: Lag, clock: Clock) -> None:
    """Since the last look at which it had read all; and it is well again when it has caught up."""
    assert looks(lag, clock, (10, 10), (10, 15), (10, 20), (10, 20), (16, 20), (20, 20)) == [0, 5, 10, 15, 15, 0]


def test_after_a_start_the_last_record_that_was_read_says_it(lag: Lag, clock: Clock) -> None:
    """A worker that catches up after an outage of two hours is two hours behind, whatever its looks saw."""
    first = looks(lag, clock, (10, 90))
    lag.read({PLACE: day(9) - timedelta(hours=2)})

    assert (first, looks(lag, clock, (50, 95))) == ([0], [7_200])


def test_before_anything_was_read_it_counts_from_the_start(lag: Lag, clock: Clock) -> None:
    """A partition that nobody reads is behind for at least as long as we look."""
    assert looks(lag, clock, (10, 90), (10, 90), (10, 90)) == [0, 5, 10]


def test_a_topic_shows_its_longest_partition(lag: Lag, clock: Clock) -> None:
    """One that stands behind one that moves; a partition without a position is left out."""
    lag.seconds({PLACE: 1, OTHER: 1}, {PLACE: 1, OTHER: 1})
    clock.seconds += 30

    assert lag.seconds({PLACE: 1, OTHER: 5}, {PLACE: 2, OTHER: 5, ("t", 0): 3}) == {"billing.payments": 30}


def test_what_is_kept_of_a_partition_is_limited(lag: Lag, clock: Clock) -> None:
    """After days without a move it is as old as it is, and few looks are kept."""
    looks(lag, clock, (10, 10), *[(10, 11 + number) for number in range(5 * LOOKS_MAX)])

    assert looks(lag, clock, (10, 9_999)) == [5 * (5 * LOOKS_MAX + 1)]
    assert len(lag._ends[PLACE]) <= LOOKS_MAX
