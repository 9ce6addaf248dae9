"""How one event adds to the facts of an account, whatever arrived before it."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from domain.account import OPENING, Account, Dispute, Notice, Payment, Plan, apply, from_events
from domain.events import (
    Channel,
    ChannelsChosen,
    ContactMade,
    DisputeOutcome,
    Event,
    NoticeFailed,
    NoticeKind,
    PaymentFailed,
    PlacementAccepted,
    RecallRejected,
    Recorded,
)
from tests.builders import (
    ACCOUNT,
    account,
    acknowledged,
    closed,
    credited,
    day,
    dispute_ended,
    disputed,
    marked,
    notified,
    opened,
    paid,
    pending,
    plan_agreed,
    plan_ended,
    recorded,
    referred,
    restated,
    returned,
    withdrawn,
)

FAILED = PaymentFailed(ACCOUNT, "p-1", "no funds")


@pytest.mark.parametrize(
    ("events", "counts", "on_its_way"),
    [
        ([pending()], 0, 100_00),
        ([pending(), FAILED], 0, 0),
        ([pending(), paid()], 100_00, 0),
        ([pending(70_00), paid(60_00)], 60_00, 0),
        ([FAILED, paid()], 100_00, 0),
        ([paid(), FAILED], 100_00, 0),
        ([paid(), returned()], 0, 0),
        ([returned()], 0, 0),
        ([returned(), paid()], 0, 0),
        ([returned(), pending()], 0, 0),
        ([FAILED], 0, 0),
        ([pending(), returned("p-2")], 0, 100_00),
    ],
    ids=lambda value: " then ".join(type(one).__name__ for one in value) if isinstance(value, list) else None,
)
def test_a_payment_counts_by_its_strongest_status(events: list[Event], counts: int, on_its_way: int) -> None:
    """Returned beats settled, settled beats failed, failed beats pending, in whatever order they come."""
    for order in permutations(events):
        payment = account(*order).payments["p-1"]

        actual = (
            payment.counts.amount if payment.counts else 0,
            payment.on_its_way.amount if payment.on_its_way else 0,
        )
        assert (counts, on_its_way) == actual


def test_a_return_before_its_payment_waits_as_a_fact() -> None:
    """A return of a payment not seen yet is kept, and takes the payment away when that is seen."""
    waiting = account(returned())

    assert {"p-1": Payment(returned=True)} == waiting.payments
    assert apply(waiting, recorded(paid())) == account(paid(), returned())


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        (recorded(paid(40_00), day(2)), recorded(paid(50_00), day(3)), 50_00),
        (recorded(paid(40_00), day(2), source="a"), recorded(paid(50_00), day(2), source="b"), 50_00),
        (
            recorded(paid(40_00), day(2), event_id="e-2"),
            recorded(paid(50_00), day(2), event_id="e-1"),
            40_00,
        ),
    ],
    ids=["later time", "same time, greater source", "same time and source, greater id"],
)
def test_the_later_statement_of_a_payment_counts(first: Recorded, second: Recorded, winner: int) -> None:
    """Of two settled statements of one payment that with the greater time, source and id counts."""
    for order in ([first, second], [second, first]):
        counts = account(*order).payments["p-1"].counts

        assert counts is not None
        assert winner == counts.amount


def test_the_later_statement_of_a_credit_counts() -> None:
    """A credit stated anew replaces the earlier statement of it."""
    first, second = recorded(credited(40_00), day(2)), recorded(credited(50_00), day(3))

    assert account(first, second).credits["c-1"].amount == 50_00
    assert account(first, second) == account(second, first)


@pytest.mark.parametrize(
    ("statements", "amount"),
    [
        ([referred(), restated(70_00, day(4))], 70_00),
        ([referred(), replace(restated(70_00, day(0)), referral_id="r-0")], 100_00),
        ([referred(), replace(restated(70_00, day(0)), referral_id="r-2")], 70_00),
        ([referred(), replace(restated(70_00, day(-1)), referral_id="r-9")], 100_00),
        ([recorded(referred(), day(9)), recorded(restated(70_00, day(4)), day(5))], 70_00),
    ],
    ids=[
        "later as_of",
        "same as_of, lesser referral",
        "same as_of, greater referral",
        "earlier as_of, greater referral",
        "later as_of, said earlier",
    ],
)
def test_the_latest_statement_of_a_debt_counts(statements: list[Event | Recorded], amount: int) -> None:
    """A debt is as stated with the latest `as_of`, then with the greater referral id, whenever it was said."""
    for order in permutations(statements):
        statement = account(*order).debts["d-1"].statement

        assert statement is not None
        assert amount == statement.terms.amount


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([referred()], False),
        ([referred(), withdrawn(day(5))], True),
        ([withdrawn(day(5))], True),
        ([referred(), withdrawn(day(0))], True),
        ([recorded(referred(), day(6)), withdrawn(day(5))], False),
        ([referred(), withdrawn(day(5)), restated(80_00, day(6))], False),
        ([referred(), withdrawn(day(5)), restated(80_00, day(6)), withdrawn(day(7))], True),
        ([referred(), withdrawn(day(5)), recorded(replace(referred(), referral_id="r-0"), day(6))], False),
        ([referred(), withdrawn(day(5)), recorded(restated(80_00, day(2)), day(4))], True),
    ],
    ids=[
        "never",
        "withdrawn",
        "before it was seen",
        "at the same instant",
        "withdrawn before it was referred",
        "referred again",
        "referred again and withdrawn again",
        "referred again with a statement that does not count",
        "restated before it was withdrawn",
    ],
)
def test_a_debt_is_withdrawn_until_it_is_referred_again(events: list[Event | Recorded], expected: bool) -> None:
    """The later of withdrawal and referral decides, by the time of the events; at one instant the withdrawal."""
    for order in permutations(events):
        assert expected == account(*order).debts["d-1"].withdrawn


def test_a_placement_stays_what_it_was_opened_as() -> None:
    """What is said later of the same placement id can't move the episode to another debt."""
    first = recorded(opened(), day(3))
    second = recorded(opened(debt_id="d-2"), day(4))

    for order in ([first, second], [second, first]):
        assert opened() == account(*order).placements["l-1"].opened


def test_an_episode_keeps_the_latest_word_of_its_agency() -> None:
    """Acceptance, contact, end, acknowledgement and objection each keep their latest statement."""
    objection = RecallRejected(ACCOUNT, "x-1", "l-1", day(5), "paid to us")
    later = replace(objection, rejected_at=day(6), reason="still here")
    events: list[Event] = [
        opened(),
        PlacementAccepted(ACCOUNT, "l-1", day(3)),
        PlacementAccepted(ACCOUNT, "l-1", day(4)),
        ContactMade(ACCOUNT, "l-1", day(5), "call"),
        ContactMade(ACCOUNT, "l-1", day(4), "call"),
        objection,
        later,
        closed(),
        replace(closed(), closed_at=day(7)),
        acknowledged(),
    ]

    episode = account(*events).placements["l-1"]

    expected = (day(4), {None: day(5)}, later, day(8), day(7))
    actual = (
        episode.accepted_at,
        episode.contacted,
        episode.rejection("x-1"),
        episode.closed_at,
        episode.acknowledged_at(acknowledged().recall_id),
    )
    assert expected == actual
    assert account(*events) == account(*reversed(events))


UPHELD, REJECTED = dispute_ended(DisputeOutcome.UPHELD), dispute_ended(DisputeOutcome.REJECTED)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([disputed()], True),
        ([disputed(), REJECTED], False),
        ([disputed(), UPHELD], False),
        ([REJECTED], False),
        ([disputed(), REJECTED, disputed(on_day=6)], False),
        ([disputed(), REJECTED, disputed(on_day=7)], True),
    ],
    ids=["opened", "rejected", "upheld", "end only", "opened at its end", "opened again after its end"],
)
def test_a_dispute_is_open_until_its_outcome(events: list[Event], expected: bool) -> None:
    """A dispute waits for its outcome, and does so again where it is opened anew after one."""
    for order in permutations(events):
        assert expected == account(*order).disputes["q-1"].is_open


@pytest.mark.parametrize(
    ("named", "asked", "expected"),
    [("d-1", "d-1", True), ("d-1", "d-2", False), (None, "d-1", True), (None, "d-2", True)],
)
def test_a_dispute_concerns_its_debt_or_all(named: str | None, asked: str, expected: bool) -> None:
    """A dispute that names no debt concerns every debt of the account."""
    dispute = Dispute(disputed(named))

    assert expected == dispute.concerns(asked)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([plan_agreed()], True),
        ([plan_agreed(None)], True),
        ([plan_agreed("d-2")], False),
        ([plan_agreed(), plan_ended()], False),
        ([plan_ended()], False),
        ([plan_agreed(), plan_ended(4)], False),
        ([plan_agreed(), plan_ended(), plan_agreed(on_day=7)], True),
        ([plan_agreed(), plan_ended(), plan_agreed(on_day=7), plan_ended(8)], False),
        ([plan_agreed("d-2"), plan_agreed("d-1", 5)], True),
    ],
    ids=[
        "agreed",
        "agreed for the account",
        "agreed for another debt",
        "ended",
        "end only",
        "ended as it began",
        "agreed again",
        "agreed and ended again",
        "moved to this debt",
    ],
)
def test_a_plan_holds_until_it_ends(events: list[Event], expected: bool) -> None:
    """A plan holds for its debt from its agreement to its end, and again once agreed anew."""
    for order in permutations(events):
        assert expected == account(*order).plans["i-1"].holds("d-1")


def test_a_plan_not_agreed_yet_holds_nothing() -> None:
    """An end without an agreement is a fact that waits."""
    assert not Plan(ended_at=day(1)).holds("d-1")


def test_a_notice_counts_from_its_first_delivery() -> None:
    """A notice delivered twice counts from the first time; its failed attempts are kept by the last."""
    early = notified(NoticeKind.DEBT_REMINDER, 2, notice_id="n-1")
    late = notified(NoticeKind.DEBT_REMINDER, 3, notice_id="n-1", channel=Channel.EMAIL)
    failed = NoticeFailed(ACCOUNT, "n-1", NoticeKind.DEBT_REMINDER, Channel.SMS, day(1))
    failed_again = replace(failed, failed_at=day(4))

    attempts: list[Event] = [early, late, failed, failed_again]
    for order in permutations(attempts):
        assert {"n-1": Notice(early, failed_again)} == account(*order).notices


def test_what_the_customer_chose_last_holds() -> None:
    """Channels and marks are replaced by what is said later of them, and marks can be taken back."""
    sms = recorded(ChannelsChosen(ACCOUNT, frozenset({Channel.SMS})), day(2))
    post = recorded(ChannelsChosen(ACCOUNT, frozenset({Channel.POST})), day(4))
    bankrupt = recorded(marked("bankrupt", on_day=3), day(9))
    nothing = recorded(marked(on_day=5), day(6))

    for order in permutations([sms, post, bankrupt, nothing]):
        known = account(*order)
        assert known.channels is not None
        assert known.protection is not None
        assert (post, nothing) == (known.channels.said_by, known.protection.said_by)


def test_an_account_without_events_knows_nothing() -> None:
    """No events make an empty account."""
    assert Account(ACCOUNT) == from_events(ACCOUNT, [])


@pytest.mark.parametrize(
    ("event", "expected"),
    [(referred(), True), (opened(), True), (paid(), False), (closed(), False), (disputed(), False)],
)
def test_a_case_begins_with_a_referral_or_a_placement(event: Event, expected: bool) -> None:
    """Only a debt that is referred or placed makes an account's money matter to an agency."""
    assert expected == isinstance(event, OPENING)
