"""What the guard says, as CloudEvents in structured mode: the one place where outgoing names are written.

Called by the consumers when they save what was decided; the bytes are stored and sent as they are here.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from domain.events import PlacementOpened, RawRecord, RecallOrdered
from domain.recall import (
    BalanceReduced,
    Message,
    PlacementResumed,
    PlacementSuspended,
    RecallRequested,
)
from infra.wire.kinds import QUARANTINE, RECALLS

SOURCE = "handoff-guard"

COPY_MAX_BYTES = 900_000
"""Of a record that is copied whole: below the 1 MiB that brokers and our producer take, less our own headers."""

_MESSAGES = UUID("2a3e3f0c-0a3b-4b7e-9d0a-4d1f0c6f2f55")
"""The name space of outgoing event ids (RFC 9562, version 5)."""

_STRUCTURED = ("content-type", b"application/cloudevents+json")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to publish: where, under which key, and its bytes. `placement_id` keeps them in order."""

    account_id: str
    placement_id: str
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    agency_id: str | None = None


def encode(message: Message, *, traceparent: str | None = None) -> Outgoing:
    """The record that tells this message to an agency."""
    kind, at, data = _payload(message)
    opened = message.placement
    name = f"{opened.account_id}\n{opened.placement_id}\n{kind}\n{at.isoformat()}"
    event = {
        "specversion": "1.0",
        "id": data.get("recall_id") or str(uuid5(_MESSAGES, name)),
        "source": SOURCE,
        "type": kind,
        "time": at.isoformat(),
        "subject": opened.account_id,
        "datacontenttype": "application/json",
        "data": data,
    }
    headers: tuple[tuple[str, bytes], ...] = (_STRUCTURED,)
    if traceparent:
        event["traceparent"] = traceparent
        headers = (_STRUCTURED, ("traceparent", traceparent.encode("ascii", "replace")))
    value = json.dumps(event, separators=(",", ":")).encode()
    return Outgoing(
        account_id=opened.account_id,
        placement_id=opened.placement_id,
        topic=RECALLS,
        key=opened.placement_id.encode(),
        value=value,
        headers=headers,
        agency_id=opened.agency_id,
    )


def _payload(message: Message) -> tuple[str, datetime, dict[str, object]]:
    opened = message.placement
    episode: dict[str, object] = {"placement_id": opened.placement_id, "agency_id": opened.agency_id}
    debt = {"debt_id": opened.debt_id, "account_id": opened.account_id}
    match message:
        case RecallRequested():
            return "guard.recall.requested.v1", message.requested_at, {**episode, **debt, **_recall(message)}
        case BalanceReduced():
            owed = {"outstanding": message.outstanding, "currency": message.currency}
            data = {**episode, **debt, **owed, "as_of": message.as_of.isoformat()}
            return "guard.balance.reduced.v1", message.as_of, data
        case PlacementSuspended():
            data = {**episode, "reason": message.reason, "at": message.at.isoformat()}
            return "guard.placement.suspended.v1", message.at, data
        case PlacementResumed():
            data = {**episode, "reason": message.reason, "at": message.at.isoformat()}
            return "guard.placement.resumed.v1", message.at, data


def _recall(message: RecallRequested) -> dict[str, object]:
    trigger, origin = message.trigger, message.trigger.origin
    return {
        "recall_id": message.recall_id,
        "reason": message.reason,
        "cause": message.cause,
        "outstanding": message.outstanding,
        "currency": message.currency,
        "requested_at": message.requested_at.isoformat(),
        "acknowledge_by": message.acknowledge_by.isoformat(),
        "trigger": {
            "source": trigger.source,
            "id": trigger.id,
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "paid_at": message.paid_at.isoformat() if message.paid_at else None,
        },
    }


def encode_quarantined(raw: RawRecord, reason: str, account_id: str) -> Outgoing:
    """The record that shows a bad one to whoever watches `guard.quarantine`: its bytes as they came.

    One that is nearly as large as a broker takes would not pass with what is added here, so its copy says only how
    large it is; its bytes are in the table.
    """
    origin = raw.origin
    size_bytes = _size_bytes(raw)
    key, value, received = raw.key or b"", raw.value or b"", raw.headers
    if size_bytes > COPY_MAX_BYTES:
        key, value, received = account_id.encode(), b"", (("guard_omitted_bytes", str(size_bytes).encode()),)
    headers = (
        *received,
        ("guard_reason", reason.encode()),
        ("guard_origin_topic", origin.topic.encode()),
        ("guard_origin_partition", str(origin.partition).encode()),
        ("guard_origin_offset", str(origin.offset).encode()),
    )
    return Outgoing(account_id, "", QUARANTINE, key, value, headers)


def _size_bytes(raw: RawRecord) -> int:
    headers = sum(len(name.encode(errors="replace")) + len(value) for name, value in raw.headers)
    return len(raw.key or b"") + len(raw.value or b"") + headers


def encode_placement(opened: PlacementOpened, *, source: str) -> dict[str, object]:
    """A placement as the event that collections would send for it; `source` says who speaks."""
    data = {
        "account_id": opened.account_id,
        "placement_id": opened.placement_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "amount": opened.amount,
        "currency": opened.currency,
        "placed_at": opened.placed_at.isoformat(),
    }
    if opened.clearance_id:
        data["clearance_id"] = opened.clearance_id
    return {
        "specversion": "1.0",
        "id": opened.placement_id,
        "source": source,
        "type": "collections.placement.opened.v1",
        "time": opened.placed_at.isoformat(),
        "subject": opened.account_id,
        "data": data,
    }


def encode_order(ordered: RecallOrdered, *, event_id: str) -> dict[str, object]:
    """A recall that a person orders, as an event of our own."""
    return {
        "specversion": "1.0",
        "id": event_id,
        "source": SOURCE,
        "type": "guard.recall.ordered.v1",
        "time": ordered.ordered_at.isoformat(),
        "subject": ordered.account_id,
        "data": {
            "account_id": ordered.account_id,
            "placement_id": ordered.placement_id,
            "reason": ordered.reason,
            "requested_by": ordered.requested_by,
            "ordered_at": ordered.ordered_at.isoformat(),
        },
    }
