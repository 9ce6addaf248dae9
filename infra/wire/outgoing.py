"""The payload of every event type that goes out, as the contract states it; the encoder beside it writes them.

Used to publish the contract, and by the tests that hold `infra.wire.encode` to it; the product makes none.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from domain.policy import RecallReason
from domain.recall import Cause
from infra.wire.models import Currency, Id, Instant, OwedAmount, Source


class Trigger(BaseModel):
    """The event that made the placement wrong, and where it was read; `paid_at` is null where it moved no money."""

    source: Source
    id: Id
    topic: str
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    paid_at: Instant | None


class RecallRequested(BaseModel):
    """The agency must stop, and acknowledge by `acknowledge_by`. Final; `recall_id` is the idempotency key."""

    placement_id: Id
    agency_id: Id
    debt_id: Id
    account_id: Id
    recall_id: Id
    reason: RecallReason
    cause: Cause
    outstanding: OwedAmount
    currency: Currency
    requested_at: Instant
    acknowledge_by: Instant
    trigger: Trigger


class BalanceReduced(BaseModel):
    """Less is owed than the agency was told."""

    placement_id: Id
    agency_id: Id
    debt_id: Id
    account_id: Id
    outstanding: OwedAmount
    currency: Currency
    as_of: Instant


class PlacementSuspended(BaseModel):
    """The agency must pause: a dispute is open."""

    placement_id: Id
    agency_id: Id
    reason: Literal["DISPUTE_OPEN"]
    at: Instant


class PlacementResumed(BaseModel):
    """The agency may go on: no dispute is open any more."""

    placement_id: Id
    agency_id: Id
    reason: Literal["DISPUTE_CLOSED"]
    at: Instant


PAYLOADS: dict[str, type[BaseModel]] = {
    "guard.recall.requested.v1": RecallRequested,
    "guard.balance.reduced.v1": BalanceReduced,
    "guard.placement.suspended.v1": PlacementSuspended,
    "guard.placement.resumed.v1": PlacementResumed,
}
"""By type, what `guard.recalls` carries."""
