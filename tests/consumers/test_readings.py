"""What the database says of how things stand, as it is scraped: fresh, and missing where it does not answer."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry, generate_latest

from consumers.readings import ReadingsCollector
from domain.recall import recall_id_of
from infra import logs
from infra.metrics_list import METRICS, Kind
from infra.postgres.database import Database
from infra.postgres.producers import OTHER, SOURCES_MAX, Producers
from infra.postgres.readings import GONE_AFTER, Readings
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.deadlines import clocks
from tests.records import payment, placement, record, referral

Shown = dict[str, float]

MOMENT = timedelta(seconds=1)
DUE = day(9) + timedelta(hours=1)
"""A recall of day 9 at nine is to be acknowledged by then."""

AT = day(7).isoformat()
RECALL = recall_id_of(ACCOUNT, "l-1")

answer = partial(record, placement_id="l-1")
"""What the agency says of the first placement."""


def send(database: Database) -> None:
    """What waits is sent, on day 9 at nine."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at WHERE sent_at IS NULL"), {"at": day(9)})
        connection.execute(sa.text("UPDATE recall SET sent_at = :at WHERE sent_at IS NULL"), {"at": day(9)})


def scraper(database: Database, *, now: datetime) -> CollectorRegistry:
    """A registry that reads anew each time that it is scraped."""
    registry, ticks = CollectorRegistry(), count(0, 60)
    log = logs.configure(role="test", level="CRITICAL")
    registry.register(ReadingsCollector(Readings(database), now=lambda: now, log=log, clock=lambda: next(ticks)))
    return registry


def scraped(registry: CollectorRegistry) -> Shown:
    """Every series that is shown, by its name with its labels."""
    lines = [line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def some(shown: Shown, *names: str) -> Shown:
    """Those of these names."""
    return {series: value for series, value in shown.items() if series.partition("{")[0] in names}


RECALLS = ("guard_recalls_open", "guard_recalls_overdue", "guard_oldest_unrecalled_paid_placement_seconds")


@pytest.mark.parts
def test_how_the_recalls_stand_is_shown(arrive: Arrive, database: Database) -> None:
    """By agency and state; overdue by the clock, whether a sweep looked or not; and nothing of what has ended."""
    arrive(referral(), placement(), payment())
    arrive(referral(account_id="a-2"), placement(account_id="a-2"), payment(account_id="a-2", paid_at=day(6)))
    registry = scraper(database, now=DUE + MOMENT)

    def shown() -> list[float | None]:
        found = scraped(registry)
        return [
            found.get('guard_recalls_open{agency="agency-1",state="requested"}'),
            found.get('guard_recalls_open{agency="agency-1",state="overdue"}'),
            found.get('guard_recalls_overdue{agency="agency-1"}'),
            found.get("guard_oldest_unrecalled_paid_placement_seconds"),
        ]

    assert shown() == [2, None, 2, (DUE + MOMENT - day(4)).total_seconds()]  # No sweep has looked yet.
    assert scraped(scraper(database, now=DUE))['guard_recalls_overdue{agency="agency-1"}'] == 0
    clocks(database, DUE + MOMENT).look()
    assert shown() == [None, 2, 2, (DUE + MOMENT - day(4)).total_seconds()]
    arrive(answer("agency.recall.acknowledged.v1", at=day(7), recall_id=RECALL, acknowledged_at=AT))
    assert shown() == [None, 1, 1, (DUE + MOMENT - day(6)).total_seconds()]
    send(database)
    assert shown() == [None, 1, 1, 0]
    arrive(record("collections.placement.closed.v1", at=day(7), account_id="a-2", placement_id="l-1", closed_at=AT))
    assert shown() == [None, None, None, 0]


@pytest.mark.parts
def test_the_rest_is_shown(arrive: Arrive, database: Database) -> None:
    """Streams, the quarantine, what waits and for whom, and who was heard when."""
    arrive(referral(), placement(), payment(), payment("p-bad", key="somebody-else"))
    Producers(database).heard({("billing.payments", "//billing"): day(4)})
    with database.transaction() as connection:
        connection.execute(sa.text(_STREAMS))

    found = scraped(scraper(database, now=day(9)))

    oldest = found.pop("guard_outbox_oldest_seconds")
    assert some(found, *RECALLS) != {}
    assert {series: value for series, value in found.items() if series not in some(found, *RECALLS)} == {
        "guard_database_answers": 1,
        'guard_stream_stopped{topic="billing.payments"}': 1,
        'guard_stream_stopped{topic="customers.notices"}': 0,
        'guard_producer_last_event_timestamp_seconds{source="//billing",topic="billing.payments"}': day(
            4
        ).timestamp(),
        "guard_quarantined_events": 1,
        "guard_outbox_pending": 2,
        'guard_agency_messages_waiting{agency="agency-1"}': 1,
    }
    assert oldest == 0  # It was written just now, long after the day 9 of this test.


_STREAMS = """
INSERT INTO stream (topic, cluster_id, topic_id, registered_at, stopped_reason)
VALUES ('billing.payments', 'c', 't-1', now(), 'TOPIC_MISSING'), ('customers.notices', 'c', 't-2', now(), NULL)"""


@pytest.mark.parts
def test_the_last_contact_after_a_recall_is_shown_at_the_first_one(arrive: Arrive, database: Database) -> None:
    """By agency, and no longer once it is a week ago."""
    arrive(referral(), placement(), payment())
    send(database)
    late = datetime.now(UTC) + timedelta(hours=1)
    contact = answer("agency.contact.made.v1", at=late, contacted_at=late.isoformat(), channel="call")
    name = "guard_contact_after_recall_last_timestamp_seconds"
    assert some(scraped(scraper(database, now=late)), name) == {}

    arrive(contact)

    assert list(some(scraped(scraper(database, now=late)), name)) == [f'{name}{{agency="agency-1"}}']
    assert some(scraped(scraper(database, now=late + GONE_AFTER)), name) == {}


@pytest.mark.parts
def test_every_reading_of_the_list_is_read(database: Database) -> None:
    """The list and the collector name the same."""
    described = generate_latest(scraper(database, now=day(9))).decode().splitlines()

    shown = {line.split()[2] for line in described if line.startswith("# TYPE")}
    assert shown == {one.name for one in METRICS if one.kind is Kind.READ}


@pytest.fixture
def nobody() -> Iterator[Database]:
    """A database that is not there."""
    with socket.socket() as bound:  # Bound and not listening: nobody else takes the port, and it refuses.
        bound.bind(("127.0.0.1", 0))
        url = f"postgresql://guard@127.0.0.1:{bound.getsockname()[1]}/guard"
        with closing(Database(url, application="tests")) as away:
            yield away


def test_where_the_database_does_not_answer_figures_are_missing_and_never_zero(nobody: Database) -> None:
    """An alert on a figure that reads 0 would sleep; one on its absence does not."""
    assert scraped(scraper(nobody, now=day(9))) == {"guard_database_answers": 0}


@pytest.mark.parts
def test_who_scrapes_often_reads_once_a_second(arrive: Arrive, database: Database) -> None:
    """The port can't be used to keep the database busy."""
    registry, seconds = CollectorRegistry(), [0.0]
    log = logs.configure(role="test", level="CRITICAL")
    collector = ReadingsCollector(Readings(database), now=lambda: day(9), log=log, clock=lambda: seconds[0])
    registry.register(collector)
    before = scraped(registry)["guard_quarantined_events"]
    arrive(payment("p-bad", key="somebody-else"))

    seconds[0] = 1.0
    kept = scraped(registry)["guard_quarantined_events"]
    seconds[0] = 1.1

    assert (before, kept, scraped(registry)["guard_quarantined_events"]) == (0, 0, 1)


@pytest.mark.parts
def test_producers_are_remembered_by_name_up_to_a_number(database: Database) -> None:
    """The known keep their places, what is more is one, and nothing goes back in time."""
    producers = Producers(database)
    producers.heard({("t", f"s-{number:02}"): day(1) for number in range(SOURCES_MAX + 5)})

    producers.heard({("t", "s-00"): day(3), ("t", "s-24"): day(2), ("t", "new"): day(1), ("u", "s-00"): day(1)})
    producers.heard({("t", "s-00"): day(2)})

    heard = Readings(database).take(day(4)).heard_at
    names = {f"s-{number:02}" for number in range(SOURCES_MAX)}
    assert heard == {("t", name): day(1) for name in names} | {
        ("t", "s-00"): day(3),
        ("t", OTHER): day(2),
        ("u", "s-00"): day(1),
    }
