"""Placements and recalls as rows of the tables that hold them. Used by `infra.postgres.ledger` only."""

from __future__ import annotations

from domain.episode import Episode
from domain.events import RecallOrdered
from domain.recall import RecallRequested


def episode_row(episode: Episode) -> dict[str, object]:
    """A placement as it stands."""
    opened = episode.opened
    return {
        "account_id": opened.account_id,
        "placement_id": opened.placement_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "amount": opened.amount,
        "currency": opened.currency,
        "placed_at": opened.placed_at,
        "guarded": episode.guarded,
        "told": episode.said.told,
        "suspended": episode.said.suspended,
        "accepted_at": episode.accepted_at,
        "closed_at": episode.closed_at,
        "is_open": episode.is_open,
    }


def answer_row(episode: Episode) -> dict[str, object]:
    """What is said of the recall of a placement, and that the placement has ended."""
    rejected = episode.rejected
    return {
        "account_id": episode.opened.account_id,
        "placement_id": episode.opened.placement_id,
        "acknowledged_at": episode.acknowledged_at,
        "rejected_at": rejected.rejected_at if rejected else None,
        "rejection": rejected.reason.replace("\0", "") if rejected else None,
        "closed_at": episode.closed_at,
    }


def recall_row(recall: RecallRequested) -> dict[str, object]:
    """A recall that is requested now."""
    opened, noticed, ordered = recall.placement, recall.noticed_by, recall.trigger.event
    return {
        "account_id": opened.account_id,
        "placement_id": opened.placement_id,
        "recall_id": recall.recall_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "reason": recall.reason,
        "cause": recall.cause,
        "outstanding": recall.outstanding,
        "currency": recall.currency,
        "requested_at": recall.requested_at,
        "acknowledge_by": recall.acknowledge_by,
        "trigger_source": recall.trigger.source,
        "trigger_id": recall.trigger.id,
        "paid_at": recall.paid_at,
        "known_since": (noticed or recall.trigger).origin.received_at,
        "swept": noticed is None,
        "requested_by": ordered.requested_by if isinstance(ordered, RecallOrdered) else None,
    }
