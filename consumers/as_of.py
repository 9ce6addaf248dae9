"""An account's history as it stood at an instant: the facts that the broker had by then, and what was told by then.

Called by `consumers.teller` for "what we knew at". Pure: it takes away what came later. A fact counts from the
broker's time of its event, an agency's answer like any other, whatever date it bears; one that was in quarantine
then does not count. How far the streams were read at that instant is kept nowhere, so a stream that was behind then
is not told.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from domain.account import Account, Placement, from_events
from domain.events import ContactMade, Recorded
from domain.recall import RecallStage, Said
from infra.postgres.history import AccountHistory, Published, Recall, SetAside
from infra.postgres.ledger import Case
from infra.postgres.quarantine import Held
from infra.wire.kinds import QUARANTINE


def as_of(history: AccountHistory, held: Iterable[Held], at: datetime) -> AccountHistory:
    """The history at an instant; `held` are the events that hold the account, or ever did."""
    waiting = [
        one
        for one in held
        if one.quarantined_at <= at and not (one.applied_at is not None and one.applied_at <= at)
    ]
    unread = {(one.raw.origin.topic, one.raw.origin.partition, one.raw.origin.offset) for one in waiting}
    events = tuple(
        recorded
        for recorded in history.events
        if recorded.origin.received_at <= at
        and (recorded.origin.topic, recorded.origin.partition, recorded.origin.offset) not in unread
    )
    account = from_events(history.account_id, events)
    published = tuple(
        _published(one, at) for one in history.published if one.topic != QUARANTINE and _made_at(one) <= at
    )
    return replace(
        history,
        events=events,
        case=Case(account, _said(published, account)),
        recalls=tuple(
            _recall(one, account, events, published, at) for one in history.recalls if one.requested_at <= at
        ),
        published=published,
        set_aside=tuple(_set_aside(one, at) for one in waiting),
        stopped_topics=(),
    )


def _published(one: Published, at: datetime) -> Published:
    return replace(
        one,
        sent_at=_by(one.sent_at, at),
        superseded_at=_by(one.superseded_at, at),
        began_at=_by(one.began_at, at),
    )


def _made_at(one: Published) -> datetime:
    """When a record was made: a copy bears the time of the first."""
    if one.again and one.made_at is not None:
        return one.made_at
    return datetime.fromisoformat(json.loads(one.value)["time"])


def _recall(
    one: Recall, account: Account, events: Iterable[Recorded], published: Iterable[Published], at: datetime
) -> Recall:
    """The recall with what its agency had said by then, and what had been done about it."""
    placement = account.placements.get(one.placement_id, Placement())
    objection = placement.rejection(one.recall_id)
    contacts = {
        recorded.event.contacted_at
        for recorded in events
        if isinstance(recorded.event, ContactMade) and recorded.event.placement_id == one.placement_id
    }
    was_taken_over = _is_by(one.taken_over_at, at)
    then = replace(
        one,
        sent_at=_by(one.sent_at, at),
        acknowledged_at=placement.acknowledged_at(one.recall_id),
        rejected_at=objection.rejected_at if objection is not None else None,
        overdue_at=_by(one.overdue_at, at),
        escalated_at=_by(one.escalated_at, at),
        taken_over_at=_by(one.taken_over_at, at),
        taken_over_by=one.taken_over_by if was_taken_over else None,
        taken_over_reason=one.taken_over_reason if was_taken_over else None,
        placement_closed_at=placement.closed_at,
        resends=sum(bool(record.again) for record in published if record.recall_id == one.recall_id),
        breaches=tuple(contacted_at for contacted_at in one.breaches if contacted_at in contacts),
    )
    return replace(then, state=_state(then))


def _state(recall: Recall) -> RecallStage:
    """Where it stood, as the database says it of one that stands now."""
    reached = {
        RecallStage.REQUESTED: recall.requested_at,
        RecallStage.SENT: recall.sent_at,
        RecallStage.OVERDUE: recall.overdue_at,
        RecallStage.ESCALATED: recall.escalated_at,
        RecallStage.REJECTED: recall.rejected_at,
        RecallStage.TAKEN_OVER: recall.taken_over_at,
        RecallStage.CLOSED: recall.placement_closed_at,
        RecallStage.ACKNOWLEDGED: recall.acknowledged_at,
    }
    return [stage for stage in RecallStage if reached[stage] is not None][-1]


def _set_aside(one: Held, at: datetime) -> SetAside:
    origin = one.raw.origin
    dropped = one.dropped if one.dropped is not None and one.dropped.at <= at else None
    return SetAside(
        one.quarantine_id,
        origin.topic,
        origin.partition,
        origin.offset,
        one.reason,
        one.quarantined_at,
        dropped,
    )


def _said(published: Iterable[Published], account: Account) -> Mapping[str, Said]:
    """What agencies had been told, by what was written down for them until then."""
    said: dict[str, Said] = {}
    for one in published:
        message = json.loads(one.value)
        placement_id = message["data"].get("placement_id", "")
        episode = account.placements.get(placement_id)
        if episode is None or episode.opened is None:
            continue
        before = said.get(placement_id, Said(told=episode.opened.amount))
        match message["type"]:
            case "guard.recall.requested.v1":
                said[placement_id] = replace(before, recalled=True)
            case "guard.balance.reduced.v1":
                said[placement_id] = replace(before, told=message["data"]["outstanding"])
            case "guard.placement.suspended.v1":
                said[placement_id] = replace(before, suspended=True)
            case "guard.placement.resumed.v1":
                said[placement_id] = replace(before, suspended=False)
    return said


def _is_by(instant: datetime | None, at: datetime) -> bool:
    return instant is not None and instant <= at


def _by(instant: datetime | None, at: datetime) -> datetime | None:
    return instant if _is_by(instant, at) else None
