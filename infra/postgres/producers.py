"""When each producer was last heard, kept over restarts: so that one that falls silent is seen.

Called by `consumers.producers` every few seconds, never for each event. A topic has a limited number of names; what
does not fit is `other`, so that a source which is new with each event fills no table and no metric.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import orjson
import sqlalchemy as sa

from infra.postgres.database import Database

SOURCES_MAX = 20
"""Of a topic: a house has some few systems that write to each."""

OTHER = "other"

SOURCE_MAX_CHARACTERS = 100
"""Of a name, as it stands in a metric's label."""

KEPT_DAYS = 30
"""A producer that was silent for so long gives its place to another."""


class Producers:
    """The producers of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def heard(self, last: Mapping[tuple[str, str], datetime]) -> None:
        """Remember when these were last heard, by topic and source; what was heard later before stays."""
        rows = [
            {"topic": topic, "source": source[:SOURCE_MAX_CHARACTERS], "last_at": at}
            for (topic, source), at in sorted(last.items())
        ]
        with self._database.transaction() as connection:
            connection.execute(_FORGET, {"days": KEPT_DAYS})
            connection.execute(_HEARD, {"rows": orjson.dumps(rows).decode(), "max": SOURCES_MAX, "other": OTHER})


_FORGET = sa.text("DELETE FROM producer WHERE last_at < clock_timestamp() - make_interval(days => :days)")

# Those that are known keep their names, new ones take what places are left, and the rest is one. Two processes
# that take the last place at the same time may be one above the limit, which does no harm. In one order, so that
# they never wait for each other in a ring.
_HEARD = sa.text("""
WITH said AS (
    SELECT topic, source, max(last_at) AS last_at
    FROM jsonb_to_recordset(:rows) AS r (topic text, source text, last_at timestamptz) GROUP BY topic, source
), placed AS (
    SELECT s.topic, s.last_at, s.source, p.source IS NOT NULL AS is_known,
           row_number() OVER (PARTITION BY s.topic, p.source IS NULL ORDER BY s.source)
           + (SELECT count(*) FROM producer k WHERE k.topic = s.topic) AS place
    FROM said s LEFT JOIN producer p ON p.topic = s.topic AND p.source = s.source
)
INSERT INTO producer (topic, source, last_at)
SELECT topic, CASE WHEN is_known OR place <= :max THEN source ELSE :other END AS named, max(last_at)
FROM placed GROUP BY topic, named ORDER BY topic, named
ON CONFLICT (topic, source) DO UPDATE SET last_at = greatest(producer.last_at, excluded.last_at)""")
