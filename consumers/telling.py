"""One event or one message in words, for the story of an account: ids, amounts and dates, hardly a free text.

Called by `consumers.story`. What a customer, an agency or a clerk wrote in their own words (reasons, methods)
stays in the event; whoever needs it finds it by the event's source and id. An order of ours is told with who gave
it and why: that is what it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, assert_never

from domain.events import (
    ChannelsChosen,
    ContactMade,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    Event,
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
)
from domain.words import amount_in_words, moment_in_words


def event_in_words(event: Event, timezone: tzinfo) -> str:  # noqa: PLR0912  A table: one row for each kind.
    """What an event says."""
    match event:
        case PaymentPending():
            return f"{_money(event)} on its way, payment {event.payment_id}{_target(event)}"
        case PaymentSettled():
            return f"{_money(event)} paid, payment {event.payment_id}{_target(event)}"
        case PaymentFailed():
            return f"payment {event.payment_id} failed"
        case PaymentReturned():
            return f"payment {event.payment_id} was returned"
        case CreditPosted():
            return f"{_money(event)} credited as {event.reason}, credit {event.credit_id}{_target(event)}"
        case DebtReferred():
            return _referred(event, timezone)
        case DebtWithdrawn():
            return f"debt {event.debt_id} withdrawn by collections"
        case PlacementOpened() | PlacementClosed() | PlacementAccepted() | ContactMade():
            return _of_placement(event)
        case RecallAcknowledged():
            return f"the agency acknowledged the recall of placement {event.placement_id}"
        case RecallRejected():
            return f"the agency objected to the recall of placement {event.placement_id}"
        case RecallOrdered():
            return f"{event.requested_by} ordered the recall of placement {event.placement_id}: {event.reason}"
        case NoticeDelivered():
            return f"{_notice(event)} delivered by {event.channel}{_about(event.debt_id)}"
        case NoticeFailed():
            return f"{_notice(event)} not delivered by {event.channel}{_about(event.debt_id)}"
        case ChannelsChosen():
            return f"the customer chose to be told by {_list(event.channels) or 'any channel'}"
        case DisputeOpened():
            return f"dispute {event.dispute_id} opened{_about(event.debt_id) or ' about the account'}"
        case DisputeClosed():
            return f"dispute {event.dispute_id} closed: {event.outcome}"
        case PlanAgreed():
            return f"instalment plan {event.plan_id} agreed{_about(event.debt_id) or ' for the account'}"
        case PlanEnded():
            return f"instalment plan {event.plan_id} ended"
        case ProtectionChanged():
            return f"protection marks of the customer: {_list(event.marks) or 'none'}"
        case _:
            assert_never(event)


def happened_at(event: Event) -> datetime | None:  # noqa: PLR0912  As above.
    """When what an event tells of took place, where it says so itself."""
    match event:
        case PaymentPending():
            return event.initiated_at
        case PaymentSettled():
            return event.paid_at
        case PaymentReturned():
            return event.returned_at
        case CreditPosted():
            return event.posted_at
        case PlacementOpened():
            return event.placed_at
        case PlacementClosed() | DisputeClosed():
            return event.closed_at
        case PlacementAccepted():
            return event.accepted_at
        case RecallAcknowledged():
            return event.acknowledged_at
        case RecallRejected():
            return event.rejected_at
        case ContactMade():
            return event.contacted_at
        case RecallOrdered():
            return event.ordered_at
        case NoticeDelivered():
            return event.delivered_at
        case NoticeFailed():
            return event.failed_at
        case DisputeOpened():
            return event.opened_at
        case PlanAgreed():
            return event.agreed_at
        case PlanEnded():
            return event.ended_at
        case ProtectionChanged():
            return event.changed_at
        case PaymentFailed() | DebtReferred() | DebtWithdrawn() | ChannelsChosen():
            return None
        case _:
            assert_never(event)


def message_in_words(message: Mapping[str, Any]) -> str:  # `Any`: a record of ours, read back.
    """What an outgoing event of ours says, other than a recall."""
    data = message["data"]
    match message["type"]:
        case "guard.balance.reduced.v1":
            owed = amount_in_words(data["outstanding"], data["currency"])
            return f"{data['agency_id']} told that {owed} is owed, placement {data['placement_id']}"
        case "guard.placement.suspended.v1":
            return f"{data['agency_id']} told to pause, placement {data['placement_id']}: {data['reason']}"
        case "guard.placement.resumed.v1":
            return f"{data['agency_id']} told to go on, placement {data['placement_id']}: {data['reason']}"
        case "guard.clearance.decided.v1":
            codes = ", ".join(reason["code"] for reason in data["reasons"])
            asked = f"asked whether {data['agency_id']} may have debt {data['debt_id']}"
            return (
                f"{asked}: {data['decision']}{f' for {codes}' if codes else ''}, clearance {data['clearance_id']}"
            )
        case other:
            return f"{other} published"


def _money(event: PaymentPending | PaymentSettled | CreditPosted) -> str:
    return amount_in_words(event.amount, event.currency)


def _target(event: PaymentPending | PaymentSettled | CreditPosted) -> str:
    if event.debt_id is not None:
        return f" for debt {event.debt_id}"
    return f" for contract {event.contract_id}" if event.contract_id is not None else ""


def _about(debt_id: str | None) -> str:
    return f" for debt {debt_id}" if debt_id is not None else ""


def _notice(event: NoticeDelivered | NoticeFailed) -> str:
    return f"{event.kind.replace('_', ' ')} {event.notice_id}"


def _referred(event: DebtReferred, timezone: tzinfo) -> str:
    amount = amount_in_words(event.amount, event.currency)
    parts = ", ".join(f"{part.kind} {amount_in_words(part.amount, event.currency)}" for part in event.components)
    made_of = f" ({parts})" if parts else ""
    agency = f" to {event.agency_id}" if event.agency_id is not None else ""
    stated = f"as of {moment_in_words(event.as_of, timezone)}, due on {event.due_on.isoformat()}"
    return f"debt {event.debt_id} of {amount}{made_of} referred{agency}, {stated}"


def _of_placement(event: PlacementOpened | PlacementClosed | PlacementAccepted | ContactMade) -> str:
    match event:
        case PlacementOpened():
            amount = amount_in_words(event.amount, event.currency)
            asked = f"clearance {event.clearance_id}" if event.clearance_id else "without asking the guard"
            what = f"{amount} of debt {event.debt_id} placed with {event.agency_id}"
            return f"{what}, placement {event.placement_id}, {asked}"
        case PlacementClosed():
            return f"placement {event.placement_id} closed"
        case PlacementAccepted():
            return f"the agency accepted placement {event.placement_id}"
        case ContactMade():
            return f"the agency contacted the customer, placement {event.placement_id}"


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))
