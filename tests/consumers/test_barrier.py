"""The read barrier: a question waits for all that was acknowledged before it, or is told that it can't be (S1)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import uuid4

import pytest
import sqlalchemy as sa
from kafka import KafkaProducer
from pydantic import SecretStr

from consumers.barrier import Barrier, BehindError, Shared
from consumers.compose import House
from domain.streams import Stop, StopReason
from infra import logs
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.horizon import Horizon
from infra.postgres.database import Database
from infra.postgres.streams import Streams
from infra.settings import Settings
from tests import parts as real_parts
from tests.builders import LENIENT

LONG_SECONDS = 30.0
SHORT_SECONDS = 0.3
WAIT_SECONDS = 2.0
QUESTIONS = 20


class TestShared:
    """A look that is shared by those who asked before it began."""

    def test_who_asks_during_a_look_gets_the_next_one(self) -> None:
        """A look that has begun may have missed what was acknowledged since; those who wait share the next."""
        begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
        looks: list[int] = []

        def look() -> int:
            looks.append(len(looks) + 1)
            number = looks[-1]
            begun.release()
            go_on.acquire()
            return number

        shared = Shared(look)
        until = time.monotonic() + LONG_SECONDS
        with ThreadPoolExecutor(4) as threads:
            first = threads.submit(shared.get, until)
            begun.acquire()
            others = [threads.submit(shared.get, until) for _ in range(3)]
            waits_for(lambda: len(shared._changed._waiters) == 3)  # type: ignore[attr-defined] # Of the library.
            go_on.release()
            begun.acquire()
            go_on.release()

            assert [first.result(), *(other.result() for other in others)] == [1, 2, 2, 2]
        assert looks == [1, 2]

    def test_a_failed_look_fails_for_all_who_waited_and_not_for_the_next(self) -> None:
        """An error is an answer, once."""
        answers: list[Exception | int] = [ValueError("away"), 7]

        def look() -> int:
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        shared = Shared(look)
        with pytest.raises(ValueError, match="away"):
            shared.get(time.monotonic() + LONG_SECONDS)

        assert shared.get(time.monotonic() + LONG_SECONDS) == 7

    def test_nobody_waits_beyond_their_time(self) -> None:
        """A look that hangs is left to hang."""
        begun, go_on = threading.Event(), threading.Event()

        def look() -> int:
            begun.set()
            go_on.wait()
            return 1

        shared = Shared(look)
        with ThreadPoolExecutor(1) as threads:
            first = threads.submit(shared.get, time.monotonic() + LONG_SECONDS)
            begun.wait()
            with pytest.raises(TimeoutError):
                shared.get(time.monotonic() + SHORT_SECONDS)
            go_on.set()

            assert first.result() == 1


@pytest.mark.parts
class TestBarrier:
    """The barrier on a real broker and database; the test itself moves the positions, as a worker would."""

    @pytest.fixture
    def connection(self, parts: real_parts.Parts) -> Connection:
        """The session's Kafka."""
        return Connection(parts.bootstrap_servers)

    @pytest.fixture
    def topic(self, connection: Connection) -> str:
        """A topic of this test alone, with one partition."""
        topic = f"barrier-{uuid4()}"
        with closing(Cluster(connection, client_id="tests")) as cluster:
            cluster.create({topic: 1}, replication_factor=1)
        return topic

    @pytest.fixture
    def horizon(self, connection: Connection, topic: str) -> Iterator[Horizon]:
        """Who asks the broker."""
        with closing(Horizon(connection, [topic], client_id="tests")) as asker:
            yield asker

    @pytest.fixture
    def streams(self, connection: Connection, topic: str, database: Database) -> Streams:
        """The topic, registered and read to its end."""
        streams = Streams(database)
        with closing(Cluster(connection, client_id="tests")) as cluster:
            streams.register(cluster.cluster_id(), cluster.look([topic]))
        return streams

    def test_a_question_waits_until_what_was_acknowledged_is_read(
        self, connection: Connection, topic: str, horizon: Horizon, streams: Streams, database: Database
    ) -> None:
        """Not before the position has passed the event does it return."""
        barrier = Barrier(horizon=horizon, streams=streams, wait_seconds=LONG_SECONDS)
        barrier.cross()
        send(connection, topic)

        with ThreadPoolExecutor(1) as threads:
            question = threads.submit(barrier.cross)
            assert not question.done()
            time.sleep(SHORT_SECONDS)  # There is no event for "still waits".
            assert not question.done()
            execute(database, "UPDATE stream_position SET position = 1")

            assert question.result(LONG_SECONDS) is None

    def test_what_is_not_read_in_time_is_told(
        self, connection: Connection, topic: str, horizon: Horizon, streams: Streams
    ) -> None:
        """With the partition, and how far it is read."""
        send(connection, topic)

        with pytest.raises(BehindError, match=rf"{topic}/0 is read up to 0 of 1"):
            Barrier(horizon=horizon, streams=streams, wait_seconds=SHORT_SECONDS).cross()

    def test_who_comes_during_a_look_that_fails_is_not_kept_for_two(
        self, connection: Connection, topic: str, horizon: Horizon, streams: Streams
    ) -> None:
        """While nothing is certain questions go on coming, and each is told so in little more than the wait."""
        barrier = Barrier(horizon=horizon, streams=streams, wait_seconds=WAIT_SECONDS)
        with closing(uncommitted(connection, topic)), ThreadPoolExecutor(QUESTIONS) as threads:
            took = list(threads.map(lambda number: seconds_until_behind(barrier, number), range(QUESTIONS)))

        assert max(took) < 1.75 * WAIT_SECONDS

    def test_a_stream_that_is_stopped_or_another_is_behind(
        self, connection: Connection, topic: str, horizon: Horizon, streams: Streams, database: Database
    ) -> None:
        """Its position says nothing of what its topic holds now."""
        barrier = Barrier(horizon=horizon, streams=streams, wait_seconds=SHORT_SECONDS)

        streams.stop(topic, Stop(StopReason.TOO_MANY_BAD_EVENTS, "a test"))
        with pytest.raises(BehindError, match="is stopped: TOO_MANY_BAD_EVENTS"):
            barrier.cross()
        execute(database, "UPDATE stream SET stopped_reason = NULL, topic_id = 'another'")
        with pytest.raises(BehindError, match="was deleted and made again"):
            barrier.cross()
        execute(database, "DELETE FROM stream")
        with pytest.raises(BehindError, match="was never read"):
            barrier.cross()

    def test_a_log_that_lost_its_end_is_behind(
        self, connection: Connection, topic: str, horizon: Horizon, streams: Streams, database: Database
    ) -> None:
        """What is acknowledged there stands where something else was read: its position says nothing."""
        execute(database, "UPDATE stream_position SET position = 5")
        send(connection, topic)

        with pytest.raises(BehindError, match=rf"{topic}/0 ends at 1, but was read up to 5"):
            Barrier(horizon=horizon, streams=streams, wait_seconds=LONG_SECONDS).cross()

    def test_partitions_that_were_added_are_behind(
        self, horizon: Horizon, streams: Streams, database: Database
    ) -> None:
        """Nobody reads them yet."""
        execute(database, "DELETE FROM stream_position")

        with pytest.raises(BehindError, match="had 0 partitions, now 1"):
            Barrier(horizon=horizon, streams=streams, wait_seconds=SHORT_SECONDS).cross()


def send(connection: Connection, topic: str) -> None:
    """One event, acknowledged."""
    with closing(KafkaProducer(bootstrap_servers=connection.bootstrap_servers, acks="all")) as producer:
        producer.send(topic, b"x", partition=0).get(LONG_SECONDS)


def uncommitted(connection: Connection, topic: str) -> KafkaProducer:
    """Who has a transaction open, so that nobody can say how far the topic goes."""
    producer = KafkaProducer(bootstrap_servers=connection.bootstrap_servers, transactional_id=f"t-{uuid4()}")
    producer.init_transactions()
    producer.begin_transaction()
    producer.send(topic, b"x", partition=0).get(LONG_SECONDS)
    return producer


def seconds_until_behind(barrier: Barrier, number: int) -> float:
    """How long a question waits that comes as the so-manyth, some time after the first."""
    time.sleep(WAIT_SECONDS * number / QUESTIONS)  # They come one after the other.
    asked_at = time.monotonic()
    with pytest.raises(BehindError):
        barrier.cross()
    return time.monotonic() - asked_at


def execute(database: Database, statement: str) -> None:
    """Run a statement."""
    with database.transaction() as connection:
        connection.execute(sa.text(statement))


def waits_for(done: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + LONG_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_process_has_one_barrier() -> None:
    """Whoever asks in it shares the looks; a horizon is for one look at a time."""
    database_url = SecretStr("postgresql://nobody@127.0.0.1/nowhere")
    settings = Settings(kafka_bootstrap_servers="127.0.0.1:1", database_url=database_url)
    house = House(settings, logs.configure(role="test"), role="api")

    assert house.barrier(LENIENT) is house.barrier(LENIENT)
