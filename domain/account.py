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
    RecallOrdered,
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


Speaker = str | None
"""The agency that says something; None where that is not known."""

Answering = tuple[Speaker, str]
"""Who answers which recall."""


@dataclass(frozen=True, slots=True)
class Placement:
    """An episode of one debt with one agency, by its id; `ordered_by` is the first order to recall it.

    What agencies say is kept by who said it. Who has the placement is perhaps not known when they do, so whether it
    has an effect is judged when it is looked at.
    """

    opened: PlacementOpened | None = None
    opened_by: Recorded | None = None
    ordered_by: Recorded | None = None
    accepted: Mapping[Speaker, datetime] = field(default_factory=dict)
    closed_at: datetime | None = None
    acknowledged: Mapping[Answering, datetime] = field(default_factory=dict)
    rejected: Mapping[Answering, RecallRejected] = field(default_factory=dict)
    contacted: Mapping[Speaker, datetime] = field(default_factory=dict)

    def heeds(self, speaker: Speaker) -> bool:
        """Whether what this agency says of the placement has an effect: it has it, or nobody knows who speaks."""
        return self.opened is not None and speaker in {None, self.opened.agency_id}

    @property
    def accepted_at(self) -> datetime | None:
        """When the agency last said that it has the debt."""
        return max((at for speaker, at in self.accepted.items() if self.heeds(speaker)), default=None)

    def acknowledged_at(self, recall_id: str) -> datetime | None:
        """When the agency last said that it has stopped because of this recall."""
        answers = self.acknowledged.items()
        return max((at for (speaker, of), at in answers if of == recall_id and self.heeds(speaker)), default=None)

    def rejection(self, recall_id: str) -> RecallRejected | None:
        """The agency's last objection to this recall."""
        answers = self.rejected.items()
        mine = [said for (speaker, of), said in answers if of == recall_id and self.heeds(speaker)]
        return max(mine, key=_rejection_order, default=None)


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

    What an account has many of is gathered apart, and the account is made once: no fact depends on another.
    """
    account = Account(account_id)
    payments, debts, notices = dict[str, Payment](), dict[str, Debt](), dict[str, Notice]()
    for one in recorded:
        event = one.event
        match event:
            case PaymentPending() | PaymentSettled() | PaymentFailed() | PaymentReturned():
                payments[event.payment_id] = _payment(payments.get(event.payment_id, Payment()), one)
            case DebtReferred() | DebtWithdrawn():
                debts[event.debt_id] = _debt(debts.get(event.debt_id, Debt()), one)
            case NoticeDelivered() | NoticeFailed():
                notices[event.notice_id] = _notice(notices.get(event.notice_id, Notice()), event)
            case _:
                account = apply(account, one)
    return replace(account, payments=payments, debts=debts, notices=notices)


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
            | RecallOrdered()
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
            return Payment(_later(known.pending, said), known.settled, known.failed, known.returned)
        case PaymentSettled():
            said = _money(event.payment_id, event.paid_at, event, recorded)
            return Payment(known.pending, _later(known.settled, said), known.failed, known.returned)
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
        return Debt(_later(known.statement, said), known.withdrawal, referred_at)
    return Debt(known.statement, _later(known.withdrawal, recorded), known.referred_at)


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
            at = _max(known.accepted.get(event.agency_id), event.accepted_at)
            return replace(known, accepted={**known.accepted, event.agency_id: at})
        case RecallAcknowledged():
            answering = (event.agency_id, event.recall_id)
            at = _max(known.acknowledged.get(answering), event.acknowledged_at)
            return replace(known, acknowledged={**known.acknowledged, answering: at})
        case RecallRejected():
            answering = (event.agency_id, event.recall_id)
            before = known.rejected.get(answering)
            if before is not None and _rejection_order(before) >= _rejection_order(event):
                return known
            return replace(known, rejected={**known.rejected, answering: event})
        case ContactMade():
            at = _max(known.contacted.get(event.agency_id), event.contacted_at)
            return replace(known, contacted={**known.contacted, event.agency_id: at})
        case RecallOrdered():
            first = known.ordered_by is None or recorded.stamp < known.ordered_by.stamp
            return replace(known, ordered_by=recorded) if first else known
        case _:
            return known


def _rejection_order(event: RecallRejected) -> tuple[datetime, str, str]:
    return (event.rejected_at, event.reason, event.agency_id or "")


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
