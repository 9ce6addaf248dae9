"""A story as lines for people and as data for programs, with the same content.

Called by the command `why` and by the API; what is told is decided in `consumers.story`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, tzinfo

from consumers.story import DebtNow, Line, PlacementNow, Story
from domain.words import moment_in_words
from infra.postgres.history import Recall, SetAside
from infra.wire.clearances import encode_reasons


def story_in_words(story: Story, timezone: tzinfo) -> Iterator[str]:
    """The answer first, then what happened, then how things stand."""
    yield "Is a paid debt of this customer with a collector?"
    yield story.verdict
    yield ""
    yield f"Times are in {timezone}."
    yield ""
    yield f"What happened on account {story.account_id}, oldest first:"
    for line in story.lines:
        yield f"  {moment_in_words(line.at, timezone)}  {line.words}"
    yield ""
    known = "as far as the streams were read" if story.behind else "with all that was acknowledged before"
    yield f"How it stands on {moment_in_words(story.asked_at, timezone)}, {known}:"
    if not story.debts and not story.placements and not story.holds:
        yield "  no debt and no placement"
    for debt in story.debts:
        yield from _debt_in_words(debt)
    for placement in story.placements:
        opened = placement.episode.opened
        state = "open" if placement.episode.is_open else "ended"
        yield f"  placement {opened.placement_id} of debt {opened.debt_id} with {opened.agency_id}: {state}"
        yield f"    next: {placement.next_step.in_words(timezone)}"
    for hold in story.holds:
        yield f"  held by event {hold.quarantine_id}: handoff-guard quarantine show {hold.quarantine_id}"
    if story.behind:
        yield f"  what may be missing: {story.behind}"
    for topic in story.stopped_topics:
        yield f"  the stream {topic} is stopped: handoff-guard doctor"


def _debt_in_words(debt: DebtNow) -> Iterator[str]:
    yield f"  debt {debt.debt_id}: {debt.words}"
    yield f"    a clearance now: {debt.answer.decision}"
    for reason in debt.answer.reasons:
        evidence = f" ({'; '.join(reason.evidence)})" if reason.evidence else ""
        yield f"      {reason.code}: {reason.message}{evidence}"


def story_as_json(story: Story) -> dict[str, object]:
    """The story as data; amounts in minor units, instants in RFC 3339."""
    return {**account_as_json(story), "timeline": [_line_as_json(line) for line in story.lines]}


def account_as_json(story: Story) -> dict[str, object]:
    """How the account stands, without what happened."""
    return {
        "account_id": story.account_id,
        "asked_at": story.asked_at.isoformat(),
        "paid_debt_with_collector": story.paid_and_placed,
        "answer": story.verdict,
        "debts": [_debt_as_json(debt) for debt in story.debts],
        "placements": [_placement_as_json(placement) for placement in story.placements],
        "recalls": [_recall_as_json(one.recall) for one in story.placements if one.recall is not None],
        "holds": [_hold_as_json(hold) for hold in story.holds],
        "stopped_streams": list(story.stopped_topics),
        "behind": story.behind,
    }


def timeline_as_json(story: Story) -> dict[str, object]:
    """What happened, without how the account stands."""
    return {
        "account_id": story.account_id,
        "asked_at": story.asked_at.isoformat(),
        "behind": story.behind,
        "timeline": [_line_as_json(line) for line in story.lines],
    }


def _line_as_json(line: Line) -> dict[str, object]:
    return {
        "at": line.at.isoformat(),
        "arrived_at": _instant(line.arrived_at),
        "kind": line.kind,
        "words": line.words,
        "source": line.source or None,
        "id": line.id or None,
    }


def _debt_as_json(debt: DebtNow) -> dict[str, object]:
    balance, answer = debt.balance, debt.answer
    return {
        "debt_id": debt.debt_id,
        "amount": balance.terms.amount if balance else None,
        "outstanding": balance.outstanding if balance else None,
        "currency": balance.terms.currency if balance else None,
        "settled": debt.settled,
        "settled_by": debt.settled_by.money_id if debt.settled_by else None,
        "settled_at": _instant(debt.settled_by.at if debt.settled_by else None),
        "clearance_now": {
            "decision": answer.decision,
            "reasons": encode_reasons(answer.reasons),
        },
    }


def _placement_as_json(placement: PlacementNow) -> dict[str, object]:
    opened, recall, step = placement.episode.opened, placement.recall, placement.next_step
    return {
        "placement_id": opened.placement_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "amount": opened.amount,
        "currency": opened.currency,
        "placed_at": opened.placed_at.isoformat(),
        "clearance_id": opened.clearance_id,
        "open": placement.episode.is_open,
        "recall_id": recall.recall_id if recall else None,
        "recall_reason": recall.reason if recall else None,
        "recall_requested_at": _instant(recall.requested_at if recall else None),
        "recall_sent_at": _instant(recall.sent_at if recall else None),
        "recall_acknowledged_at": _instant(recall.acknowledged_at if recall else None),
        "next": {"who": step.actor, "what": step.what, "by": _instant(step.by)},
    }


def _recall_as_json(recall: Recall) -> dict[str, object]:
    return {
        "recall_id": recall.recall_id,
        "placement_id": recall.placement_id,
        "agency_id": recall.agency_id,
        "reason": recall.reason,
        "cause": recall.cause,
        "state": recall.state,
        "outstanding": recall.outstanding,
        "currency": recall.currency,
        "requested_at": recall.requested_at.isoformat(),
        "acknowledge_by": recall.acknowledge_by.isoformat(),
        "sent_at": _instant(recall.sent_at),
        "acknowledged_at": _instant(recall.acknowledged_at),
        "rejected_at": _instant(recall.rejected_at),
        "overdue_at": _instant(recall.overdue_at),
        "escalated_at": _instant(recall.escalated_at),
        "taken_over_at": _instant(recall.taken_over_at),
        "taken_over_by": recall.taken_over_by,
        "taken_over_reason": recall.taken_over_reason,
        "placement_closed_at": _instant(recall.placement_closed_at),
        "resends": recall.resends,
        "breaches": len(recall.breaches),
    }


def _hold_as_json(hold: SetAside) -> dict[str, object]:
    return {
        "quarantine_id": hold.quarantine_id,
        "topic": hold.topic,
        "partition": hold.partition,
        "offset": hold.offset,
        "reason": hold.reason,
        "quarantined_at": hold.quarantined_at.isoformat(),
    }


def _instant(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
