"""The database's schema: whether it is the one this code needs, and how it becomes so.

Called by `db upgrade`, `doctor` and every role when it starts.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from infra.postgres.database import Database

LEDGER_PARTS = 16
"""Into how many tables the ledger is split: at 500 million rows each has 30 million, 8 GB with its index."""

_UPGRADE_LOCK = 0x48414E44
"""One upgrade at a time ("HAND" in ASCII), whoever starts it."""

_MIGRATION_DEADLINE_SECONDS = 3600.0


class SchemaError(Exception):
    """The database has another schema than this code needs; the message says which command mends it."""


def upgrade(database: Database, *, ledger_parts: int = LEDGER_PARTS) -> str:
    """Bring the schema up to date; safe to run at any time, by several at once. Returns its version."""
    config = _config()
    with database.transaction(deadline_seconds=_MIGRATION_DEADLINE_SECONDS) as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        config.attributes["connection"] = connection
        config.attributes["ledger_parts"] = ledger_parts
        command.upgrade(config, "head")
    return needed()


def needed() -> str:
    """The schema version that this code needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def current(database: Database) -> str | None:
    """The schema version that the database has, or None where it has none."""
    with database.transaction() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def check(database: Database) -> None:
    """Raises SchemaError where the database is not at the version that this code needs."""
    found = current(database)
    if found != needed():
        raise SchemaError(
            f"the database is at schema {found or 'none'}, this code needs {needed()}: handoff-guard db upgrade"
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    return config
