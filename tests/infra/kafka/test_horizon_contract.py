"""How far the streams go, asked of real brokers: exact, certain, or not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from domain.streams import Seen
from infra.embedded import free_ports
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.horizon import ASK_TIMEOUT_MS, Horizon, UncertainError
from tests import parts as real_parts
from tests.beside import Beside
from tests.inbound import until

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


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Three nodes, of which a test may end one."""
    folder = tmp_path_factory.mktemp("three")
    with EmbeddedKafka(folder, nodes=3, broker_session_seconds=BROKER_SESSION_SECONDS) as cluster:
        yield cluster


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
        horizon.look(deadline_seconds=LONG_SECONDS)  # Connects.
        with closing(producer(connection, transactional_id=f"t-{uuid4()}")) as sender:
            sender.init_transactions()
            sender.begin_transaction()
            sender.send(topic, b"x", partition=0).get(LONG_SECONDS)

            with pytest.raises(UncertainError, match=r"/0: an open transaction hides what is behind offset 0"):
                horizon.look(deadline_seconds=SHORT_SECONDS)
            sender.abort_transaction()

            # The end may count the marker a moment later than the producer hears of it.
            ended = until(lambda: horizon.look(deadline_seconds=LONG_SECONDS)[topic].ends == {0: 2, 1: 0})
        assert ended  # The event and the marker that it is void.

    def test_a_try_cut_short_by_the_deadline_hides_no_doubt(self, connection: Connection, topic: str) -> None:
        """What a whole try found is told, and not that the last one had no time."""

        class CutShort(Horizon):
            """Finds out once why not, and is then still asking when its time is up."""

            tries = 0

            def _look_once(self, until: float) -> dict[str, Seen]:
                self.tries += 1
                if self.tries == 1:
                    raise UncertainError("an open transaction")
                while time.monotonic() < until:
                    pass
                raise UncertainError("no leader answered")

        with (
            closing(CutShort(connection, [topic], client_id="tests")) as asker,
            pytest.raises(UncertainError, match="an open transaction"),
        ):
            asker.look(deadline_seconds=SHORT_SECONDS)

    def test_a_missing_topic_is_a_doubt(self, connection: Connection) -> None:
        """Nobody can say how far a stream goes that is not there."""
        with (
            closing(Horizon(connection, ["no-such-topic"], client_id="tests")) as asker,
            pytest.raises(UncertainError),
        ):
            asker.look(deadline_seconds=SHORT_SECONDS)


class TestThreeBrokers:
    """What holds while one of three is away."""

    def test_a_leader_that_dies_is_a_doubt_until_another_leads(self, three: EmbeddedKafka, bare: Beside) -> None:
        """Every look says within its deadline that it is sure, or that it is not."""
        three.start()
        connection = Connection(three.bootstrap_servers)
        topic = made(connection, replicas=3)
        with (
            closing(Horizon(connection, [topic], client_id="tests")) as asker,
            closing(producer(connection)) as sender,
        ):
            asker.look(deadline_seconds=LONG_SECONDS)

            three.kill_node(asker._leaders[topic, 0])
            with bare.within(5), pytest.raises(UncertainError):
                asker.look(deadline_seconds=SHORT_SECONDS)
            sender.send(topic, b"x", partition=0).get(LONG_SECONDS)
            seen = asker.look(deadline_seconds=LONG_SECONDS)

        assert seen[topic].ends[0] == 1

    def test_a_leader_that_is_forgotten_is_no_obstacle(self, three: EmbeddedKafka) -> None:
        """It died while nobody asked, and the brokers and the library know it no more: the next look is sure."""
        three.start()
        connection = Connection(three.bootstrap_servers)
        topic = made(connection, replicas=3)
        with closing(Horizon(connection, [topic], client_id="tests")) as asker:
            before = asker.look(deadline_seconds=LONG_SECONDS)
            leader = asker._leaders[topic, 0]

            three.kill_node(leader)
            deadline = time.monotonic() + LONG_SECONDS
            while leader in asker._brokers() and time.monotonic() < deadline:
                time.sleep(0.1)  # There is no event for it.

            assert leader not in asker._brokers()
            assert before == asker.look(deadline_seconds=LONG_SECONDS)

    def test_a_frozen_broker_that_leads_nothing_holds_nobody_up(self, three: EmbeddedKafka, bare: Beside) -> None:
        """Two of three are witnesses enough, so no look waits until the third has not answered for long enough."""
        three.start()
        connection = Connection(three.bootstrap_servers)
        topic = made(connection, replicas=3)
        with closing(Horizon(connection, [topic], client_id="tests")) as asker:
            asker.look(deadline_seconds=LONG_SECONDS)
            frozen = asker._leaders[topic, 0]
            three.freeze_node(frozen)
            try:
                asker.look(deadline_seconds=LONG_SECONDS)
                for _ in range(200):
                    with bare.within(ASK_TIMEOUT_MS / 1000):
                        asker.look(deadline_seconds=LONG_SECONDS)
            finally:
                three.thaw_node(frozen)


def test_who_can_not_connect_leaves_nothing_behind() -> None:
    """A process that looks again and again while no broker is there does not run out of threads."""
    (nobody,) = free_ports(1)
    with closing(Horizon(Connection(f"127.0.0.1:{nobody}"), ["t"], client_id="nobody")) as asker:
        for _ in range(2):
            with pytest.raises(UncertainError):
                asker.look(deadline_seconds=SHORT_SECONDS)

    assert [thread for thread in threading.enumerate() if "nobody" in thread.name] == []


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
