"""What happened in the life of a recall, in its order: what the page of one recall tells as a timeline.

Called by `consumers.console.recalls`. Decides nothing: the words of each event are `recall.at_<name>`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from infra.postgres.recall_life import Life
from infra.postgres.recalls import KeptRecall

NOTHING = "..."
"""Where somebody gave no words."""


@dataclass(frozen=True, slots=True)
class Happened:
    """One event: its instant, its name, and what its words name."""

    at: datetime
    name: str
    values: dict[str, str] = field(default_factory=dict)
    mood: str = ""


def events_of(recall: KeptRecall, life: Life) -> list[Happened]:
    """Everything that is known, oldest first; of one instant, each cause before its effect."""
    return sorted((*_before(recall, life), *_of_sendings(life), *_after(recall), *_contacts(life)), key=_at)


def _at(one: Happened) -> datetime:
    return one.at


def _before(recall: KeptRecall, life: Life) -> Iterator[Happened]:
    yield Happened(life.placed_at, "placed", {"agency": recall.agency_id})
    if life.accepted_at is not None:
        yield Happened(life.accepted_at, "accepted", {"agency": recall.agency_id})
    if life.paid_at is not None:
        yield Happened(life.paid_at, "paid", {"source": life.trigger_source, "id": life.trigger_id})
    yield Happened(life.known_since, "known", {"source": life.trigger_source, "id": life.trigger_id})
    if recall.requested_by is not None:
        ordered = {"by": recall.requested_by, "reason": recall.requested_reason or NOTHING}
        yield Happened(recall.requested_at, "ordered", ordered)
    else:
        yield Happened(recall.requested_at, "requested")


def _of_sendings(life: Life) -> Iterator[Happened]:
    for one in life.sendings:
        name = f"again_{one.again}" if one.again else "queued"
        yield Happened(one.created_at, name, {"channel": one.channel})
        if one.sent_at is not None:
            yield Happened(one.sent_at, "sent", {"channel": one.channel}, "good")


def _after(recall: KeptRecall) -> Iterator[Happened]:
    if recall.overdue_at is not None:
        yield Happened(recall.overdue_at, "overdue", mood="bad")
    if recall.escalated_at is not None:
        yield Happened(recall.escalated_at, "escalated", mood="bad")
    if recall.rejected_at is not None:
        yield Happened(recall.rejected_at, "rejected", {"reason": recall.rejection or NOTHING}, "bad")
    if recall.taken_over_at is not None:
        taken = {"by": recall.taken_over_by or NOTHING, "reason": recall.taken_over_reason or NOTHING}
        yield Happened(recall.taken_over_at, "taken_over", taken)
    if recall.placement_closed_at is not None:
        yield Happened(recall.placement_closed_at, "closed")
    if recall.acknowledged_at is not None:
        yield Happened(recall.acknowledged_at, "acknowledged", {"agency": recall.agency_id}, "good")


def _contacts(life: Life) -> Iterator[Happened]:
    for one in life.contacts:
        name, mood = ("breach", "bad") if one.is_breach else ("contact", "")
        yield Happened(one.contacted_at, name, {"channel": one.channel}, mood)
