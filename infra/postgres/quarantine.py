"""The events that could not be applied: what there is, one in full, and the marks of applying or dropping it.

Called by `quarantine list|show|requeue|drop`, `doctor`, `sweep`, and by `ledger.Batch` for what belongs into
the commit that applies an event. Events get in by `ledger.Batch.save`. Their bytes stay for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.events import Origin, RawRecord
from infra.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Drop:
    """An event was given up: when, by whom, and why in their words."""

    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Held:
    """One event in quarantine, with the accounts that it holds; or held, once it was applied or dropped."""

    quarantine_id: int
    raw: RawRecord
    reason: str
    detail: str
    quarantined_at: datetime
    attempts: int
    accounts: tuple[str, ...]
    applied_at: datetime | None = None
    dropped: Drop | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """An event in quarantine that was tried again and is still bad: why now, and the accounts to hold."""

    quarantine_id: int
    reason: str
    detail: str
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

    def look(self, quarantine_id: int) -> Held | None:
        """One event, also when it was applied or dropped since."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_LOOK), {"id": quarantine_id}).one_or_none()
            return _held(row) if row is not None else None

    def count(self) -> int:
        """How many wait."""
        with self._database.transaction() as connection:
            return int(connection.execute(sa.text(COUNT)).scalar_one())

    def holds(self, account_ids: Sequence[str]) -> dict[str, int]:
        """How many events hold each of these accounts; those that none holds are left out."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_HOLDS), {"accounts": list(account_ids)})
            return {str(account_id): int(events) for account_id, events in rows}

    def drop(self, quarantine_id: int, *, by: str, reason: str) -> Held | None:
        """Give one event up and end its holds; returns it as it is then, or None where it does not wait."""
        with self._database.transaction() as connection:
            claimed = claim(connection, [quarantine_id])
            if not claimed:
                return None
            connection.execute(sa.text(_DROPPED), {"id": quarantine_id, "by": by, "reason": reason})
            _end_holds(connection, claimed)
            return _held(connection.execute(sa.text(_LOOK), {"id": quarantine_id}).one())


def of_account(connection: sa.Connection, account_id: str) -> list[Held]:
    """Every event that holds this account or did, oldest first, also those that were applied or dropped since."""
    return [_held(row) for row in connection.execute(sa.text(_OF_ACCOUNT), {"account_id": account_id})]


def claim(connection: sa.Connection, ids: Sequence[int]) -> list[Held]:
    """Lock these events, as far as they wait, oldest first: who tries them at the same time waits for us."""
    locked = [int(row[0]) for row in connection.execute(sa.text(_CLAIM), {"ids": list(ids)})]
    # A statement of its own, so that it sees what was committed while the locks were waited for.
    return [_held(row) for row in connection.execute(sa.text(_FIND), {"ids": locked})]


def release(connection: sa.Connection, applied: Sequence[Held]) -> None:
    """Mark these claimed events as applied, and end their holds."""
    connection.execute(sa.text(_APPLIED), {"ids": [one.quarantine_id for one in applied]})
    _end_holds(connection, applied)


def refuse(connection: sa.Connection, refused: Sequence[Refused]) -> None:
    """Mark these claimed events as tried in vain, with their new reasons and holds."""
    rows = [
        {
            "quarantine_id": one.quarantine_id,
            "reason": one.reason,
            "detail": one.detail.replace("\0", ""),
            "accounts": one.accounts,
        }
        for one in refused
    ]
    connection.execute(sa.text(_REFUSED), {"rows": json.dumps(rows)})
    connection.execute(sa.text(_HOLD_MORE), {"rows": json.dumps(rows)})


def _end_holds(connection: sa.Connection, held: Sequence[Held]) -> None:
    connection.execute(sa.text(_RELEASE), {"ids": [one.quarantine_id for one in held]})
    pairs = [(account_id, one.quarantine_id) for one in held for account_id in one.accounts]
    parameters = {"accounts": [account_id for account_id, _ in pairs], "ids": [number for _, number in pairs]}
    connection.execute(sa.text(_END_HOLDS), parameters)


def _held(row: sa.Row[*tuple[Any, ...]]) -> Held:  # `Any`: a row is untyped.
    headers = tuple((name, bytes.fromhex(value)) for name, value in row[7])
    raw = RawRecord(
        Origin(row[1], row[2], row[3], row[4]),
        bytes(row[5]) if row[5] is not None else None,
        bytes(row[6]) if row[6] is not None else None,
        headers,
    )
    drop = Drop(row[14], row[15], row[16]) if row[14] is not None else None
    return Held(row[0], raw, row[8], row[9], row[10], row[11], tuple(row[12]), row[13], drop)


_COLUMNS = """
SELECT q.quarantine_id, q.origin_topic, q.origin_partition, q.origin_offset, q.received_at, q.key, q.value,
       q.headers, q.reason, q.detail, q.quarantined_at, q.attempts,
       COALESCE(q.released_accounts, ARRAY(
           SELECT h.account_id FROM hold h WHERE h.quarantine_id = q.quarantine_id ORDER BY h.account_id)),
       q.applied_at, q.dropped_at, q.dropped_by, q.dropped_reason
FROM quarantine q """

_WAITING = (
    _COLUMNS
    + """
WHERE q.applied_at IS NULL AND q.dropped_at IS NULL AND q.quarantine_id > :after
  AND (CAST(:account_id AS text) IS NULL OR EXISTS (
      SELECT FROM hold h WHERE h.quarantine_id = q.quarantine_id AND h.account_id = :account_id))
ORDER BY q.quarantine_id LIMIT :limit"""
)

_FIND = (
    _COLUMNS
    + """
WHERE q.applied_at IS NULL AND q.dropped_at IS NULL AND q.quarantine_id = ANY(:ids) ORDER BY q.quarantine_id"""
)

_LOOK = _COLUMNS + " WHERE q.quarantine_id = :id"

_OF_ACCOUNT = (
    _COLUMNS
    + """
WHERE q.released_accounts @> ARRAY[CAST(:account_id AS text)] OR EXISTS (
      SELECT FROM hold h WHERE h.quarantine_id = q.quarantine_id AND h.account_id = :account_id)
ORDER BY q.quarantine_id"""
)

_CLAIM = """
SELECT quarantine_id FROM quarantine
WHERE applied_at IS NULL AND dropped_at IS NULL AND quarantine_id = ANY(:ids)
ORDER BY quarantine_id FOR UPDATE"""

COUNT = "SELECT count(*) FROM quarantine WHERE applied_at IS NULL AND dropped_at IS NULL"

_HOLDS = "SELECT account_id, count(*) FROM hold WHERE account_id = ANY(:accounts) GROUP BY account_id"

# Which accounts it held stays known when the holds are gone.
_RELEASE = """
UPDATE quarantine q SET released_accounts = ARRAY(
    SELECT h.account_id FROM hold h WHERE h.quarantine_id = q.quarantine_id ORDER BY h.account_id)
WHERE quarantine_id = ANY(:ids)"""

_APPLIED = "UPDATE quarantine SET applied_at = clock_timestamp() WHERE quarantine_id = ANY(:ids)"

_DROPPED = """
UPDATE quarantine SET dropped_at = clock_timestamp(), dropped_by = :by, dropped_reason = :reason
WHERE quarantine_id = :id"""

_END_HOLDS = """
DELETE FROM hold h USING unnest(CAST(:accounts AS text[]), CAST(:ids AS bigint[])) AS s (account_id, quarantine_id)
WHERE h.account_id = s.account_id AND h.quarantine_id = s.quarantine_id"""

_REFUSED = """
UPDATE quarantine q SET reason = r.reason, detail = r.detail, attempts = attempts + 1
FROM jsonb_to_recordset(:rows) AS r (quarantine_id bigint, reason text, detail text)
WHERE q.quarantine_id = r.quarantine_id"""

_HOLD_MORE = """
INSERT INTO hold (account_id, quarantine_id)
SELECT account_id, quarantine_id
FROM jsonb_to_recordset(:rows) AS r (quarantine_id bigint, accounts jsonb),
     jsonb_array_elements_text(r.accounts) AS account_id
ON CONFLICT DO NOTHING"""
