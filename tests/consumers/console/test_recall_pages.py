"""The recalls at the console: the list, one in full, and what an order does and leaves behind; on real parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from html import unescape

import httpx2
import pytest
import sqlalchemy as sa

from consumers.console.recalls import PAGE_RECALLS
from domain.access import Scope
from domain.agency import Agency
from domain.recall import RecallStage, recall_id_of
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.ordering import acts, reply_of
from tests.parts import Parts
from tests.records import payment, placement, record, referral
from tests.serving import Clock, Served, Ways, form_token_in, serving

pytestmark = pytest.mark.parts

RECALL = recall_id_of(ACCOUNT, "l-1")
LIST = "/console/recalls"
ONE = f"{LIST}/{RECALL}"
NASTY = "<script>alert(1)</script>\"'&{{7*7}}"
SENT = "UPDATE outbox SET sent_at = clock_timestamp() WHERE sent_at IS NULL"


@pytest.fixture
def served(parts: Parts, database: Database, caught_up: None) -> Iterator[Served]:
    """An API with the console below it, on day 10."""
    clock = Clock()
    clock.now = day(10)
    agencies = {"agency-1": Agency("agency-1", name=NASTY, escalation_contact=f"Ivan {NASTY}")}
    with serving(parts, database, Ways(clock=clock, agencies=agencies)) as one:
        yield one


@pytest.fixture
def browser(served: Served) -> httpx2.Client:
    """Somebody who may operate."""
    return served.guest(Scope.READ, Scope.OPERATE)


def change(database: Database, *statements: str, **values: object) -> None:
    """Do what other parts of the house do: send a recall, let a deadline pass."""
    with database.transaction() as connection:
        for statement in statements:
            connection.execute(sa.text(statement), values)


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def order(browser: httpx2.Client, path: str, **fields: str) -> httpx2.Response:
    """Send a form of the list, as it is now."""
    token = form_token_in(browser.get(LIST).text)
    return browser.post(path, data={"form_token": token, "next": f"{LIST}?open=all", **fields})


def listed(page: str) -> list[str]:
    """The placements on a page of the list."""
    return re.findall(r">Placement ([^<]+)<", page)


def recalled(arrive: Arrive, accounts: int, *, agency_id: str = "agency-1") -> None:
    """So many accounts, each paid and recalled."""
    for number in range(accounts):
        name = f"a-{number}"
        arrive(
            referral(account_id=name),
            placement(f"l-{number}", account_id=name, agency_id=agency_id),
            payment(account_id=name),
            now=day(5) + timedelta(minutes=number),
        )


def test_the_list_tells_of_each_recall_what_stands_in_its_way(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """Its state, whose it is, why, how late, what was tried, and what the agency did in spite of it."""
    arrive(referral(), placement(), payment(), now=day(5))
    change(
        database,
        "UPDATE outbox SET attempts = 3, last_error = 'connection refused', due_at = :due",
        "UPDATE recall SET overdue_at = :at, acknowledge_by = :at, rejection = NULL, resends = 2",
        "INSERT INTO contact VALUES ('a-1', 'l-1', :at, 'phone', :at)",
        at=day(6),
        due=day(10) + timedelta(minutes=4),
    )

    page = unescape(re.sub(r"<[^>]+>", " ", browser.get(f"{LIST}?overdue=true&agency_id=agency-1").text))

    words = " ".join(page.split())
    for told in (
        "overdue Placement l-1 Account a-1",
        "The debt is paid",
        "paid after the placement",
        "4 d late",
        "3 attempts, sent again 2 times next try in 4 min connection refused",
        "The agency spoke to the customer after it: 1 time",
        "It waits to be sent already.",
    ):
        assert told in words, told


def test_who_ordered_a_recall_and_why_is_told(arrive: Arrive, browser: httpx2.Client, served: Served) -> None:
    """On the pages and by the API: the order is an event, and has the reason."""
    arrive(referral(), placement())
    ordered = {"reason": f"wrong customer {NASTY} \x01\x9f\\u0000 🙂", "requested_by": "M. Petrova"}
    made = served.caller().post("/v1/placements/l-1/recall", json=ordered).json()

    pages = [unescape(browser.get(path).text) for path in (LIST, ONE)]
    (one,) = served.caller().get("/v1/recalls").json()["recalls"]

    assert (made["requested_reason"], one["requested_reason"]) == (ordered["reason"],) * 2
    assert "ordered by M. Petrova" in pages[0]
    assert all(ordered["reason"] in page for page in pages)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["l-0", "l-1"]),
        ("?open=all", ["l-0", "l-1", "l-2"]),
        ("?open=false", ["l-2"]),
        ("?state=acknowledged", ["l-2"]),
        ("?state=sent&agency_id=&overdue=&open=all&cursor=", ["l-1"]),
        ("?overdue=true", ["l-0"]),
        ("?agency_id=agency-9", []),
    ],
)
def test_the_filters_are_in_the_address(
    arrive: Arrive, database: Database, browser: httpx2.Client, query: str, expected: list[str]
) -> None:
    """Without any it shows what is open; a field of the form that is left empty filters nothing."""
    recalled(arrive, 3)
    change(
        database,
        "UPDATE recall SET overdue_at = :at WHERE account_id = 'a-0'",
        "UPDATE recall SET sent_at = :at WHERE account_id = 'a-1'",
        "UPDATE recall SET acknowledged_at = :at WHERE account_id = 'a-2'",
        at=day(6),
    )

    assert listed(browser.get(LIST + query).text) == expected


@pytest.mark.parametrize("query", ["state=lost", "overdue=maybe", "open=1", "cursor=x", f"agency_id={'a' * 129}"])
def test_a_filter_that_is_none_is_told_by_name(browser: httpx2.Client, query: str) -> None:
    """With the field, and no list."""
    answer = browser.get(f"{LIST}?{query}")

    assert answer.status_code == 422
    assert f"<p>{query.partition('=')[0]}: must be" in answer.text


def test_pages_follow_one_another(arrive: Arrive, browser: httpx2.Client) -> None:
    """Each recall is on one page, under the same filters; the last page leads nowhere."""
    recalled(arrive, PAGE_RECALLS + 1)

    first = browser.get(f"{LIST}?open=true&agency_id=agency-1").text
    (following,) = re.findall(r'<a href="([^"]+)" rel="next">', first)
    second = browser.get(unescape(following)).text

    assert listed(first) + listed(second) == [f"l-{number}" for number in range(PAGE_RECALLS + 1)]
    assert 'rel="next"' not in second
    assert "agency_id=agency-1" in following
    assert 'href="/console/recalls?agency_id=agency-1&amp;open=true">To the first page' in second


def test_who_may_only_read_is_told_why_nothing_can_be_ordered(arrive: Arrive, served: Served) -> None:
    """The buttons are there, and say that they need a scope."""
    arrive(referral(), placement(), payment())
    reader = served.guest(Scope.READ)

    for path in (LIST, ONE):
        page = reader.get(path).text
        assert page.count('<button disabled aria-describedby="needs-operate">') == 2
        assert 'id="needs-operate">Your key may only read; this needs the scope `operate`.' in page
        assert f'action="{ONE}/resend"' not in page


def test_one_is_sent_again_and_recorded(arrive: Arrive, database: Database, browser: httpx2.Client) -> None:
    """A copy waits, the list says so once, and the record has who did it."""
    arrive(referral(), placement(), payment())
    change(database, SENT)

    answer = order(browser, f"{ONE}/resend", seen="sent:0")
    reloaded = browser.get(LIST)

    assert (answer.status_code, answer.url.path, answer.url.query) == (200, LIST, b"open=all")
    assert reply_of(answer) == "The recall of placement l-1 is on its way again."
    assert reply_of(reloaded) == ""
    assert rows(database, "SELECT again FROM outbox WHERE sent_at IS NULL") == [("by_hand",)]
    assert acts(database) == [(Act.RECALL_RESENT, ACCOUNT, RECALL, "", "resent")]
    assert Records(database).newest(limit=1)[0].name == "tests"


def test_two_clicks_send_one_copy(arrive: Arrive, database: Database, browser: httpx2.Client) -> None:
    """At the same time or one after the other, also where the first copy has gone out since."""
    arrive(referral(), placement(), payment())
    change(database, SENT)
    token = form_token_in(browser.get(LIST).text)
    form = {"form_token": token, "seen": "sent:0"}

    with ThreadPoolExecutor(4) as people:
        together = list(people.map(lambda _: browser.post(f"{ONE}/resend", data=form).status_code, range(4)))
    change(database, SENT)
    late = browser.post(f"{ONE}/resend", data=form)

    assert together == [200] * 4
    assert rows(database, "SELECT count(*) FROM outbox WHERE again <> ''") == [(1,)]
    assert reply_of(late).startswith("Nothing was done: the recall of placement l-1 was sent again since")
    outcomes = [one[4] for one in acts(database) if one[0] == Act.RECALL_RESENT]
    assert (len(outcomes), outcomes.count("resent"), outcomes[-1]) == (5, 1, "resent_meanwhile")


def test_a_page_that_is_older_than_the_answer_does_nothing(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """It is told that the recall has ended; who has seen that may send it all the same."""
    arrive(referral(), placement(), payment())
    change(database, SENT, "UPDATE recall SET sent_at = :at, acknowledged_at = :at", at=day(9))

    stale = order(browser, f"{ONE}/resend", seen="sent:0")
    taken = order(browser, f"{ONE}/take-over", reason="they call back")
    copies = rows(database, "SELECT count(*) FROM outbox WHERE again <> ''")
    seen = order(browser, f"{ONE}/resend", seen="acknowledged:0")

    assert "the recall of placement l-1 has ended (acknowledged)" in reply_of(stale)
    assert "the recall of placement l-1 has ended (acknowledged)" in reply_of(taken)
    assert copies == [(0,)]
    assert reply_of(seen) == "The recall of placement l-1 is on its way again."
    assert rows(database, "SELECT state, taken_over_by FROM recall") == [("acknowledged", None)]
    assert [one[4] for one in acts(database)] == ["over_meanwhile", "over_meanwhile", "resent"]


def test_a_recall_is_taken_over_by_whoever_asks_first(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """With the reason; a second click changes nothing, and another person is told who has it."""
    arrive(referral(), placement(), payment())
    reason = f"they call back {NASTY}"

    answers = [order(browser, f"{ONE}/take-over", reason=reason) for _ in range(2)]
    change(database, "UPDATE recall SET taken_over_by = 'Vera'")
    answers.append(order(browser, f"{ONE}/take-over", reason="me too"))

    assert list(map(reply_of, answers)) == [
        "The recall of placement l-1 is yours now. What waits to be sent still goes; it is not repeated.",
        "The recall of placement l-1 was yours already.",
        "Nothing was done: Vera has the recall of placement l-1 already.",
    ]
    assert rows(database, "SELECT state, taken_over_reason FROM recall") == [(RecallStage.TAKEN_OVER, reason)]
    assert [(one[0], one[3], one[4]) for one in acts(database)] == [
        (Act.RECALL_TAKEN_OVER, reason, "taken_over"),
        (Act.RECALL_TAKEN_OVER, reason, "yours_already"),
        (Act.RECALL_TAKEN_OVER, "me too", "with_another"),
    ]
    assert "Vera has it already." in browser.get(LIST).text
    refused = order(browser, f"{ONE}/take-over", reason=" ")
    assert (refused.status_code, "reason: must be 1 to 500 printable" in refused.text) == (422, True)


def test_several_are_sent_again_at_once(arrive: Arrive, database: Database, browser: httpx2.Client) -> None:
    """Those that can be; each is recorded, and the page tells how many of how many."""
    recalled(arrive, 3)
    ids = [recall_id_of(f"a-{number}", f"l-{number}") for number in range(3)]
    change(database, f"{SENT} AND account_id <> 'a-0'")
    change(database, "UPDATE recall SET acknowledged_at = :at WHERE account_id = 'a-2'", at=day(9))

    chosen = {f"recall:{one}": "sent:0" for one in [*ids, "none"]}
    some = order(browser, f"{LIST}/resend", **chosen)
    nothing = order(browser, f"{LIST}/resend", **{f"recall:{ids[0]}": "requested:0"})
    none = order(browser, f"{LIST}/resend")
    many = order(browser, f"{LIST}/resend", **{f"recall:{n}": "" for n in range(PAGE_RECALLS + 1)})

    assert reply_of(some).startswith("1 recall of 4 is on its way again.")
    assert reply_of(nothing).startswith("Nothing was sent: each of these 1 waits already")
    assert reply_of(none) == "Nothing was sent: no recall was chosen."
    assert (many.status_code, f"at most {PAGE_RECALLS} recalls" in many.text) == (422, True)
    assert [(one[1], one[4]) for one in acts(database)] == [
        ("a-0", "waits"),
        ("a-1", "resent"),
        ("a-2", "over_meanwhile"),
        ("a-0", "waits"),
    ]


def test_one_in_full_has_its_life_and_what_went_over_the_wire(
    arrive: Arrive, database: Database, browser: httpx2.Client
) -> None:
    """From the placement on, with each attempt; that somebody read it is recorded first."""
    arrive(referral(), placement(), payment(), now=day(5))
    change(database, SENT, "UPDATE recall SET sent_at = :at, escalated_at = :at", at=day(6))
    attempt = """
    INSERT INTO delivery_attempt SELECT account_id, outbox_id, 1, 'webhook', :at, :ended, false, :target, :detail,
                                        :request, :response FROM outbox WHERE recall_id = :recall"""
    request = b"POST /recalls HTTP/1.1\r\n\x00\xff" + b"x" * 5_000
    given = {"at": day(6), "ended": day(6) + timedelta(seconds=2), "target": NASTY, "detail": NASTY}
    change(database, attempt, **given, request=request, response=NASTY.encode(), recall=RECALL)

    page = unescape(browser.get(ONE).text)

    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for told in (
        "Placed with agency-1.",
        "Paid, as event p-1 of test says.",
        "Became a matter for people.",
        "Attempt 1 by webhook, 8 Nov 2026 09:00:00 , 2.0 s",
        r"POST /recalls HTTP/1.1 \x00\xff",
        "930 bytes more are not shown",
        "guard.recall.requested.v1",
        "Call agency-1: Ivan",
    ):
        assert told in words, told
    assert acts(database) == [(Act.RECALL_READ, ACCOUNT, RECALL, "", "")]
    assert browser.get(f"{LIST}/none").status_code == 404
    assert order(browser, f"{LIST}/none/resend", seen="").status_code == 404
    assert order(browser, f"{LIST}/none/take-over", reason="?").status_code == 404


@pytest.mark.parametrize("tongue", ["en", "ru"])
def test_no_text_of_others_becomes_a_part_of_the_page(
    arrive: Arrive, database: Database, served: Served, tongue: str
) -> None:
    """Errors, objections and reasons stand as they were written, in either language."""
    arrive(
        referral(),
        placement(NASTY.replace(" ", "")),
        payment(),
        record("agency.placement.accepted.v1", at=day(4), placement_id="l-1", accepted_at=day(4).isoformat()),
    )
    change(
        database,
        "UPDATE outbox SET last_error = :nasty, attempts = 2",
        "UPDATE recall SET rejected_at = :at, rejection = :nasty, requested_by = :nasty, taken_over_at = :at, "
        "taken_over_by = :nasty, taken_over_reason = :nasty",
        nasty=NASTY,
        at=day(6),
    )
    guest = served.guest(tongue=tongue)
    (found,) = rows(database, "SELECT recall_id FROM recall")

    pages = [guest.get(path).text for path in (LIST, f"{LIST}/{found[0]}", "/console/agencies/agency-1")]

    for page in pages:
        assert f'<html lang="{tongue}"' in page
        assert "<script>alert" not in page
        assert "49" not in re.findall(r"\{\{.*?\}\}", page)
        assert NASTY in unescape(page)


def test_a_reply_is_told_only_from_a_cookie_of_ours(browser: httpx2.Client) -> None:
    """What is none, or says what we never say, is passed over and taken away."""
    session = f"guard-session={browser.cookies['guard-session']}"
    browser.cookies.clear()
    for written in ("x", "e30", "bm8", "W10", "a" * 3_000):
        answer = browser.get(LIST, headers={"Cookie": f"{session}; guard-reply={written}"})
        assert reply_of(answer) == ""
        assert answer.headers["set-cookie"].startswith('guard-reply=""; ')


def test_an_order_leads_back_to_the_console_alone(arrive: Arrive, browser: httpx2.Client) -> None:
    """Whatever the form says."""
    arrive(referral(), placement(), payment())
    token = form_token_in(browser.get(LIST).text)
    sent = {"form_token": token, "seen": "requested:0", "next": "https://elsewhere.example"}

    answer = browser.post(f"{ONE}/resend", data=sent, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
