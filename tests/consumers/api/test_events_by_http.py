"""Events in place of their streams: every way to send one, and what is known once it is answered."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import httpx2
import pytest
import sqlalchemy as sa

from domain.events import RawRecord
from domain.recall import recall_id_of
from infra.postgres.database import Database
from infra.wire.answers import EventTaken
from tests.builders import ACCOUNT, day
from tests.records import payment, placement, record, referral
from tests.serving import Json, as_published, event_of, problem

pytestmark = pytest.mark.parts

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
QUESTION = {"account_id": ACCOUNT, "debt_id": "d-1", "agency_id": "agency-1"}


def send(caller: httpx2.Client, raw: RawRecord) -> httpx2.Response:
    """A record's event, in structured mode."""
    return caller.post("/v1/events", content=event_of(raw), headers=STRUCTURED)


def in_binary_mode(raw: RawRecord, **more: str) -> tuple[dict[str, str], bytes]:
    """The same event with its attributes as headers."""
    event: Json = json.loads(event_of(raw))
    data = event.pop("data")
    attributes = {f"ce-{name}": quote(str(value), safe=":/+") for name, value in event.items()}
    return {**attributes, "Content-Type": "application/json", **more}, json.dumps(data).encode()


def taken(answer: httpx2.Response) -> tuple[int, str]:
    """The status of an answer, and what became of the event."""
    as_published(EventTaken, answer.json())
    return answer.status_code, answer.json()["outcome"]


def test_it_is_applied_before_it_is_answered(caller: httpx2.Client) -> None:
    """Whoever asks once they have the answer, has it in theirs."""
    assert taken(send(caller, referral())) == (202, "applied")
    assert caller.post("/v1/clearances", json=QUESTION).json()["outstanding"] == 100_00
    assert taken(send(caller, payment(amount=40_00, paid_at=day(1)))) == (202, "applied")
    assert caller.post("/v1/clearances", json=QUESTION).json()["outstanding"] == 60_00


def test_a_recall_follows_from_it(caller: httpx2.Client, database: Database) -> None:
    """The payment of a placed debt recalls it, by the event that was sent."""
    for raw in (referral(), placement(), payment()):
        assert taken(send(caller, raw)) == (202, "applied")

    with database.transaction() as connection:
        recalls = connection.execute(sa.text("SELECT recall_id, cause, trigger_id FROM recall")).all()
    assert [tuple(one) for one in recalls] == [(recall_id_of(ACCOUNT, "l-1"), "paid_after_placement", "p-1")]
    (recall,) = caller.get(f"/v1/accounts/{ACCOUNT}").json()["recalls"]
    assert (recall["recall_id"], recall["reason"], recall["state"]) == (
        recall_id_of(ACCOUNT, "l-1"),
        "DEBT_SETTLED",
        "requested",
    )


def test_what_comes_by_http_is_counted_and_its_sender_is_heard(caller: httpx2.Client, database: Database) -> None:
    """A placement that nobody asked about, the time to its recall, and when the sender last said something."""
    for raw in (referral(), placement(), payment()):
        send(caller, raw)

    shown = caller.get("/metrics").text.splitlines()
    labels = 'agency="agency-1",cause="paid_after_placement",stage="requested"'
    assert 'guard_unguarded_placements_total{agency="agency-1"} 1.0' in shown
    assert f"guard_recall_latency_seconds_count{{{labels}}} 1.0" in shown
    with database.transaction() as connection:
        assert connection.execute(sa.text("SELECT DISTINCT source FROM producer")).scalars().all() == ["test"]


def test_the_same_again_is_a_duplicate(caller: httpx2.Client) -> None:
    """In either mode, and with its fields in another order."""
    raw = payment()
    event = json.loads(event_of(raw))
    headers, data = in_binary_mode(raw)

    assert taken(send(caller, raw)) == (202, "applied")
    assert taken(send(caller, raw)) == (200, "duplicate")
    assert taken(caller.post("/v1/events", content=data, headers=headers)) == (200, "duplicate")
    turned = json.dumps(dict(reversed(event.items())))
    assert taken(caller.post("/v1/events", content=turned, headers=STRUCTURED)) == (200, "duplicate")


def test_another_content_is_a_conflict(caller: httpx2.Client, database: Database) -> None:
    """Who sent it hears so and still has it: nothing is held."""
    send(caller, payment())

    answer = send(caller, payment(amount=1))

    assert problem(answer) == (409, "event-conflict")
    with database.transaction() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM quarantine")).scalar_one() == 0


def test_in_binary_mode_an_attribute_is_as_http_has_it(caller: httpx2.Client) -> None:
    """With %-escapes, in quotes, or as the letters' own bytes."""
    raw = record(
        "billing.payment.failed.v1",
        at=day(1),
        account_id="счёт 7".replace(" ", "-"),
        event_id="50%",
        payment_id="p-1",
    )
    headers, data = in_binary_mode(raw)
    plain = {**headers, "ce-subject": "счёт-7".encode().decode("latin-1")}

    first = caller.post("/v1/events", content=data, headers=headers)
    assert taken(first) == (202, "applied")
    assert first.json() == {"outcome": "applied", "source": "test", "id": "50%"}
    quoted = {**headers, "ce-source": '"te\\st"'}
    assert taken(caller.post("/v1/events", content=data, headers=quoted)) == (200, "duplicate")
    latin = [(name.encode(), value.encode("latin-1")) for name, value in plain.items()]
    assert taken(caller.post("/v1/events", content=data, headers=latin)) == (200, "duplicate")


def test_what_is_no_event_is_refused_with_a_code(caller: httpx2.Client) -> None:
    """The code is that of the quarantine, and the detail names the field and no value."""
    event: Json = json.loads(event_of(payment()))
    wrong: list[tuple[bytes, str, str]] = [
        (b"", "NOT_JSON", "must be JSON"),
        (b"[]", "NOT_AN_OBJECT", "a JSON object"),
        (b"[" * 1_000 + b"]" * 1_000, "NOT_JSON", "levels"),
        (json.dumps({**event, "type": "billing.payment.lost.v1"}).encode(), "UNKNOWN_TYPE", "type"),
        (json.dumps({**event, "subject": "a-2"}).encode(), "SUBJECT_MISMATCH", "subject"),
        (json.dumps({**event, "time": "now"}).encode(), "BAD_ENVELOPE", "time"),
        (json.dumps({**event, "data": {**event["data"], "amount": "S3CR3T"}}).encode(), "BAD_DATA", "data.amount"),
    ]

    for body, code, detail in wrong:
        answer = caller.post("/v1/events", content=body, headers=STRUCTURED)
        assert problem(answer) == (422, "invalid")
        assert (answer.json()["reason"], detail in answer.json()["detail"]) == (code, True), body[:100]
        assert "S3CR3T" not in answer.text
    twice = [("Content-Type", "application/json"), ("ce-id", "1"), ("ce-id", "2")]
    assert caller.post("/v1/events", content=b"{}", headers=twice).json()["reason"] == "BAD_ENVELOPE"
    batch = {"Content-Type": "application/cloudevents-batch+json"}
    refused = caller.post("/v1/events", content=json.dumps([event]), headers=batch)
    assert refused.json()["reason"] == "NOT_AN_OBJECT"


def test_an_offset_may_be_any_that_a_day_has(caller: httpx2.Client) -> None:
    """The database takes none of 16 hours and more, and an instant is the same in another offset."""
    raw = record("collections.placement.opened.v1", at=day(3), placement_id="l-1", debt_id="d-1")
    event: Json = json.loads(event_of(raw))
    for name, offset in (("east", "+23:59"), ("west", "-16:00")):
        event["id"], event["time"] = name, f"2026-11-05T09:00:00{offset}"
        event["data"] |= {"placement_id": name, "agency_id": "agency-1", "amount": 1, "currency": "RUB"}
        event["data"]["placed_at"] = event["time"]
        assert taken(caller.post("/v1/events", json=event)) == (202, "applied")

    placed = [one["placed_at"] for one in caller.get(f"/v1/accounts/{ACCOUNT}").json()["placements"]]
    assert sorted(placed) == ["2026-11-04T09:01:00+00:00", "2026-11-06T01:00:00+00:00"]


def test_events_that_come_together_become_each_what_they_are(caller: httpx2.Client) -> None:
    """Of thirty at once, some the same and one in conflict, each hears of its own."""
    sent = [payment(f"p-{number % 10}", amount=1 if number == 25 else 100_00) for number in range(30)]

    with ThreadPoolExecutor(30) as threads:
        answers = list(threads.map(lambda raw: send(caller, raw).status_code, sent))

    assert sorted(answers).count(202) == 10
    assert sorted(set(answers)) == [200, 202, 409]
