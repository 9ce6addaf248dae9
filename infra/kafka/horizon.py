"""How far each inbound stream goes now, for certain: the ends of all partitions, and that their leaders lead.

Called by the read barrier, after a question has arrived. The library has no call that aims a request at a broker
or gives leader epochs, so this module alone reaches under its admin client (`_manager`); a contract test holds it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from kafka import IsolationLevel, KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.future import Future
from kafka.protocol.consumer import ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from domain.horizon import Led, View, doubt
from domain.streams import Seen
from infra.kafka.connection import Connection
from infra.kafka.source import Place

LATEST = -1
"""ListOffsets' time stamp for the end of a log."""

LEADER_EPOCHS_FROM = 7
OFFSET_EPOCHS_FROM = 4
"""The versions from which Metadata and ListOffsets tell leader epochs (Kafka 2.1)."""

ASK_TIMEOUT_MS = 1_000
"""For one broker; the others are asked at the same time."""

PAUSE_SECONDS = 0.02
"""Between tries: a new leader is known to the others within some ten milliseconds."""

SETTINGS_FOR_SECONDS = 30.0
"""How long a topic's `min.insync.replicas` is taken as known."""


Key = TypeVar("Key")


class UncertainError(Exception):
    """Nobody can say now how far the streams go; the message says which is in doubt, and why."""


class Horizon:
    """One asker; calls from several threads must be kept apart by the caller."""

    def __init__(self, connection: Connection, topics: Sequence[str], *, client_id: str) -> None:
        self._topics = list(topics)
        self._connection = connection
        self._client_id = client_id
        self._client: KafkaAdminClient | None = None
        self._leaders: dict[Place, int] = {}
        self._owed: dict[int, Any] = {}  # `Any`: the library has no types.
        self._min_insync: dict[str, int] = {}
        self._settings_until = 0.0

    def look(self, *, deadline_seconds: float) -> dict[str, Seen]:
        """Each topic's identity and ends, all asked after this call. Raises UncertainError past the deadline."""
        until = time.monotonic() + deadline_seconds
        doubt_found: Exception | None = None
        while True:
            try:
                return self._look_once(until)
            except (UncertainError, KafkaError) as why:
                # A try that the deadline cut short found nothing out: what a whole one found says more.
                if doubt_found is None or time.monotonic() < until:
                    doubt_found = why
                if time.monotonic() + PAUSE_SECONDS > until:
                    raise UncertainError(str(doubt_found) or type(doubt_found).__name__) from doubt_found
                time.sleep(PAUSE_SECONDS)

    def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            self._client.close()

    @property
    def _admin(self) -> KafkaAdminClient:
        """The library's client, connected at the first look."""
        if self._client is None:
            client = self._connection.admin(
                self._client_id, request_timeout_ms=ASK_TIMEOUT_MS, bootstrap_timeout_ms=ASK_TIMEOUT_MS
            )
            # A frozen broker's host takes connections on which nothing answers: as long as an answer, not 10 s.
            client._manager.config["socket_connection_setup_timeout_ms"] = ASK_TIMEOUT_MS  # noqa: SLF001 # As above.
            client._manager.config["socket_connection_setup_timeout_max_ms"] = ASK_TIMEOUT_MS  # noqa: SLF001 # As above.
            self._client = client
        return self._client

    def _look_once(self, until: float) -> dict[str, Seen]:
        self._read_settings()
        seen: dict[str, Seen] = self._admin._manager.run(self._ask, until)  # noqa: SLF001 # See the module's head.
        return seen

    def _seen(self, metadata: Mapping[int, Any], led: Mapping[Place, Led]) -> dict[str, Seen]:  # `Any`: as below.
        """What these answers say for certain. Raises UncertainError."""
        views, ids = _views(metadata)
        for topic in self._topics:
            if topic not in ids:
                raise UncertainError(f"{topic}: no broker has it")
        for place in sorted(views):
            why = doubt(led.get(place), views[place], min_insync_replicas=self._min_insync[place[0]])
            if why is not None:
                raise UncertainError(f"{place[0]}/{place[1]}: {why}")
        return {
            topic: Seen(ids[topic], {}, {place[1]: led[place].end for place in views if place[0] == topic})
            for topic in self._topics
        }

    async def _ask(self, until: float) -> dict[str, Seen]:
        """Every broker for its metadata, and each leader for its ends, at the same time.

        Goes on when what is there is certain: one whose host is gone says nothing at all, not even no, and every
        look would wait for it as long as a broker may take.
        """
        topics = [MetadataRequest.MetadataRequestTopic(name=topic) for topic in self._topics]
        wanted = MetadataRequest(topics=topics, allow_auto_topic_creation=False, min_version=LEADER_EPOCHS_FROM)
        # One that owes an answer to an earlier look is not asked again before that has come or failed.
        asked = {node: self._send(node, wanted) for node in self._brokers() if _is_done(self._owed.get(node))}
        self._owed.update(asked)
        ends = {
            (node, level): self._send(node, _ends_request(places, level))
            for node, places in _by_leader(self._leaders).items()
            for level in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        }
        found: dict[str, Seen] = {}

        def is_certain() -> bool:
            if all(map(_is_done, ends.values())):
                with suppress(UncertainError):
                    found.update(self._seen(_answers(asked), _led(_answers(ends))))
            return bool(found)

        come = _come(is_certain, [*asked.values(), *ends.values()])
        with suppress(KafkaTimeoutError):
            await self._admin._manager.wait_for(come, max(0.0, until - time.monotonic()) * 1_000)  # noqa: SLF001 # As above.
        self._leaders = _leaders(_answers(asked))
        return found or self._seen(_answers(asked), _led(_answers(ends)))

    def _brokers(self) -> list[int]:
        return [broker.node_id for broker in self._admin._manager.cluster.brokers()]  # noqa: SLF001 # As above.

    def _send(self, node: int, request: Any) -> Any:  # `Any`: the library has no types.
        """Its answer to come; a failure too for one that the library has forgotten."""
        try:
            return self._admin._manager.send(request, node_id=node)  # noqa: SLF001 # See the module's head.
        except KafkaError as why:
            return Future().failure(why)

    def _read_settings(self) -> None:
        if time.monotonic() < self._settings_until:
            return
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in self._topics]
        described = self._admin.describe_configs(resources, config_filter="all")
        found = described[ConfigResourceType.TOPIC.name.lower()]
        for topic in self._topics:
            if "min.insync.replicas" not in found.get(topic, {}):
                raise UncertainError(f"{topic}: no broker has it")
        self._min_insync = {topic: int(found[topic]["min.insync.replicas"]["value"]) for topic in self._topics}
        self._settings_until = time.monotonic() + SETTINGS_FOR_SECONDS


def _come(is_enough: Callable[[], bool], futures: Sequence[Any]) -> Any:  # `Any`: the library has no types.
    """What is done when what has come is enough, or nothing more will come."""
    waiting = Future()

    def look(_: object = None) -> None:
        # In this order, since the library swallows what is raised here, and the wait must end all the same.
        if not waiting.is_done and (all(map(_is_done, futures)) or is_enough()):
            waiting.success(None)

    for future in futures:
        future.add_both(look)
    look()
    return waiting


def _is_done(future: Any) -> bool:  # `Any`: as above.
    return future is None or bool(future.is_done)


def _answers(asked: Mapping[Key, Any]) -> dict[Key, Any]:  # `Any`: as above.
    """Those that have come; one that does not answer is no witness."""
    return {key: future.value for key, future in asked.items() if future.succeeded()}


def _by_leader(leaders: Mapping[Place, int]) -> dict[int, list[Place]]:
    found: dict[int, list[Place]] = {}
    for place, leader in leaders.items():
        found.setdefault(leader, []).append(place)
    return found


def _ends_request(places: Iterable[Place], level: IsolationLevel) -> ListOffsetsRequest:
    topic_type = ListOffsetsRequest.ListOffsetsTopic
    partition_type = topic_type.ListOffsetsPartition
    by_topic: dict[str, list[Any]] = {}  # `Any`: as above.
    for topic, partition in places:
        by_topic.setdefault(topic, []).append(partition_type(partition_index=partition, timestamp=LATEST))
    return ListOffsetsRequest(
        isolation_level=level.value,
        topics=[topic_type(name=name, partitions=partitions) for name, partitions in by_topic.items()],
        min_version=OFFSET_EPOCHS_FROM,
    )


def _led(found: Mapping[tuple[int, IsolationLevel], Any]) -> dict[Place, Led]:  # `Any`: as above.
    """What each leader said of each partition, where it answered for both ends."""
    stable = dict(_ends(found, IsolationLevel.READ_COMMITTED))
    return {
        place: Led(broker, epoch, end, stable[place][1])
        for place, (epoch, end, broker) in _ends(found, IsolationLevel.READ_UNCOMMITTED)
        if place in stable
    }


def _ends(
    found: Mapping[tuple[int, IsolationLevel], Any], level: IsolationLevel
) -> Iterable[tuple[Place, tuple[int, int, int]]]:  # `Any`: as above.
    for (node, asked), answer in found.items():
        if asked is not level:
            continue
        for topic in answer.topics:
            for one in topic.partitions:
                if not one.error_code:
                    yield (topic.name, one.partition_index), (one.leader_epoch, one.offset, node)


def _views(metadata: Mapping[int, Any]) -> tuple[dict[Place, dict[int, View]], dict[str, str]]:  # `Any`: as above.
    """What each broker knows of each partition, and the topics' identities."""
    views: dict[Place, dict[int, View]] = {}
    ids: dict[str, str] = {}
    for node, answer in metadata.items():
        for topic in answer.topics:
            if topic.error_code:
                continue
            if ids.setdefault(topic.name, str(topic.topic_id)) != str(topic.topic_id):
                raise UncertainError(f"{topic.name}: brokers know it under two identities")
            for one in topic.partitions:
                view = View(one.leader_epoch, frozenset(one.replica_nodes))
                views.setdefault((topic.name, one.partition_index), {})[node] = view
    return views, ids


def _leaders(metadata: Mapping[int, Any]) -> dict[Place, int]:  # `Any`: as above.
    """Who leads each partition, by the broker that knows the newest epoch."""
    newest: dict[Place, tuple[int, int]] = {}
    for answer in metadata.values():
        for topic in answer.topics:
            for one in topic.partitions:
                place = (topic.name, one.partition_index)
                newest[place] = max(newest.get(place, (-1, -1)), (one.leader_epoch, one.leader_id))
    return {place: leader for place, (_, leader) in newest.items() if leader >= 0}
