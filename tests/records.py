"""Records as producers send them, for tests that start from bytes; each takes what a test is about.

Used beside `tests.builders`, which makes the same events without their bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from domain.events import Origin, RawRecord
from infra.wire.kinds import BY_TYPE
from tests.builders import ACCOUNT, day

Json = dict[str, object]


def record(
    kind: str,
    /,
    *,
    at: datetime,
    account_id: str = ACCOUNT,
    event_id: str = "",
    key: str | None = None,
    topic: str = "",
    offset: int = 0,
    late: timedelta = timedelta(0),
    **data: object,
) -> RawRecord:
    """An event of a contract type, said at an instant and received so much later."""
    event = {
        "specversion": "1.0",
        "id": event_id or f"{kind}-{account_id}-{at.isoformat()}",
        "source": "test",
        "type": kind,
        "time": at.isoformat(),
        "subject": account_id,
        "data": {"account_id": account_id, **data},
    }
    origin = Origin(topic or BY_TYPE[kind].topic, 0, offset, at + late)
    return RawRecord(origin, (key or account_id).encode(), json.dumps(event).encode())


def told(
    kind: str, data: Mapping[str, object], *, at: datetime, account_id: str = ACCOUNT, event_id: str = ""
) -> RawRecord:
    """The same, where what is said is at hand as a whole."""
    return record(kind, at=at, account_id=account_id, event_id=event_id, **data)  # type: ignore[arg-type] # All is data.


def referral(*, account_id: str = ACCOUNT, debt_id: str = "d-1", amount: int = 100_00) -> RawRecord:
    """A debt stated as of day 0."""
    return record(
        "collections.debt.referred.v1",
        at=day(0),
        account_id=account_id,
        debt_id=debt_id,
        referral_id="r-1",
        agency_id="agency-1",
        amount=amount,
        currency="RUB",
        as_of=day(0).isoformat(),
        due_on="2026-10-03",
    )


def placement(
    placement_id: str = "l-1",
    *,
    account_id: str = ACCOUNT,
    debt_id: str = "d-1",
    amount: int = 100_00,
    agency_id: str = "agency-1",
) -> RawRecord:
    """That debt placed on day 3, without asking."""
    return record(
        "collections.placement.opened.v1",
        at=day(3),
        account_id=account_id,
        event_id=placement_id,
        placement_id=placement_id,
        debt_id=debt_id,
        agency_id=agency_id,
        amount=amount,
        currency="RUB",
        placed_at=day(3).isoformat(),
    )


def payment(
    payment_id: str = "p-1",
    *,
    account_id: str = ACCOUNT,
    amount: int = 100_00,
    paid_at: datetime | None = None,
    at: datetime | None = None,
    late: timedelta = timedelta(0),
    key: str | None = None,
) -> RawRecord:
    """A settled payment of day 4, said when it was paid."""
    paid = paid_at or day(4)
    return record(
        "billing.payment.settled.v1",
        at=at or paid,
        account_id=account_id,
        event_id=payment_id,
        key=key,
        late=late,
        payment_id=payment_id,
        amount=amount,
        currency="RUB",
        paid_at=paid.isoformat(),
    )


def received(raw: RawRecord, at: datetime) -> RawRecord:
    """The record as the broker would have had it at this time."""
    return replace(raw, origin=replace(raw.origin, received_at=at))
