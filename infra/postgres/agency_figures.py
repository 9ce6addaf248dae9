"""How each agency does: its open and late recalls, how long it takes to answer, and what it did in spite of them.

Called by the console. Reads only, each figure by an index of its own; what is counted is bounded by time, or by
what is open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.recall import OPEN
from infra.postgres.database import Database

ANSWERS_FOR = timedelta(days=7)
"""Over which recalls, by when they were sent, it is told how long the answers took."""

BREACHES_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Figures:
    """One agency. `answered` recalls that were sent in the last days took it `usual` (p50) and `slow` (p95)."""

    open_recalls: int = 0
    late_recalls: int = 0
    answered: int = 0
    usual: timedelta | None = None
    slow: timedelta | None = None
    breaches: int = 0


class AgencyFigures:
    """The figures in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, now: datetime) -> dict[str, Figures]:
        """By agency, of those of whom there is anything to tell."""
        found: dict[str, Figures] = {}
        since = {"answers_since": now - ANSWERS_FOR, "breaches_since": now - BREACHES_FOR}
        with self._database.transaction() as connection:
            for agency_id, open_recalls, late in connection.execute(sa.text(_OPEN), {"open": list(OPEN)}):
                found[agency_id] = Figures(open_recalls=open_recalls, late_recalls=late)
            for agency_id, answered, usual, slow in connection.execute(sa.text(_ANSWERS), since):
                before = found.get(agency_id, Figures())
                found[agency_id] = replace(before, answered=answered, usual=usual, slow=slow)
            for agency_id, breaches in connection.execute(sa.text(_BREACHES), since):
                found[agency_id] = replace(found.get(agency_id, Figures()), breaches=breaches)
        return found


_OPEN = """
SELECT agency_id, count(*), count(*) FILTER (WHERE state IN ('overdue', 'escalated')) FROM recall
WHERE state = ANY(:open) GROUP BY agency_id"""

# From when it was sent to when the agency says that it stopped, which may be before by its clock.
_ANSWERS = """
SELECT agency_id, count(*), percentile_disc(0.5) WITHIN GROUP (ORDER BY took),
       percentile_disc(0.95) WITHIN GROUP (ORDER BY took)
FROM (SELECT agency_id, greatest(acknowledged_at - sent_at, interval '0') AS took FROM recall
      WHERE sent_at > :answers_since AND acknowledged_at IS NOT NULL) answers
GROUP BY agency_id"""

_BREACHES = """
SELECT r.agency_id, count(*) FROM contact c
JOIN recall r ON r.account_id = c.account_id AND r.placement_id = c.placement_id
WHERE c.breached_at > :breaches_since GROUP BY r.agency_id"""
