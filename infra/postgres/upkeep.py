"""What the sweep asks of the database: accounts to look at again, and rows past their time.

Called by `sweep` only. Each statement takes a bounded number of rows.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from infra.postgres.database import Database


class Upkeep:
    """The sweep's view of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts_with_open_placements(self, *, after: str, limit: int) -> list[str]:
        """Accounts that an agency works on and no recall concerns yet, by id, from behind one."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_OPEN), {"after": after, "limit": limit})
            return [str(row[0]) for row in rows]

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

# Only accounts that no agency ever had: what is said of a case is its proof. An account that a worker has locked
# may become a case at this moment, so it is left for the next time.
_FORGET_LEDGER = """
DELETE FROM ledger WHERE (account_id, event_key) IN (
    SELECT l.account_id, l.event_key FROM ledger l JOIN account a ON a.account_id = l.account_id
    WHERE l.received_at < :before AND NOT a.has_case LIMIT :limit FOR UPDATE OF a SKIP LOCKED)"""

# A recall stays with the bytes in which it went out: it may have to be sent again, and they are the proof.
_FORGET_OUTBOX = """
DELETE FROM outbox WHERE (account_id, outbox_id) IN (
    (SELECT account_id, outbox_id FROM outbox WHERE sent_at < :before AND recall_id IS NULL LIMIT :limit)
    UNION ALL
    (SELECT account_id, outbox_id FROM outbox WHERE superseded_at < :before AND recall_id IS NULL LIMIT :limit))"""
