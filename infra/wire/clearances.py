"""A clearance as collections get it, and as it is published: the one place where its names are written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.clearance import Answer
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
) -> dict[str, object]:
    """The answer to a question, under the contract's names."""
    return {
        "clearance_id": clearance_id,
        "decision": answer.decision,
        "reasons": [
            {"code": one.code, "message": one.message, "evidence": list(one.evidence)} for one in answer.reasons
        ],
        "account_id": about.account_id,
        "debt_id": about.debt_id,
        "agency_id": about.agency_id,
        "outstanding": answer.outstanding,
        "currency": answer.currency,
        "decided_at": decided_at.isoformat(),
        "expires_at": (decided_at + policy.clearance_valid).isoformat(),
        "policy": {"version": policy.version, "sha256": policy.sha256},
        "read_at": {topic: dict(partitions) for topic, partitions in read_at.items()},
    }


def encode_decision(clearance: Mapping[str, object], facts: Iterable[Recorded], *, asked_by: str) -> Outgoing:
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
    headers = (("content-type", b"application/cloudevents+json"),)
    value = json.dumps(event, separators=(",", ":")).encode()
    return Outgoing(account_id, "", DECISIONS, account_id.encode(), value, headers)
