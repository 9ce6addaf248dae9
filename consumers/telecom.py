"""A small telecom for the demo: what its billing and its collections say, and what must come of it.

Made up from a seed, so that what must come is known by construction and not by asking the guard.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

from infra.wire.kinds import NOTICES, PAYMENTS, REFERRALS

CURRENCY = "RUB"
DEBT_AGE = timedelta(days=30)
"""How long before the demo the debts are stated; everything else comes after."""

REPEATED_SHARE = 0.1
"""Of all that is said, said once more."""

AGENCIES = ("agency-north", "agency-south")

_STRUCTURED = (("content-type", b"application/cloudevents+json"),)


@dataclass(frozen=True, slots=True)
class Saying:
    """One event as a producer sends it."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = _STRUCTURED


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer with one debt; `number` makes its names."""

    number: int
    amount: int
    """Of the debt, in minor units."""
    agency: str = ""
    """With whom it is placed; '' for one of the two."""

    @property
    def account_id(self) -> str:
        return f"c-{self.number}"

    @property
    def debt_id(self) -> str:
        return f"debt-{self.number}"

    @property
    def placement_id(self) -> str:
        return f"placement-{self.number}"

    @property
    def agency_id(self) -> str:
        return self.agency or AGENCIES[self.number % len(AGENCIES)]

    def referred(self, at: datetime) -> Saying:
        """Collections ask to hand the debt over, as it stood 30 days ago."""
        stated = at - DEBT_AGE
        return self._said(
            REFERRALS,
            "collections.debt.referred.v1",
            self.debt_id,
            at,
            **self._terms(stated),
        )

    def placed(self, at: datetime) -> Saying:
        """Collections have handed it over."""
        return self._said(
            REFERRALS,
            "collections.placement.opened.v1",
            self.placement_id,
            at,
            placement_id=self.placement_id,
            debt_id=self.debt_id,
            agency_id=self.agency_id,
            amount=self.amount,
            currency=CURRENCY,
            placed_at=at.isoformat(),
        )

    def paid(self, at: datetime, *, amount: int | None = None, autopay: bool | None = None) -> Saying:
        """Billing has a payment: of the whole debt, unless an amount is given."""
        payment_id = f"payment-{self.number}"
        how: dict[str, object] = {"autopay": autopay} if autopay is not None else {}
        return self._said(
            PAYMENTS,
            "billing.payment.settled.v1",
            payment_id,
            at,
            payment_id=payment_id,
            amount=amount or self.amount,
            currency=CURRENCY,
            paid_at=at.isoformat(),
            **how,
        )

    def reminded(self, at: datetime) -> list[Saying]:
        """Customer care have reminded the customer twice, by SMS."""
        return [
            self.told("debt_reminder", "sms", at - timedelta(days=days), number=number)
            for number, days in enumerate((12, 5), start=1)
        ]

    def short_by_a_price_rise(self, at: datetime, *, rise: int) -> list[Saying]:
        """Autopay pays what it always paid; of the rise they asked to hear by SMS, and it stood in the cabinet."""
        stated = at - DEBT_AGE
        parts = [{"kind": "principal", "amount": self.amount - rise}, {"kind": "price_change", "amount": rise}]
        return [
            self._said(
                NOTICES, "customer.channels.chosen.v1", "channels", at - timedelta(days=400), channels=["sms"]
            ),
            self.told("price_change", "cabinet", at - timedelta(days=45), number=3),
            self.told("price_change", "sms", at - timedelta(days=45), number=4, delivered=False),
            self._said(
                REFERRALS,
                "collections.debt.referred.v1",
                self.debt_id,
                at,
                **self._terms(stated),
                components=parts,
            ),
            self.paid(at - timedelta(days=20), amount=self.amount - rise, autopay=True),
            *self.reminded(at),
        ]

    def told(self, kind: str, channel: str, at: datetime, *, number: int, delivered: bool = True) -> Saying:
        """A notice of a kind by a channel, which reached the customer or did not."""
        notice_id = f"notice-{self.number}-{number}"
        what, when = ("delivered", "delivered_at") if delivered else ("failed", "failed_at")
        said = {"notice_id": notice_id, "kind": kind, "channel": channel, when: at.isoformat()}
        return self._said(NOTICES, f"customer.notice.{what}.v1", notice_id, at, **said)

    def _terms(self, stated: datetime) -> dict[str, object]:
        return {
            "debt_id": self.debt_id,
            "referral_id": f"referral-{self.number}",
            "agency_id": self.agency_id,
            "amount": self.amount,
            "currency": CURRENCY,
            "as_of": stated.isoformat(),
            "due_on": stated.date().isoformat(),
        }

    def _said(self, topic: str, event_type: str, event_id: str, at: datetime, **data: object) -> Saying:
        event = {
            "specversion": "1.0",
            "id": event_id,
            "source": "demo-telecom",
            "type": event_type,
            "time": at.isoformat(),
            "subject": self.account_id,
            "data": {"account_id": self.account_id, **data},
        }
        return Saying(topic, self.account_id.encode(), json.dumps(event).encode())


@dataclass(slots=True)
class Expected:
    """What must come of all that was said: recalls by placement with their cause, and last balances told."""

    recalls: dict[str, str]
    balances: dict[str, int]
    events: int = 0


def history(numbers: range, *, now: datetime, chance: Random) -> tuple[list[Saying], Expected]:
    """The last days of these customers, in no order and partly repeated, and what must come of them."""
    said: list[Saying] = []
    expected = Expected({}, {})
    for number in numbers:
        said += _life(Customer(number, chance.randrange(200_00, 5000_00, 10_00)), now, chance, expected)
    expected.events = len(said)
    said += [one for one in said if chance.random() < REPEATED_SHARE]
    chance.shuffle(said)
    return said, expected


def _life(customer: Customer, now: datetime, chance: Random, expected: Expected) -> list[Saying]:
    """One of five: never in debt, still owing, paid before the placement, after it, or in part."""
    placed_at = now - timedelta(days=chance.randrange(2, 10))
    before, after = placed_at - timedelta(days=1), placed_at + timedelta(days=1)
    owing = [customer.referred(placed_at), customer.placed(placed_at)]
    match chance.randrange(5):
        case 0:
            return [customer.paid(after)]
        case 1:
            return owing
        case 2:
            expected.recalls[customer.placement_id] = "referred_in_error"
            return [*owing, customer.paid(before)]
        case 3:
            expected.recalls[customer.placement_id] = "paid_after_placement"
            return [*owing, customer.paid(after)]
        case _:
            expected.balances[customer.placement_id] = customer.amount - customer.amount // 2
            return [*owing, customer.paid(after, amount=customer.amount // 2)]
