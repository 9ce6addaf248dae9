"""The events that the benchmark sends: who they are about, in which shares, and their bytes.

Called by `bench.feed`, which sends them, and by `bench.parts`, which lays a state under them. Pure and seeded:
the same slice of the stream is the same bytes on every machine. Of a million accounts a fifth has four fifths
of the events, as in a telecom's billing, where some pay each week and most once a month; one account in fifty
has a debt with an agency.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from random import Random

from infra.wire.kinds import AGENCIES, PAYMENTS, REFERRALS

ACCOUNTS = 1_000_000

ACCOUNTS_PER_DEBT = 50
"""One account in so many has a debt: those whose number it divides."""

BUSY_ACCOUNTS = ACCOUNTS // 5
BUSY_SHARE = 0.8
"""The first fifth of the accounts has this share of the events."""

PAID_WITHOUT_DEBT = 0.96
PAID_WITH_DEBT = 0.02
REFERRED = 0.015
"""Shares of the stream; the rest is the agencies'."""

REPEATED = 0.01
"""Share of events that are sent again, with the same bytes, soon after the first time."""

REPEATED_WITHIN_EVENTS = 5_000
"""A producer that tries again does so within seconds."""

DEBT_MINOR = 2_000_00
"""Four usual payments settle it."""

AS_OF = "2026-11-01T00:00:00+03:00"

Json = dict[str, object]


@dataclass(frozen=True, slots=True)
class Event:
    """One record to send."""

    topic: str
    key: bytes
    value: bytes


def account_name(number: int) -> str:
    """The account of this number."""
    return f"a-{number:09d}"


def stream(part: int, count: int) -> Iterator[Event]:
    """So many events of one part of the stream; parts have no event in common."""
    random = Random(f"handoff-guard/{part}")
    lately: deque[Event] = deque(maxlen=REPEATED_WITHIN_EVENTS)
    for number in range(count):
        if lately and random.random() < REPEATED:
            yield lately[random.randrange(len(lately))]
            continue
        event = _event(random, part, number)
        lately.append(event)
        yield event


def placed_debts(numbers: Iterable[int]) -> Iterator[Event]:
    """A debt on each of these accounts, and its open placement: what was there before the stream."""
    for number in numbers:
        account_id = account_name(number)
        yield _referral(account_id, f"d-{number:09d}", _identity(0xFFFE, number), AS_OF)
        yield _placement(account_id, f"d-{number:09d}", _identity(0xFFFF, number), AS_OF)


def owed_debts(numbers: Iterable[int]) -> Iterator[Event]:
    """A debt on each of these accounts, and a part payment of it: what a question finds."""
    for number in numbers:
        account_id = account_name(number)
        yield _referral(account_id, f"d-{number:09d}", _identity(0xFFFC, number), AS_OF)
        yield _payment(account_id, _identity(0xFFFB, number), _time(0, number), DEBT_MINOR // 4)


def settling_payment(account_number: int, at: str) -> Event:
    """The payment, made at an instant, that settles the debt which `placed_debts` put on this account."""
    identity = _identity(0xFFFD, account_number)
    return _payment(account_name(account_number), identity, at, DEBT_MINOR)


def placement_name(account_number: int) -> str:
    """The placement that `placed_debts` opened for this account."""
    return f"l-{_identity(0xFFFF, account_number)}"


def _event(random: Random, part: int, number: int) -> Event:
    share = random.random()
    account = _account(random)
    with_debt = account - account % ACCOUNTS_PER_DEBT
    identity, at = _identity(part, number), _time(part, number)
    if share < PAID_WITHOUT_DEBT:
        without_debt = account + 1 if account == with_debt else account
        return _payment(account_name(without_debt), identity, at, random.randrange(50_00, 1_500_00))
    if share < PAID_WITHOUT_DEBT + PAID_WITH_DEBT:
        return _payment(account_name(with_debt), identity, at, random.randrange(50_00, 1_500_00))
    if share < PAID_WITHOUT_DEBT + PAID_WITH_DEBT + REFERRED:
        return _referral(account_name(with_debt), f"d-{identity}", identity, at)
    return _agency_event(account_name(with_debt), placement_name(with_debt), identity, at, random)


def _account(random: Random) -> int:
    if random.random() < BUSY_SHARE:
        return random.randrange(BUSY_ACCOUNTS)
    return random.randrange(BUSY_ACCOUNTS, ACCOUNTS)


def _identity(part: int, number: int) -> str:
    """Ordered by time, as ids of events are now made (RFC 9562, version 7)."""
    return f"01934d2a-{part:04x}-7000-8000-{number:012x}"


def _time(part: int, number: int) -> str:
    seconds, milliseconds = divmod(number, 1_000)
    return f"2026-11-10T{part % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{milliseconds:03d}+03:00"


def _payment(account_id: str, identity: str, at: str, amount: int) -> Event:
    data: Json = {
        "payment_id": f"p-{identity}",
        "amount": amount,
        "currency": "RUB",
        "paid_at": at,
        "method": "card",
    }
    return _enveloped(PAYMENTS, "billing.payment.settled.v1", account_id, identity, at, data)


def _referral(account_id: str, debt_id: str, identity: str, at: str) -> Event:
    data: Json = {
        "debt_id": debt_id,
        "referral_id": f"r-{identity}",
        "amount": DEBT_MINOR,
        "currency": "RUB",
        "as_of": at,
        "due_on": "2026-10-01",
    }
    return _enveloped(REFERRALS, "collections.debt.referred.v1", account_id, identity, at, data)


def _placement(account_id: str, debt_id: str, identity: str, at: str) -> Event:
    data: Json = {
        "placement_id": f"l-{identity}",
        "debt_id": debt_id,
        "agency_id": "agency-1",
        "amount": DEBT_MINOR,
        "currency": "RUB",
        "placed_at": at,
    }
    return _enveloped(REFERRALS, "collections.placement.opened.v1", account_id, identity, at, data)


def _agency_event(account_id: str, placement_id: str, identity: str, at: str, random: Random) -> Event:
    if random.random() < 0.5:
        accepted: Json = {"placement_id": placement_id, "accepted_at": at}
        return _enveloped(AGENCIES, "agency.placement.accepted.v1", account_id, identity, at, accepted)
    contact: Json = {"placement_id": placement_id, "contacted_at": at, "channel": "phone"}
    return _enveloped(AGENCIES, "agency.contact.made.v1", account_id, identity, at, contact)


def _enveloped(topic: str, kind: str, account_id: str, identity: str, at: str, data: Json) -> Event:
    envelope = {
        "specversion": "1.0",
        "id": identity,
        "source": f"/telecom/{topic.partition('.')[0]}/eu-central-1",
        "type": kind,
        "time": at,
        "subject": account_id,
        "data": {"account_id": account_id, **data},
    }
    return Event(topic, account_id.encode(), json.dumps(envelope, separators=(",", ":")).encode())
