"""The story of one account for a person: what happened, what agencies were told, and who acts next.

Called by `why`. Computed from one snapshot of the database by the same rules as every decision; it asks no
broker: whether all that was acknowledged is in the snapshot is the caller's to say (`behind`). Writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Any

from consumers.telling import event_in_words, happened_at, message_in_words
from domain import clearance
from domain.account import Account, Money
from domain.agency import Agencies, Agency, agency_of
from domain.allocation import Balance, balances
from domain.confirmation import Confirmed, NotYet, State, confirm
from domain.episode import Episode, episodes
from domain.events import ContactMade, RecallAcknowledged, RecallRejected, Recorded
from domain.heeding import refusal
from domain.policy import Policy
from domain.recall import RecallRequested, decide
from domain.words import amount_in_words, moment_in_words
from infra.postgres.history import AccountHistory, Published, Recall, SetAside
from infra.wire.kinds import EVERY_KIND, QUARANTINE

SAME_TIME = timedelta(minutes=1)
"""Times nearer to each other than this are told as one."""

Place = tuple[datetime, int]
"""Where a line stands: lines of one instant follow each other as a cause and its effect do."""

SENDING = 4

_FOLLOWS = {
    "collections.debt.referred.v1": 0,
    "collections.placement.opened.v1": 1,
    "guard.recall.requested.v1": 3,
    "recall.sent": SENDING,
    "recall.resent": SENDING,
}
_FACT = 2
_ANSWER = 5

NO_AGENCIES: Agencies = {}

Told = Recorded | Recall | SetAside | Mapping[str, Any]  # `Any`: a record of ours, read back.

_TYPE_OF = {kind.event: kind.type for kind in EVERY_KIND}


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `source` and `id` name the event it is told by; they are empty for our own acts."""

    at: datetime
    kind: str
    words: str
    arrived_at: datetime | None = None
    source: str = ""
    id: str = ""
    before: datetime | None = field(default=None, compare=False)
    """The earliest answer to what this line tells of, where that is earlier: a clock is not a cause."""
    of: Told | None = field(default=None, compare=False)
    """What it tells of, for whoever tells it in other words."""
    is_breach: bool = field(default=False, compare=False)
    """Whether it is a contact after the agency was told to stop."""
    message: int = field(default=0, compare=False)
    """The number in the outbox of the message of ours that it tells of; 0 where it tells of none."""

    @property
    def place(self) -> Place:
        """Where it stands among the others."""
        usual = _ANSWER if self.kind.startswith("agency.") else _FACT
        return min(self.at, self.before or self.at), _FOLLOWS.get(self.kind, usual)


@dataclass(frozen=True, slots=True)
class DebtNow:
    """A debt as it stands, and whether it might be placed now."""

    debt_id: str
    balance: Balance | None
    settled: bool
    settled_by: Money | None
    answer: clearance.Answer
    words: str


class Step(StrEnum):
    """What is to be done next, for whoever tells it in other words."""

    NOTHING = "nothing"
    RECALL = "recall"
    DECIDE_DISPUTE = "decide_dispute"
    COLLECT = "collect"
    FINISH_RECALL = "finish_recall"
    ANSWER_OBJECTION = "answer_objection"
    CALL_AGENCY = "call_agency"
    SEND_RECALL = "send_recall"
    ACKNOWLEDGE = "acknowledge"


@dataclass(frozen=True, slots=True)
class NextStep:
    """Who has to act: an agency, a person at the creditor, the guard, or nobody; what, and by when."""

    actor: str
    what: str
    step: Step
    by: datetime | None = None

    def in_words(self, timezone: tzinfo) -> str:
        """The step as a clause: `agency-1: acknowledge the recall, by 14 Nov 2026 10:02`."""
        by = f", by {moment_in_words(self.by, timezone)}" if self.by is not None else ""
        return f"{self.actor}: {self.what}{by}"


@dataclass(frozen=True, slots=True)
class PlacementNow:
    """A placement as it stands."""

    episode: Episode
    recall: Recall | None
    next_step: NextStep
    confirmed: Confirmed | NotYet
    """What its customer may be told in writing, or why nothing yet."""


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


def tell_story(
    history: AccountHistory,
    policy: Policy,
    now: datetime,
    *,
    behind: str | None = None,
    agencies: Agencies = NO_AGENCIES,
) -> Story:
    """The story of an account as of now."""
    holds = tuple(one for one in history.set_aside if one.dropped is None)
    stopped = [f"the stream {topic} is stopped" for topic in history.stopped_topics]
    missing = "; ".join(stopped) or behind
    debts = tuple(_debts(history, policy, now, holds=holds, behind=missing))
    placements = tuple(_placements(history, policy, now, agencies, debts, behind))
    paid_and_placed, verdict = _verdict(history, debts, placements, policy, behind)
    return Story(
        account_id=history.account_id,
        asked_at=now,
        paid_and_placed=paid_and_placed,
        verdict=verdict,
        lines=tuple(sorted(_lines(history, policy), key=lambda line: line.place)),
        debts=debts,
        placements=placements,
        holds=holds,
        stopped_topics=history.stopped_topics,
        behind=behind,
    )


def _lines(history: AccountHistory, policy: Policy) -> Iterator[Line]:
    """All lines, those of one instant in the order in which they follow from each other."""
    recalls = {recall.placement_id: recall for recall in history.recalls}
    first = {one.recall_id: one.number for one in history.published if not one.again}
    said_by = {(recorded.source, recorded.id): recorded for recorded in history.events}
    for recorded in history.events:
        yield _event_line(recorded, history.case.account, recalls, policy)
    for record in history.published:
        if record.recall_id is None and record.topic != QUARANTINE:
            yield _published_line(record)
        if record.again and record.sent_at is not None:
            at = record.began_at or record.sent_at
            words = f"recall {record.recall_id} sent again: {record.again}"
            of = {"again": record.again, "recall_id": record.recall_id}
            yield Line(at, "recall.resent", words, of=of, message=record.number)
    for recall in history.recalls:
        message = first.get(recall.recall_id, 0)
        trigger = said_by.get((recall.trigger_source, recall.trigger_id))
        yield _requested_line(recall, trigger, policy, message)
        yield from _recall_lines(recall)
        if recall.sent_at is not None:
            yield replace(_sent_line(recall, recall.sent_at, history), message=message)
    for one in history.set_aside:
        yield from _set_aside_lines(one)


def _event_line(recorded: Recorded, account: Account, recalls: dict[str, Recall], policy: Policy) -> Line:
    event = recorded.event
    words = event_in_words(event, policy.timezone)
    is_breach = False
    if refusal(account, recorded) is not None:
        words += ", which has no effect: it is another agency's placement, or another recall"
    elif isinstance(event, ContactMade):
        recall = recalls.get(event.placement_id)
        if recall is not None and recall.is_breached_by(event.contacted_at, policy.recall.contact_grace):
            is_breach = True
            words += ", after it was told to stop"
    notes: list[str] = []
    happened = happened_at(event)
    if happened is not None and abs(happened - recorded.time) > SAME_TIME:
        notes.append(f"dated {moment_in_words(happened, policy.timezone)}")
    arrived = recorded.origin.received_at
    if abs(arrived - recorded.time) > SAME_TIME:
        notes.append(f"arrived {moment_in_words(arrived, policy.timezone)}")
    if notes:
        words += f" ({', '.join(notes)})"
    return Line(
        recorded.time,
        _TYPE_OF[type(event)],
        words,
        arrived,
        recorded.source,
        recorded.id,
        of=recorded,
        is_breach=is_breach,
    )


def _published_line(record: Published) -> Line:
    message = json.loads(record.value)
    out = (
        "" if record.sent_at else ", not sent yet" if record.superseded_at is None else ", not sent: recalled first"
    )
    at = datetime.fromisoformat(message["time"])
    words = f"{message_in_words(message)}{out}"
    return Line(at, message["type"], words, of=message["data"], message=record.number)


def _requested_line(recall: Recall, trigger: Recorded | None, policy: Policy, message: int) -> Line:
    zone = policy.timezone
    owed = amount_in_words(recall.outstanding, recall.currency)
    because = f", because {event_in_words(trigger.event, zone)}" if trigger else ""
    noticed = ", found by a sweep" if recall.swept else ""
    words = f"recall of placement {recall.placement_id} from {recall.agency_id}: {recall.reason}"
    wait = f"to be acknowledged by {moment_in_words(recall.acknowledge_by, zone)}"
    return Line(
        recall.requested_at,
        "guard.recall.requested.v1",
        f"{words} ({recall.cause}){because}{noticed}; {owed} owed; {wait}",
        of=recall,
        message=message,
    )


def _recall_lines(recall: Recall) -> Iterator[Line]:
    if recall.overdue_at is not None:
        words = f"nobody had answered the recall of placement {recall.placement_id} in time"
        yield Line(recall.overdue_at, "recall.overdue", words, of=recall)
    if recall.escalated_at is not None:
        words = f"nobody had answered the recall of placement {recall.placement_id} after that either"
        yield Line(recall.escalated_at, "recall.escalated", words, of=recall)
    if recall.taken_over_at is not None:
        why = f": {recall.taken_over_reason}" if recall.taken_over_reason else ""
        words = f"{recall.taken_over_by or 'a person'} took the recall of placement {recall.placement_id} over{why}"
        yield Line(recall.taken_over_at, "recall.taken_over", words, of=recall)


def _sent_line(recall: Recall, sent_at: datetime, history: AccountHistory) -> Line:
    """When it was sent: as its first attempt to arrive began, where that is kept, else as it was marked."""
    began = [
        one.began_at for one in history.published if one.recall_id == recall.recall_id and one.began_at is not None
    ]
    at = min([sent_at, *began])
    answers = [
        recorded.time
        for recorded in history.events
        if isinstance(recorded.event, RecallAcknowledged | RecallRejected)
        and recorded.event.recall_id == recall.recall_id
        and recorded.time >= recall.requested_at
    ]
    words = f"recall of placement {recall.placement_id} sent to {recall.agency_id}"
    return Line(at, "recall.sent", words, before=min(answers, default=None), of=recall)


def _set_aside_lines(one: SetAside) -> Iterator[Line]:
    place = f"{one.topic}/{one.partition} at {one.offset}"
    words = f"event {one.quarantine_id} of {place} put in quarantine: {one.reason}"
    yield Line(one.quarantined_at, "event.quarantined", words, of=one)
    if one.dropped is not None:
        words = f"event {one.quarantine_id} given up by {one.dropped.by}"
        yield Line(one.dropped.at, "event.dropped", words, of=one)


def _debts(
    history: AccountHistory, policy: Policy, now: datetime, *, holds: Sequence[SetAside], behind: str | None
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
            quarantined=bool(holds),
            quarantine_ids=tuple(one.quarantine_id for one in holds),
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
        when = moment_in_words(settled_by.at, policy.timezone)
        return f"{words}, settled on {when} by {event_in_words(settled_by.said_by.event, policy.timezone)}"
    return f"{words}, which counts as settled" if balance.settled(policy.debt) else words


def confirmed_of(
    history: AccountHistory,
    placement_id: str,
    policy: Policy,
    *,
    behind: str | None,
    owed: Mapping[str, Balance | None] | None = None,
) -> Confirmed | NotYet:
    """What the customer of a placement may be told in writing, or why nothing yet; `owed` is as of `confirm`."""
    waiting = sum(one.dropped is None for one in history.set_aside)
    stopped = "; ".join(f"the stream {topic} is stopped" for topic in history.stopped_topics)
    state = State(history.case.account, history.case.said, waiting, stopped or behind)
    sent = [one.sent_at for one in history.recalls if one.placement_id == placement_id]
    return confirm(state, placement_id, policy, told_at=sent[0] if sent else None, owed=owed)


def _placements(
    history: AccountHistory,
    policy: Policy,
    now: datetime,
    agencies: Agencies,
    debts: Iterable[DebtNow],
    behind: str | None,
) -> Iterator[PlacementNow]:
    account, said = history.case.account, history.case.said
    owed = {debt.debt_id: debt.balance for debt in debts}
    recalls = {recall.placement_id: recall for recall in history.recalls}
    due = {
        message.placement.placement_id
        for message in decide(account, said, policy, now=now, noticed_by=None)
        if isinstance(message, RecallRequested)
    }
    for episode in episodes(account, said):
        placement_id = episode.opened.placement_id
        recall = recalls.get(placement_id)
        if recall is not None and episode.is_open:
            step = _next_of_recall(episode, recall, now, agency_of(agencies, episode.opened.agency_id))
        else:
            step = _next_step(episode, now, recall_due=placement_id in due)
        confirmed = confirmed_of(history, placement_id, policy, behind=behind, owed=owed)
        yield PlacementNow(episode, recall, step, confirmed)


def _next_step(episode: Episode, now: datetime, *, recall_due: bool) -> NextStep:
    """Who acts next on a placement that is over, or not recalled; the first that applies."""
    if not episode.is_open:
        return NextStep("nobody", "it is over", Step.NOTHING)
    if recall_due:
        return NextStep("the guard", "recall it: `handoff-guard sweep --once` does", Step.RECALL, now)
    if episode.said.suspended:
        return NextStep("the creditor", "decide the dispute", Step.DECIDE_DISPUTE)
    return NextStep(episode.opened.agency_id, "collect what is owed", Step.COLLECT)


def _next_of_recall(episode: Episode, recall: Recall, now: datetime, agency: Agency) -> NextStep:
    """Who acts next on a recall that goes on; no deadline is told where its clock has stopped."""
    if recall.taken_over_at is not None:
        what = f"finish the recall, which {recall.taken_over_by or 'a person'} took over"
        return NextStep("the creditor", what, Step.FINISH_RECALL)
    if episode.rejected is not None:
        return NextStep("the creditor", f"answer the objection of {agency.agency_id}", Step.ANSWER_OBJECTION)
    if recall.escalated_at is not None or recall.acknowledge_by < now:
        contact = f" ({agency.escalation_contact})" if agency.escalation_contact else ""
        why = "which has not answered the recall" if recall.sent_at else "which the recall has not reached"
        return NextStep(
            "the creditor", f"call {agency.agency_id}{contact}, {why}", Step.CALL_AGENCY, recall.acknowledge_by
        )
    if recall.sent_at is None:
        what = "send the recall: `handoff-guard dispatch` does"
        return NextStep("the guard", what, Step.SEND_RECALL, recall.acknowledge_by)
    return NextStep(agency.agency_id, "acknowledge the recall", Step.ACKNOWLEDGE, recall.acknowledge_by)


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
