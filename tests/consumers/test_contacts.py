"""When an agency speaks to a customer: what is kept, and when it is a breach of its recall."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from consumers.intake import Intake
from consumers.parts import CODEC
from consumers.producers import Heard
from domain.events import RawRecord
from domain.recall import recall_id_of
from infra import logs
from infra.metrics import Metrics
from infra.postgres.contacts import CHANNEL_MAX_CHARACTERS
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.producers import Producers
from infra.wire.decode import Decoded, decode
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.deadlines import clocks
from tests.records import payment, placement, record, referral, told

pytestmark = pytest.mark.parts

SENT, GRACE, MOMENT = day(9), LENIENT.recall.contact_grace, timedelta(seconds=1)
LATE = SENT + GRACE + MOMENT


def contact(at: datetime, *, channel: str = "phone", agency_id: str | None = None) -> RawRecord:
    """The agency spoke to the customer of placement l-1."""
    data = {"placement_id": "l-1", "contacted_at": at.isoformat(), "channel": channel}
    named = {"agency_id": agency_id} if agency_id else {}
    event_id = f"contact-{at.isoformat()}-{channel[:10]}-{agency_id}"
    return told("agency.contact.made.v1", data | named, at=at, event_id=event_id)


def send(database: Database) -> None:
    """The recall is sent, on day 9."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE recall SET sent_at = :at"), {"at": SENT})


def kept(database: Database) -> list[tuple[object, ...]]:
    """The contacts, and whether each is a breach."""
    statement = "SELECT contacted_at, channel, breached_at IS NOT NULL FROM contact ORDER BY 1, 2"
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


@pytest.fixture
def recalled(arrive: Arrive, database: Database) -> None:
    """A placement that was paid, and whose recall was sent on day 9."""
    arrive(referral(), placement(), payment())
    send(database)


@pytest.mark.usefixtures("recalled")
def test_after_the_grace_a_contact_is_a_breach(arrive: Arrive, database: Database) -> None:
    """By any channel, and not before the recall was sent, nor while a call may have been under way."""
    arrive(
        contact(day(8)),
        contact(SENT),
        contact(SENT + GRACE),
        contact(LATE),
        contact(LATE, channel="letter"),
        contact(LATE, channel="letter"),
        contact(day(10), agency_id="agency-1"),
    )

    assert kept(database) == [
        (day(8), "phone", False),
        (SENT, "phone", False),
        (SENT + GRACE, "phone", False),
        (LATE, "letter", True),
        (LATE, "phone", True),
        (day(10), "phone", True),
    ]


@pytest.mark.usefixtures("recalled")
def test_another_agency_breaches_nothing(arrive: Arrive, database: Database) -> None:
    """What it says has no effect, so it is no contact of this placement."""
    arrive(contact(LATE, agency_id="agency-2"))

    assert kept(database) == []


@pytest.mark.usefixtures("recalled")
@pytest.mark.parametrize("kind", ["agency.recall.acknowledged.v1", "collections.placement.closed.v1"])
def test_who_said_that_it_has_stopped_breaches_too(arrive: Arrive, database: Database, kind: str) -> None:
    """A contact after the acknowledgement, or after the end of the placement, is one after the recall."""
    at = day(9).isoformat()
    arrive(
        record(kind, at=day(9), placement_id="l-1", recall_id=recall_id_of(ACCOUNT, "l-1"), acknowledged_at=at,
               closed_at=at)
    )  # fmt: skip

    arrive(contact(LATE))

    assert kept(database) == [(LATE, "phone", True)]


def test_what_could_not_be_known_when_it_came_is_found_by_a_sweep(arrive: Arrive, database: Database) -> None:
    """The recall was marked as sent only later; what is found is counted once."""
    arrive(referral(), placement(), payment())
    arrive(contact(LATE), contact(SENT + MOMENT))
    before = kept(database)
    send(database)
    metrics = Metrics()
    sweep = clocks(database, LATE, metrics=metrics)

    found = [sweep.find_breaches(limit=10), sweep.find_breaches(limit=10)]

    assert before == [(SENT + MOMENT, "phone", False), (LATE, "phone", False)]
    assert (found, kept(database)) == ([1, 0], [(SENT + MOMENT, "phone", False), (LATE, "phone", True)])
    assert metrics.registry.get_sample_value("guard_contacts_after_recall_total", {"agency": "agency-1"}) == 1


@pytest.mark.parametrize("first", ["contact", "placement"])
def test_a_contact_is_kept_once_its_placement_is_known(arrive: Arrive, database: Database, first: str) -> None:
    """In either order; of the words for how it spoke as much as fits."""
    told = [placement(), contact(day(5), channel="я" * 2_000), contact(day(5), agency_id="agency-2")]
    arrive(referral())
    for raw in told if first == "placement" else reversed(told):
        arrive(raw)

    assert kept(database) == [(day(5), "я" * CHANNEL_MAX_CHARACTERS, False)]


def test_what_has_no_effect_is_counted_once_it_is_known(database: Database) -> None:
    """Another agency's words, and an answer to no recall; by who has the placement, whoever speaks."""
    metrics = Metrics()
    intake = Intake(
        ledger=Ledger(database, CODEC, ""),
        rules=lambda: LENIENT,
        now=lambda: day(9),
        heard=Heard(Producers(database)),
        metrics=metrics,
        log=logs.configure(role="test", level="CRITICAL"),
    )

    def take(*records: RawRecord) -> None:
        read = [decode(raw) for raw in records]
        intake.take_all([one for one in read if isinstance(one, Decoded)])

    def counted(reason: str) -> float | None:
        labels = {"agency": "agency-1", "reason": reason}
        return metrics.registry.get_sample_value("guard_agency_events_refused_total", labels)

    answer = {"placement_id": "l-1", "acknowledged_at": day(7).isoformat()}
    kind, recall_id = "agency.recall.acknowledged.v1", recall_id_of(ACCOUNT, "l-1")
    wrong = told(kind, answer | {"recall_id": "x-1"}, at=day(7), event_id="wrong")
    right = told(kind, answer | {"recall_id": recall_id}, at=day(7), event_id="right")
    take(referral(), contact(day(8), agency_id="agency-2"), wrong)
    unknown = [counted("wrong_agency"), counted("wrong_recall")]
    take(placement())
    take(contact(day(9), agency_id="agency-3"), contact(day(9)))
    take(payment(), right)

    assert unknown == [None, None]
    assert [counted("wrong_agency"), counted("wrong_recall")] == [2, 1]
    latency = {"stage": "acknowledged", "agency": "agency-1", "cause": "paid_after_placement"}
    assert metrics.registry.get_sample_value("guard_recall_latency_seconds_count", latency) == 1
