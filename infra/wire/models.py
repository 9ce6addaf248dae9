"""The payload of every event type that comes in, as the contract states it: names, types and bounds.

Used by `infra.wire.decode` to validate, and to publish the contract. Unknown fields are ignored; every known
one is strict, so that `true` is no number and `"850"` is no amount.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from domain import events as e

AMOUNT_MAX_MINOR = 10**15
"""Above this an amount is a mistake; below it, sums of a million stay far inside 64 bits."""

PARTS_MAX = 100
REFLECTED_MAX = 10_000
TEXT_MAX_CHARACTERS = 2_000
"""Limits on lists and free text, far above what one debt of one customer needs."""

INSTANT_YEARS = range(1900, 9000)
"""An instant outside them is a mistake (year 1 is how some write "none"), and could not be put into every
time zone, or a deadline be added to it."""

OFFSET_LIMIT = timedelta(hours=16)
"""PostgreSQL takes no offset of so much; RFC 3339 does, and nobody lives there: such an instant is told in UTC."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def instant(value: object) -> datetime:
    """An RFC 3339 instant with its offset; raises ValueError for anything else. Stored instants pass."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        raise ValueError("must be an RFC 3339 time with an offset, like 2026-11-14T10:02:00+03:00")
    at = datetime.fromisoformat(value.upper())
    if at.year not in INSTANT_YEARS:
        raise ValueError(f"must be in the years {INSTANT_YEARS[0]} to {INSTANT_YEARS[-1]}")
    offset = at.utcoffset()
    return at if offset is None or abs(offset) < OFFSET_LIMIT else at.astimezone(UTC)


def _day(value: object) -> date:
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("must be a date like 2026-11-14")
    return date.fromisoformat(value)


def _set_of(value: object) -> object:
    return frozenset(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


PRINTABLE = (
    r"^[^\u0000-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff]+$"
)
"""The pattern of an id as it is published: engines disagree on `\\s`, and some take `\\p{C}` for letters.

Looser than ours by the hidden characters beyond U+FFFF, lone surrogates, and what Unicode has not assigned yet.
"""

_PUBLISHED_INSTANT = (
    r"^(19|[2-8][0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-5][0-9](\.[0-9]{1,9})?"
    r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
)
"""What the format `date-time` does not say: the years, no leap second, and how fine a second may be divided."""

ID_WORDS = "1 to 128 printable characters, no white space."
SOURCE_WORDS = "1 to 256 printable characters, no white space. With `id` it names an event for ever."
AMOUNT_WORDS = "In minor units (kopecks, cents) of the currency beside it. Written without a point or an exponent."
CURRENCY_WORDS = "ISO 4217, three capital letters."
INSTANT_WORDS = "RFC 3339 with an offset, in the years 1900 to 8999."
DAY_WORDS = "A date in the creditor's time zone."
TEXT_WORDS = "Free text, without NUL."
REPEATS = {"uniqueItems": False}
"""Of a set: one that stands twice in the array counts once."""

Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s\p{C}]+$"),
    Field(description=ID_WORDS, json_schema_extra={"pattern": PRINTABLE}),
]
Source = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256, pattern=r"^[^\s\p{C}]+$"),
    Field(description=SOURCE_WORDS, json_schema_extra={"pattern": PRINTABLE}),
]
Amount = Annotated[int, Field(strict=True, gt=0, le=AMOUNT_MAX_MINOR, description=AMOUNT_WORDS)]
OwedAmount = Annotated[int, Field(strict=True, ge=0, le=AMOUNT_MAX_MINOR, description=f"{AMOUNT_WORDS} May be 0.")]
"""What is owed may be stated as nothing: collections refers a debt anew at 0 once it is paid."""
Currency = Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$"), Field(description=CURRENCY_WORDS)]
Instant = Annotated[
    datetime,
    BeforeValidator(instant),
    Field(description=INSTANT_WORDS, json_schema_extra={"pattern": _PUBLISHED_INSTANT}),
]
Day = Annotated[date, BeforeValidator(_day), Field(description=DAY_WORDS)]
Text = Annotated[
    str,
    StringConstraints(max_length=TEXT_MAX_CHARACTERS, pattern=r"^[^\x00]*$"),
    Field(description=TEXT_WORDS),
]
"""Free text, without the one character that PostgreSQL can't store."""
Speaker = Annotated[
    Id | None,
    Field(description="The agency that speaks. Where the event's source is an agency's, no other may stand here."),
]
Channel = Annotated[e.Channel, Field(strict=False)]
NoticeKind = Annotated[e.NoticeKind, Field(strict=False)]


class Payload(BaseModel):
    """What every payload has."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, hide_input_in_errors=True)

    account_id: Id


class PaymentPending(Payload):
    """`billing.payment.pending.v1`."""

    payment_id: Id
    amount: Amount
    currency: Currency
    initiated_at: Instant
    debt_id: Id | None = None
    contract_id: Id | None = None
    method: Text | None = None
    autopay: bool | None = None


class PaymentSettled(Payload):
    """`billing.payment.settled.v1`."""

    payment_id: Id
    amount: Amount
    currency: Currency
    paid_at: Instant
    settled_at: Instant | None = None
    debt_id: Id | None = None
    contract_id: Id | None = None
    method: Text | None = None
    autopay: bool | None = None


class PaymentFailed(Payload):
    """`billing.payment.failed.v1`."""

    payment_id: Id
    reason: Text | None = None


class PaymentReturned(Payload):
    """`billing.payment.returned.v1`."""

    payment_id: Id
    returned_at: Instant
    reason: Text | None = None


class CreditPosted(Payload):
    """`billing.credit.posted.v1`."""

    credit_id: Id
    amount: Amount
    currency: Currency
    posted_at: Instant
    reason: Literal["credit_note", "write_off", "goodwill", "correction"]
    debt_id: Id | None = None
    contract_id: Id | None = None


class Part(BaseModel):
    """One component of a debt."""

    model_config = Payload.model_config

    kind: Annotated[e.Component, Field(strict=False)]
    amount: OwedAmount


class DebtReferred(Payload):
    """`collections.debt.referred.v1`."""

    debt_id: Id
    referral_id: Id
    agency_id: Id | None = None
    amount: OwedAmount
    currency: Currency
    as_of: Instant
    due_on: Day
    contract_id: Id | None = None
    components: Annotated[
        list[Part], Field(max_length=PARTS_MAX, description="Where there are any, they add up to `amount`.")
    ] = []
    reflected_payment_ids: Annotated[
        frozenset[Id],
        Field(
            max_length=REFLECTED_MAX,
            description="The payments and credits that `amount` has already taken into account.",
            json_schema_extra=REPEATS,
        ),
        BeforeValidator(_set_of),
    ] = frozenset()

    @model_validator(mode="after")
    def _adds_up(self) -> DebtReferred:
        if self.components and sum(part.amount for part in self.components) != self.amount:
            raise ValueError("components must add up to amount")
        return self


class DebtWithdrawn(Payload):
    """`collections.debt.withdrawn.v1`."""

    debt_id: Id
    reason: Text | None = None


class PlacementOpened(Payload):
    """`collections.placement.opened.v1`."""

    placement_id: Id
    debt_id: Id
    agency_id: Id
    amount: Amount
    currency: Currency
    placed_at: Instant
    clearance_id: Id | None = None


class PlacementClosed(Payload):
    """`collections.placement.closed.v1`."""

    placement_id: Id
    closed_at: Instant
    reason: Text | None = None


class NoticeDelivered(Payload):
    """`customer.notice.delivered.v1`."""

    notice_id: Id
    kind: NoticeKind
    channel: Channel
    delivered_at: Instant
    debt_id: Id | None = None


class NoticeFailed(Payload):
    """`customer.notice.failed.v1`."""

    notice_id: Id
    kind: NoticeKind
    channel: Channel
    failed_at: Instant
    debt_id: Id | None = None


class ChannelsChosen(Payload):
    """`customer.channels.chosen.v1`."""

    channels: Annotated[frozenset[Channel], Field(json_schema_extra=REPEATS), BeforeValidator(_set_of)]


class DisputeOpened(Payload):
    """`customer.dispute.opened.v1`."""

    dispute_id: Id
    opened_at: Instant
    debt_id: Id | None = None
    reason: Text | None = None


class DisputeClosed(Payload):
    """`customer.dispute.closed.v1`."""

    dispute_id: Id
    closed_at: Instant
    outcome: Annotated[e.DisputeOutcome, Field(strict=False)]


class PlanAgreed(Payload):
    """`customer.plan.agreed.v1`."""

    plan_id: Id
    agreed_at: Instant
    debt_id: Id | None = None


class PlanEnded(Payload):
    """`customer.plan.ended.v1`."""

    plan_id: Id
    ended_at: Instant
    debt_id: Id | None = None


class ProtectionChanged(Payload):
    """`customer.protection.changed.v1`."""

    marks: Annotated[
        frozenset[Id],
        Field(
            max_length=PARTS_MAX,
            description="`bankrupt`, `deceased`, `minor`, `incapable`, `in_hospital`, or what the policy protects.",
            json_schema_extra=REPEATS,
        ),
        BeforeValidator(_set_of),
    ]
    changed_at: Instant


class PlacementAccepted(Payload):
    """`agency.placement.accepted.v1`."""

    placement_id: Id
    accepted_at: Instant
    agency_id: Speaker = None


class RecallAcknowledged(Payload):
    """`agency.recall.acknowledged.v1`."""

    recall_id: Id
    placement_id: Id
    acknowledged_at: Instant
    agency_id: Speaker = None


class RecallRejected(Payload):
    """`agency.recall.rejected.v1`."""

    recall_id: Id
    placement_id: Id
    rejected_at: Instant
    reason: Text
    agency_id: Speaker = None


class ContactMade(Payload):
    """`agency.contact.made.v1`."""

    placement_id: Id
    contacted_at: Instant
    channel: Text
    agency_id: Speaker = None


class RecallOrdered(Payload):
    """`guard.recall.ordered.v1`, which the guard alone makes."""

    placement_id: Id
    reason: Text
    requested_by: Text
    ordered_at: Instant


def values(payload: Payload) -> dict[str, Any]:  # `Any` because the values are as varied as the payloads.
    """A payload's fields by name, ready to make the domain event of the same name."""
    return payload.__dict__
