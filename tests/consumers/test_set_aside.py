"""One event that our own code or the database can't take stops nothing and vanishes nowhere (S6)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import sqlalchemy as sa

from consumers.ingest import Ingest, TooManyBadEventsError
from domain.events import RawRecord
from domain.policy import Policy, RecallRules
from infra.kafka.source import Place, Polled
from infra.postgres.database import Database
from tests.builders import LENIENT, day
from tests.conftest import CLUSTER_ID, worker
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

PAYMENTS = ("billing.payments", 0)
REFERRALS = ("collections.referrals", 0)


@pytest.fixture
def ingest(database: Database) -> Ingest:
    """A worker without a broker."""
    return worker(database, LENIENT, day(9))


def test_an_account_that_cannot_be_loaded_is_set_aside_alone(database: Database, ingest: Ingest) -> None:
    """Its events go to quarantine with their bytes and hold it; the others of the batch are applied."""
    take(ingest, referral(account_id="broken"), referral(account_id="sound"))
    execute(database, "UPDATE ledger SET stored = '{' WHERE account_id = 'broken'")
    bad, good = payment(account_id="broken"), payment(account_id="sound")

    take(ingest, bad, good, referral(account_id="new"))

    assert [("NOT_APPLICABLE", bad.value, "broken")] == execute(database, QUARANTINE)
    assert execute(database, "SELECT account_id FROM ledger WHERE money_id IS NOT NULL") == [("sound",)]
    assert execute(database, CASES) == [("broken",), ("new",), ("sound",)]


def test_an_event_that_the_database_refuses_is_set_aside_alone(database: Database, ingest: Ingest) -> None:
    """A constraint is an answer, not an absence: nothing waits for it to go away."""
    execute(database, "ALTER TABLE ledger ADD CONSTRAINT no_such CHECK (event_id <> 'p-2')")
    batch = [payment("p-1"), payment("p-2"), payment("p-3")]

    take(ingest, *batch)

    assert [("NOT_APPLICABLE", batch[1].value, "a-1")] == execute(database, QUARANTINE)
    assert execute(database, "SELECT event_id FROM ledger ORDER BY event_id") == [("p-1",), ("p-3",)]


def test_code_that_fails_on_everything_stops_the_stream(database: Database) -> None:
    """A bad deploy is seen by its run of bad events: what is not yet set aside is left to be read again."""
    without_debt_rules = SimpleNamespace(speakers={}, recall=RecallRules())
    broken = worker(database, cast("Policy", without_debt_rules), day(9))
    begin_at(database, broken, REFERRALS, 0)
    records = [at(number, placement(account_id=f"a-{number}")) for number in range(150)]

    with pytest.raises(TooManyBadEventsError, match="101 bad events one after the other"):
        broken.take_or_set_aside(Polled(records, {REFERRALS: 150}))

    assert execute(database, "SELECT count(*), max(position) FROM quarantine, stream_position") == [(100, 100)]


def test_positions_move_with_each_event_that_is_taken_alone(database: Database, ingest: Ingest) -> None:
    """Up to the consumer's own position behind the last one, which a marker may have pushed on."""
    execute(database, "ALTER TABLE ledger ADD CONSTRAINT no_such CHECK (event_id <> 'p-1')")
    begin_at(database, ingest, PAYMENTS, 7)
    records = [at(7, payment("p-1")), at(9, payment("p-2"))]

    ingest.take_or_set_aside(Polled(records, {PAYMENTS: 11}))

    assert execute(database, "SELECT position FROM stream_position") == [(11,)]
    assert ingest._positions[PAYMENTS] == 11


QUARANTINE = "SELECT reason, value, account_id FROM quarantine JOIN hold USING (quarantine_id)"
STREAM = "INSERT INTO stream (topic, cluster_id, topic_id, registered_at) VALUES (:topic, :cluster, 't', now())"
POSITION = """
INSERT INTO stream_position (cluster_id, topic, topic_id, partition, position, moved_at)
VALUES (:cluster, :topic, 't', :partition, :position, now())"""
CASES = "SELECT account_id FROM account WHERE has_case ORDER BY account_id"


def take(ingest: Ingest, *records: RawRecord) -> None:
    """Give these records to a worker in one batch."""
    ingest.take_or_set_aside(Polled(list(records), {}))


def begin_at(database: Database, ingest: Ingest, place: Place, position: int) -> None:
    """Register a stream, and let the worker read a partition of it from a position."""
    names = {"topic": place[0], "partition": place[1], "position": position, "cluster": CLUSTER_ID}
    with database.transaction() as connection:
        connection.execute(sa.text(STREAM), names)
        connection.execute(sa.text(POSITION), names)
    ingest._topic_ids[place[0]] = "t"
    ingest._positions[place] = position


def at(offset: int, record: RawRecord) -> RawRecord:
    """The same record at an offset."""
    return replace(record, origin=replace(record.origin, offset=offset))


def execute(database: Database, *statements: str) -> list[tuple[object, ...]]:
    """Run these, and return what the last one gives."""
    with database.transaction() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return (
            [tuple(bytes(value) if isinstance(value, memoryview) else value for value in row) for row in result]
            if result.returns_rows
            else []
        )
