"""The registered streams and how far each was read: registration, the alarm that stops one, its acceptance.

Called by `ingest` (register, stop), `doctor` and `streams accept`. Positions are moved in `ledger`, in the
commit of the batch that moves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from domain.streams import Kept, Seen, Stop
from infra.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Registered:
    """A stream as it is kept, with the run of bad events in each partition and why it is stopped, if it is."""

    kept: Kept
    bad_runs: Mapping[int, int]
    stopped: str | None
    stopped_detail: str | None


class Streams:
    """The stream tables of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def register(self, cluster_id: str, seen: Mapping[str, Seen | None]) -> dict[str, Registered]:
        """Register the topics that are new, from the start of their logs, and return all that are known."""
        with self._database.transaction() as connection:
            for topic, one in sorted(seen.items()):
                if one is not None:
                    self._begin(connection, topic, cluster_id, one)
            return self._read(connection)

    def stop(self, topic: str, stop: Stop) -> None:
        """Stop a stream until it is accepted."""
        with self._database.transaction() as connection:
            names = {"topic": topic, "reason": stop.reason, "detail": stop.detail}
            connection.execute(sa.text(_STOP), names)

    def registered(self) -> dict[str, Registered]:
        """Every registered stream, by topic."""
        with self._database.transaction() as connection:
            return self._read(connection)

    def accept(self, topic: str, cluster_id: str, seen: Seen) -> None:
        """Read a stopped stream on as it is now: what has no position, or one outside the log, from its start.

        Nothing is applied twice by that: events that are known change nothing (S3).
        """
        with self._database.transaction() as connection:
            names = {"topic": topic, "cluster_id": cluster_id, "topic_id": seen.topic_id}
            connection.execute(sa.text(_ACCEPT), names)
            for partition, start in seen.starts.items():
                place = {"partition": partition, "start": start, "end": seen.ends[partition]}
                connection.execute(sa.text(_ACCEPT_POSITION), {**names, **place})

    def _begin(self, connection: sa.Connection, topic: str, cluster_id: str, seen: Seen) -> None:
        names = {"topic": topic, "cluster_id": cluster_id, "topic_id": seen.topic_id}
        if connection.execute(sa.text(_REGISTER), names).rowcount:
            places = [{**names, "partition": p, "start": start} for p, start in seen.starts.items()]
            connection.execute(sa.text(_REGISTER_POSITION), places)

    def _read(self, connection: sa.Connection) -> dict[str, Registered]:
        positions: dict[str, dict[int, int]] = {}
        runs: dict[str, dict[int, int]] = {}
        for topic, partition, position, bad_run in connection.execute(sa.text(_POSITIONS)):
            positions.setdefault(topic, {})[partition] = position
            runs.setdefault(topic, {})[partition] = bad_run
        return {
            topic: Registered(
                Kept(cluster_id, topic_id, positions.get(topic, {})), runs.get(topic, {}), reason, detail
            )
            for topic, cluster_id, topic_id, reason, detail in connection.execute(sa.text(_STREAMS))
        }


_REGISTER = """
INSERT INTO stream (topic, cluster_id, topic_id, registered_at)
VALUES (:topic, :cluster_id, :topic_id, clock_timestamp()) ON CONFLICT DO NOTHING"""

_REGISTER_POSITION = """
INSERT INTO stream_position (cluster_id, topic, topic_id, partition, position, moved_at)
VALUES (:cluster_id, :topic, :topic_id, :partition, :start, clock_timestamp()) ON CONFLICT DO NOTHING"""

_STREAMS = "SELECT topic, cluster_id, topic_id, stopped_reason, stopped_detail FROM stream"

# Only the positions of the registered identity; those of a topic's earlier lives are kept as a record.
_POSITIONS = """
SELECT p.topic, p.partition, p.position, p.bad_run
FROM stream_position p JOIN stream s USING (topic, cluster_id, topic_id)"""

_STOP = """
UPDATE stream SET stopped_reason = :reason, stopped_detail = :detail, stopped_at = clock_timestamp()
WHERE topic = :topic AND stopped_reason IS NULL"""

_ACCEPT = """
UPDATE stream SET cluster_id = :cluster_id, topic_id = :topic_id, stopped_reason = NULL, stopped_detail = NULL,
                  stopped_at = NULL
WHERE topic = :topic"""

_ACCEPT_POSITION = """
INSERT INTO stream_position (cluster_id, topic, topic_id, partition, position, moved_at)
VALUES (:cluster_id, :topic, :topic_id, :partition, :start, clock_timestamp())
ON CONFLICT (cluster_id, topic, topic_id, partition) DO UPDATE SET
    bad_run = 0,
    moved_at = clock_timestamp(),
    position = CASE WHEN stream_position.position BETWEEN :start AND :end
                    THEN stream_position.position ELSE :start END"""
