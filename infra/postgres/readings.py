"""How things stand, as the database alone knows it: the figures that every role shows when it is scraped.

Called by `consumers.readings`, within a second or two of each other. One short transaction that locks nothing; each
statement goes by an index over what is open or waits, and not over what was.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.recall import OPEN
from infra.postgres.database import Database
from infra.postgres.outbox import Pending, pending
from infra.postgres.quarantine import COUNT

GONE_AFTER = timedelta(days=7)
"""A producer that was silent for so long is gone, and a breach so long ago is history: neither is shown."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The open recalls of an agency in one state, and how many of them are past their deadline with nobody's
    answer. `paid_since`: since when one paid and not sent was known.
    """

    agency_id: str
    state: str
    recalls: int
    overdue: int
    paid_since: datetime | None


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in one transaction."""

    standings: tuple[Standing, ...]
    breached_at: dict[str, datetime]
    """By agency, when the last contact after a recall was found."""
    stopped: dict[str, bool]
    """By topic, whether its stream is stopped."""
    heard_at: dict[tuple[str, str], datetime]
    """By topic and source, the broker's time of the last event."""
    quarantined: int
    outbox: Pending
    waiting: dict[str, int]
    """By agency, the messages that wait to be delivered."""


class Readings:
    """The readings of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, now: datetime) -> Reading:
        """Read everything. Raises DatabaseUnavailableError."""
        lately, standing = {"since": now - GONE_AFTER}, {"now": now, "open": list(OPEN)}
        with self._database.transaction() as connection:
            return Reading(
                standings=tuple(Standing(*row) for row in connection.execute(_STANDINGS, standing)),
                breached_at={row[0]: row[1] for row in connection.execute(_BREACHED, lately)},
                stopped={row[0]: row[1] for row in connection.execute(_STOPPED)},
                heard_at={(row[0], row[1]): row[2] for row in connection.execute(_HEARD, lately)},
                quarantined=int(connection.execute(sa.text(COUNT)).scalar_one()),
                outbox=pending(connection),
                waiting={row[0]: row[1] for row in connection.execute(_WAITING)},
            )


# Overdue by the clock, and not by the state: that is set by `sweep`, which may be down. Paid, and the agency was
# not told yet to stop. Who took one over, or objected, is a person's matter.
_STANDINGS = sa.text("""
SELECT agency_id, state, CAST(count(*) AS integer),
       CAST(count(*) FILTER (WHERE acknowledge_by < :now AND rejected_at IS NULL AND taken_over_at IS NULL)
            AS integer),
       min(known_since) FILTER (WHERE sent_at IS NULL AND paid_at IS NOT NULL
                                  AND rejected_at IS NULL AND taken_over_at IS NULL)
FROM recall WHERE state = ANY(:open)
GROUP BY agency_id, state ORDER BY agency_id, state""")

# By the index of the breaches, which are few.
_BREACHED = sa.text("""
SELECT r.agency_id, max(c.breached_at)
FROM contact c JOIN recall r ON r.account_id = c.account_id AND r.placement_id = c.placement_id
WHERE c.breached_at > :since GROUP BY r.agency_id""")

_STOPPED = sa.text("SELECT topic, stopped_reason IS NOT NULL FROM stream")

_HEARD = sa.text("SELECT topic, source, last_at FROM producer WHERE last_at > :since")

_WAITING = sa.text("""
SELECT agency_id, CAST(count(*) AS integer) FROM outbox
WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL GROUP BY agency_id""")
