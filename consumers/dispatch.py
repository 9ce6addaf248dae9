"""Sends what the outbox holds: by Kafka here, with every replica's acknowledgement; by other channels in lanes.

No network call is made inside a transaction. Woken by the database's notification, and looks by itself every
second in case one was lost. Any number of dispatchers share the outbox; one that dies delays what it had
claimed by the lease, and what it had sent but not marked is sent again under the same recall id.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import psycopg2

from consumers.lanes import Lanes
from consumers.traced import begin_attempt, end_attempt
from domain.traces import OFF, Told, Tracing
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.publisher import Publisher
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.database import Database, DatabaseUnavailableError
from infra.postgres.ledger_sql import OUTBOX_CHANNEL
from infra.postgres.outbox import Claimed, Outbox

PAUSE_SECONDS = 0.5
"""Between tries while the database or the broker is away."""

LANES_SECONDS = 1.0
"""Between looks at which lanes there ought to be."""


class Dispatch:
    """One dispatcher."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        publisher: Publisher,
        lanes: Lanes,
        batch_max: int,
        poll_seconds: float,
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called each time that the loop turns."""
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._lanes = lanes
        self._lanes_at = 0.0
        self._batch_max = batch_max
        self._poll_seconds = poll_seconds
        self._now = now
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        self._beat = beat

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop; what is claimed by then is finished."""
        try:
            while not stop.is_set():
                self._beat()
                try:
                    self._keep_lanes()
                    self._listen(stop)
                except (DatabaseUnavailableError, BrokerUnavailableError) as why:
                    self._log.warning("dispatch.waiting", cause=type(why).__name__, detail=str(why))
                    stop.wait(PAUSE_SECONDS)
        finally:
            self._lanes.close()
            self._publisher.close()

    def _keep_lanes(self) -> None:
        if time.monotonic() >= self._lanes_at:
            self._lanes_at = time.monotonic() + LANES_SECONDS
            self._lanes.keep()

    def _listen(self, stop: threading.Event) -> None:
        with self._database.listening(OUTBOX_CHANNEL) as connection:
            while not stop.is_set():
                self._beat()
                self._lanes.wake()
                while self.step():
                    self._beat()
                    self._keep_lanes()
                self._keep_lanes()
                select.select([connection], [], [], self._poll_seconds)
                try:
                    connection.poll()
                except psycopg2.Error as why:
                    raise DatabaseUnavailableError(str(why).strip()) from why
                connection.notifies.clear()

    def step(self) -> int:
        """Publish one claim's worth on Kafka; returns how many records are out."""
        claimed = self._outbox.claim(self._batch_max, elsewhere=self._lanes.elsewhere())
        if not claimed:
            return 0
        acknowledged = self._publish(claimed)
        sent = [one for one, out in zip(claimed, acknowledged, strict=True) if out]
        failed = [one for one, out in zip(claimed, acknowledged, strict=True) if not out]
        if sent:
            self._outbox.sent(sent)
            self._count(sent)
        if failed:
            self._outbox.give_back(failed)
            self._log.warning("dispatch.not_acknowledged", records=len(failed))
            raise BrokerUnavailableError(f"{len(failed)} of {len(claimed)} records were not acknowledged")
        return len(sent)

    def _publish(self, claimed: list[Claimed]) -> list[bool]:
        """Say of each whether it is out; each is an attempt."""
        told: list[Told] = [{"agency_id": one.agency_id or "", "channel": "kafka"} for one in claimed]
        begun = [begin_attempt(self._tracing, one, what) for one, what in zip(claimed, told, strict=True)]
        records = [replace(one, headers=headers) for one, (_, headers) in zip(claimed, begun, strict=True)]
        acknowledged = self._publisher.publish(records)
        for (span, _), out in zip(begun, acknowledged, strict=True):
            end_attempt(span, "delivered" if out else "failed")
        return acknowledged

    def _count(self, sent: list[Claimed]) -> None:
        now = self._now()
        for one in sent:
            if one.recall_id is None or one.known_since is None or one.is_again:
                continue
            latency = max(0.0, (now - one.known_since).total_seconds())
            self._metrics.recall_latency.labels("sent", one.agency_id, one.cause).observe(latency)
            self._log.info("recall.sent", recall_id=one.recall_id, agency_id=one.agency_id, latency_seconds=latency)
