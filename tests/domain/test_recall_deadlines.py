"""What follows when the clock of a recall strikes, as a table."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest

from domain.agency import Agency, ChannelKind, Desk, QuietHours
from domain.deadlines import Struck, Waiting, Why, strike
from domain.policy import RecallRules
from tests.builders import day

BY, HOUR = day(9), timedelta(hours=1)
NIGHT = QuietHours(time(20), time(8))
RULES = RecallRules(
    desks={"quick": Desk(timedelta(minutes=10), timedelta(minutes=20)), "at day": Desk(quiet=NIGHT)},
    escalate_after=2 * HOUR,
)
TWO_WAYS = {"quick": ChannelKind.FILE}


def waiting(agency_id: str = "agency-1", *, overdue: bool = False, escalated: datetime | None = None) -> Waiting:
    """A recall that should have been answered on day 9 at nine."""
    return Waiting(agency_id, BY, BY if overdue or escalated else None, escalated)


def overdue(next_at: datetime) -> Struck:
    """It was due, and is sent again by the first channel."""
    return Struck(Why.OVERDUE, True, ("",), next_at)


def escalated(next_at: datetime, *channels: str) -> Struck:
    """It has become a matter for people."""
    return Struck(Why.ESCALATED, True, channels, next_at)


def still(next_at: datetime, *channels: str) -> Struck:
    """It is one, and is sent again."""
    return Struck(Why.ESCALATED, False, channels, next_at)


LATER = BY + timedelta(minutes=1)


@pytest.mark.parametrize(
    ("one", "now", "expected"),
    [
        (waiting(), LATER, overdue(BY + 2 * HOUR)),
        (waiting(), day(20), overdue(BY + 2 * HOUR)),
        (waiting("quick"), LATER, overdue(BY + timedelta(minutes=20))),
        (waiting("at day"), LATER, overdue(BY + 2 * HOUR)),
        (Waiting("at day", day(9, 19), None, None), LATER, overdue(day(10, 9))),
        (waiting(overdue=True), LATER, escalated(LATER + HOUR)),
        (waiting("quick", overdue=True), LATER, escalated(LATER + timedelta(minutes=10), "file")),
        (waiting(escalated=BY), BY + HOUR, still(BY + 3 * HOUR, "")),
        (waiting(escalated=BY), BY + 3 * HOUR, still(BY + 7 * HOUR, "")),
        (waiting(escalated=BY), BY + 7 * HOUR, still(BY + 15 * HOUR, "")),
        (waiting(escalated=BY), BY + 31 * HOUR, still(BY + 55 * HOUR, "")),
        (waiting(escalated=BY), BY + 300 * HOUR, still(BY + 324 * HOUR, "")),
        (waiting("quick", escalated=BY), BY + HOUR, still(BY + HOUR + timedelta(minutes=70), "", "file")),
    ],
    ids=[
        "its deadline passed",
        "and nobody looked for days",
        "of an agency with its own time",
        "of one with hours",
        "whose desk closes meanwhile",
        "escalated",
        "escalated, by a second channel",
        "again after the time to answer",
        "again after twice that",
        "again after four times that",
        "again a day later",
        "again each day",
        "again by each of its channels",
    ],
)
def test_what_follows_when_a_clock_strikes(one: Waiting, now: datetime, expected: Struck) -> None:
    """Overdue, escalated, and sent again at pauses that double from the agency's time to answer, up to a day."""
    second = TWO_WAYS.get(one.agency_id)

    assert strike(one, RULES, Agency(one.agency_id, second_channel=second), now) == expected


def test_an_agency_with_days_to_answer_hears_once_a_day() -> None:
    """A pause is a day at the most, however long the agency has to answer."""
    slow = RecallRules(acknowledge_within=timedelta(days=3))

    first = strike(waiting(overdue=True), slow, Agency("agency-1"), BY)
    later = strike(waiting(escalated=BY), slow, Agency("agency-1"), BY + timedelta(days=1))

    assert (first.next_at, later.next_at) == (BY + timedelta(days=1), BY + timedelta(days=2))
