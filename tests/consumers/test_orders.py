"""What people order, on a real database: recalls by hand, resends, take-overs, and the list of recalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import count

import pytest
import sqlalchemy as sa

from consumers.orders import AmbiguousError, OrderError, Orders, OverError, UnknownError
from consumers.parts import CODEC
from domain.recall import RecallStage, recall_id_of
from infra import logs
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.recalls import KeptRecall, Place, Recalls, Wanted
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

RECALL = recall_id_of(ACCOUNT, "l-1")
SAME = """
SELECT count(DISTINCT (account_id, placement_id, recall_id, agency_id, topic, key, value, headers)) FROM outbox"""
"""How many records differ in more than why they are sent."""

WORDS = {"reason": "the wrong customer", "requested_by": "the desk"}


def orders(database: Database, now: datetime | None = None) -> Orders:
    """Who carries out orders, on day 5."""
    numbers = count(1)
    return Orders(
        ledger=Ledger(database, CODEC, ""),
        recalls=Recalls(database),
        rules=lambda: LENIENT,
        now=lambda: now or day(5),
        new_id=lambda at: f"order-{at.isoformat()}-{next(numbers)}",
        metrics=Metrics(),
        log=logs.configure(role="test", level="CRITICAL"),
    )


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def change(database: Database, statement: str, **values: object) -> None:
    """Do what other parts of the house do: send a recall, let a deadline pass."""
    with database.transaction() as connection:
        connection.execute(sa.text(statement), values)


def sent(database: Database, at: datetime | None = None) -> None:
    """All that waits is sent, on day 5."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at WHERE sent_at IS NULL"), {"at": at or day(5)})
        connection.execute(sa.text("UPDATE recall SET sent_at = :at WHERE sent_at IS NULL"), {"at": at or day(5)})


said = partial(record, at=day(7), placement_id="l-1")
"""What is said of the placement, on day 7."""

NOW = day(7).isoformat()
ACKNOWLEDGED = said("agency.recall.acknowledged.v1", recall_id=RECALL, acknowledged_at=NOW)
REJECTED = said("agency.recall.rejected.v1", recall_id=RECALL, rejected_at=NOW, reason="we know of none")
CLOSED = said("collections.placement.closed.v1", closed_at=NOW)
CALLED = said("agency.contact.made.v1", contacted_at=NOW, channel="sms")


def test_a_recall_by_hand_is_a_fact_and_goes_out_with_the_same_clock(arrive: Arrive, database: Database) -> None:
    """The order is kept like any event, the recall follows from it, and waits to be sent."""
    arrive(referral(), placement())

    ordered = orders(database).recall("l-1", account_id=None, **WORDS)

    recall = ordered.recall
    assert (ordered.is_new, recall.recall_id, recall.state) == (True, RECALL, RecallStage.REQUESTED)
    assert (recall.reason, recall.cause, recall.requested_by) == ("MANUAL", "manual", "the desk")
    assert (recall.requested_at, recall.acknowledge_by) == (day(5), day(5) + timedelta(hours=1))
    assert rows(database, "SELECT kind, source, origin_topic FROM ledger WHERE kind = 22") == [
        (22, "handoff-guard", None)
    ]
    assert rows(database, "SELECT recall_id, agency_id FROM outbox") == [(RECALL, "agency-1")]


def test_an_order_for_what_is_recalled_changes_nothing_and_says_so(arrive: Arrive, database: Database) -> None:
    """However it was recalled, and also when the agency has answered or the placement is closed."""
    arrive(referral(), placement(), payment())
    before = orders(database).recall("l-1", account_id=ACCOUNT, **WORDS)
    arrive(ACKNOWLEDGED)
    after = orders(database).recall("l-1", account_id=None, **WORDS)
    arrive(CLOSED)

    assert [before.is_new, before.recall.state, before.recall.reason] == [False, "requested", "DEBT_SETTLED"]
    assert [after.is_new, after.recall.state] == [False, "acknowledged"]
    assert not orders(database).recall("l-1", account_id=None, **WORDS).is_new
    assert rows(database, "SELECT count(*) FROM ledger WHERE kind = 22") == [(0,)]
    assert rows(database, "SELECT count(*) FROM outbox") == [(1,)]


def test_a_placement_is_found_by_its_id_or_asked_for(arrive: Arrive, database: Database) -> None:
    """One that nobody knows, one that two accounts have, and one that has ended are refused with words."""
    arrive(referral(), placement(), referral(account_id="a-2"), placement(account_id="a-2"))
    arrive(referral(account_id="a-3"), placement("l-3", account_id="a-3"))
    arrive(
        record(
            "collections.placement.closed.v1",
            at=day(4),
            account_id="a-3",
            placement_id="l-3",
            closed_at=day(4).isoformat(),
        )
    )
    refused: list[tuple[str, str | None, type[OrderError], str]] = [
        ("l-9", None, UnknownError, "no placement has this id"),
        ("l-9", ACCOUNT, UnknownError, "the account has no placement of this id"),
        ("l-1", "a-9", UnknownError, "the account has no placement of this id"),
        ("l-1", None, AmbiguousError, "account_id"),
        ("l-3", None, OverError, "closed on 2026-11-06"),
    ]

    for placement_id, account_id, error, words in refused:
        with pytest.raises(error, match=words):
            orders(database).recall(placement_id, account_id=account_id, **WORDS)

    assert orders(database).recall("l-1", account_id="a-2", **WORDS).recall.account_id == "a-2"
    assert rows(database, "SELECT account_id FROM recall") == [("a-2",)]
    assert rows(database, "SELECT count(*) FROM account") == [(3,)]


def test_a_suspended_placement_is_recalled_and_never_resumed(arrive: Arrive, database: Database) -> None:
    """After the recall the agency hears nothing more, when the dispute ends or the money comes."""
    arrive(referral(), placement(), record("customer.dispute.opened.v1", at=day(4), dispute_id="q-1",
                                           opened_at=day(4).isoformat()))  # fmt: skip
    orders(database).recall("l-1", account_id=None, **WORDS)

    arrive(payment(amount=40_00), record("customer.dispute.closed.v1", at=day(6), dispute_id="q-1",
                                         closed_at=day(6).isoformat(), outcome="rejected"))  # fmt: skip

    types = rows(database, "SELECT convert_from(value, 'UTF8')::jsonb ->> 'type' FROM outbox ORDER BY outbox_id")
    assert types == [("guard.placement.suspended.v1",), ("guard.recall.requested.v1",)]


def test_a_resend_is_a_copy_and_waits_for_the_one_before(arrive: Arrive, database: Database) -> None:
    """The same bytes once more; not while the recall waits to be sent, and of no recall nothing."""
    arrive(referral(), placement(), payment())
    desk = orders(database)

    waiting = desk.resend([RECALL], by="the desk")
    sent(database)
    first = desk.resend([RECALL, RECALL, "x-1"], by="the desk")
    again = desk.resend([RECALL], by="the desk")

    assert [waiting, first, again] == [0, 1, 0]
    assert rows(database, SAME) == [(1,)]
    assert rows(database, "SELECT again, channel, sent_at FROM outbox ORDER BY outbox_id") == [
        ("", "", day(5)),
        ("by_hand", "", None),
    ]
    assert rows(database, "SELECT resends, resent_at FROM recall") == [(1, day(5))]


def test_a_recall_may_be_sent_again_in_any_state(arrive: Arrive, database: Database) -> None:
    """An agency that said that it has stopped may not have done so."""
    arrive(referral(), placement(), payment())
    sent(database)
    arrive(ACKNOWLEDGED, CLOSED)

    assert orders(database).resend([RECALL], by="the desk") == 1


def test_a_person_takes_a_recall_over_once_and_not_when_it_is_over(arrive: Arrive, database: Database) -> None:
    """Who has it keeps it; what is acknowledged or closed is nobody's any more."""
    arrive(referral(), placement(), payment())
    desk = orders(database)

    taken = desk.take_over(RECALL, by="Vera", reason="they call back")
    again = desk.take_over(RECALL, by="Oleg", reason="me too")

    assert (taken.state, taken.taken_over_at, taken.taken_over_by) == (RecallStage.TAKEN_OVER, day(5), "Vera")
    assert again == taken
    with pytest.raises(UnknownError, match="no recall has this id"):
        desk.take_over("x-1", by="Vera", reason="?")
    arrive(ACKNOWLEDGED)
    with pytest.raises(OverError, match="acknowledged"):
        desk.take_over(RECALL, by="Vera", reason="?")
    assert desk.find(RECALL) == replace(taken, state=RecallStage.ACKNOWLEDGED, acknowledged_at=day(7))


def at_once(statement: str, at: datetime) -> Callable[[Arrive, Database], None]:
    """A change of this instant."""
    return lambda _arrive, database: change(database, statement, at=at)


STATES: list[tuple[RecallStage, Callable[[Arrive, Database], None]]] = [
    (RecallStage.REQUESTED, lambda _arrive, _database: None),
    (RecallStage.SENT, lambda _arrive, database: sent(database)),
    (RecallStage.OVERDUE, at_once("UPDATE recall SET overdue_at = :at", day(6))),
    (RecallStage.ESCALATED, at_once("UPDATE recall SET escalated_at = :at", day(6))),
    (RecallStage.REJECTED, lambda arrive, _database: arrive(REJECTED)),
    (RecallStage.TAKEN_OVER, at_once("UPDATE recall SET taken_over_at = :at", day(8))),
    (RecallStage.CLOSED, lambda arrive, _database: arrive(CLOSED)),
    (RecallStage.ACKNOWLEDGED, lambda arrive, _database: arrive(ACKNOWLEDGED)),
]


def test_each_state_follows_from_the_one_before(arrive: Arrive, database: Database) -> None:
    """In the order of their life, the later one wins; every state of the code is one of the database's."""
    arrive(referral(), placement(), payment())
    seen = []

    for _, then in STATES:
        then(arrive, database)
        seen.append(orders(database).find(RECALL).state)

    assert seen == [state for state, _ in STATES] == list(RecallStage)


def test_recalls_are_listed_oldest_first_page_by_page(arrive: Arrive, database: Database) -> None:
    """From behind the last of a page, by state, by agency, and by whether a deadline has passed."""
    for number in range(5):
        account_id = f"a-{number}"
        arrive(
            referral(account_id=account_id),
            placement(account_id=account_id),
            payment(account_id=account_id),
            now=day(9) - timedelta(hours=number // 2),
        )
    change(database, "UPDATE recall SET overdue_at = :at WHERE account_id IN ('a-0', 'a-2')", at=day(9))
    change(database, "UPDATE recall SET agency_id = 'agency-2' WHERE account_id IN ('a-2', 'a-4')")
    desk = orders(database)

    def listed(wanted: Wanted, limit: int = 10) -> list[str]:
        found: list[KeptRecall] = []
        while page := desk.page(wanted, after=_behind(found), limit=limit):
            found += page
        return [one.account_id for one in found]

    assert [listed(Wanted(), limit) for limit in (1, 2, 10)] == [["a-4", "a-2", "a-3", "a-0", "a-1"]] * 3
    assert listed(Wanted(state=RecallStage.REQUESTED), 2) == ["a-4", "a-3", "a-1"]
    assert listed(Wanted(agency_id="agency-2"), 1) == ["a-4", "a-2"]
    assert listed(Wanted(overdue=True), 1) == ["a-2", "a-0"]
    assert listed(Wanted(overdue=False, agency_id="agency-2")) == ["a-4"]
    assert listed(Wanted(state=RecallStage.CLOSED)) == []


def _behind(found: list[KeptRecall]) -> Place | None:
    last = found[-1] if found else None
    return Place(last.requested_at, last.account_id, last.placement_id) if last else None


def test_a_recall_is_listed_with_its_delivery_and_breaches(arrive: Arrive, database: Database) -> None:
    """How often it was tried, what the last error was, and when the agency spoke to the customer all the same."""
    arrive(referral(), placement(), payment())
    change(database, "UPDATE outbox SET attempts = 3, last_error = 'connection refused'")
    sent(database, day(6))
    orders(database).resend([RECALL], by="the desk")
    change(database, "UPDATE outbox SET attempts = 2, last_error = 'status 500' WHERE again <> ''")
    arrive(CALLED)

    (recall,) = orders(database).page(Wanted(), after=None, limit=10)

    assert (recall.attempts, recall.last_error, recall.resends) == (5, "status 500", 1)
    assert (recall.breaches, recall.last_breach_at) == (1, day(7))
