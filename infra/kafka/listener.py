"""Hears all that is published on one topic, from its first record on or from given offsets.

Called by `demo`, which checks what it claims from outside, and by simulated agencies. Joins no group and commits
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kafka import TopicPartition

from infra.kafka.connection import Connection
from infra.kafka.errors import as_unavailable

FETCH_MAX_WAIT_MS = 100


@dataclass(frozen=True, slots=True)
class Heard:
    """One published record, when it was written, and where."""

    key: bytes
    value: bytes
    written_at: datetime
    partition: int = 0
    offset: int = 0


class Listener:
    """A reader of every partition of a topic."""

    def __init__(self, connection: Connection, topic: str, *, client_id: str) -> None:
        with as_unavailable():
            self._consumer = connection.reader(client_id, fetch_max_wait_ms=FETCH_MAX_WAIT_MS)
            partitions = self._consumer.partitions_for_topic(topic) or set()
            self._places = [TopicPartition(topic, partition) for partition in sorted(partitions)]
            self._consumer.assign(self._places)
            self._consumer.seek_to_beginning()

    def hear_from(self, offsets: Mapping[int, int]) -> dict[int, int]:
        """Go on from these offsets, and in any other partition from now; says from where, by partition."""
        with as_unavailable():
            ends = self._consumer.end_offsets(self._places)
            starts = {place.partition: offsets.get(place.partition, ends[place]) for place in self._places}
            for place in self._places:
                self._consumer.seek(place, starts[place.partition])
        return starts

    def hear(self, *, timeout_ms: int) -> list[Heard]:
        """What was published since the last call; waits so long where there is nothing."""
        with as_unavailable():
            fetched = self._consumer.poll(timeout_ms=timeout_ms)
        return [
            Heard(
                record.key or b"",
                record.value or b"",
                datetime.fromtimestamp(record.timestamp / 1000, UTC),
                record.partition,
                record.offset,
            )
            for records in fetched.values()
            for record in records
        ]

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close(autocommit=False)
