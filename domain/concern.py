"""What of an account's events concerns one placement: what a proof about it must hold, and what it may not.

Called by whoever collects evidence. Data minimisation: of a customer's other debts, and of other placements,
nothing is handed out. Money is of the account, and what one debt leaves over counts for the next, so all of it
concerns every debt. The marks of protected customers say what is nobody's business, so they concern a placement
only where it was recalled for them (`grounds`).
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import assert_never

from domain.account import Account
from domain.events import (
    ChannelsChosen,
    ContactMade,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    NoticeDelivered,
    NoticeFailed,
    PaymentFailed,
    PaymentPending,
    PaymentReturned,
    PaymentSettled,
    PlacementAccepted,
    PlacementClosed,
    PlacementOpened,
    PlanAgreed,
    PlanEnded,
    ProtectionChanged,
    RecallAcknowledged,
    RecallOrdered,
    RecallRejected,
    Recorded,
)


def concerns(
    account: Account, recorded: Recorded, opened: PlacementOpened, grounds: AbstractSet[tuple[str, str]]
) -> bool:
    """Whether an event belongs to the proof of a placement; `grounds` are the events for which it was recalled."""
    debt_id, event = opened.debt_id, recorded.event
    if (recorded.source, recorded.id) in grounds:
        return True
    match event:
        case PaymentPending() | PaymentSettled() | PaymentFailed() | PaymentReturned() | CreditPosted():
            return True
        case DebtReferred() | DebtWithdrawn():
            return event.debt_id == debt_id
        case PlacementOpened() | PlacementClosed() | PlacementAccepted() | ContactMade():
            return event.placement_id == opened.placement_id
        case RecallAcknowledged() | RecallRejected() | RecallOrdered():
            return event.placement_id == opened.placement_id
        case NoticeDelivered() | NoticeFailed() | DisputeOpened() | PlanAgreed():
            return event.debt_id in {None, debt_id}
        case DisputeClosed():
            return (dispute := account.disputes.get(event.dispute_id)) is not None and dispute.concerns(debt_id)
        case PlanEnded():
            agreed = plan.agreed if (plan := account.plans.get(event.plan_id)) is not None else None
            return agreed is not None and agreed.debt_id in {None, debt_id}
        case ChannelsChosen():
            return True
        case ProtectionChanged():
            return False
        case _:
            assert_never(event)
