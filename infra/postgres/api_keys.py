"""The API keys: of each only the hash of its secret is kept, so that a copy of the database opens nothing.

Called by `keys` on the command line, and by the API to know its callers. A secret is 256 random bits, so one round
of SHA-256 is enough: there is nothing to guess that a slow hash would make slower.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.access import Caller, Scope
from infra.postgres.database import Database

PREFIX = "hg"
"""What every key begins with, so that a scanner for secrets can know it."""

KEY_ID_BYTES = 6
SECRET_BYTES = 32
KEY_MAX_CHARACTERS = 128
"""Of a whole key; ours have 59."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept. Revoked, it opens nothing any more."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    revoked_at: datetime | None
    revoked_by: str | None


@dataclass(frozen=True, slots=True)
class Lock:
    """What an active key's secret is compared with, and who comes in by it."""

    hash: bytes
    caller: Caller


class ApiKeys:
    """The keys in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, name: str, scopes: Iterable[Scope], *, by: str) -> tuple[ApiKey, str]:
        """A new key, and the text to give to its holder: it can't be had again."""
        key_id, secret = secrets.token_hex(KEY_ID_BYTES), secrets.token_urlsafe(SECRET_BYTES)
        names = {"key_id": key_id, "name": name, "hash": _hash(secret), "scopes": sorted(scopes), "by": by}
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_CREATE), names).one()
        return _key(row), f"{PREFIX}_{key_id}_{secret}"

    def revoke(self, key_id: str, *, by: str) -> ApiKey | None:
        """End a key; None where there is no active one of this id."""
        with self._database.transaction() as connection:
            row = connection.execute(sa.text(_REVOKE), {"key_id": key_id, "by": by}).one_or_none()
        return _key(row) if row is not None else None

    def all(self) -> list[ApiKey]:
        """Every key that was ever made, oldest first."""
        with self._database.transaction() as connection:
            return [_key(row) for row in connection.execute(sa.text(_ALL))]

    def active(self) -> dict[str, Lock]:
        """The keys that open, by their id."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_ACTIVE))
            return {
                key_id: Lock(bytes(stored), Caller(key_id, name, frozenset(map(Scope, scopes))))
                for key_id, name, stored, scopes in rows
            }


def opened_by(key: str, locks: dict[str, Lock]) -> Caller | None:
    """Who comes in with this key; None where it opens nothing."""
    if not is_formed(key):
        return None
    _, key_id, secret = key.split("_", 2)
    lock = locks.get(key_id)
    # Compared in the same time whatever differs.
    if lock is None or not secrets.compare_digest(lock.hash, _hash(secret)):
        return None
    return lock.caller


def is_formed(key: str) -> bool:
    """Whether a text looks like a key at all."""
    return len(key) <= KEY_MAX_CHARACTERS and key.startswith(f"{PREFIX}_") and key.count("_") > 1


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key(row: sa.Row[*tuple[Any, ...]]) -> ApiKey:  # `Any`: a row is untyped.
    key_id, name, scopes, created_at, created_by, revoked_at, revoked_by = row
    return ApiKey(key_id, name, tuple(scopes), created_at, created_by, revoked_at, revoked_by)


_COLUMNS = "key_id, name, scopes, created_at, created_by, revoked_at, revoked_by"

_CREATE = f"""
INSERT INTO api_key (key_id, name, hash, scopes, created_at, created_by)
VALUES (:key_id, :name, :hash, :scopes, clock_timestamp(), :by)
RETURNING {_COLUMNS}"""  # noqa: S608 # The columns are ours.

_REVOKE = f"""
UPDATE api_key SET revoked_at = clock_timestamp(), revoked_by = :by
WHERE key_id = :key_id AND revoked_at IS NULL
RETURNING {_COLUMNS}"""  # noqa: S608 # As above.

_ALL = f"SELECT {_COLUMNS} FROM api_key ORDER BY created_at, key_id"  # noqa: S608 # As above.

_ACTIVE = "SELECT key_id, name, hash, scopes FROM api_key WHERE revoked_at IS NULL"
