"""What was known of an account at an instant: nothing that came later, whatever date it bears; on real parts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from consumers.as_of import as_of
from consumers.parts import CODEC
from domain.recall import RecallStage, recall_id_of
from infra.postgres.database import Database
from infra.postgres.history import AccountHistory, History, Recall
from infra.wire.kinds import QUARANTINE
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, received, record, referral

pytestmark = pytest.mark.parts

RECALL_ID = recall_id_of(ACCOUNT, "l-1")
ANSWER = {"recall_id": RECALL_ID, "placement_id": "l-1"}


def known_at(database: Database, at: datetime) -> AccountHistory:
    """The account as it was known at an instant."""
    known = History(database, CODEC).with_held(ACCOUNT)
    assert known is not None
    return as_of(*known, at)


def recall_at(database: Database, at: datetime) -> Recall:
    """Its one recall."""
    (recall,) = known_at(database, at).recalls
    return recall


@pytest.fixture
def recalled(arrive: Arrive, database: Database) -> None:
    """A recall of day 4 that was sent an hour later."""
    arrive(received(referral(), day(0)), received(placement(), day(3)), received(payment(), day(4)), now=day(4))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE recall SET sent_at = :at"), {"at": day(4, 10)})


@pytest.mark.parametrize(
    ("kind", "said", "field", "after"),
    [
        ("agency.recall.acknowledged.v1", {"acknowledged_at": day(5)}, "acknowledged_at", RecallStage.ACKNOWLEDGED),
        ("agency.recall.rejected.v1", {"rejected_at": day(5), "reason": "no"}, "rejected_at", RecallStage.REJECTED),
        (
            "collections.placement.closed.v1",
            {"closed_at": day(5), "reason": "over"},
            "placement_closed_at",
            RecallStage.CLOSED,
        ),
    ],
)
def test_an_answer_is_known_when_it_has_come(
    recalled: None,
    arrive: Arrive,
    database: Database,
    kind: str,
    said: dict[str, object],
    field: str,
    after: RecallStage,
) -> None:
    """It bears the date of day 5, and came on day 7."""
    words = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in said.items()}
    answer = {**ANSWER, **words} if kind.startswith("agency.") else {"placement_id": "l-1", **words}
    arrive(received(record(kind, at=day(5), **answer), day(7)))  # type: ignore[arg-type] # All is data.

    before, later = recall_at(database, day(6)), recall_at(database, day(8))

    assert (getattr(before, field), before.state) == (None, RecallStage.SENT)
    assert (getattr(later, field), later.state) == (day(5), after)


def test_a_breach_is_known_when_the_contact_is(recalled: None, arrive: Arrive, database: Database) -> None:
    """A call of day 5 that was told on day 7."""
    called = {"placement_id": "l-1", "contacted_at": day(5).isoformat(), "channel": "phone"}
    arrive(received(record("agency.contact.made.v1", at=day(5), **called), day(7)))  # type: ignore[arg-type] # All is data.

    assert recall_at(database, day(6)).breaches == ()
    assert recall_at(database, day(8)).breaches == (day(5),)


def test_what_was_done_later_is_not_known(recalled: None, database: Database) -> None:
    """Sent, overdue, escalated, taken over and sent again: each from its own time."""
    with database.transaction() as connection:
        connection.execute(
            sa.text(
                "UPDATE recall SET overdue_at = :overdue, escalated_at = :overdue, taken_over_at = :taken, "
                "taken_over_by = 'Vera', taken_over_reason = 'by phone', resends = 1"
            ),
            {"overdue": day(4, 11), "taken": day(4, 12)},
        )
        connection.execute(
            sa.text(
                "INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, channel, again, topic, key, "
                "value, headers, created_at) SELECT account_id, placement_id, recall_id, agency_id, channel, "
                "'overdue', topic, key, value, headers, :at FROM outbox WHERE recall_id = :recall_id"
            ),
            {"at": day(4, 12), "recall_id": RECALL_ID},
        )

    told = [recall_at(database, day(4, hour) + timedelta(minutes=30)) for hour in (9, 10, 11, 12)]

    assert [(one.state, one.resends, one.taken_over_by) for one in told] == [
        (RecallStage.REQUESTED, 0, None),
        (RecallStage.SENT, 0, None),
        (RecallStage.ESCALATED, 0, None),
        (RecallStage.TAKEN_OVER, 1, "Vera"),
    ]


def test_an_account_with_a_copy_in_quarantine_can_be_told(
    recalled: None, arrive: Arrive, database: Database
) -> None:
    """Such a copy is no message to an agency, and may be no JSON."""
    whole = payment("p-2")
    arrive(replace(received(whole, day(6)), value=b"{"))
    stored = History(database, CODEC).of(ACCOUNT)

    assert stored is not None
    assert QUARANTINE in {one.topic for one in stored.published}
    assert recall_at(database, day(8)).state is RecallStage.SENT
