"""An agency's own calls: by its signature, of its own placements, and in the state once they are answered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from hashlib import blake2b

import httpx2
import pytest
import sqlalchemy as sa

from domain.agency import Agency, Secret
from domain.recall import recall_id_of
from infra.channels.signatures import sign
from infra.postgres.database import Database
from infra.wire.answers import EventTaken
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, referral, told
from tests.serving import Clock, Ways, as_published, event_of, problem, serving

pytestmark = pytest.mark.parts

NEW, OLD, SOUTH = b"whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0", b"old secret", b"secret of the south"
TWO = "urn:agency:agency-2"
"""The source of one for which the file names none."""

AGENCIES = {
    "agency-1": Agency("agency-1", callback_secrets=(Secret(NEW), Secret(OLD)), sources=frozenset({"test"})),
    "agency-2": Agency("agency-2", callback_secrets=(Secret(SOUTH),)),
    "agency-3": Agency("agency-3"),
}
SPEAKERS = {source: one.agency_id for one in AGENCIES.values() for source in one.sources}
RULES = replace(LENIENT, speakers=SPEAKERS)
RECALL = recall_id_of(ACCOUNT, "l-1")


@pytest.fixture
def ways(clock: Clock) -> Ways:
    """An API that knows three agencies, on day 3."""
    return Ways(clock=clock, agencies=AGENCIES, policy=RULES)


@pytest.fixture
def caller(parts: Parts, database: Database, caught_up: None, ways: Ways) -> Iterator[httpx2.Client]:
    """Who calls it without a key."""
    with serving(parts, database, ways) as served, httpx2.Client(base_url=served.url, timeout=30) as client:
        yield client


def said(kind: str = "agency.recall.acknowledged.v1", *, source: str = "", **data: object) -> bytes:
    """What an agency says of placement l-1, on day 3."""
    at = day(3).isoformat()
    dates = {"acknowledged_at": at, "accepted_at": at, "contacted_at": at, "rejected_at": at}
    values = {"placement_id": "l-1", "recall_id": RECALL, "channel": "sms", "reason": "no", **dates, **data}
    name = blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()
    event = json.loads(event_of(told(kind, values, at=day(3), event_id=name)))
    return json.dumps({**event, "source": source or "test"}).encode()


def call(
    client: httpx2.Client,
    body: bytes,
    *,
    agency_id: str = "agency-1",
    secret: bytes = NEW,
    late: timedelta = timedelta(0),
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """A signed call, so much later than it was signed."""
    signed = sign([secret], message_id="call-1", at=day(3) - late, body=body)
    return client.post(f"/v1/agencies/{agency_id}/events", content=body, headers={**signed, **(headers or {})})


def counts(database: Database) -> tuple[int, int]:
    """How many events of agencies are kept, and how many in quarantine."""
    with database.transaction() as connection:
        kept = connection.execute(sa.text("SELECT count(*) FROM ledger WHERE kind BETWEEN 18 AND 21")).scalar_one()
        return kept, connection.execute(sa.text("SELECT count(*) FROM quarantine")).scalar_one()


def test_an_answer_is_in_the_state_once_it_is_answered(
    caller: httpx2.Client, arrive: Arrive, database: Database
) -> None:
    """With the agency as its speaker; the same again is known, and other content under its id is a conflict."""
    arrive(referral(), placement(), payment())

    first = call(caller, said())
    with database.transaction() as connection:
        state, stored = connection.execute(
            sa.text("SELECT r.state, l.stored::jsonb ->> 'agency_id' FROM recall r, ledger l WHERE l.kind = 19")
        ).one()
    again = call(caller, said(), secret=OLD)
    other = call(caller, said().replace(b"2026-11-05T09:00:00+00:00", b"2026-11-05T09:00:01+00:00"))

    as_published(EventTaken, first.json())
    assert (first.status_code, first.json()["outcome"], state, stored) == (
        202,
        "applied",
        "acknowledged",
        "agency-1",
    )
    assert (again.status_code, again.json()["outcome"]) == (200, "duplicate")
    assert problem(other) == (409, "event-conflict")
    assert counts(database) == (1, 0)


def test_the_signature_is_kept_for_the_proof(caller: httpx2.Client, arrive: Arrive, database: Database) -> None:
    """With the bytes that it signs, so that nobody has to believe us who said it."""
    arrive(referral(), placement(), payment())
    body = said()

    call(caller, body)

    kept = "SELECT value, headers FROM received JOIN ledger USING (account_id, event_key) WHERE kind = 19"
    with database.transaction() as connection:
        value, headers = connection.execute(sa.text(kept)).one()
    signature = {name: bytes.fromhex(text).decode() for name, text in headers}
    assert (bytes(value), signature) == (body, sign([NEW], message_id="call-1", at=day(3), body=body))


@pytest.mark.parametrize(
    ("agency_id", "secret", "late", "headers"),
    [
        ("agency-1", SOUTH, timedelta(0), {}),
        ("agency-2", NEW, timedelta(0), {}),
        ("agency-3", NEW, timedelta(0), {}),
        ("agency-9", NEW, timedelta(0), {}),
        ("agency-1", NEW, timedelta(minutes=6), {}),
        ("agency-1", NEW, timedelta(minutes=-6), {}),
        ("agency-1", NEW, timedelta(0), {"webhook-id": "call-2"}),
        ("agency-1", NEW, timedelta(0), {"webhook-timestamp": "now"}),
        ("agency-1", NEW, timedelta(0), {"webhook-signature": "v1,AAAA"}),
        ("agency-1", NEW, timedelta(0), {"webhook-signature": ""}),
    ],
    ids=[
        "another's secret",
        "a secret on another's path",
        "of an agency without secrets",
        "of no agency of ours",
        "too old",
        "too new",
        "another id",
        "no time",
        "another signature",
        "no signature",
    ],
)
def test_whatever_is_wrong_with_a_signature_the_answer_is_one(
    caller: httpx2.Client,
    database: Database,
    agency_id: str,
    secret: bytes,
    late: timedelta,
    headers: dict[str, str],
) -> None:
    """Nobody learns which agencies there are, nor what was nearly right; nothing is stored."""
    answer = call(caller, said(), agency_id=agency_id, secret=secret, late=late, headers=headers)

    assert problem(answer) == (401, "bad-signature")
    assert answer.json()["detail"] == "The call is not signed as it must be."
    assert counts(database) == (0, 0)


def test_another_body_than_was_signed_is_refused(caller: httpx2.Client) -> None:
    """And so is one without any signature."""
    signed = sign([NEW], message_id="call-1", at=day(3), body=said())

    changed = caller.post("/v1/agencies/agency-1/events", content=said() + b" ", headers=signed)
    bare = caller.post("/v1/agencies/agency-1/events", content=said())

    assert problem(changed) == problem(bare) == (401, "bad-signature")
    assert changed.json() == bare.json()


@pytest.mark.parametrize(
    ("body", "agency_id", "secret"),
    [
        (said(source=TWO), "agency-2", SOUTH),
        (said(agency_id="agency-1", source=TWO), "agency-2", SOUTH),
        (said(source="test"), "agency-2", SOUTH),
        (said(source="south"), "agency-1", NEW),
        (said(placement_id="l-2", source="billing"), "agency-2", SOUTH),
        (said(placement_id="l-2", source="billing"), "agency-1", NEW),
        (said("agency.contact.made.v1", source=TWO), "agency-2", SOUTH),
        (said("agency.placement.accepted.v1", source=TWO), "agency-2", SOUTH),
        (said("agency.recall.rejected.v1", source=TWO), "agency-2", SOUTH),
    ],
    ids=[
        "another's placement",
        "in another's name",
        "from another's source",
        "from none of its sources",
        "from nobody's source",
        "from nobody's source, though it has its own",
        "a contact",
        "an acceptance",
        "an objection",
    ],
)
def test_an_agency_speaks_for_itself_alone(
    caller: httpx2.Client,
    ways: Ways,
    arrive: Arrive,
    database: Database,
    body: bytes,
    agency_id: str,
    secret: bytes,
) -> None:
    """Where the placement is known to be another's, or the event says that it is; nothing is stored."""
    arrive(referral(), placement(), payment())

    assert problem(call(caller, body, agency_id=agency_id, secret=secret)) == (403, "wrong-agency")
    assert counts(database) == (0, 0)


def test_what_is_not_known_yet_waits_as_a_fact(caller: httpx2.Client, arrive: Arrive, database: Database) -> None:
    """And has no effect if the placement turns out to be another's."""
    answer = call(caller, said(source=TWO), agency_id="agency-2", secret=SOUTH)
    arrive(referral(), placement(), payment())

    assert answer.status_code == 202
    with database.transaction() as connection:
        assert connection.execute(sa.text("SELECT state FROM recall")).scalar_one() == "requested"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "NOT_JSON"),
        (event_of(payment()), "WRONG_TOPIC"),
        (said().replace(b"agency.recall.acknowledged", b"guard.recall.ordered"), "WRONG_TOPIC"),
        (said().replace(b"agency.recall.acknowledged", b"agency.recall.lost"), "UNKNOWN_TYPE"),
        (said(placement_id=7), "BAD_DATA"),
    ],
)
def test_what_is_no_event_of_an_agency_is_refused_with_a_code(
    caller: httpx2.Client, database: Database, body: bytes, reason: str
) -> None:
    """Nothing of it is set aside: the agency hears so, and still has it."""
    answer = call(caller, body)

    assert problem(answer) == (422, "invalid")
    assert answer.json()["reason"] == reason
    assert counts(database) == (0, 0)


def test_headers_say_nothing_of_the_event(caller: httpx2.Client, database: Database) -> None:
    """They are not signed: an event in binary mode is none."""
    headers = {"ce-type": "agency.contact.made.v1", "ce-id": "1", "ce-source": "test", "ce-specversion": "1.0"}

    assert call(caller, said(), headers=headers).json()["outcome"] == "applied"
    assert counts(database) == (1, 0)


def test_a_call_is_not_larger_nor_more_frequent_than_is_allowed(
    parts: Parts, database: Database, caught_up: None, clock: Clock
) -> None:
    """Each agency has its own measure, which nobody else can use up: who has no signature takes nothing of it."""
    ways = Ways(clock=clock, agencies=AGENCIES, policy=RULES, rate_per_second=2, gate_clock=lambda: 0.0)
    ways = ways.limited(body_bytes=2_000)
    with serving(parts, database, ways) as served, httpx2.Client(base_url=served.url, timeout=30) as client:
        assert problem(call(client, b" " * 2_001)) == (413, "too-large")
        refused = {call(client, said(), secret=SOUTH).status_code for _ in range(5)}
        statuses = [call(client, said(reason=str(number))).status_code for number in range(4)]
        other = call(client, said(source=TWO), agency_id="agency-2", secret=SOUTH)

    assert (refused, statuses, other.status_code) == ({401}, [202, 202, 429, 429], 202)
