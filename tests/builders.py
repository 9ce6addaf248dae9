"""Small valid events and accounts for tests: one account, one debt, one payment, one placement, one calendar.

Used by every test of the rules. Each builder takes what a test is about and fills in the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b

from domain.account import Account, from_events
from domain.events import (
    Channel,
    Component,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    DisputeOutcome,
    Event,
    NoticeDelivered,
    NoticeKind,
    Origin,
    Part,
    PaymentPending,
    PaymentReturned,
    PaymentSettled,
    PlacementClosed,
    PlacementOpened,
    PlanAgreed,
    PlanEnded,
    ProtectionChanged,
    RecallAcknowledged,
    Recorded,
)
from domain.policy import DebtRules, NoticeRules, Policy
from domain.recall import recall_id_of

ACCOUNT = "a-1"
MOMENT = timedelta(microseconds=1)

LENIENT = Policy(
    debt=DebtRules(tolerance_minor=0),
    notices=NoticeRules(debt_reminders=0, days_since_last_reminder=0),
)
"""A policy under which a referred debt is clear, so that a test shows one rule at a time."""


def day(number: int, hour: int = 9) -> datetime:
    """An hour of a day; day 0 is 2 November 2026, the day as of which debts are stated."""
    return datetime(2026, 11, 2, tzinfo=UTC) + timedelta(days=number, hours=hour)


def recorded(event: Event, at: datetime | None = None, *, source: str = "test", event_id: str = "") -> Recorded:
    """An event as read: said when it happened where nothing else is given, its id made of what it says."""
    time = at or _own_date(event)
    name = blake2b(f"{time} {event}".encode(), digest_size=8).hexdigest()
    return Recorded(event, source, event_id or name, time, Origin("test", 0, 0, time))


def _own_date(event: Event) -> datetime:
    dates = (getattr(event, field.name) for field in fields(event))
    return next((at for at in dates if isinstance(at, datetime)), day(0))


def account(*events: Event | Recorded) -> Account:
    """The account that these events make."""
    return from_events(ACCOUNT, all_recorded(events))


def all_recorded(events: Iterable[Event | Recorded]) -> list[Recorded]:
    """These events, each as read."""
    return [one if isinstance(one, Recorded) else recorded(one) for one in events]


def referred(debt_id: str = "d-1", amount: int = 100_00, **parts: int) -> DebtReferred:
    """A debt stated as of day 0; `principal=60_00, fee=40_00` are its components."""
    return DebtReferred(
        account_id=ACCOUNT,
        debt_id=debt_id,
        referral_id="r-1",
        amount=sum(parts.values()) if parts else amount,
        currency="RUB",
        as_of=day(0),
        due_on=date(2026, 10, 3),
        components=tuple(Part(Component(kind), part) for kind, part in parts.items()),
    )


def restated(amount: int, at: datetime, debt_id: str = "d-1") -> DebtReferred:
    """The same debt stated anew, as of an instant."""
    return replace(referred(debt_id, amount), referral_id="r-2", as_of=at)


def withdrawn(at: datetime, debt_id: str = "d-1") -> Recorded:
    """Collections takes a debt back at an instant."""
    return recorded(DebtWithdrawn(ACCOUNT, debt_id), at)


def paid(
    amount: int = 100_00,
    at: datetime | None = None,
    *,
    payment_id: str = "p-1",
    debt_id: str | None = None,
    contract_id: str | None = None,
    currency: str = "RUB",
) -> PaymentSettled:
    """A settled payment of day 1."""
    return PaymentSettled(
        ACCOUNT, payment_id, amount, currency, at or day(1), debt_id=debt_id, contract_id=contract_id
    )


def pending(amount: int = 100_00, *, payment_id: str = "p-1", debt_id: str | None = None) -> PaymentPending:
    """A payment on its way since day 2."""
    return PaymentPending(ACCOUNT, payment_id, amount, "RUB", day(2), debt_id=debt_id)


def returned(payment_id: str = "p-1", at: datetime | None = None) -> PaymentReturned:
    """A payment bounced, on day 5."""
    return PaymentReturned(ACCOUNT, payment_id, at or day(5))


def credited(amount: int = 100_00, at: datetime | None = None, *, reason: str = "write_off") -> CreditPosted:
    """A credit of day 1."""
    return CreditPosted(ACCOUNT, "c-1", amount, "RUB", at or day(1), reason)


def opened(
    placement_id: str = "l-1", debt_id: str = "d-1", amount: int = 100_00, *, on_day: int = 3
) -> PlacementOpened:
    """A placement of a debt with an agency, on day 3."""
    return PlacementOpened(ACCOUNT, placement_id, debt_id, "agency-1", amount, "RUB", day(on_day))


def closed(placement_id: str = "l-1") -> PlacementClosed:
    """A placement that ended on day 8."""
    return PlacementClosed(ACCOUNT, placement_id, day(8))


def acknowledged(placement_id: str = "l-1") -> RecallAcknowledged:
    """The agency stopped, on day 7, because of the one recall of this placement."""
    return RecallAcknowledged(ACCOUNT, recall_id_of(ACCOUNT, placement_id), placement_id, day(7))


def notified(
    kind: NoticeKind,
    on_day: int,
    *,
    channel: Channel = Channel.SMS,
    notice_id: str = "",
    debt_id: str | None = None,
) -> NoticeDelivered:
    """A notice delivered on a day."""
    return NoticeDelivered(ACCOUNT, notice_id or f"n-{kind}-{on_day}", kind, channel, day(on_day), debt_id)


def disputed(debt_id: str | None = "d-1", on_day: int = 4) -> DisputeOpened:
    """A dispute of a debt, or of the account."""
    return DisputeOpened(ACCOUNT, "q-1", day(on_day), debt_id)


def dispute_ended(outcome: DisputeOutcome, on_day: int = 6) -> DisputeClosed:
    """The outcome of that dispute."""
    return DisputeClosed(ACCOUNT, "q-1", day(on_day), outcome)


def plan_agreed(debt_id: str | None = "d-1", on_day: int = 4) -> PlanAgreed:
    """Instalments for a debt, or for the account."""
    return PlanAgreed(ACCOUNT, "i-1", day(on_day), debt_id)


def plan_ended(on_day: int = 6) -> PlanEnded:
    """The end of those instalments."""
    return PlanEnded(ACCOUNT, "i-1", day(on_day))


def marked(*marks: str, on_day: int = 4) -> ProtectionChanged:
    """All the marks that hold for the customer from a day on."""
    return ProtectionChanged(ACCOUNT, frozenset(marks), day(on_day))
