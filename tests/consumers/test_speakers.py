"""Who speaks in an agency's event, by its source and by what it names, on every way in."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from consumers.parts import CODEC
from consumers.requeue import Requeue
from consumers.rules import Rules
from consumers.speakers import hear, hear_all, hear_from
from domain.events import ContactMade, RawRecord
from infra import logs
from infra.agencies_file import AgenciesFile
from infra.postgres.database import Database
from infra.postgres.history import History
from infra.postgres.ledger import Ledger
from infra.postgres.quarantine import Quarantine
from infra.wire.decode import Decoded, Rejected, decode, with_speaker
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.records import payment, placement, referral, told

SPEAKERS = {"test": "agency-1", "south": "agency-2"}
"""`test` is the source of what tests send."""

RULES = replace(LENIENT, speakers=SPEAKERS)


def contact(agency_id: str | None = None, *, on: int = 5) -> RawRecord:
    """An agency spoke to a customer, and names itself or does not."""
    at = day(on)
    data = {"placement_id": "l-1", "contacted_at": at.isoformat(), "channel": "sms"}
    named = {"agency_id": agency_id} if agency_id else {}
    return told("agency.contact.made.v1", data | named, at=at)


@pytest.mark.parametrize(
    ("speakers", "named", "expected"),
    [
        ({}, None, None),
        ({}, "agency-2", "agency-2"),
        ({"south": "agency-2"}, None, None),
        ({"south": "agency-2"}, "agency-1", "agency-1"),
        ({"south": "agency-2"}, "agency-2", "WRONG_AGENCY"),
        (SPEAKERS, None, "agency-1"),
        (SPEAKERS, "agency-1", "agency-1"),
        (SPEAKERS, "agency-2", "WRONG_AGENCY"),
        (SPEAKERS, "agency-9", "WRONG_AGENCY"),
    ],
    ids=[
        "nobody has a source",
        "nobody has a source, and it names itself",
        "of a source that is nobody's",
        "of a source that is nobody's, and it names one without sources",
        "of a source that is nobody's, and it names one with sources",
        "by its source",
        "by its source and its name",
        "by another's source",
        "by another's source, in the name of nobody we know",
    ],
)
def test_who_speaks(speakers: dict[str, str], named: str | None, expected: str | None) -> None:
    """The source says it where it is an agency's; else the event may name one that has no sources of its own."""
    raw = contact(named)

    (heard,) = hear_all([raw], [decode(raw)], speakers)

    if expected == "WRONG_AGENCY":
        assert isinstance(heard, Rejected)
        assert (heard.reason, heard.accounts, heard.raw) == ("WRONG_AGENCY", (ACCOUNT,), raw)
        return
    assert isinstance(heard, Decoded)
    event = heard.recorded.event
    assert isinstance(event, ContactMade)
    assert event.agency_id == expected
    assert CODEC.decode_stored(ACCOUNT, heard.number, heard.stored, None) == event
    sent = decode(raw)
    assert isinstance(sent, Decoded)
    assert heard.digest == sent.digest


@pytest.mark.parametrize(
    ("agency_id", "source", "is_taken"),
    [
        ("agency-1", "test", True),
        ("agency-1", "file:agency-1", True),
        ("agency-1", "urn:agency:agency-1", False),
        ("agency-1", "south", False),
        ("agency-1", "billing", False),
        ("agency-3", "file:agency-3", True),
        ("agency-3", "urn:agency:agency-3", True),
        ("agency-3", "urn:agency:agency-30", False),
        ("agency-3", "urn:agency:agency-3:more", False),
        ("agency-3", "file:agency-1", False),
        ("agency-3", "urn:agency:agency-1", False),
        ("agency-3", "test", False),
        ("agency-3", "billing", False),
    ],
)
def test_by_its_own_way_an_agency_has_its_own_sources(agency_id: str, source: str, is_taken: bool) -> None:
    """Those of its entry; where it has none, one of its id. A row of CSV has `file:` and its id always."""
    sent = contact()
    raw = replace(sent, value=json.dumps(json.loads(sent.value or b"") | {"source": source}).encode())
    read = decode(raw)
    assert isinstance(read, Decoded)
    assert read.source == source

    heard = hear_from(agency_id, raw, read, SPEAKERS)

    if is_taken:
        assert heard == with_speaker(read, agency_id)
        return
    assert isinstance(heard, Rejected)
    assert (heard.reason, heard.accounts) == ("WRONG_AGENCY", ())


def test_only_agencies_events_are_looked_at() -> None:
    """A payment whose source is an agency's is a payment, and what is no event stays what it is."""
    bad = payment(key="somebody-else")
    for raw in (payment(), bad):
        assert hear(raw, decode(raw), SPEAKERS) == decode(raw)


@pytest.mark.parts
def test_the_speaker_is_kept_and_another_agency_has_no_effect(arrive: Arrive, database: Database) -> None:
    """An event of the other agency's source, before the placement is known; the same event again is a duplicate."""
    other = replace(RULES, speakers={"test": "agency-2"})
    arrive(referral(), contact(), contact(), policy=other)
    arrive(placement(), policy=RULES)
    arrive(contact(), contact(on=6), policy=RULES)

    history = History(database, CODEC).of(ACCOUNT)

    assert history is not None
    contacts = [one.event for one in history.events if isinstance(one.event, ContactMade)]
    assert [one.agency_id for one in contacts] == ["agency-2", "agency-1"]
    assert rows(database, "SELECT contacted_at FROM contact") == [(day(6),)]
    assert rows(database, "SELECT count(*) FROM quarantine") == [(0,)]


@pytest.mark.parts
def test_who_speaks_for_another_is_quarantined_until_the_file_says_otherwise(
    arrive: Arrive, database: Database
) -> None:
    """Put back, it is judged by the sources of then."""
    arrive(referral(), placement(), contact("agency-2"), policy=RULES)
    before = rows(database, "SELECT reason FROM quarantine")

    def requeue(speakers: dict[str, str]) -> list[str]:
        report = Requeue(
            ledger=Ledger(database, CODEC, ""),
            quarantine=Quarantine(database),
            rules=lambda: replace(LENIENT, speakers=speakers),
            now=lambda: day(9),
            log=logs.configure(role="test", level="CRITICAL"),
        ).all()
        return [one.reason for one in report.still_bad]

    assert before == [("WRONG_AGENCY",)]
    assert requeue(SPEAKERS) == ["WRONG_AGENCY"]
    assert requeue({"test": "agency-2"}) == []
    assert rows(database, "SELECT count(*) FROM hold") == [(0,)]


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def test_the_file_of_agencies_says_who_speaks(tmp_path: Path) -> None:
    """Its sources are part of the rules that a batch is decided by."""
    file = tmp_path / "agencies.toml"
    file.write_text('[agency.agency-1]\nsources = ["test", "west"]\n[agency.agency-2]\nsources = ["south"]\n')

    rules = Rules(LENIENT, AgenciesFile(file))()

    assert rules.speakers == SPEAKERS | {"west": "agency-1"}
