"""When the record at a position was written: how long it has waited, and how soon it may be deleted.

Called by `doctor`. Joins no group, commits nothing, and reads one fetch of each partition.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime

from kafka import TopicPartition

from infra.kafka.connection import Connection
from infra.kafka.errors import as_unavailable
from infra.kafka.source import Place

POLL_TIMEOUT_MS = 200
FETCH_MAX_BYTES = 1024
"""Of a partition: the broker sends the first record whole, however large, and little more."""


def unread_since(
    connection: Connection, positions: Mapping[Place, int], *, client_id: str, deadline_seconds: float
) -> dict[Place, datetime]:
    """The time of the first record at or behind each position, as far as they were read by the deadline."""
    found: dict[Place, datetime] = {}
    if not positions:
        return found
    with (
        as_unavailable(),
        closing(connection.reader(client_id, max_partition_fetch_bytes=FETCH_MAX_BYTES)) as consumer,
    ):
        places = {TopicPartition(*place): position for place, position in positions.items()}
        consumer.assign(list(places))
        for place, position in places.items():
            consumer.seek(place, position)
        deadline = time.monotonic() + deadline_seconds
        while len(found) < len(positions) and time.monotonic() < deadline:
            for place, records in consumer.poll(timeout_ms=POLL_TIMEOUT_MS).items():
                found[place.topic, place.partition] = datetime.fromtimestamp(records[0].timestamp / 1000, UTC)
                consumer.pause(place)
    return found
