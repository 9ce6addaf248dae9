"""An account over HTTP, as it stands and as it went: every field as published, with all that was acknowledged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import httpx2
import pytest
import sqlalchemy as sa
from pydantic import BaseModel

from domain.recall import recall_id_of
from infra.postgres.database import Database
from infra.wire.answers import AccountState, Timeline
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, record, referral
from tests.serving import Clock, Json, as_published, problem

pytestmark = pytest.mark.parts

ANYWHERE = ("", "/timeline")


@pytest.fixture
def story(arrive: Arrive, clock: Clock) -> None:
    """A debt that was placed, paid and recalled, another that is owed, and an event in quarantine."""
    stated: Json = {"referral_id": "r-2", "amount": 5_00, "currency": "RUB", "as_of": day(0).isoformat()}
    other = record("collections.debt.referred.v1", at=day(1), debt_id="d-2", due_on="2026-10-03", **stated)
    arrive(referral(), other, placement(), payment(), now=day(4))
    acknowledged: Json = {"recall_id": recall_id_of(ACCOUNT, "l-1"), "placement_id": "l-1"}
    acknowledged["acknowledged_at"] = day(5).isoformat()
    arrive(record("agency.recall.acknowledged.v1", at=day(5), **acknowledged), now=day(5))
    arrive(replace(payment("p-2"), key=b"somebody-else"), now=day(5))
    clock.now = day(6)


def test_an_account_as_it_stands(story: None, caller: httpx2.Client) -> None:
    """Its debts, placements, recalls and holds, each field of the models and no other."""
    told = caller.get(f"/v1/accounts/{ACCOUNT}").json()

    as_published(AccountState, told)
    assert (told["account_id"], told["asked_at"], told["behind"]) == (ACCOUNT, day(6).isoformat(), None)
    assert [(one["debt_id"], one["outstanding"], one["settled_by"]) for one in told["debts"]] == [
        ("d-1", 0, "p-1"),
        ("d-2", 5_00, None),
    ]
    assert [one["clearance_now"]["decision"] for one in told["debts"]] == ["hold", "hold"]
    assert [(one["placement_id"], one["open"]) for one in told["placements"]] == [("l-1", False)]
    assert [(one["state"], one["acknowledged_at"]) for one in told["recalls"]] == [
        ("acknowledged", day(5).isoformat())
    ]
    assert [one["reason"] for one in told["holds"]] == ["KEY_MISMATCH"]


def test_what_happened_on_it(story: None, caller: httpx2.Client) -> None:
    """Oldest first, each by the event that said it."""
    told = caller.get(f"/v1/accounts/{ACCOUNT}/timeline").json()

    as_published(Timeline, told)
    lines = told["timeline"]
    assert [one["at"] for one in lines] == sorted(one["at"] for one in lines)
    assert {"p-1", "l-1"} <= {one["id"] for one in lines}
    assert any(recall_id_of(ACCOUNT, "l-1") in one["words"] or "recall" in one["words"] for one in lines)


def test_an_account_with_nothing_but_money(arrive: Arrive, caller: httpx2.Client) -> None:
    """It has no debt and no placement, and is told as published all the same."""
    arrive(payment(), now=day(4))

    account = caller.get(f"/v1/accounts/{ACCOUNT}").json()
    as_published(AccountState, account)
    as_published(Timeline, caller.get(f"/v1/accounts/{ACCOUNT}/timeline").json())
    assert (account["debts"], account["placements"], account["paid_debt_with_collector"]) == ([], [], False)


def test_a_clearance_and_its_placement_stand_in_it(arrive: Arrive, caller: httpx2.Client, clock: Clock) -> None:
    """What was asked for and confirmed is told like what came by the streams."""
    arrive(referral(), now=day(2))
    caller.post("/v1/clearances", json={"account_id": ACCOUNT, "debt_id": "d-1", "agency_id": "agency-1"})
    caller.post("/v1/clearances/clearance-1/confirm", json={"placement_id": "l-1"})
    clock.now += timedelta(hours=1)

    told = caller.get(f"/v1/accounts/{ACCOUNT}").json()
    as_published(AccountState, told)
    assert [one["clearance_id"] for one in told["placements"]] == ["clearance-1"]
    as_published(Timeline, caller.get(f"/v1/accounts/{ACCOUNT}/timeline").json())


def test_of_an_account_that_nobody_knows_nothing_is_told(caller: httpx2.Client, database: Database) -> None:
    """And where a stream is behind, that says little, and it is said."""
    for path in ANYWHERE:
        answer = caller.get(f"/v1/accounts/a-9{path}")
        assert problem(answer) == (404, "not-found")
        assert answer.json()["detail"] == "nothing is known of this account"
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'"))

    for path in ANYWHERE:
        answer = caller.get(f"/v1/accounts/a-9{path}")
        assert "what may be missing: billing.payments/0 is read up to -1 of " in answer.json()["detail"]


def test_where_a_stream_is_behind_it_is_said(arrive: Arrive, caller: httpx2.Client, database: Database) -> None:
    """What is known is told, and what may be missing."""
    arrive(referral(), now=day(2))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'"))

    models: dict[str, type[BaseModel]] = {"": AccountState, "/timeline": Timeline}
    for path, model in models.items():
        told = caller.get(f"/v1/accounts/{ACCOUNT}{path}").json()
        as_published(model, told)
        assert told["behind"].startswith("billing.payments/0 is read up to -1 of ")
