"""The agencies at the console: how each is reached and does, and what was found in its list; on real parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, time, timedelta
from html import unescape

import httpx2
import pytest
import sqlalchemy as sa

from consumers.console.agencies import PAGE_FINDINGS
from domain.access import Scope
from domain.agency import Agency, ChannelKind, Desk, FileDrop, QuietHours
from domain.patience import Circuit
from infra.postgres.agency_figures import AgencyFigures, Figures
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries, Lane
from infra.postgres.holdings import Reconciliations, Row, Run
from tests.builders import day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, referral
from tests.serving import Clock, Served, Ways, serving

pytestmark = pytest.mark.parts

NOW = day(10)
NASTY = "<script>alert(1)</script>"
NORTH = Agency(
    "north/1",
    name="North Collections",
    channel=ChannelKind.FILE,
    second_channel=ChannelKind.KAFKA,
    desk=Desk(acknowledge_within=timedelta(minutes=30), quiet=QuietHours(time(20), time(8), UTC)),
    escalation_contact="Ivan, +7 495",
    file=FileDrop("/srv/drop/north"),
)


@pytest.fixture
def served(parts: Parts, database: Database, caught_up: None) -> Iterator[Served]:
    """An API with the console below it, that knows one agency, on day 10."""
    clock = Clock()
    clock.now = NOW
    with serving(parts, database, Ways(clock=clock, agencies={NORTH.agency_id: NORTH})) as one:
        yield one


@pytest.fixture
def browser(served: Served) -> httpx2.Client:
    """Somebody who may only read."""
    return served.guest(Scope.READ)


def change(database: Database, statement: str, **values: object) -> None:
    """Do what other parts of the house do."""
    with database.transaction() as connection:
        connection.execute(sa.text(statement), values)


def words_of(answer: httpx2.Response) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def compared(database: Database, rows: list[Row], agency_id: str = NORTH.agency_id) -> None:
    """Compare this list of an agency's with ours."""
    run = Run("run-1", agency_id, NOW, NOW, NASTY)
    with Reconciliations(database).comparing() as comparison:
        read = comparison.load([rows])
        comparison.compare(run, file_name=NASTY, file_sha256="0" * 64, read=read, finished_at=NOW)


def answered(arrive: Arrive, database: Database, seconds: list[int]) -> None:
    """Recalls that were sent on day 9, and answered after so long."""
    for number, took in enumerate(seconds):
        name = f"b-{number}"
        agency = NORTH.agency_id
        arrive(referral(account_id=name), placement(f"k-{number}", account_id=name, agency_id=agency))
        arrive(payment(account_id=name))
        change(
            database,
            "UPDATE recall SET sent_at = :at, acknowledged_at = :answer WHERE account_id = :name",
            at=day(9),
            answer=day(9) + timedelta(seconds=took),
            name=name,
        )


def test_each_agency_tells_how_it_is_reached_and_how_it_does(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """Its ways, what waits and since when, its deadline, answers, late recalls, breaches, and its last list."""
    answered(arrive, database, [40, 60, 3_600, -5])
    arrive(referral(), placement(agency_id=NORTH.agency_id), payment())
    change(database, "UPDATE recall SET overdue_at = :at WHERE account_id = 'a-1'", at=day(9))
    change(database, "INSERT INTO contact VALUES ('a-1', 'l-1', :at, 'phone', :at)", at=day(9))
    change(database, "INSERT INTO contact VALUES ('b-1', 'k-1', :at, 'phone', :at)", at=NOW - timedelta(days=31))
    change(database, "UPDATE outbox SET sent_at = :at WHERE account_id <> 'a-1'", at=day(9))
    change(database, "UPDATE outbox SET attempts = 6, created_at = :at", at=NOW - timedelta(minutes=3))
    lane = Lane(NORTH.agency_id, ChannelKind.FILE, is_first=True)
    circuit = Circuit(4, NOW + timedelta(seconds=20), f"no route {NASTY}")
    Deliveries(database).keep_circuit(lane, circuit, NOW)
    compared(database, [(2, "l-1", 100_00, "RUB", "", "", "")])

    page = browser.get("/console/agencies")

    assert AgencyFigures(database).all(NOW) == {
        NORTH.agency_id: Figures(1, 1, 4, timedelta(seconds=40), timedelta(seconds=3_600), 1)
    }
    for told in (
        "North Collections north/1",
        "by files first by Kafka",
        "1 message waits, for 3 min 1 of them was tried 5 times or more",
        f"left alone tried again in 20 s not reached or refused 4 times in a row: no route {NASTY}",
        "30 min closed 20:00 to 08:00 (UTC)",
        "1 open 1 overdue",
        "p50 40 s p95 1 h of 4 answers",
        "held, and should not be: 1",
    ):
        assert told in unescape(words_of(page)) or told in unescape(
            re.sub(r"</?[a-z][a-z0-9]*[^>]*>", "", page.text)
        ), told
    assert 'href="/console/recalls?agency_id=north%2F1&amp;overdue=true"' in page.text
    assert NASTY not in page.text


def test_an_agency_that_the_file_does_not_name_is_told_as_such(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """Once something was sent to it; one of which nobody knows is not there."""
    assert words_of(browser.get("/console/agencies")).count("not in the file of agencies") == 0
    arrive(referral(), placement(), payment())

    page = words_of(browser.get("/console/agencies/agency-1"))

    assert "not in the file of agencies" in words_of(browser.get("/console/agencies"))
    assert "The file of agencies does not name it" in page
    assert "Its list was never compared with ours. The command is handoff-guard reconcile agency-1 FILE" in page
    assert browser.get("/console/agencies/nobody").status_code == 404


@pytest.mark.parametrize("tongue", ["en", "ru"])
def test_the_findings_of_the_last_list_are_paged(database: Database, served: Served, tongue: str) -> None:
    """Each is on one page, with its line and words; no text of a list becomes a part of the page."""
    names = [f"x-{number:03d}" for number in range(PAGE_FINDINGS)] + [f"y{NASTY}"]
    compared(database, [(number, name, 5_00, "RUB", "", "", "") for number, name in enumerate(names, 2)])
    browser = served.guest(tongue=tongue)

    first = browser.get("/console/agencies/north%2F1").text
    (following,) = re.findall(r'<a href="([^"]+)" rel="next">', first)
    second = browser.get(unescape(following)).text

    found = [unescape(one) for one in re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', first + second)]
    assert found == names
    assert 'rel="next"' not in second
    assert NASTY not in first + second
    assert f'<html lang="{tongue}"' in second


@pytest.mark.parametrize("query", ["line=x", "line=-1", f"kind={'k' * 129}", "placement=%00"])
def test_a_place_among_the_findings_that_is_none_is_refused(browser: httpx2.Client, query: str) -> None:
    """With a page, not with a fault."""
    assert browser.get(f"/console/agencies/north%2F1?{query}").status_code == 422
