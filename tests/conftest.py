"""Fixtures on real parts: one Kafka and one PostgreSQL for the session, a fresh migrated database for each test.

Used by every test that is marked `parts`; which parts they are is decided in `tests.parts`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import count
from typing import cast

import psycopg2
import pytest
import sqlalchemy as sa

from consumers.ingest import Ingest, Limits
from consumers.parts import CODEC
from consumers.producers import Heard
from consumers.watchdog import Watchdog
from domain.events import RawRecord
from domain.policy import Policy
from infra import logs
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.source import Polled, Source
from infra.metrics import Metrics
from infra.postgres import schema
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.producers import Producers
from infra.postgres.streams import Streams
from infra.wire.kinds import INBOUND_TOPICS
from tests import parts as real_parts
from tests.beside import Beside, Way, beside, echoing
from tests.builders import LENIENT, day

NO_SKIP = "GUARD_TEST_NO_SKIP"
"""Set by CI: a test that would be skipped fails."""

TEMPLATE = "guard_test_template"
CLUSTER_ID = "cluster-of-the-tests"

Arrive = Callable[..., None]
"""What gives records to a worker: `arrive(record, ..)`."""

_numbers = count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be skipped, what would be fails, and says what is missing."""
    report = yield
    if report.skipped and os.environ.get(NO_SKIP) and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} may not be skipped here: {call.excinfo and call.excinfo.value}"
    return report


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_parts.Parts]:
    """The real parts, shared by the session."""
    with real_parts.test_parts(tmp_path_factory.mktemp("parts")) as given:
        yield given


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A process that does nothing but answer, by which the machine is measured."""
    with echoing(tmp_path_factory.mktemp("echo")) as way:
        yield way


@pytest.fixture
def bare(echo: Way) -> Iterator[Beside]:
    """What the machine takes for an answer of that process while the test runs."""
    with beside(echo) as asked:
        yield asked


@pytest.fixture(scope="session")
def template(parts: real_parts.Parts) -> str:
    """A database at the newest schema with nothing in it, to be copied."""
    _execute(parts.database_url, f"DROP DATABASE IF EXISTS {TEMPLATE}", f"CREATE DATABASE {TEMPLATE}")
    with closing(Database(_renamed(parts.database_url, TEMPLATE), application="tests")) as migrated:
        schema.upgrade(migrated)
    return TEMPLATE


@pytest.fixture
def database_url(parts: real_parts.Parts, template: str) -> Iterator[str]:
    """The address of a fresh database."""
    with fresh_database(parts, template) as url:
        yield url


@contextmanager
def fresh_database(parts: real_parts.Parts, template: str) -> Iterator[str]:
    """The address of a copy of the template, which is dropped afterwards."""
    name = f"guard_test_{next(_numbers)}"
    drop = f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"
    _execute(parts.database_url, drop, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _renamed(parts.database_url, name)
    _execute(parts.database_url, drop)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database."""
    with closing(Database(database_url, application="tests")) as fresh:
        yield fresh


@pytest.fixture
def arrive(database: Database) -> Arrive:
    """Give records to a worker of `ingest` in one batch, on day 9, without a broker."""

    def take(*records: RawRecord, policy: Policy = LENIENT, now: datetime | None = None) -> None:
        worker(database, policy, now or day(9)).take(Polled(list(records), {}))

    return take


@pytest.fixture
def caught_up(database: Database, parts: real_parts.Parts) -> None:
    """Every inbound topic is there on the session's Kafka, and read to its end in the fresh database."""
    with closing(Cluster(Connection(parts.bootstrap_servers), client_id="tests")) as cluster:
        cluster.create(dict.fromkeys(INBOUND_TOPICS, 1), replication_factor=1)
        seen = cluster.look(INBOUND_TOPICS)
        at_end = {topic: replace(one, starts=one.ends) for topic, one in seen.items() if one is not None}
        Streams(database).register(cluster.cluster_id(), at_end)


def worker(database: Database, policy: Policy, now: datetime) -> Ingest:
    """A worker that is given its batches by hand: it has no broker, and its clock stands."""
    log = logs.configure(role="test", level="ERROR")
    return Ingest(
        source=cast("Source", None),
        cluster=cast("Cluster", None),
        cluster_id=CLUSTER_ID,
        topics=INBOUND_TOPICS,
        streams=Streams(database),
        ledger=Ledger(database, CODEC, CLUSTER_ID),
        rules=lambda: policy,
        limits=Limits(bad_run_max=100, bad_share_max_percent=100),
        now=lambda: now,
        watchdog=Watchdog(check_seconds=5, stalled_seconds=60, log=log),
        heard=Heard(Producers(database)),
        metrics=Metrics(),
        log=log,
    )


def _renamed(url: str, database: str) -> str:
    return sa.make_url(url).set(database=database).render_as_string(hide_password=False)


def _execute(url: str, *statements: str) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True  # Databases are not made in transactions.
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
