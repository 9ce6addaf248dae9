"""What each event and each message of ours is in words."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, timedelta, timezone
from typing import get_args

import pytest

from consumers.telling import event_in_words, happened_at, message_in_words
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
    RecallOrdered,
    RecallRejected,
)
from tests.builders import (
    ACCOUNT,
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
    referred,
    returned,
    withdrawn,
)

FREE_TEXT = "call-Maria-on-her-mobile"
"""Stands wherever somebody may write in their own words."""

ROWS: list[tuple[Event, str]] = [
    (pending(), "100.00 RUB on its way, payment p-1"),
    (paid(85_00), "85.00 RUB paid, payment p-1"),
    (paid(debt_id="d-1"), "100.00 RUB paid, payment p-1 for debt d-1"),
    (paid(contract_id="k-1"), "100.00 RUB paid, payment p-1 for contract k-1"),
    (PaymentFailed(ACCOUNT, "p-1", FREE_TEXT), "payment p-1 failed"),
    (replace(returned(), reason=FREE_TEXT), "payment p-1 was returned"),
    (credited(), "100.00 RUB credited as write_off, credit c-1"),
    (referred(), "debt d-1 of 100.00 RUB referred, as of 02 Nov 2026 09:00:00, due on 2026-10-03"),
    (
        replace(referred(principal=60_00, fee=40_00), agency_id="agency-1"),
        (
            "debt d-1 of 100.00 RUB (principal 60.00 RUB, fee 40.00 RUB) referred to agency-1,"
            " as of 02 Nov 2026 09:00:00, due on 2026-10-03"
        ),
    ),
    (withdrawn(day(1)).event, "debt d-1 withdrawn by collections"),
    (opened(), "100.00 RUB of debt d-1 placed with agency-1, placement l-1, without asking the guard"),
    (
        replace(opened(), clearance_id="x-1"),
        "100.00 RUB of debt d-1 placed with agency-1, placement l-1, clearance x-1",
    ),
    (replace(closed(), reason=FREE_TEXT), "placement l-1 closed"),
    (PlacementAccepted(ACCOUNT, "l-1", day(3)), "the agency accepted placement l-1"),
    (ContactMade(ACCOUNT, "l-1", day(3), FREE_TEXT), "the agency contacted the customer, placement l-1"),
    (acknowledged(), "the agency acknowledged the recall of placement l-1"),
    (
        RecallRejected(ACCOUNT, "x", "l-1", day(3), FREE_TEXT),
        "the agency objected to the recall of placement l-1",
    ),
    (
        RecallOrdered(ACCOUNT, "l-1", FREE_TEXT, "the desk", day(5)),
        f"the desk ordered the recall of placement l-1: {FREE_TEXT}",
    ),
    (notified(NoticeKind.DEBT_REMINDER, 1, notice_id="n-1"), "debt reminder n-1 delivered by sms"),
    (
        NoticeFailed(ACCOUNT, "n-1", NoticeKind.PRICE_CHANGE, Channel.EMAIL, day(1), "d-1"),
        "price change n-1 not delivered by email for debt d-1",
    ),
    (
        ChannelsChosen(ACCOUNT, frozenset({Channel.SMS, Channel.EMAIL})),
        "the customer chose to be told by email, sms",
    ),
    (ChannelsChosen(ACCOUNT, frozenset()), "the customer chose to be told by any channel"),
    (replace(disputed(), reason=FREE_TEXT), "dispute q-1 opened for debt d-1"),
    (disputed(None), "dispute q-1 opened about the account"),
    (dispute_ended(DisputeOutcome.UPHELD), "dispute q-1 closed: upheld"),
    (plan_agreed(), "instalment plan i-1 agreed for debt d-1"),
    (plan_agreed(None), "instalment plan i-1 agreed for the account"),
    (plan_ended(), "instalment plan i-1 ended"),
    (marked("minor", "bankrupt"), "protection marks of the customer: bankrupt, minor"),
    (marked(), "protection marks of the customer: none"),
]


@pytest.mark.parametrize(("event", "words"), ROWS, ids=[words for _, words in ROWS])
def test_an_event_in_words(event: Event, words: str) -> None:
    """Each event is one clause of ids, amounts and dates; an order's reason alone is in somebody's own words."""
    assert event_in_words(event, UTC) == words


def test_every_kind_of_event_is_in_the_table() -> None:
    """A new event type needs its row here."""
    assert {type(event) for event, _ in ROWS} == set(get_args(Event))


def test_instants_are_in_the_creditors_time_zone() -> None:
    """Nine o'clock in London is noon in Moscow."""
    moscow = timezone(timedelta(hours=3))

    assert "as of 02 Nov 2026 12:00:00" in event_in_words(referred(), moscow)


@pytest.mark.parametrize("event", [event for event, _ in ROWS], ids=[words for _, words in ROWS])
def test_when_it_happened_is_the_events_own_date(event: Event) -> None:
    """What has a date of its own happened then; the date as of which a debt is stated is none."""
    own = {"initiated", "paid", "returned", "posted", "placed", "accepted", "closed", "acknowledged", "rejected"}
    own |= {"contacted", "delivered", "failed", "opened", "agreed", "ended", "changed", "ordered"}
    dates = [getattr(event, field.name) for field in fields(event) if field.name.removesuffix("_at") in own]

    assert happened_at(event) == next(iter(dates), None)


EPISODE: dict[str, object] = {"placement_id": "l-1", "agency_id": "agency-1", "reason": "DISPUTE_OPEN"}

MESSAGES: list[tuple[str, dict[str, object], str]] = [
    (
        "guard.balance.reduced.v1",
        {**EPISODE, "outstanding": 15_00, "currency": "RUB"},
        "agency-1 told that 15.00 RUB is owed, placement l-1",
    ),
    ("guard.placement.suspended.v1", EPISODE, "agency-1 told to pause, placement l-1: DISPUTE_OPEN"),
    ("guard.placement.resumed.v1", EPISODE, "agency-1 told to go on, placement l-1: DISPUTE_OPEN"),
    (
        "guard.clearance.decided.v1",
        {"agency_id": "agency-1", "debt_id": "d-1", "decision": "clear", "reasons": [], "clearance_id": "x-1"},
        "asked whether agency-1 may have debt d-1: clear, clearance x-1",
    ),
    (
        "guard.clearance.decided.v1",
        {
            "agency_id": "agency-1",
            "debt_id": "d-1",
            "decision": "refuse",
            "reasons": [{"code": "DEBT_SETTLED"}, {"code": "NOTICES_MISSING"}],
            "clearance_id": "x-1",
        },
        "asked whether agency-1 may have debt d-1: refuse for DEBT_SETTLED, NOTICES_MISSING, clearance x-1",
    ),
    ("guard.something.new.v1", {}, "guard.something.new.v1 published"),
]


@pytest.mark.parametrize(("kind", "data", "words"), MESSAGES)
def test_a_message_in_words(kind: str, data: dict[str, object], words: str) -> None:
    """Each message says who was told what."""
    assert message_in_words({"type": kind, "data": data}) == words
