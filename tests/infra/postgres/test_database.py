"""One PostgreSQL as the stores see it: deadlines, what is tried again and what is a mistake, addresses."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
import sqlalchemy as sa

from infra.embedded import free_ports
from infra.postgres.database import Database, DatabaseUnavailableError, database_url
from tests.beside import Beside
from tests.faults.worker import wait_until


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "postgresql://g:p%40w@db:5433/guard?sslmode=require",
            "postgresql+psycopg2://g:p%40w@db:5433/guard?sslmode=require",
        ),
        ("postgres://db/guard", "postgresql+psycopg2://db/guard"),
        ("postgresql+psycopg2://db/guard", "postgresql+psycopg2://db/guard"),
    ],
)
def test_an_address_is_made_one_for_our_driver(given: str, expected: str) -> None:
    """A bare scheme would choose another driver; everything behind it stays."""
    assert expected == database_url(given).render_as_string(hide_password=False)


@pytest.mark.parts
class TestTransaction:
    """What holds of one transaction."""

    def test_past_its_deadline_it_is_cut_off(self, database: Database, bare: Beside) -> None:
        """Though the server works on: the caller hears within the deadline, and nothing was committed."""
        _execute(database, "CREATE TABLE fact (id int)")

        with (
            bare.within(5),
            pytest.raises(DatabaseUnavailableError),
            database.transaction(deadline_seconds=0.5) as connection,
        ):
            connection.execute(sa.text("INSERT INTO fact SELECT 1 FROM pg_sleep(15)"))

        assert _execute(database, "SELECT count(*) FROM fact") == [(0,)]

    def test_nothing_watches_a_database_that_nobody_uses(self, database: Database) -> None:
        """The thread that keeps the deadlines ends, and is there again for the next transaction."""
        _execute(database, "SELECT 1")
        first = _reapers()
        wait_until("the thread ends", lambda: not first & _reapers(), seconds=60)
        _execute(database, "SELECT 1")

        assert min(len(first), len(_reapers())) > 0

    def test_the_next_has_its_own_deadline(self, database: Database) -> None:
        """A connection that goes back to the pool takes no deadline along."""
        with database.transaction(deadline_seconds=0.3) as connection:
            connection.execute(sa.text("SELECT 1"))

        assert _execute(database, "SELECT pg_sleep(0.6)::text") == [("",)]

    def test_what_raises_is_rolled_back(self, database: Database) -> None:
        """Any error in the block, and it comes out as it is."""
        _execute(database, "CREATE TABLE fact (id int)")

        with pytest.raises(KeyError), database.transaction() as connection:
            _insert_and_fail(connection)

        assert _execute(database, "SELECT count(*) FROM fact") == [(0,)]

    @pytest.mark.parametrize("statement", ["SELECT nothing_such", "SELECT '{\"a\": \"\\u0000\"}'::jsonb->>'a'"])
    def test_a_mistake_of_ours_is_not_taken_for_a_database_that_is_away(
        self, database: Database, statement: str
    ) -> None:
        """Trying again would not help: it is not named unavailable."""
        with pytest.raises((sa.exc.ProgrammingError, sa.exc.DataError)), database.transaction() as connection:
            connection.exec_driver_sql(statement)

    def test_a_server_that_is_not_there_is_unavailable(self) -> None:
        """And no password is in what is said."""
        (port,) = free_ports(1)
        url = f"postgresql://g:s3cret@127.0.0.1:{port}/guard"

        with (
            closing(Database(url, application="tests")) as nowhere,
            pytest.raises(DatabaseUnavailableError) as away,
            nowhere.transaction(),
        ):
            pass

        assert "s3cret" not in str(away.value)


def _insert_and_fail(connection: sa.Connection) -> None:
    connection.execute(sa.text("INSERT INTO fact VALUES (1)"))
    raise KeyError


def _execute(database: Database, statement: str) -> list[tuple[object, ...]]:
    with database.transaction() as connection:
        found = connection.execute(sa.text(statement))
        return [tuple(row) for row in found] if found.returns_rows else []


def _reapers() -> set[int]:
    """The threads that keep deadlines, by their ids."""
    return {one.ident or 0 for one in threading.enumerate() if one.name == "deadlines"}
