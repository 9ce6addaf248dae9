"""Records read again from where they once were, for the proof of what came before anybody kept bytes.

Called by `consumers.evidence`. Joins no group, commits nothing, and gives up at a deadline. A topic that is no
longer the one that was registered is not read: its offsets name other records. Whether a record is still the event
that the ledger has is for the caller to say, by its digest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import closing

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import OffsetOutOfRangeError

from domain.events import Origin, RawRecord
from domain.streams import Seen
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.errors import as_unavailable
from infra.kafka.source import raw_record

POLL_TIMEOUT_MS = 200
FETCH_MAX_BYTES = 64 * 1024
"""Of a partition: single records are wanted; the broker sends a batch whole, however large."""

NO_TOPIC = "the broker does not have the topic"
OTHER_TOPIC = "the topic was made again, or is in another cluster, since it was read"
GONE = "the log does not have it any more"
LATE = "it could not be read in time"


def read_back(
    connection: Connection,
    wanted: Iterable[Origin],
    registered: Mapping[str, tuple[str, str]],
    *,
    client_id: str,
    deadline_seconds: float,
) -> dict[Origin, RawRecord | str]:
    """Each of these records or, in words, why there is none. `registered`: cluster and topic id by topic.

    Raises BrokerUnavailableError.
    """
    every = list(wanted)
    with closing(Cluster(connection, client_id=client_id)) as cluster:
        cluster_id = cluster.cluster_id()
        seen = cluster.look(sorted({one.topic for one in every}))
    found: dict[Origin, RawRecord | str] = {}
    to_read: list[Origin] = []
    for one in every:
        why_not = _why_not(one, seen[one.topic], cluster_id, registered.get(one.topic))
        if why_not is None:
            to_read.append(one)
        else:
            found[one] = why_not
    return found | _read(connection, to_read, client_id, deadline_seconds)


def _why_not(one: Origin, seen: Seen | None, cluster_id: str, registered: tuple[str, str] | None) -> str | None:
    if seen is None:
        return NO_TOPIC
    if registered != (cluster_id, seen.topic_id):
        return OTHER_TOPIC
    inside = seen.starts.get(one.partition, 0) <= one.offset < seen.ends.get(one.partition, 0)
    return None if inside else GONE


def _read(
    connection: Connection, wanted: list[Origin], client_id: str, deadline_seconds: float
) -> dict[Origin, RawRecord | str]:
    found: dict[Origin, RawRecord | str] = dict.fromkeys(wanted, LATE)
    if not wanted:
        return found
    waiting: dict[TopicPartition, deque[Origin]] = {}
    for one in sorted(wanted, key=lambda origin: (origin.topic, origin.partition, origin.offset)):
        waiting.setdefault(TopicPartition(one.topic, one.partition), deque()).append(one)
    with (
        as_unavailable(),
        closing(connection.reader(client_id, max_partition_fetch_bytes=FETCH_MAX_BYTES)) as consumer,
    ):
        consumer.assign(list(waiting))
        for place, queue in waiting.items():
            consumer.seek(place, queue[0].offset)
        deadline = time.monotonic() + deadline_seconds
        while waiting and time.monotonic() < deadline:
            try:
                _poll(consumer, waiting, found)
            except OffsetOutOfRangeError:  # The log was cut short a moment ago.
                found.update(dict.fromkeys((one for queue in waiting.values() for one in queue), GONE))
                break
    return found


def _poll(
    consumer: KafkaConsumer, waiting: dict[TopicPartition, deque[Origin]], found: dict[Origin, RawRecord | str]
) -> None:
    """Read on; what is behind the position and did not come is not there, be it for compaction or a marker."""
    fetched = consumer.poll(timeout_ms=POLL_TIMEOUT_MS)
    for place, queue in list(waiting.items()):
        records = {record.offset: record for record in fetched.get(place, [])}
        position = consumer.position(place, timeout_ms=0)
        while queue and queue[0].offset < (position or 0):
            one = queue.popleft()
            record = records.get(one.offset)
            found[one] = GONE if record is None else raw_record(place, record)
        if not queue:
            del waiting[place]
            consumer.pause(place)
        elif position is not None and records and queue[0].offset > position:
            consumer.seek(place, queue[0].offset)
