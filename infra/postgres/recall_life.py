"""The life of one recall: from its placement to what was sent, what came back, and whom the agency spoke to.

Called by the console. One snapshot, read only; of what may grow, the newest up to a limit: the pack that `evidence`
makes has all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from infra.postgres.database import Database
from infra.postgres.history import SNAPSHOT

SENDINGS_MAX = 50
ATTEMPTS_MAX = 100
CONTACTS_MAX = 50
"""What a person looks through; an escalated recall goes out again for as long as nobody answers."""

SIDE_MAX_BYTES = 4_096
"""Of each side of an attempt: our messages have some 1,000, and a hundred attempts are on one page."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sending:
    """The recall as it was put on its way: first, or again and why. `channel` is '' for the agency's first."""

    outbox_id: int
    channel: str
    again: str
    created_at: datetime
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One attempt to deliver it, with the beginning of what went over the wire and of what came back.

    One without `ended_at` is still on its way, or its process died.
    """

    outbox_id: int
    attempt: int
    channel: str
    began_at: datetime
    ended_at: datetime | None
    delivered: bool | None
    target: str
    detail: str
    request: bytes | None
    request_bytes: int
    response: bytes | None
    response_bytes: int


@dataclass(frozen=True, slots=True)
class Spoken:
    """The agency spoke to the customer; a breach where that was after the recall, and the policy's grace."""

    contacted_at: datetime
    channel: str
    is_breach: bool


@dataclass(frozen=True, slots=True)
class Life:
    """All of one recall that its own row does not tell. `known_since` is by the broker's clock.

    `trigger_source` and `trigger_id` name the event that made the placement wrong; `message` is what the agency is
    sent, as far as it is still kept.
    """

    placed_at: datetime
    accepted_at: datetime | None
    paid_at: datetime | None
    known_since: datetime
    trigger_source: str
    trigger_id: str
    message: bytes | None
    sendings: tuple[Sending, ...]
    attempts: tuple[AttemptMade, ...]
    contacts: tuple[Spoken, ...]


class RecallLives:
    """The lives of the recalls of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, account_id: str, placement_id: str, recall_id: str) -> Life:
        """The life of this recall; sendings, attempts and contacts oldest first."""
        names = {
            "account_id": account_id,
            "placement_id": placement_id,
            "recall_id": recall_id,
            "sendings": SENDINGS_MAX,
            "attempts": ATTEMPTS_MAX,
            "contacts": CONTACTS_MAX,
            "side": SIDE_MAX_BYTES,
        }
        with self._database.transaction() as connection:
            connection.execute(sa.text(SNAPSHOT))
            begun = connection.execute(sa.text(_BEGUN), names).one()
            message = connection.execute(sa.text(_MESSAGE), names).scalar_one_or_none()
            return Life(
                **begun._asdict(),
                message=_bytes(message),
                sendings=_oldest_first(Sending(*row) for row in connection.execute(sa.text(_SENDINGS), names)),
                attempts=_oldest_first(_attempt(row) for row in connection.execute(sa.text(_ATTEMPTS), names)),
                contacts=_oldest_first(Spoken(*row) for row in connection.execute(sa.text(_CONTACTS), names)),
            )


def _oldest_first(newest_first: Iterable[T]) -> tuple[T, ...]:
    return tuple(reversed(list(newest_first)))


def _attempt(row: sa.Row[*tuple[Any, ...]]) -> AttemptMade:  # `Any`: a row is untyped.
    values = row._asdict()
    return AttemptMade(**{**values, "request": _bytes(values["request"]), "response": _bytes(values["response"])})


def _bytes(value: Any) -> bytes | None:  # `Any`: a column is untyped.
    return bytes(value) if value is not None else None


_BEGUN = """
SELECT p.placed_at, p.accepted_at, r.paid_at, r.known_since, r.trigger_source, r.trigger_id
FROM recall r JOIN placement p ON p.account_id = r.account_id AND p.placement_id = r.placement_id
WHERE r.account_id = :account_id AND r.placement_id = :placement_id"""

_MESSAGE = """
SELECT value FROM outbox
WHERE account_id = :account_id AND placement_id = :placement_id AND recall_id = :recall_id
ORDER BY outbox_id LIMIT 1"""

_SENDINGS = """
SELECT outbox_id, channel, again, created_at, sent_at FROM outbox
WHERE account_id = :account_id AND placement_id = :placement_id AND recall_id = :recall_id
ORDER BY outbox_id DESC LIMIT :sendings"""

_ATTEMPTS = """
SELECT d.outbox_id, d.attempt, d.channel, d.began_at, d.ended_at, d.delivered, d.target, d.detail,
       substring(d.request FROM 1 FOR :side) AS request, coalesce(octet_length(d.request), 0) AS request_bytes,
       substring(d.response FROM 1 FOR :side) AS response, coalesce(octet_length(d.response), 0) AS response_bytes
FROM delivery_attempt d JOIN outbox o ON o.account_id = d.account_id AND o.outbox_id = d.outbox_id
WHERE o.account_id = :account_id AND o.placement_id = :placement_id AND o.recall_id = :recall_id
ORDER BY d.outbox_id DESC, d.attempt DESC LIMIT :attempts"""

_CONTACTS = """
SELECT contacted_at, channel, breached_at IS NOT NULL FROM contact
WHERE account_id = :account_id AND placement_id = :placement_id
ORDER BY contacted_at DESC, channel LIMIT :contacts"""
