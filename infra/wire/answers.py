"""What the API answers, as it is published: names, types and meaning.

The answers themselves are written by `infra.wire.clearances` and `consumers.story_report`; tests hold those to the
models here. A field may be added, none goes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from domain import recall
from domain.clearance import Decision
from infra.wire.models import Id, Instant, OwedAmount
from infra.wire.outgoing import Clearance, Reason

Currency = Annotated[str, Field(description="ISO 4217; empty where no debt says which.")]
Behind = Annotated[
    str | None,
    Field(description="Why events that were acknowledged before the question may be missing; null: none is."),
]
Maybe = Instant | None
Count = Annotated[int, Field(ge=0)]


class KeptClearance(Clearance):
    """A clearance that was given before, and what it was used for."""

    placement_id: Annotated[Id | None, Field(description="The placement that was confirmed under it.")]
    confirmed_at: Annotated[Maybe, Field(description="When that was placed.")]


class PlacementConfirmed(BaseModel):
    """The placement as it is registered: an agency may have this debt now."""

    clearance_id: Id
    placement_id: Id
    confirmed: Literal[True]
    account_id: Id
    debt_id: Id
    agency_id: Id
    amount: Annotated[OwedAmount, Field(description="What was cleared, in minor units of `currency`.")]
    currency: Currency
    placed_at: Instant
    shadow: Annotated[bool, Field(description="In shadow mode: nobody has to keep to it.")]


class EventTaken(BaseModel):
    """What became of an event."""

    outcome: Annotated[
        Literal["applied", "duplicate"], Field(description="`duplicate`: it was known, and changed nothing.")
    ]
    source: str
    id: str


class ClearanceNow(BaseModel):
    """What a clearance of this debt would say; it is not one."""

    decision: Decision
    reasons: list[Reason]


class DebtState(BaseModel):
    """A debt as it stands; all but its id is null where it was never referred."""

    debt_id: Id
    amount: Annotated[OwedAmount | None, Field(description="As it was stated, in minor units of `currency`.")]
    outstanding: Annotated[OwedAmount | None, Field(description="What is still owed, in minor units.")]
    currency: str | None
    settled: bool
    settled_by: Annotated[str | None, Field(description="The payment or credit that settled it.")]
    settled_at: Maybe
    clearance_now: ClearanceNow


class Next(BaseModel):
    """Who acts next on a placement, what, and by when."""

    who: str
    what: str
    by: Maybe


class PlacementState(BaseModel):
    """A placement as it stands, with its recall."""

    placement_id: Id
    debt_id: Id
    agency_id: Id
    amount: Annotated[OwedAmount, Field(description="As it was placed, in minor units of `currency`.")]
    currency: str
    placed_at: Instant
    clearance_id: Annotated[str | None, Field(description="Null: it was placed without asking.")]
    open: Annotated[bool, Field(description="The agency has it.")]
    recall_id: str | None
    recall_reason: str | None
    recall_requested_at: Maybe
    recall_sent_at: Maybe
    recall_acknowledged_at: Maybe
    next: Next


class RecallState(BaseModel):
    """A recall as it stands."""

    recall_id: str
    placement_id: Id
    agency_id: Id
    reason: str
    cause: str
    state: recall.RecallStage
    outstanding: OwedAmount
    currency: str
    requested_at: Instant
    acknowledge_by: Instant
    sent_at: Maybe
    acknowledged_at: Maybe
    rejected_at: Maybe
    overdue_at: Maybe
    escalated_at: Maybe
    taken_over_at: Maybe
    taken_over_by: str | None
    taken_over_reason: str | None
    placement_closed_at: Maybe
    resends: Count
    breaches: Annotated[Count, Field(description="Contacts with the customer after it, and the policy's grace.")]


class RecallListed(BaseModel):
    """A recall as it stands, with what was tried to deliver it."""

    recall_id: str
    placement_id: Id
    account_id: Id
    debt_id: Id
    agency_id: Id
    reason: str
    cause: str
    state: recall.RecallStage
    outstanding: OwedAmount
    currency: str
    requested_at: Instant
    requested_by: Annotated[str | None, Field(description="Who ordered it by hand; null where nobody did.")]
    requested_reason: Annotated[str | None, Field(description="Why, in their words; a reconciliation gives none.")]
    acknowledge_by: Instant
    sent_at: Maybe
    resends: Annotated[Count, Field(description="How often it was put on its way again.")]
    resent_at: Maybe
    overdue_at: Annotated[Maybe, Field(description="When its deadline was found to have passed.")]
    escalate_at: Annotated[Maybe, Field(description="When it becomes a matter for people; known once overdue.")]
    escalated_at: Maybe
    acknowledged_at: Maybe
    rejected_at: Maybe
    rejection: Annotated[str | None, Field(description="Why the agency objects, in its words.")]
    taken_over_at: Maybe
    taken_over_by: str | None
    taken_over_reason: str | None
    placement_closed_at: Annotated[Maybe, Field(description="When its placement ended without an answer.")]
    attempts: Annotated[Count, Field(description="How often it was tried to deliver it, resends among them.")]
    last_error: Annotated[str | None, Field(description="What the last of those that failed ran into.")]
    next_try_at: Annotated[
        Maybe, Field(description="When what waits is tried next, at the earliest; null: nothing waits.")
    ]
    breaches: Annotated[Count, Field(description="Contacts with the customer after it, and the policy's grace.")]
    last_breach_at: Maybe


class RecallPage(BaseModel):
    """Recalls, the one requested first first."""

    recalls: list[RecallListed]
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page; null: this is the last.")]


class RecallOrdered(RecallListed):
    """A recall that was ordered by hand."""

    is_new: Annotated[bool, Field(description="False: it was recalled before, and the order changed nothing.")]


class RecallResent(BaseModel):
    """What came of the order to send a recall again."""

    recall_id: str
    resent: Annotated[bool, Field(description="False: it was waiting to be sent already.")]


class Hold(BaseModel):
    """An event of the account that is in quarantine; nothing is cleared while it is."""

    quarantine_id: int
    topic: str
    partition: int
    offset: int
    reason: str
    quarantined_at: Instant


class AccountState(BaseModel):
    """An account as it stands."""

    account_id: Id
    asked_at: Instant
    behind: Behind
    paid_debt_with_collector: Annotated[bool | None, Field(description="Null where it can't be known.")]
    answer: Annotated[str, Field(description="The same in a sentence.")]
    debts: list[DebtState]
    placements: list[PlacementState]
    recalls: list[RecallState]
    holds: list[Hold]
    stopped_streams: Annotated[list[str], Field(description="Streams that nobody reads until a person says so.")]


class TimelineLine(BaseModel):
    """One thing that happened. `source` and `id` name its event; they are null for the guard's own acts."""

    at: Instant
    arrived_at: Maybe
    kind: str
    words: str
    source: str | None
    id: str | None


class Timeline(BaseModel):
    """All that happened on an account, oldest first."""

    account_id: Id
    asked_at: Instant
    behind: Behind
    timeline: list[TimelineLine]


class EventRejected(BaseModel):
    """What a problem of an event that can't be read says beside the members of every problem."""

    reason: Annotated[str, Field(description="Why, in a word that stays: the same as in quarantine.")]


class VoidReasons(BaseModel):
    """What a problem `clearance-void` says beside the members of every problem."""

    reasons: Annotated[list[Reason], Field(description="What speaks against the debt now.")]
