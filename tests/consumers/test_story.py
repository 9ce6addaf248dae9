"""What the story of an account says: the answer on top, what happened, and who acts next."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from consumers.parts import CODEC
from consumers.story import Line, NextStep, Step, Story, tell_story
from consumers.story_report import story_as_json, story_in_words
from domain.agency import Agency
from domain.events import ContactMade, DebtWithdrawn, DisputeOutcome, RawRecord, RecallRejected
from domain.policy import DebtRules
from domain.recall import recall_id_of
from infra.postgres.database import Database
from infra.postgres.history import AccountHistory, History, Published
from infra.postgres.quarantine import Drop, Quarantine
from tests.builders import (
    ACCOUNT,
    LENIENT,
    acknowledged,
    closed,
    day,
    dispute_ended,
    disputed,
    opened,
    paid,
    recorded,
    referred,
    returned,
)
from tests.conftest import Arrive
from tests.histories import ALOUD, NOW, PAID_AND_PLACED, history, story
from tests.records import payment, placement, record, referral

CONTACTED = ContactMade(ACCOUNT, "l-1", day(5), "phone")
OBJECTED = RecallRejected(ACCOUNT, recall_id_of(ACCOUNT, "l-1"), "l-1", day(4), "they say that it is not paid")


class TestVerdict:
    """The sentence on top."""

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            (history(referred()), (False, "No: no agency has a debt of this account.")),
            (history(referred(), opened()), (False, "No: agency-1 has debt d-1, which is not paid.")),
            (
                history(*PAID_AND_PLACED),
                (
                    True,
                    (
                        "Yes: debt d-1 is paid and agency-1 still has it;"
                        " next is agency-1: acknowledge the recall, by 06 Nov 2026 10:00:00."
                    ),
                ),
            ),
            (history(*PAID_AND_PLACED, acknowledged()), (False, "No: no agency has a debt of this account.")),
            (history(*PAID_AND_PLACED, closed()), (False, "No: no agency has a debt of this account.")),
            (
                history(referred(), opened(), paid(at=day(2)), returned()),
                (False, "No: agency-1 has debt d-1, which is not paid."),
            ),
            (
                history(opened(), paid(at=day(4))),
                (None, "It can't be said for sure: agency-1 has debt d-1, which was never referred."),
            ),
            (
                history(referred(), opened(), set_aside=[ALOUD], stopped=["billing.payments"]),
                (
                    None,
                    (
                        "It can't be said for sure: event 7 is in quarantine;"
                        " the stream billing.payments is stopped."
                    ),
                ),
            ),
            (
                history(*PAID_AND_PLACED, set_aside=[ALOUD]),
                (
                    True,
                    (
                        "Yes: debt d-1 is paid and agency-1 still has it;"
                        " next is agency-1: acknowledge the recall, by 06 Nov 2026 10:00:00."
                    ),
                ),
            ),
            (
                history(referred(), set_aside=[replace(ALOUD, dropped=Drop(day(6), "anna", "a test"))]),
                (False, "No: no agency has a debt of this account."),
            ),
        ],
    )
    def test_says_whether_a_paid_debt_is_with_a_collector(
        self, told: AccountHistory, expected: tuple[bool | None, str]
    ) -> None:
        """Yes, no, or that it can't be known and why."""
        one = tell_story(told, LENIENT, NOW)

        assert (one.paid_and_placed, one.verdict) == expected

    def test_what_may_be_missing_is_a_doubt(self) -> None:
        """Where not all that was acknowledged is known to be there, nobody can say that nothing was paid."""
        one = tell_story(
            history(referred(), opened()), LENIENT, NOW, behind="billing.payments/0 is read up to 3 of 4"
        )

        words = list(story_in_words(one, UTC))
        assert (
            one.paid_and_placed,
            one.verdict,
        ) == (None, "It can't be said for sure: billing.payments/0 is read up to 3 of 4.")
        assert sorted(r.code for r in one.debts[0].answer.reasons) == ["ALREADY_PLACED", "STREAM_BEHIND"]
        assert "  what may be missing: billing.payments/0 is read up to 3 of 4" in words
        assert story_as_json(one)["behind"] == "billing.payments/0 is read up to 3 of 4"


class TestNextStep:
    """Who acts next on a placement, and by when."""

    @pytest.mark.parametrize(
        ("told", "expected"),
        [
            (story(referred(), opened()), NextStep("agency-1", "collect what is owed", Step.COLLECT)),
            (
                story(referred(), opened(), disputed()),
                NextStep("the creditor", "decide the dispute", Step.DECIDE_DISPUTE),
            ),
            (
                story(*PAID_AND_PLACED, sent=False),
                NextStep(
                    "the guard", "send the recall: `handoff-guard dispatch` does", Step.SEND_RECALL, day(4, 10)
                ),
            ),
            (story(*PAID_AND_PLACED), NextStep("agency-1", "acknowledge the recall", Step.ACKNOWLEDGE, day(4, 10))),
            (
                story(*PAID_AND_PLACED, now=day(4, 11)),
                NextStep(
                    "the creditor", "call agency-1, which has not answered the recall", Step.CALL_AGENCY, day(4, 10)
                ),
            ),
            (
                story(*PAID_AND_PLACED, sent=False, now=day(4, 11)),
                NextStep(
                    "the creditor", "call agency-1, which the recall has not reached", Step.CALL_AGENCY, day(4, 10)
                ),
            ),
            (
                story(*PAID_AND_PLACED, OBJECTED),
                NextStep("the creditor", "answer the objection of agency-1", Step.ANSWER_OBJECTION),
            ),
            (story(*PAID_AND_PLACED, OBJECTED, acknowledged()), NextStep("nobody", "it is over", Step.NOTHING)),
            (story(*PAID_AND_PLACED, acknowledged()), NextStep("nobody", "it is over", Step.NOTHING)),
            (story(referred(), opened(), closed()), NextStep("nobody", "it is over", Step.NOTHING)),
        ],
    )
    def test_is_the_first_that_applies(self, told: Story, expected: NextStep) -> None:
        """A recall is sent, acknowledged, objected to or overdue; else the placement goes its way."""
        assert [placement.next_step for placement in told.placements] == [expected]

    @pytest.mark.parametrize("sent_at", [None, day(4, 10)])
    def test_an_escalated_recall_is_the_creditors(self, sent_at: datetime | None) -> None:
        """Also where it was never delivered; the agency's entry says whom to call."""
        told = history(*PAID_AND_PLACED)
        escalated = replace(told.recalls[0], sent_at=sent_at, escalated_at=day(4))
        agencies = {"agency-1": Agency("agency-1", name="North", escalation_contact="Ivan, +7 495")}

        one = tell_story(replace(told, recalls=(escalated,)), LENIENT, NOW, agencies=agencies)

        step = one.placements[0].next_step
        assert (step.actor, step.what.partition(",")[0]) == ("the creditor", "call agency-1 (Ivan")
        assert "(Ivan, +7 495), which" in step.what

    def test_a_recall_that_was_never_made_is_the_guards_to_make(self) -> None:
        """Where a stricter policy now wants a recall that nobody made, the sweep does."""
        lenient = history(referred(), opened(), paid(95_00, at=day(4)))
        stricter = replace(LENIENT, debt=DebtRules(tolerance_minor=5_00))

        (one,) = tell_story(lenient, stricter, NOW).placements

        assert one.next_step == NextStep(
            "the guard", "recall it: `handoff-guard sweep --once` does", Step.RECALL, NOW
        )


class TestLines:
    """What happened, oldest first."""

    def test_an_arrival_and_a_date_that_differ_are_told(self) -> None:
        """A payment of day 4 that billing told on day 5 and the broker had on day 6 has all three."""
        said = recorded(paid(at=day(4)), day(5))
        late = replace(said, origin=replace(said.origin, received_at=day(6)))

        assert story(late).lines == (
            Line(
                day(5),
                "billing.payment.settled.v1",
                "100.00 RUB paid, payment p-1 (dated 06 Nov 2026 09:00:00, arrived 08 Nov 2026 09:00:00)",
                day(6),
                "test",
                said.id,
            ),
        )

    def test_times_within_a_minute_are_told_once(self) -> None:
        """Seconds between a payment and its arrival are no part of the story."""
        said = recorded(paid(at=day(4)), day(4) + timedelta(seconds=50))

        assert [line.words for line in story(said).lines] == ["100.00 RUB paid, payment p-1"]

    def test_a_contact_after_the_recall_was_sent_is_told_as_such(self) -> None:
        """That an agency called on is what the whole guard is about."""
        assert [line.words for line in story(*PAID_AND_PLACED, CONTACTED).lines][-1] == (
            "the agency contacted the customer, placement l-1, after it was told to stop"
        )

    def test_a_contact_before_is_none(self) -> None:
        """A call of day 3 was the agency's work."""
        before = replace(CONTACTED, contacted_at=day(3, 10))

        assert "after it was told to stop" not in str(story(*PAID_AND_PLACED, before).lines)

    def test_a_contact_of_another_agency_has_no_effect(self) -> None:
        """Nor has an answer to a recall that is none: the story says so."""
        other = replace(CONTACTED, agency_id="agency-2")

        words = [line.words for line in story(*PAID_AND_PLACED, other).lines][-1]

        assert "after it was told to stop" not in words
        assert "which has no effect" in words

    def test_a_contact_under_way_is_no_breach(self) -> None:
        """Within the policy's grace after the recall was sent, and at its end."""
        told = story(*PAID_AND_PLACED)
        sent_at = next(one.recall.sent_at for one in told.placements if one.recall is not None)
        assert sent_at is not None
        under_way = replace(CONTACTED, contacted_at=sent_at + LENIENT.recall.contact_grace)
        after = replace(under_way, contacted_at=under_way.contacted_at + timedelta(seconds=1))

        stops = ["told to stop" in str(story(*PAID_AND_PLACED, one).lines) for one in (under_way, after)]

        assert stops == [False, True]

    def test_what_followed_a_recall_that_nobody_answered_is_told(self) -> None:
        """Overdue, sent again, escalated, taken over: each a line; and the next step is whoever has it."""
        recall = replace(
            history(*PAID_AND_PLACED).recalls[0],
            overdue_at=day(5),
            escalated_at=day(6),
            taken_over_at=day(7),
            taken_over_by="M. Petrova",
            taken_over_reason="they call back",
        )
        again = Published("guard.recalls", b"{}", recall.recall_id, day(5, 10), "overdue")
        known = replace(history(*PAID_AND_PLACED), recalls=(recall,), published=(again,))

        told = tell_story(known, LENIENT, NOW)

        kinds = [line.kind for line in told.lines if line.kind.startswith("recall.")]
        assert kinds == ["recall.sent", "recall.overdue", "recall.resent", "recall.escalated", "recall.taken_over"]
        assert told.lines[-1].words == "M. Petrova took the recall of placement l-1 over: they call back"
        assert told.placements[0].next_step == NextStep(
            "the creditor", "finish the recall, which M. Petrova took over", Step.FINISH_RECALL
        )

    def test_a_recall_is_sent_before_it_is_acknowledged(self) -> None:
        """Its attempt began before; and where none is kept, the cause stands before its effect."""
        told = history(*PAID_AND_PLACED, recorded(acknowledged(), day(4) + timedelta(milliseconds=667)))
        recall = replace(told.recalls[0], sent_at=day(4) + timedelta(milliseconds=679))
        first = Published("guard.recalls", b"{}", recall.recall_id, recall.sent_at)
        began_at = day(4) + timedelta(milliseconds=600)

        orders = [
            [(line.kind, line.at) for line in tell_story(one, LENIENT, NOW).lines][-2:]
            for one in (
                replace(told, recalls=(recall,), published=(replace(first, began_at=began_at),)),
                replace(told, recalls=(recall,), published=(first,)),
            )
        ]

        answered = ("agency.recall.acknowledged.v1", day(4) + timedelta(milliseconds=667))
        assert orders == [[("recall.sent", began_at), answered], [("recall.sent", recall.sent_at), answered]]

    def test_what_is_of_one_instant_is_told_as_it_follows(self) -> None:
        """A debt is referred before it is placed, whichever of the two is kept first."""
        told = story(recorded(opened(), day(1)), recorded(referred(), day(1)))

        assert [line.kind for line in told.lines] == [
            "collections.debt.referred.v1",
            "collections.placement.opened.v1",
        ]

    def test_what_was_given_up_is_told(self) -> None:
        """A dropped event is part of the story, and by whom it was dropped."""
        dropped = replace(ALOUD, dropped=Drop(day(6), "anna", "their words"))

        assert tell_story(history(set_aside=[dropped]), LENIENT, NOW).lines == (
            Line(
                day(5), "event.quarantined", "event 7 of billing.payments/0 at 15 put in quarantine: KEY_MISMATCH"
            ),
            Line(day(6), "event.dropped", "event 7 given up by anna"),
        )


def test_nobodys_own_words_are_in_the_story() -> None:
    """Reasons and channels that people write, and what an operator noted, stay where they are."""
    words = "call Maria on her mobile"
    said = (
        referred(),
        opened(),
        replace(returned(), reason=words),
        replace(disputed(), reason=words),
        dispute_ended(DisputeOutcome.REJECTED),
        recorded(DebtWithdrawn(ACCOUNT, "d-1", words), day(7)),
        replace(closed(), reason=words),
        replace(OBJECTED, reason=words),
        replace(CONTACTED, channel=words),
    )
    told = tell_story(history(*said, set_aside=[replace(ALOUD, dropped=Drop(day(6), "anna", words))]), LENIENT, NOW)

    assert words not in "\n".join(story_in_words(told, UTC))
    assert words not in json.dumps(story_as_json(told))


@pytest.mark.parts
class TestOnADatabase:
    """The story of what `ingest` wrote."""

    def test_a_paid_debt_in_plain_words(self, arrive: Arrive, database: Database) -> None:
        """A part payment, a payment that arrived late, the recall, and a call after it."""
        arrive(referral(), placement(), now=day(3))
        arrive(payment("p-0", amount=40_00, paid_at=day(3, 12)), now=day(3, 12))
        late = payment("p-1", amount=60_00, paid_at=day(4), late=timedelta(hours=5))
        arrive(late, now=day(4, 14))
        arrive(contact(day(5)), now=day(5))
        sent(database, recall_at=day(4, 15))

        told = History(database, CODEC).of(ACCOUNT)

        assert told is not None
        assert list(story_in_words(tell_story(told, LENIENT, day(5)), UTC)) == PLAIN_WORDS

    def test_the_same_as_data(self, arrive: Arrive, database: Database) -> None:
        """The data holds the answer, the debt with its clearance, and the step that is next."""
        arrive(referral(), placement(), payment(), now=day(4))
        sent(database, recall_at=day(4))

        told = History(database, CODEC).of(ACCOUNT)

        assert told is not None
        data = story_as_json(tell_story(told, LENIENT, day(4)))
        assert json.loads(json.dumps(data)) == data
        assert data["paid_debt_with_collector"] is True
        assert data["debts"] == [DEBT_AS_DATA]
        assert data["placements"] == [PLACEMENT_AS_DATA]

    def test_a_bad_event_holds_the_account(self, arrive: Arrive, database: Database) -> None:
        """What is in quarantine is in the story, and in the clearance that the debt would get."""
        arrive(referral())
        arrive(payment(key="somebody-else"))

        told = History(database, CODEC).of(ACCOUNT)

        assert told is not None
        (held,) = Quarantine(database).waiting()
        one = tell_story(told, LENIENT, day(5))
        assert [hold.quarantine_id for hold in one.holds] == [held.quarantine_id]
        assert [reason.code for reason in one.debts[0].answer.reasons] == ["ACCOUNT_QUARANTINED"]

    def test_an_account_of_which_only_a_bad_event_is_known_has_a_story(
        self, arrive: Arrive, database: Database
    ) -> None:
        """The bad event is the story."""
        arrive(payment(key="somebody-else"))

        told = History(database, CODEC).of("somebody-else")

        assert told is not None
        assert [line.kind for line in tell_story(told, LENIENT, day(5)).lines] == ["event.quarantined"]

    def test_a_stopped_stream_is_in_the_answer(self, arrive: Arrive, database: Database) -> None:
        """While a stream stands, nobody can say that nothing was paid."""
        arrive(referral())
        with database.transaction() as connection:
            connection.execute(sa.text(STOPPED_STREAM))

        told = History(database, CODEC).of(ACCOUNT)

        assert told is not None
        one = tell_story(told, LENIENT, day(5))
        assert one.paid_and_placed is None
        assert [reason.code for reason in one.debts[0].answer.reasons] == ["STREAM_BEHIND"]

    def test_of_an_unknown_account_there_is_none(self, arrive: Arrive, database: Database) -> None:
        """Another account's events are not its story."""
        arrive(referral())

        assert History(database, CODEC).of("a-2") is None


def contact(at: datetime) -> RawRecord:
    """The agency calls the customer."""
    return record("agency.contact.made.v1", at=at, placement_id="l-1", contacted_at=at.isoformat(), channel="phone")


def sent(database: Database, *, recall_at: datetime) -> None:
    """The dispatcher sent everything, the recalls at an instant."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at"), {"at": recall_at})
        connection.execute(sa.text("UPDATE recall SET sent_at = :at"), {"at": recall_at})


STOPPED_STREAM = """
INSERT INTO stream (topic, cluster_id, topic_id, registered_at, stopped_reason)
VALUES ('billing.payments', 'c', 't', clock_timestamp(), 'TOPIC_REMADE')"""

PLAIN_WORDS = """\
Is a paid debt of this customer with a collector?
Yes: debt d-1 is paid and agency-1 still has it; next is the creditor: call agency-1, which has not answered the \
recall, by 06 Nov 2026 15:00:00.

Times are in UTC.

What happened on account a-1, oldest first:
  02 Nov 2026 09:00:00  debt d-1 of 100.00 RUB referred to agency-1, as of 02 Nov 2026 09:00:00, due on 2026-10-03
  05 Nov 2026 09:00:00  100.00 RUB of debt d-1 placed with agency-1, placement l-1, without asking the guard
  05 Nov 2026 12:00:00  40.00 RUB paid, payment p-0
  05 Nov 2026 12:00:00  agency-1 told that 60.00 RUB is owed, placement l-1
  06 Nov 2026 09:00:00  60.00 RUB paid, payment p-1 (arrived 06 Nov 2026 14:00:00)
  06 Nov 2026 14:00:00  recall of placement l-1 from agency-1: DEBT_SETTLED (paid_after_placement), because \
60.00 RUB paid, payment p-1; 0.00 RUB owed; to be acknowledged by 06 Nov 2026 15:00:00
  06 Nov 2026 15:00:00  recall of placement l-1 sent to agency-1
  07 Nov 2026 09:00:00  the agency contacted the customer, placement l-1, after it was told to stop

How it stands on 07 Nov 2026 09:00:00, with all that was acknowledged before:
  debt d-1: 0.00 RUB of 100.00 RUB owed, settled on 06 Nov 2026 09:00:00 by 60.00 RUB paid, payment p-1
    a clearance now: refuse
      ALREADY_PLACED: An agency has this debt. (placement l-1 with agency-1 since 05 Nov 2026 09:00; \
recalled, and not acknowledged)
      DEBT_SETTLED: Nothing is owed on this debt. (paid 40.00 RUB on 05 Nov 2026 12:00, \
payment p-0; paid 60.00 RUB on 06 Nov 2026 09:00, payment p-1; 0.00 RUB of 100.00 RUB is owed)
  placement l-1 of debt d-1 with agency-1: open
    next: the creditor: call agency-1, which has not answered the recall, by 06 Nov 2026 15:00:00
""".splitlines()

DEBT_AS_DATA = {
    "debt_id": "d-1",
    "amount": 100_00,
    "outstanding": 0,
    "currency": "RUB",
    "settled": True,
    "settled_by": "p-1",
    "settled_at": "2026-11-06T09:00:00+00:00",
    "clearance_now": {
        "decision": "refuse",
        "reasons": [
            {
                "code": "ALREADY_PLACED",
                "message": "An agency has this debt.",
                "evidence": ["placement l-1 with agency-1 since 05 Nov 2026 09:00; recalled, and not acknowledged"],
            },
            {
                "code": "DEBT_SETTLED",
                "message": "Nothing is owed on this debt.",
                "evidence": [
                    "paid 100.00 RUB on 06 Nov 2026 09:00, payment p-1",
                    "0.00 RUB of 100.00 RUB is owed",
                ],
            },
        ],
    },
}

PLACEMENT_AS_DATA = {
    "placement_id": "l-1",
    "debt_id": "d-1",
    "agency_id": "agency-1",
    "amount": 100_00,
    "currency": "RUB",
    "placed_at": "2026-11-05T09:00:00+00:00",
    "clearance_id": None,
    "open": True,
    "recall_id": recall_id_of(ACCOUNT, "l-1"),
    "recall_reason": "DEBT_SETTLED",
    "recall_requested_at": "2026-11-06T09:00:00+00:00",
    "recall_sent_at": "2026-11-06T09:00:00+00:00",
    "recall_acknowledged_at": None,
    "next": {"who": "agency-1", "what": "acknowledge the recall", "by": "2026-11-06T10:00:00+00:00"},
}
