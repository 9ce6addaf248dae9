"""A clearance in its published form: what is said to who asked, and to who keeps the proof."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from domain.clearance import Answer, Code, Decision, Reason
from domain.policy import Policy
from infra.wire.clearances import FACTS_MAX, About, encode_clearance, encode_decision
from infra.wire.outgoing import Clearance, ClearanceDecided
from tests.builders import ACCOUNT, day, paid, recorded

ABOUT = About(ACCOUNT, "d-1", "agency-1")
POLICY = Policy(version="strict", sha256="5e" * 32, clearance_valid=timedelta(minutes=5))
HELD = Answer(Decision.HOLD, (Reason(Code.PLAN_ACTIVE, "By instalments.", ("plan i-1",)),), 85_00, "RUB")
UNKNOWN = Answer(Decision.REFUSE, (Reason(Code.DEBT_UNKNOWN, "No such debt."),), 0, "")
READ_AT = {"billing.payments": {"0": 4, "1": 0}}


def encoded(answer: Answer, *, shadow: bool = False) -> dict[str, object]:
    """The answer of day 3."""
    return encode_clearance("c-1", ABOUT, answer, POLICY, decided_at=day(3), read_at=READ_AT, shadow=shadow)


def test_a_clearance_is_said_under_the_contracts_names() -> None:
    """All of an answer, with amounts in minor units and instants with their offset."""
    expected = {
        "clearance_id": "c-1",
        "decision": "hold",
        "reasons": [{"code": "PLAN_ACTIVE", "message": "By instalments.", "evidence": ["plan i-1"]}],
        "account_id": "a-1",
        "debt_id": "d-1",
        "agency_id": "agency-1",
        "outstanding": 85_00,
        "currency": "RUB",
        "decided_at": "2026-11-05T09:00:00+00:00",
        "expires_at": "2026-11-05T09:05:00+00:00",
        "policy": {"version": "strict", "sha256": "5e" * 32},
        "shadow": False,
        "read_at": {"billing.payments": {"0": 4, "1": 0}},
    }

    assert expected == encoded(HELD)


@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("answer", [HELD, UNKNOWN], ids=["hold", "unknown"])
def test_a_clearance_has_the_fields_of_its_model(answer: Answer, shadow: bool) -> None:
    """In the model's order and with values that it takes; nothing of it is lost on the way."""
    body = json.loads(json.dumps(encoded(answer, shadow=shadow)))

    read = Clearance.model_validate(body)

    assert list(body) == list(Clearance.model_fields)
    assert (read.shadow, read.outstanding, read.currency) == (shadow, answer.outstanding, answer.currency)
    assert (read.decided_at, read.expires_at) == (day(3), day(3) + timedelta(minutes=5))
    assert [(one.code, one.message, tuple(one.evidence)) for one in read.reasons] == [
        (one.code, one.message, one.evidence) for one in answer.reasons
    ]


@pytest.mark.parametrize(
    ("known", "named"), [(0, range(0)), (3, range(3)), (FACTS_MAX + 2, range(2, FACTS_MAX + 2))], ids=str
)
def test_a_decision_names_the_latest_facts(known: int, named: range) -> None:
    """Oldest first, whatever order they are given in; where there are too many it says how many there were."""
    facts = [recorded(paid(), day(1) + timedelta(seconds=n), event_id=f"e-{n}") for n in reversed(range(known))]

    record = encode_decision(encoded(HELD), facts, asked_by="anna")

    event = json.loads(record.value)
    read = ClearanceDecided.model_validate(event["data"])
    assert [f"e-{number}" for number in named] == [fact.id for fact in read.facts]
    assert (known, "anna") == (read.facts_in_all, read.asked_by)
    assert list(event["data"]) == list(ClearanceDecided.model_fields)
    assert ("guard.decisions", ACCOUNT.encode(), "c-1") == (record.topic, record.key, event["id"])
