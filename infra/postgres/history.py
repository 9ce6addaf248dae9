"""All that the database knows of one account, read in one snapshot: events, what agencies were told, holds.

Called by `why`. Takes no lock and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from domain.events import Recorded
from infra.postgres import quarantine
from infra.postgres.database import Database
from infra.postgres.ledger import Batch, Case, Codec
from infra.postgres.quarantine import Drop, Held


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall as the database keeps it."""

    placement_id: str
    recall_id: str
    agency_id: str
    reason: str
    cause: str
    outstanding: int
    currency: str
    requested_at: datetime
    acknowledge_by: datetime
    trigger_source: str
    trigger_id: str
    swept: bool
    sent_at: datetime | None
    acknowledged_at: datetime | None
    rejected_at: datetime | None
    overdue_at: datetime | None
    state: str
    escalated_at: datetime | None = None
    taken_over_at: datetime | None = None
    placement_closed_at: datetime | None = None
    resends: int = 0
    taken_over_by: str | None = None
    taken_over_reason: str | None = None
    breaches: tuple[datetime, ...] = ()
    """When the agency spoke to the customer in spite of it."""

    def is_breached_by(self, contacted_at: datetime, grace: timedelta) -> bool:
        """Whether a contact was found to be a breach, or is one and was not found yet."""
        late = self.sent_at is not None and contacted_at > self.sent_at + grace
        return late or contacted_at in self.breaches


@dataclass(frozen=True, slots=True)
class Published:
    """A record of the outbox, out or waiting; recalls are among it."""

    topic: str
    value: bytes
    recall_id: str | None
    sent_at: datetime | None
    again: str = ""
    """Why a recall is sent once more; empty for the first time."""
    superseded_at: datetime | None = None
    """When the placement's recall took its place; it never arrived."""
    began_at: datetime | None = None
    """When the attempt began by which it arrived; None where none is kept, as by Kafka."""
    made_at: datetime | None = None
    """When the record was written down, by the database's clock."""
    number: int = 0
    """Its number in the outbox."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event of this account that waits in quarantine, or was given up."""

    quarantine_id: int
    topic: str
    partition: int
    offset: int
    reason: str
    quarantined_at: datetime
    dropped: Drop | None


@dataclass(frozen=True, slots=True)
class AccountHistory:
    """One account: its events by their time, its case, what was said and set aside, and which streams stand."""

    account_id: str
    events: tuple[Recorded, ...]
    case: Case
    recalls: tuple[Recall, ...]
    published: tuple[Published, ...]
    set_aside: tuple[SetAside, ...]
    stopped_topics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """An event as it came: its bytes where they were kept, and where it stood in the streams.

    `fact` is what the ledger has of it, by the ledger's names; what it has nothing of is left out.
    """

    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    topic: str
    partition: int
    offset: int
    kind: int
    fact: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Message:
    """A record of the outbox in full, as it is published; `superseded_at` is as of `Published`."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    made_at: datetime
    sent_at: datetime | None
    superseded_at: datetime | None


class History:
    """The histories in one database."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    def of(self, account_id: str) -> AccountHistory | None:
        """The history of one account; None where nothing is known of it."""
        with self._database.transaction() as connection:
            connection.execute(sa.text(SNAPSHOT))
            history = read_history(connection, self._codec, account_id)
        return history if history.events or history.published or history.set_aside else None

    def raw(self, account_id: str, source: str, event_id: str) -> Raw | None:
        """One event of an account as it came; None where the account has none of this name."""
        names = {"account_id": account_id, "source": source, "event_id": event_id}
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_RAW), names).first()
        if row is None:
            return None
        value = bytes(row.value) if row.value is not None else None
        topic = row.origin_topic or self._codec.topic_of(row.kind)
        fact = {name: kept for name in FACT if (kept := getattr(row, name)) is not None}
        return Raw(value, _headers(row.headers), topic, row.origin_partition, row.origin_offset, row.kind, fact)

    def message(self, account_id: str, number: int) -> Message | None:
        """One record of the outbox by its number; None where the account has none, or none any more."""
        names = {"account_id": account_id, "number": number}
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_MESSAGE), names).first()
        if row is None:
            return None
        return Message(row[0], bytes(row[1]), bytes(row[2]), _headers(row[3]), *row[4:])

    def knows(self, account_id: str) -> bool:
        """Whether anything is known of an account, as `of` has it, without reading it."""
        with self._database.transaction() as connection:
            return bool(connection.execute(sa.text(_KNOWS), {"account_id": account_id}).scalar_one())

    def with_held(self, account_id: str) -> tuple[AccountHistory, list[Held]] | None:
        """The same, beside every event that holds the account or ever did, in one snapshot."""
        with self._database.transaction() as connection:
            connection.execute(sa.text(SNAPSHOT))
            history = read_history(connection, self._codec, account_id)
            held = quarantine.of_account(connection, account_id)
        return (history, held) if history.events or history.published or held else None


SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

FACT = (
    "event_time", "received_at", "money_id", "amount", "currency", "money_at", "debt_id", "contract_id", "stored",
)  # fmt: skip
"""The columns of the ledger that hold what an event says."""


def read_history(connection: sa.Connection, codec: Codec, account_id: str) -> AccountHistory:
    """The history of one account, empty where nothing is known of it; the transaction is one snapshot."""
    batch = Batch(connection, codec, "")
    return AccountHistory(
        account_id=account_id,
        events=tuple(batch.events(account_id)),
        case=batch.load([account_id])[account_id],
        recalls=tuple(_recall(row) for row in _rows(connection, _RECALLS, account_id)),
        published=tuple(
            Published(row[0], bytes(row[1]), *row[2:]) for row in _rows(connection, _PUBLISHED, account_id)
        ),
        set_aside=tuple(_set_aside(row) for row in _rows(connection, _SET_ASIDE, account_id)),
        stopped_topics=tuple(str(row[0]) for row in connection.execute(sa.text(_STOPPED))),
    )


Row = sa.Row[*tuple[Any, ...]]  # `Any`: a row is untyped.


def _rows(connection: sa.Connection, statement: str, account_id: str) -> Sequence[Row]:
    return connection.execute(sa.text(statement), {"account_id": account_id}).all()


def _headers(kept: Sequence[tuple[str, str]] | None) -> tuple[tuple[str, bytes], ...]:
    """Headers as they were; they are kept as [[name, hex of the value], ..]."""
    return tuple((name, bytes.fromhex(value)) for name, value in kept or ())


def _recall(row: Row) -> Recall:
    values = row._asdict()
    return Recall(**{**values, "breaches": tuple(values["breaches"])})


def _set_aside(row: Row) -> SetAside:
    drop = Drop(row[6], row[7], row[8]) if row[6] is not None else None
    return SetAside(row[0], row[1], row[2], row[3], row[4], row[5], drop)


_RECALLS = """
SELECT placement_id, recall_id, agency_id, reason, cause, outstanding, currency, requested_at, acknowledge_by,
       trigger_source, trigger_id, swept, sent_at, acknowledged_at, rejected_at, overdue_at, state,
       escalated_at, taken_over_at, taken_over_by, taken_over_reason,
       placement_closed_at, resends,
       ARRAY(SELECT c.contacted_at FROM contact c
             WHERE c.account_id = recall.account_id AND c.placement_id = recall.placement_id
               AND c.breached_at IS NOT NULL ORDER BY c.contacted_at) AS breaches
FROM recall WHERE account_id = :account_id ORDER BY requested_at, placement_id"""

_PUBLISHED = """
SELECT topic, value, recall_id, sent_at, again, superseded_at,
       (SELECT max(d.began_at) FROM delivery_attempt d
        WHERE d.account_id = outbox.account_id AND d.outbox_id = outbox.outbox_id AND d.delivered) AS began_at,
       created_at, outbox_id
FROM outbox WHERE account_id = :account_id ORDER BY outbox_id"""

_MESSAGE = """
SELECT topic, key, value, headers, created_at, sent_at, superseded_at
FROM outbox WHERE account_id = :account_id AND outbox_id = :number"""

# What holds the account now, and what held it until a person gave it up.
_SET_ASIDE = """
SELECT q.quarantine_id, q.origin_topic, q.origin_partition, q.origin_offset, q.reason, q.quarantined_at,
       q.dropped_at, q.dropped_by, q.dropped_reason
FROM quarantine q
WHERE q.quarantine_id IN (SELECT quarantine_id FROM hold WHERE account_id = :account_id)
   OR (q.dropped_at IS NOT NULL AND q.released_accounts @> ARRAY[CAST(:account_id AS text)])
ORDER BY q.quarantine_id"""

_STOPPED = "SELECT topic FROM stream WHERE stopped_reason IS NOT NULL ORDER BY topic"

# The newest, should two sources of one name ever meet.
_RAW = """
SELECT r.value, r.headers, l.kind, l.origin_topic, l.origin_partition, l.origin_offset,
       l.event_time, l.received_at, l.money_id, l.amount, l.currency, l.money_at, l.debt_id, l.contract_id, l.stored
FROM ledger l LEFT JOIN received r ON r.account_id = l.account_id AND r.event_key = l.event_key
WHERE l.account_id = :account_id AND l.source = :source AND l.event_id = :event_id"""

_KNOWS = """
SELECT EXISTS (SELECT FROM ledger WHERE account_id = :account_id)
    OR EXISTS (SELECT FROM outbox WHERE account_id = :account_id)
    OR EXISTS (SELECT FROM hold WHERE account_id = :account_id)
    OR EXISTS (SELECT FROM quarantine
               WHERE dropped_at IS NOT NULL AND released_accounts @> ARRAY[CAST(:account_id AS text)])"""
