"""What waits to be published: claimed in turns by any number of dispatchers, and marked when it is out.

Called by `dispatch`. A claim is a lease: whoever dies with it delays its records by `LEASE_SECONDS` and loses
none. The records of one placement leave in their order, so only its oldest unsent one can be claimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from infra.postgres.database import Database

LEASE_SECONDS = 15
"""Above the producer's delivery time-out (10 s), so that a record is not claimed while it may still be sent."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One record to publish; `known_since` is when its recall could first be known, by the broker's clock."""

    account_id: str
    outbox_id: int
    recall_id: str | None
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    agency_id: str | None
    cause: str | None
    known_since: datetime | None


@dataclass(frozen=True, slots=True)
class Pending:
    """How much waits, and since when; None where nothing does."""

    records: int
    oldest: datetime | None


class Outbox:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, limit: int) -> list[Claimed]:
        """Take up to `limit` records to publish, oldest first, for `LEASE_SECONDS`."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_CLAIM), {"limit": limit, "lease": LEASE_SECONDS}).all()
        claimed = [
            Claimed(
                account_id=row[0],
                outbox_id=row[1],
                recall_id=row[2],
                topic=row[3],
                key=bytes(row[4]),
                value=bytes(row[5]),
                headers=tuple((name, bytes.fromhex(value)) for name, value in row[6]),
                agency_id=row[7],
                cause=row[8],
                known_since=row[9],
            )
            for row in rows
        ]
        return sorted(claimed, key=lambda one: one.outbox_id)

    def sent(self, claimed: Sequence[Claimed]) -> None:
        """Mark these as published, and their recalls as sent."""
        keys = {"accounts": [one.account_id for one in claimed], "ids": [one.outbox_id for one in claimed]}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_SENT), keys)
            connection.execute(sa.text(_RECALLS_SENT), keys)

    def give_back(self, claimed: Sequence[Claimed]) -> None:
        """End the lease on these: they were not published."""
        keys = {"accounts": [one.account_id for one in claimed], "ids": [one.outbox_id for one in claimed]}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_GIVE_BACK), keys)

    def pending(self) -> Pending:
        """How much waits."""
        with self._database.transaction() as connection:
            records, oldest = connection.execute(sa.text(_PENDING)).one()
            return Pending(int(records), oldest)


# The oldest unsent record of each placement that nobody holds, a lease on each.
_CLAIM = """
WITH due AS (
    SELECT account_id, outbox_id FROM outbox o
    WHERE sent_at IS NULL AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
      AND (placement_id = '' OR NOT EXISTS (
          SELECT FROM outbox before
          WHERE before.account_id = o.account_id AND before.placement_id = o.placement_id
            AND before.outbox_id < o.outbox_id AND before.sent_at IS NULL))
    ORDER BY outbox_id LIMIT :limit FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET claimed_until = clock_timestamp() + make_interval(secs => :lease),
                        attempts = attempts + 1
    FROM due WHERE o.account_id = due.account_id AND o.outbox_id = due.outbox_id
    RETURNING o.account_id, o.outbox_id, o.placement_id, o.recall_id, o.topic, o.key, o.value, o.headers
)
SELECT c.account_id, c.outbox_id, c.recall_id, c.topic, c.key, c.value, c.headers,
       r.agency_id, r.cause, r.known_since
FROM claimed c
LEFT JOIN recall r ON r.account_id = c.account_id AND r.placement_id = c.placement_id
                  AND r.recall_id = c.recall_id"""

_SENT = """
UPDATE outbox o SET sent_at = clock_timestamp(), claimed_until = NULL
FROM unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id AND o.sent_at IS NULL"""

# Only the first time counts: a record sent again after a lost lease is the same order.
_RECALLS_SENT = """
UPDATE recall r SET sent_at = o.sent_at
FROM outbox o, unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id
  AND r.account_id = o.account_id AND r.placement_id = o.placement_id AND r.recall_id = o.recall_id
  AND r.sent_at IS NULL"""

_GIVE_BACK = """
UPDATE outbox o SET claimed_until = NULL
FROM unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id AND o.sent_at IS NULL"""

_PENDING = "SELECT count(*), min(created_at) FROM outbox WHERE sent_at IS NULL"
