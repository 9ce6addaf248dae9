"""How long an agency has: in hours in which its desk is open, across nights and changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.agency import Agency, ChannelKind, Desk, QuietHours, agency_of, speakers_of

MOSCOW = ZoneInfo("Europe/Moscow")
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = QuietHours(time(20), time(8), MOSCOW)
LUNCH = QuietHours(time(12), time(13), MOSCOW)
NIGHT_IN_BERLIN = QuietHours(time(20), time(8), BERLIN)


def at(day: int, hour: int, minute: int = 0, *, zone: ZoneInfo = MOSCOW, month: int = 11) -> datetime:
    """An instant of 2026."""
    return datetime(2026, month, day, hour, minute, tzinfo=zone).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "since", "minutes", "expected"),
    [
        # no hours: the clock runs on
        (None, at(2, 23), 120, at(3, 1)),
        # within the day; to the very minute at which the desk closes; and a minute over it
        (NIGHT, at(2, 10), 60, at(2, 11)),
        (NIGHT, at(2, 19), 60, at(2, 20)),
        (NIGHT, at(2, 19), 61, at(3, 8, 1)),
        # said at night: from the morning on, whether before or after midnight
        (NIGHT, at(2, 23), 30, at(3, 8, 30)),
        (NIGHT, at(3, 3), 30, at(3, 8, 30)),
        (NIGHT, at(2, 20), 30, at(3, 8, 30)),
        (NIGHT, at(2, 8), 30, at(2, 8, 30)),
        # longer than a day of twelve hours
        (NIGHT, at(2, 10), 25 * 60, at(4, 11)),
        # hours within a day
        (LUNCH, at(2, 11, 30), 45, at(2, 13, 15)),
        (LUNCH, at(2, 12, 30), 45, at(2, 13, 45)),
        (LUNCH, at(2, 13), 45, at(2, 13, 45)),
        # the night of 25 October in which Berlin's clocks go back, and that of 29 March in which they go forward
        (NIGHT_IN_BERLIN, at(24, 19, zone=BERLIN, month=10), 90, at(25, 8, 30, zone=BERLIN, month=10)),
        (NIGHT_IN_BERLIN, at(28, 19, zone=BERLIN, month=3), 90, at(29, 8, 30, zone=BERLIN, month=3)),
    ],
)
def test_a_deadline_runs_while_the_desk_is_open(
    quiet: QuietHours | None, since: datetime, minutes: int, expected: datetime
) -> None:
    """Only the time in which somebody is there to answer counts."""
    assert expected == Desk(quiet=quiet).deadline(since, timedelta(minutes=minutes))


def test_an_agency_that_nobody_names_is_reached_by_kafka() -> None:
    """So a creditor without a file of agencies works as before."""
    assert Agency("south", name="south", channel=ChannelKind.KAFKA) == agency_of({}, "south")


def test_a_source_belongs_to_the_agency_that_names_it() -> None:
    """And to nobody where none does."""
    agencies = {"north": Agency("north", sources=frozenset({"urn:north"}))}

    assert speakers_of(agencies).get("urn:north") == "north"
    assert speakers_of(agencies).get("urn:south") is None
