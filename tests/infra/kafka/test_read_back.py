"""Records of a real log read again: those that are there, and why the others are not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from kafka import TopicPartition

from domain.events import Origin, RawRecord
from infra.kafka.connection import Connection
from infra.kafka.read_back import GONE, LATE, NO_TOPIC, OTHER_TOPIC, read_back
from tests import inbound
from tests.parts import Parts
from tests.records import payment

pytestmark = pytest.mark.parts

_numbers = count(1)

Streams = dict[str, tuple[str, str]]


@pytest.fixture
def topic(parts: Parts) -> str:
    """A topic of two partitions for this test alone."""
    name = f"read-back-{next(_numbers)}"
    with inbound.known(parts.bootstrap_servers) as cluster:
        cluster.create({name: 2}, replication_factor=1)
    return name


@pytest.fixture
def streams(parts: Parts, topic: str) -> Streams:
    """The topic as it is now, registered."""
    with inbound.known(parts.bootstrap_servers) as cluster:
        seen = cluster.look([topic])[topic]
        assert seen is not None
        return {topic: (cluster.cluster_id(), seen.topic_id)}


def on(topic: str, number: int) -> RawRecord:
    """A payment on that topic, with a header."""
    raw = payment(f"p-{number}")
    return replace(raw, origin=replace(raw.origin, topic=topic), headers=(("n", str(number).encode()), ("x", b"")))


def place(topic: str, partition: int, offset: int) -> Origin:
    """Where an event was read."""
    return Origin(topic, partition, offset, payment().origin.received_at)


def again(
    parts: Parts, streams: Streams, wanted: list[Origin], *, deadline_seconds: float = 30
) -> dict[Origin, RawRecord | str]:
    """These read back."""
    return read_back(
        Connection(parts.bootstrap_servers),
        wanted,
        streams,
        client_id="tests",
        deadline_seconds=deadline_seconds,
    )


@contextlib.contextmanager
def filled(parts: Parts, topic: str, records: int) -> Iterator[None]:
    """So many records on partition 1."""
    inbound.publish(parts.bootstrap_servers, *(on(topic, number) for number in range(records)), partition=1)
    yield


def test_records_come_back_as_they_were(parts: Parts, topic: str, streams: Streams) -> None:
    """Key, value and headers of those that were asked for, however far apart, and of no other."""
    wanted = [place(topic, 1, offset) for offset in (900, 3, 4, 1_999)]

    with filled(parts, topic, 2_000):
        found = again(parts, streams, wanted)

    came = {one.offset: raw for one, raw in found.items() if isinstance(raw, RawRecord)}
    assert {
        offset: (raw.key, raw.value, raw.headers, raw.origin.partition, raw.origin.offset)
        for offset, raw in came.items()
    } == {
        number: (on(topic, number).key, on(topic, number).value, on(topic, number).headers, 1, number)
        for number in (3, 4, 900, 1_999)
    }


def test_what_the_log_lost_is_told(parts: Parts, topic: str, streams: Streams) -> None:
    """Deleted by retention, beyond the end, or on a partition that is not there; the rest is read."""
    wanted = [place(topic, 1, 0), place(topic, 1, 5), place(topic, 1, 10), place(topic, 7, 0)]

    with filled(parts, topic, 10), inbound.administering(parts.bootstrap_servers) as admin:
        admin.delete_records({TopicPartition(topic, 1): 5})
        found = again(parts, streams, wanted)

    assert ["read" if isinstance(found[one], RawRecord) else found[one] for one in wanted] == [
        GONE,
        "read",
        GONE,
        GONE,
    ]


def test_a_place_without_a_record_is_told(parts: Parts, topic: str, streams: Streams) -> None:
    """The end of a transaction takes an offset, and what was aborted is no record."""
    with inbound.producing(parts.bootstrap_servers, transactional_id=f"t-{topic}") as producer:
        producer.begin_transaction()
        inbound.send(producer, [on(topic, 0)], partition=1)
        producer.abort_transaction()
        producer.begin_transaction()
        inbound.send(producer, [on(topic, 1)], partition=1)
        producer.commit_transaction()
    wanted = [place(topic, 1, offset) for offset in range(4)]

    found = again(parts, streams, wanted)

    assert ["read" if isinstance(found[one], RawRecord) else found[one] for one in wanted] == [
        GONE,
        GONE,
        "read",
        GONE,
    ]


def test_another_topic_of_the_same_name_is_not_read(parts: Parts, topic: str, streams: Streams) -> None:
    """Made again since, in another cluster, never registered, or not there."""
    ((cluster_id, topic_id),) = streams.values()
    wanted = [place(topic, 1, 0)]

    with filled(parts, topic, 1):
        assert list(again(parts, {topic: (cluster_id, "made-before")}, wanted).values()) == [OTHER_TOPIC]
        assert list(again(parts, {topic: ("elsewhere", topic_id)}, wanted).values()) == [OTHER_TOPIC]
        assert list(again(parts, {}, wanted).values()) == [OTHER_TOPIC]
    missing = [place("read-back-never-made", 0, 0)]
    assert list(again(parts, streams, missing).values()) == [NO_TOPIC]


def test_it_ends_at_its_deadline(parts: Parts, topic: str, streams: Streams) -> None:
    """What was not read by then is told as such."""
    wanted = [place(topic, 1, 0)]

    with filled(parts, topic, 1):
        assert {wanted[0]: LATE} == again(parts, streams, wanted, deadline_seconds=0)
