"""Publishes what the outbox holds: claimed, sent with every replica's acknowledgement, marked.

No network call is made inside a transaction. Woken by the database's notification, and looks by itself every
second in case one was lost. Any number of dispatchers share the outbox; one that dies delays what it had
claimed by the lease, and what it had sent but not marked is sent again under the same recall id.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Callable
from datetime import datetime

import psycopg2

from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.publisher import Publisher
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.database import Database, DatabaseUnavailableError
from infra.postgres.ledger_sql import OUTBOX_CHANNEL
from infra.postgres.outbox import Claimed, Outbox

PAUSE_SECONDS = 0.5
"""Between tries while the database or the broker is away."""


class Dispatch:
    """One dispatcher."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        publisher: Publisher,
        batch_max: int,
        poll_seconds: float,
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._batch_max = batch_max
        self._poll_seconds = poll_seconds
        self._now = now
        self._metrics = metrics
        self._log = log

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop; what is claimed by then is finished."""
        try:
            while not stop.is_set():
                try:
                    self._listen(stop)
                except (DatabaseUnavailableError, BrokerUnavailableError) as why:
                    self._log.warning("dispatch.waiting", cause=type(why).__name__, detail=str(why))
                    stop.wait(PAUSE_SECONDS)
        finally:
            self._publisher.close()

    def _listen(self, stop: threading.Event) -> None:
        with self._database.listening(OUTBOX_CHANNEL) as connection:
            while not stop.is_set():
                while self.step():
                    pass
                self._show_waiting()
                select.select([connection], [], [], self._poll_seconds)
                try:
                    connection.poll()
                except psycopg2.Error as why:
                    raise DatabaseUnavailableError(str(why).strip()) from why
                connection.notifies.clear()

    def step(self) -> int:
        """Publish one claim's worth; returns how many records are out."""
        claimed = self._outbox.claim(self._batch_max)
        if not claimed:
            return 0
        acknowledged = self._publisher.publish(claimed)
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

    def _count(self, sent: list[Claimed]) -> None:
        now = self._now()
        for one in sent:
            if one.recall_id is None or one.known_since is None:
                continue
            latency = max(0.0, (now - one.known_since).total_seconds())
            self._metrics.recall_latency.labels("sent", one.agency_id, one.cause).observe(latency)
            self._log.info("recall.sent", recall_id=one.recall_id, agency_id=one.agency_id, latency_seconds=latency)

    def _show_waiting(self) -> None:
        pending = self._outbox.pending()
        self._metrics.outbox_pending.set(pending.records)
        waits = (self._now() - pending.oldest).total_seconds() if pending.oldest else 0.0
        self._metrics.outbox_oldest.set(max(0.0, waits))
