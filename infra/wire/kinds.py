"""The inbound event types in one table: the contract's name, the topic, the payload, the domain event.

The number is how the ledger names the type; it is never given to another. A new event type is one row here,
one payload in `models`, one class in `domain.events` and one case in `domain.account.apply`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain import events as e
from infra.wire import models as m

PAYMENTS = "billing.payments"
REFERRALS = "collections.referrals"
NOTICES = "customers.notices"
STANDING = "customers.standing"
AGENCIES = "agencies.events"

OWN = "guard"
"""Where facts of our own stand among those of the topics; no broker has it."""

INBOUND_TOPICS = (PAYMENTS, REFERRALS, NOTICES, STANDING, AGENCIES)
"""Every topic that `ingest` reads."""

RECALLS = "guard.recalls"
DECISIONS = "guard.decisions"
QUARANTINE = "guard.quarantine"

OUTBOUND_TOPICS = (RECALLS, DECISIONS, QUARANTINE)
"""Every topic that the guard writes."""


_PayloadType = type[m.Payload]
_EventType = Callable[..., e.Event]


@dataclass(frozen=True, slots=True)
class Kind:
    """One inbound event type. `money` names the payload's id and date where it moves or promises money."""

    number: int
    type: str
    topic: str
    payload: _PayloadType
    event: _EventType
    money: tuple[str, str] | None = None


_INITIATED = ("payment_id", "initiated_at")
_PAID = ("payment_id", "paid_at")
_POSTED = ("credit_id", "posted_at")

KINDS = (
    Kind(1, "billing.payment.pending.v1", PAYMENTS, m.PaymentPending, e.PaymentPending, _INITIATED),
    Kind(2, "billing.payment.settled.v1", PAYMENTS, m.PaymentSettled, e.PaymentSettled, _PAID),
    Kind(3, "billing.payment.failed.v1", PAYMENTS, m.PaymentFailed, e.PaymentFailed),
    Kind(4, "billing.payment.returned.v1", PAYMENTS, m.PaymentReturned, e.PaymentReturned),
    Kind(5, "billing.credit.posted.v1", PAYMENTS, m.CreditPosted, e.CreditPosted, _POSTED),
    Kind(6, "collections.debt.referred.v1", REFERRALS, m.DebtReferred, e.DebtReferred),
    Kind(7, "collections.debt.withdrawn.v1", REFERRALS, m.DebtWithdrawn, e.DebtWithdrawn),
    Kind(8, "collections.placement.opened.v1", REFERRALS, m.PlacementOpened, e.PlacementOpened),
    Kind(9, "collections.placement.closed.v1", REFERRALS, m.PlacementClosed, e.PlacementClosed),
    Kind(10, "customer.notice.delivered.v1", NOTICES, m.NoticeDelivered, e.NoticeDelivered),
    Kind(11, "customer.notice.failed.v1", NOTICES, m.NoticeFailed, e.NoticeFailed),
    Kind(12, "customer.channels.chosen.v1", NOTICES, m.ChannelsChosen, e.ChannelsChosen),
    Kind(13, "customer.dispute.opened.v1", STANDING, m.DisputeOpened, e.DisputeOpened),
    Kind(14, "customer.dispute.closed.v1", STANDING, m.DisputeClosed, e.DisputeClosed),
    Kind(15, "customer.plan.agreed.v1", STANDING, m.PlanAgreed, e.PlanAgreed),
    Kind(16, "customer.plan.ended.v1", STANDING, m.PlanEnded, e.PlanEnded),
    Kind(17, "customer.protection.changed.v1", STANDING, m.ProtectionChanged, e.ProtectionChanged),
    Kind(18, "agency.placement.accepted.v1", AGENCIES, m.PlacementAccepted, e.PlacementAccepted),
    Kind(19, "agency.recall.acknowledged.v1", AGENCIES, m.RecallAcknowledged, e.RecallAcknowledged),
    Kind(20, "agency.recall.rejected.v1", AGENCIES, m.RecallRejected, e.RecallRejected),
    Kind(21, "agency.contact.made.v1", AGENCIES, m.ContactMade, e.ContactMade),
)  # fmt: skip

OWN_KINDS = (Kind(22, "guard.recall.ordered.v1", OWN, m.RecallOrdered, e.RecallOrdered),)
"""Facts that the guard alone makes, of what a person orders: they come by no topic and by no call."""

EVERY_KIND = (*KINDS, *OWN_KINDS)
"""Whatever the ledger may hold."""

BY_TYPE = {kind.type: kind for kind in KINDS}
OWN_BY_TYPE = {kind.type: kind for kind in OWN_KINDS}
BY_NUMBER = {kind.number: kind for kind in EVERY_KIND}
