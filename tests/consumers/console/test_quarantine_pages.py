"""The quarantine at the console: the list, one event in full, and what its orders leave behind; on real parts."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html import unescape

import httpx2
import pytest
import sqlalchemy as sa

from consumers.console.quarantine import PAGE_EVENTS
from consumers.parts import CODEC
from domain.access import Scope
from domain.events import RawRecord
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger, Outcome, Quarantined
from infra.postgres.quarantine import Quarantine
from infra.postgres.records import Act
from tests.builders import ACCOUNT
from tests.conftest import Arrive
from tests.ordering import acts, reply_of
from tests.records import payment, placement, referral
from tests.serving import Served, form_token_in

pytestmark = pytest.mark.parts

LIST = "/console/quarantine"
NASTY = "<script>alert(1)</script>"


@pytest.fixture
def browser(served: Served) -> httpx2.Client:
    """Somebody who may operate."""
    return served.guest(Scope.READ, Scope.OPERATE)


def set_aside(database: Database, *records: RawRecord, detail: str = "a fault of ours") -> list[int]:
    """Put events in quarantine, as a fault of ours that is mended now would have."""
    accounts = [str(json.loads(raw.value or b"{}").get("subject", ACCOUNT)) for raw in records]
    quarantined = [
        Quarantined(raw, "OUR_FAULT", detail, (name,)) for raw, name in zip(records, accounts, strict=True)
    ]
    with Ledger(database, CODEC, "").batch() as batch:
        return batch.save(Outcome(quarantined=quarantined)).quarantined


def bad(number: int = 0) -> RawRecord:
    """A payment that will never be one."""
    raw = payment(f"p-{number}")
    return replace(raw, value=(raw.value or b"").replace(b"10000", b"-1"))


def order(browser: httpx2.Client, path: str, **fields: str) -> httpx2.Response:
    """Send a form of the list, as it is now."""
    token = form_token_in(browser.get(LIST).text)
    return browser.post(LIST + path, data={"form_token": token, "next": LIST, **fields})


def listed(page: str) -> list[int]:
    """The events on a page of the list."""
    return [int(number) for number in re.findall(r">Event (\d+)<", page)]


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def test_what_waits_is_listed_by_account_and_page(database: Database, browser: httpx2.Client) -> None:
    """Oldest first, each on one page; without its content, and nothing is recorded."""
    ours = set_aside(database, *(payment(f"p-{number}") for number in range(PAGE_EVENTS + 1)))
    set_aside(database, payment(account_id="a/2"))

    first = browser.get(f"{LIST}?account_id={ACCOUNT}").text
    (following,) = re.findall(r'<a href="([^"]+)" rel="next">', first)
    second = browser.get(unescape(following)).text
    other = browser.get(f"{LIST}?account_id=a%2F2").text

    assert listed(first) + listed(second) == ours
    assert 'rel="next"' not in second
    assert f"Events that hold account a-1: {len(ours)}." in first
    assert 'href="/console/accounts/a%2F2"' in other
    assert f"{len(ours) + 1} events wait." in other
    assert "p-0" not in first
    assert acts(database) == []


def test_one_event_is_shown_in_full_and_recorded(database: Database, browser: httpx2.Client) -> None:
    """Its bytes as they came, made safe, with where it is from and what it holds."""
    headers = (("ce_<b>", b"\x00\xff<i>"), ("plain", b"text"))
    raw = replace(payment(), value=f'{{"subject": "a-1", "x": "{NASTY}\u202e"}}'.encode(), headers=headers)
    (number,) = set_aside(database, raw, detail=f"x: {NASTY}")

    answer = browser.get(f"{LIST}/{number}")

    page = unescape(answer.text)
    assert f'{{"subject": "a-1", "x": "{NASTY}\\u202e"}}' in page
    assert r"\x00\xff<i>" in page
    assert "ce_<b>" in page
    assert f"x: {NASTY}" in page
    assert "billing.payments/0, 0" in page
    assert re.search(r"<script>a|<i>|<b>", answer.text) is None
    assert acts(database) == [(Act.EVENT_READ, ACCOUNT, str(number), "", "")]
    assert browser.get(f"{LIST}/{number + 1}").status_code == 404
    assert browser.get(f"{LIST}/x").status_code == 422


def test_an_event_is_tried_again(arrive: Arrive, database: Database, browser: httpx2.Client) -> None:
    """What is good now is applied and its hold ends; what is still bad says why, also in the record."""
    arrive(referral(), placement())
    good, wrong = set_aside(database, payment(), bad())

    applied = order(browser, f"/{good}/requeue")
    again = order(browser, f"/{good}/requeue")
    still = order(browser, f"/{wrong}/requeue")

    assert reply_of(applied) == f"Event {good} is applied."
    assert reply_of(again) == f"Nothing was done: event {good} does not wait any more."
    assert reply_of(still) == f"Event {wrong} is still bad: BAD_DATA. Its account stays on hold."
    assert "BAD_DATA" in browser.get(LIST).text
    assert rows(database, "SELECT reason FROM recall") == [("DEBT_SETTLED",)]
    assert acts(database) == [
        (Act.EVENT_REQUEUED, ACCOUNT, str(good), "", "applied"),
        (Act.EVENT_REQUEUED, ACCOUNT, str(good), "", "not_waiting"),
        (Act.EVENT_REQUEUED, ACCOUNT, str(wrong), "", "still_bad BAD_DATA"),
    ]


def test_all_of_an_account_is_tried_again(arrive: Arrive, database: Database, browser: httpx2.Client) -> None:
    """How many were through is told, and why the others were not; other accounts are let be."""
    arrive(referral(), placement())
    set_aside(database, payment(), bad(), payment(account_id="a-2"))

    some = order(browser, "/requeue", account_id=ACCOUNT)
    Quarantine(database).drop(Quarantine(database).waiting()[0].quarantine_id, by="tests", reason="?")
    none = order(browser, "/requeue", account_id=ACCOUNT)
    all_of = order(browser, "/requeue", account_id="a-2")

    assert reply_of(some) == "Of 2 events of account a-1, 1 are applied; the others are still bad: BAD_DATA."
    assert reply_of(none) == "Nothing was done: no event of account a-1 waits any more."
    assert reply_of(all_of) == "1 event of account a-2 is applied."
    assert [(one[1], one[4]) for one in acts(database)] == [
        (ACCOUNT, "account_still_bad BAD_DATA"),
        (ACCOUNT, "nothing_waits"),
        ("a-2", "account_applied"),
    ]
    assert order(browser, "/requeue", account_id="").status_code == 422


def test_an_event_is_dropped_once_with_a_reason(database: Database, browser: httpx2.Client) -> None:
    """Two who click at once: one of them drops it, and the other is told that it does not wait any more."""
    (number,) = set_aside(database, payment())
    token = form_token_in(browser.get(LIST).text)
    form = {"form_token": token, "reason": f"a test of theirs {NASTY}", "next": f"{LIST}/{number}"}

    def click(_: int) -> int:
        return browser.post(f"{LIST}/{number}/drop", data=form, follow_redirects=False).status_code

    with ThreadPoolExecutor(2) as people:
        assert list(people.map(click, range(2))) == [303, 303]
    page = browser.get(f"{LIST}/{number}").text

    dropped = [one for one in acts(database) if one[0] == Act.EVENT_DROPPED]
    assert sorted(one[4] for one in dropped) == ["dropped", "not_waiting"]
    assert {one[1:4] for one in dropped} == {(ACCOUNT, str(number), form["reason"])}
    assert form["reason"] in unescape(page)
    assert NASTY not in page
    assert page.count("It does not wait any more.") == 2
    assert Quarantine(database).count() == 0
    assert order(browser, f"/{number}/drop").status_code == 422
    assert order(browser, f"/{number + 1}/drop", reason="?").status_code == 404
    assert order(browser, f"/{number + 1}/requeue").status_code == 404


def test_who_may_only_read_is_told_why_nothing_can_be_ordered(database: Database, served: Served) -> None:
    """In Russian too."""
    (number,) = set_aside(database, payment())
    reader = served.guest(Scope.READ, tongue="ru")

    pages = [reader.get(path).text for path in (f"{LIST}?account_id={ACCOUNT}", f"{LIST}/{number}")]

    assert [page.count('<button disabled aria-describedby="needs-operate">') for page in pages] == [3, 2]
    assert all("нужно право `operate`" in page for page in pages)
    assert "Счёт a-1 заблокирован из-за 1 события." in pages[0]


@pytest.mark.parametrize("query", ["after=x", "after=-1", f"account_id={'a' * 129}", "account_id=%00"])
def test_a_filter_that_is_none_is_refused(browser: httpx2.Client, query: str) -> None:
    """With a page, not with a fault."""
    assert browser.get(f"{LIST}?{query}").status_code == 422
