"""Marked personal data: texts and ids that stand nowhere else, and events of every type that are full of them.

Used by the test that looks for customers' data where none may be. Every field of every payload is filled here, by
its name: a field that is new to the contract has no filling, and the test fails until it has one.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from domain.events import Origin, RawRecord
from infra.wire.kinds import AGENCIES, BY_TYPE, KINDS, Kind

BEGIN = "zq"
"""Of a mark: nothing of ours has it, and no escape changes it; behind it come six bytes in hexadecimal."""

AMOUNT_FROM_MINOR = 10**11
"""Up to ten times this: of twelve digits, so that nothing has them by chance."""

SAID_AT = datetime.now(UTC) - timedelta(hours=1)
"""When the debts of the tests are stated; what follows comes a minute later each."""

Json = dict[str, Any]  # `Any`: what producers send is as varied as they are.
Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Marks:
    """What was fed, by its mark: what it stands for. `shown` are marks of ids that logs may and must have."""

    fed: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)

    def text(self, what: str) -> str:
        """Free text as people write it, with a name and a telephone number."""
        return f"Anna Petrova, +7 926 000-00-00: {self._new(what)} ({what})"

    def id(self, what: str) -> str:
        """An id that somebody made of a customer's data."""
        return f"petrova-{self._new(what)}"

    def amount(self, what: str) -> int:
        """A sum that nothing else has."""
        amount = AMOUNT_FROM_MINOR + secrets.randbelow(9 * AMOUNT_FROM_MINOR)
        self.fed[str(amount)] = what
        return amount

    def shown_id(self, what: str) -> str:
        """An id of a case or of an agency, which is shown."""
        mark = _new_mark()
        self.shown[mark] = what
        return f"{what}-{mark}"

    def found_in(self, text: str) -> set[str]:
        """What of all that was fed stands in a text, also as bytes in hexadecimal."""
        return {self.fed[mark] for mark in _marks_in(text) if mark in self.fed}

    def shown_in(self, text: str) -> set[str]:
        """Which of the ids that are shown stand in a text, looked for in the same way."""
        return {self.shown[mark] for mark in _marks_in(text) if mark in self.shown}

    def _new(self, what: str) -> str:
        mark = _new_mark()
        self.fed[mark] = what
        return mark


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer with a debt that an agency has; all but the placement and the agency is marked."""

    account_id: str
    debt_id: str
    payment_id: str
    amount: int
    placement_id: str
    agency_id: str
    source: str

    @classmethod
    def new(cls, marks: Marks, *, agency_id: str, source: str) -> Customer:
        """Another one."""
        return cls(
            account_id=marks.id("account_id"),
            debt_id=marks.id("debt_id"),
            payment_id=marks.id("payment_id"),
            amount=marks.amount("amount of the debt"),
            placement_id=marks.shown_id("placement_id"),
            agency_id=agency_id,
            source=source,
        )


_MARK = re.compile(rf"{BEGIN}[0-9a-f]{{12}}|(?<![0-9])[0-9]{{12}}(?![0-9])")
_IN_HEX = re.compile(rf"{BEGIN.encode().hex()}(?:3[0-9]|6[1-6]){{12}}")


def _new_mark() -> str:
    return BEGIN + secrets.token_hex(6)


def _marks_in(text: str) -> set[str]:
    """Whatever looks like a mark, also where its bytes are written in hexadecimal."""
    small = text.lower()
    return {*_MARK.findall(small), *(bytes.fromhex(one).decode() for one in _IN_HEX.findall(small))}


Filling = Callable[[Marks, Customer, str], object]


def _id(marks: Marks, _customer: Customer, what: str) -> object:
    return marks.id(what)


def _text(marks: Marks, _customer: Customer, what: str) -> object:
    return marks.text(what)


def _instant(_marks: Marks, _customer: Customer, what: str) -> object:
    minutes = {"as_of": 0, "placed_at": 1, "paid_at": 2}.get(what.rpartition(" ")[2], 3)
    return (SAID_AT + timedelta(minutes=minutes)).isoformat()


def _always(value: object) -> Filling:
    return lambda *_: value


FILLINGS: dict[str, Filling] = {
    "account_id": lambda _marks, customer, _what: customer.account_id,
    "agency_id": lambda _marks, customer, _what: customer.agency_id,
    "amount": lambda marks, _customer, what: marks.amount(what),
    "autopay": _always(value=True),
    "channels": _always(["sms"]),
    "components": _always([]),
    "contacted_at": lambda *_: datetime.now(UTC).isoformat(),  # After the recall.
    "currency": _always("RUB"),
    "due_on": _always("2026-01-31"),
    "marks": lambda marks, _customer, what: [marks.id(what)],
    "method": _text,
    "placement_id": lambda _marks, customer, _what: customer.placement_id,
    "reflected_payment_ids": lambda marks, _customer, what: [marks.id(what)],
    **dict.fromkeys(
        ("clearance_id", "contract_id", "credit_id", "debt_id", "dispute_id", "notice_id", "payment_id", "plan_id",
         "recall_id", "referral_id"),
        _id,
    ),
    **dict.fromkeys(
        ("acknowledged_at", "accepted_at", "agreed_at", "as_of", "changed_at", "closed_at",
         "delivered_at", "ended_at", "failed_at", "initiated_at", "opened_at", "paid_at", "placed_at", "posted_at",
         "rejected_at", "returned_at", "settled_at"),
        _instant,
    ),
}  # fmt: skip
"""By the name of a field, what it is filled with; what has a format has a value of it, and a mark if it can."""

OF_ONE_TYPE: dict[tuple[str, str], Filling] = {
    ("billing.credit.posted.v1", "reason"): _always("correction"),
    ("billing.payment.failed.v1", "reason"): _text,
    ("billing.payment.returned.v1", "reason"): _text,
    ("collections.debt.withdrawn.v1", "reason"): _text,
    ("collections.placement.closed.v1", "reason"): _text,
    ("collections.placement.closed.v1", "placement_id"): _id,  # Of another one, or this one's recall would be over.
    ("customer.dispute.opened.v1", "reason"): _text,
    ("customer.dispute.closed.v1", "outcome"): _always("rejected"),
    ("customer.notice.delivered.v1", "kind"): _always("debt_reminder"),
    ("customer.notice.delivered.v1", "channel"): _always("sms"),
    ("customer.notice.failed.v1", "kind"): _always("debt_reminder"),
    ("customer.notice.failed.v1", "channel"): _always("sms"),
    ("agency.recall.rejected.v1", "reason"): _text,
    ("agency.contact.made.v1", "channel"): _text,
}


def data_of(kind: Kind, marks: Marks, customer: Customer, **said: object) -> Json:
    """Every field of a payload, and some that nobody knows; `said` is what must be so."""
    names = kind.payload.model_fields
    filled = {
        name: (OF_ONE_TYPE.get((kind.type, name)) or FILLINGS[name])(marks, customer, f"{kind.type} {name}")
        for name in names
        if name not in said
    }
    unknown = {
        "customer_name": marks.text(f"{kind.type}, a field that nobody knows"),
        "debtor": {"phones": [marks.text(f"{kind.type}, a field within one that nobody knows")]},
    }
    return {**unknown, **filled, **said}


def envelope(kind: Kind, marks: Marks, customer: Customer, data: Json, **said: object) -> Json:
    """A CloudEvent of this, with an extension that nobody knows."""
    return {
        "specversion": "1.0",
        "id": marks.id(f"{kind.type}, the event's id"),
        "source": customer.source,
        "type": kind.type,
        "time": SAID_AT.isoformat(),
        "subject": customer.account_id,
        "operator": marks.text(f"{kind.type}, an extension"),
        "traceparent": marks.text(f"{kind.type}, traceparent"),
        "data": data,
        **said,
    }


def sent(
    customer: Customer,
    topic: str,
    value: Json | bytes | None,
    *,
    key: bytes | None = b"",
    headers: Headers = (),
) -> RawRecord:
    """A record as a producer sends it; under the customer's account where no other key is given."""
    written = json.dumps(value, ensure_ascii=False).encode() if isinstance(value, dict) else value
    return RawRecord(
        Origin(topic, 0, 0, SAID_AT), customer.account_id.encode() if key == b"" else key, written, headers
    )


def told(kind_of: str, marks: Marks, customer: Customer, **said: object) -> RawRecord:
    """A right event of a type, with headers that nobody asked for."""
    kind = BY_TYPE[kind_of]
    headers = (("customer", marks.text("a header").encode()), ("tracestate", marks.text("tracestate").encode()))
    value = envelope(kind, marks, customer, data_of(kind, marks, customer, **said))
    return sent(customer, kind.topic, value, headers=headers)


def lodged(marks: Marks, customer: Customer) -> list[RawRecord]:
    """The debt is stated, and placed without asking."""
    said = {"debt_id": customer.debt_id, "amount": customer.amount}
    components = [{"kind": "principal", "amount": customer.amount}]
    return [
        told("collections.debt.referred.v1", marks, customer, **said, components=components),
        told("collections.placement.opened.v1", marks, customer, **said),
    ]


def paid(marks: Marks, customer: Customer) -> RawRecord:
    """And paid, so that it is recalled."""
    said = {"debt_id": customer.debt_id, "amount": customer.amount, "payment_id": customer.payment_id}
    return told("billing.payment.settled.v1", marks, customer, **said)


def whatever_else(marks: Marks, customer: Customer, recall_id: str) -> Iterator[RawRecord]:
    """Everything that can be said of a customer, and what the agency says of the recall and of another one."""
    for kind in KINDS:
        if kind.type == "collections.placement.opened.v1":
            continue
        yield told(kind.type, marks, customer)
        if "recall_id" in kind.payload.model_fields:
            yield told(kind.type, marks, customer, recall_id=recall_id)
        if kind.topic == AGENCIES:
            yield told(kind.type, marks, customer, agency_id=marks.id("who calls itself an agency"))
    yield _in_binary_mode(marks, customer)


def _in_binary_mode(marks: Marks, customer: Customer) -> RawRecord:
    kind = BY_TYPE["customer.dispute.opened.v1"]
    data = data_of(kind, marks, customer)
    whole = {name: value for name, value in envelope(kind, marks, customer, data).items() if name != "data"}
    return sent(
        customer, kind.topic, data, headers=tuple((f"ce_{name}", str(v).encode()) for name, v in whole.items())
    )
