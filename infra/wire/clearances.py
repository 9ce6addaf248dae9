"""A clearance as collections get it, and as it is published: the one place where its names are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from domain.clearance import Answer, Reason
from domain.events import Recorded
from domain.policy import Policy
from infra.wire.encode import SOURCE, Outgoing
from infra.wire.kinds import DECISIONS

FACTS_MAX = 1_000
"""Events named in a published decision; an account has tens, and a record 1 MiB."""


@dataclass(frozen=True, slots=True)
class About:
    """What was asked: may this debt of this account be placed with this agency?"""

    account_id: str
    debt_id: str
    agency_id: str


def encode_clearance(
    clearance_id: str,
    about: About,
    answer: Answer,
    policy: Policy,
    *,
    decided_at: datetime,
    read_at: Mapping[str, Mapping[str, int]],
    shadow: bool = False,
) -> dict[str, object]:
    """The answer to a question, under the contract's names."""
    return {
        "clearance_id": clearance_id,
        "decision": answer.decision,
        "reasons": encode_reasons(answer.reasons),
        "account_id": about.account_id,
        "debt_id": about.debt_id,
        "agency_id": about.agency_id,
        "outstanding": answer.outstanding,
        "currency": answer.currency,
        "decided_at": decided_at.isoformat(),
        "expires_at": (decided_at + policy.clearance_valid).isoformat(),
        "policy": {"version": policy.version, "sha256": policy.sha256},
        "shadow": shadow,
        "read_at": {topic: dict(partitions) for topic, partitions in read_at.items()},
    }


def encode_reasons(reasons: Iterable[Reason]) -> list[dict[str, object]]:
    """Reasons, under the contract's names."""
    return [{"code": one.code, "message": one.message, "evidence": list(one.evidence)} for one in reasons]


def encode_confirmation(
    clearance: Mapping[str, object], placement_id: str, placed_at: datetime
) -> dict[str, object]:
    """The placement that is registered under a clearance."""
    return {
        "clearance_id": clearance["clearance_id"],
        "placement_id": placement_id,
        "confirmed": True,
        "account_id": clearance["account_id"],
        "debt_id": clearance["debt_id"],
        "agency_id": clearance["agency_id"],
        "amount": clearance["outstanding"],
        "currency": clearance["currency"],
        "placed_at": placed_at.isoformat(),
        "shadow": clearance.get("shadow", False),
    }


def encode_decision(
    clearance: Mapping[str, object], facts: Iterable[Recorded], *, asked_by: str, traceparent: str | None = None
) -> Outgoing:
    """The record that tells this decision to whoever keeps the proof, with the events it was made on."""
    account_id = str(clearance["account_id"])
    named = [{"source": one.source, "id": one.id} for one in sorted(facts, key=lambda one: one.stamp)]
    event = {
        "specversion": "1.0",
        "id": clearance["clearance_id"],
        "source": SOURCE,
        "type": "guard.clearance.decided.v1",
        "time": clearance["decided_at"],
        "subject": account_id,
        "datacontenttype": "application/json",
        "data": {**clearance, "asked_by": asked_by, "facts": named[-FACTS_MAX:], "facts_in_all": len(named)},
    }
    headers: tuple[tuple[str, bytes], ...] = (("content-type", b"application/cloudevents+json"),)
    if traceparent:
        event["traceparent"] = traceparent
        headers = (*headers, ("traceparent", traceparent.encode()))
    value = orjson.dumps(event)
    return Outgoing(account_id, "", DECISIONS, account_id.encode(), value, headers)
