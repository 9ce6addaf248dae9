"""All that the database has of one placement, for the proof: one snapshot, read only.

Called by `consumers.evidence` and `consumers.confirmation`. Takes no lock, decides nothing, and leaves out nothing
of the account: what concerns the placement is said in `domain.concern`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.events import Recorded
from infra.postgres import quarantine
from infra.postgres.clearances import Given
from infra.postgres.database import Database
from infra.postgres.history import SNAPSHOT, AccountHistory, read_history
from infra.postgres.ledger import Codec

EventName = tuple[str, str]
"""Source and id of an event."""

Headers = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Bytes:
    """An event's digest, and its bytes as they came where they were kept; else `value` is None."""

    digest: bytes
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver a message, with what went over the wire; one without `ended_at` died."""

    attempt: int
    channel: str
    began_at: datetime
    ended_at: datetime | None
    delivered: bool | None
    target: str
    detail: str
    request: bytes | None
    response: bytes | None


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message to the agency as it left, or waits to."""

    outbox_id: int
    recall_id: str | None
    agency_id: str | None
    channel: str
    again: str
    topic: str
    key: bytes
    value: bytes
    headers: Headers
    created_at: datetime
    sent_at: datetime | None
    superseded_at: datetime | None
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """One placement and its account, as of one instant.

    `rows` are the placement, its recall and the contacts as the tables have them. `decisions` are of its debt, and
    `streams` says of each registered topic in which cluster it is, and by which identity.
    """

    placement_id: str
    history: AccountHistory
    received: Mapping[EventName, Bytes]
    rows: Mapping[str, object]
    decisions: tuple[Given, ...]
    messages: tuple[SentMessage, ...]
    quarantine: tuple[quarantine.Held, ...]
    streams: Mapping[str, tuple[str, str]]
    schema_version: str

    @property
    def events(self) -> tuple[Recorded, ...]:
        """Every event of the account, by its time."""
        return self.history.events


class Proofs:
    """The proofs in one database."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    def accounts_of(self, placement_id: str) -> list[str]:
        """The accounts that have a placement of this id: none, one, or by some producer's mistake more."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_ACCOUNTS), {"placement_id": placement_id})
            return [str(row[0]) for row in rows]

    def of(self, account_id: str, placement_id: str) -> Proof | None:
        """All of one placement; None where this account has none of this id."""
        names = {"account_id": account_id, "placement_id": placement_id}
        with self._database.transaction() as connection:
            connection.execute(sa.text(SNAPSHOT))
            placement = connection.execute(sa.text(_PLACEMENT), names).scalar_one_or_none()
            if placement is None:
                return None
            recall = connection.execute(sa.text(_RECALL), names).scalar_one_or_none()
            contacts = list(connection.execute(sa.text(_CONTACTS), names).scalars())
            debt = {"account_id": account_id, "debt_id": placement["debt_id"]}
            return Proof(
                placement_id=placement_id,
                history=read_history(connection, self._codec, account_id),
                received=_received(connection, account_id),
                rows={"placement": placement, "recall": recall, "contacts": contacts},
                decisions=tuple(Given(*row) for row in connection.execute(sa.text(_DECISIONS), debt)),
                messages=_messages(connection, names),
                quarantine=tuple(quarantine.of_account(connection, account_id)),
                streams={row[0]: (row[1], row[2]) for row in connection.execute(sa.text(_STREAMS))},
                schema_version=str(connection.execute(sa.text(_SCHEMA)).scalar_one()),
            )


def _received(connection: sa.Connection, account_id: str) -> dict[EventName, Bytes]:
    rows = connection.execute(sa.text(_RECEIVED), {"account_id": account_id})
    return {
        (row[0], row[1]): Bytes(bytes.fromhex(row[2]), _bytes(row[3]), _bytes(row[4]), _headers(row[5] or []))
        for row in rows
    }


def _messages(connection: sa.Connection, names: Mapping[str, str]) -> tuple[SentMessage, ...]:
    attempts: dict[int, list[Attempt]] = {}
    for row in connection.execute(sa.text(_ATTEMPTS), names):
        request, response = _bytes(row[8]), _bytes(row[9])
        one = Attempt(row[1], row[2], row[3], row[4], row[5], row[6], row[7], request, response)
        attempts.setdefault(row[0], []).append(one)
    return tuple(
        SentMessage(
            outbox_id=row[0],
            recall_id=row[1],
            agency_id=row[2],
            channel=row[3],
            again=row[4],
            topic=row[5],
            key=bytes(row[6]),
            value=bytes(row[7]),
            headers=_headers(row[8]),
            created_at=row[9],
            sent_at=row[10],
            superseded_at=row[11],
            attempts=tuple(attempts.get(row[0], [])),
        )
        for row in connection.execute(sa.text(_MESSAGES), names)
    )


def _bytes(value: Any) -> bytes | None:  # `Any`: a column is untyped.
    return bytes(value) if value is not None else None


def _headers(pairs: Sequence[tuple[str, str]]) -> Headers:
    return tuple((name, bytes.fromhex(value)) for name, value in pairs)


_ACCOUNTS = "SELECT account_id FROM placement WHERE placement_id = :placement_id ORDER BY account_id"

_PLACEMENT = """
SELECT to_jsonb(p) FROM placement p WHERE p.account_id = :account_id AND p.placement_id = :placement_id"""

_RECALL = "SELECT to_jsonb(r) FROM recall r WHERE r.account_id = :account_id AND r.placement_id = :placement_id"

_CONTACTS = """
SELECT to_jsonb(c) FROM contact c
WHERE c.account_id = :account_id AND c.placement_id = :placement_id ORDER BY c.contacted_at, c.channel"""

# Every event of the account, with its bytes where they were kept.
_RECEIVED = """
SELECT l.source, l.event_id, replace(l.digest::text, '-', ''), r.key, r.value, r.headers
FROM ledger l LEFT JOIN received r ON r.account_id = l.account_id AND r.event_key = l.event_key
WHERE l.account_id = :account_id"""

_DECISIONS = """
SELECT clearance_id, account_id, debt_id, agency_id, decision, outstanding, currency, decided_at, expires_at,
       asked_by, shadow, answer, placement_id, confirmed_at
FROM clearance WHERE account_id = :account_id AND debt_id = :debt_id ORDER BY decided_at, clearance_id"""

_MESSAGES = """
SELECT outbox_id, recall_id, agency_id, channel, again, topic, key, value, headers, created_at, sent_at,
       superseded_at
FROM outbox WHERE account_id = :account_id AND placement_id = :placement_id ORDER BY outbox_id"""

_ATTEMPTS = """
SELECT d.outbox_id, d.attempt, d.channel, d.began_at, d.ended_at, d.delivered, d.target, d.detail, d.request,
       d.response
FROM delivery_attempt d JOIN outbox o ON o.account_id = d.account_id AND o.outbox_id = d.outbox_id
WHERE o.account_id = :account_id AND o.placement_id = :placement_id ORDER BY d.outbox_id, d.attempt"""

_STREAMS = "SELECT topic, cluster_id, topic_id FROM stream"

_SCHEMA = "SELECT version_num FROM alembic_version"
