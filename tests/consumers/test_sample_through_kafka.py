"""A real history through a real Kafka, two worker processes and PostgreSQL, against its replay in memory.

The replay places at the time of each question. Here the same events come with those placements in any order, some
twice, so what may differ is the way; what may not is which placements are recalled, and what the agency believes
of the others at the end (S7).
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.replay import replay
from domain.events import Origin, PlacementOpened, RawRecord
from domain.recall import BalanceReduced, Message, RecallRequested
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.policy_file import parse_policy
from infra.postgres.database import Database
from infra.wire.encode import encode_placement
from infra.wire.kinds import BY_TYPE, INBOUND_TOPICS
from tests import inbound
from tests.consumers.test_replay import SAMPLE, SAMPLE_POLICY

pytestmark = pytest.mark.parts

SEED = 20261114
ONE_IN_DOUBLED = 10
PARTITIONS = 4
WORKERS = 2
DEADLINE_SECONDS = 120
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Ending:
    """How a history ends: the reason by recalled placement, and what is believed owed on each other one."""

    recalled: dict[str, str]
    believed: dict[str, int]


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """The lines of the real history, where this machine has it."""
    folder = os.environ.get("GUARD_TEST_DATA")
    if not folder:
        pytest.skip(f"GUARD_TEST_DATA does not name the folder of {SAMPLE}")
    file = Path(folder) / SAMPLE
    if not file.is_file():
        pytest.skip(f"GUARD_TEST_DATA names a folder without {SAMPLE}")
    return gzip.decompress(file.read_bytes()).splitlines()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of this test alone, with the inbound topics."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        inbound.begin(kafka.bootstrap_servers, PARTITIONS)
        yield kafka.bootstrap_servers


def test_a_real_history_ends_the_same_in_any_order(
    lines: list[bytes], broker: str, database_url: str, database: Database, tmp_path: Path
) -> None:
    """Shuffled, some events doubled, shared by two workers: the replay's recalls and its last balances."""
    placements, expected = replayed(lines)
    events = [line.decode() for line in lines] + [
        json.dumps(encode_placement(one, source="replay")) for one in placements
    ]

    with inbound.known(broker) as cluster, workers(broker, database_url, tmp_path) as running:
        with inbound.producing(broker) as producer:
            inbound.send(producer, (as_record(event) for event in shuffled(events)))
        read_to_the_end(running, cluster, database)

    assert expected == ending(database)
    assert [(len(events),)] == rows(database, "SELECT count(*) FROM ledger")
    assert rows(database, "SELECT reason, detail FROM quarantine") == []


def replayed(lines: Sequence[bytes]) -> tuple[list[PlacementOpened], Ending]:
    """What a replay places, and how it ends."""
    placements: list[PlacementOpened] = []
    messages: list[Message] = []
    replay(lines, parse_policy(SAMPLE_POLICY), on_placement=placements.append, on_message=messages.append)
    recalled = {
        one.placement.placement_id: one.reason.value for one in messages if isinstance(one, RecallRequested)
    }
    believed = {one.placement_id: one.amount for one in placements}
    believed |= {one.placement.placement_id: one.outstanding for one in messages if isinstance(one, BalanceReduced)}
    return placements, Ending(recalled, {name: owed for name, owed in believed.items() if name not in recalled})


def ending(database: Database) -> Ending:
    """How the history ended in the database, by what was put out to be told."""
    recalled: dict[str, str] = {}
    believed = dict(rows(database, "SELECT placement_id, amount FROM placement"))
    for (value,) in rows(database, "SELECT value FROM outbox ORDER BY outbox_id"):
        event = json.loads(bytes(value))
        match event["type"]:
            case "guard.recall.requested.v1":
                assert event["data"]["placement_id"] not in recalled
                recalled[event["data"]["placement_id"]] = event["data"]["reason"]
            case "guard.balance.reduced.v1":
                believed[event["data"]["placement_id"]] = event["data"]["outstanding"]
    told = dict(rows(database, "SELECT placement_id, told FROM placement"))
    assert believed == told
    return Ending(recalled, {name: owed for name, owed in believed.items() if name not in recalled})


def shuffled(events: Sequence[str]) -> list[str]:
    """These events in an order that can be repeated, one in ten of them twice."""
    order = [*events, *events[::ONE_IN_DOUBLED]]
    random.Random(SEED).shuffle(order)  # A shuffle that can be repeated, no secret.
    return order


def as_record(event: str) -> RawRecord:
    """An event as its producer sends it."""
    envelope = json.loads(event)
    origin = Origin(BY_TYPE[envelope["type"]].topic, 0, 0, datetime.now(UTC))
    return RawRecord(origin, envelope["subject"].encode(), event.encode())


@contextlib.contextmanager
def workers(broker: str, database_url: str, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers as they are started in production; told to stop at the end, which they must do in order."""
    policy_file = folder / "policy.toml"
    policy_file.write_bytes(SAMPLE_POLICY)
    settings = {
        "GUARD_DATABASE_URL": database_url,
        "GUARD_KAFKA_BOOTSTRAP_SERVERS": broker,
        "GUARD_POLICY_FILE": str(policy_file),
        "GUARD_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "consumers.main", "ingest"]
    running = [subprocess.Popen(command, env={**os.environ, **settings}) for _ in range(WORKERS)]
    try:
        yield running
    finally:
        for worker in running:
            worker.send_signal(signal.SIGTERM)
        statuses = [worker.wait(DEADLINE_SECONDS) for worker in running]
    assert statuses == [0] * WORKERS


def read_to_the_end(running: Sequence[subprocess.Popen[bytes]], cluster: Cluster, database: Database) -> None:
    """Wait until every partition is read to its end; a worker that ends before is a failure."""
    places = inbound.ends(cluster)

    def read() -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            pytest.fail(f"a worker ended with status {running[0].wait(LOOK_SECONDS)}")
        positions = rows(database, "SELECT topic, partition, position FROM stream_position")
        return places == {(topic, partition): position for topic, partition, position in positions}

    assert len(places) == PARTITIONS * len(INBOUND_TOPICS)
    assert inbound.until(read, deadline_seconds=DEADLINE_SECONDS)


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:  # `Any`: rows are untyped.
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]
