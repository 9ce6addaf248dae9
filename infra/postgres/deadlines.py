"""The recalls whose clock has struck: taken in turns by any number of sweepers, and set to when it strikes next.

Called by `consumers.deadlines`. One transaction locks what it takes and passes over what another has, so two
sweepers never do the same; one that dies in it has done nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa

from domain.deadlines import Struck, Waiting, Why
from infra.postgres.again import Again, send_again
from infra.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Due:
    """A recall whose clock has struck."""

    account_id: str
    placement_id: str
    recall_id: str
    waiting: Waiting


@dataclass(frozen=True, slots=True)
class Done:
    """What followed for it; `is_resent` where it is on its way again."""

    due: Due
    struck: Struck
    is_resent: bool


class DeadlineStore:
    """The clocks of the recalls of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def strike(self, now: datetime, judge: Callable[[Waiting], Struck], *, limit: int) -> list[Done]:
        """Do what is due, of up to `limit` recalls, in one transaction: the one that is due longest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_DUE), {"now": now, "limit": limit})
            due = [Due(row[0], row[1], row[2], Waiting(*row[3:])) for row in rows]
            struck = [(one, judge(one.waiting)) for one in due]
            if struck:
                connection.execute(sa.text(_STRIKE), {"rows": _rows(struck), "now": now})
            resent = send_again(connection, [again for one, what in struck for again in _again(one, what)], now)
        return [Done(one, what, one.recall_id in resent) for one, what in struck]


def _again(due: Due, struck: Struck) -> list[Again]:
    return [Again(due.account_id, due.placement_id, due.recall_id, struck.why, one) for one in struck.channels]


def _rows(struck: Sequence[tuple[Due, Struck]]) -> str:
    rows = [
        {
            "account_id": due.account_id,
            "placement_id": due.placement_id,
            "overdue": what.is_new and what.why is Why.OVERDUE,
            "escalated": what.is_new and what.why is Why.ESCALATED,
            "next_at": what.next_at,
        }
        for due, what in struck
    ]
    return orjson.dumps(rows).decode()


# By the index of the waiting ones, however many of them wait for later.
_DUE = """
SELECT account_id, placement_id, recall_id, agency_id, acknowledge_by, overdue_at, escalated_at FROM recall
WHERE acknowledged_at IS NULL AND rejected_at IS NULL AND taken_over_at IS NULL AND placement_closed_at IS NULL
  AND next_at < :now
ORDER BY next_at LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED"""

_STRIKE = """
UPDATE recall r SET
    overdue_at = CASE WHEN s.overdue THEN :now ELSE r.overdue_at END,
    escalated_at = CASE WHEN s.escalated THEN :now ELSE r.escalated_at END,
    escalate_at = CASE WHEN s.overdue THEN s.next_at ELSE r.escalate_at END,
    again_at = CASE WHEN s.overdue THEN r.again_at ELSE s.next_at END
FROM jsonb_to_recordset(:rows) AS s (
    account_id text, placement_id text, overdue boolean, escalated boolean, next_at timestamptz)
WHERE r.account_id = s.account_id AND r.placement_id = s.placement_id"""
