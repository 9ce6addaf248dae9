"""Whether an inbound stream is still the one whose position we keep, and may be read on from there.

Called by `ingest` when it is given partitions and every few seconds after, and by `doctor`. A stream that is
no longer the same is stopped with a reason until a person accepts it; a position is never silently reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """Why a stream may not be read on."""

    CLUSTER_CHANGED = "CLUSTER_CHANGED"
    TOPIC_MISSING = "TOPIC_MISSING"
    TOPIC_REMADE = "TOPIC_REMADE"
    PARTITIONS_CHANGED = "PARTITIONS_CHANGED"
    RETENTION_LOSS = "RETENTION_LOSS"
    LOG_TRUNCATED = "LOG_TRUNCATED"
    TOO_MANY_BAD_EVENTS = "TOO_MANY_BAD_EVENTS"


@dataclass(frozen=True, slots=True)
class Seen:
    """A topic as the broker has it now: its identity, and each partition's first and next offset."""

    topic_id: str
    starts: Mapping[int, int]
    ends: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """A stream as it is registered: cluster, topic identity, the position in each partition."""

    cluster_id: str
    topic_id: str
    positions: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Stop:
    """A stream may not be read on: why, in a code and in words for the operator."""

    reason: StopReason
    detail: str


def judge(kept: Kept, cluster_id: str, seen: Seen | None) -> Stop | None:
    """Why this stream may not be read on from its positions, or None where it may."""
    if kept.cluster_id != cluster_id:
        return Stop(StopReason.CLUSTER_CHANGED, f"positions are of cluster {kept.cluster_id}, not {cluster_id}")
    if seen is None:
        return Stop(StopReason.TOPIC_MISSING, "the broker does not have this topic")
    if kept.topic_id != seen.topic_id:
        return Stop(StopReason.TOPIC_REMADE, f"the topic was deleted and made again as {seen.topic_id}")
    if set(kept.positions) != set(seen.starts):
        return Stop(
            StopReason.PARTITIONS_CHANGED, f"it had {len(kept.positions)} partitions, now {len(seen.starts)}"
        )
    for partition, position in sorted(kept.positions.items()):
        start, end = seen.starts[partition], seen.ends[partition]
        if position < start:
            lost = f"partition {partition}: {start - position} records after {position} were deleted unread"
            return Stop(StopReason.RETENTION_LOSS, lost)
        if position > end:
            return Stop(
                StopReason.LOG_TRUNCATED,
                f"partition {partition} ends at {end}, but was read up to {position}",
            )
    return None
