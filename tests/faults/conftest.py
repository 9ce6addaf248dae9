"""Fixtures of the fault tests: one cluster of three and one PostgreSQL for all, fresh topics for each module.

They are of our own and not the session's `parts`, because they are killed and frozen here.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest
from kafka import KafkaProducer

from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.postgres import schema
from infra.postgres.database import Database
from tests.faults.ground import Ground, fresh_database
from tests.inbound import producing

BROKER_SESSION_SECONDS = 2
"""Kafka's own 9 s would only make every death of a broker longer."""


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Three nodes; a record is acknowledged when it is on two."""
    folder = tmp_path_factory.mktemp("kafka")
    with EmbeddedKafka(folder, nodes=3, broker_session_seconds=BROKER_SESSION_SECONDS) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that keeps what it has committed."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def ground(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    kafka: EmbeddedKafka,
    postgres: EmbeddedPostgres,
) -> Iterator[Ground]:
    """Fresh topics and a fresh database, and no process on them yet."""
    name = request.module.__name__.rpartition(".")[2]
    url = fresh_database(postgres, name)
    with closing(Database(url, application="tests")) as database:
        schema.upgrade(database)
    folder = tmp_path_factory.mktemp("logs")
    made = Ground(kafka=kafka, postgres=postgres, database_url=url, folder=folder, name=name)
    with ExitStack() as stack:
        stack.callback(made.stop)
        made.make_topics()
        yield made


@pytest.fixture(scope="module")
def producer(ground: Ground) -> Iterator[KafkaProducer]:
    """The creditor's."""
    with producing(ground.kafka.bootstrap_servers) as made:
        yield made


@pytest.fixture(scope="session")
def chosen_seed() -> int:
    """GUARD_TEST_FAULTS_SEED, or a new one each time."""
    return int(os.environ.get("GUARD_TEST_FAULTS_SEED") or secrets.randbelow(10**6))


@pytest.fixture
def seed(chosen_seed: int) -> int:
    """The seed of the feed and of what goes wrong; pytest shows it where a test fails."""
    sys.stdout.write(f"GUARD_TEST_FAULTS_SEED={chosen_seed}\n")
    return chosen_seed
