"""Bytes as people may look at them: text where they are text, and nothing in them that acts.

Used by the pages that show what came and what was sent. A template escapes what it is given, so no byte becomes a
tag; here no byte becomes a control character or turns the direction of the text around it.
"""

from __future__ import annotations

from dataclasses import dataclass

EVENT_MAX_BYTES = 1_048_576
"""Of an event that is shown in full: the most that a broker takes by its default."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Bytes as text. `is_escaped`: some stand as `\\x00`; `cut_bytes` is how many are left out behind."""

    text: str
    is_escaped: bool
    cut_bytes: int


def shown(value: bytes, *, size: int | None = None) -> Shown:
    """The text of these bytes, which are the first of `size`."""
    text = value[:EVENT_MAX_BYTES].decode("utf-8", errors="surrogateescape").replace("\r\n", "\n")
    safe = "".join(map(_safe, text))
    return Shown(
        safe, safe != text, max(0, (len(value) if size is None else size) - min(len(value), EVENT_MAX_BYTES))
    )


def _safe(one: str) -> str:
    if one.isprintable() or one in "\n\t":
        return one
    if "\udc80" <= one <= "\udcff":  # A byte that is no UTF-8, as Python keeps it.
        return f"\\x{ord(one) - 0xDC00:02x}"
    return one.encode("unicode_escape").decode("ascii")
