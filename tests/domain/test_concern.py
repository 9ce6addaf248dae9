"""What belongs to the proof of a placement, and what of the customer's is nobody's business."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.concern import concerns
from domain.events import (
    Channel,
    ChannelsChosen,
    ContactMade,
    DisputeOutcome,
    Event,
    NoticeKind,
    PaymentFailed,
    PlacementAccepted,
    RecallOrdered,
    RecallRejected,
)
from domain.recall import recall_id_of
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
    returned,
    withdrawn,
)

RECALL = recall_id_of(ACCOUNT, "l-1")

TABLE: list[tuple[str, bool, Event, tuple[Event, ...]]] = [
    ("a payment", True, paid(), ()),
    ("a payment for another debt", True, paid(debt_id="d-2"), ()),
    ("a payment on its way", True, pending(), ()),
    ("a payment that failed", True, PaymentFailed(ACCOUNT, "p-1"), ()),
    ("a payment that came back", True, returned(), ()),
    ("a credit", True, credited(), ()),
    ("the debt", True, referred(), ()),
    ("another debt", False, referred("d-2"), ()),
    ("the debt, taken back", True, withdrawn(day(4)).event, ()),
    ("another debt, taken back", False, withdrawn(day(4), "d-2").event, ()),
    ("the placement", True, opened(), ()),
    ("another placement of the debt", False, opened("l-2"), ()),
    ("its end", True, closed(), ()),
    ("the end of another", False, closed("l-2"), ()),
    ("its acceptance", True, PlacementAccepted(ACCOUNT, "l-1", day(3)), ()),
    ("a contact", True, ContactMade(ACCOUNT, "l-1", day(5), "phone"), ()),
    ("a contact about another", False, ContactMade(ACCOUNT, "l-2", day(5), "phone"), ()),
    ("the agency's answer", True, acknowledged(), ()),
    ("an answer about another", False, acknowledged("l-2"), ()),
    ("an objection", True, RecallRejected(ACCOUNT, RECALL, "l-1", day(5), "no"), ()),
    ("an order", True, RecallOrdered(ACCOUNT, "l-1", "by hand", "support", day(5)), ()),
    ("an order about another placement", False, RecallOrdered(ACCOUNT, "l-2", "by hand", "support", day(5)), ()),
    ("a notice about the debt", True, notified(NoticeKind.DEBT_REMINDER, 1, debt_id="d-1"), ()),
    ("a notice about the account", True, notified(NoticeKind.DEBT_REMINDER, 1), ()),
    ("a notice about another debt", False, notified(NoticeKind.DEBT_REMINDER, 1, debt_id="d-2"), ()),
    ("how the customer wants to be told", True, ChannelsChosen(ACCOUNT, frozenset({Channel.SMS})), ()),
    ("a dispute of the debt", True, disputed(), ()),
    ("a dispute of the account", True, disputed(None), ()),
    ("a dispute of another debt", False, disputed("d-2"), ()),
    ("its outcome", True, dispute_ended(DisputeOutcome.UPHELD), (disputed(),)),
    ("the outcome of another dispute", False, dispute_ended(DisputeOutcome.UPHELD), (disputed("d-2"),)),
    ("the outcome of a dispute that nobody opened", False, dispute_ended(DisputeOutcome.UPHELD), ()),
    ("instalments for the debt", True, plan_agreed(), ()),
    ("instalments for another debt", False, plan_agreed("d-2"), ()),
    ("their end", True, plan_ended(), (plan_agreed(),)),
    ("the end of others", False, plan_ended(), (plan_agreed("d-2"),)),
    ("the end of unknown ones", False, plan_ended(), ()),
    ("what protects the customer", False, marked("bankrupt"), ()),
]


@pytest.mark.parametrize(
    ("belongs", "event", "others"), [row[1:] for row in TABLE], ids=[row[0].replace(" ", "-") for row in TABLE]
)
def test_what_belongs_to_the_proof(belongs: bool, event: Event, others: tuple[Event, ...]) -> None:
    """A row for each kind of event: of this debt, of the account, of another debt."""
    known = account(referred(), opened(), *others, event)

    assert belongs == concerns(known, recorded(event), opened(), frozenset())


def test_the_ground_of_a_recall_belongs_to_it_whatever_it_is() -> None:
    """Also what is otherwise nobody's business: by this event the placement was wrong."""
    protection = replace(recorded(marked("bankrupt")), source="care", id="m-1")
    known = account(referred(), opened(), protection)

    assert concerns(known, protection, opened(), frozenset({("care", "m-1")}))
    assert not concerns(known, protection, opened(), frozenset({("care", "m-2")}))
