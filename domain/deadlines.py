"""What happens to a recall that nobody answers: overdue, then a matter for people, and again and again.

Called by `consumers.deadlines` for each recall whose clock has struck. A recall's clock stands where it is
acknowledged, rejected or taken over, or where its placement is closed: such a one is never asked about here.

| struck | then | the recall is sent again by | the clock strikes next |
|---|---|---|---|
| its deadline | overdue | the agency's first channel | when it escalates, by the policy |
| overdue | escalated | the agency's second channel, where it has one | after the agency's time to answer |
| escalated | still escalated | each of its channels | twice as long later each time, up to a day |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.agency import Agency, Desk
from domain.policy import RecallRules

PAUSE_MAX = timedelta(days=1)
"""Between resends of an escalated recall; who did not answer for days hears of it once a day."""

FIRST_CHANNEL = ""
"""The agency's first, whatever its entry says that is when the message goes."""


class Why(StrEnum):
    """Why a recall is sent again."""

    OVERDUE = "overdue"
    ESCALATED = "escalated"
    BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A recall that nobody has answered."""

    agency_id: str
    acknowledge_by: datetime
    overdue_at: datetime | None
    escalated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Struck:
    """What its clock says: why it is sent again, by which channels, and when it strikes next."""

    why: Why
    is_new: bool
    channels: tuple[str, ...]
    next_at: datetime


def strike(waiting: Waiting, rules: RecallRules, agency: Agency, now: datetime) -> Struck:
    """What follows for a recall whose clock has struck."""
    if waiting.overdue_at is None:
        escalate_at = rules.escalate_at(waiting.agency_id, waiting.acknowledge_by)
        return Struck(Why.OVERDUE, is_new=True, channels=(FIRST_CHANNEL,), next_at=escalate_at)
    second = () if agency.second_channel is None else (str(agency.second_channel),)
    within = rules.within(rules.desks.get(waiting.agency_id, Desk()))
    if waiting.escalated_at is None:
        return Struck(Why.ESCALATED, is_new=True, channels=second, next_at=now + min(within, PAUSE_MAX))
    # What has passed since, and as much again: 1, 2, 4, .. times the time to answer, however late we look.
    pause = min(now - waiting.escalated_at + within, PAUSE_MAX)
    return Struck(Why.ESCALATED, is_new=False, channels=(FIRST_CHANNEL, *second), next_at=now + pause)
