"""Recalls over HTTP: listed page by page, ordered by hand, sent again, taken over."""

from __future__ import annotations

import httpx2
import pytest
import sqlalchemy as sa

from domain.recall import recall_id_of
from infra.postgres.database import Database
from infra.postgres.records import Records
from infra.wire.answers import RecallListed, RecallOrdered, RecallPage, RecallResent
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, referral, told
from tests.serving import Json, as_published, problem

pytestmark = pytest.mark.parts

RECALL = recall_id_of(ACCOUNT, "l-1")
ORDER = {"reason": "the wrong customer", "requested_by": "the desk"}
TAKE_OVER = {"by": "Vera", "reason": "they call back"}


def test_a_recall_is_ordered_by_hand(caller: httpx2.Client, arrive: Arrive) -> None:
    """It has an id and a clock at once; ordered again it is the same, and the account's story has it."""
    arrive(referral(), placement())

    first = caller.post("/v1/placements/l-1/recall", json=ORDER)
    again = caller.post("/v1/placements/l-1/recall", json=ORDER | {"account_id": ACCOUNT})

    for answer, is_new in ((first, True), (again, False)):
        as_published(RecallOrdered, answer.json())
        assert answer.status_code == 202
        told = [answer.json()[name] for name in ("recall_id", "state", "acknowledge_by", "requested_by", "is_new")]
        assert told == [RECALL, "requested", "2026-11-05T10:00:00+00:00", "the desk", is_new]
    (recall,) = caller.get(f"/v1/accounts/{ACCOUNT}").json()["recalls"]
    assert (recall["reason"], recall["cause"]) == ("MANUAL", "manual")
    words = [one["words"] for one in caller.get(f"/v1/accounts/{ACCOUNT}/timeline").json()["timeline"]]
    assert "the desk ordered the recall of placement l-1: the wrong customer" in words


def test_what_can_t_be_ordered_is_a_problem(caller: httpx2.Client, arrive: Arrive) -> None:
    """Of no placement, of two, of one that has ended, and with a body that is not right."""
    closed = {"placement_id": "l-2", "closed_at": day(3).isoformat()}
    arrive(referral(), placement(), referral(account_id="a-2"), placement(account_id="a-2"))
    arrive(placement("l-2"), told("collections.placement.closed.v1", closed, at=day(3)))
    refused: list[tuple[str, Json, tuple[int, str]]] = [
        ("/v1/placements/l-9/recall", ORDER, (404, "not-found")),
        ("/v1/placements/l-1/recall", ORDER, (409, "placement-ambiguous")),
        ("/v1/placements/l-2/recall", ORDER, (409, "placement-closed")),
        ("/v1/placements/l-1/recall", {}, (422, "invalid")),
        ("/v1/placements/l-1/recall", ORDER | {"reason": ""}, (422, "invalid")),
        ("/v1/placements/l-1/recall", ORDER | {"why": "?"}, (422, "invalid")),
        (f"/v1/recalls/{RECALL}/take-over", TAKE_OVER, (404, "not-found")),
        (f"/v1/recalls/{RECALL}/resend", {"by": "Vera"}, (404, "not-found")),
    ]

    assert [problem(caller.post(path, json=body)) for path, body, _ in refused] == [one[2] for one in refused]
    assert caller.post("/v1/placements/l-1/recall", json=ORDER | {"account_id": "a-2"}).status_code == 202


def test_an_order_can_t_be_sent_as_an_event(caller: httpx2.Client) -> None:
    """Whoever may send events may not order a recall by that."""
    data = {"placement_id": "l-1", "ordered_at": day(3).isoformat(), **ORDER}
    ordered = told("agency.contact.made.v1", data, at=day(3))
    body = (ordered.value or b"").replace(b"agency.contact.made.v1", b"guard.recall.ordered.v1")

    answer = caller.post("/v1/events", content=body, headers={"Content-Type": "application/cloudevents+json"})

    assert problem(answer) == (422, "invalid")
    assert answer.json()["reason"] == "WRONG_TOPIC"


def test_a_recall_is_sent_again_and_taken_over(caller: httpx2.Client, arrive: Arrive, database: Database) -> None:
    """What waits is not sent twice; who took a recall over first has it, until it is over."""
    arrive(referral(), placement(), payment())

    waiting = caller.post(f"/v1/recalls/{RECALL}/resend", json={"by": "Vera"})
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at"), {"at": day(9)})
    resent = caller.post(f"/v1/recalls/{RECALL}/resend", json={"by": "Vera"})
    taken = [caller.post(f"/v1/recalls/{RECALL}/take-over", json=TAKE_OVER | {"by": by}) for by in ("Vera", "Oleg")]
    answer = {"recall_id": RECALL, "placement_id": "l-1", "acknowledged_at": day(9).isoformat()}
    arrive(told("agency.recall.acknowledged.v1", answer, at=day(9)))
    over = caller.post(f"/v1/recalls/{RECALL}/take-over", json=TAKE_OVER)

    for one, expected in ((waiting, False), (resent, True)):
        as_published(RecallResent, one.json())
        assert (one.status_code, one.json()["resent"]) == (202, expected)
    for one in taken:
        as_published(RecallListed, one.json())
        assert (one.status_code, one.json()["state"], one.json()["taken_over_by"]) == (200, "taken_over", "Vera")
    assert problem(over) == (409, "recall-over")
    record = [(one.name, one.target, one.outcome) for one in Records(database).newest(limit=9)]
    assert record == [("Vera", RECALL, "resent"), ("Vera", RECALL, "waits")]


def test_recalls_are_listed_page_by_page(caller: httpx2.Client, arrive: Arrive, database: Database) -> None:
    """All of them, each once, in the order of their requests; and those that are asked for."""
    for number in range(5):
        account_id = f"a-{number}"
        arrive(referral(account_id=account_id), placement(account_id=account_id), payment(account_id=account_id))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE recall SET overdue_at = :at WHERE account_id = 'a-3'"), {"at": day(9)})

    def listed(limit: int, **wanted: str) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = caller.get("/v1/recalls", params={"limit": str(limit), **wanted, **cursor})
            as_published(RecallPage, answer.json())
            found += [one["account_id"] for one in answer.json()["recalls"]]
            if (following := answer.json()["next_cursor"]) is None:
                return found
            cursor = {"cursor": following}

    everyone = [f"a-{number}" for number in range(5)]
    assert [listed(limit) for limit in (1, 2, 5, 500)] == [everyone] * 4
    assert listed(2, state="overdue") == listed(2, overdue="true") == ["a-3"]
    assert listed(2, state="requested", agency_id="agency-1") == [one for one in everyone if one != "a-3"]
    assert listed(2, agency_id="agency-2") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "lost"),
        ("limit", "0"),
        ("limit", "501"),
        ("cursor", "x"),
        ("cursor", "WyJhIl0"),
        ("agency_id", "a b"),
    ],
)
def test_what_can_t_be_listed_is_a_problem(caller: httpx2.Client, name: str, value: str) -> None:
    """The detail names the parameter."""
    answer = caller.get("/v1/recalls", params={name: value})

    assert problem(answer) == (422, "invalid")
    assert name in answer.json()["detail"]
