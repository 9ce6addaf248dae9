"""One PostgreSQL: connections, transactions and their deadlines.

Built where a process starts and handed to every store of this package. A deadline is kept on our side: a
server that is frozen, or cut off, answers neither a statement time-out nor a cancel, so past the deadline
the socket is shut down under the driver, which then reports a lost connection.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

STATEMENT_TIMEOUT_MS = 20_000
"""The server's own limit on a statement; far above the slowest batch seen (0.3 s)."""

TRANSACTION_DEADLINE_SECONDS = 30.0
"""Ours on a whole transaction, above the server's, so that a living server gives the better error."""

IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
"""The server ends a transaction whose client is silent so long between two statements, and frees its locks: one
that froze, or whose machine died, would keep its successor from the accounts and positions it had locked."""

CONNECT_TIMEOUT_SECONDS = 5

_REAPER_PERIOD_SECONDS = 0.1
_REAPER_IDLE_PERIODS = 20  # Two seconds without a transaction.


_MISTAKES = (sa.exc.ProgrammingError, sa.exc.DataError, sa.exc.IntegrityError, sa.exc.NotSupportedError)
"""The server is well, and refuses what we said: a statement or a value of ours is at fault."""


class DatabaseUnavailableError(Exception):
    """The database is at fault or away: nothing was committed, or that is not known; try again."""


class LockedError(DatabaseUnavailableError):
    """Somebody else holds a row for longer than was to be waited; nothing was committed."""


def database_url(url: str) -> sa.URL:
    """The address for our driver; a bare `postgresql://` would mean another one to SQLAlchemy 2.1."""
    parsed = sa.make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg2")
    return parsed


class Database:
    """A pool of connections to one database, each transaction under a deadline."""

    def __init__(
        self,
        url: str,
        *,
        application: str,
        pool_size: int = 4,
        deadline_seconds: float = TRANSACTION_DEADLINE_SECONDS,
        connect_timeout_seconds: int = CONNECT_TIMEOUT_SECONDS,
    ) -> None:
        """`deadline_seconds` is for a transaction, `connect_timeout_seconds` for a connection to begin it on."""
        self.url = database_url(url)
        self._deadline_seconds = deadline_seconds
        self._reaper = _Reaper()
        self._connect_args = {
            "application_name": application,
            "connect_timeout": connect_timeout_seconds,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} "
            "-c timezone=UTC -c jit=off",
        }
        self._engine = sa.create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=2,
            pool_timeout=connect_timeout_seconds,
            connect_args=self._connect_args,
            hide_parameters=True,  # Of an error's text: they are what a customer's event held.
        )

    @contextmanager
    def transaction(self, *, deadline_seconds: float | None = None) -> Iterator[sa.Connection]:
        """One transaction: committed where the block ends, rolled back where it raises.

        Raises DatabaseUnavailableError where the database failed or did not answer in time, LockedError where a
        row that was to be locked belongs to another for too long.
        """
        with _told(), self._engine.connect() as connection:
            seconds = deadline_seconds or self._deadline_seconds
            with self._reaper.watching(raw(connection), seconds), connection.begin():
                yield connection

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection of its own for several transactions, one after the other: what is temporary ends with it.

        Raises DatabaseUnavailableError.
        """
        alone = sa.create_engine(
            self.url, poolclass=sa.NullPool, connect_args=self._connect_args, hide_parameters=True
        )
        with _told(), alone.connect() as connection:
            yield Session(connection, self._reaper, self._deadline_seconds)

    @contextmanager
    def listening(self, channel: str) -> Iterator[psycopg2.extensions.connection]:
        """A connection of its own that hears the notifications of a channel; wait on it with `select`."""
        try:
            dsn = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
            with closing(psycopg2.connect(dsn, connect_timeout=CONNECT_TIMEOUT_SECONDS)) as connection:
                connection.set_isolation_level(psycopg2.extensions.ISOLATION_LEVEL_AUTOCOMMIT)
                with connection.cursor() as cursor:
                    cursor.execute(f'LISTEN "{channel}"')
                yield connection
        except psycopg2.Error as why:
            raise DatabaseUnavailableError(_first_line(why)) from why

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


class Session:
    """One connection, with its temporary tables; no transaction is open between two."""

    def __init__(self, connection: sa.Connection, reaper: _Reaper, deadline_seconds: float) -> None:
        self._connection = connection
        self._reaper = reaper
        self._deadline_seconds = deadline_seconds

    @contextmanager
    def transaction(self, *, deadline_seconds: float | None = None) -> Iterator[sa.Connection]:
        """As `Database.transaction`, on this connection."""
        seconds = deadline_seconds or self._deadline_seconds
        with _told(), self._reaper.watching(raw(self._connection), seconds), self._connection.begin():
            yield self._connection


@contextmanager
def _told() -> Iterator[None]:
    """What went wrong, by what the caller does next."""
    try:
        yield
    except (SQLAlchemyError, psycopg2.Error) as why:
        if isinstance(why, _MISTAKES):
            raise  # Trying again would not help.
        if isinstance(why, DBAPIError) and isinstance(why.orig, psycopg2.errors.LockNotAvailable):
            raise LockedError(_first_line(why)) from why
        raise DatabaseUnavailableError(_first_line(why)) from why


def raw(connection: sa.Connection) -> psycopg2.extensions.connection:
    """The driver's connection under SQLAlchemy's, for COPY."""
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg2.extensions.connection):
        raise TypeError("the database URL must be of postgresql+psycopg2")
    return driver


def _first_line(why: Exception) -> str:
    cause = why.orig if isinstance(why, DBAPIError) and why.orig else why
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


class _Reaper:
    """Shuts the sockets of transactions that are past their deadline, from one thread for all of them.

    The thread ends where there has been none for a while, and the next transaction starts another: so nothing is
    left of a database that nobody uses any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[float, int]] = {}
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, connection: psycopg2.extensions.connection, seconds: float) -> Iterator[None]:
        """Give what happens on this connection so many seconds."""
        token = id(connection)
        with self._lock:
            self._watched[token] = (time.monotonic() + seconds, connection.fileno())
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="deadlines", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(token, None)

    def _watch(self) -> None:
        idle = 0
        while True:
            time.sleep(_REAPER_PERIOD_SECONDS)
            now = time.monotonic()
            # Under the lock no watched transaction can end, so its descriptor is still its own.
            with self._lock:
                idle = 0 if self._watched else idle + 1
                if idle > _REAPER_IDLE_PERIODS:
                    self._thread = None
                    return
                for token, (deadline, descriptor) in list(self._watched.items()):
                    if now > deadline:
                        del self._watched[token]
                        _shut(descriptor)


def _shut(descriptor: int) -> None:
    try:
        with closing(socket.socket(fileno=os.dup(descriptor))) as twin:
            twin.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It was closed already, which is what we want.
