"""Histories of one account as the database would give them, made of events alone, and the stories that they tell.

Used by the tests of `why` and of the account page. Each message is decided by the rules as its event is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from consumers.story import Story, tell_story
from domain.account import Account, from_events
from domain.events import Event, Recorded
from domain.recall import RecallRequested, Said, after, decide
from infra.postgres.history import AccountHistory, Published, Recall, SetAside
from infra.postgres.ledger import Case
from tests.builders import ACCOUNT, LENIENT, all_recorded, day, opened, paid, referred

NOW = day(4) + timedelta(minutes=30)
"""Half an hour after the payment that the recalls of these tests are for; they are to be answered in an hour."""

PAID_AND_PLACED = (referred(), opened(), paid(at=day(4)))


ALOUD = SetAside(7, "billing.payments", 0, 15, "KEY_MISMATCH", day(5), None)
"""An event of the account that waits in quarantine."""


def _no_recall() -> Recall:
    raise AssertionError("it is recalled")


def story(*events: Event | Recorded, now: datetime = NOW, sent: bool = True) -> Story:
    """The story of the account that these events make."""
    return tell_story(history(*events, sent=sent), LENIENT, now)


def history(
    *events: Event | Recorded,
    sent: bool = True,
    set_aside: Sequence[SetAside] = (),
    stopped: Sequence[str] = (),
    published: Sequence[Published] = (),
) -> AccountHistory:
    """The history that these events make when they are said one by one, each message decided as it happens."""
    known = all_recorded(events)
    said: dict[str, Said] = {}
    recalls: list[Recall] = []
    for number, one in enumerate(known, start=1):
        account = from_events(ACCOUNT, known[:number])
        messages = decide(account, said, LENIENT, now=one.time, noticed_by=one)
        said = dict(after(said, messages))
        recalls += [_row(message, sent=sent) for message in messages if isinstance(message, RecallRequested)]
    account = from_events(ACCOUNT, known)
    recalls = [replace(one, acknowledged_at=_acknowledged_at(account, one)) for one in recalls]
    return AccountHistory(
        account_id=ACCOUNT,
        events=tuple(sorted(known, key=lambda one: one.stamp)),
        case=Case(account, said),
        recalls=tuple(recalls),
        published=tuple(published),
        set_aside=tuple(set_aside),
        stopped_topics=tuple(stopped),
    )


def _row(recall: RecallRequested, *, sent: bool) -> Recall:
    """A recall as the database keeps it, sent a minute after it was requested."""
    return Recall(
        placement_id=recall.placement.placement_id,
        recall_id=recall.recall_id,
        agency_id=recall.placement.agency_id,
        reason=recall.reason,
        cause=recall.cause,
        outstanding=recall.outstanding,
        currency=recall.currency,
        requested_at=recall.requested_at,
        acknowledge_by=recall.acknowledge_by,
        trigger_source=recall.trigger.source,
        trigger_id=recall.trigger.id,
        swept=False,
        sent_at=recall.requested_at + timedelta(minutes=1) if sent else None,
        acknowledged_at=None,
        rejected_at=None,
        overdue_at=None,
        state="sent" if sent else "requested",
    )


def _acknowledged_at(account: Account, recall: Recall) -> datetime | None:
    return account.placements[recall.placement_id].acknowledged_at(recall.recall_id)
