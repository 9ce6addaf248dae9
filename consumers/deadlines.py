"""Looks at the clocks of the recalls, every few seconds.

Run by `sweep`; several do no harm. What follows when a clock strikes is decided in `domain.deadlines`.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from consumers.aftermath import count_breaches, log_breaches
from domain.agency import Agencies, agency_of
from domain.deadlines import Struck, Waiting, Why, strike
from domain.policy import Policy, RecallRules
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.contacts import Contacts
from infra.postgres.deadlines import DeadlineStore, Done

LOOK_SECONDS = 2.0
"""Between looks: one statement by an index (under a millisecond where nothing is due); deadlines are in minutes."""

CHUNK_RECALLS = 1_000
"""In one transaction: tens of milliseconds, while which their agencies' answers wait."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a look found: deadlines that passed, recalls that became a matter for people, those sent again."""

    overdue: int = 0
    escalated: int = 0
    resent: int = 0


class Deadlines:
    """One for a sweeper."""

    def __init__(
        self,
        *,
        store: DeadlineStore,
        contacts: Contacts,
        rules: Callable[[], Policy],
        agencies: Callable[[], Agencies],
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
        monotonic: Callable[[], float] = time.monotonic,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called for each part of a look, so that a long one is seen to go on."""
        self._store = store
        self._contacts = contacts
        self._rules = rules
        self._agencies = agencies
        self._now = now
        self._metrics = metrics
        self._log = log
        self._monotonic = monotonic
        self._beat = beat
        self._look_at = 0.0

    def look(self, stop: threading.Event | None = None) -> Clocks:
        """Do all that is due; ends early when told to stop."""
        self._look_at = self._monotonic() + LOOK_SECONDS
        found: Counter[str] = Counter()
        while stop is None or not stop.is_set():
            self._beat()
            agencies, now = self._agencies(), self._now()
            judge = partial(_judge, rules=self._rules().recall, agencies=agencies, now=now)
            done = self._store.strike(now, judge, limit=CHUNK_RECALLS)
            for one in done:
                self._tell(one)
                found[one.struck.why] += one.struck.is_new
                found["resent"] += one.is_resent
            if not done:
                break
        return Clocks(found[Why.OVERDUE], found[Why.ESCALATED], found["resent"])

    def look_if_due(self, stop: threading.Event) -> None:
        """The same, where the last look is some seconds ago: for who is busy with something longer."""
        if self._monotonic() >= self._look_at:
            self.look(stop)

    def find_breaches(self, *, limit: int) -> int:
        """Contacts after a recall that could not be known to be so when they came."""
        breaches = self._contacts.find_breaches(self._now(), self._rules().recall.contact_grace, limit=limit)
        log_breaches(self._log, breaches)
        count_breaches(self._metrics, breaches)
        return len(breaches)

    def _tell(self, done: Done) -> None:
        due, struck = done.due, done.struck
        names = {"recall_id": due.recall_id, "agency_id": due.waiting.agency_id}
        if struck.is_new and struck.why is Why.OVERDUE:
            self._metrics.recalls_passed_deadline.labels(due.waiting.agency_id).inc()
            self._log.error(
                "recall.overdue",
                **names,
                acknowledge_by=due.waiting.acknowledge_by.isoformat(),
                escalate_at=struck.next_at.isoformat(),
            )
        if struck.is_new and struck.why is Why.ESCALATED:
            self._log.error("recall.escalated", **names)
        if done.is_resent:
            self._log.warning("recall.resent", **names, why=struck.why)


def _judge(waiting: Waiting, *, rules: RecallRules, agencies: Agencies, now: datetime) -> Struck:
    return strike(waiting, rules, agency_of(agencies, waiting.agency_id), now)
