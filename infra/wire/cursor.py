"""Where a page of a list ends, as a text that whoever asked gives back to have the next one.

Used by the API and by the commands that list. What is in it is ours and may change: callers only carry it.
"""

from __future__ import annotations

import base64
from datetime import datetime

import orjson

CURSOR_MAX_CHARACTERS = 1_024
"""Two ids of 128 characters and an instant, in base64, with room for letters of three bytes."""


class CursorError(Exception):
    """The text is no cursor of ours."""


def encode_cursor(at: datetime, account_id: str, placement_id: str) -> str:
    """The text of a place in a list that is ordered by these."""
    text = orjson.dumps([at.isoformat(), account_id, placement_id])
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode_cursor(cursor: str) -> tuple[datetime, str, str]:
    """The place that a text stands for. Raises CursorError."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        value = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except ValueError as why:
        raise CursorError("must be a cursor as an answer gave it") from why
    match value:
        case [str(at), str(account_id), str(placement_id)] if "\0" not in account_id + placement_id:
            return _instant(at), account_id, placement_id
        case _:
            raise CursorError("must be a cursor as an answer gave it")


def _instant(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as why:
        raise CursorError("must be a cursor as an answer gave it") from why
    if at.tzinfo is None:
        raise CursorError("must be a cursor as an answer gave it")
    return at
