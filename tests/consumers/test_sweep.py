"""What the sweep finds in a real database: nothing after ordinary work, else what ought to be there and is not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from consumers.parts import CODEC
from consumers.sweep import SESSIONS_FOR, Found, Sweep
from domain.access import Scope
from domain.events import RawRecord
from domain.policy import DebtRules, Policy, RecallReason, RecallRules
from domain.recall import recall_id_of
from infra import logs
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.sessions import Sessions
from infra.postgres.upkeep import Upkeep
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.deadlines import clocks
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

NOTHING = Found(repaired=0, overdue=0, forgotten=0)
KEPT_FOR = timedelta(days=30)


def sweeper(database: Database, *, now: datetime | None = None, policy: Policy = LENIENT) -> Sweep:
    """A sweeper of day 9; the ledger is kept for 30 days, the outbox for 60."""
    metrics = Metrics()
    return Sweep(
        ledger=Ledger(database, CODEC, ""),
        upkeep=Upkeep(database),
        deadlines=clocks(database, now or day(9), policy, metrics),
        rules=lambda: policy,
        every_seconds=1,
        ledger_for=KEPT_FOR,
        outbox_for=2 * KEPT_FOR,
        sessions=sessions(database),
        now=lambda: now or day(9),
        metrics=metrics,
        log=logs.configure(role="test", level="CRITICAL"),
    )


def sessions(database: Database) -> Sessions:
    """The console's sessions."""
    return Sessions(database, lasts=timedelta(hours=12), idle=timedelta(hours=1))


def test_sessions_that_are_long_over_are_forgotten(database: Database) -> None:
    """Those that ended thirty days ago, by themselves or by their holder; not those of yesterday."""
    held = sessions(database)
    for at in (day(9) - SESSIONS_FOR - timedelta(days=1), day(8), day(9)):
        held.open(name="tests", signed_by="key:k", key_id=None, scopes=[Scope.READ], now=at)

    forgotten = sweeper(database).step().forgotten

    assert forgotten == 1
    assert rows(database, "SELECT created_at FROM console_session ORDER BY 1") == [(day(8),), (day(9),)]


def test_after_ordinary_work_there_is_nothing(arrive: Arrive, database: Database) -> None:
    """Recalled, reduced and untouched placements: all was said when it was known."""
    arrive(referral(), placement(), payment(), payment("p-bad", key="somebody-else"))
    arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"), payment(account_id="a-2", amount=1))
    arrive(referral(account_id="a-3"), placement("l-3", account_id="a-3"))
    sweep = sweeper(database)

    assert sweep.step() == NOTHING
    assert sweep._metrics.registry.get_sample_value("guard_sweep_found_total") == 0


def test_a_recall_that_is_missing_is_made_once_and_counted(arrive: Arrive, database: Database) -> None:
    """As `ingest` would have made it, under the same id, marked as found by a sweep."""
    arrive(referral(), placement(), payment())
    with database.transaction() as connection:
        connection.execute(sa.text("DELETE FROM recall"))
        connection.execute(sa.text("DELETE FROM outbox"))
    sweep = sweeper(database)

    found = [sweep.step(), sweep.step()]

    assert found == [replace(NOTHING, repaired=1), NOTHING]
    recall_id = recall_id_of(ACCOUNT, "l-1")
    assert rows(database, "SELECT recall_id, reason, cause, trigger_id, known_since, swept FROM recall") == [
        (recall_id, "DEBT_SETTLED", "paid_after_placement", "p-1", day(4), True)
    ]
    assert rows(database, "SELECT recall_id FROM outbox") == [(recall_id,)]
    assert sweep._metrics.registry.get_sample_value("guard_sweep_found_total") == 1


def test_a_stricter_policy_recalls_what_it_forbids(arrive: Arrive, database: Database) -> None:
    """Under a new minimum a small rest is withdrawn, by a recall that says why."""
    arrive(referral(), placement(), payment(amount=90_00))
    rules = RecallRules(frozenset({RecallReason.BELOW_MINIMUM}), timedelta(hours=2))
    stricter = replace(LENIENT, debt=DebtRules(tolerance_minor=0, minimum_minor=20_00), recall=rules)

    found = sweeper(database, policy=stricter).step()

    assert found == replace(NOTHING, repaired=1)
    assert rows(database, "SELECT reason, outstanding, acknowledge_by FROM recall") == [
        ("BELOW_MINIMUM", 10_00, day(9) + timedelta(hours=2))
    ]


def test_a_deadline_that_passed_is_counted_once_until_it_is_answered(arrive: Arrive, database: Database) -> None:
    """At the deadline it is not overdue yet; after it once; and no more when the agency has answered."""
    arrive(referral(), placement(), payment())
    arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"), payment(account_id="a-2"))
    arrive(acknowledged("a-2", "l-2"))
    deadline = day(9) + timedelta(hours=1)
    late = sweeper(database, now=deadline + timedelta(seconds=1))

    found = [sweeper(database, now=deadline).step(), late.step(), late.step()]

    assert found == [NOTHING, replace(NOTHING, overdue=1), NOTHING]
    assert rows(database, "SELECT placement_id, state FROM recall ORDER BY 1") == [
        ("l-1", "overdue"),
        ("l-2", "acknowledged"),
    ]
    overdue = late._metrics.registry.get_sample_value("guard_recalls_passed_deadline_total", {"agency": "agency-1"})
    assert overdue == 1


def test_only_what_proves_nothing_is_forgotten(arrive: Arrive, database: Database) -> None:
    """Old money of an account that no agency ever had, and records sent long ago; no fact of a case, no recall."""
    arrive(referral(), placement(), payment(amount=1), payment("p-2"))
    arrive(payment("p-old", account_id="a-2"), payment("p-new", account_id="a-2", paid_at=day(30)))
    arrive(referral(account_id="a-3"), placement("l-3", account_id="a-3"), payment(account_id="a-3", amount=1))
    arrive(payment("p-2", account_id="a-3"))
    with database.transaction() as connection:
        sent = sa.text("UPDATE outbox SET sent_at = :at WHERE account_id = :account_id")
        connection.execute(sent, [{"at": day(4), "account_id": ACCOUNT}, {"at": day(30), "account_id": "a-3"}])

    after_a_month = sweeper(database, now=day(4) + KEPT_FOR + timedelta(seconds=1)).step()
    after_two = sweeper(database, now=day(4) + 2 * KEPT_FOR + timedelta(seconds=1)).step()

    assert (after_a_month.forgotten, after_two.forgotten) == (1, 2)
    assert rows(database, "SELECT account_id, count(*) FROM ledger GROUP BY 1 ORDER BY 1") == [
        (ACCOUNT, 4),
        ("a-3", 4),
    ]
    assert rows(database, "SELECT DISTINCT account_id, recall_id IS NULL FROM outbox ORDER BY 1, 2") == [
        (ACCOUNT, False),
        ("a-3", False),
        ("a-3", True),
    ]


def acknowledged(account_id: str, placement_id: str) -> RawRecord:
    """The agency stopped on day 7."""
    return record(
        "agency.recall.acknowledged.v1",
        at=day(7),
        account_id=account_id,
        recall_id=recall_id_of(account_id, placement_id),
        placement_id=placement_id,
        acknowledged_at=day(7).isoformat(),
    )


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]
