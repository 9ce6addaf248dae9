"""What `reconcile --fix` does: who holds what it should not is told to stop, by a recall with a clock.

Called by `reconcile` once its findings are kept. The recall of a ghost is sent again. A ghost that was closed
without one, and an orphan, get one: for an orphan the list's own claim is registered as a placement, with no
clearance, in the same commit, so that it never passes for placed. What was answered already, or may be a valid
placement, is left to people, and counted by its reason. Never recalls what was placed and is open.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from consumers.step import advance, log_recalls, remember, tell
from domain.events import Origin, PlacementOpened, RawRecord
from domain.holdings import Held, Kind, closed_and_held, counted_as, recall_held
from domain.policy import Policy
from domain.recall import after
from infra.logs import Logger
from infra.postgres.holdings import Comparison, Ghost, Orphan, Run, mark_fixed, sign_recalls
from infra.postgres.ledger import Batch, Case, Ledger, Outcome
from infra.wire.decode import Decoded, decode
from infra.wire.encode import encode_placement

PAGE_FINDINGS = 200
"""In one transaction: it holds their accounts' locks for some 50 ms."""

SOURCE = "handoff-guard/reconcile"
"""Who says that an agency holds what it was never given."""

WITH_PEOPLE = "answered or taken over already: call them"
NOT_SENT_AGAIN = "not sent again, the first order may still wait to be sent: handoff-guard doctor"
NO_COLUMNS = "the account, the debt, the outstanding or its currency is not in the list: map its column"
PLACED = "it, or its debt, is placed: is the id in the list right?"
CHANGED = "it has changed since: run it again"
"""Why something is left to people."""


class Resending(Protocol):
    """Who sends recalls again."""

    def resend(self, recall_ids: Sequence[str], *, by: str) -> int:
        """Send these again, in a commit of its own; how many were."""


@dataclass(slots=True)
class Mended:
    """How many findings of each kind were mended, and how many were not, by the reason."""

    fixed: dict[str, int] = field(default_factory=lambda: {counted_as(Kind.GHOST): 0, counted_as(Kind.ORPHAN): 0})
    left: dict[str, int] = field(default_factory=dict)

    def leave(self, why: str, findings: int = 1) -> None:
        """Count what is left for this reason."""
        if findings:
            self.left[why] = self.left.get(why, 0) + findings


class Mend:
    """Mends what one comparison found."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        orders: Resending,
        rules: Callable[[], Policy],
        now: Callable[[], datetime],
        log: Logger,
    ) -> None:
        self._ledger = ledger
        self._orders = orders
        self._rules = rules
        self._now = now
        self._log = log

    def ghosts(self, comparison: Comparison, run: Run, mended: Mended) -> None:
        """Recall every ghost again, as far as the agency has not answered."""
        for page in comparison.ghosts(run, limit=PAGE_FINDINGS):
            mended.leave(WITH_PEOPLE, sum(one.with_people for one in page))
            self._resend([one for one in page if one.recall_id and not one.with_people], run, mended)
            self._recall_closed([one for one in page if not one.recall_id], run, mended)

    def orphans(self, comparison: Comparison, run: Run, mended: Mended) -> None:
        """Register and recall every orphan of which the list says enough."""
        for page in comparison.orphans(run, limit=PAGE_FINDINGS):
            enough = []
            for one in page:
                if one.is_placed:
                    mended.leave(PLACED)
                elif not (one.account_id and one.debt_id and one.outstanding and one.currency):
                    mended.leave(NO_COLUMNS)
                else:
                    enough.append(one)
            if enough:
                self._recall_orphans(enough, run, mended)

    def _resend(self, ghosts: Sequence[Ghost], run: Run, mended: Mended) -> None:
        if not ghosts:
            return
        recall_ids = [one.recall_id for one in ghosts]
        sent = self._orders.resend(recall_ids, by=run.done_by)
        mended.fixed[counted_as(Kind.GHOST)] += sent
        mended.leave(NOT_SENT_AGAIN, len(ghosts) - sent)
        if sent == len(ghosts):  # Else nobody knows which.
            with self._ledger.batch() as batch:
                mark_fixed(batch.connection, run, Kind.GHOST, [one.placement_id for one in ghosts], self._now())

    def _recall_closed(self, ghosts: Sequence[Ghost], run: Run, mended: Mended) -> None:
        if not ghosts:
            return
        outcome, now = Outcome(), self._now()
        with self._ledger.batch() as batch:
            batch.lock({one.account_id for one in ghosts})
            cases = batch.load(sorted({one.account_id for one in ghosts}))
            for one in ghosts:
                case = cases[one.account_id]
                held = closed_and_held(case.account, one.placement_id, case.events)
                if held is not None:
                    self._recall(outcome, case, held, now)
            self._save(batch, outcome, Kind.GHOST, run, now)
        self._count(outcome, Kind.GHOST, len(ghosts), mended)

    def _recall_orphans(self, orphans: Sequence[Orphan], run: Run, mended: Mended) -> None:
        outcome, now = Outcome(), self._now()
        entries = [one for one in (_claim(orphan, run, now) for orphan in orphans) if one is not None]
        with self._ledger.batch() as batch:
            loaded = batch.lock_and_load(entries)
            touched: dict[str, Case] = {}
            for number in loaded.fresh:
                entry = entries[number]
                case, claim = loaded.cases[entry.account_id], entry.recorded
                tell(outcome, advance(case, claim, self._rules(), now))
                if isinstance(claim.event, PlacementOpened):
                    self._recall(outcome, case, Held(claim.event, claim), now)
                touched[entry.account_id] = case
            for case in touched.values():
                remember(outcome, case)
            self._save(batch, outcome, Kind.ORPHAN, run, now)
        self._count(outcome, Kind.ORPHAN, len(orphans), mended)

    def _recall(self, outcome: Outcome, case: Case, held: Held, now: datetime) -> None:
        """Recall a placement by hand, where nothing else has recalled it."""
        said = case.said.get(held.opened.placement_id)
        if said is None or not said.recalled:
            messages = (recall_held(held, said, self._rules(), now=now),)
            tell(outcome, messages)
            case.said = after(case.said, messages)

    def _save(self, batch: Batch, outcome: Outcome, kind: Kind, run: Run, now: datetime) -> None:
        batch.save(outcome)
        recalls = outcome.recalls
        accounts = [one.placement.account_id for one in recalls]
        sign_recalls(batch.connection, accounts, [one.recall_id for one in recalls], run.done_by)
        mark_fixed(batch.connection, run, kind, [one.placement.placement_id for one in recalls], now)

    def _count(self, outcome: Outcome, kind: Kind, findings: int, mended: Mended) -> None:
        mended.fixed[counted_as(kind)] += len(outcome.recalls)
        mended.leave(CHANGED, findings - len(outcome.recalls))
        log_recalls(self._log, outcome)


def _claim(orphan: Orphan, run: Run, now: datetime) -> Decoded | None:
    """What the list says of an orphan, as the event that would have placed it; None where it can't be one."""
    opened = PlacementOpened(
        account_id=orphan.account_id,
        placement_id=orphan.placement_id,
        debt_id=orphan.debt_id,
        agency_id=run.agency_id,
        amount=orphan.outstanding,
        currency=orphan.currency,
        placed_at=run.as_of,
    )
    value = json.dumps(encode_placement(opened, source=SOURCE)).encode()
    read = decode(RawRecord(Origin("reconcile", 0, 0, now), None, value), any_topic=True, keyed=False)
    return read if isinstance(read, Decoded) else None
