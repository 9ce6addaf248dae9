"""One event and one account: the facts grow, what must be told is decided, and both are remembered.

Called by every consumer that applies events or looks at an account again, so that there is one way to do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from consumers.traced import UNTRACED, Context, Traced
from domain.account import apply
from domain.episode import episodes
from domain.events import ContactMade, Recorded
from domain.heeding import TOLD_BY, judged, refusal
from domain.policy import Policy
from domain.recall import Message, RecallRequested, after, decide
from infra.logs import Logger
from infra.postgres.ledger import Case, Loaded, Outcome
from infra.wire.decode import Decoded
from infra.wire.encode import encode


def advance(case: Case, recorded: Recorded, policy: Policy, now: datetime) -> tuple[Message, ...]:
    """Apply one event to a case, and return what agencies must be told because of it."""
    case.account = apply(case.account, recorded)
    case.events.append(recorded)
    return look_again(case, policy, now, noticed_by=recorded)


def look_again(case: Case, policy: Policy, now: datetime, *, noticed_by: Recorded | None) -> tuple[Message, ...]:
    """What agencies must be told of a case as it stands; it counts as told from here on."""
    messages = decide(case.account, case.said, policy, now=now, noticed_by=noticed_by)
    case.said = after(case.said, messages)
    return messages


def tell(outcome: Outcome, messages: Iterable[Message], context: Context = UNTRACED.by_itself) -> None:
    """Put messages where the commit will find them: recalls as rows, all of them in the outbox.

    `context` says under which trace each goes out.
    """
    for message in messages:
        recall_id = message.recall_id if isinstance(message, RecallRequested) else None
        if isinstance(message, RecallRequested):
            outcome.recalls.append(message)
        outcome.outbox.append((encode(message, traceparent=context(message)), recall_id))


def remember(outcome: Outcome, case: Case) -> None:
    """Put the case's placements, as they stand, where the commit will find them."""
    outcome.episodes += episodes(case.account, case.said)


def take_in(
    entries: Sequence[Decoded],
    loaded: Loaded,
    outcome: Outcome,
    policy: Policy,
    now: datetime,
    traced: Traced = UNTRACED,
) -> None:
    """Apply what is new of these, whose accounts are locked and loaded: what `advance` does, event by event."""
    touched: dict[str, Case] = {}
    outcome.contact_grace = policy.recall.contact_grace
    for number in loaded.fresh:
        entry = entries[number]
        case = loaded.cases.get(entry.account_id)
        if case is None:
            continue  # No debt and no placement: the fact itself is all there is to keep.
        recorded = entry.recorded
        messages = advance(case, recorded, policy, now)
        if messages:
            tell(outcome, messages, traced.because_of(entry))
        if isinstance(recorded.event, TOLD_BY):
            hear(outcome, case, recorded)
            traced.heard(entry)
        touched[entry.account_id] = case
    for case in touched.values():
        remember(outcome, case)


def hear(outcome: Outcome, case: Case, recorded: Recorded) -> None:
    """Put contacts, and what agencies said without effect, where the commit will find them."""
    for said in judged(case.account, recorded, case.events):
        refused = refusal(case.account, said)
        if refused is not None:
            outcome.refused.append(refused)
        elif isinstance(said.event, ContactMade):
            outcome.contacts.append(said.event)


def log_recalls(log: Logger, outcome: Outcome) -> None:
    """A line for each recall that was decided."""
    for recall in outcome.recalls:
        log.info(
            "recall.requested",
            recall_id=recall.recall_id,
            placement_id=recall.placement.placement_id,
            agency_id=recall.placement.agency_id,
            reason=recall.reason,
            cause=recall.cause,
        )
