"""The inbound streams of one worker: its share of the partitions, read from the positions that we keep.

Called by `ingest`. Never commits a position of its own: Kafka's committed offsets follow ours, for lag tools
only. A partition that has just been assigned is paused until the caller says where it starts, so nothing is
read from a place that somebody else chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from domain.events import Origin, RawRecord
from infra.kafka.connection import Connection
from infra.kafka.errors import BrokerUnavailableError, as_unavailable

SESSION_TIMEOUT_MS = 6_000
"""The broker's smallest by default: a worker that died is replaced within it."""

HEARTBEAT_INTERVAL_MS = 1_500
"""A quarter of the session, so that three may be lost."""

MAX_POLL_INTERVAL_MS = 60_000
"""Above the longest transaction (30 s): a worker that is stuck longer has lost its partitions."""

FETCH_MAX_WAIT_MS = 100
"""How long an idle broker holds a request; an idle loop passes markers and stores positions this often."""

Place = tuple[str, int]
"""A topic and a partition."""


class OutOfLogError(Exception):
    """A position is outside its partition's log: records are lost or the log was cut; look at the streams."""


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought, and the consumer's position in each partition that it reads."""

    records: list[RawRecord]
    positions: dict[Place, int]


class Source:
    """A member of the consumer group, reading the inbound topics."""

    def __init__(
        self,
        connection: Connection,
        topics: Sequence[str],
        *,
        group_id: str,
        client_id: str,
        instance_id: str | None,
        max_records: int,
    ) -> None:
        with as_unavailable():
            self._consumer = KafkaConsumer(
                **connection.options(client_id),
                group_id=group_id,
                group_instance_id=instance_id,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                session_timeout_ms=SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
                max_poll_records=max_records,
                fetch_max_wait_ms=FETCH_MAX_WAIT_MS,
                metrics_enabled=False,
            )
        self._starts = _Starts(self._consumer)
        self._consumer.subscribe(topics=list(topics), listener=self._starts)

    def poll(self, timeout_ms: int) -> Polled:
        """The next records, up to the batch limit; nothing when idle, or when the broker is away.

        Raises OutOfLogError where a position is outside its log.
        """
        try:
            with as_unavailable():
                self._see_the_join_through()
                fetched = self._consumer.poll(timeout_ms=timeout_ms)
                positions = self._positions(fetched or None)
        except BrokerUnavailableError as why:
            if isinstance(why.__cause__, OffsetOutOfRangeError | LogTruncationError):
                raise OutOfLogError(str(why)) from why
            raise
        records: list[RawRecord] = []
        for place, found in fetched.items():
            records += [raw_record(place, record) for record in found]
        return Polled(records, positions)

    def unplaced(self) -> set[Place]:
        """The partitions that were assigned and wait to be told where they start."""
        return {(place.topic, place.partition) for place in self._starts.unplaced & self._assigned()}

    def owned(self) -> set[Place]:
        """The partitions that are assigned to this worker."""
        return {(place.topic, place.partition) for place in self._assigned()}

    def start_at(self, positions: Mapping[Place, int]) -> None:
        """Read these partitions from these positions."""
        for place in self._assigned():
            position = positions.get((place.topic, place.partition))
            if position is not None:
                self._consumer.seek(place, position)
                self._consumer.resume(place)
                self._starts.unplaced.discard(place)

    def pause(self, places: set[Place]) -> None:
        """Stop reading these partitions, until `start_at` says where to go on."""
        stopped = [place for place in self._assigned() if (place.topic, place.partition) in places]
        self._consumer.pause(*stopped)
        self._starts.unplaced.update(stopped)

    def show_progress(self, positions: Mapping[Place, int]) -> None:
        """Tell the broker how far we are, for lag tools; nothing of ours reads it."""
        offsets = {TopicPartition(*place): OffsetAndMetadata(at) for place, at in positions.items()}
        self._consumer.commit_async(offsets)

    def close(self) -> None:
        """Leave the group, so that the others take over at once."""
        self._consumer.close(autocommit=False, timeout_ms=5_000)

    def _see_the_join_through(self) -> None:
        """Keep the library asking for its share of the group until it has taken it over.

        In kafka-python 3.0.12 a join that a leader began because it saw new partitions, and that ended between
        two polls, is forgotten: no partitions, no heartbeats, no error, and no second try for ever.
        """
        coordinator = self._consumer._coordinator  # noqa: SLF001 # The library has no other way to say so.
        if coordinator.rejoining:
            coordinator.request_rejoin()

    def _assigned(self) -> set[TopicPartition]:
        return set(self._consumer.assignment())

    def _positions(self, places: Mapping[TopicPartition, object] | None) -> dict[Place, int]:
        """Positions of the partitions that brought records; of all that are read where none did.

        An idle poll is when a marker or a hole at the end of a log is passed, which moves a position too.
        """
        read = self._assigned() - self._starts.unplaced
        positions: dict[Place, int] = {}
        for place in read if places is None else read & set(places):
            position = self._consumer.position(place, timeout_ms=0)
            if position is not None:
                positions[(place.topic, place.partition)] = position
        return positions


class _Starts(ConsumerRebalanceListener):  # type: ignore[misc] # The library has no types.
    """Holds new partitions back until they are placed. Runs on the library's own thread, so it never waits."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self.unplaced: set[TopicPartition] = set()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        for place in assigned:
            # A position that will be replaced: without any, the library would look up a committed one.
            self._consumer.pause(place)
            self._consumer.seek(place, 0)
            self.unplaced.add(place)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        # They stay assigned until the rebalance ends, perhaps beyond what was committed: nobody may take
        # where they stand for read.
        self.unplaced.update(revoked)


def raw_record(place: TopicPartition, record: Any) -> RawRecord:  # `Any`: the library has no types.
    """A record of the library as ours."""
    received_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
    # A header may have no value; one without and an empty one say the same, and all who take it expect bytes.
    headers = tuple((name, value or b"") for name, value in record.headers)
    return RawRecord(
        Origin(place.topic, place.partition, record.offset, received_at), record.key, record.value, headers
    )
