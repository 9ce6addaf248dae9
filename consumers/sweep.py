"""The second look: re-derives from the facts what ought to exist, and between its passes sees to deadlines.

It should find nothing. What it finds is repaired in the same way as `ingest` would have done, counted, and
logged as an error, because it means that a rule or a policy was changed, or that there is a fault.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.deadlines import LOOK_SECONDS, Deadlines
from consumers.step import look_again, remember, tell
from consumers.traced import Traced
from domain.policy import Policy
from domain.traces import OFF, Tracing
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.ledger import Ledger, Outcome
from infra.postgres.sessions import Sessions
from infra.postgres.upkeep import Upkeep

CHUNK_ACCOUNTS = 500
"""Accounts in one transaction: tens of milliseconds, so that no worker waits long for a lock."""

CHUNK_ROWS = 10_000
"""Rows deleted, or contacts marked, in one transaction."""

SESSIONS_FOR = timedelta(days=30)
"""How long it is kept that somebody was signed in; what they did is in the record, which stays."""


@dataclass(frozen=True, slots=True)
class Found:
    """What one sweep did: what it had to tell, what was due when it began, breaches, and rows forgotten."""

    repaired: int
    overdue: int
    forgotten: int
    escalated: int = 0
    resent: int = 0
    breaches: int = 0


class Sweep:
    """One sweeper; several do no harm."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        upkeep: Upkeep,
        deadlines: Deadlines,
        rules: Callable[[], Policy],
        every_seconds: float,
        ledger_for: timedelta,
        outbox_for: timedelta,
        sessions: Sessions,
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called each time that one of the loops turns."""
        self._ledger = ledger
        self._upkeep = upkeep
        self._deadlines = deadlines
        self._rules = rules
        self._every_seconds = every_seconds
        self._ledger_for = ledger_for
        self._outbox_for = outbox_for
        self._sessions = sessions
        self._now = now
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        self._beat = beat

    def run(self, stop: threading.Event) -> None:
        """Sweep at intervals, and look at the deadlines between, until told to stop."""
        sweep_at = time.monotonic()
        while not stop.is_set():
            self._beat()
            try:
                if time.monotonic() >= sweep_at:
                    self.step(stop)
                    sweep_at = time.monotonic() + self._every_seconds
                else:
                    self._deadlines.look(stop)
            except DatabaseUnavailableError as why:
                self._log.warning("sweep.waiting", detail=str(why))
            stop.wait(min(LOOK_SECONDS, self._every_seconds))

    def step(self, stop: threading.Event | None = None) -> Found:
        """One sweep over everything; ends early when told to stop."""
        stop = stop or threading.Event()
        struck, repaired = self._deadlines.look(stop), self._repair(stop)
        breaches = self._deadlines.find_breaches(limit=CHUNK_ROWS)
        return Found(repaired, struck.overdue, self._forget(stop), struck.escalated, struck.resent, breaches)

    def _repair(self, stop: threading.Event) -> int:
        repaired = 0
        after = ""
        while not stop.is_set():
            self._beat()
            accounts = self._upkeep.accounts_with_open_placements(after=after, limit=CHUNK_ACCOUNTS)
            if not accounts:
                break
            suspects = self._suspects(accounts)
            repaired += self._repair_these(suspects) if suspects else 0
            after = accounts[-1]
            self._deadlines.look_if_due(stop)
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
            if look_again(case, self._rules(), self._now(), noticed_by=None)
        )

    def _repair_these(self, accounts: list[str]) -> int:
        outcome, traced = Outcome(), Traced(self._tracing)
        with self._ledger.batch() as batch:
            batch.lock(accounts)
            for case in batch.load(accounts).values():
                messages = look_again(case, self._rules(), self._now(), noticed_by=None)
                if messages:
                    tell(outcome, messages, traced.by_itself)
                    remember(outcome, case)
            if outcome.outbox:
                batch.save(outcome)
        traced.committed(())
        for record, recall_id in outcome.outbox:
            self._log.error("sweep.found", placement_id=record.placement_id, recall_id=recall_id)
        return len(outcome.outbox)

    def _forget(self, stop: threading.Event) -> int:
        forgotten = self._sessions.forget(self._now() - SESSIONS_FOR)
        while not stop.is_set():
            self._beat()
            gone = self._upkeep.forget(
                self._now(), ledger_for=self._ledger_for, outbox_for=self._outbox_for, limit=CHUNK_ROWS
            )
            forgotten += gone
            if gone < CHUNK_ROWS:
                break
        return forgotten
