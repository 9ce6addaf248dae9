"""The clocks of recalls on a real database, at instants of choice: overdue, escalated, sent again, stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from consumers.deadlines import CHUNK_RECALLS, Clocks
from domain.agency import Agencies, Agency, ChannelKind
from domain.policy import RecallRules
from domain.recall import recall_id_of
from infra.metrics import Metrics
from infra.postgres.database import Database
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.deadlines import clocks
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

HOUR, MOMENT = timedelta(hours=1), timedelta(seconds=1)
DUE = day(9) + HOUR
"""A recall of day 9 at nine is to be acknowledged by then."""

RECALL = recall_id_of(ACCOUNT, "l-1")
TWO_WAYS: Agencies = {"agency-1": Agency("agency-1", channel=ChannelKind.WEBHOOK, second_channel=ChannelKind.FILE)}
NOTHING = Clocks()

said = partial(record, at=day(7), placement_id="l-1")
"""What is said of the placement, on day 7."""

AT = day(7).isoformat()
ENDS = {
    "acknowledged": said("agency.recall.acknowledged.v1", recall_id=RECALL, acknowledged_at=AT),
    "rejected": said("agency.recall.rejected.v1", recall_id=RECALL, rejected_at=AT, reason="we know of none"),
    "closed": said("collections.placement.closed.v1", closed_at=AT),
}


@pytest.fixture
def recalled(arrive: Arrive, database: Database) -> None:
    """A placement that was paid, and whose recall was sent at once."""
    arrive(referral(), placement(), payment())
    send(database)


def send(database: Database) -> None:
    """What waits in the outbox is sent, on day 9 at nine."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at WHERE sent_at IS NULL"), {"at": day(9)})
        connection.execute(sa.text("UPDATE recall SET sent_at = :at WHERE sent_at IS NULL"), {"at": day(9)})


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def copies(database: Database) -> list[tuple[object, ...]]:
    """Why and by which channel the recalls wait to be sent again."""
    return rows(
        database, "SELECT again, channel FROM outbox WHERE again <> '' AND sent_at IS NULL ORDER BY again, channel"
    )


_COPIES = "SELECT again, channel FROM outbox WHERE again <> '' AND sent_at IS NULL ORDER BY again, channel"


def state(database: Database) -> object:
    """Where the one recall stands."""
    ((found,),) = rows(database, "SELECT state FROM recall")
    return found


@pytest.mark.usefixtures("recalled")
def test_the_life_of_a_recall_that_nobody_answers(database: Database) -> None:
    """Overdue after its deadline, escalated after the policy's time, and then sent again at pauses that double."""
    metrics = Metrics()

    def look(at: datetime) -> tuple[Clocks, list[tuple[object, ...]]]:
        found = clocks(database, at, metrics=metrics, agencies=TWO_WAYS).look()
        waiting = copies(database)
        send(database)
        return found, waiting

    assert look(DUE) == (NOTHING, [])
    assert look(DUE + MOMENT) == (Clocks(overdue=1, resent=1), [("overdue", "")])
    assert look(DUE + MOMENT) == (NOTHING, [])
    escalated = DUE + HOUR + MOMENT
    assert look(escalated - MOMENT) == (NOTHING, [])
    assert look(escalated) == (Clocks(escalated=1, resent=1), [("escalated", "file")])
    again = [("escalated", ""), ("escalated", "file")]
    for hours in (1, 3, 7):
        assert look(escalated + hours * HOUR) == (NOTHING, [])
        assert look(escalated + hours * (HOUR + MOMENT)) == (Clocks(resent=1), again)
    assert rows(database, "SELECT overdue_at, escalate_at, escalated_at, resends, state FROM recall") == [
        (DUE + MOMENT, DUE + HOUR, escalated, 8, "escalated")
    ]
    passed = metrics.registry.get_sample_value("guard_recalls_passed_deadline_total", {"agency": "agency-1"})
    assert passed == 1


@pytest.mark.usefixtures("recalled")
def test_who_looks_late_does_all_that_was_missed(database: Database) -> None:
    """A recall whose deadline and whose escalation have both passed is escalated at the first look."""
    found = clocks(database, day(12), agencies=TWO_WAYS).look()

    assert found == Clocks(overdue=1, escalated=1, resent=2)
    assert copies(database) == [("escalated", "file"), ("overdue", "")]


def test_what_was_never_sent_is_overdue_and_not_sent_twice(arrive: Arrive, database: Database) -> None:
    """Its first record waits, and says it all; once it is a matter for people the second channel is tried."""
    arrive(referral(), placement(), payment())

    overdue = clocks(database, DUE + MOMENT, agencies=TWO_WAYS).look()
    waiting = copies(database)
    escalated = clocks(database, DUE + 2 * HOUR, agencies=TWO_WAYS).look()

    assert (overdue, waiting) == (Clocks(overdue=1), [])
    assert (escalated, copies(database)) == (Clocks(escalated=1, resent=1), [("escalated", "file")])


@pytest.mark.usefixtures("recalled")
def test_copies_do_not_heap_up_while_an_agency_is_away(database: Database) -> None:
    """One that waits to be sent is as good as ten."""
    for hours in range(1, 300, 5):
        clocks(database, DUE + hours * HOUR).look()

    assert copies(database) == [("overdue", "")]


@pytest.mark.usefixtures("recalled")
@pytest.mark.parametrize("after_hours", [0, 2, 30], ids=["in time", "overdue", "escalated"])
@pytest.mark.parametrize("end", ["acknowledged", "rejected", "closed", "taken over"])
def test_an_end_stops_the_clock(arrive: Arrive, database: Database, end: str, after_hours: int) -> None:
    """Whenever the agency answers, a person takes over, or the placement is closed."""
    clocks(database, DUE + after_hours * HOUR).look()
    send(database)
    if end in ENDS:
        arrive(ENDS[end])
    else:
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE recall SET taken_over_at = :at"), {"at": day(10)})

    found = [clocks(database, day(later)).look() for later in (12, 20, 40)]

    assert found == [NOTHING] * 3
    assert state(database) == end.replace(" ", "_")
    assert copies(database) == []


@pytest.mark.usefixtures("recalled")
def test_an_agency_has_its_own_deadlines(database: Database) -> None:
    """When a recall escalates is said by the policy and the file of the agencies as they are when it is overdue."""
    slow = replace(LENIENT, recall=RecallRules(escalate_after=timedelta(hours=5)))

    clocks(database, DUE + MOMENT, slow).look()

    assert rows(database, "SELECT escalate_at FROM recall") == [(DUE + 5 * HOUR,)]


def test_several_sweepers_share_what_is_due(arrive: Arrive, database: Database) -> None:
    """Four at once, more recalls than are taken in one go: each is told once."""
    recalls = CHUNK_RECALLS + 200
    arrive(referral(), placement(), payment())
    with database.transaction() as connection:
        connection.execute(sa.text(_MANY_RECALLS), {"recalls": recalls - 1})
        connection.execute(sa.text(_MANY_RECORDS))
    send(database)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: clocks(database, DUE + MOMENT).look(), range(4)))

    assert sum(one.overdue for one in found) == sum(one.resent for one in found) == recalls
    assert rows(database, "SELECT count(*), max(resends), count(DISTINCT state) FROM recall") == [(recalls, 1, 1)]
    assert rows(database, "SELECT count(*) FROM outbox WHERE again = 'overdue'") == [(recalls,)]


_MANY_RECALLS = """
INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
                    requested_at, acknowledge_by, trigger_source, trigger_id, known_since, swept)
SELECT 'b-' || n, 'l-1', 'x-' || n, debt_id, agency_id, reason, cause, outstanding, currency, requested_at,
       acknowledge_by, trigger_source, trigger_id, known_since, swept
FROM recall, generate_series(1, :recalls) AS n"""

_MANY_RECORDS = """
INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, topic, key, value, headers, created_at)
SELECT r.account_id, r.placement_id, r.recall_id, r.agency_id, o.topic, o.key, o.value, o.headers, o.created_at
FROM outbox o, recall r WHERE r.account_id <> o.account_id"""
