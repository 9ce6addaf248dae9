"""What we rely on in Kafka and its library, on a real broker: what is read, where it stands, what is told of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count

import pytest
from kafka import TopicPartition

from domain.events import Origin, RawRecord
from domain.streams import Seen
from infra.embedded import free_ports
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.publisher import Publisher
from infra.kafka.source import OutOfLogError, Polled, Source
from infra.postgres.outbox import LEASE_SECONDS
from infra.wire.encode import Outgoing
from tests import inbound
from tests.beside import Beside
from tests.parts import Parts

pytestmark = pytest.mark.parts

TRACE = ("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
BOUND_SECONDS = 15
"""Within it a broker that is away must be told: the request time-out of 10 s, and some air."""

_numbers = count(1)


@pytest.fixture
def cluster(parts: Parts) -> Iterator[Cluster]:
    """The session's Kafka."""
    with inbound.known(parts.bootstrap_servers) as cluster:
        yield cluster


@pytest.fixture
def topic(cluster: Cluster) -> str:
    """A topic of this test alone, with one partition."""
    name = f"contract-{next(_numbers)}"
    cluster.create({name: 1}, settings={"message.timestamp.type": "LogAppendTime"})
    return name


@pytest.fixture
def source(parts: Parts, topic: str) -> Iterator[Source]:
    """A member of a group of its own, that reads that topic from its start."""
    with contextlib.closing(member(parts, topic, group=topic)) as source:
        assert inbound.until(lambda: polled(source) and source.unplaced() == {(topic, 0)})
        source.start_at({(topic, 0): 0})
        yield source


def member(parts: Parts, topic: str, *, group: str) -> Source:
    """A member of a group."""
    connection = Connection(parts.bootstrap_servers)
    return Source(connection, [topic], group_id=group, client_id="tests", instance_id=None, max_records=100)


class TestSource:
    """What a member of the group reads."""

    def test_what_was_sent_is_what_is_read(self, source: Source, topic: str, parts: Parts) -> None:
        """Key, value, headers in their order, the offset, and the broker's time rather than the producer's."""
        began = datetime.now(UTC)
        headers = (TRACE, ("ce_id", b"\xff"), ("ce_id", b""))
        send(parts, topic, b"\x00value", key=b"a-1", headers=headers, timestamp_ms=1)

        (raw,) = read(source, 1)

        assert abs((raw.origin.received_at - began).total_seconds()) < BOUND_SECONDS
        assert raw == RawRecord(Origin(topic, 0, 0, raw.origin.received_at), b"a-1", b"\x00value", headers)

    def test_an_aborted_transaction_is_not_read_and_every_marker_is_passed(
        self, source: Source, topic: str, parts: Parts
    ) -> None:
        """Two records and two markers take four offsets; an idle poll gives the position behind them all."""
        with inbound.producing(parts.bootstrap_servers, transactional_id=topic) as producer:
            producer.begin_transaction()
            producer.send(topic, b"kept")
            producer.commit_transaction()
            values = [raw.value for raw in read(source, 1)]
            assert inbound.until(lambda: source.poll(100) == Polled([], {(topic, 0): 2}))
            producer.begin_transaction()
            producer.send(topic, b"aborted")
            producer.flush()
            producer.abort_transaction()

        assert values == [b"kept"]
        assert inbound.until(lambda: source.poll(100) == Polled([], {(topic, 0): 4}))

    def test_an_open_transaction_hides_what_is_behind_it(
        self, source: Source, topic: str, parts: Parts, cluster: Cluster
    ) -> None:
        """The end of the log counts what can't be read yet, the stable end does not."""
        with inbound.producing(parts.bootstrap_servers, transactional_id=topic) as producer:
            producer.begin_transaction()
            producer.send(topic, b"open")
            producer.flush()
            send(parts, topic, b"behind it")
            seen = cluster.look([topic])[topic]
            assert seen is not None
            ends = (seen.ends[0], cluster.stable_ends([(topic, 0)])[topic, 0])
            hidden = [source.poll(100).records for _ in range(3)]
            producer.commit_transaction()

        assert (ends, hidden) == ((2, 0), [[], [], []])
        assert [raw.value for raw in read(source, 2)] == [b"open", b"behind it"]

    def test_a_place_outside_the_log_is_an_error_of_its_own(self, source: Source, topic: str, parts: Parts) -> None:
        """Nothing is reset silently; told of another place it reads on."""
        send(parts, topic, b"1", b"2", b"3")
        with inbound.administering(parts.bootstrap_servers) as admin:
            admin.delete_records({TopicPartition(topic, 0): 2})

        with pytest.raises(OutOfLogError):
            read(source, 1)
        source.pause(source.owned())
        source.start_at({(topic, 0): 2})

        assert [raw.value for raw in read(source, 1)] == [b"3"]

    def test_what_is_paused_is_not_read_until_it_is_placed(self, source: Source, topic: str, parts: Parts) -> None:
        """What was read and not kept comes again from where it is placed."""
        send(parts, topic, b"1", b"2")
        before = [raw.value for raw in read(source, 2)]
        source.pause({(topic, 0)})
        send(parts, topic, b"3")
        paused = (source.poll(300), source.unplaced())

        source.start_at({(topic, 0): 1})

        assert (before, paused) == ([b"1", b"2"], (Polled([], {}), {(topic, 0)}))
        assert [raw.value for raw in read(source, 2)] == [b"2", b"3"]


class TestCluster:
    """What the cluster says of topics."""

    def test_a_topic_that_can_not_be_looked_at_is_not_missing(self, cluster: Cluster) -> None:
        """To take it for missing would stop its stream until a person comes; it may be seen at the next look."""
        with pytest.raises(BrokerUnavailableError):
            cluster.look(["no/name"])

    def test_a_missing_topic_is_none_and_its_neighbour_is_seen(self, cluster: Cluster, topic: str) -> None:
        """One answer for both."""
        seen = cluster.look([topic, "none-such"])

        assert (seen["none-such"], seen[topic]) == (None, Seen(topic_id_of(cluster, topic), {0: 0}, {0: 0}))

    def test_a_topic_that_is_made_again_has_another_identity(
        self, cluster: Cluster, topic: str, parts: Parts
    ) -> None:
        """Under the same name."""
        before = topic_id_of(cluster, topic)
        with inbound.administering(parts.bootstrap_servers) as admin:
            admin.delete_topics([topic])
        assert inbound.until(lambda: cluster.create({topic: 1}) == [topic])

        assert before != topic_id_of(cluster, topic)

    def test_a_topic_is_made_once(self, cluster: Cluster, topic: str) -> None:
        """What is there stays as it is."""
        made = cluster.create({topic: 3, f"{topic}-more": 2})

        facts = cluster.facts([topic, f"{topic}-more"])
        assert (made, [facts[name].partitions for name in (topic, f"{topic}-more")]) == ([f"{topic}-more"], [1, 2])
        assert facts[topic].timestamp_type == "LogAppendTime"


class TestPublisher:
    """What is reported of records that were sent."""

    def test_each_record_is_reported_and_carries_all_it_has(self, source: Source, topic: str, parts: Parts) -> None:
        """Those that are out, in their order, with key and headers; one to a topic that is not there is not."""
        out = [Outgoing("", "", where, b"k", value, (TRACE,)) for where, value in ((topic, b"1"), (topic, b"2"))]
        with contextlib.closing(Publisher(Connection(parts.bootstrap_servers), client_id="tests")) as publisher:
            reported = publisher.publish([*out, Outgoing("", "", "none-such", b"k", b"3", ())])

        assert reported == [True, True, False]
        assert [(raw.key, raw.value, raw.headers) for raw in read(source, 2)] == [
            (b"k", b"1", (TRACE,)),
            (b"k", b"2", (TRACE,)),
        ]

    def test_a_missing_topic_is_waited_for_once(
        self, source: Source, topic: str, parts: Parts, bare: Beside
    ) -> None:
        """Ten records to a topic that is not there don't keep the one behind them beyond the lease on it."""
        out = [Outgoing("", "", where, b"k", b"1", ()) for where in [*["none-such"] * 10, topic]]
        with (
            contextlib.closing(Publisher(Connection(parts.bootstrap_servers), client_id="tests")) as publisher,
            bare.within(LEASE_SECONDS),
        ):
            reported = publisher.publish(out)

        assert reported == [*[False] * 10, True]
        assert [raw.value for raw in read(source, 1)] == [b"1"]


def test_a_broker_that_is_away_is_told_to_every_client_within_bounds(bare: Beside) -> None:
    """As an error whose caller tries again, never as an answer."""
    (port,) = free_ports(1)
    nowhere = Connection(f"127.0.0.1:{port}")
    clients: list[Callable[[], object]] = [
        lambda: Cluster(nowhere, client_id="tests"),
        lambda: Publisher(nowhere, client_id="tests"),
        lambda: Source(nowhere, ["t"], group_id="g", client_id="tests", instance_id=None, max_records=1),
    ]

    with bare.within(BOUND_SECONDS), ThreadPoolExecutor(len(clients)) as threads:
        tried = [threads.submit(one) for one in clients]
        errors = [type(one.exception()) for one in tried]

    assert errors == [BrokerUnavailableError] * 3


# --- What the tests send and read ---


def send(
    parts: Parts,
    topic: str,
    *values: bytes,
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    timestamp_ms: int | None = None,
) -> None:
    """Send these, acknowledged one after the other."""
    with inbound.producing(parts.bootstrap_servers) as producer:
        for value in values:
            producer.send(topic, value, key=key, headers=list(headers), timestamp_ms=timestamp_ms).get(10)


def polled(source: Source) -> bool:
    """One short poll; true, whatever it brought."""
    source.poll(100)
    return True


def read(source: Source, records: int) -> list[RawRecord]:
    """So many records, or what came by the deadline."""
    found: list[RawRecord] = []

    def enough() -> bool:
        found.extend(source.poll(100).records)
        return len(found) >= records

    inbound.until(enough)
    return found


def topic_id_of(cluster: Cluster, topic: str) -> str:
    """The identity of a topic that is there."""
    seen = cluster.look([topic])[topic]
    assert seen is not None
    return seen.topic_id
