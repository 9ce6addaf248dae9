"""How the schema comes to be what the code needs: from nothing, from an older version, by several at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa
from alembic import command

from consumers.deadlines import Clocks
from infra.postgres import schema
from infra.postgres.database import Database
from infra.postgres.schema import SchemaError
from tests.builders import day
from tests.conftest import _execute, _renamed
from tests.deadlines import clocks
from tests.parts import Parts

pytestmark = pytest.mark.parts

NAME = "guard_test_empty"


@pytest.fixture
def empty(parts: Parts) -> Iterator[Database]:
    """A database with nothing in it."""
    drop = f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)"
    _execute(parts.database_url, drop, f"CREATE DATABASE {NAME}")
    with closing(Database(_renamed(parts.database_url, NAME), application="tests")) as database:
        yield database
    _execute(parts.database_url, drop)


def test_from_nothing_it_becomes_what_the_code_needs(empty: Database) -> None:
    """Before that every role refuses, with the command that mends it; twice does no harm."""
    with pytest.raises(SchemaError, match=r"at schema none, .*: handoff-guard db upgrade"):
        schema.check(empty)

    made = [schema.upgrade(empty), schema.upgrade(empty)]

    assert made == [schema.needed()] * 2
    schema.check(empty)
    assert len(ledger_parts(empty)) == schema.LEDGER_PARTS


def test_the_ledger_may_be_one_plain_table(empty: Database) -> None:
    """As Citus wants it."""
    schema.upgrade(empty, ledger_parts=0)

    assert ledger_parts(empty) == []
    with empty.transaction() as connection:
        assert connection.execute(sa.text("SELECT relkind FROM pg_class WHERE relname = 'ledger'")).scalar() == "r"


def test_several_at_once_do_it_once(empty: Database) -> None:
    """Three roles that start together: one upgrades, the others find it done."""
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(lambda _: schema.upgrade(empty), range(3)))

    assert made == [schema.needed()] * 3


def test_what_the_first_version_held_is_held_by_the_newest(empty: Database) -> None:
    """A quarantined event and its hold go through every later version."""
    config = schema._config()
    with empty.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with empty.transaction() as connection:
        connection.execute(sa.text(HELD_IN_0001))
    with pytest.raises(SchemaError, match="at schema 0001"):
        schema.check(empty)

    schema.upgrade(empty)

    with empty.transaction() as connection:
        found = connection.execute(
            sa.text("SELECT reason, account_id FROM quarantine JOIN hold USING (quarantine_id)")
        )
        assert [tuple(row) for row in found] == [("NOT_JSON", "a-1")]


HELD_IN_0001 = """
WITH made AS (
    INSERT INTO quarantine (origin_topic, origin_partition, origin_offset, received_at, headers, reason, detail,
                            quarantined_at)
    VALUES ('billing.payments', 0, 7, now(), '[]', 'NOT_JSON', '', now()) RETURNING quarantine_id)
INSERT INTO hold (account_id, quarantine_id) SELECT 'a-1', quarantine_id FROM made"""


def test_a_recall_that_was_overdue_before_goes_on(empty: Database) -> None:
    """It is escalated at the first look, and one that waits keeps its deadline; what was closed has no clock."""
    config = schema._config()
    with empty.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
    with empty.transaction() as connection:
        connection.execute(sa.text(RECALLS_IN_0005), {"at": day(9), "later": day(9, 12)})
        connection.execute(sa.text(CLOSED_IN_0005), {"at": day(9)})

    schema.upgrade(empty)
    found = clocks(empty, day(9, 10)).look()

    assert found == Clocks(escalated=1)
    with empty.transaction() as connection:
        rows = connection.execute(sa.text("SELECT account_id, state, next_at FROM recall ORDER BY 1"))
        assert [tuple(row) for row in rows] == [
            ("a-1", "escalated", day(9, 11)),
            ("a-2", "requested", day(9, 12)),
            ("a-3", "closed", day(9)),
        ]


RECALLS_IN_0005 = """
INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
                    requested_at, acknowledge_by, trigger_source, trigger_id, known_since, swept, overdue_at)
VALUES ('a-1', 'l-1', 'x-1', 'd-1', 'agency-1', 'DEBT_SETTLED', 'paid_after_placement', 0, 'RUB', :at, :at, 's',
        'i', :at, false, :at),
       ('a-2', 'l-1', 'x-2', 'd-1', 'agency-1', 'DEBT_SETTLED', 'paid_after_placement', 0, 'RUB', :at, :later, 's',
        'i', :at, false, NULL),
       ('a-3', 'l-1', 'x-3', 'd-1', 'agency-1', 'DEBT_SETTLED', 'paid_after_placement', 0, 'RUB', :at, :at, 's',
        'i', :at, false, :at)"""

CLOSED_IN_0005 = """
INSERT INTO placement (account_id, placement_id, debt_id, agency_id, amount, currency, placed_at, guarded, told,
                       suspended, closed_at, is_open)
VALUES ('a-3', 'l-1', 'd-1', 'agency-1', 1, 'RUB', :at, false, 1, false, :at, false)"""


def ledger_parts(database: Database) -> list[str]:
    """The tables that the ledger is split into."""
    with database.transaction() as connection:
        found = connection.execute(
            sa.text(
                "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledger'::regclass ORDER BY 1"
            )
        )
        return [str(row[0]) for row in found]
