"""The timeline of the account page: its order and pages in the address, and each row opened to what it tells of."""

from __future__ import annotations

import html
import json
import re
from datetime import timedelta

import httpx2
import pytest
import sqlalchemy as sa

from consumers.console.timeline import PAGE_LINES
from domain.access import Scope
from domain.events import RawRecord
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, record, referral
from tests.records import told as said
from tests.serving import Served, told

pytestmark = pytest.mark.parts

PAGE = f"/console/accounts/{ACCOUNT}"
NOTICES = PAGE_LINES + 20


def notice(number: int) -> RawRecord:
    """A reminder of day 1, each a second after the one before but for pairs of one instant."""
    at = day(1) + timedelta(seconds=number // 2)
    return record(
        "customer.notice.delivered.v1",
        at=at,
        event_id=f"n-{number:03}",
        notice_id=f"n-{number:03}",
        kind="debt_reminder",
        channel="sms",
        delivered_at=at.isoformat(),
    )


def rows(page: str) -> list[str]:
    """The rows of the timeline as they are read, each without what opens it."""
    table = page.partition('id="timeline"')[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [told(row.partition('<td data-label="In full">')[0]) for row in table.split("<tr>")[1:]]


def link(page: str, label: str) -> str:
    """Where a link with this text leads to; empty where there is none."""
    found = re.search(rf'<a href="([^"]+)"[^>]*>{re.escape(label)}</a>', page)
    return html.unescape(found[1]) if found else ""


def opened(browser: httpx2.Client, words: str) -> httpx2.Response:
    """What the row opens to whose text has these words."""
    table = browser.get(PAGE).text.partition('id="timeline"')[2]
    row = next(row for row in table.split("<tr>") if words in told(row))
    found = re.search(r'<a href="([^"]+)"', row)
    assert found is not None, row
    return browser.get(html.unescape(found[1]))


def test_the_newest_is_first_unless_the_address_says_otherwise(served: Served, arrive: Arrive) -> None:
    """Both orders have the same rows, and the choice says which one it is."""
    arrive(referral(), placement(), payment())
    browser = served.guest(Scope.READ)

    usual, oldest = browser.get(PAGE), browser.get(PAGE, params={"order": "oldest"})

    assert "Debt d-1" in rows(usual.text)[-1]
    assert rows(oldest.text) == rows(usual.text)[::-1]
    assert '<option value="oldest" selected>' in oldest.text
    assert browser.get(PAGE, params={"order": "size"}).status_code == 422


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_long_timeline_comes_in_pages(served: Served, arrive: Arrive, order: str) -> None:
    """No row twice and none left out, also among those of one instant; the links keep all else."""
    arrive(referral(), *map(notice, range(NOTICES)))
    browser = served.guest(Scope.READ)
    asked = {"order": order, "kind": "customer.notice.delivered.v1", "at": day(2).isoformat()}

    first = browser.get(PAGE, params=asked)
    second = browser.get(link(first.text, "Next page"))
    seen = [re.findall(r"n-\d{3}", row)[0] for page in (first, second) for row in rows(page.text)]

    wanted = [f"n-{number:03}" for number in range(NOTICES)]
    assert seen == (wanted if order == "oldest" else wanted[::-1])
    assert len(rows(first.text)) == PAGE_LINES
    assert f"Lines {PAGE_LINES + 1} to {NOTICES} of {NOTICES}" in told(second.text)
    assert link(second.text, "Next page") == ""
    assert dict(second.url.params) | asked == dict(second.url.params)
    assert rows(browser.get(link(second.text, "To the first page")).text) == rows(first.text)


def test_what_comes_meanwhile_moves_no_page(served: Served, arrive: Arrive) -> None:
    """A page begins behind the last line of the one before, however many came above it."""
    arrive(referral(), *map(notice, range(NOTICES)))
    browser = served.guest(Scope.READ)
    first = browser.get(PAGE)

    arrive(placement(), payment(paid_at=day(5)))
    second = browser.get(link(first.text, "Next page"))

    assert set(rows(second.text)) & set(rows(first.text)) == set()
    assert f"n-{NOTICES - PAGE_LINES - 1:03}" in rows(second.text)[0]


@pytest.mark.parametrize("query", [{"kind": "no.such.kind"}, {"cursor": "x"}, {"cursor": "x" * 2_000}])
def test_what_the_address_can_not_mean_of_it_is_refused(
    served: Served, arrive: Arrive, query: dict[str, str]
) -> None:
    """In words that name the field."""
    arrive(referral())

    answer = served.guest(Scope.READ).get(PAGE, params=query)

    assert answer.status_code == 422
    assert next(iter(query)) in answer.text


def test_the_kind_that_is_chosen_stays_chosen_where_there_is_none_of_it(served: Served, arrive: Arrive) -> None:
    """So nobody takes a filtered timeline for an empty one."""
    arrive(referral())

    page = served.guest(Scope.READ).get(PAGE, params={"kind": "agency.contact.made.v1"})

    assert '<option value="agency.contact.made.v1" selected>' in page.text
    assert "Nothing of this kind happened" in told(page.text)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("recalled from agency-1", "guard.recall.requested.v1"),
        ("was told that", "guard.balance.reduced.v1"),
        ("was told to pause", "guard.placement.suspended.v1"),
        ("was told to go on", "guard.placement.resumed.v1"),
    ],
)
def test_a_message_of_ours_opens_to_what_was_published(
    served: Served, arrive: Arrive, database: Database, words: str, kind: str
) -> None:
    """Byte for byte as the outbox has it; that it was read is written down first."""
    dispute = {"dispute_id": "x-1", "debt_id": "d-1"}
    arrive(referral(), placement(), payment("p-0", amount=40_00, paid_at=day(4)))
    begun = {"opened_at": day(4, 1).isoformat(), **dispute}
    arrive(said("customer.dispute.opened.v1", begun, at=day(4, 1)))
    closed = {"closed_at": day(4, 2).isoformat(), "outcome": "rejected", **dispute}
    arrive(said("customer.dispute.closed.v1", closed, at=day(4, 2)))
    arrive(payment(amount=60_00, paid_at=day(5)))

    page = opened(served.guest(Scope.READ), words)
    shown = re.search(r"<pre[^>]*>(.*?)</pre>", page.text, re.DOTALL)
    newest = Records(database).newest(account_id=ACCOUNT, limit=1)[0]

    assert shown is not None
    message = json.loads(html.unescape(shown[1]))
    assert (message["type"], message["data"]["placement_id"]) == (kind, "l-1")
    assert (newest.act, newest.target) == (Act.MESSAGE_READ, str(page.url).rpartition("/")[2])
    assert "guard.recalls" in page.text


def test_a_question_of_collections_opens_to_its_answer(served: Served, arrive: Arrive) -> None:
    """The decision with all that it was made on."""
    arrive(referral())
    asked = {"account_id": ACCOUNT, "debt_id": "d-1", "agency_id": "agency-1"}
    clearance = served.caller().post("/v1/clearances", json=asked).json()

    page = opened(served.guest(Scope.READ), "Collections asked")

    assert clearance["clearance_id"] in page.text
    assert "guard.decisions" in page.text


def test_a_message_of_another_account_is_not_there(served: Served, arrive: Arrive, database: Database) -> None:
    """Nor is one that was only copied to the quarantine's stream; and nothing of it is shown unrecorded."""
    arrive(referral(), placement(), payment())
    arrive(referral(account_id="a-9"), record("billing.payment.settled.v1", at=day(3), event_id="bad", amount=-5))
    browser = served.guest(Scope.READ)
    with database.transaction() as connection:
        recall = connection.execute(sa.text("SELECT outbox_id FROM outbox WHERE recall_id IS NOT NULL")).scalar()
        copy = connection.execute(sa.text("SELECT outbox_id FROM outbox WHERE topic = 'guard.quarantine'")).scalar()
        connection.execute(sa.text("UPDATE outbox SET account_id = :one WHERE outbox_id = :copy"),
                           {"one": ACCOUNT, "copy": copy})  # fmt: skip

    assert browser.get(f"/console/accounts/a-9/messages/{recall}").status_code == 404
    assert browser.get(f"{PAGE}/messages/{copy}").status_code == 404
    assert browser.get(f"{PAGE}/messages/{recall}").status_code == 200
    with database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE console_record RENAME TO console_record_gone"))
    assert "guard.recalls" not in browser.get(f"{PAGE}/messages/{recall}").text


def test_an_event_whose_bytes_were_not_kept_opens_to_the_fact(served: Served, arrive: Arrive) -> None:
    """What the ledger has of it, field by field, and that the bytes are missing."""
    arrive(payment("p-early", amount=12_34, paid_at=day(1)))
    arrive(referral(), placement())

    page = opened(served.guest(Scope.READ), "p-early")

    fields = dict(re.findall(r"<dt><code>(\w+)</code></dt><dd><code>(.*?)</code></dd>", page.text))
    assert "were not kept" in told(page.text)
    assert (fields["type"], fields["money_id"]) == ("billing.payment.settled.v1", "p-early")
    assert (fields["amount"], fields["currency"]) == ("1234", "RUB")
    assert fields["money_at"] == fields["event_time"] == day(1).isoformat()
