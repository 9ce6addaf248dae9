"""Brings an agency its messages by one channel: claims what is due, tries each once, keeps what came of it.

One thread for each lane, started by `consumers.lanes`, so that an agency that is slow or dead keeps nobody else
waiting. No network call is made inside a transaction. When to try again, and when to leave the agency alone, is
decided in `domain.patience`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson

from consumers.traced import Headers, begin_attempt, end_attempt, outcome_of
from domain.delivery import Attempt, Channel, Message
from domain.patience import Circuit, pause_after
from domain.traces import OFF, Told, Tracing
from infra.logs import Logger, where
from infra.metrics import Metrics
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.deliveries import Deliveries, Delivery, Lane, Tried

PAUSE_SECONDS = 0.5
"""Between tries while the database is away."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a lane may go: messages in one claim, seconds of its lease and between claims, messages a second."""

    batch_max: int
    lease_seconds: float
    every_seconds: float = 0.0
    rate_per_second: int = 0


class LaneWorker:
    """One worker of one lane."""

    def __init__(
        self,
        *,
        lane: Lane,
        channel: Channel,
        pace: Pace,
        deliveries: Deliveries,
        read_answers: Callable[[Channel], int],
        poll_seconds: float,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
        beat: Callable[[], None] = lambda: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        """`read_answers` takes in what the agency left on the channel; `chance` gives numbers from 0 to 1; `beat`
        is called at each turn, and `ended` after the last.
        """
        self._lane = lane
        self._channel = channel
        self._pace = pace
        self._deliveries = deliveries
        self._read_answers = read_answers
        self._poll_seconds = poll_seconds
        self._now = now
        self._chance = chance
        self._metrics = metrics
        self._log = log.bind(agency_id=lane.agency_id, channel=str(lane.kind))
        self._tracing = tracing
        self._beat = beat
        self._ended = ended
        self._bucket = _Bucket(pace.rate_per_second)
        self._circuit: Circuit | None = None
        self._next_turn = 0.0
        self._wake = threading.Event()

    def wake(self) -> None:
        """Something may wait, or it is time to stop."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Deliver until told to stop; what is claimed by then is finished."""
        try:
            while not stop.is_set():
                self._beat()
                self._wake.clear()
                wait_seconds = self._turn()
                if wait_seconds > 0:
                    self._wake.wait(wait_seconds)
        finally:
            self._ended()
            self._channel.close()

    def _turn(self) -> float:
        try:
            return self.step()
        except DatabaseUnavailableError as why:
            self._log.warning("lane.waiting", detail=str(why))
            return PAUSE_SECONDS
        except Exception as why:  # noqa: BLE001 # The top of a thread: a fault of ours must not end an agency's lane.
            self._log.error("lane.failed", **where(why))
            return self._poll_seconds

    def step(self) -> float:
        """Deliver one claim's worth; returns for how many seconds there is nothing more to do."""
        now = self._now()
        if self._circuit is None:
            self._circuit = self._deliveries.circuit(self._lane)
            self._show_circuit(self._circuit)
        if self._circuit.is_open(now):
            return self._poll_seconds
        until_turn = self._next_turn - time.monotonic()
        if until_turn > 0:
            return min(until_turn, self._poll_seconds)
        if not self._bucket.has_one():
            return self._bucket.wait_seconds
        self._next_turn = time.monotonic() + self._pace.every_seconds
        limit = 1 if self._circuit.is_tried else min(self._pace.batch_max, self._bucket.left)
        self._read_answers(self._channel)
        claimed = self._deliveries.claim(self._lane, limit, lease_seconds=self._pace.lease_seconds)
        if not claimed:
            return self._poll_seconds
        self._bucket.take(len(claimed))
        self._finish(claimed, self._deliver(claimed))
        return 0.0

    def _deliver(self, claimed: Sequence[Delivery]) -> list[Attempt]:
        """Try each once; what became of each, in its place."""
        lane: Told = {"agency_id": self._lane.agency_id, "channel": str(self._lane.kind)}
        begun = [begin_attempt(self._tracing, one, {**lane, "attempt": one.attempt}) for one in claimed]
        messages = [_message(one, headers) for one, (_, headers) in zip(claimed, begun, strict=True)]
        attempts = self._channel.deliver(messages)
        for (span, _), came in zip(begun, attempts, strict=True):
            end_attempt(span, outcome_of(came), failed=came.detail)
        return attempts

    def _finish(self, claimed: Sequence[Delivery], attempts: Sequence[Attempt]) -> None:
        now = self._now()
        pairs = zip(claimed, attempts, strict=True)
        tried = [Tried(delivery, attempt, self._pause(delivery, attempt)) for delivery, attempt in pairs]
        self._deliveries.finish(self._lane, tried)
        self._judge(attempts, now)
        self._count(tried, now)

    def _pause(self, delivery: Delivery, attempt: Attempt) -> timedelta | None:
        if attempt.delivered:
            return None
        return pause_after(delivery.attempt, chance=self._chance(), asked_seconds=attempt.retry_after_seconds)

    def _judge(self, attempts: Sequence[Attempt], now: datetime) -> None:
        """Open or close the circuit: an agency that answers anything is there."""
        before = self._circuit or Circuit()
        after = Circuit()
        if not any(attempt.delivered or attempt.refused for attempt in attempts):
            error = attempts[-1].detail
            after = before.after_failure(now, error, chance=self._chance(), times=len(attempts))
        self._circuit = after
        if after.failures:  # That it is closed is kept with what arrived.
            self._deliveries.keep_circuit(self._lane, after, now)
        self._show_circuit(after)
        if after.open_until is not None and before.open_until is None:
            self._log.error("circuit.opened", failures=after.failures, detail=after.last_error)
        if after.open_until is None and before.open_until is not None:
            self._log.info("circuit.closed")

    def _show_circuit(self, circuit: Circuit) -> None:
        """From the first turn on: one that another process opened, or this one before its restart, is open too."""
        labels = (self._lane.agency_id, self._lane.kind)
        self._metrics.agencies.circuit_open.labels(*labels).set(circuit.open_until is not None)

    def _count(self, tried: Sequence[Tried], now: datetime) -> None:
        outcomes = Counter(outcome_of(one.attempt) for one in tried)
        for outcome, count in outcomes.items():
            self._metrics.agencies.deliveries.labels(self._lane.agency_id, self._lane.kind, outcome).inc(count)
        failed = [one for one in tried if not one.attempt.delivered]
        if failed:
            self._log.warning("delivery.failed", messages=len(failed), detail=failed[0].attempt.detail)
        for one in tried:
            recall_id, known_since = one.delivery.recall_id, one.delivery.known_since
            if not one.attempt.delivered or one.delivery.is_again or recall_id is None or known_since is None:
                continue
            latency = max(0.0, (now - known_since).total_seconds())
            self._metrics.recall_latency.labels("sent", self._lane.agency_id, one.delivery.cause).observe(latency)
            self._log.info("recall.sent", recall_id=recall_id, latency_seconds=latency)


class _Bucket:
    """So many messages a second, and a second's worth at once; 0 is any number."""

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._tokens = float(per_second)
        self._at = time.monotonic()

    @property
    def left(self) -> int:
        return int(self._tokens) if self._per_second else 1_000_000

    @property
    def wait_seconds(self) -> float:
        return 1 / self._per_second if self._per_second else 0.0

    def has_one(self) -> bool:
        now = time.monotonic()
        self._tokens = min(float(self._per_second), self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return not self._per_second or self._tokens >= 1

    def take(self, number: int) -> None:
        self._tokens -= number


def _message(delivery: Delivery, headers: Headers) -> Message:
    return Message(
        message_id=delivery.recall_id or str(orjson.loads(delivery.value)["id"]),
        placement_id=delivery.placement_id,
        topic=delivery.topic,
        key=delivery.key,
        value=delivery.value,
        headers=headers,
    )
