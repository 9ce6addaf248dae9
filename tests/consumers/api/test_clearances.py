"""Clearances over HTTP: asked for, looked at, and confirmed, with every way in which that can go wrong."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import cast
from urllib.parse import quote

import httpx2
import pytest
import sqlalchemy as sa

from infra.postgres.database import Database
from infra.wire.answers import KeptClearance, PlacementConfirmed
from infra.wire.outgoing import Clearance
from infra.wire.questions import NAME_MAX_CHARACTERS
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, record, referral
from tests.serving import Clock, Json, Ways, as_published, problem, serving

pytestmark = pytest.mark.parts

QUESTION: Json = {"account_id": ACCOUNT, "debt_id": "d-1", "agency_id": "agency-1"}

STATED: Json = {
    "referral_id": "r-1",
    "amount": 100_00,
    "currency": "RUB",
    "as_of": day(0).isoformat(),
    "due_on": "2026-10-03",
}
"""The debt as a question may state it."""


WRONG_STATEMENTS: list[tuple[Json, str]] = [
    ({"amount": "850"}, "referral.amount: "),
    ({"amount": 850.5}, "referral.amount: "),
    ({"amount": -1}, "referral.amount: "),
    ({"due_on": "2026-13-01"}, "referral.due_on: "),
    ({"debt_id": "d-2"}, "must be of the account and debt asked about"),
    ({"components": [{"kind": "principal", "amount": 1}]}, "components must add up to amount"),
    ({"contract_id": "\ud800"}, "referral.contract_id: "),
]
"""What a question may state wrong, and what the refusal says."""

WRONG_QUESTIONS: list[tuple[bytes, str]] = [
    (b"", "the body is empty"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b'{"account_id":"a","debt_id":"d"}', "agency_id: "),
    (b'{"account_id":"a","debt_id":"d","agency_id":"g","refferal":{}}', "refferal: "),
    (b'{"account_id":"a","debt_id":"d","agency_id":"g","debt_id":"e"}', "a name stands twice"),
    (b'{"account_id":"a","debt_id":"d","agency_id":"g","referral":{"amount":NaN}}', "NaN and Infinity"),
    (b'{"account_id":"a b","debt_id":"d","agency_id":"g"}', "account_id: "),
    (b'{"account_id":"a\\u0000","debt_id":"d","agency_id":"g"}', "account_id: "),
    (b'{"account_id":7,"debt_id":"d","agency_id":"g"}', "account_id: "),
    (b'{"account_id":"a","debt_id":"d","agency_id":"' + b"g" * 129 + b'"}', "agency_id: "),
    (
        b'{"account_id":"a","debt_id":"d","agency_id":"g","referral":' + b"[" * 400 + b"]" * 400 + b"}",
        "levels",
    ),
    (b"[" * 100_000, "levels"),
    (b'{"account_id":"\xff","debt_id":"d","agency_id":"g"}', "UTF-8"),
    (b'{"account_id":"a","debt_id":"d","agency_id":"g","\\ud800":1}', "valid string"),
]
"""What is no question, and what the refusal says."""


def ask(caller: httpx2.Client, **more: object) -> Json:
    """The answer to the question, with something more."""
    answer = caller.post("/v1/clearances", json={**QUESTION, **more})
    assert answer.status_code == 201, answer.text
    return cast("Json", answer.json())


def refused(caller: httpx2.Client, body: bytes) -> str:
    """What is wrong with a question that is not right."""
    answer = caller.post("/v1/clearances", content=body)
    assert problem(answer) == (422, "invalid")
    return str(answer.json()["detail"])


def confirm(caller: httpx2.Client, clearance_id: str, placement_id: str = "l-1", **more: object) -> httpx2.Response:
    """A placement under a clearance."""
    return caller.post(f"/v1/clearances/{clearance_id}/confirm", json={"placement_id": placement_id, **more})


def void(answer: httpx2.Response) -> tuple[str, list[str]]:
    """Why a clearance can't be used, and the codes of the reasons."""
    assert problem(answer) == (409, "clearance-void")
    return answer.json()["detail"], [one["code"] for one in answer.json()["reasons"]]


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


class TestAsk:
    """`POST /v1/clearances`."""

    def test_the_answer_is_as_published_kept_and_in_the_outbox(
        self, arrive: Arrive, caller: httpx2.Client, database: Database
    ) -> None:
        """With every field of its model and no other, under the key that asked."""
        arrive(referral(), payment(amount=40_00, paid_at=day(1)), now=day(2))

        answer = ask(caller)

        as_published(Clearance, answer)
        assert (answer["decision"], answer["outstanding"], answer["reasons"]) == ("clear", 60_00, [])
        assert answer["expires_at"] == (day(3) + timedelta(minutes=15)).isoformat()
        kept = caller.get(f"/v1/clearances/{answer['clearance_id']}").json()
        as_published(KeptClearance, kept)
        assert kept == {**answer, "placement_id": None, "confirmed_at": None}
        ((value,),) = rows(
            database, "SELECT convert_from(value, 'UTF8') FROM outbox WHERE topic = 'guard.decisions'"
        )
        data = json.loads(str(value))["data"]
        assert {name: data[name] for name in answer} == answer
        assert data["asked_by"].startswith("key tests (")

    def test_a_question_may_bring_the_debt(self, caller: httpx2.Client, database: Database) -> None:
        """It is stated in the same commit; the ids may be left out or said again."""
        first = ask(caller, referral=STATED)
        again = ask(caller, referral={**STATED, "account_id": ACCOUNT, "debt_id": "d-1"})

        assert [first["decision"], again["decision"]] == ["clear", "clear"]
        assert rows(database, "SELECT count(*) FROM ledger") == [(1,)]

    def test_a_debt_that_is_stated_wrong_is_refused_with_its_field(
        self, caller: httpx2.Client, database: Database
    ) -> None:
        """And nothing of the question is kept."""
        for wrong, detail in WRONG_STATEMENTS:
            body = json.dumps({**QUESTION, "referral": {**STATED, **wrong}}).encode()
            assert detail in refused(caller, body), wrong
        assert rows(database, "SELECT (SELECT count(*) FROM ledger), (SELECT count(*) FROM clearance)") == [(0, 0)]

    def test_a_question_that_is_not_right_is_refused_with_its_field(self, caller: httpx2.Client) -> None:
        """A field that is missing, unknown, wrong or twice there; what is no JSON; what is too deep."""
        for body, detail in WRONG_QUESTIONS:
            assert detail in refused(caller, body), body[:100]

    def test_a_refusal_does_not_repeat_what_was_sent(self, caller: httpx2.Client) -> None:
        """A value never; the name of a field that we do not know, as far as it is needed to find it."""
        long = refused(caller, json.dumps({**QUESTION, "x" * 10_000: 1}).encode())
        value = refused(caller, json.dumps({**QUESTION, "account_id": "S3CR3T " * 20}).encode())

        assert long.startswith("x" * NAME_MAX_CHARACTERS + ": ")
        assert len(long) < 200
        assert "S3CR3T" not in value

    def test_a_body_that_is_too_large(self, parts: Parts, database: Database, caught_up: None) -> None:
        """It is refused as soon as that is seen, by the limit of the settings, and the connection goes on."""
        with serving(parts, database, Ways().limited(body_bytes=1_024)) as served:
            caller = served.caller()
            just = caller.post("/v1/clearances", content=json.dumps(QUESTION).encode().ljust(1_024))
            over = caller.post("/v1/clearances", content=json.dumps(QUESTION).encode().ljust(1_025))
            far_over = caller.post("/v1/clearances", content=b" " * 5_000_000)
            after = caller.post("/v1/clearances", json=QUESTION)

        assert [just.status_code, after.status_code] == [201, 201]
        assert problem(over) == problem(far_over) == (413, "too-large")
        assert over.json()["detail"] == "a body may have 1024 bytes"

    def test_an_id_may_hold_any_printable_character(self, arrive: Arrive, caller: httpx2.Client) -> None:
        """Also where it stands in a path, with %-escapes."""
        ids = ["a/1", "a%2F1", "счёт-1", "a?b#c", "100%", "..", "a+b;c=d,e"]
        arrive(*(referral(account_id=account_id) for account_id in ids), now=day(2))

        for account_id in ids:
            assert ask(caller, account_id=account_id)["decision"] == "clear"
            url = f"/v1/accounts/{quote(account_id, safe='').replace('.', '%2E')}"
            read = [caller.get(url).json(), caller.get(f"{url}/timeline").json()]
            assert [one["account_id"] for one in read] == [account_id] * 2

    def test_what_is_no_id_is_refused_in_a_path_too(self, caller: httpx2.Client) -> None:
        """A space, a control character, what is no UTF-8, or too much."""
        for part in ("a%20b", "%00", "%ff", "x" * 129):
            answer = caller.get(f"/v1/clearances/{part}")

            assert problem(answer) == (422, "invalid")
            assert "clearance_id" in answer.json()["detail"]

    def test_an_id_that_nobody_has(self, caller: httpx2.Client) -> None:
        """There is no such clearance."""
        assert problem(caller.get("/v1/clearances/clearance-9")) == (404, "not-found")

    def test_a_method_that_is_none(self, caller: httpx2.Client) -> None:
        """The answer names those that are."""
        answer = caller.put("/v1/clearances", json=QUESTION)

        assert problem(answer) == (405, "method-not-allowed")
        assert answer.headers["allow"] == "POST"

    def test_questions_that_come_together_are_answered_each(self, arrive: Arrive, caller: httpx2.Client) -> None:
        """To each its own answer, one among them refused."""
        arrive(*(referral(account_id=f"a-{number}", amount=number + 1) for number in range(20)), now=day(2))

        def one(number: int) -> object:
            question = {**QUESTION, "account_id": f"a-{number}"} if number != 7 else {}
            answer = caller.post("/v1/clearances", json=question)
            return answer.json().get("outstanding", answer.status_code)

        with ThreadPoolExecutor(20) as threads:
            given = list(threads.map(one, range(20)))

        assert given == [422 if number == 7 else number + 1 for number in range(20)]

    def test_a_stream_that_is_behind_holds_it(
        self, arrive: Arrive, caller: httpx2.Client, database: Database
    ) -> None:
        """What may be missing is said, and the answer is never clear."""
        arrive(referral(), now=day(2))
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE stream_position SET position = -1"))

        answer = ask(caller)

        assert (answer["decision"], [one["code"] for one in answer["reasons"]]) == ("hold", ["STREAM_BEHIND"])

    def test_in_shadow_mode_it_says_so(
        self, arrive: Arrive, parts: Parts, database: Database, caught_up: None
    ) -> None:
        """The answer, its confirmation, and what is kept."""
        arrive(referral(), now=day(2))
        with serving(parts, database, Ways(shadow=True)) as served:
            caller = served.caller()
            given = ask(caller)
            confirmed = confirm(caller, given["clearance_id"]).json()
            kept = caller.get(f"/v1/clearances/{given['clearance_id']}").json()

        assert [one["shadow"] for one in (given, confirmed, kept)] == [True] * 3


class TestConfirm:
    """`POST /v1/clearances/{clearance_id}/confirm`."""

    @pytest.fixture(autouse=True)
    def given(self, caught_up: None, arrive: Arrive, caller: httpx2.Client) -> None:
        """clearance-1 is clear."""
        arrive(referral(), now=day(2))
        assert ask(caller)["decision"] == "clear"

    def test_it_holds_and_may_be_repeated(self, caller: httpx2.Client, clock: Clock) -> None:
        """The same placement is answered the same, also after the clearance has expired."""
        first = confirm(caller, "clearance-1")
        clock.now = day(9)
        again = confirm(caller, "clearance-1")
        kept = caller.get("/v1/clearances/clearance-1").json()

        assert (first.status_code, again.status_code) == (200, 200)
        as_published(PlacementConfirmed, first.json())
        assert first.json() == again.json()
        assert (first.json()["amount"], first.json()["placed_at"]) == (100_00, day(3).isoformat())
        as_published(KeptClearance, kept)
        assert (kept["placement_id"], kept["confirmed_at"]) == ("l-1", day(3).isoformat())

    def test_it_tells_since_when_the_agency_has_it(self, caller: httpx2.Client, database: Database) -> None:
        """Where it was placed before it is confirmed, that is when it was placed."""
        placed_at = (day(3) - timedelta(minutes=5)).isoformat()

        assert confirm(caller, "clearance-1", placed_at=placed_at).json()["placed_at"] == placed_at
        assert rows(database, "SELECT placed_at FROM placement") == [(day(3) - timedelta(minutes=5),)]

    def test_what_is_not_right_is_refused_with_its_field(self, caller: httpx2.Client) -> None:
        """And the clearance stays as it was."""
        wrong: list[tuple[Json, str]] = [
            ({}, "placement_id"),
            ({"placement_id": "l 1"}, "placement_id"),
            ({"placement_id": "l-1", "placed_at": "yesterday"}, "placed_at"),
            ({"placement_id": "l-1", "placed_at": "0001-01-01T00:00:00Z"}, "placed_at"),
            ({"placement_id": "l-1", "amount": 5}, "amount"),
        ]

        for body, field in wrong:
            answer = caller.post("/v1/clearances/clearance-1/confirm", json=body)
            assert problem(answer) == (422, "invalid")
            assert answer.json()["detail"].startswith(f"{field}: ")
        assert confirm(caller, "clearance-1").status_code == 200

    def test_an_id_that_nobody_has(self, caller: httpx2.Client) -> None:
        """There is no such clearance."""
        assert problem(confirm(caller, "clearance-9")) == (404, "not-found")

    def test_what_was_paid_since_voids_it(self, arrive: Arrive, caller: httpx2.Client, database: Database) -> None:
        """The fresh reasons are told, and nothing is placed."""
        arrive(payment(paid_at=day(3)))

        assert void(confirm(caller, "clearance-1")) == ("it no longer holds", ["DEBT_SETTLED"])
        assert rows(database, "SELECT placement_id FROM placement") == []

    def test_it_is_for_one_placement(self, caller: httpx2.Client) -> None:
        """Another one is void, and the first stays."""
        assert confirm(caller, "clearance-1", "l-1").status_code == 200
        assert void(confirm(caller, "clearance-1", "l-2")) == ("it was used for another placement", [])
        assert confirm(caller, "clearance-1", "l-1").status_code == 200

    def test_it_is_for_its_time(self, caller: httpx2.Client, clock: Clock) -> None:
        """At the instant that it names it is over."""
        clock.now = day(3) + timedelta(minutes=15)

        assert void(confirm(caller, "clearance-1")) == ("it has expired", [])

    def test_what_was_not_clear_is_not_confirmed(self, caller: httpx2.Client) -> None:
        """Whatever holds since."""
        refused = ask(caller, debt_id="d-2")

        assert void(confirm(caller, refused["clearance_id"])) == ("it was answered with refuse", [])

    def test_a_placement_that_the_stream_opened_does_not_stand_in_its_own_way(
        self, arrive: Arrive, caller: httpx2.Client
    ) -> None:
        """It is the same placement, by event or by confirm."""
        arrive(placement("l-1"))

        assert confirm(caller, "clearance-1", "l-1").status_code == 200
        kept = caller.get("/v1/accounts/a-1").json()["placements"]
        assert [(one["placement_id"], one["open"]) for one in kept] == [("l-1", True)]

    def test_another_placement_of_the_debt_stands_in_the_way(self, arrive: Arrive, caller: httpx2.Client) -> None:
        """It is placed already."""
        arrive(placement("l-1"))

        assert void(confirm(caller, "clearance-1", "l-2")) == ("it no longer holds", ["ALREADY_PLACED"])

    @pytest.mark.parametrize(
        ("debt_id", "agency_id", "closed", "why"),
        [
            ("d-2", "agency-1", False, "its placement_id was used for another debt or agency"),
            ("d-1", "agency-2", False, "its placement_id was used for another debt or agency"),
            ("d-1", "agency-1", True, "its placement has ended"),
        ],
    )
    def test_a_placement_that_is_another_one_voids_it(
        self, arrive: Arrive, caller: httpx2.Client, debt_id: str, agency_id: str, closed: bool, why: str
    ) -> None:
        """A placement is one debt with one agency, once."""
        opened: Json = {"placement_id": "l-1", "debt_id": debt_id, "agency_id": agency_id, "amount": 100_00}
        opened |= {"currency": "RUB", "placed_at": day(3).isoformat()}
        arrive(record("collections.placement.opened.v1", at=day(3), **opened))
        if closed:
            ended: Json = {"placement_id": "l-1", "closed_at": day(3).isoformat()}
            arrive(record("collections.placement.closed.v1", at=day(3), **ended))

        assert void(confirm(caller, "clearance-1", "l-1"))[0] == why

    def test_one_placement_is_confirmed_under_one_clearance(self, arrive: Arrive, caller: httpx2.Client) -> None:
        """Under another one of the same debt it is void, also where the stream had opened it first."""
        second = ask(caller)
        arrive(placement("l-1"))

        assert confirm(caller, "clearance-1", "l-1").status_code == 200
        why = "its placement_id was confirmed under another clearance"
        assert void(confirm(caller, second["clearance_id"], "l-1"))[0] == why

    def test_of_two_at_once_for_one_account_the_second_sees_the_first(
        self, caller: httpx2.Client, database: Database
    ) -> None:
        """Ten clearances of one debt, confirmed at once for ten placements: one of them is made."""
        ids = ["clearance-1", *(ask(caller)["clearance_id"] for _ in range(9))]

        with ThreadPoolExecutor(10) as threads:
            answers = list(threads.map(lambda one: confirm(caller, one, f"for-{one}"), ids))

        assert sorted(one.status_code for one in answers) == [200] + [409] * 9
        assert {void(one)[0] for one in answers if one.status_code == 409} == {"it no longer holds"}
        assert rows(database, "SELECT count(*) FROM placement WHERE is_open") == [(1,)]
