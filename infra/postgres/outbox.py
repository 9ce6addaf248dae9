"""What waits to be published on Kafka: claimed in turns by any number of dispatchers, and marked when it is out.

Called by `dispatch`; what goes to agencies by other channels is claimed by `infra.postgres.deliveries`. A claim is
a lease: whoever dies with it delays its records by `LEASE_SECONDS` and loses none. The records of one placement
leave in their order, so only its oldest unsent one can be claimed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from infra.postgres.database import Database
from infra.postgres.ledger import cached_text

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
    is_again: bool = False
    """It is a recall that was sent before."""


@dataclass(frozen=True, slots=True)
class Pending:
    """How much waits to be sent for the first time, and since when; None where nothing does."""

    records: int
    oldest: datetime | None


class Outbox:
    """The outbox of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, limit: int, *, elsewhere: Collection[str] = ()) -> list[Claimed]:
        """Take up to `limit` records to publish, oldest first, for `LEASE_SECONDS`.

        `elsewhere`: the agencies whose first channel is another one.
        """
        with self._database.transaction() as connection:
            waiting = [str(row[0]) for row in connection.execute(cached_text(_WAITING_AGENCIES))]
            here = [one for one in waiting if one not in elsewhere]
            rows = connection.execute(
                cached_text(_CLAIM), {"limit": limit, "lease": LEASE_SECONDS, "here": here}
            ).all()
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
                is_again=row[10] != "",
            )
            for row in rows
        ]
        return sorted(claimed, key=lambda one: one.outbox_id)

    def sent(self, claimed: Sequence[Claimed]) -> None:
        """Mark these as published, and their recalls as sent."""
        keys = {"accounts": [one.account_id for one in claimed], "ids": [one.outbox_id for one in claimed]}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_SENT), keys)
            connection.execute(sa.text(RECALLS_SENT), keys)

    def give_back(self, claimed: Sequence[Claimed]) -> None:
        """End the lease on these: they were not published."""
        keys = {"accounts": [one.account_id for one in claimed], "ids": [one.outbox_id for one in claimed]}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_GIVE_BACK), keys)

    def pending(self) -> Pending:
        """How much waits."""
        with self._database.transaction() as connection:
            return pending(connection)


def pending(connection: sa.Connection) -> Pending:
    """How much waits, in a transaction that is under way."""
    records, oldest = connection.execute(sa.text(_PENDING)).one()
    return Pending(int(records), oldest)


# The agencies for which something waits: one look into the index for each of them, however much that is.
_WAITING_AGENCIES = """
WITH RECURSIVE waiting (agency_id) AS (
    (SELECT agency_id FROM outbox
     WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL ORDER BY agency_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.agency_id FROM outbox o
            WHERE o.sent_at IS NULL AND o.superseded_at IS NULL AND o.agency_id > w.agency_id
            ORDER BY o.agency_id LIMIT 1)
    FROM waiting w WHERE w.agency_id IS NOT NULL
)
SELECT agency_id FROM waiting WHERE agency_id IS NOT NULL"""

# The oldest unsent record of each placement that nobody holds, a lease on each: of those that are for no agency,
# and of the agencies that are reached here. Each is looked for by an index of its own, so that no backlog of an
# agency which is reached elsewhere has to be walked through. Some more are looked at than are wanted, for other
# dispatchers may hold the first of them.
_CLAIM = """
WITH seen AS (
    (SELECT account_id, outbox_id FROM outbox
     WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NULL
       AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
     ORDER BY outbox_id LIMIT 4 * :limit)
    UNION ALL
    SELECT found.* FROM unnest(CAST(:here AS text[])) AS here (agency_id) CROSS JOIN LATERAL (
        SELECT account_id, outbox_id FROM outbox o
        WHERE o.sent_at IS NULL AND o.superseded_at IS NULL AND o.agency_id = here.agency_id AND o.channel = ''
          AND (o.claimed_until IS NULL OR o.claimed_until < clock_timestamp())
        ORDER BY o.outbox_id LIMIT 4 * :limit) found
), due AS (
    SELECT o.account_id, o.outbox_id FROM outbox o JOIN seen USING (account_id, outbox_id)
    WHERE o.sent_at IS NULL AND (o.claimed_until IS NULL OR o.claimed_until < clock_timestamp())
      AND (o.placement_id = '' OR NOT EXISTS (
          SELECT FROM outbox before
          WHERE before.account_id = o.account_id AND before.placement_id = o.placement_id
            AND before.channel = o.channel AND before.outbox_id < o.outbox_id AND before.sent_at IS NULL
            AND before.superseded_at IS NULL))
    ORDER BY o.outbox_id LIMIT :limit FOR UPDATE OF o SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET claimed_until = clock_timestamp() + make_interval(secs => :lease),
                        attempts = attempts + 1
    FROM due WHERE o.account_id = due.account_id AND o.outbox_id = due.outbox_id
    RETURNING o.account_id, o.outbox_id, o.placement_id, o.recall_id, o.topic, o.key, o.value, o.headers,
              o.again
)
SELECT c.account_id, c.outbox_id, c.recall_id, c.topic, c.key, c.value, c.headers,
       r.agency_id, r.cause, r.known_since, c.again
FROM claimed c
LEFT JOIN recall r ON r.account_id = c.account_id AND r.placement_id = c.placement_id
                  AND r.recall_id = c.recall_id"""

_SENT = """
UPDATE outbox o SET sent_at = clock_timestamp(), claimed_until = NULL
FROM unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id AND o.sent_at IS NULL"""

# Only the first time counts: a record sent again after a lost lease is the same order.
RECALLS_SENT = """
UPDATE recall r SET sent_at = o.sent_at
FROM outbox o, unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id
  AND r.account_id = o.account_id AND r.placement_id = o.placement_id AND r.recall_id = o.recall_id
  AND r.sent_at IS NULL"""

_GIVE_BACK = """
UPDATE outbox o SET claimed_until = NULL
FROM unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, outbox_id)
WHERE o.account_id = s.account_id AND o.outbox_id = s.outbox_id AND o.sent_at IS NULL"""

# Not what failed and is tried again later, nor what waits for an agency that is not reached: that is no fault here.
_PENDING = """
SELECT count(*), min(created_at) FROM (
    SELECT created_at FROM outbox WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NULL
    UNION ALL
    SELECT created_at FROM outbox o
    WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL AND due_at IS NULL AND NOT EXISTS (
        SELECT FROM agency_circuit c
        WHERE c.agency_id = o.agency_id AND c.open_until IS NOT NULL
          AND (c.channel = o.channel OR (o.channel = '' AND c.is_first)))) waiting"""
