"""The second look: re-derives from the facts what ought to exist, and sees the deadlines that have passed.

It should find nothing. What it finds is repaired in the same way as `ingest` would have done, counted, and
logged as an error, because it means that a rule or a policy was changed, or that there is a fault.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.step import look_again, remember, tell
from domain.policy import Policy
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.ledger import Ledger, Outcome
from infra.postgres.quarantine import Quarantine
from infra.postgres.upkeep import Upkeep

CHUNK_ACCOUNTS = 500
"""Accounts in one transaction: tens of milliseconds, so that no worker waits long for a lock."""

CHUNK_ROWS = 10_000
"""Rows deleted, or recalls marked, in one transaction."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one sweep did: messages it had to tell, recalls that became overdue, rows past their time."""

    repaired: int
    overdue: int
    forgotten: int


class Sweep:
    """One sweeper; several do no harm."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        upkeep: Upkeep,
        quarantine: Quarantine,
        policy: Policy,
        every_seconds: float,
        ledger_for: timedelta,
        outbox_for: timedelta,
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._ledger = ledger
        self._upkeep = upkeep
        self._quarantine = quarantine
        self._policy = policy
        self._every_seconds = every_seconds
        self._ledger_for = ledger_for
        self._outbox_for = outbox_for
        self._now = now
        self._metrics = metrics
        self._log = log

    def run(self, stop: threading.Event) -> None:
        """Sweep at intervals until told to stop."""
        while not stop.is_set():
            try:
                self.step(stop)
            except DatabaseUnavailableError as why:
                self._log.warning("sweep.waiting", detail=str(why))
            stop.wait(self._every_seconds)

    def step(self, stop: threading.Event | None = None) -> Found:
        """One sweep over everything; ends early when told to stop."""
        stop = stop or threading.Event()
        found = Found(self._repair(stop), self._overdue(), self._forget(stop))
        self._metrics.quarantined.set(self._quarantine.count())
        return found

    def _repair(self, stop: threading.Event) -> int:
        repaired = 0
        after = ""
        while not stop.is_set():
            accounts = self._upkeep.accounts_with_open_placements(after=after, limit=CHUNK_ACCOUNTS)
            if not accounts:
                break
            suspects = self._suspects(accounts)
            repaired += self._repair_these(suspects) if suspects else 0
            after = accounts[-1]
        if repaired:
            self._metrics.sweep_found.inc(repaired)
        return repaired

    def _suspects(self, accounts: list[str]) -> list[str]:
        """Those of whom something seems to be untold; no worker waits for this look, so it is not the last word."""
        with self._ledger.batch() as batch:
            cases = batch.load(accounts)
        return sorted(
            account_id
            for account_id, case in cases.items()
            if look_again(case, self._policy, self._now(), noticed_by=None)
        )

    def _repair_these(self, accounts: list[str]) -> int:
        outcome = Outcome()
        with self._ledger.batch() as batch:
            batch.lock(accounts)
            for case in batch.load(accounts).values():
                messages = look_again(case, self._policy, self._now(), noticed_by=None)
                if messages:
                    tell(outcome, messages)
                    remember(outcome, case)
            if outcome.outbox:
                batch.save(outcome)
        for record, recall_id in outcome.outbox:
            self._log.error("sweep.found", placement_id=record.placement_id, recall_id=recall_id)
        return len(outcome.outbox)

    def _overdue(self) -> int:
        overdue = self._upkeep.mark_overdue(self._now(), limit=CHUNK_ROWS)
        for one in overdue:
            self._metrics.recalls_overdue.labels(one.agency_id).inc()
            self._log.error(
                "recall.overdue",
                recall_id=one.recall_id,
                agency_id=one.agency_id,
                acknowledge_by=one.acknowledge_by.isoformat(),
            )
        return len(overdue)

    def _forget(self, stop: threading.Event) -> int:
        forgotten = 0
        while not stop.is_set():
            gone = self._upkeep.forget(
                self._now(), ledger_for=self._ledger_for, outbox_for=self._outbox_for, limit=CHUNK_ROWS
            )
            forgotten += gone
            if gone < CHUNK_ROWS:
                break
        return forgotten
