"""The story of one account for a person: what happened, what agencies were told, and who acts next.

Called by `why`. Computed from one snapshot of the database by the same rules as every decision; it asks no
broker: whether all that was acknowledged is in the snapshot is the caller's to say (`behind`). Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from consumers.telling import event_in_words, happened_at, message_in_words
from domain import clearance
from domain.account import Money
from domain.allocation import Balance, balances
from domain.episode import Episode, episodes
from domain.events import ContactMade, Recorded
from domain.policy import Policy
from domain.recall import RecallRequested, decide
from domain.words import amount_in_words, instant_in_words
from infra.postgres.history import AccountHistory, Published, Recall, SetAside
from infra.wire.kinds import KINDS, QUARANTINE

SAME_TIME = timedelta(minutes=1)
"""Times nearer to each other than this are told as one: the story is written to the minute."""

_TYPE_OF = {kind.event: kind.type for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `source` and `id` name the event it is told by; they are empty for our own acts."""

    at: datetime
    kind: str
    words: str
    arrived_at: datetime | None = None
    source: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class DebtNow:
    """A debt as it stands, and whether it might be placed now."""

    debt_id: str
    balance: Balance | None
    settled: bool
    settled_by: Money | None
    answer: clearance.Answer
    words: str


@dataclass(frozen=True, slots=True)
class NextStep:
    """Who has to act: an agency, a person at the creditor, the guard, or nobody; what, and by when."""

    actor: str
    what: str
    by: datetime | None = None

    def in_words(self, timezone: tzinfo) -> str:
        """The step as a clause: `agency-1: acknowledge the recall, by 14 Nov 2026 10:02`."""
        by = f", by {instant_in_words(self.by, timezone)}" if self.by is not None else ""
        return f"{self.actor}: {self.what}{by}"


@dataclass(frozen=True, slots=True)
class PlacementNow:
    """A placement as it stands."""

    episode: Episode
    recall: Recall | None
    next_step: NextStep


@dataclass(frozen=True, slots=True)
class Story:
    """An account's story. `paid_and_placed` is None where it can't be known.

    `behind` says why the story may lack events that were acknowledged before `asked_at`; None where it lacks none.
    """

    account_id: str
    asked_at: datetime
    paid_and_placed: bool | None
    verdict: str
    lines: tuple[Line, ...]
    debts: tuple[DebtNow, ...]
    placements: tuple[PlacementNow, ...]
    holds: tuple[SetAside, ...]
    stopped_topics: tuple[str, ...]
    behind: str | None


def tell_story(history: AccountHistory, policy: Policy, now: datetime, *, behind: str | None = None) -> Story:
    """The story of an account as of now."""
    holds = tuple(one for one in history.set_aside if one.dropped is None)
    stopped = [f"the stream {topic} is stopped" for topic in history.stopped_topics]
    missing = "; ".join(stopped) or behind
    debts = tuple(_debts(history, policy, now, quarantined=bool(holds), behind=missing))
    placements = tuple(_placements(history, policy, now))
    paid_and_placed, verdict = _verdict(history, debts, placements, policy, behind)
    return Story(
        account_id=history.account_id,
        asked_at=now,
        paid_and_placed=paid_and_placed,
        verdict=verdict,
        lines=tuple(sorted(_lines(history, policy), key=lambda line: line.at)),
        debts=debts,
        placements=placements,
        holds=holds,
        stopped_topics=history.stopped_topics,
        behind=behind,
    )


def _lines(history: AccountHistory, policy: Policy) -> Iterator[Line]:
    """All lines, those of one instant in the order in which they follow from each other."""
    recalls = {recall.placement_id: recall for recall in history.recalls}
    said_by = {(recorded.source, recorded.id): recorded for recorded in history.events}
    for recorded in history.events:
        yield _event_line(recorded, recalls, policy)
    for record in history.published:
        if record.recall_id is None and record.topic != QUARANTINE:
            yield _published_line(record)
    for recall in history.recalls:
        yield from _recall_lines(recall, said_by.get((recall.trigger_source, recall.trigger_id)), policy)
    for one in history.set_aside:
        yield from _set_aside_lines(one)


def _event_line(recorded: Recorded, recalls: dict[str, Recall], policy: Policy) -> Line:
    event = recorded.event
    words = event_in_words(event, policy.timezone)
    if isinstance(event, ContactMade):
        recall = recalls.get(event.placement_id)
        if recall is not None and recall.sent_at is not None and event.contacted_at > recall.sent_at:
            words += ", after it was told to stop"
    notes: list[str] = []
    happened = happened_at(event)
    if happened is not None and abs(happened - recorded.time) > SAME_TIME:
        notes.append(f"dated {instant_in_words(happened, policy.timezone)}")
    arrived = recorded.origin.received_at
    if abs(arrived - recorded.time) > SAME_TIME:
        notes.append(f"arrived {instant_in_words(arrived, policy.timezone)}")
    if notes:
        words += f" ({', '.join(notes)})"
    return Line(recorded.time, _TYPE_OF[type(event)], words, arrived, recorded.source, recorded.id)


def _published_line(record: Published) -> Line:
    message = json.loads(record.value)
    out = "" if record.sent_at else ", not sent yet"
    return Line(datetime.fromisoformat(message["time"]), message["type"], f"{message_in_words(message)}{out}")


def _recall_lines(recall: Recall, trigger: Recorded | None, policy: Policy) -> Iterator[Line]:
    zone = policy.timezone
    owed = amount_in_words(recall.outstanding, recall.currency)
    because = f", because {event_in_words(trigger.event, zone)}" if trigger else ""
    noticed = ", found by a sweep" if recall.swept else ""
    words = f"recall of placement {recall.placement_id} from {recall.agency_id}: {recall.reason}"
    wait = f"to be acknowledged by {instant_in_words(recall.acknowledge_by, zone)}"
    yield Line(
        recall.requested_at,
        "guard.recall.requested.v1",
        f"{words} ({recall.cause}){because}{noticed}; {owed} owed; {wait}",
    )
    if recall.sent_at is not None:
        words = f"recall of placement {recall.placement_id} sent to {recall.agency_id}"
        yield Line(recall.sent_at, "recall.sent", words)
    if recall.overdue_at is not None:
        words = f"nobody had answered the recall of placement {recall.placement_id} in time"
        yield Line(recall.overdue_at, "recall.overdue", words)


def _set_aside_lines(one: SetAside) -> Iterator[Line]:
    place = f"{one.topic}/{one.partition} at {one.offset}"
    words = f"event {one.quarantine_id} of {place} put in quarantine: {one.reason}"
    yield Line(one.quarantined_at, "event.quarantined", words)
    if one.dropped is not None:
        words = f"event {one.quarantine_id} given up by {one.dropped.by}"
        yield Line(one.dropped.at, "event.dropped", words)


def _debts(
    history: AccountHistory, policy: Policy, now: datetime, *, quarantined: bool, behind: str | None
) -> Iterator[DebtNow]:
    account, said = history.case.account, history.case.said
    owed = balances(account, policy.debt)
    for debt_id in sorted(account.debts):
        question = clearance.Question(
            account,
            said,
            debt_id,
            policy,
            now,
            quarantined=quarantined,
            behind=behind,
        )
        balance = owed.get(debt_id)
        settled = balance is not None and balance.settled(policy.debt)
        settled_by = balance.settled_by(policy.debt) if balance is not None and settled else None
        words = _debt_in_words(balance, settled_by, policy) if balance else "never referred"
        yield DebtNow(debt_id, balance, settled, settled_by, clearance.answer(question), words)


def _debt_in_words(balance: Balance, settled_by: Money | None, policy: Policy) -> str:
    terms = balance.terms
    words = (
        f"{amount_in_words(balance.outstanding, terms.currency)}"
        f" of {amount_in_words(terms.amount, terms.currency)} owed"
    )
    if settled_by is not None:
        when = instant_in_words(settled_by.at, policy.timezone)
        return f"{words}, settled on {when} by {event_in_words(settled_by.said_by.event, policy.timezone)}"
    return f"{words}, which counts as settled" if balance.settled(policy.debt) else words


def _placements(history: AccountHistory, policy: Policy, now: datetime) -> Iterator[PlacementNow]:
    account, said = history.case.account, history.case.said
    recalls = {recall.placement_id: recall for recall in history.recalls}
    due = {
        message.placement.placement_id
        for message in decide(account, said, policy, now=now, noticed_by=None)
        if isinstance(message, RecallRequested)
    }
    for episode in episodes(account, said):
        placement_id = episode.opened.placement_id
        recall = recalls.get(placement_id)
        yield PlacementNow(episode, recall, _next_step(episode, recall, now, recall_due=placement_id in due))


def _next_step(episode: Episode, recall: Recall | None, now: datetime, *, recall_due: bool) -> NextStep:
    """Who acts next on a placement; the first that applies."""
    agency = episode.opened.agency_id
    if not episode.is_open:
        return NextStep("nobody", "it is over")
    if recall is None and recall_due:
        return NextStep("the guard", "recall it: `handoff-guard sweep --once` does", now)
    if recall is None and episode.said.suspended:
        return NextStep("the creditor", "decide the dispute")
    if recall is None:
        return NextStep(agency, "collect what is owed")
    if episode.rejected is not None:
        return NextStep("the creditor", f"answer the objection of {agency}", recall.acknowledge_by)
    if recall.sent_at is None:
        return NextStep("the guard", "send the recall: `handoff-guard dispatch` does", recall.acknowledge_by)
    if recall.acknowledge_by < now:
        return NextStep("the creditor", f"call {agency}, which has not answered the recall", recall.acknowledge_by)
    return NextStep(agency, "acknowledge the recall", recall.acknowledge_by)


def _verdict(
    history: AccountHistory,
    debts: Sequence[DebtNow],
    placements: Sequence[PlacementNow],
    policy: Policy,
    behind: str | None,
) -> tuple[bool | None, str]:
    """Whether a paid debt of this account is with a collector, and one sentence of it."""
    stated = {debt.debt_id: debt for debt in debts if debt.balance is not None}
    open_ones = [one for one in placements if one.episode.is_open]
    paid = [one for one in open_ones if (debt := stated.get(one.episode.opened.debt_id)) and debt.settled]
    if paid:
        return True, f"Yes: {'; '.join(_paid_and_placed(one, policy) for one in paid)}."
    doubts = [
        *(
            f"{one.episode.opened.agency_id} has debt {one.episode.opened.debt_id}, which was never referred"
            for one in open_ones
            if one.episode.opened.debt_id not in stated
        ),
        *(f"event {one.quarantine_id} is in quarantine" for one in history.set_aside if one.dropped is None),
        *(f"the stream {topic} is stopped" for topic in history.stopped_topics),
        *([behind] if behind is not None and not history.stopped_topics else []),
    ]
    if doubts:
        return None, f"It can't be said for sure: {'; '.join(doubts)}."
    unpaid = [
        f"{one.episode.opened.agency_id} has debt {one.episode.opened.debt_id}, which is not paid"
        for one in open_ones
    ]
    return False, f"No: {'; '.join(unpaid) or 'no agency has a debt of this account'}."


def _paid_and_placed(one: PlacementNow, policy: Policy) -> str:
    opened = one.episode.opened
    paid = f"debt {opened.debt_id} is paid and {opened.agency_id} still has it"
    return f"{paid}; next is {one.next_step.in_words(policy.timezone)}"
