"""The payload of every event type that goes out, as the contract states it; the encoders beside it write them.

Used to publish the contract, and by the tests that hold `infra.wire.encode` and `infra.wire.clearances` to it. A
clearance is published as it was answered, so its model is that of the answer too.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

from domain.clearance import EVIDENCE_MAX, Code, Decision
from domain.policy import RecallReason
from domain.recall import Cause
from infra.wire.clearances import FACTS_MAX
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


class Reason(BaseModel):
    """One reason that applies to a clearance, with what a person can check."""

    code: Annotated[Code, Field(description="The rule that applies.")]
    message: Annotated[
        str, Field(description="What the rule found, in a sentence for people; its words may change.")
    ]
    evidence: Annotated[
        list[str],
        Field(
            max_length=EVIDENCE_MAX,
            description="The facts behind it, in words for people: amounts with their currency, instants to the "
            "minute in the creditor's time zone, and ids. Nothing that a customer wrote.",
        ),
    ]


class PolicyName(BaseModel):
    """Which version of the creditor's policy decided."""

    version: Annotated[str, Field(description="The creditor's own name for it; `built-in` where there is no file.")]
    sha256: Annotated[
        str,
        StringConstraints(pattern=r"^([0-9a-f]{64})?$"),
        Field(description="Of the bytes of the policy's file, in hexadecimal; empty where there is no file."),
    ]


Partition = Annotated[str, StringConstraints(pattern=r"^[0-9]+$")]
"""A partition's number; as a name in JSON it is text."""

Offset = Annotated[int, Field(strict=True, ge=0)]


class Clearance(BaseModel):
    """The guard's answer before a placement: place it, not now, or not this."""

    clearance_id: Annotated[Id, Field(description="Names this answer for ever; whoever confirms it gives this.")]
    decision: Annotated[
        Decision, Field(description="`clear`: it may be placed. `hold`: not now. `refuse`: not this debt.")
    ]
    reasons: Annotated[
        list[Reason],
        Field(
            max_length=len(Code),
            description="All that apply, in the order of their codes; the first decides. None where it is `clear`.",
        ),
    ]
    account_id: Annotated[Id, Field(description="The customer's account at the creditor.")]
    debt_id: Annotated[Id, Field(description="The debt that was asked about.")]
    agency_id: Annotated[Id, Field(description="The agency that would get it.")]
    outstanding: Annotated[
        OwedAmount,
        Field(
            description="What is owed on the debt, and may be placed where it is `clear`: in minor units (kopecks, "
            "cents) of `currency`. 0 where the debt is unknown too."
        ),
    ]
    currency: Annotated[
        str,
        StringConstraints(pattern=r"^([A-Z]{3})?$"),
        Field(description="Of `outstanding`: ISO 4217, three capital letters; empty where the debt is unknown."),
    ]
    decided_at: Annotated[Instant, Field(description="When it was answered: RFC 3339 with an offset.")]
    expires_at: Annotated[
        Instant, Field(description="From when on it can't be confirmed any more: RFC 3339 with an offset.")
    ]
    policy: Annotated[PolicyName, Field(description="The policy by which it was decided.")]
    shadow: Annotated[bool, Field(description="True: answered in shadow mode, nothing is enforced.")]
    read_at: Annotated[
        dict[str, Annotated[dict[Partition, Offset], Field(json_schema_extra={"additionalProperties": False})]],
        Field(
            description="By topic and partition, the offset up to which everything was taken into account: that of "
            "the first record that was not."
        ),
    ]


class Fact(BaseModel):
    """An event by its identity."""

    source: Annotated[Source, Field(description="The event's `source`: who said it.")]
    id: Annotated[Id, Field(description="The event's `id`: with `source` it names it for ever.")]


class ClearanceDecided(Clearance):
    """Whether a debt may be placed was asked, and answered. The event's `id` is the `clearance_id`."""

    asked_by: Annotated[str, Field(description="Who asked, as the guard knows its callers.")]
    facts: Annotated[
        list[Fact],
        Field(
            max_length=FACTS_MAX,
            description=f"The account's events that it was decided on, oldest first: the latest {FACTS_MAX:,}.",
        ),
    ]
    facts_in_all: Annotated[int, Field(ge=0, description="How many events it was decided on, named here or not.")]


RECALL_PAYLOADS: dict[str, type[BaseModel]] = {
    "guard.recall.requested.v1": RecallRequested,
    "guard.balance.reduced.v1": BalanceReduced,
    "guard.placement.suspended.v1": PlacementSuspended,
    "guard.placement.resumed.v1": PlacementResumed,
}
"""By type, what `guard.recalls` carries."""

DECISION_PAYLOADS: dict[str, type[BaseModel]] = {"guard.clearance.decided.v1": ClearanceDecided}
"""By type, what `guard.decisions` carries."""

PAYLOADS = {**RECALL_PAYLOADS, **DECISION_PAYLOADS}
"""By type, every event that goes out."""
