"""The events that could not be applied: what there is, one in full, and the marks of putting it back.

Called by `quarantine list|show|requeue` and `ingest`'s metrics. Events get in by `ledger.Batch.save`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.events import Origin, RawRecord
from infra.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Held:
    """One event in quarantine, with the accounts that it holds."""

    quarantine_id: int
    raw: RawRecord
    reason: str
    detail: str
    quarantined_at: datetime
    attempts: int
    accounts: tuple[str, ...]


class Quarantine:
    """The quarantine of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def waiting(self, *, account_id: str | None = None, after: int = 0, limit: int = 100) -> list[Held]:
        """What waits, oldest first; of one account where it is given, from behind an id."""
        parameters = {"account_id": account_id, "after": after, "limit": limit}
        with self._database.transaction() as connection:
            return [_held(row) for row in connection.execute(sa.text(_WAITING), parameters)]

    def find(self, ids: Sequence[int]) -> list[Held]:
        """These events, as far as they wait, oldest first."""
        with self._database.transaction() as connection:
            return [_held(row) for row in connection.execute(sa.text(_FIND), {"ids": list(ids)})]

    def count(self) -> int:
        """How many wait."""
        with self._database.transaction() as connection:
            return int(connection.execute(sa.text(_COUNT)).scalar_one())


def _held(row: sa.Row[*tuple[Any, ...]]) -> Held:  # `Any`: a row is untyped.
    headers = tuple((name, bytes.fromhex(value)) for name, value in row[7])
    raw = RawRecord(
        Origin(row[1], row[2], row[3], row[4]),
        bytes(row[5]) if row[5] is not None else None,
        bytes(row[6]) if row[6] is not None else None,
        headers,
    )
    return Held(row[0], raw, row[8], row[9], row[10], row[11], tuple(row[12]))


_COLUMNS = """
SELECT q.quarantine_id, q.origin_topic, q.origin_partition, q.origin_offset, q.received_at, q.key, q.value,
       q.headers, q.reason, q.detail, q.quarantined_at, q.attempts,
       ARRAY(SELECT h.account_id FROM hold h WHERE h.quarantine_id = q.quarantine_id ORDER BY h.account_id)
FROM quarantine q """

_WAITING = (
    _COLUMNS
    + """
WHERE q.applied_at IS NULL AND q.quarantine_id > :after
  AND (CAST(:account_id AS text) IS NULL OR EXISTS (
      SELECT FROM hold h WHERE h.quarantine_id = q.quarantine_id AND h.account_id = :account_id))
ORDER BY q.quarantine_id LIMIT :limit"""
)

_FIND = _COLUMNS + " WHERE q.applied_at IS NULL AND q.quarantine_id = ANY(:ids) ORDER BY q.quarantine_id"

_COUNT = "SELECT count(*) FROM quarantine WHERE applied_at IS NULL"
