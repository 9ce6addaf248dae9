"""Which words of agencies have an effect: those of the agency that has the placement, of its one recall.

Called by `consumers.step` for what a commit must keep or say; the views of `domain.account` heed by the same rule.
An agency may speak of a placement before it is known who has it, so what it said is judged when that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from domain.account import Account
from domain.events import (
    AgencyEvent,
    ContactMade,
    PlacementAccepted,
    PlacementOpened,
    RecallAcknowledged,
    RecallRejected,
    Recorded,
)
from domain.recall import recall_id_of


class Refusal(StrEnum):
    """Why what an agency says has no effect."""

    WRONG_AGENCY = "wrong_agency"
    WRONG_RECALL = "wrong_recall"


@dataclass(frozen=True, slots=True)
class Refused:
    """What an agency said without effect. `agency_id` is who has the placement, `speaker` who spoke."""

    reason: Refusal
    placement_id: str
    agency_id: str
    speaker: str | None
    said_by: Recorded


TOLD_BY = (PlacementAccepted, RecallAcknowledged, RecallRejected, ContactMade, PlacementOpened)
"""The events with which the effect of an agency's words becomes known."""


def judged(account: Account, recorded: Recorded, events: Iterable[Recorded]) -> Iterator[Recorded]:
    """The words of agencies whose effect is known with this event, which the account has already.

    `events` are all of the account, in any order.
    """
    event = recorded.event
    if isinstance(event, AgencyEvent):
        if account.placements[event.placement_id].opened is not None:
            yield recorded
    elif isinstance(event, PlacementOpened) and account.placements[event.placement_id].opened_by == recorded:
        for one in events:
            if isinstance(one.event, AgencyEvent) and one.event.placement_id == event.placement_id:
                yield one


def refusal(account: Account, said: Recorded) -> Refused | None:
    """Why these words have no effect on the placement, which is known; None where they have one."""
    event = said.event
    if not isinstance(event, AgencyEvent):
        return None
    episode = account.placements[event.placement_id]
    if episode.opened is None:
        return None
    names = (event.placement_id, episode.opened.agency_id, event.agency_id, said)
    if not episode.heeds(event.agency_id):
        return Refused(Refusal.WRONG_AGENCY, *names)
    if isinstance(event, RecallAcknowledged | RecallRejected):
        wrong = event.recall_id != recall_id_of(account.account_id, event.placement_id)
        return Refused(Refusal.WRONG_RECALL, *names) if wrong else None
    return None
