"""What people order: a recall by hand, that one is sent again, that one is theirs to see to.

Called by the API and by the command line. An order is a fact like any event, kept with who gave it and why; the
recall follows from it by the rules that every event goes through, and has the same clock.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from consumers.aftermath import report
from consumers.step import take_in
from consumers.traced import Traced
from domain.events import Origin, RawRecord, RecallOrdered
from domain.policy import Policy
from domain.recall import OVER
from domain.traces import OFF, Tracing
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.ledger import CALLER_LOCK_TIMEOUT_MS, Batch, Case, Ledger, Outcome, Saved
from infra.postgres.recalls import KeptRecall, Place, Recalls, Wanted
from infra.wire.decode import Decoded, Rejected, decode
from infra.wire.encode import encode_order
from infra.wire.kinds import OWN

RESENDS_MAX = 1_000
"""Recalls sent again in one transaction; each is a row."""


class OrderError(Exception):
    """What was ordered can't be done; the message says why, and what to do."""


class UnknownError(OrderError):
    """There is no such placement or recall."""


class AmbiguousError(OrderError):
    """Two accounts have a placement of this id."""


class OverError(OrderError):
    """What it is about has ended, so there is nothing left to do."""


@dataclass(frozen=True, slots=True)
class Ordered:
    """A recall as it stands after an order; `is_new` is False where the placement was recalled already."""

    recall: KeptRecall
    is_new: bool


class Orders:
    """Who carries them out."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        recalls: Recalls,
        rules: Callable[[], Policy],
        now: Callable[[], datetime],
        new_id: Callable[[datetime], str],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
    ) -> None:
        self._ledger = ledger
        self._recalls = recalls
        self._rules = rules
        self._now = now
        self._new_id = new_id
        self._metrics = metrics
        self._log = log
        self._tracing = tracing

    def recall(self, placement_id: str, *, account_id: str | None, reason: str, requested_by: str) -> Ordered:
        """Withdraw a placement. Raises OrderError, DatabaseUnavailableError or LockedError: nothing was done."""
        account_id = account_id or self._account_of(placement_id)
        now = self._now()
        order = RecallOrdered(account_id, placement_id, reason, requested_by, now)
        outcome, saved, traced = Outcome(), Saved([], [], []), Traced(self._tracing)
        with self._ledger.batch(lock_timeout_ms=CALLER_LOCK_TIMEOUT_MS) as batch:
            batch.lock([account_id])
            known = self._recalls.of_placement(batch, account_id, placement_id)
            if known is None:
                _refuse(batch.load([account_id])[account_id], placement_id)
                saved = self._apply(batch, order, outcome, traced)
            recall = known or self._recalls.of_placement(batch, account_id, placement_id)
        if recall is None:
            raise ValueError("an order always recalls")
        self._log.info(
            "recall.ordered", recall_id=recall.recall_id, placement_id=placement_id, is_new=known is None
        )
        report(self._log, self._metrics, outcome, saved, now)
        traced.committed(saved.acknowledged)
        return Ordered(recall, is_new=known is None)

    def resend(self, recall_ids: Sequence[str], *, by: str) -> int:
        """Send recalls again; how many are on their way again, as `send_again` does it."""
        return len(self.send_again(recall_ids, by=by))

    def send_again(self, recall_ids: Sequence[str], *, by: str) -> frozenset[str]:
        """Send recalls again; the ids of those that are on their way again.

        Not among them are those that wait to be sent anyway, and ids that are of no recall. It may be ordered in
        any state: an agency may have said that it has stopped, and not have done so. `by` stands in the log: the id
        of a key or of a person, or on the command line who says so there.
        """
        sent: set[str] = set()
        for start in range(0, len(recall_ids), RESENDS_MAX):
            sent |= self._recalls.resend(recall_ids[start : start + RESENDS_MAX], self._now())
        for recall_id in sorted(sent):
            self._log.info("recall.resent", recall_id=recall_id, why="by_hand", by=by)
        return frozenset(sent)

    def take_over(self, recall_id: str, *, by: str, reason: str) -> KeptRecall:
        """Let a person see to a recall: its clock stops, and nothing is repeated. Raises OrderError."""
        recall, taken = self._recalls.take_over(recall_id, by=by, reason=reason, now=self._now())
        if recall is None:
            raise UnknownError("no recall has this id")
        if taken:
            self._log.info("recall.taken_over", recall_id=recall_id, agency_id=recall.agency_id)
        elif recall.state in OVER:
            raise OverError(f"the recall is {recall.state}: nothing is left to take over")
        return recall

    def find(self, recall_id: str) -> KeptRecall:
        """A recall by its id. Raises UnknownError."""
        recall = self._recalls.find(recall_id)
        if recall is None:
            raise UnknownError("no recall has this id")
        return recall

    def these(self, recall_ids: Sequence[str]) -> list[KeptRecall]:
        """Recalls by their ids, the one requested first first; those that are of none are left out."""
        return self._recalls.these(recall_ids)

    def page(self, wanted: Wanted, *, after: Place | None, limit: int) -> list[KeptRecall]:
        """Recalls, the one requested first first, from behind a place."""
        return self._recalls.page(wanted, after=after, limit=limit)

    def _account_of(self, placement_id: str) -> str:
        accounts = self._recalls.accounts_of(placement_id)
        if not accounts:
            raise UnknownError("no placement has this id")
        if len(accounts) > 1:
            raise AmbiguousError("more than one account has a placement of this id; say which by its account_id")
        return accounts[0]

    def _apply(self, batch: Batch, order: RecallOrdered, outcome: Outcome, traced: Traced) -> Saved:
        """The steps of every event, from the locks to what is saved."""
        value = json.dumps(encode_order(order, event_id=self._new_id(order.ordered_at))).encode()
        read = decode(
            RawRecord(Origin(OWN, 0, 0, order.ordered_at), None, value), any_topic=True, keyed=False, ours=True
        )
        if isinstance(read, Rejected):
            raise OrderError(read.detail)
        entries: list[Decoded] = [read]
        loaded = batch.lock_and_load(entries)
        take_in(entries, loaded, outcome, self._rules(), order.ordered_at, traced)
        return batch.save(outcome)


def _refuse(case: Case, placement_id: str) -> None:
    """Raise OrderError where a placement that was not recalled can't be: the account has none, or it has ended."""
    episode = case.account.placements.get(placement_id)
    if episode is None or episode.opened is None:
        raise UnknownError("the account has no placement of this id")
    if episode.closed_at is not None:
        raise OverError(f"the placement was closed on {episode.closed_at.isoformat()}; the agency does not have it")
