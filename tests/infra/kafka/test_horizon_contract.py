"""How far the streams go, asked of real brokers: exact, certain, or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from domain.streams import Seen
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.horizon import Horizon, UncertainError
from tests import parts as real_parts

pytestmark = pytest.mark.parts

SHORT_SECONDS = 0.3
LONG_SECONDS = 30.0
"""For what comes within seconds; a machine under load gets its time."""

BROKER_SESSION_SECONDS = 2


@pytest.fixture
def connection(parts: real_parts.Parts) -> Connection:
    """The session's Kafka."""
    return Connection(parts.bootstrap_servers)


@pytest.fixture
def topic(connection: Connection) -> str:
    """A topic of this test alone, with two partitions."""
    return made(connection, replicas=1)


@pytest.fixture
def horizon(connection: Connection, topic: str) -> Iterator[Horizon]:
    """Who asks for it."""
    with closing(Horizon(connection, [topic], client_id="tests")) as asker:
        yield asker


class TestOneBroker:
    """What holds on a broker that is well."""

    def test_an_acknowledged_event_is_in_the_next_look(
        self, connection: Connection, topic: str, horizon: Horizon
    ) -> None:
        """Whatever was acknowledged before the look is before the ends that it gives, and the topic is named."""
        with closing(Cluster(connection, client_id="tests")) as cluster, closing(producer(connection)) as sender:
            for count in range(1, 50):
                sender.send(topic, b"x", partition=1).get(LONG_SECONDS)

                seen = horizon.look(deadline_seconds=LONG_SECONDS)

                identity = cluster.look([topic])[topic]
                assert identity is not None
                assert {topic: Seen(identity.topic_id, {}, {0: 0, 1: count})} == seen

    def test_an_open_transaction_is_a_doubt_until_it_ends(
        self, connection: Connection, topic: str, horizon: Horizon
    ) -> None:
        """A reader of what is committed sees nothing behind it, plain events neither."""
        with closing(producer(connection, transactional_id=f"t-{uuid4()}")) as sender:
            sender.init_transactions()
            sender.begin_transaction()
            sender.send(topic, b"x", partition=0).get(LONG_SECONDS)

            with pytest.raises(UncertainError, match=r"/0: an open transaction hides what is behind offset 0"):
                horizon.look(deadline_seconds=SHORT_SECONDS)
            sender.abort_transaction()

            seen = horizon.look(deadline_seconds=LONG_SECONDS)
        assert seen[topic].ends == {0: 2, 1: 0}  # The event and the marker that it is void.

    def test_a_missing_topic_is_a_doubt(self, connection: Connection) -> None:
        """Nobody can say how far a stream goes that is not there."""
        with (
            closing(Horizon(connection, ["no-such-topic"], client_id="tests")) as asker,
            pytest.raises(UncertainError),
        ):
            asker.look(deadline_seconds=SHORT_SECONDS)


def test_a_leader_that_dies_is_a_doubt_until_another_leads(tmp_path: Path) -> None:
    """Of three brokers one may be away; every look says within its deadline that it is sure, or that it is not."""
    with EmbeddedKafka(tmp_path, nodes=3, broker_session_seconds=BROKER_SESSION_SECONDS) as kafka:
        connection = Connection(kafka.bootstrap_servers)
        topic = made(connection, replicas=3)
        with (
            closing(Horizon(connection, [topic], client_id="tests")) as asker,
            closing(producer(connection)) as sender,
        ):
            asker.look(deadline_seconds=LONG_SECONDS)
            leader = asker._leaders[topic, 0]

            kafka.kill_node(leader)
            asked_at = time.monotonic()
            with pytest.raises(UncertainError):
                asker.look(deadline_seconds=SHORT_SECONDS)
            took_seconds = time.monotonic() - asked_at
            sender.send(topic, b"x", partition=0).get(LONG_SECONDS)
            seen = asker.look(deadline_seconds=LONG_SECONDS)

    assert seen[topic].ends[0] == 1
    assert took_seconds < 5


def made(connection: Connection, *, replicas: int) -> str:
    """A new topic with two partitions."""
    topic = f"horizon-{uuid4()}"
    with closing(Cluster(connection, client_id="tests")) as cluster:
        cluster.create(
            {topic: 2}, replication_factor=replicas, settings={"min.insync.replicas": str(min(2, replicas))}
        )
    return topic


def producer(connection: Connection, **options: object) -> KafkaProducer:
    """A producer whose events are acknowledged by all replicas in sync."""
    return KafkaProducer(
        bootstrap_servers=connection.bootstrap_servers.split(","),
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=2_000,
        **options,
    )
