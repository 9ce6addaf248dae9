"""What the sweep asks of the database: accounts to look at again, deadlines that passed, rows past their time.

Called by `sweep` only. Each statement takes a bounded number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from infra.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Overdue:
    """A recall whose deadline passed without an answer."""

    recall_id: str
    agency_id: str
    acknowledge_by: datetime


class Upkeep:
    """The sweep's view of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts_with_open_placements(self, *, after: str, limit: int) -> list[str]:
        """Accounts that an agency works on and no recall concerns yet, by id, from behind one."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_OPEN), {"after": after, "limit": limit})
            return [str(row[0]) for row in rows]

    def mark_overdue(self, now: datetime, *, limit: int) -> list[Overdue]:
        """Mark recalls that nobody answered in time, and return them."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_OVERDUE), {"now": now, "limit": limit})
            return [Overdue(*row) for row in rows]

    def forget(self, now: datetime, *, ledger_for: timedelta, outbox_for: timedelta, limit: int) -> int:
        """Delete what is past its time: money of accounts never referred or placed, and records long sent."""
        with self._database.transaction() as connection:
            ledger = connection.execute(sa.text(_FORGET_LEDGER), {"before": now - ledger_for, "limit": limit})
            outbox = connection.execute(sa.text(_FORGET_OUTBOX), {"before": now - outbox_for, "limit": limit})
            return ledger.rowcount + outbox.rowcount


_OPEN = """
SELECT DISTINCT p.account_id FROM placement p
LEFT JOIN recall r ON r.account_id = p.account_id AND r.placement_id = p.placement_id
WHERE p.is_open AND r.placement_id IS NULL AND p.account_id > :after
ORDER BY p.account_id LIMIT :limit"""

_OVERDUE = """
UPDATE recall SET overdue_at = :now
WHERE (account_id, placement_id) IN (
    SELECT account_id, placement_id FROM recall
    WHERE acknowledged_at IS NULL AND rejected_at IS NULL AND overdue_at IS NULL AND acknowledge_by < :now
    ORDER BY acknowledge_by LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING recall_id, agency_id, acknowledge_by"""

# Only accounts that no agency ever had: what is said of a case is its proof. An account that a worker has locked
# may become a case at this moment, so it is left for the next time.
_FORGET_LEDGER = """
DELETE FROM ledger WHERE (account_id, event_key) IN (
    SELECT l.account_id, l.event_key FROM ledger l JOIN account a ON a.account_id = l.account_id
    WHERE l.received_at < :before AND NOT a.has_case LIMIT :limit FOR UPDATE OF a SKIP LOCKED)"""

_FORGET_OUTBOX = """
DELETE FROM outbox WHERE (account_id, outbox_id) IN (
    SELECT account_id, outbox_id FROM outbox WHERE sent_at < :before LIMIT :limit)"""
