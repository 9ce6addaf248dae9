"""The page for a customer, taken at the console: where it is true, by whoever is written down; and the proof."""

from __future__ import annotations

import argparse
import html
import re
import shlex
from collections.abc import Iterator

import pytest

from consumers.desk import add_commands
from domain.access import Scope
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.consumers.evidence.test_evidence import acknowledgement
from tests.parts import Parts
from tests.records import payment, placement, referral
from tests.serving import Served, Ways, serving, told

pytestmark = pytest.mark.parts

PAGE = f"/console/accounts/{ACCOUNT}"
PAPER = f"{PAGE}/placements/l-1/confirmation"


@pytest.fixture
def named(parts: Parts, database: Database, caught_up: None) -> Iterator[Served]:
    """A console of a creditor that has a name."""
    with serving(parts, database, Ways(creditor="Example Telecom")) as one:
        yield one


def test_the_page_for_the_customer_is_taken_where_it_is_true(
    named: Served, arrive: Arrive, database: Database
) -> None:
    """A download in the customer's language, as the command writes it; who took it is written down."""
    arrive(referral(), placement(), payment())
    arrive(acknowledgement())
    browser = named.guest(Scope.READ)

    leads = re.findall(rf'href="({PAPER}[^"]+)"', browser.get(PAGE).text)
    russian, english = (browser.get(html.unescape(one)) for one in sorted(leads, reverse=True))
    taken = [one for one in Records(database).newest(account_id=ACCOUNT, limit=9) if one.target == "l-1"]

    assert "Подтверждаем, что ваш долг погашен." in russian.text
    assert "We confirm that your debt is settled." in english.text
    assert "Example Telecom" in english.text
    assert english.headers["content-disposition"].startswith("attachment;")
    assert [(one.act, one.outcome, one.name) for one in taken] == [(Act.CONFIRMATION_TAKEN, "given", "tests")] * 2


def test_it_is_not_offered_before_it_is_true(named: Served, arrive: Arrive, database: Database) -> None:
    """Nothing leads there while an agency has the debt, and who asks all the same gets none."""
    arrive(referral(), placement(), payment())
    browser = named.guest(Scope.READ)

    page, refused = browser.get(PAGE), browser.get(PAPER)

    assert "/confirmation" not in page.text
    assert refused.status_code == 404
    assert "has not acknowledged the recall" in told(refused.text)
    assert Records(database).newest(account_id=ACCOUNT, limit=1)[0].outcome == "not_yet"
    assert browser.get(f"{PAGE}/placements/none/confirmation").status_code == 404


def test_where_it_can_not_be_said_for_sure_the_page_says_why(named: Served, arrive: Arrive) -> None:
    """The placement is over, and the debt is owed again."""
    arrive(referral(), placement(), payment())
    arrive(acknowledgement())
    arrive(referral(debt_id="d-2"), placement("l-2", debt_id="d-1", agency_id="agency-2"))

    page = named.guest(Scope.READ, tongue="ru").get(PAGE)

    assert f'href="{PAPER}' not in page.text
    assert '<span lang="en">agency-2 has the same debt, placement l-2</span>' in page.text


def test_without_a_creditor_it_is_told_what_is_missing(served: Served, arrive: Arrive) -> None:
    """Instead of a page that names nobody."""
    arrive(referral(), placement(), payment())
    arrive(acknowledgement())
    browser = served.guest(Scope.READ)

    page, refused = browser.get(PAGE), browser.get(PAPER)

    assert "GUARD_CREDITOR_NAME" in page.text
    assert f'href="{PAPER}' not in page.text
    assert (refused.status_code, "GUARD_CREDITOR_NAME" in refused.text) == (404, True)


def test_of_the_past_nothing_is_confirmed(named: Served, arrive: Arrive) -> None:
    """The paper is about now."""
    arrive(referral(), placement(), payment())
    arrive(acknowledgement())

    page = named.guest(Scope.READ).get(PAGE, params={"at": day(9).isoformat()})

    assert "/confirmation" not in page.text


@pytest.mark.parametrize("placement_id", ["l-1", "-rf", "$(id)", "it's;1"])
def test_the_command_for_the_proof_can_be_pasted(served: Served, arrive: Arrive, placement_id: str) -> None:
    """It names the account too, and a shell and the command read every id as it is."""
    arrive(referral(account_id="-a;1"), placement(placement_id, account_id="-a;1"))

    page = served.guest(Scope.READ).get("/console/accounts/-a%3B1").text
    found = re.search(r"<code>handoff-guard (evidence .*?)</code>", page)

    assert found is not None
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())
    arguments = parser.parse_args(shlex.split(html.unescape(found[1])))
    assert (arguments.placement, arguments.account) == (placement_id, "-a;1")
