"""Who is signed in at the console: of each session only the hash of its secret is kept, as of the keys.

Called by the console. A session ends by itself, by its holder, or with the key that it was opened by; the record of
it stays until the sweep takes it away.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.access import Scope
from infra.postgres.database import Database

SECRET_BYTES = 32
SECRET_MAX_CHARACTERS = 64
"""Ours have 43."""

SEEN_EVERY = timedelta(minutes=1)
"""How exactly it is kept when a session was last used: not every page need be a write."""


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is signed in, and what they may do."""

    name: str
    signed_by: str
    scopes: frozenset[Scope]
    expires_at: datetime


class Sessions:
    """The sessions in one database."""

    def __init__(self, database: Database, *, lasts: timedelta, idle: timedelta) -> None:
        """`lasts`: from sign-in to the end at the latest; `idle`: without a page seen."""
        self._database = database
        self._lasts = lasts
        self._idle = idle

    def open(
        self, *, name: str, signed_by: str, key_id: str | None, scopes: Iterable[Scope], now: datetime
    ) -> tuple[str, Session]:
        """A new session, behind the secret by which its holder is known again."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        session = Session(name, signed_by, frozenset(scopes), now + self._lasts)
        values = {
            "hash": _hash(secret),
            "name": name,
            "signed_by": signed_by,
            "key_id": key_id,
            "scopes": sorted(session.scopes),
            "now": now,
            "expires_at": session.expires_at,
        }
        with self._database.transaction() as connection:
            connection.execute(sa.text(_OPEN), values)
        return secret, session

    def of(self, secret: str, now: datetime) -> Session | None:
        """Whose session this is; None where it is none, has ended, or its key was revoked."""
        if not secret or len(secret) > SECRET_MAX_CHARACTERS:
            return None
        names = {"hashes": [_hash(secret)], "now": now, "idle": self._idle}
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_OF), names).one_or_none()
            if row is None:
                return None
            if row.seen_at < now - SEEN_EVERY:
                connection.execute(sa.text(_SEEN), {"hash": _hash(secret), "now": now})
        return Session(row.name, row.signed_by, frozenset(map(Scope, row.scopes)), row.expires_at)

    def standing(self, secrets: Collection[str], now: datetime) -> frozenset[str]:
        """Those of these secrets whose sessions stand. A page that renews itself is not somebody who uses one."""
        by_hash = {_hash(secret): secret for secret in secrets}
        names = {"hashes": list(by_hash), "now": now, "idle": self._idle}
        with self._database.transaction() as connection:
            return frozenset(by_hash[bytes(row.hash)] for row in connection.execute(sa.text(_OF), names))

    def end(self, secret: str, now: datetime) -> None:
        """End a session."""
        with self._database.transaction() as connection:
            connection.execute(sa.text(_END), {"hash": _hash(secret), "now": now})

    def forget(self, before: datetime) -> int:
        """Take away sessions that were over before an instant; how many."""
        with self._database.transaction() as connection:
            return connection.execute(sa.text(_FORGET), {"before": before}).rowcount


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


_OPEN = """
INSERT INTO console_session (hash, name, signed_by, key_id, scopes, created_at, seen_at, expires_at)
VALUES (:hash, :name, :signed_by, :key_id, :scopes, :now, :now, :expires_at)"""

# A key that was revoked, or never was, opens nothing any more; who came by the provider has none.
_OF = """
SELECT s.hash, s.name, s.signed_by, s.scopes, s.seen_at, s.expires_at FROM console_session s
WHERE s.hash = ANY(:hashes) AND s.ended_at IS NULL AND s.expires_at > :now
  AND s.seen_at > :now - CAST(:idle AS interval)
  AND (s.key_id IS NULL OR EXISTS (
      SELECT FROM api_key k WHERE k.key_id = s.key_id AND k.revoked_at IS NULL))"""

_SEEN = "UPDATE console_session SET seen_at = :now WHERE hash = :hash AND seen_at < :now"

_END = "UPDATE console_session SET ended_at = :now WHERE hash = :hash AND ended_at IS NULL"

_FORGET = "DELETE FROM console_session WHERE expires_at < :before OR ended_at < :before"
"""Sessions tell nothing of customers; what was done in them is in the record."""
