"""Puts events of the quarantine back: their bytes are decoded again, and applied as `ingest` would have done.

Called by `quarantine requeue`, after the producer or the guard was mended. Oldest first, and in one commit for
each chunk: facts, recalls, the mark on the event, and the end of its holds. What is still bad stays, with the
reason of this time. Facts merge in any order, so later events of its account are applied all the same; but the
account is held until the last of its events is through.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from consumers.aftermath import tell_log
from consumers.set_aside import NO_FAULT_OF_AN_EVENT, set_aside
from consumers.speakers import hear_again
from consumers.step import take_in
from consumers.traced import Traced
from domain.events import RawRecord
from domain.policy import Policy
from domain.traces import OFF, Tracing
from infra.logs import Logger, where
from infra.postgres.ledger import Batch, Ledger, Loaded, Outcome, Saved
from infra.postgres.quarantine import Held, Quarantine, Refused
from infra.wire.decode import Decoded, Rejected, decode

CHUNK_EVENTS = 100
"""Events in one transaction; records are 1 MB at most by Kafka's default, so 100 MB of memory at the worst."""

CONFLICT = "CONFLICT"
CONFLICT_DETAIL = "this source and id were used before for another content; `quarantine drop` gives it up"


@dataclass(slots=True)
class Report:
    """What became of the events that were tried, and which accounts are held all the same."""

    applied: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    still_bad: list[Refused] = field(default_factory=list)
    recall_ids: list[str] = field(default_factory=list)
    not_waiting: list[int] = field(default_factory=list)
    still_held: dict[str, int] = field(default_factory=dict)

    @property
    def all_through(self) -> bool:
        """Whether everything that was asked for is applied now."""
        return not self.still_bad and not self.not_waiting

    def as_json(self) -> dict[str, object]:
        """The report as data."""
        return {
            "applied": self.applied,
            "duplicates": self.duplicates,
            "still_bad": [
                {"quarantine_id": one.quarantine_id, "reason": one.reason, "detail": one.detail}
                for one in self.still_bad
            ],
            "not_waiting": self.not_waiting,
            "recall_ids": self.recall_ids,
            "still_held": self.still_held,
        }

    def in_words(self) -> list[str]:
        """The report for people, a line each."""
        return [
            f"applied: {len(self.applied)}, known already among them: {len(self.duplicates)}",
            *(f"recall {recall_id} was requested" for recall_id in self.recall_ids),
            *(f"event {one.quarantine_id} is still bad: {one.reason}, {one.detail}" for one in self.still_bad),
            *(f"event {number} does not wait in quarantine" for number in self.not_waiting),
            *(
                f"account {name} stays on hold, events that wait: {events}"
                for name, events in self.still_held.items()
            ),
        ]


class Requeue:
    """Puts events of one database's quarantine back."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        quarantine: Quarantine,
        rules: Callable[[], Policy],
        now: Callable[[], datetime],
        log: Logger,
        tracing: Tracing = OFF,
    ) -> None:
        self._ledger = ledger
        self._quarantine = quarantine
        self._rules = rules
        self._now = now
        self._log = log
        self._tracing = tracing

    def these(self, ids: Sequence[int]) -> Report:
        """Try these events, oldest first."""
        report = Report()
        touched: set[str] = set()
        wanted = sorted(set(ids))
        for start in range(0, len(wanted), CHUNK_EVENTS):
            chunk = wanted[start : start + CHUNK_EVENTS]
            claimed = self._try(chunk, report)
            report.not_waiting += sorted(set(chunk) - {held.quarantine_id for held in claimed})
            touched |= _accounts(claimed)
        return self._with_holds(report, touched)

    def all(self, account_id: str | None = None) -> Report:
        """Try everything that waits, or all that holds one account, oldest first."""
        report = Report()
        touched: set[str] = set()
        after = 0
        while page := self._quarantine.waiting(account_id=account_id, after=after, limit=CHUNK_EVENTS):
            self._try([held.quarantine_id for held in page], report)
            touched |= _accounts(page)
            after = page[-1].quarantine_id
        return self._with_holds(report, touched)

    def _try(self, ids: Sequence[int], report: Report) -> list[Held]:
        """Try these events together or, where our own code fails on them, each alone; returns those that waited."""
        try:
            attempt = self._attempt(ids)
        except NO_FAULT_OF_AN_EVENT:
            raise
        except Exception as why:  # noqa: BLE001 # Whatever it is, the others must go on.
            self._log.error("quarantine.failed", events=len(ids), **where(why))
            if len(ids) > 1:
                return [held for one in ids for held in self._try([one], report)]
            attempt = self._attempt(ids, read=set_aside)
        report.applied += [held.quarantine_id for held in attempt.through]
        report.duplicates += attempt.duplicates
        report.still_bad += attempt.refused
        report.recall_ids += [recall.recall_id for recall in attempt.outcome.recalls]
        self._tell_log(attempt)
        return attempt.claimed

    def _attempt(self, ids: Sequence[int], read: Callable[[RawRecord], Decoded | Rejected] = decode) -> _Attempt:
        """One transaction over these events."""
        rules, traced = self._rules(), Traced(self._tracing)
        with self._ledger.batch() as batch:
            attempt = _Attempt(batch.claim(ids), lambda raw: hear_again(raw, read(raw), rules.speakers))
            attempt.apply(batch, rules, self._now(), traced)
            batch.settle(attempt.through, attempt.refused)
        traced.committed(attempt.saved.acknowledged)
        return attempt

    def _with_holds(self, report: Report, touched: set[str]) -> Report:
        report.still_held = self._quarantine.holds(sorted(touched | _accounts(report.still_bad)))
        return report

    def _tell_log(self, attempt: _Attempt) -> None:
        for held in attempt.through:
            self._log.info("quarantine.applied", quarantine_id=held.quarantine_id, reason=held.reason)
        for one in attempt.refused:
            self._log.warning("quarantine.still_bad", quarantine_id=one.quarantine_id, reason=one.reason)
        tell_log(self._log, attempt.outcome, attempt.saved)


def _accounts(events: Iterable[Held | Refused]) -> set[str]:
    return {account_id for one in events for account_id in one.accounts}


class _Attempt:
    """One chunk of claimed events on its way: what is through, what is not, and what follows."""

    def __init__(self, claimed: list[Held], read: Callable[[RawRecord], Decoded | Rejected]) -> None:
        self.claimed = claimed
        self.through: list[Held] = []
        self.duplicates: list[int] = []
        self.refused: list[Refused] = []
        self.outcome = Outcome()
        self.saved = Saved([], [], [])
        self._held: list[Held] = []
        self._entries: list[Decoded] = []
        for held in claimed:
            one = read(held.raw)
            if isinstance(one, Decoded):
                self._held.append(held)
                self._entries.append(one)
            else:
                self.refused.append(Refused(held.quarantine_id, one.reason, one.detail, one.accounts))

    def apply(self, batch: Batch, policy: Policy, now: datetime, traced: Traced) -> None:
        """The steps of `ingest`, from the locks to what is saved."""
        loaded = batch.lock_and_load(self._entries)
        take_in(self._entries, loaded, self.outcome, policy, now, traced)
        self.saved = batch.save(self.outcome)
        self._sort_out(loaded)

    def _sort_out(self, loaded: Loaded) -> None:
        """Tell what is through from conflicts; an event that was applied before is through."""
        self.through = [self._held[number] for number in sorted([*loaded.fresh, *loaded.duplicates])]
        self.duplicates = [self._held[number].quarantine_id for number in loaded.duplicates]
        self.refused += [
            Refused(
                self._held[number].quarantine_id, CONFLICT, CONFLICT_DETAIL, (self._entries[number].account_id,)
            )
            for number in loaded.conflicts
        ]
        self.refused.sort(key=lambda one: one.quarantine_id)
