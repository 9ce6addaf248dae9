"""The registered streams, and a person's word that a stopped one may be read on.

Called by the command `streams`. A stream is stopped by `ingest` where reading on could miss events or quarantine
all of them; only a person knows whether that is so, and what was missed must be reconciled by other means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from domain.streams import Seen
from infra.kafka.cluster import Cluster
from infra.postgres.streams import Registered, Streams


class NotAcceptedError(Exception):
    """A stream can't be read on as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stream that will be read on: why it was stopped, and its positions before and after."""

    topic: str
    stopped: str
    stopped_detail: str
    before: Mapping[int, int]
    after: Mapping[int, int]

    def as_json(self) -> dict[str, object]:
        """The same as data."""
        return {
            "topic": self.topic,
            "stopped": self.stopped,
            "stopped_detail": self.stopped_detail,
            "before": dict(self.before),
            "after": dict(self.after),
        }

    def in_words(self) -> Iterator[str]:
        """What was stopped, and where it is read on."""
        yield f"{self.topic} was stopped: {self.stopped}, {self.stopped_detail}"
        for partition, position in sorted(self.after.items()):
            before = self.before.get(partition)
            moved = "" if before == position else f" (was at {before})" if before is not None else " (new)"
            yield f"  partition {partition} is read on from {position}{moved}"
        if any(self.after.get(partition, before) > before for partition, before in self.before.items()):
            yield "what lies between was never read: reconcile those accounts with the creditor's own bases"
        yield "ingest goes on with it within seconds; if the cause is still there it stops again"


def accept(streams: Streams, cluster: Cluster, topic: str) -> Accepted:
    """Read a stopped stream on as the cluster has it now. Raises NotAcceptedError."""
    known = streams.registered().get(topic)
    if known is None:
        raise NotAcceptedError(f"{topic} is not registered; `handoff-guard streams list` shows those that are")
    if known.stopped is None:
        raise NotAcceptedError(f"{topic} is not stopped")
    seen: Seen | None = cluster.look([topic])[topic]
    if seen is None:
        raise NotAcceptedError(f"the broker does not have {topic}; `handoff-guard doctor --create-topics` makes it")
    streams.accept(topic, cluster.cluster_id(), seen)
    after = streams.registered()[topic].kept.positions
    return Accepted(topic, known.stopped, known.stopped_detail or "", known.kept.positions, after)


def as_json(streams: Mapping[str, Registered]) -> list[dict[str, object]]:
    """The registered streams as data."""
    return [
        {
            "topic": topic,
            "cluster_id": one.kept.cluster_id,
            "topic_id": one.kept.topic_id,
            "positions": dict(sorted(one.kept.positions.items())),
            "stopped": one.stopped,
            "stopped_detail": one.stopped_detail,
        }
        for topic, one in sorted(streams.items())
    ]


def in_words(streams: Mapping[str, Registered]) -> Iterator[str]:
    """The registered streams for people."""
    if not streams:
        yield "no stream is registered yet: `handoff-guard ingest` registers those that it reads"
    for topic, one in sorted(streams.items()):
        positions = ", ".join(f"{partition}: {at}" for partition, at in sorted(one.kept.positions.items()))
        yield f"{topic}  {'read' if one.stopped is None else 'stopped'}  {positions}"
        if one.stopped is not None:
            yield f"  {one.stopped}: {one.stopped_detail}"
            yield f"  -> handoff-guard streams accept {topic}"
