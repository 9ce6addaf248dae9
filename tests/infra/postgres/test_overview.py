"""The overview on a real PostgreSQL: what is counted of states that are made by hand, and by which indexes."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from domain.recall import RecallStage
from domain.verdict import Paid
from infra.postgres import overview
from infra.postgres.database import Database
from infra.postgres.overview import (
    Day,
    Funnel,
    Latency,
    Opened,
    OpenRecall,
    Overview,
    Overviews,
    Partition,
    Quarantined,
    Questions,
    Way,
)
from tests.builders import day

pytestmark = pytest.mark.parts

NOW = day(3, 9) + timedelta(minutes=10)
SINCE = day(2, 9)
"""48 half hours before the one that is under way."""

NOBODY = Funnel(0, 0, 0, 0, 0, 0, 0, 0, {}, {})


def recall(database: Database, number: int, *, known: datetime, agency: str = "north", **more: object) -> None:
    """A recall of its own account, requested 20 ms after it could be known; `more` are other columns."""
    row: dict[str, object] = {
        "account_id": f"a-{number}",
        "placement_id": f"l-{number}",
        "recall_id": f"r-{number}",
        "debt_id": "d-1",
        "agency_id": agency,
        "reason": "DEBT_SETTLED",
        "cause": "paid_after_placement",
        "outstanding": 0,
        "currency": "RUB",
        "requested_at": known + timedelta(milliseconds=20),
        "acknowledge_by": known + timedelta(hours=1),
        "trigger_source": "test",
        "trigger_id": "p-1",
        "paid_at": known - timedelta(seconds=1),
        "known_since": known,
        "swept": False,
        **more,
    }
    insert(database, "recall", row)


def insert(database: Database, table: str, row: dict[str, object]) -> None:
    """A row as it is given."""
    columns, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    with database.transaction() as connection:
        connection.execute(sa.text(f"INSERT INTO {table} ({columns}) VALUES ({values})"), row)  # noqa: S608 # Ours.


def waiting(database: Database, number: int, **more: object) -> None:
    """A recall's record in the outbox, as it waits."""
    row: dict[str, object] = {
        "account_id": f"a-{number}",
        "placement_id": f"l-{number}",
        "recall_id": f"r-{number}",
        "agency_id": "north",
        "topic": "guard.recalls",
        "key": b"k",
        "value": b"{}",
        "headers": "[]",
        "created_at": NOW - timedelta(minutes=5),
        **more,
    }
    insert(database, "outbox", row)


def test_of_nothing_there_is_nothing(database: Database) -> None:
    """An empty database is an overview too."""
    assert Overviews(database).read(NOW) == Overview(
        at=NOW,
        day=Day(SINCE, NOBODY, {}, {}, is_cut=False),
        opened=Opened(Paid(0, None), {}, {}),
        first=(),
        ways=(),
        partitions=(),
        questions=Questions(SINCE, {}, is_cut=False),
        quarantined=Quarantined(0, None, 0, is_cut=False),
    )


def test_a_day_is_counted_by_stage_by_half_hour_and_by_agency(database: Database) -> None:
    """With how long each stage took from when it could be known; what is older is no part of it."""
    recall(database, 1, known=SINCE - timedelta(minutes=1))
    early, late = SINCE + timedelta(minutes=5), NOW - timedelta(minutes=2)
    sent_at = early + timedelta(milliseconds=40)
    recall(database, 2, known=early, sent_at=sent_at, acknowledged_at=early + timedelta(minutes=4))
    recall(database, 3, known=early, sent_at=sent_at, overdue_at=early, escalated_at=early, taken_over_at=late)
    recall(database, 4, known=late, agency="south", requested_at=late - timedelta(seconds=1))

    took = Latency(2, 0.04, 0.04, 0.04), Latency(1, 240.0, 240.0, 240.0)
    north = Funnel(
        2, 2, 1, 0, 1, 1, 1, 0,
        {RecallStage.ACKNOWLEDGED: 1, RecallStage.TAKEN_OVER: 1},
        {"requested": Latency(2, 0.02, 0.02, 0.02), "sent": took[0], "acknowledged": took[1]},
    )  # fmt: skip
    south = Funnel(1, 0, 0, 0, 0, 0, 0, 0, {RecallStage.REQUESTED: 1}, {"requested": Latency(1, 0, 0, 0)})
    both = Funnel(
        3, 2, 1, 0, 1, 1, 1, 0,
        {RecallStage.REQUESTED: 1, RecallStage.ACKNOWLEDGED: 1, RecallStage.TAKEN_OVER: 1},
        {"requested": Latency(3, 0.02, 0.02, 0.02), "sent": took[0], "acknowledged": took[1]},
    )  # fmt: skip
    assert Overviews(database).read(NOW).day == Day(
        SINCE, both, {0: north, 48: south}, {"north": north, "south": south}, is_cut=False
    )


def test_who_has_paid_is_with_a_collector_until_the_agency_says_otherwise(database: Database) -> None:
    """An objection, or a person, takes no collector off; an order by hand is of nobody who has paid."""
    at = [NOW - timedelta(minutes=number) for number in range(10)]
    recall(database, 1, known=at[1])
    recall(database, 2, known=at[2], sent_at=at[1])
    recall(database, 3, known=at[3], account_id="a-2", sent_at=at[1], rejected_at=at[1], rejection="not ours")
    recall(database, 4, known=at[4], sent_at=at[1], overdue_at=at[1], agency="south")
    recall(database, 5, known=at[5], taken_over_at=at[1], taken_over_by="Ann")
    recall(database, 6, known=at[6], cause="manual", reason="MANUAL", paid_at=None)
    recall(database, 7, known=at[7], acknowledged_at=at[1])
    recall(database, 8, known=at[8], sent_at=at[1], placement_closed_at=at[1])

    assert Overviews(database).read(NOW).opened == Opened(
        Paid(customers=4, since=at[5], not_sent=1, not_sent_since=at[1], to_act=2),
        {
            RecallStage.REQUESTED: 2,
            RecallStage.SENT: 1,
            RecallStage.REJECTED: 1,
            RecallStage.OVERDUE: 1,
            RecallStage.TAKEN_OVER: 1,
        },
        {"north": 5, "south": 1},
    )


def test_the_first_open_recalls_say_when_they_are_tried_next(database: Database) -> None:
    """The one requested first first; what waits for a pause, or an agency that is not reached, says until when."""
    at = [NOW - timedelta(minutes=number) for number in range(10)]
    until = NOW + timedelta(seconds=30)
    recall(database, 1, known=at[1])
    waiting(database, 1)
    recall(database, 2, known=at[9], agency="south")
    waiting(database, 2, agency_id="south", attempts=3, last_error="no route", due_at=NOW + timedelta(seconds=4))
    recall(database, 3, known=at[3], sent_at=at[2], rejected_at=at[1], rejection="not ours", paid_at=None)
    waiting(database, 3, sent_at=at[2], attempts=1)
    way = {"agency_id": "south", "channel": "webhook", "is_first": True, "failures": 3, "open_until": until}
    insert(database, "agency_circuit", {**way, "last_error": "no route", "changed_at": NOW})
    insert(
        database, "agency_circuit", {**way, "channel": "kafka", "is_first": False, "failures": 0, "changed_at": NOW}
    )

    found = Overviews(database).read(NOW)

    assert found.ways == (Way("south", "webhook", 3, until, "no route"),)
    strikes = [known + timedelta(hours=1) for known in (at[9], at[3], at[1])]
    assert found.first == (
        OpenRecall("a-2", "l-2", "r-2", "south", RecallStage.REQUESTED, True, at[9], strikes[0], strikes[0],
                   None, None, 3, until, "no route"),
        OpenRecall("a-3", "l-3", "r-3", "north", RecallStage.REJECTED, False, at[3], strikes[1], strikes[1],
                   "not ours", None, 1, None, None),
        OpenRecall("a-1", "l-1", "r-1", "north", RecallStage.REQUESTED, True, at[1], strikes[2], strikes[2],
                   None, None, 0, NOW - timedelta(minutes=5), None),
    )  # fmt: skip


def test_streams_answers_and_quarantine_are_counted(database: Database) -> None:
    """Of a topic that was made again only its life now; of the answers those of the day; of accounts each once."""
    stream = {"topic": "billing.payments", "cluster_id": "c", "topic_id": "new", "registered_at": NOW}
    insert(
        database, "stream", {**stream, "stopped_reason": "TOPIC_REMADE", "stopped_detail": "", "stopped_at": NOW}
    )
    for topic_id, partition, position in (("old", 0, 9), ("new", 1, 7), ("new", 0, 5)):
        place = {"cluster_id": "c", "topic": "billing.payments", "topic_id": topic_id, "partition": partition}
        insert(database, "stream_position", {**place, "position": position, "moved_at": NOW})
    for number, (decision, at) in enumerate((("clear", NOW), ("hold", NOW), ("hold", SINCE), ("clear", day(1)))):
        clearance = {"account_id": "a-1", "clearance_id": f"c-{number}", "debt_id": "d-1", "agency_id": "north"}
        answer = {"decision": decision, "outstanding": 1, "currency": "RUB", "decided_at": at, "expires_at": at}
        insert(database, "clearance", {**clearance, **answer, "asked_by": "tests", "answer": "{}"})
    for number, applied_at in enumerate((None, None, NOW), start=1):
        origin = {"origin_topic": "billing.payments", "origin_partition": 0, "origin_offset": number}
        times = {"received_at": NOW, "quarantined_at": day(number), "applied_at": applied_at}
        insert(database, "quarantine", {**origin, **times, "headers": "[]", "reason": "INVALID", "detail": ""})
    for account_id, quarantine_id in (("a-1", 1), ("a-1", 2), ("a-2", 2)):
        insert(database, "hold", {"account_id": account_id, "quarantine_id": quarantine_id})

    found = Overviews(database).read(NOW)

    assert found.partitions == (
        Partition("billing.payments", "new", 0, 5, NOW, "TOPIC_REMADE"),
        Partition("billing.payments", "new", 1, 7, NOW, "TOPIC_REMADE"),
    )
    assert found.questions == Questions(SINCE, {"clear": 1, "hold": 2}, is_cut=False)
    assert found.quarantined == Quarantined(2, day(1), 2, is_cut=False)


def test_a_limit_that_is_reached_is_told(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are counted, and from when on."""
    for name in ("DAY_MAX_RECALLS", "DAY_MAX_QUESTIONS", "QUARANTINE_MAX", "FIRST_RECALLS_MAX"):
        monkeypatch.setattr(overview, name, 2)
    for number in range(3):
        known = NOW - timedelta(minutes=number)
        recall(database, number, known=known)
        insert(database, "hold", {"account_id": f"a-{number}", "quarantine_id": 1})
        clearance = {"account_id": "a-1", "clearance_id": f"c-{number}", "debt_id": "d-1", "agency_id": "north"}
        answer = {"decision": "hold", "outstanding": 1, "currency": "RUB", "decided_at": known, "expires_at": known}
        insert(database, "clearance", {**clearance, **answer, "asked_by": "tests", "answer": "{}"})

    found = Overviews(database).read(NOW)

    assert (found.day.all.requested, found.day.is_cut) == (2, True)
    assert found.questions == Questions(NOW - timedelta(minutes=1), {"hold": 2}, is_cut=True)
    assert found.quarantined == Quarantined(0, None, 2, is_cut=True)
    assert [one.recall_id for one in found.first] == ["r-2", "r-1"]
    assert found.opened.paid.customers == 3
