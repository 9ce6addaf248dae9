"""What can happen to an account: one frozen class for each inbound event type of the contract.

The wire adapter makes these from bytes; `domain.account` merges them into facts. Nothing here checks its
values: an event that exists has already been found valid. Amounts are integers in minor units of their
currency (ISO 4217); instants carry an offset; `due_on` is a date in the creditor's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

Stamp = tuple[datetime, str, str]
"""Time, source and id of an event: a total order in which the latest statement of one thing wins, whatever
order the statements arrived in."""


class Component(StrEnum):
    """What a debt is made of."""

    PRINCIPAL = "principal"
    FEE = "fee"
    PENALTY = "penalty"
    PRICE_CHANGE = "price_change"


class NoticeKind(StrEnum):
    """What a customer was told."""

    DEBT_REMINDER = "debt_reminder"
    PRICE_CHANGE = "price_change"
    PLACEMENT_WARNING = "placement_warning"


class Channel(StrEnum):
    """How a customer was told."""

    SMS = "sms"
    EMAIL = "email"
    POST = "post"
    PUSH = "push"
    CABINET = "cabinet"


class DisputeOutcome(StrEnum):
    """How a dispute ended; only an upheld one says that the customer was right."""

    UPHELD = "upheld"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class PaymentPending:
    """A payment is on its way."""

    account_id: str
    payment_id: str
    amount: int
    currency: str
    initiated_at: datetime
    debt_id: str | None = None
    contract_id: str | None = None
    method: str | None = None
    autopay: bool | None = None


@dataclass(frozen=True, slots=True)
class PaymentSettled:
    """A payment has arrived; it counts from `paid_at`, when the customer paid."""

    account_id: str
    payment_id: str
    amount: int
    currency: str
    paid_at: datetime
    settled_at: datetime | None = None
    debt_id: str | None = None
    contract_id: str | None = None
    method: str | None = None
    autopay: bool | None = None


@dataclass(frozen=True, slots=True)
class PaymentFailed:
    """A pending payment will not arrive."""

    account_id: str
    payment_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentReturned:
    """A settled payment was charged back or bounced, all of it."""

    account_id: str
    payment_id: str
    returned_at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CreditPosted:
    """Money that the creditor put on the account: a credit note, write-off, goodwill or correction."""

    account_id: str
    credit_id: str
    amount: int
    currency: str
    posted_at: datetime
    reason: str
    debt_id: str | None = None
    contract_id: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a debt's amount."""

    kind: Component
    amount: int


@dataclass(frozen=True, slots=True)
class DebtReferred:
    """Collections asks to hand this debt to an agency, and states it as of an instant."""

    account_id: str
    debt_id: str
    referral_id: str
    amount: int
    currency: str
    as_of: datetime
    due_on: date
    agency_id: str | None = None
    contract_id: str | None = None
    components: tuple[Part, ...] = ()
    reflected_payment_ids: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class DebtWithdrawn:
    """Collections takes the debt back."""

    account_id: str
    debt_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementOpened:
    """A debt was lodged with an agency."""

    account_id: str
    placement_id: str
    debt_id: str
    agency_id: str
    amount: int
    currency: str
    placed_at: datetime
    clearance_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlacementClosed:
    """The agency no longer has the debt."""

    account_id: str
    placement_id: str
    closed_at: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeDelivered:
    """The customer was told."""

    account_id: str
    notice_id: str
    kind: NoticeKind
    channel: Channel
    delivered_at: datetime
    debt_id: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeFailed:
    """The customer could not be told."""

    account_id: str
    notice_id: str
    kind: NoticeKind
    channel: Channel
    failed_at: datetime
    debt_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelsChosen:
    """The ways in which the customer asked to be told; replaces what was chosen before."""

    account_id: str
    channels: frozenset[Channel]


@dataclass(frozen=True, slots=True)
class DisputeOpened:
    """The customer disputes a debt, or the account where no debt is named."""

    account_id: str
    dispute_id: str
    opened_at: datetime
    debt_id: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DisputeClosed:
    """A dispute has ended."""

    account_id: str
    dispute_id: str
    closed_at: datetime
    outcome: DisputeOutcome


@dataclass(frozen=True, slots=True)
class PlanAgreed:
    """The customer pays a debt, or the account where none is named, by instalments."""

    account_id: str
    plan_id: str
    agreed_at: datetime
    debt_id: str | None = None


@dataclass(frozen=True, slots=True)
class PlanEnded:
    """The instalments are over, kept or broken."""

    account_id: str
    plan_id: str
    ended_at: datetime
    debt_id: str | None = None


@dataclass(frozen=True, slots=True)
class ProtectionChanged:
    """All the marks that hold for this customer now; replaces those before."""

    account_id: str
    marks: frozenset[str]
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class PlacementAccepted:
    """The agency confirms that it has the debt."""

    account_id: str
    placement_id: str
    accepted_at: datetime
    agency_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecallAcknowledged:
    """The agency confirms that it has stopped."""

    account_id: str
    recall_id: str
    placement_id: str
    acknowledged_at: datetime
    agency_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecallRejected:
    """The agency objects to a recall."""

    account_id: str
    recall_id: str
    placement_id: str
    rejected_at: datetime
    reason: str
    agency_id: str | None = None


@dataclass(frozen=True, slots=True)
class ContactMade:
    """The agency contacted the customer."""

    account_id: str
    placement_id: str
    contacted_at: datetime
    channel: str
    agency_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecallOrdered:
    """A person at the creditor orders a placement to be withdrawn. Said by the guard alone, of whoever asked it."""

    account_id: str
    placement_id: str
    reason: str
    requested_by: str
    ordered_at: datetime


AgencyEvent = PlacementAccepted | RecallAcknowledged | RecallRejected | ContactMade
"""What agencies say; `agency_id` is who speaks, where that is known."""

Event = (
    PaymentPending
    | PaymentSettled
    | PaymentFailed
    | PaymentReturned
    | CreditPosted
    | DebtReferred
    | DebtWithdrawn
    | PlacementOpened
    | PlacementClosed
    | NoticeDelivered
    | NoticeFailed
    | ChannelsChosen
    | DisputeOpened
    | DisputeClosed
    | PlanAgreed
    | PlanEnded
    | ProtectionChanged
    | PlacementAccepted
    | RecallAcknowledged
    | RecallRejected
    | ContactMade
    | RecallOrdered
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an event was read: its place in the streams, and when the broker received it."""

    topic: str
    partition: int
    offset: int
    received_at: datetime


NO_PARTITION = -1
"""Of an agency's file: the number of the line takes the place of an offset."""


@dataclass(frozen=True, slots=True)
class RawRecord:
    """A record as the broker gave it, before anybody knows what it says."""

    origin: Origin
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its identity: `(source, id)` names it for ever; `time` is its producer's."""

    event: Event
    source: str
    id: str
    time: datetime
    origin: Origin

    @property
    def stamp(self) -> Stamp:
        """The event's place in the order in which later statements replace earlier ones."""
        return (self.time, self.source, self.id)
