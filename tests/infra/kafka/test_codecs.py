"""Every compression that a producer may choose is read; one that is not would stall its worker."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.listener import Listener
from tests import parts as real_parts

pytestmark = pytest.mark.parts

TRIES = 100


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_a_batch_in_each_of_kafkas_codecs_is_read(parts: real_parts.Parts, codec: str | None) -> None:
    """The records come out as they went in."""
    connection = Connection(parts.bootstrap_servers)
    topic = f"codec-{uuid4()}"
    sent = [f"{number} {'x' * 500}".encode() for number in range(20)]
    with closing(Cluster(connection, client_id="tests")) as cluster:
        cluster.create({topic: 1}, replication_factor=1)
    with closing(KafkaProducer(bootstrap_servers=parts.bootstrap_servers, compression_type=codec)) as producer:
        for value in sent:
            producer.send(topic, value)
        producer.flush()

    heard: list[bytes] = []
    with closing(Listener(connection, topic, client_id="tests")) as listener:
        for _ in range(TRIES):
            heard += [one.value for one in listener.hear(timeout_ms=100)]
            if len(heard) >= len(sent):
                break

    assert sent == heard
