"""What the cluster says of itself and of topics: identities, partitions, first and next offsets, settings.

Called by `ingest` to see whether its streams are still the same, by `doctor`, and where topics are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from kafka import IsolationLevel, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from domain.streams import Seen
from infra.kafka.connection import REQUEST_TIMEOUT_MS, Connection
from infra.kafka.errors import BrokerUnavailableError, as_unavailable
from infra.kafka.horizon import Horizon, UncertainError

CERTAIN_SECONDS = 2.0
"""How long enough brokers may take to agree on who leads: a new leader is known to all within a second."""


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """How a topic is kept: its partitions, replicas, and the settings that our promises rest on."""

    partitions: int
    replication_factor: int
    in_sync_replicas: int
    """Of the partition that has the fewest now; below `min_insync_replicas` nothing is acknowledged on it."""
    min_insync_replicas: int
    unclean_election: bool
    cleanup_policy: str
    retention_ms: int
    retention_bytes: int
    timestamp_type: str


class Cluster:
    """One Kafka cluster, asked through the admin client."""

    def __init__(self, connection: Connection, *, client_id: str) -> None:
        with as_unavailable():
            self._admin = connection.admin(client_id)
        self._connection = connection
        self._client_id = client_id

    def cluster_id(self) -> str:
        """The cluster's own identity."""
        with as_unavailable():
            return str(self._admin.describe_cluster()["cluster_id"])

    def brokers(self) -> int:
        """How many brokers are there now."""
        with as_unavailable():
            return len(self._admin.describe_cluster()["brokers"])

    def look(self, topics: Sequence[str]) -> dict[str, Seen | None]:
        """Each topic's identity and the bounds of its partitions' logs; None where it is missing."""
        with as_unavailable():
            described = {topic["name"]: topic for topic in self._described(topics)}
            places = [
                TopicPartition(name, partition["partition_index"])
                for name, topic in described.items()
                for partition in topic["partitions"]
            ]
            starts = self._offsets(places, OffsetSpec.EARLIEST)
            ends = self._offsets(places, OffsetSpec.LATEST)
        return {
            topic: Seen(
                topic_id=str(described[topic]["topic_id"]),
                starts={place.partition: starts[place] for place in places if place.topic == topic},
                ends={place.partition: ends[place] for place in places if place.topic == topic},
            )
            if topic in described
            else None
            for topic in topics
        }

    def certain_end(self, topic: str) -> Seen:
        """A topic's identity and ends by leaders that lead for certain.

        Raises BrokerUnavailableError where none does, which may last as long as a network is cut.
        """
        try:
            with as_unavailable(), closing(Horizon(self._connection, [topic], client_id=self._client_id)) as asker:
                return asker.look(deadline_seconds=CERTAIN_SECONDS)[topic]
        except UncertainError as why:
            raise BrokerUnavailableError(str(why)) from why

    def stable_ends(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Up to where each partition can be read: open transactions hide what is behind them."""
        wanted = [TopicPartition(*place) for place in places]
        with as_unavailable():
            found = self._offsets(wanted, OffsetSpec.LATEST, IsolationLevel.READ_COMMITTED)
        return {(place.topic, place.partition): end for place, end in found.items()}

    def facts(self, topics: Sequence[str]) -> dict[str, TopicFacts]:
        """How the topics that exist are kept."""
        with as_unavailable():
            described = self._described(topics)
            names = [topic["name"] for topic in described]
            settings = self._settings(names)
        return {
            topic["name"]: TopicFacts(
                partitions=len(topic["partitions"]),
                replication_factor=min(len(one["replica_nodes"]) for one in topic["partitions"]),
                in_sync_replicas=min(len(one["isr_nodes"]) for one in topic["partitions"]),
                min_insync_replicas=int(settings[topic["name"]]["min.insync.replicas"]),
                unclean_election=settings[topic["name"]]["unclean.leader.election.enable"] == "true",
                cleanup_policy=settings[topic["name"]]["cleanup.policy"],
                retention_ms=int(settings[topic["name"]]["retention.ms"]),
                retention_bytes=int(settings[topic["name"]]["retention.bytes"]),
                timestamp_type=settings[topic["name"]]["message.timestamp.type"],
            )
            for topic in described
        }

    def newest(self, topics: Sequence[str]) -> datetime | None:
        """The latest time that any record of these topics bears; None where they hold none."""
        with as_unavailable():
            places = [
                TopicPartition(topic["name"], partition["partition_index"])
                for topic in self._described(topics)
                for partition in topic["partitions"]
            ]
            wanted = dict.fromkeys(places, OffsetSpec.MAX_TIMESTAMP)
            found = self._admin.list_partition_offsets(wanted, timeout_ms=REQUEST_TIMEOUT_MS) if wanted else {}
        newest_ms = max((int(one.timestamp) for one in found.values()), default=-1)
        return datetime.fromtimestamp(newest_ms / 1000, UTC) if newest_ms >= 0 else None

    def create(
        self,
        topics: Mapping[str, int],
        *,
        replication_factor: int = -1,
        settings: Mapping[str, str] | None = None,
    ) -> list[str]:
        """Make the topics that are missing, with these numbers of partitions. Returns those made.

        What is not given is as the brokers have it for new topics.
        """
        made: list[str] = []
        for topic, partitions in topics.items():
            wanted = {
                "num_partitions": partitions,
                "replication_factor": replication_factor,
                "configs": dict(settings or {}),
            }
            try:
                with as_unavailable():
                    self._admin.create_topics({topic: wanted}, wait_for_metadata=True)
                made.append(topic)
            except BrokerUnavailableError as why:
                if not isinstance(why.__cause__, TopicAlreadyExistsError):
                    raise
        return made

    def close(self) -> None:
        """Let go of the connections."""
        self._admin.close()

    def _described(self, topics: Sequence[str]) -> list[dict[str, Any]]:  # `Any`: as the library gives it.
        found = self._admin.describe_topics(list(topics))
        for one in found:
            # Only a topic that is not there is missing; one that we may not see, say, is for another try.
            if one["error_code"] not in {0, UnknownTopicOrPartitionError.errno}:
                raise for_code(one["error_code"])(one["name"])
        return [one for one in found if not one["error_code"]]

    def _offsets(
        self,
        places: list[TopicPartition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
    ) -> dict[TopicPartition, int]:
        if not places:
            return {}
        wanted = dict.fromkeys(places, spec)
        found = self._admin.list_partition_offsets(wanted, isolation_level=isolation, timeout_ms=REQUEST_TIMEOUT_MS)
        return {place: int(one.offset) for place, one in found.items()}

    def _settings(self, topics: list[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        described = self._admin.describe_configs(resources, config_filter="all")
        found = described[ConfigResourceType.TOPIC.name.lower()] if topics else {}
        return {topic: {name: str(one["value"]) for name, one in found[topic].items()} for topic in topics}
