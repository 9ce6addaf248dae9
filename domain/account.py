"""An account as a set of facts, each kept by its id, and how one event adds to them.

Called by every consumer that applies events. Never decides anything: outstanding amounts are computed in
`domain.allocation`, recalls in `domain.recall`, clearances in `domain.clearance`.

Theory: each fact is a join-semilattice (Shapiro et al., *Conflict-free Replicated Data Types*, 2011). Of two
statements of one thing the greater in a total order wins, marks are only ever set, and instants only grow;
so merging is commutative, associative and idempotent, and any order, delay or repetition of the same events
ends in the same facts (S7). A fact that names something not yet seen simply waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol, TypeVar, assert_never

from domain.events import (
    ChannelsChosen,
    ContactMade,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    NoticeDelivered,
    NoticeFailed,
    PaymentFailed,
    PaymentPending,
    PaymentReturned,
    PaymentSettled,
    PlacementAccepted,
    PlacementClosed,
    PlacementOpened,
    PlanAgreed,
    PlanEnded,
    ProtectionChanged,
    RecallAcknowledged,
    RecallRejected,
    Recorded,
    Stamp,
)


@dataclass(frozen=True, slots=True)
class Money:
    """One statement of money: a payment or a credit, with the event that said so."""

    money_id: str
    amount: int
    currency: str
    at: datetime
    debt_id: str | None
    contract_id: str | None
    said_by: Recorded

    @property
    def stamp(self) -> Stamp:
        """The order in which statements of the same money replace each other."""
        return self.said_by.stamp


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment by its id. Precedence of its statuses: returned, settled, failed, pending."""

    pending: Money | None = None
    settled: Money | None = None
    failed: bool = False
    returned: bool = False

    @property
    def counts(self) -> Money | None:
        """The money that has arrived and stayed, if any."""
        return None if self.returned else self.settled

    @property
    def on_its_way(self) -> Money | None:
        """The money that may still arrive, if any."""
        return None if self.returned or self.failed or self.settled else self.pending


@dataclass(frozen=True, slots=True)
class Statement:
    """What collections said of a debt: the latest `as_of` counts, then the greater referral id."""

    terms: DebtReferred
    said_by: Recorded

    @property
    def stamp(self) -> tuple[datetime, str, Stamp]:
        """The order in which statements of the same debt replace each other."""
        return (self.terms.as_of, self.terms.referral_id, self.said_by.stamp)


@dataclass(frozen=True, slots=True)
class Debt:
    """A debt by its id: its counting statement, and the latest events that withdrew and that referred it."""

    statement: Statement | None = None
    withdrawal: Recorded | None = None
    referred_at: datetime | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether it was taken back and not referred again since, be it with the same statement."""
        if self.withdrawal is None:
            return False
        return self.referred_at is None or self.referred_at <= self.withdrawal.time


@dataclass(frozen=True, slots=True)
class Placement:
    """An episode of one debt with one agency, by its id."""

    opened: PlacementOpened | None = None
    opened_by: Recorded | None = None
    accepted_at: datetime | None = None
    closed_at: datetime | None = None
    acknowledged: Mapping[str, datetime] = field(default_factory=dict)  # by recall id
    rejected: Mapping[str, RecallRejected] = field(default_factory=dict)  # by recall id
    contacted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A dispute by its id; opened again after its end, it is open again."""

    opened: DisputeOpened | None = None
    opened_by: Recorded | None = None
    closed: DisputeClosed | None = None
    closed_by: Recorded | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits for an outcome."""
        if self.opened is None:
            return False
        return self.closed is None or self.closed.closed_at < self.opened.opened_at

    def concerns(self, debt_id: str) -> bool:
        """Whether it is about this debt, or about the whole account."""
        return self.opened is not None and self.opened.debt_id in {None, debt_id}


@dataclass(frozen=True, slots=True)
class Plan:
    """An instalment plan by its id; agreed again after its end, it holds again."""

    agreed: PlanAgreed | None = None
    ended_at: datetime | None = None

    def holds(self, debt_id: str) -> bool:
        """Whether the customer pays this debt by this plan now."""
        if self.agreed is None or self.agreed.debt_id not in {None, debt_id}:
            return False
        return self.ended_at is None or self.ended_at < self.agreed.agreed_at


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice by its id: once delivered, an attempt that failed no longer matters."""

    delivered: NoticeDelivered | None = None
    failed: NoticeFailed | None = None


@dataclass(frozen=True, slots=True)
class Latest:
    """The latest event of a kind of which only one holds at a time, ordered by when it began to hold."""

    said_by: Recorded
    since: datetime

    @property
    def stamp(self) -> tuple[datetime, Stamp]:
        """The order in which they replace each other."""
        return (self.since, self.said_by.stamp)


@dataclass(frozen=True, slots=True)
class Account:
    """All that is known of one account. The mappings are never changed once here."""

    account_id: str
    payments: Mapping[str, Payment] = field(default_factory=dict)
    credits: Mapping[str, Money] = field(default_factory=dict)
    debts: Mapping[str, Debt] = field(default_factory=dict)
    placements: Mapping[str, Placement] = field(default_factory=dict)
    disputes: Mapping[str, Dispute] = field(default_factory=dict)
    plans: Mapping[str, Plan] = field(default_factory=dict)
    notices: Mapping[str, Notice] = field(default_factory=dict)
    channels: Latest | None = None
    protection: Latest | None = None


class _Stamped(Protocol):
    @property
    def stamp(self) -> tuple[object, ...]: ...


S = TypeVar("S", bound=_Stamped)
Fact = TypeVar("Fact")


OPENING = (DebtReferred, PlacementOpened)
"""The events from which on an account's money can matter to an agency: it is referred or placed."""


def from_events(account_id: str, recorded: Iterable[Recorded]) -> Account:
    """The account that these events make, in whatever order they are given.

    Payments are many and depend on no other fact: they are gathered apart, and the account is made once.
    """
    account, payments = Account(account_id), dict[str, Payment]()
    for one in recorded:
        event = one.event
        match event:
            case PaymentPending() | PaymentSettled() | PaymentFailed() | PaymentReturned():
                payments[event.payment_id] = _payment(payments.get(event.payment_id, Payment()), one)
            case _:
                account = apply(account, one)
    return replace(account, payments=payments)


def apply(account: Account, recorded: Recorded) -> Account:
    """The account with this event's fact merged in; the same event again changes nothing."""
    event = recorded.event
    match event:
        case PaymentPending() | PaymentSettled() | PaymentFailed() | PaymentReturned():
            known = account.payments.get(event.payment_id, Payment())
            return replace(account, payments={**account.payments, event.payment_id: _payment(known, recorded)})
        case CreditPosted():
            said = _money(event.credit_id, event.posted_at, event, recorded)
            best = _later(account.credits.get(event.credit_id), said)
            return replace(account, credits={**account.credits, event.credit_id: best})
        case DebtReferred() | DebtWithdrawn():
            debt = _debt(account.debts.get(event.debt_id, Debt()), recorded)
            return replace(account, debts={**account.debts, event.debt_id: debt})
        case (
            PlacementOpened()
            | PlacementClosed()
            | PlacementAccepted()
            | RecallAcknowledged()
            | RecallRejected()
            | ContactMade()
        ):
            episode = _placement(account.placements.get(event.placement_id, Placement()), recorded)
            return replace(account, placements={**account.placements, event.placement_id: episode})
        case DisputeOpened() | DisputeClosed():
            dispute = _dispute(account.disputes.get(event.dispute_id, Dispute()), recorded)
            return replace(account, disputes={**account.disputes, event.dispute_id: dispute})
        case PlanAgreed() | PlanEnded():
            plan = _plan(account.plans.get(event.plan_id, Plan()), event)
            return replace(account, plans={**account.plans, event.plan_id: plan})
        case NoticeDelivered() | NoticeFailed():
            notice = _notice(account.notices.get(event.notice_id, Notice()), event)
            return replace(account, notices={**account.notices, event.notice_id: notice})
        case ChannelsChosen():
            return replace(account, channels=_later(account.channels, Latest(recorded, recorded.time)))
        case ProtectionChanged():
            return replace(account, protection=_later(account.protection, Latest(recorded, event.changed_at)))
        case _:
            assert_never(event)


def _payment(known: Payment, recorded: Recorded) -> Payment:
    event = recorded.event
    match event:
        case PaymentPending():
            said = _money(event.payment_id, event.initiated_at, event, recorded)
            return replace(known, pending=_later(known.pending, said))
        case PaymentSettled():
            said = _money(event.payment_id, event.paid_at, event, recorded)
            return replace(known, settled=_later(known.settled, said))
        case PaymentFailed():
            return replace(known, failed=True)
        case _:
            return replace(known, returned=True)


def _money(
    money_id: str, at: datetime, event: PaymentPending | PaymentSettled | CreditPosted, recorded: Recorded
) -> Money:
    return Money(money_id, event.amount, event.currency, at, event.debt_id, event.contract_id, recorded)


def _debt(known: Debt, recorded: Recorded) -> Debt:
    if isinstance(recorded.event, DebtReferred):
        said = Statement(recorded.event, recorded)
        referred_at = _max(known.referred_at, recorded.time)
        return replace(known, statement=_later(known.statement, said), referred_at=referred_at)
    return replace(known, withdrawal=_later(known.withdrawal, recorded))


def _placement(known: Placement, recorded: Recorded) -> Placement:
    event = recorded.event
    match event:
        case PlacementOpened():
            # The first statement of an episode names it: what a later one says of the same id cannot move it.
            if known.opened_by is not None and known.opened_by.stamp <= recorded.stamp:
                return known
            return replace(known, opened=event, opened_by=recorded)
        case PlacementClosed():
            return replace(known, closed_at=_max(known.closed_at, event.closed_at))
        case PlacementAccepted():
            return replace(known, accepted_at=_max(known.accepted_at, event.accepted_at))
        case RecallAcknowledged():
            at = _max(known.acknowledged.get(event.recall_id), event.acknowledged_at)
            return replace(known, acknowledged={**known.acknowledged, event.recall_id: at})
        case RecallRejected():
            before = known.rejected.get(event.recall_id)
            if before is not None and _rejection_order(before) >= _rejection_order(event):
                return known
            return replace(known, rejected={**known.rejected, event.recall_id: event})
        case ContactMade():
            return replace(known, contacted_at=_max(known.contacted_at, event.contacted_at))
        case _:
            return known


def _rejection_order(event: RecallRejected) -> tuple[datetime, str]:
    return (event.rejected_at, event.reason)


def _dispute(known: Dispute, recorded: Recorded) -> Dispute:
    event = recorded.event
    if isinstance(event, DisputeOpened):
        if known.opened_by is not None and known.opened_by.stamp >= recorded.stamp:
            return known
        return replace(known, opened=event, opened_by=recorded)
    if isinstance(event, DisputeClosed):
        if known.closed_by is not None and known.closed_by.stamp >= recorded.stamp:
            return known
        return replace(known, closed=event, closed_by=recorded)
    return known


def _plan(known: Plan, event: PlanAgreed | PlanEnded) -> Plan:
    if isinstance(event, PlanEnded):
        return replace(known, ended_at=_max(known.ended_at, event.ended_at))
    if known.agreed is not None and _plan_order(known.agreed) >= _plan_order(event):
        return known
    return replace(known, agreed=event)


def _plan_order(event: PlanAgreed) -> tuple[datetime, str]:
    return (event.agreed_at, event.debt_id or "")


def _notice(known: Notice, event: NoticeDelivered | NoticeFailed) -> Notice:
    if isinstance(event, NoticeDelivered):
        if known.delivered is not None and _delivery_order(known.delivered) <= _delivery_order(event):
            return known
        return replace(known, delivered=event)
    if known.failed is not None and _failure_order(known.failed) >= _failure_order(event):
        return known
    return replace(known, failed=event)


def _delivery_order(event: NoticeDelivered) -> tuple[datetime, str, str, str]:
    return (event.delivered_at, event.kind, event.channel, event.debt_id or "")


def _failure_order(event: NoticeFailed) -> tuple[datetime, str, str, str]:
    return (event.failed_at, event.kind, event.channel, event.debt_id or "")


def _later(known: S | None, said: S) -> S:
    return said if known is None or said.stamp > known.stamp else known


def _max(known: datetime | None, said: datetime) -> datetime:
    return said if known is None or said > known else known
