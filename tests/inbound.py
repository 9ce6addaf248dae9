"""The inbound topics on a real broker, and a producer that writes to them as creditors' systems do.

Used by the tests in which a worker reads real streams; `tests.records` makes what is sent. The topics have fixed
names, so those tests use a broker of their own, and begin each time where the logs end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from domain.events import RawRecord
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.source import Place
from infra.wire.kinds import INBOUND_TOPICS

PARTITIONS = 2

DEADLINE_SECONDS = 30
"""What a machine under load may take for what usually takes milliseconds."""


@contextlib.contextmanager
def known(bootstrap_servers: str) -> Iterator[Cluster]:
    """The cluster, asked as the product asks it."""
    with contextlib.closing(Cluster(Connection(bootstrap_servers), client_id="tests")) as cluster:
        yield cluster


@contextlib.contextmanager
def producing(bootstrap_servers: str, *, transactional_id: str | None = None) -> Iterator[KafkaProducer]:
    """A producer whose records every replica must acknowledge."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        metrics_enabled=False,
    )
    try:
        if transactional_id:
            producer.init_transactions()
        yield producer
    finally:
        producer.close(timeout=DEADLINE_SECONDS)  # Without one it waits for ever for a sender that is stuck.


@contextlib.contextmanager
def administering(bootstrap_servers: str) -> Iterator[KafkaAdminClient]:
    """Who makes and deletes topics."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        yield admin


def send(producer: KafkaProducer, records: Iterable[RawRecord], *, partition: int | None = None) -> None:
    """Send these, by their key or to one partition, and wait until all are acknowledged."""
    sent = [
        producer.send(
            raw.origin.topic, key=raw.key, value=raw.value, headers=list(raw.headers), partition=partition
        )
        for raw in records
    ]
    producer.flush(timeout=DEADLINE_SECONDS)
    for one in sent:
        one.get(timeout=DEADLINE_SECONDS)


def publish(bootstrap_servers: str, *records: RawRecord, partition: int | None = None) -> None:
    """Send a few records with a producer of their own."""
    with producing(bootstrap_servers) as producer:
        send(producer, records, partition=partition)


def begin(bootstrap_servers: str, partitions: int = PARTITIONS) -> None:
    """Make the inbound topics, or delete all that they hold: new positions then begin where the logs end."""
    with known(bootstrap_servers) as cluster, administering(bootstrap_servers) as admin:
        cluster.create(dict.fromkeys(INBOUND_TOPICS, partitions))
        every = [TopicPartition(*place) for place in ends(cluster)]
        admin.delete_records(dict.fromkeys(every, -1))


def ends(cluster: Cluster) -> dict[Place, int]:
    """Where every inbound partition ends now."""
    seen = cluster.look(INBOUND_TOPICS)
    return {
        (topic, partition): end
        for topic, one in seen.items()
        if one is not None
        for partition, end in one.ends.items()
    }


def published(bootstrap_servers: str, topic: str, *, since: dict[int, int], records: int) -> list[Any]:
    """So many records of a topic from behind these offsets, or all that came within the deadline."""
    found: list[Any] = []  # `Any`: the library has no types.
    with contextlib.closing(
        KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=None, isolation_level="read_committed")
    ) as consumer:
        consumer.assign([TopicPartition(topic, partition) for partition in since])
        for partition, offset in since.items():
            consumer.seek(TopicPartition(topic, partition), offset)

        def read() -> bool:
            for batch in consumer.poll(timeout_ms=100).values():
                found.extend(batch)
            return len(found) >= records

        until(read)
    return sorted(found, key=lambda one: (one.partition, one.offset))


def until(done: Callable[[], bool], *, deadline_seconds: float = DEADLINE_SECONDS) -> bool:
    """Try until it is done, or the deadline has passed; says which. What is tried waits by itself."""
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline:
        if done():
            return True
    return False
