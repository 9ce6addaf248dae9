"""The clearances that were given: each is kept with its whole answer, and with the placement it was used for.

Called by `clear`, in the transaction in which it has locked the account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import sqlalchemy as sa

from infra.postgres.database import Database
from infra.postgres.ledger import Batch


@dataclass(frozen=True, slots=True)
class Given:
    """A clearance as it was given; `placement_id` and `confirmed_at` are None until it is used."""

    clearance_id: str
    account_id: str
    debt_id: str
    agency_id: str
    decision: str
    outstanding: int
    currency: str
    decided_at: datetime
    expires_at: datetime
    asked_by: str
    answer: Mapping[str, object]
    placement_id: str | None = None
    confirmed_at: datetime | None = None


class Clearances:
    """The clearances in one database; what is given or used is so in the transaction of a batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def account_of(self, clearance_id: str) -> str | None:
        """The account that a clearance is of; None where there is no such clearance."""
        with self._database.transaction() as connection:
            found = connection.execute(sa.text(_ACCOUNT), {"clearance_id": clearance_id}).scalar_one_or_none()
            return str(found) if found is not None else None

    def look(self, clearance_id: str) -> Given | None:
        """A clearance, with what it was used for; None where there is none."""
        account_id = self.account_of(clearance_id)
        if account_id is None:
            return None
        with self._database.transaction() as connection:
            return _find(connection, account_id, clearance_id)

    def find(self, batch: Batch, account_id: str, clearance_id: str) -> Given | None:
        """A clearance of an account that the batch has locked."""
        return _find(batch.connection, account_id, clearance_id)

    def keep(self, batch: Batch, given: Given) -> None:
        """Keep a clearance that is given now."""
        names = {**asdict(given), "answer": json.dumps(given.answer)}
        batch.connection.execute(sa.text(_KEEP), names)

    def use(self, batch: Batch, given: Given, *, placement_id: str, at: datetime) -> None:
        """Mark a clearance as used for a placement."""
        names = {"account_id": given.account_id, "clearance_id": given.clearance_id}
        batch.connection.execute(sa.text(_USE), {**names, "placement_id": placement_id, "at": at})

    def read_at(self, batch: Batch) -> dict[str, dict[str, int]]:
        """The position in each stream, by topic and partition, up to which everything is in the state."""
        positions: dict[str, dict[str, int]] = {}
        for topic, partition, position in batch.connection.execute(sa.text(_READ_AT)):
            positions.setdefault(topic, {})[str(partition)] = position
        return positions

    def is_held(self, batch: Batch, account_id: str) -> bool:
        """Whether an event of this account is in quarantine."""
        found = batch.connection.execute(sa.text(_HELD), {"account_id": account_id})
        return bool(found.scalar_one())


def _find(connection: sa.Connection, account_id: str, clearance_id: str) -> Given | None:
    names = {"account_id": account_id, "clearance_id": clearance_id}
    row = connection.execute(sa.text(_FIND), names).one_or_none()
    return Given(*row) if row is not None else None


_KEEP = """
INSERT INTO clearance (account_id, clearance_id, debt_id, agency_id, decision, outstanding, currency, decided_at,
                       expires_at, asked_by, answer)
VALUES (:account_id, :clearance_id, :debt_id, :agency_id, :decision, :outstanding, :currency, :decided_at,
        :expires_at, :asked_by, CAST(:answer AS jsonb))"""

_FIND = """
SELECT clearance_id, account_id, debt_id, agency_id, decision, outstanding, currency, decided_at, expires_at,
       asked_by, answer, placement_id, confirmed_at
FROM clearance WHERE account_id = :account_id AND clearance_id = :clearance_id"""

_ACCOUNT = "SELECT account_id FROM clearance WHERE clearance_id = :clearance_id"

_USE = """
UPDATE clearance SET placement_id = :placement_id, confirmed_at = :at
WHERE account_id = :account_id AND clearance_id = :clearance_id AND placement_id IS NULL"""

_READ_AT = """
SELECT p.topic, p.partition, p.position
FROM stream_position p JOIN stream s USING (topic, cluster_id, topic_id) ORDER BY p.topic, p.partition"""

_HELD = "SELECT EXISTS (SELECT FROM hold WHERE account_id = :account_id)"
