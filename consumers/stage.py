"""Where the demo plays: sends what the telecom says, hears what agencies hear, and checks what came of it.

It looks at the guard from outside only: at its topics, at how far it has read, and at what it keeps.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from consumers.compose import House
from consumers.telecom import Expected, Saying
from infra.kafka.cluster import Cluster
from infra.kafka.listener import Listener
from infra.kafka.publisher import Publisher
from infra.postgres.database import Database
from infra.postgres.inspection import events_kept
from infra.postgres.outbox import Outbox
from infra.postgres.quarantine import Quarantine
from infra.postgres.recalls import KeptRecall, Recalls
from infra.postgres.streams import Streams
from infra.wire.kinds import INBOUND_TOPICS, RECALLS

DEADLINE_SECONDS = 120.0
"""Nothing here takes a second; a machine under load gets its time."""

LISTEN_MS = 20


class StoryFailedError(Exception):
    """Something that had to come did not, or something else did."""


@dataclass(frozen=True, slots=True)
class Recall:
    """A recall as an agency hears it, and the instant, by our own clock."""

    placement_id: str
    recall_id: str
    cause: str
    acknowledge_by: datetime
    heard_at: float


class Stage:
    """One play: all that was sent and heard in it."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        listener: Listener,
        cluster: Cluster,
        database: Database,
        stop: threading.Event,
        deadline_seconds: float,
    ) -> None:
        self._publisher = publisher
        self._listener = listener
        self._cluster = cluster
        self._database = database
        self._streams = Streams(database)
        self._outbox = Outbox(database)
        self._kept_recalls = Recalls(database)
        self._stop = stop
        self._deadline_seconds = deadline_seconds
        self._recalls: dict[str, list[Recall]] = {}
        self._balances: dict[str, int] = {}

    @staticmethod
    def of(house: House, stop: threading.Event, *, deadline_seconds: float = DEADLINE_SECONDS) -> Stage:
        """A stage on the servers of this house."""
        return Stage(
            publisher=house.publisher(),
            listener=house.listener(RECALLS),
            cluster=house.cluster(),
            database=house.database(),
            stop=stop,
            deadline_seconds=deadline_seconds,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._publisher.close()
        self._listener.close()

    def send(self, *said: Saying) -> float:
        """Say these, in this order; the instant when the broker has acknowledged them all."""
        if not all(self._publisher.publish(said)):
            raise StoryFailedError("the broker did not acknowledge what was sent")
        return time.monotonic()

    def listen(self, *, seconds: float) -> None:
        """Hear what is published for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._hear(timeout_ms=max(1, int(left * 1000)))

    def wait_for_recall(self, placement_id: str, *, cause: str) -> Recall:
        """The recall of this placement, once it is heard."""
        deadline = time.monotonic() + self._deadline_seconds
        while placement_id not in self._recalls:
            self._hear(timeout_ms=LISTEN_MS)
            if time.monotonic() > deadline:
                raise StoryFailedError(f"no recall of {placement_id} came in {self._deadline_seconds:.0f} s")
        recall = self._recalls[placement_id][0]
        if recall.cause != cause:
            raise StoryFailedError(f"{placement_id} was recalled as {recall.cause}, not as {cause}")
        return recall

    def wait_for_answer(self, recall: Recall) -> float:
        """The instant when the agency's acknowledgement of a recall was in the state."""
        self._wait("no acknowledgement is there", lambda: self._kept(recall).acknowledged_at is not None)
        return time.monotonic()

    def wait_for_breach(self, recall: Recall) -> datetime:
        """When the agency spoke to the customer in spite of a recall, once that is in the state."""
        self._wait("no contact after the recall was seen", lambda: self._kept(recall).last_breach_at is not None)
        at = self._kept(recall).last_breach_at
        if at is None:
            raise StoryFailedError("a breach is gone again")
        return at

    def _kept(self, recall: Recall) -> KeptRecall:
        kept = self._kept_recalls.find(recall.recall_id)
        if kept is None:
            raise StoryFailedError(f"{recall.recall_id} is not kept")
        return kept

    def wait_until_read(self) -> None:
        """Wait until a worker reads every stream."""
        self._wait("no worker reads every stream", lambda: set(self._streams.registered()) == set(INBOUND_TOPICS))

    def wait_until_quiet(self) -> None:
        """Wait until all that was sent is read and all that follows is out."""
        self._wait("not all that was sent is read, and answered", self._is_quiet)
        self.listen(seconds=LISTEN_MS / 1000)

    def check_only_one(self, recall: Recall) -> None:
        """One recall in effect: whatever is heard of the placement has the same id."""
        ids = {one.recall_id for one in self._recalls[recall.placement_id]}
        if ids != {recall.recall_id}:
            raise StoryFailedError(f"{recall.placement_id} has {len(ids)} recalls")

    def check(self, expected: Expected) -> None:
        """All that had to come is there, once, and nothing else."""
        for recalls in self._recalls.values():
            self.check_only_one(recalls[0])
        found = {placement_id: recalls[0].cause for placement_id, recalls in self._recalls.items()}
        _compare("recalls", expected.recalls, found)
        _compare("reduced balances", expected.balances, self._balances)
        _compare("events kept", expected.events, events_kept(self._database))
        _compare("events in quarantine", 0, Quarantine(self._database).count())

    def _is_quiet(self) -> bool:
        ends = self._cluster.look(INBOUND_TOPICS)
        kept = self._streams.registered()
        return (
            all(
                topic in kept and seen is not None and kept[topic].kept.positions == seen.ends
                for topic, seen in ends.items()
            )
            and not self._outbox.pending().records
        )

    def _wait(self, trouble: str, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._deadline_seconds
        while not done():
            if time.monotonic() > deadline:
                raise StoryFailedError(f"{trouble}, after {self._deadline_seconds:.0f} s")
            self._hear(timeout_ms=LISTEN_MS)

    def _hear(self, *, timeout_ms: int) -> None:
        if self._stop.is_set():
            raise StoryFailedError("told to stop")
        heard = self._listener.hear(timeout_ms=timeout_ms)
        now = time.monotonic()
        for one in heard:
            event = json.loads(one.value)
            data = event["data"]
            if event["type"] == "guard.recall.requested.v1":
                by = datetime.fromisoformat(data["acknowledge_by"])
                recall = Recall(data["placement_id"], data["recall_id"], data["cause"], by, now)
                self._recalls.setdefault(recall.placement_id, []).append(recall)
            if event["type"] == "guard.balance.reduced.v1":
                self._balances[data["placement_id"]] = data["outstanding"]


def milliseconds(seconds: float) -> str:
    """A short time for people."""
    return f"{seconds * 1000:.0f} ms"


def _compare(what: str, expected: object, found: object) -> None:
    if expected == found:
        return
    if isinstance(expected, dict) and isinstance(found, dict):
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise StoryFailedError(f"{what}: {len(wrong)} are not as they had to be, such as {wrong[:3]}")
    raise StoryFailedError(f"{what}: {found}, where {expected} had to be")
