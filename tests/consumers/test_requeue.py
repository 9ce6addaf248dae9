"""What putting events of the quarantine back does, on a real database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from consumers.parts import CODEC
from consumers.requeue import CONFLICT_DETAIL, Report, Requeue
from consumers.set_aside import DETAIL, REASON
from domain.events import RawRecord
from domain.recall import recall_id_of
from infra import logs
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger, Outcome, Quarantined
from infra.postgres.quarantine import Drop, Quarantine, Refused
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

NOW = day(10)


@pytest.fixture
def quarantine(database: Database) -> Quarantine:
    """The quarantine of a fresh database."""
    return Quarantine(database)


@pytest.fixture
def requeue(database: Database, quarantine: Quarantine) -> Requeue:
    """Who puts events back, on day 10."""
    return Requeue(
        ledger=Ledger(database, CODEC, ""),
        quarantine=quarantine,
        rules=lambda: LENIENT,
        now=lambda: NOW,
        log=logs.configure(role="test", level="ERROR"),
    )


class TestRequeue:
    """What holds of an event that is tried again."""

    def test_a_mended_payment_is_applied_and_recalls(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """A payment that our fault set aside settles its debt, recalls the placement and ends the hold."""
        arrive(referral(), placement())
        (number,) = set_aside(database, payment())

        report = requeue.these([number])

        recall_id = recall_id_of(ACCOUNT, "l-1")
        assert report == Report(applied=[number], recall_ids=[recall_id])
        assert quarantine.holds([ACCOUNT]) == {}
        assert quarantine.count() == 0
        assert rows(database, "SELECT recall_id, reason, known_since FROM recall") == [
            (recall_id, "DEBT_SETTLED", day(4))
        ]
        assert rows(database, "SELECT topic, recall_id FROM outbox") == [("guard.recalls", recall_id)]

    def test_what_is_still_bad_stays_with_its_new_reason(
        self, arrive: Arrive, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """A record that is still no event keeps its hold, and counts one more attempt under the reason of now."""
        arrive(payment(key="somebody-else"))
        (before,) = quarantine.waiting()

        report = requeue.these([before.quarantine_id])

        detail = "the Kafka key must be data.account_id in UTF-8"
        refused = Refused(before.quarantine_id, "KEY_MISMATCH", detail, (ACCOUNT, "somebody-else"))
        assert report == Report(still_bad=[refused], still_held={ACCOUNT: 1, "somebody-else": 1})
        assert quarantine.waiting() == [replace(before, attempts=1)]

    def test_the_reason_and_the_holds_are_those_of_this_time(
        self, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """Where the code now sees another fault, and another account, it says so and holds that too."""
        (number,) = set_aside(database, payment(key="somebody-else"), accounts=("a-9",))

        requeue.these([number])

        (held,) = quarantine.waiting()
        assert (held.reason, held.accounts) == ("KEY_MISMATCH", (ACCOUNT, "a-9", "somebody-else"))

    def test_an_account_stays_held_until_all_its_events_are_through(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """A later event is applied although an earlier one of its account is still bad; the account stays held."""
        arrive(referral(), placement())
        arrive(payment("p-bad", key="somebody-else"))
        (first,) = quarantine.waiting()
        (second,) = set_aside(database, payment())

        report = requeue.all()

        assert report.applied == [second]
        assert [one.quarantine_id for one in report.still_bad] == [first.quarantine_id]
        assert report.still_held == {ACCOUNT: 1, "somebody-else": 1}
        assert quarantine.waiting(account_id=ACCOUNT) == [replace(first, attempts=1)]

    def test_an_event_that_was_applied_meanwhile_is_through(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """The producer sent the same event again and it was applied: the quarantined one counts as applied."""
        arrive(referral(), payment())
        (number,) = set_aside(database, payment())

        report = requeue.these([number])

        assert report == Report(applied=[number], duplicates=[number])
        assert quarantine.holds([ACCOUNT]) == {}

    def test_the_same_event_twice_in_quarantine_is_applied_once(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """Two records of one event, as after a stream was read again: one is applied, the other is known."""
        arrive(referral())
        first, second = set_aside(database, payment(), payment())

        report = requeue.all()

        assert report == Report(applied=[first, second], duplicates=[second])
        assert rows(database, "SELECT count(*) FROM ledger WHERE event_id = 'p-1'") == [(1,)]

    def test_a_conflict_stays_a_conflict(self, arrive: Arrive, quarantine: Quarantine, requeue: Requeue) -> None:
        """An id that names another content can't be applied by trying again."""
        arrive(referral(), payment(), payment(amount=1))
        (conflict,) = quarantine.waiting()

        report = requeue.all()

        refused = Refused(conflict.quarantine_id, "CONFLICT", CONFLICT_DETAIL, (ACCOUNT,))
        assert report == Report(still_bad=[refused], still_held={ACCOUNT: 1})

    def test_of_one_account_only_its_events_are_tried(
        self, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """`--account` leaves the others alone."""
        mine, other = set_aside(database, payment()), set_aside(database, payment(account_id="a-2"))

        report = requeue.all(ACCOUNT)

        assert report == Report(applied=mine)
        assert [held.quarantine_id for held in quarantine.waiting()] == other

    def test_more_than_a_chunk_are_all_tried_in_their_order(
        self, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """Of 250 events in three transactions every one is applied, oldest first."""
        numbers = set_aside(database, *(payment(f"p-{number}") for number in range(250)))

        report = requeue.all()

        assert report == Report(applied=numbers)
        assert quarantine.count() == 0

    def test_two_at_the_same_time_share_the_work(self, database: Database, requeue: Requeue) -> None:
        """What one has claimed the other leaves alone: no event is applied by both."""
        numbers = set_aside(database, *(payment(f"p-{number}") for number in range(300)))

        with ThreadPoolExecutor(2) as threads:
            reports = list(threads.map(lambda _: requeue.all(), range(2)))

        assert sorted(reports[0].applied + reports[1].applied) == numbers
        assert rows(database, "SELECT count(*) FROM ledger") == [(300,)]

    def test_what_does_not_wait_is_named(self, database: Database, requeue: Requeue) -> None:
        """An id that was applied before, or never was, is no success."""
        (number,) = set_aside(database, payment())
        requeue.these([number])

        report = requeue.these([number, 99])

        assert report == Report(not_waiting=[number, 99])
        assert not report.all_through

    def test_a_failed_commit_leaves_the_event_and_its_hold(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """Where not even the mark that it failed can be written, neither the fact nor the mark is there."""
        arrive(referral(), placement())
        (number,) = set_aside(database, payment())
        with database.transaction() as connection:
            connection.execute(sa.text("ALTER TABLE hold ADD CONSTRAINT broken CHECK (false) NOT VALID"))
            connection.execute(sa.text("CREATE RULE broken AS ON DELETE TO hold DO INSTEAD SELECT 1/0"))

        with pytest.raises(Exception, match="violates check constraint"):
            requeue.these([number])

        assert quarantine.holds([ACCOUNT]) == {ACCOUNT: 1}
        assert quarantine.count() == 1
        assert rows(database, "SELECT count(*) FROM recall") == [(0,)]
        assert rows(database, "SELECT count(*) FROM ledger WHERE event_id = 'p-1'") == [(0,)]

    def test_an_event_that_our_code_fails_on_stays_and_the_others_go_on(
        self, arrive: Arrive, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """Where an account can't be loaded its event is still bad, and says that it is our fault."""
        arrive(referral(account_id="broken"), referral(account_id="sound"))
        numbers = set_aside(database, payment(account_id="broken"), payment(account_id="sound"))
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE ledger SET stored = '{' WHERE account_id = 'broken'"))

        report = requeue.these(numbers)

        assert report == Report(
            applied=numbers[1:],
            still_bad=[Refused(numbers[0], REASON, DETAIL, ("broken",))],
            still_held={"broken": 1},
        )


class TestDrop:
    """What holds of an event that a person gives up."""

    def test_who_and_why_are_kept_and_the_hold_ends(self, arrive: Arrive, quarantine: Quarantine) -> None:
        """A dropped event no longer waits or holds, and stays with its bytes, its accounts, who and why."""
        arrive(payment(), payment(amount=1))
        (conflict,) = quarantine.waiting()

        dropped = quarantine.drop(conflict.quarantine_id, by="anna", reason="billing sent a test")

        assert dropped is not None
        assert dropped.dropped is not None
        drop = Drop(dropped.dropped.at, "anna", "billing sent a test")
        assert dropped == replace(conflict, dropped=drop)
        assert quarantine.look(conflict.quarantine_id) == dropped
        assert quarantine.waiting() == []
        assert quarantine.count() == 0
        assert quarantine.holds([ACCOUNT]) == {}

    def test_dropped_once_it_is_neither_dropped_nor_tried_again(
        self, arrive: Arrive, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """The first word stands."""
        arrive(payment(key="somebody-else"))
        (held,) = quarantine.waiting()
        quarantine.drop(held.quarantine_id, by="anna", reason="a test")

        assert quarantine.drop(held.quarantine_id, by="boris", reason="again") is None
        assert requeue.these([held.quarantine_id]) == Report(not_waiting=[held.quarantine_id])

    def test_an_applied_event_is_not_dropped(
        self, database: Database, quarantine: Quarantine, requeue: Requeue
    ) -> None:
        """What is applied is a fact, and shows which accounts it held."""
        (number,) = set_aside(database, payment())
        requeue.these([number])

        assert quarantine.drop(number, by="anna", reason="too late") is None
        held = quarantine.look(number)
        assert held is not None
        assert held.applied_at is not None
        assert (held.accounts, held.dropped) == ((ACCOUNT,), None)


def set_aside(database: Database, *records: RawRecord, accounts: Sequence[str] = ()) -> list[int]:
    """Put good events in quarantine, as a fault of ours that is mended now would have."""
    quarantined = [
        Quarantined(raw, "OUR_FAULT", "a fault of ours", tuple(accounts) or (account_of(raw),)) for raw in records
    ]
    with Ledger(database, CODEC, "").batch() as batch:
        return batch.save(Outcome(quarantined=quarantined)).quarantined


def account_of(raw: RawRecord) -> str:
    """The account that an event says it is of."""
    return str(json.loads(raw.value or b"")["subject"])


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]
