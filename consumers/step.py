"""One event and one account: the facts grow, what must be told is decided, and both are remembered.

Called by every consumer that applies events or looks at an account again, so that there is one way to do it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from domain.account import apply
from domain.episode import episodes
from domain.events import Recorded
from domain.policy import Policy
from domain.recall import Message, RecallRequested, after, decide
from infra.postgres.ledger import Case, Outcome
from infra.wire.encode import encode


def advance(case: Case, recorded: Recorded, policy: Policy, now: datetime) -> tuple[Message, ...]:
    """Apply one event to a case, and return what agencies must be told because of it."""
    case.account = apply(case.account, recorded)
    return look_again(case, policy, now, noticed_by=recorded)


def look_again(case: Case, policy: Policy, now: datetime, *, noticed_by: Recorded | None) -> tuple[Message, ...]:
    """What agencies must be told of a case as it stands; it counts as told from here on."""
    messages = decide(case.account, case.said, policy, now=now, noticed_by=noticed_by)
    case.said = after(case.said, messages)
    return messages


def tell(outcome: Outcome, messages: Iterable[Message], traceparent: str | None = None) -> None:
    """Put messages where the commit will find them: recalls as rows, all of them in the outbox."""
    for message in messages:
        recall_id = message.recall_id if isinstance(message, RecallRequested) else None
        if isinstance(message, RecallRequested):
            outcome.recalls.append(message)
        outcome.outbox.append((encode(message, traceparent=traceparent), recall_id))


def remember(outcome: Outcome, case: Case) -> None:
    """Put the case's placements, as they stand, where the commit will find them."""
    outcome.episodes += episodes(case.account, case.said)
