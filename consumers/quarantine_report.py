"""Events in quarantine as lines for people and as data for programs.

Called by the command `quarantine`. Only `show` gives an event's bytes, since they may hold a customer's data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from infra.postgres.quarantine import Held


def list_in_words(page: Sequence[Held], *, waiting: int, more: str) -> Iterator[str]:
    """A page of what waits; `more` is the command that shows the next one, where there is one."""
    yield f"waiting in quarantine: {waiting}"
    for held in page:
        yield f"{held.quarantine_id:>8}  {held.reason}  {_place(held)}  {_accounts(held)}"
    if more:
        yield f"-> {more}"


def list_as_json(page: Sequence[Held], *, waiting: int, after: int | None) -> dict[str, object]:
    """A page of what waits; `next` is what to ask from behind for the next one."""
    return {"waiting": waiting, "events": [_summary(held) for held in page], "next": after}


def show_in_words(held: Held) -> Iterator[str]:
    """One event in full, with its bytes."""
    yield f"event {held.quarantine_id}, {_state(held)}"
    yield f"  reason    {held.reason}: {held.detail}"
    yield f"  from      {_place(held)}, received {held.raw.origin.received_at.isoformat()}"
    yield f"  since     {held.quarantined_at.isoformat()}, tried again {held.attempts} times"
    yield f"  accounts  {_accounts(held)}"
    if held.dropped is not None:
        yield f"  dropped   by {held.dropped.by}, {held.dropped.at.isoformat()}: {held.dropped.reason}"
    yield f"  key       {_bytes_in_words(held.raw.key)}"
    for name, value in held.raw.headers:
        yield f"  header    {_bytes_in_words(name.encode())}: {_bytes_in_words(value)}"
    yield f"  value     {_bytes_in_words(held.raw.value)}"


def show_as_json(held: Held) -> dict[str, object]:
    """One event in full; bytes that are not plain text stand as hex."""
    dropped = held.dropped
    return {
        **_summary(held),
        "detail": held.detail,
        "state": _state(held),
        "received_at": held.raw.origin.received_at.isoformat(),
        "attempts": held.attempts,
        "applied_at": held.applied_at.isoformat() if held.applied_at else None,
        "dropped": {"at": dropped.at.isoformat(), "by": dropped.by, "reason": dropped.reason} if dropped else None,
        "key": _bytes_as_json(held.raw.key),
        "headers": [[name, _bytes_as_json(value)] for name, value in held.raw.headers],
        "value": _bytes_as_json(held.raw.value),
    }


def _summary(held: Held) -> dict[str, object]:
    origin = held.raw.origin
    return {
        "quarantine_id": held.quarantine_id,
        "reason": held.reason,
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "quarantined_at": held.quarantined_at.isoformat(),
        "accounts": list(held.accounts),
    }


def _state(held: Held) -> str:
    if held.applied_at is not None:
        return "applied"
    return "dropped" if held.dropped is not None else "waiting"


def _place(held: Held) -> str:
    origin = held.raw.origin
    return f"{origin.topic}/{origin.partition} at {origin.offset}"


def _accounts(held: Held) -> str:
    if not held.accounts:
        return "no account known"
    verb = "holds" if _state(held) == "waiting" else "held"
    return f"{verb} {', '.join(held.accounts)}"


def _text(value: bytes) -> str | None:
    """Bytes as text, where they are nothing but; what could steer a terminal is none."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if all(one.isprintable() or one in "\n\t" for one in text) else None


def _bytes_in_words(value: bytes | None) -> str:
    if value is None:
        return "none"
    text = _text(value)
    return text if text is not None else f"hex {value.hex()}"


def _bytes_as_json(value: bytes | None) -> dict[str, str] | None:
    if value is None:
        return None
    text = _text(value)
    return {"text": text} if text is not None else {"hex": value.hex()}
