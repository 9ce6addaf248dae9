"""What the server says of itself: version, durability, connections, its clock, and what our role may do.

Called by `doctor` and `demo`. Reads only; decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from infra.postgres.database import Database

TABLES = (
    "account",
    "ledger",
    "placement",
    "recall",
    "outbox",
    "delivery_attempt",
    "agency_circuit",
    "contact",
    "received",
    "quarantine",
    "hold",
    "stream",
    "stream_position",
)
"""The tables that every role reads and writes."""

DELETED_FROM = ("ledger", "outbox", "hold")
"""Those that rows are deleted from: past their time, or released."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server and our role on it. `clock_ahead` is its clock less ours."""

    version: str
    version_number: int
    role: str
    is_replica: bool
    is_read_only: bool
    may_make_temporary: bool
    missing_privileges: tuple[str, ...]
    fsync: str
    full_page_writes: str
    synchronous_commit: str
    connections: int
    connections_max: int
    clock_ahead: timedelta


def inspect(database: Database, now: Callable[[], datetime]) -> ServerFacts:
    """Ask the server. Raises DatabaseUnavailableError where it does not answer."""
    with database.transaction() as connection:
        names = {"tables": list(TABLES), "deleted_from": list(DELETED_FROM)}
        missing = tuple(str(row[0]) for row in connection.execute(sa.text(_MISSING_PRIVILEGES), names))
        facts = connection.execute(sa.text(_FACTS)).one()
        before = now()
        theirs = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
        ours = before + (now() - before) / 2
        return ServerFacts(
            version=facts[0],
            version_number=facts[1],
            role=facts[2],
            is_replica=facts[3],
            is_read_only=facts[4],
            may_make_temporary=facts[5],
            missing_privileges=missing,
            fsync=facts[6],
            full_page_writes=facts[7],
            synchronous_commit=facts[8],
            connections=facts[9],
            connections_max=facts[10],
            clock_ahead=theirs - ours,
        )


def events_kept(database: Database) -> int:
    """How many events the ledger holds."""
    with database.transaction() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM ledger")).scalar_one())


_FACTS = """
SELECT current_setting('server_version'), CAST(current_setting('server_version_num') AS integer), current_user,
       pg_is_in_recovery(), current_setting('transaction_read_only') = 'on',
       has_database_privilege(current_database(), 'TEMPORARY'),
       current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
       (SELECT CAST(count(*) AS integer) FROM pg_stat_activity WHERE backend_type = 'client backend'),
       CAST(current_setting('max_connections') AS integer)"""

# Tables that are not there are the migrations' business.
_MISSING_PRIVILEGES = """
SELECT privilege || ' on ' || name
FROM unnest(CAST(:tables AS text[])) AS name,
     unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
WHERE (privilege <> 'DELETE' OR name = ANY(:deleted_from))
  AND to_regclass(name) IS NOT NULL AND NOT has_table_privilege(CAST(to_regclass(name) AS oid), privilege)
ORDER BY name, privilege"""
