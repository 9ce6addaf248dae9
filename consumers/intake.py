"""Events that come by HTTP, for a creditor without Kafka: applied as `ingest` applies those of the streams.

Called by `api`. They are in the state when the caller has the answer, so every later question has them in its own.
An event that conflicts with a known one is not set aside: whoever sent it hears so, and still has it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum

from consumers.aftermath import count_unguarded, known_before, report
from consumers.producers import Heard
from consumers.speakers import hear
from consumers.step import take_in
from consumers.traced import Traced
from domain.events import RawRecord
from domain.policy import Policy
from domain.traces import OFF, Tracing
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.ledger import CALLER_LOCK_TIMEOUT_MS, Ledger, Outcome
from infra.wire.decode import Decoded, Rejected


class Taken(StrEnum):
    """What became of an event."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class Intake:
    """Who applies them."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        rules: Callable[[], Policy],
        now: Callable[[], datetime],
        heard: Heard,
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
    ) -> None:
        self._ledger = ledger
        self._rules = rules
        self._now = now
        self._heard = heard
        self._metrics = metrics
        self._log = log
        self._tracing = tracing

    def hear(self, raw: RawRecord, read: Decoded | Rejected) -> Decoded | Rejected:
        """An event that was read, with the agency that speaks in it, or the reason why it is none."""
        return hear(raw, read, self._rules().speakers)

    def take_all(self, entries: Sequence[Decoded]) -> list[Taken]:
        """Apply events in one transaction; what became of each, in its place.

        Raises DatabaseUnavailableError or LockedError, and then nothing was applied.
        """
        outcome, traced = Outcome(), Traced(self._tracing)
        taken = [Taken.APPLIED] * len(entries)
        with self._ledger.batch(lock_timeout_ms=CALLER_LOCK_TIMEOUT_MS) as batch:
            loaded = batch.lock_and_load(entries)
            now, known = self._now(), known_before(loaded)
            take_in(entries, loaded, outcome, self._rules(), now, traced)
            saved = batch.save(outcome)
        for number in loaded.duplicates:
            taken[number] = Taken.DUPLICATE
        for number in loaded.conflicts:
            taken[number] = Taken.CONFLICT
        for entry, became in zip(entries, taken, strict=True):
            self._metrics.events.labels(entry.topic, became).inc()
        self._heard.of(entries)
        self._heard.write_if_due()
        count_unguarded(self._metrics, outcome, known)
        report(self._log, self._metrics, outcome, saved, now)
        traced.committed(saved.acknowledged)
        return taken
