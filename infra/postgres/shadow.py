"""What was answered before each placement, and whether its debt had been paid by then.

Called by `shadow report`. One statement, which reads the placements of a time; decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from infra.postgres.database import Database

DEADLINE_SECONDS = 600.0
"""A report over a year of placements reads millions of rows; it locks none."""


@dataclass(frozen=True, slots=True)
class Group:
    """Placements that have in common what was answered last before them; `decision` is None where nobody asked.

    `code` is the first reason, empty where there was none. `paid_before`: they were recalled because their debt had
    been paid before they were made.
    """

    decision: str | None
    code: str
    shadow: bool
    paid_before: bool
    placements: int


class Shadow:
    """The placements of one database beside the answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def groups(self, since: datetime, until: datetime) -> list[Group]:
        """The placements made in this time, in groups."""
        with self._database.transaction(deadline_seconds=DEADLINE_SECONDS) as connection:
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            rows = connection.execute(sa.text(_GROUPS), {"since": since, "until": until})
            return [Group(*row) for row in rows]


# The answer that counts is the last one on this debt, whichever agency it was asked for.
_GROUPS = """
SELECT c.decision, coalesce(c.answer -> 'reasons' -> 0 ->> 'code', ''), coalesce(c.shadow, false),
       r.placement_id IS NOT NULL, count(*)
FROM placement p
LEFT JOIN LATERAL (
    SELECT decision, answer, shadow FROM clearance
    WHERE account_id = p.account_id AND debt_id = p.debt_id AND decided_at <= p.placed_at
    ORDER BY decided_at DESC LIMIT 1) c ON true
LEFT JOIN recall r ON r.account_id = p.account_id AND r.placement_id = p.placement_id
                  AND r.reason = 'DEBT_SETTLED' AND r.cause = 'referred_in_error'
WHERE p.placed_at >= :since AND p.placed_at < :until
GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"""
