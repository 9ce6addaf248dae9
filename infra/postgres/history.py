"""All that the database knows of one account, read in one snapshot: events, what agencies were told, holds.

Called by `why`. Takes no lock and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.events import Recorded
from infra.postgres.database import Database
from infra.postgres.ledger import Batch, Case, Codec
from infra.postgres.quarantine import Drop


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


@dataclass(frozen=True, slots=True)
class Published:
    """A record of the outbox, out or waiting; recalls are among it."""

    topic: str
    value: bytes
    recall_id: str | None
    sent_at: datetime | None


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


class History:
    """The histories in one database."""

    def __init__(self, database: Database, codec: Codec) -> None:
        self._database = database
        self._codec = codec

    def of(self, account_id: str) -> AccountHistory | None:
        """The history of one account; None where nothing is known of it."""
        with self._database.transaction() as connection:
            connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            batch = Batch(connection, self._codec, "")
            history = AccountHistory(
                account_id=account_id,
                events=tuple(batch.events(account_id)),
                case=batch.load([account_id])[account_id],
                recalls=tuple(Recall(*row) for row in _rows(connection, _RECALLS, account_id)),
                published=tuple(
                    Published(row[0], bytes(row[1]), row[2], row[3])
                    for row in _rows(connection, _PUBLISHED, account_id)
                ),
                set_aside=tuple(_set_aside(row) for row in _rows(connection, _SET_ASIDE, account_id)),
                stopped_topics=tuple(str(row[0]) for row in connection.execute(sa.text(_STOPPED))),
            )
        return history if history.events or history.published or history.set_aside else None


Row = sa.Row[*tuple[Any, ...]]  # `Any`: a row is untyped.


def _rows(connection: sa.Connection, statement: str, account_id: str) -> Sequence[Row]:
    return connection.execute(sa.text(statement), {"account_id": account_id}).all()


def _set_aside(row: Row) -> SetAside:
    drop = Drop(row[6], row[7], row[8]) if row[6] is not None else None
    return SetAside(row[0], row[1], row[2], row[3], row[4], row[5], drop)


_RECALLS = """
SELECT placement_id, recall_id, agency_id, reason, cause, outstanding, currency, requested_at, acknowledge_by,
       trigger_source, trigger_id, swept, sent_at, acknowledged_at, rejected_at, overdue_at
FROM recall WHERE account_id = :account_id ORDER BY requested_at, placement_id"""

_PUBLISHED = """
SELECT topic, value, recall_id, sent_at FROM outbox WHERE account_id = :account_id ORDER BY outbox_id"""

# What holds the account now, and what held it until a person gave it up.
_SET_ASIDE = """
SELECT q.quarantine_id, q.origin_topic, q.origin_partition, q.origin_offset, q.reason, q.quarantined_at,
       q.dropped_at, q.dropped_by, q.dropped_reason
FROM quarantine q
WHERE q.quarantine_id IN (SELECT quarantine_id FROM hold WHERE account_id = :account_id)
   OR (q.dropped_at IS NOT NULL AND q.released_accounts @> ARRAY[CAST(:account_id AS text)])
ORDER BY q.quarantine_id"""

_STOPPED = "SELECT topic FROM stream WHERE stopped_reason IS NOT NULL ORDER BY topic"
