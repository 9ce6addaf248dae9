"""The recalls as people look at them and handle them: found, listed page by page, sent again, taken over.

Called by `consumers.orders`, and by the API and the command line through it. What agencies answer is written by the
ledger, what deadlines do by `infra.postgres.deadlines`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.recall import RecallStage
from infra.postgres.again import Again, send_again
from infra.postgres.database import Database
from infra.postgres.ledger import Batch

BY_HAND = "by_hand"

ACCOUNTS_MAX = 2
"""Of a placement's id: one is right, and two are too many."""


@dataclass(frozen=True, slots=True)
class KeptRecall:
    """A recall as it stands, with its delivery and what the agency did in spite of it.

    `waits`: it is to be sent by the agency's first channel, so that to send it again would say nothing more;
    `next_try_at` is when what waits, by any channel, is tried next at the earliest.
    """

    account_id: str
    placement_id: str
    recall_id: str
    agency_id: str
    debt_id: str
    reason: str
    cause: str
    state: RecallStage
    outstanding: int
    currency: str
    requested_at: datetime
    requested_by: str | None
    requested_reason: str | None
    acknowledge_by: datetime
    sent_at: datetime | None
    resends: int
    resent_at: datetime | None
    overdue_at: datetime | None
    escalate_at: datetime | None
    escalated_at: datetime | None
    acknowledged_at: datetime | None
    rejected_at: datetime | None
    rejection: str | None
    taken_over_at: datetime | None
    taken_over_by: str | None
    taken_over_reason: str | None
    placement_closed_at: datetime | None
    attempts: int
    last_error: str | None
    waits: bool
    next_try_at: datetime | None
    breaches: int
    last_breach_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of recalls ends: the next begins behind it."""

    requested_at: datetime
    account_id: str
    placement_id: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which recalls are asked for; None does not matter. `overdue`: past the deadline, and nobody has answered.

    `is_open`: neither acknowledged nor closed.
    """

    state: RecallStage | None = None
    agency_id: str | None = None
    overdue: bool | None = None
    is_open: bool | None = None


class Recalls:
    """The recalls of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts_of(self, placement_id: str) -> list[str]:
        """The accounts that have a placement of this id: one, none, or two where there are more."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_ACCOUNTS), {"placement_id": placement_id, "limit": ACCOUNTS_MAX})
            return [str(row[0]) for row in rows]

    def agency_of(self, account_id: str, placement_id: str) -> str | None:
        """Which agency has this placement; None where it is not known."""
        names = {"account_id": account_id, "placement_id": placement_id}
        with self._database.transaction() as connection:
            return connection.execute(sa.text(_AGENCY), names).scalar_one_or_none()

    def of_placement(self, batch: Batch, account_id: str, placement_id: str) -> KeptRecall | None:
        """The recall of a placement, as the transaction of a batch sees it."""
        names = {"account_id": account_id, "placement_id": placement_id}
        row = batch.connection.execute(sa.text(_OF_PLACEMENT), names).one_or_none()
        return None if row is None else _kept(row)

    def find(self, recall_id: str) -> KeptRecall | None:
        """A recall by its id."""
        with self._database.transaction() as connection:
            return _find(connection, recall_id)

    def these(self, recall_ids: Sequence[str]) -> list[KeptRecall]:
        """Recalls by their ids; those that are of none are left out."""
        with self._database.transaction() as connection:
            return [_kept(row) for row in connection.execute(sa.text(_BY_IDS), {"ids": list(recall_ids)})]

    def page(self, wanted: Wanted, *, after: Place | None, limit: int) -> list[KeptRecall]:
        """Recalls, the one requested first first, from behind a place."""
        parameters = {
            "state": wanted.state,
            "agency_id": wanted.agency_id,
            "overdue": wanted.overdue,
            "is_open": wanted.is_open,
            "limit": limit,
            **({} if after is None else _named(after)),
        }
        with self._database.transaction() as connection:
            return [_kept(row) for row in connection.execute(sa.text(_page(wanted, after)), parameters)]

    def resend(self, recall_ids: Sequence[str], now: datetime) -> set[str]:
        """Send these once more by the agency's first channel; the ids of those that are on their way again."""
        with self._database.transaction() as connection:
            locked = connection.execute(sa.text(_LOCK), {"ids": list(recall_ids)})
            return send_again(connection, [Again(row[0], row[1], row[2], BY_HAND) for row in locked], now)

    def take_over(self, recall_id: str, *, by: str, reason: str, now: datetime) -> tuple[KeptRecall | None, bool]:
        """Let a person have the recall, unless it is over or somebody has it; how it stands, and if they do now."""
        parameters = {"recall_id": recall_id, "by": by, "reason": reason, "now": now}
        with self._database.transaction() as connection:
            taken = connection.execute(sa.text(_TAKE_OVER), parameters)
            return _find(connection, recall_id), taken.rowcount > 0


def _find(connection: sa.Connection, recall_id: str) -> KeptRecall | None:
    row = connection.execute(sa.text(_BY_ID), {"recall_id": recall_id}).one_or_none()
    return None if row is None else _kept(row)


def _kept(row: sa.Row[*tuple[Any, ...]]) -> KeptRecall:  # `Any`: a row is untyped.
    values = row._asdict()
    return KeptRecall(**{**values, "state": RecallStage(values["state"])})


def _named(place: Place) -> dict[str, object]:
    return {
        "after_at": place.requested_at,
        "after_account": place.account_id,
        "after_placement": place.placement_id,
    }


def _page(wanted: Wanted, after: Place | None) -> str:
    """The statement for what is asked: with no more conditions than that, each has its index."""
    conditions = [
        "r.state = :state" if wanted.state is not None else "",
        "r.agency_id = :agency_id" if wanted.agency_id is not None else "",
        f"({_IS_OVERDUE}) = :overdue" if wanted.overdue is not None else "",
        f"({_IS_OPEN}) = :is_open" if wanted.is_open is not None else "",
        "(r.requested_at, r.account_id, r.placement_id) > (:after_at, :after_account, :after_placement)"
        if after is not None
        else "",
    ]
    where = " AND ".join(one for one in conditions if one) or "true"
    return f"{_KEPT} WHERE {where} ORDER BY r.requested_at, r.account_id, r.placement_id LIMIT :limit"


_ACCOUNTS = "SELECT account_id FROM placement WHERE placement_id = :placement_id LIMIT :limit"

_AGENCY = "SELECT agency_id FROM placement WHERE account_id = :account_id AND placement_id = :placement_id"

_IS_OVERDUE = "r.state IN ('overdue', 'escalated')"

_IS_OPEN = "r.state NOT IN ('acknowledged', 'closed')"

# By the account each: what was tried to deliver it, the contacts after it, and the order of what a person ordered.
# Kind 22 is `guard.recall.ordered.v1`. Only that is read as JSON: what else recalls by hand, after a comparison of
# lists, is an event from outside, and may hold what a text here can't.
_KEPT = """
SELECT r.account_id, r.placement_id, r.recall_id, r.agency_id, r.debt_id, r.reason, r.cause, r.state, r.outstanding,
       r.currency, r.requested_at, r.requested_by, ordered.reason AS requested_reason, r.acknowledge_by, r.sent_at,
       r.resends, r.resent_at, r.overdue_at, r.escalate_at, r.escalated_at, r.acknowledged_at, r.rejected_at,
       r.rejection, r.taken_over_at, r.taken_over_by, r.taken_over_reason, r.placement_closed_at,
       delivery.attempts, delivery.last_error, delivery.waits, delivery.next_try_at,
       breach.breaches, breach.last_breach_at
FROM recall r
CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(o.attempts), 0) AS integer) AS attempts,
           (array_agg(o.last_error ORDER BY o.outbox_id DESC) FILTER (WHERE o.last_error IS NOT NULL))[1]
               AS last_error,
           coalesce(bool_or(o.sent_at IS NULL AND o.channel = ''), false) AS waits,
           min(greatest(coalesce(o.due_at, o.created_at), (
               SELECT max(c.open_until) FROM agency_circuit c
               WHERE c.agency_id = r.agency_id AND (c.channel = o.channel OR (o.channel = '' AND c.is_first)))))
               FILTER (WHERE o.sent_at IS NULL AND o.superseded_at IS NULL) AS next_try_at
    FROM outbox o
    WHERE o.account_id = r.account_id AND o.placement_id = r.placement_id AND o.recall_id = r.recall_id) delivery
LEFT JOIN LATERAL (
    SELECT CASE WHEN l.kind = 22 THEN CAST(l.stored AS json) ->> 'reason' END AS reason FROM ledger l
    WHERE r.cause = 'manual' AND l.account_id = r.account_id
      AND l.source = r.trigger_source AND l.event_id = r.trigger_id) ordered ON true
CROSS JOIN LATERAL (
    SELECT CAST(count(*) AS integer) AS breaches, max(contacted_at) AS last_breach_at FROM contact c
    WHERE c.account_id = r.account_id AND c.placement_id = r.placement_id AND c.breached_at IS NOT NULL) breach"""

_BY_ID = f"{_KEPT} WHERE r.recall_id = :recall_id"

_BY_IDS = f"{_KEPT} WHERE r.recall_id = ANY(:ids) ORDER BY r.requested_at, r.account_id, r.placement_id"

_OF_PLACEMENT = f"{_KEPT} WHERE r.account_id = :account_id AND r.placement_id = :placement_id"

_LOCK = """
SELECT account_id, placement_id, recall_id FROM recall WHERE recall_id = ANY(:ids)
ORDER BY account_id, placement_id FOR NO KEY UPDATE"""

_TAKE_OVER = """
UPDATE recall SET taken_over_at = :now, taken_over_by = :by, taken_over_reason = :reason
WHERE recall_id = :recall_id
  AND acknowledged_at IS NULL AND placement_closed_at IS NULL AND taken_over_at IS NULL"""
