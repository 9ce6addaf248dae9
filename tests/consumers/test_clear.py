"""The answer before a transfer: given on all that was acknowledged, kept, published, and confirmed once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count

import pytest
import sqlalchemy as sa

from consumers.barrier import Barrier
from consumers.clear import Asked, Clear, Confirmed, Confirming, Refused, Void
from consumers.parts import CODEC
from domain.recall import recall_id_of
from infra import logs
from infra.kafka.connection import Connection
from infra.kafka.horizon import Horizon
from infra.metrics import Metrics
from infra.postgres.clearances import Clearances, Given
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.streams import Streams
from infra.wire.clearances import About
from infra.wire.kinds import INBOUND_TOPICS
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, record, referral

pytestmark = [pytest.mark.parts, pytest.mark.usefixtures("caught_up")]

ABOUT = About(ACCOUNT, "d-1", "agency-1")
ASKED = Asked(ABOUT, "anna")
WAIT_SECONDS = 0.5

STATED: dict[str, object] = {
    "debt_id": "d-1",
    "referral_id": "r-1",
    "amount": 100_00,
    "currency": "RUB",
    "as_of": day(0).isoformat(),
    "due_on": "2026-10-03",
}
"""The debt as a question may state it."""


PUBLISHED = "SELECT convert_from(value, 'UTF8') FROM outbox WHERE topic = 'guard.decisions'"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = day(3)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Day 3."""
    return Clock()


@pytest.fixture
def clear(parts: Parts, database: Database, clock: Clock) -> Iterator[Clear]:
    """Who answers, with ids in their order: clearance-1, clearance-2, .."""
    numbers = count(1)
    connection = Connection(parts.bootstrap_servers)
    with closing(Horizon(connection, INBOUND_TOPICS, client_id="tests")) as horizon:
        yield Clear(
            barrier=Barrier(horizon=horizon, streams=Streams(database), wait_seconds=WAIT_SECONDS),
            ledger=Ledger(database, CODEC, ""),
            clearances=Clearances(database),
            rules=lambda: LENIENT,
            shadow=False,
            now=clock,
            new_id=lambda _now: f"clearance-{next(numbers)}",
            metrics=Metrics(),
            log=logs.configure(role="test", level="ERROR"),
        )


class TestAsk:
    """What holds of an answer."""

    def test_a_debt_that_is_owed_is_clear_and_the_answer_is_kept_and_published(
        self, arrive: Arrive, database: Database, clear: Clear
    ) -> None:
        """With what may be placed, until when, by which policy, and the events that it was decided on."""
        arrive(referral(), now=day(2))
        arrive(payment(amount=40_00, paid_at=day(1)), now=day(2))

        given = clear.ask(ASKED)

        assert isinstance(given, Given)
        assert ("clear", 60_00, "RUB", day(3), day(3) + timedelta(minutes=15)) == (
            given.decision,
            given.outstanding,
            given.currency,
            given.decided_at,
            given.expires_at,
        )
        assert set(INBOUND_TOPICS) == set(given.answer["read_at"])  # type: ignore[call-overload] # It is JSON.
        assert given == clear.look("clearance-1")
        (published,) = rows(
            database, "SELECT convert_from(value, 'UTF8') FROM outbox WHERE topic = 'guard.decisions'"
        )
        decision = json.loads(str(published[0]))
        facts = [{"source": "test", "id": "collections.debt.referred.v1-a-1-2026-11-02T09:00:00+00:00"}]
        facts.append({"source": "test", "id": "p-1"})
        expected = {**given.answer, "asked_by": "anna", "facts": facts, "facts_in_all": 2}
        assert ("guard.clearance.decided.v1", expected) == (decision["type"], decision["data"])

    def test_what_is_not_read_yet_holds_it(
        self, arrive: Arrive, database: Database, clear: Clear, parts: Parts
    ) -> None:
        """Where a stream may hold a payment that is not in the state, the answer is never clear."""
        arrive(referral())
        execute(database, "UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'")

        given = clear.ask(ASKED)

        assert isinstance(given, Given)
        assert given.decision == "hold"
        assert codes(given) == ["STREAM_BEHIND"]

    def test_the_first_reason_decides_and_all_are_told(
        self, arrive: Arrive, database: Database, clear: Clear
    ) -> None:
        """A bad event of the account comes before that its debt is not known."""
        arrive(payment(key="somebody-else"))

        given = clear.ask(ASKED)

        assert isinstance(given, Given)
        assert (given.decision, codes(given)) == ("hold", ["ACCOUNT_QUARANTINED", "DEBT_UNKNOWN"])
        ((quarantine_id,),) = rows(database, "SELECT quarantine_id FROM quarantine")
        reasons = given.answer["reasons"]
        assert isinstance(reasons, list)
        assert [f"event {quarantine_id} is in quarantine"] == reasons[0]["evidence"]

    def test_a_question_may_bring_the_debt(self, arrive: Arrive, database: Database, clear: Clear) -> None:
        """It is stated in the same commit, once: the same statement again adds nothing."""
        arrive(payment(amount=40_00, paid_at=day(1)), now=day(2))
        asked = replace(ASKED, referral=STATED)

        answers = [clear.ask(asked), clear.ask(asked), clear.ask(ASKED)]

        assert [one.outstanding for one in answers if isinstance(one, Given)] == [60_00] * 3
        statement = "SELECT source, kind FROM ledger WHERE money_id IS NULL"
        assert rows(database, statement) == [("handoff-guard", 6)]

    @pytest.mark.parametrize(
        ("wrong", "detail"),
        [
            ({"amount": "850"}, "referral.amount: "),
            ({"debt_id": "d-2"}, "referral: must be of the account and debt asked about"),
            ({"account_id": "a-2"}, "referral: must be of the account and debt asked about"),
        ],
    )
    def test_a_debt_that_is_stated_wrong_is_refused_with_the_field(
        self, database: Database, clear: Clear, wrong: dict[str, object], detail: str
    ) -> None:
        """Nothing is kept of such a question."""
        refused = clear.ask(replace(ASKED, referral={**STATED, **wrong}))

        assert isinstance(refused, Refused)
        assert detail in refused.detail
        assert rows(database, "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM clearance)") == [(0, 0)]


class TestConfirm:
    """What holds of a confirmation."""

    @pytest.fixture(autouse=True)
    def given(self, caught_up: None, arrive: Arrive, clear: Clear) -> None:
        """clearance-1 is clear."""
        arrive(referral(), now=day(2))
        clear.ask(ASKED)

    def test_it_registers_the_placement_and_may_be_repeated(
        self, arrive: Arrive, database: Database, clear: Clear, clock: Clock
    ) -> None:
        """Guarded, by the amount that was cleared; the same again is the same, also when it has expired since."""
        first = clear.confirm(Confirming("clearance-1", "l-1"))
        clock.now = day(9)
        again = clear.confirm(Confirming("clearance-1", "l-1"))

        assert isinstance(first, Confirmed)
        assert isinstance(again, Confirmed)
        assert ("l-1", day(3)) == (first.placement_id, first.placed_at) == (again.placement_id, again.placed_at)
        statement = "SELECT placement_id, amount, agency_id, guarded, is_open FROM placement"
        assert rows(database, statement) == [("l-1", 100_00, "agency-1", True, True)]

    def test_a_payment_before_it_voids_the_clearance(
        self, arrive: Arrive, database: Database, clear: Clear
    ) -> None:
        """With the fresh reasons, and nothing is placed."""
        arrive(payment(paid_at=day(3)))

        result = clear.confirm(Confirming("clearance-1", "l-1"))

        assert isinstance(result, Void)
        assert (result.detail, [one.code for one in result.reasons]) == ("it no longer holds", ["DEBT_SETTLED"])
        assert rows(database, "SELECT placement_id FROM placement") == []

    def test_a_payment_after_it_recalls_the_placement(
        self, arrive: Arrive, database: Database, clear: Clear
    ) -> None:
        """There is no instant between: it finds the placement."""
        clear.confirm(Confirming("clearance-1", "l-1"))

        arrive(payment(paid_at=day(4)))

        assert [(recall_id_of(ACCOUNT, "l-1"), "paid_after_placement")] == rows(
            database, "SELECT recall_id, cause FROM recall"
        )

    def test_a_part_payment_before_it_is_told_at_once(
        self, arrive: Arrive, database: Database, clear: Clear
    ) -> None:
        """The package says what was cleared; the agency hears what is owed."""
        arrive(payment(amount=30_00, paid_at=day(3)))

        assert isinstance(clear.confirm(Confirming("clearance-1", "l-1")), Confirmed)
        assert rows(database, "SELECT amount, told FROM placement") == [(100_00, 70_00)]

    def test_what_may_not_be_known_voids_it(self, arrive: Arrive, database: Database, clear: Clear) -> None:
        """A stream that is behind may hold the payment."""
        execute(database, "UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'")

        result = clear.confirm(Confirming("clearance-1", "l-1"))

        assert isinstance(result, Void)
        assert [one.code for one in result.reasons] == ["STREAM_BEHIND"]

    def test_a_clearance_is_for_one_placement_and_for_its_time(self, clear: Clear, clock: Clock) -> None:
        """Used, refused, expired, wrongly named or unknown, it is void and says why."""
        clear.confirm(Confirming("clearance-1", "l-1"))
        second = clear.ask(ASKED)
        unknown = clear.ask(Asked(About("a-2", "d-1", "agency-1"), "anna"))

        assert isinstance(second, Given)
        assert isinstance(unknown, Given)
        assert Void("it was used for another placement") == clear.confirm(Confirming("clearance-1", "l-2"))
        assert Void("it was answered with refuse") == clear.confirm(Confirming("clearance-2", "l-2"))
        assert Void("it was answered with refuse") == clear.confirm(Confirming("clearance-3", "l-2"))
        assert clear.confirm(Confirming("clearance-9", "l-2")) is None

    def test_it_expires(self, clear: Clear, clock: Clock) -> None:
        """At its time, not after."""
        clock.now = day(3) + timedelta(minutes=15)

        assert Void("it has expired") == clear.confirm(Confirming("clearance-1", "l-1"))

    def test_a_placement_must_have_a_name(self, clear: Clear, database: Database) -> None:
        """One that no event could have is refused with the field, and the clearance stays unused."""
        result = clear.confirm(Confirming("clearance-1", "l 1"))

        assert isinstance(result, Void)
        assert "data.placement_id" in result.detail or "id must be" in result.detail
        assert isinstance(clear.confirm(Confirming("clearance-1", "l-1")), Confirmed)


def test_a_placement_that_was_recalled_is_not_confirmed_again(
    arrive: Arrive, database: Database, clear: Clear, clock: Clock
) -> None:
    """Paid and returned, the debt is clear again; but a recall is final, so it needs a placement of a new name."""
    arrive(referral(), placement(), payment(), now=day(4))
    arrive(
        record(
            "agency.recall.acknowledged.v1",
            at=day(5),
            placement_id="l-1",
            recall_id=recall_id_of(ACCOUNT, "l-1"),
            acknowledged_at=day(5).isoformat(),
        ),
        record("billing.payment.returned.v1", at=day(6), payment_id="p-1", returned_at=day(6).isoformat()),
    )
    clock.now = day(7)
    clear.ask(ASKED)

    again = clear.confirm(Confirming("clearance-1", "l-1"))

    assert Void("its placement was recalled; a debt that comes back is a new placement") == again
    assert isinstance(clear.confirm(Confirming("clearance-1", "l-2")), Confirmed)
    arrive(payment("p-2", paid_at=day(8)))
    assert rows(database, "SELECT placement_id FROM recall ORDER BY 1") == [("l-1",), ("l-2",)]


def codes(given: Given) -> list[str]:
    """The reasons of an answer."""
    reasons = given.answer["reasons"]
    assert isinstance(reasons, list)
    return [reason["code"] for reason in reasons]


def execute(database: Database, statement: str) -> None:
    """Run a statement."""
    with database.transaction() as connection:
        connection.execute(sa.text(statement))


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]
