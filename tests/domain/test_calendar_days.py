"""Working days, against a count that walks from day to day."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.calendar_days import Holidays

DAYS = st.dates(date(1900, 1, 1), date(8999, 12, 31))
SPANS = st.integers(-40, 400)
AROUND = st.lists(st.integers(-50, 450), max_size=60)


def walked(after: date, until: date, holidays: set[date]) -> int:
    """The same, one day at a time."""
    days = [after + timedelta(days=n) for n in range(1, (until - after).days + 1)]
    return sum(1 for one in days if one.weekday() in range(5) and one not in holidays)


@given(DAYS, SPANS, AROUND)
def test_a_count_is_that_of_a_walk(after: date, span: int, around: list[int]) -> None:
    """Wherever it begins and whatever days are holidays, each working day after the first day counts."""
    until = after + timedelta(days=min(span, (date.max - after).days))
    holidays = {after + timedelta(days=n) for n in around}

    assert walked(after, until, holidays) == Holidays.of(holidays).working_days(after=after, until=until)


@given(DAYS, DAYS, DAYS, st.lists(DAYS, max_size=20))
def test_centuries_are_counted_as_the_days_they_are_made_of(
    one: date, two: date, three: date, holidays: list[date]
) -> None:
    """A count over any time is the sum of the counts of its parts."""
    first, middle, last = sorted([one, two, three])
    days = Holidays.of(holidays)

    parts = days.working_days(after=first, until=middle) + days.working_days(after=middle, until=last)

    assert parts == days.working_days(after=first, until=last)


@pytest.mark.parametrize(
    ("after", "until", "expected"),
    [
        (date(2026, 11, 6), date(2026, 11, 6), 0),
        (date(2026, 11, 6), date(2026, 11, 7), 0),
        (date(2026, 11, 6), date(2026, 11, 9), 1),
        (date(2026, 11, 7), date(2026, 11, 9), 1),
        (date(2026, 11, 8), date(2026, 11, 9), 1),
        (date(2026, 11, 9), date(2026, 11, 10), 1),
        (date(2026, 11, 9), date(2026, 11, 8), 0),
        (date(2026, 11, 2), date(2026, 11, 9), 4),
        (date(1900, 1, 1), date(2026, 11, 12), 33_098 - 1),
        (date.min, date.max, 2_608_614 - 1),
    ],
)
def test_a_few_counts_by_hand(after: date, until: date, expected: int) -> None:
    """From a Friday over a weekend, from within it, backwards, over one holiday, and since 1900."""
    holidays = Holidays.of([date(2026, 11, 4)])

    assert expected == holidays.working_days(after=after, until=until)


def test_holidays_are_in_order_once_and_none_of_a_weekend() -> None:
    """However they are given: a holiday on a Sunday takes no working day away, nor does one that is named twice."""
    wednesday, thursday, sunday = date(2026, 11, 4), date(2026, 11, 5), date(2026, 11, 8)

    assert Holidays((wednesday, thursday)) == Holidays.of([thursday, sunday, wednesday, thursday])
