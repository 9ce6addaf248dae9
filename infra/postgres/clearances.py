"""The clearances that were given: each is kept with its whole answer, and with the placement it was used for.

Called by `clear`, in the transaction in which it has locked the accounts. Clearances are asked for and kept in
sets, as the questions come: a constant number of statements for any number of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.postgres.database import Database
from infra.postgres.ledger import Batch, cached_text, json_rows


@dataclass(frozen=True, slots=True)
class Given:
    """A clearance as it was given; `placement_id` and `confirmed_at` are None until it is used.

    `shadow`: nobody has to keep to it.
    """

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
    shadow: bool
    answer: Mapping[str, object]
    placement_id: str | None = None
    confirmed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """A clearance, the placement that it is used for, and since when that is with the agency."""

    given: Given
    placement_id: str
    placed_at: datetime


class Clearances:
    """The clearances in one database; what is given or used is so in the transaction of a batch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts_of(self, clearance_ids: Iterable[str]) -> dict[str, str]:
        """The account that each of these clearances is of; those that were never given are missing."""
        with self._database.transaction() as connection:
            rows = connection.execute(cached_text(_ACCOUNTS), {"ids": list(clearance_ids)})
            return {row[0]: row[1] for row in rows}

    def look(self, clearance_id: str) -> Given | None:
        """A clearance, with what it was used for; None where there is none."""
        account_id = self.accounts_of([clearance_id]).get(clearance_id)
        if account_id is None:
            return None
        with self._database.transaction() as connection:
            return _find(connection, [(account_id, clearance_id)]).get(clearance_id)

    def find(self, batch: Batch, wanted: Iterable[tuple[str, str]]) -> dict[str, Given]:
        """Clearances by their id, of accounts that the batch has locked; each is wanted by account and id."""
        return _find(batch.connection, list(wanted))

    def keep(self, batch: Batch, given: Sequence[Given]) -> None:
        """Keep the clearances that are given now."""
        rows = ({name: getattr(one, name) for name in _KEPT} for one in given)
        batch.connection.execute(cached_text(_KEEP), {"rows": json_rows(rows)})

    def use(self, batch: Batch, used: Sequence[Used]) -> None:
        """Mark clearances as used."""
        rows = [
            {
                "account_id": one.given.account_id,
                "clearance_id": one.given.clearance_id,
                "placement_id": one.placement_id,
                "confirmed_at": one.placed_at,
            }
            for one in used
        ]
        batch.connection.execute(cached_text(_USE), {"rows": json_rows(rows)})

    def read_at(self, batch: Batch) -> dict[str, dict[str, int]]:
        """The position in each stream, by topic and partition, up to which everything is in the state."""
        positions: dict[str, dict[str, int]] = {}
        for topic, partition, position in batch.connection.execute(cached_text(_READ_AT)):
            positions.setdefault(topic, {})[str(partition)] = position
        return positions

    def held(self, batch: Batch, account_ids: Iterable[str]) -> dict[str, tuple[int, ...]]:
        """Those of these accounts of which events are in quarantine, with the ids of these."""
        rows = batch.connection.execute(cached_text(_HELD), {"accounts": list(account_ids)})
        return {row[0]: tuple(row[1]) for row in rows}


_KEPT = tuple(one.name for one in fields(Given) if one.name not in {"placement_id", "confirmed_at"})
"""What is kept of a clearance when it is given."""


def _find(connection: sa.Connection, wanted: Sequence[tuple[str, str]]) -> dict[str, Given]:
    names = {"accounts": [account for account, _ in wanted], "ids": [clearance for _, clearance in wanted]}
    return {row[0]: _given(row) for row in connection.execute(cached_text(_FIND), names)}


def _given(row: sa.Row[*tuple[Any, ...]]) -> Given:  # `Any`: a row is untyped.
    return Given(*row)


_KEEP = """
INSERT INTO clearance (account_id, clearance_id, debt_id, agency_id, decision, outstanding, currency, decided_at,
                       expires_at, asked_by, shadow, answer)
SELECT account_id, clearance_id, debt_id, agency_id, decision, outstanding, currency, decided_at, expires_at,
       asked_by, shadow, answer
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, clearance_id text, debt_id text, agency_id text, decision text, outstanding bigint,
    currency text, decided_at timestamptz, expires_at timestamptz, asked_by text, shadow boolean, answer jsonb)"""

# By its account too, which is what the rows are kept by.
_FIND = """
SELECT clearance_id, account_id, debt_id, agency_id, decision, outstanding, currency, decided_at, expires_at,
       asked_by, shadow, answer, placement_id, confirmed_at
FROM unnest(CAST(:accounts AS text[]), CAST(:ids AS text[])) AS wanted (account_id, clearance_id)
JOIN clearance USING (account_id, clearance_id)"""

_ACCOUNTS = "SELECT clearance_id, account_id FROM clearance WHERE clearance_id = ANY(:ids)"

_USE = """
UPDATE clearance c SET placement_id = r.placement_id, confirmed_at = r.confirmed_at
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, clearance_id text, placement_id text, confirmed_at timestamptz)
WHERE c.account_id = r.account_id AND c.clearance_id = r.clearance_id AND c.placement_id IS NULL"""

_READ_AT = """
SELECT p.topic, p.partition, p.position
FROM stream_position p JOIN stream s USING (topic, cluster_id, topic_id) ORDER BY p.topic, p.partition"""

_HELD = """
SELECT account_id, array_agg(quarantine_id ORDER BY quarantine_id) FROM hold
WHERE account_id = ANY(:accounts) GROUP BY account_id"""
"""Served by the primary key, which begins with the account."""
