"""The bytes of the events of cases, as they came: kept in the commit of their rows in the ledger, for the proof.

Called by `ledger.Batch` for events that are new, and read by `infra.postgres.evidence`. Of accounts without a case
nothing is kept: what came before an account had one is read back from Kafka, as far as the log still has it. The
sweep forgets only accounts without a case, so nothing here outlives its row, nor the other way round.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Protocol

import orjson
import sqlalchemy as sa

from domain.events import RawRecord
from infra.postgres.database import raw


class Came(Protocol):
    """An event of an account, and the record that it came in."""

    account_id: str
    raw: RawRecord


def keep(connection: sa.Connection, events: Iterable[tuple[bytes, Came]]) -> None:
    """Keep the bytes of these, each with its key in the ledger; in one statement, and none where there are none."""
    rows = "".join(_row(event_key, came) for event_key, came in events)
    if rows:
        with raw(connection).cursor() as cursor:
            cursor.copy_expert(_COPY, io.StringIO(rows))


def _row(event_key: bytes, came: Came) -> str:
    """A line for COPY; what came by HTTP has no key, and an event always has a value."""
    key = came.raw.key
    # A name may hold the one character that jsonb refuses.
    headers = [[name.replace("\0", ""), value.hex()] for name, value in came.raw.headers]
    row = (
        f"{came.account_id}\t{event_key.hex()}\t{_bytea(key) if key is not None else ''}"
        f"\t{_bytea(came.raw.value or b'')}\t{orjson.dumps(headers).decode()}\n"
    )
    return row.replace("\\", "\\\\")


def _bytea(value: bytes) -> str:
    return f"\\x{value.hex()}"


# These events were new a moment ago, and their accounts are locked: none of them is there yet.
_COPY = "COPY received (account_id, event_key, key, value, headers) FROM STDIN WITH (NULL '')"
