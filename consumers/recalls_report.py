"""Recalls as lines for people and as data for programs, with the same content.

Called by the API and by the commands `recall` and `recalls`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

from domain.agency import Agencies, agency_of
from domain.recall import RecallStage
from domain.words import moment_in_words
from infra.postgres.recalls import KeptRecall, Place
from infra.wire.cursor import decode_cursor, encode_cursor

TO_BE_CALLED = frozenset({RecallStage.OVERDUE, RecallStage.ESCALATED})
"""The states in which somebody may have to call the agency."""


def page_as_json(recalls: Sequence[KeptRecall], limit: int) -> dict[str, object]:
    """A page, and the cursor of the next one where there may be one."""
    return {"recalls": [recall_as_json(one) for one in recalls], "next_cursor": next_cursor(recalls, limit)}


def recall_as_json(recall: KeptRecall) -> dict[str, object]:
    """A recall as data; amounts in minor units, instants in RFC 3339."""
    return {
        "recall_id": recall.recall_id,
        "placement_id": recall.placement_id,
        "account_id": recall.account_id,
        "debt_id": recall.debt_id,
        "agency_id": recall.agency_id,
        "reason": recall.reason,
        "cause": recall.cause,
        "state": recall.state,
        "outstanding": recall.outstanding,
        "currency": recall.currency,
        "requested_at": recall.requested_at.isoformat(),
        "requested_by": recall.requested_by,
        "requested_reason": recall.requested_reason,
        "acknowledge_by": recall.acknowledge_by.isoformat(),
        "sent_at": _instant(recall.sent_at),
        "resends": recall.resends,
        "resent_at": _instant(recall.resent_at),
        "overdue_at": _instant(recall.overdue_at),
        "escalate_at": _instant(recall.escalate_at),
        "escalated_at": _instant(recall.escalated_at),
        "acknowledged_at": _instant(recall.acknowledged_at),
        "rejected_at": _instant(recall.rejected_at),
        "rejection": recall.rejection,
        "taken_over_at": _instant(recall.taken_over_at),
        "taken_over_by": recall.taken_over_by,
        "taken_over_reason": recall.taken_over_reason,
        "placement_closed_at": _instant(recall.placement_closed_at),
        "attempts": recall.attempts,
        "last_error": recall.last_error,
        "next_try_at": _instant(recall.next_try_at),
        "breaches": recall.breaches,
        "last_breach_at": _instant(recall.last_breach_at),
    }


def next_cursor(recalls: Sequence[KeptRecall], limit: int) -> str | None:
    """Where the next page begins; None where this is the last."""
    if len(recalls) < limit:
        return None
    last = recalls[-1]
    return encode_cursor(last.requested_at, last.account_id, last.placement_id)


def place_of(cursor: str) -> Place:
    """Where a page begins. Raises CursorError."""
    return Place(*decode_cursor(cursor))


def recalls_in_words(recalls: Sequence[KeptRecall], timezone: tzinfo, agencies: Agencies) -> Iterator[str]:
    """A recall a line, with the instant that counts in its state, and under it what stands in its way."""
    if recalls:
        yield f"Times are in {timezone}."
    for one in recalls:
        yield (
            f"{one.recall_id}  {one.state}  {one.agency_id}  placement {one.placement_id}  {one.reason}"
            f"  {_when(one, timezone)}"
        )
        contact = agency_of(agencies, one.agency_id).escalation_contact
        if one.state in TO_BE_CALLED and contact:
            yield f"    call {one.agency_id}: {contact}"
        yield from (f"    {line}" for line in _trouble(one, timezone))


def _when(recall: KeptRecall, timezone: tzinfo) -> str:
    what, at = {
        RecallStage.REQUESTED: ("requested", recall.requested_at),
        RecallStage.SENT: ("to be acknowledged by", recall.acknowledge_by),
        RecallStage.OVERDUE: ("was to be acknowledged by", recall.acknowledge_by),
        RecallStage.ESCALATED: ("escalated", recall.escalated_at),
        RecallStage.REJECTED: ("rejected", recall.rejected_at),
        RecallStage.TAKEN_OVER: ("taken over", recall.taken_over_at),
        RecallStage.CLOSED: ("closed", recall.placement_closed_at),
        RecallStage.ACKNOWLEDGED: ("acknowledged", recall.acknowledged_at),
    }[recall.state]
    return f"{what} {moment_in_words(at or recall.requested_at, timezone)}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _trouble(recall: KeptRecall, timezone: tzinfo) -> Iterator[str]:
    if recall.requested_by is not None:
        why = f": {recall.requested_reason}" if recall.requested_reason is not None else ""
        yield f"ordered by {recall.requested_by}{why}"
    if recall.last_error is not None and recall.sent_at is None:
        yield f"not delivered, tried {_times(recall.attempts)}: {recall.last_error}"
    if recall.resends:
        yield f"sent again {_times(recall.resends)}"
    if recall.rejection is not None and recall.state is RecallStage.REJECTED:
        yield f"the agency objects: {recall.rejection}"
    if recall.taken_over_by is not None:
        yield f"taken over by {recall.taken_over_by}: {recall.taken_over_reason}"
    if recall.breaches and recall.last_breach_at is not None:
        times = f"{_times(recall.breaches)}, last {moment_in_words(recall.last_breach_at, timezone)}"
        yield f"the agency spoke to the customer after it, {times}"


def _instant(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
