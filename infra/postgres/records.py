"""The record of what people read of customers and ordered at the console: who, when, what, and why. It only grows.

Called by the console, and by the API for an order that is kept nowhere else; read by its page of the
record and by `handoff-guard record`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from infra.postgres.database import Database


class Act(StrEnum):
    """What a person did."""

    ACCOUNT_READ = "account.read"
    EVENT_READ = "event.read"
    MESSAGE_READ = "message.read"
    RECALL_READ = "recall.read"
    RECALL_ORDERED = "recall.ordered"
    RECALL_RESENT = "recall.resent"
    RECALL_TAKEN_OVER = "recall.taken_over"
    CONFIRMATION_TAKEN = "confirmation.taken"
    EVENT_REQUEUED = "event.requeued"
    EVENT_DROPPED = "event.dropped"
    SIGNED_IN = "signed_in"
    SIGNED_OUT = "signed_out"


@dataclass(frozen=True, slots=True)
class Record:
    """One act. `outcome` is what came of it, in a word."""

    at: datetime
    name: str
    signed_by: str
    act: Act
    account_id: str = ""
    target: str = ""
    reason: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Kept(Record):
    """An act as it is kept, by its number: a later one has a greater."""

    record_id: int = 0


class Records:
    """The record in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, record: Record) -> None:
        """Write an act down. What is read is shown only once this has returned."""
        values = {name: getattr(record, name) for name in Record.__slots__}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_KEEP), values)

    def newest(self, *, account_id: str | None = None, before: int | None = None, limit: int) -> Sequence[Kept]:
        """The newest acts, the newest first; of one account where it is given, from behind a number."""
        names = {"account_id": account_id, "before": before, "limit": limit}
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_NEWEST), names)
            return [Kept(row[0], row[1], row[2], Act(row[3]), *row[4:]) for row in rows]


_KEEP = """
INSERT INTO console_record (at, name, signed_by, act, of_account, target, reason, outcome)
VALUES (:at, :name, :signed_by, :act, :account_id, :target, :reason, :outcome)"""

_NEWEST = """
SELECT at, name, signed_by, act, of_account, target, reason, outcome, record_id FROM console_record
WHERE (CAST(:account_id AS text) IS NULL OR (of_account = :account_id AND of_account <> ''))
  AND (CAST(:before AS bigint) IS NULL OR record_id < :before)
ORDER BY record_id DESC LIMIT :limit"""
