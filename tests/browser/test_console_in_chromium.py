"""The console in a real browser: every page, both languages and looks, a phone's width, keys alone, no scripts.

With `GUARD_TEST_SCREENSHOTS=1` the pages are kept as pictures in `docs/images`, for the page of the docs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, sync_playwright

from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, record, referral
from tests.serving import Served, Ways, serving
from tests.tidy import pages
from tests.tools import tool

pytestmark = [pytest.mark.parts, pytest.mark.browser]

FLAGS = (
    "--no-sandbox",  # The tests may run as root.
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PAGES = {
    "now": "/console/",
    "find": "/console/accounts",
    "account": f"/console/accounts/{ACCOUNT}",
    "event": f"/console/accounts/{ACCOUNT}/event?source=test&id=l-1",
    "message": f"/console/accounts/{ACCOUNT}/messages/2",
    "past": f"/console/accounts/{ACCOUNT}?at=2026-11-05T12:00:00Z",
    "recalls": "/console/recalls",
    "agencies": "/console/agencies",
    "agency": "/console/agencies/agency-1",
    "quarantine": "/console/quarantine",
    "record": "/console/record",
}

KEPT = PAGES.keys() - {"find", "event", "message"}
"""Of these the docs have pictures."""

PHONE_PIXELS = 375
DESKTOP_PIXELS = 1_280

SERIOUS = {"serious", "critical"}

SCREENSHOTS = pages.ROOT / "docs" / "images"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    path = str(tool("chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def served(parts: Parts, database: Database, arrive: Arrive, caught_up: None) -> Iterator[Served]:
    """A console over a paid and a plain placement, and an event in quarantine; four days after the payment."""
    arrive(referral(), placement())
    arrive(referral(account_id="a-9"), placement("l-9", account_id="a-9", agency_id="agency-2"))
    arrive(record("billing.payment.settled.v1", at=day(3), account_id="a-9", event_id="bad", amount=-5))
    ways = Ways()
    ways.clock.now = day(8)
    with serving(parts, database, ways) as one:
        yield one


@contextmanager
def opened(
    chromium: Browser, served: Served, *, tongue: str = "en", dark: bool = False, pixels: int = DESKTOP_PIXELS
) -> Iterator[tuple[Page, list[str]]]:
    """A page that is signed in, and what the browser complained of."""
    complaints: list[str] = []
    context = chromium.new_context(
        locale=tongue, color_scheme="dark" if dark else "light", viewport={"width": pixels, "height": 900}
    )
    try:
        page = context.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
        page.on("pageerror", lambda why: complaints.append(str(why)))
        page.goto(f"{served.url}/console/sign-in")
        page.fill("input[name=key]", served.key())
        page.press("input[name=key]", "Enter")
        page.wait_for_url("**/console/")
        yield page, complaints
    finally:
        context.close()


@pytest.mark.parametrize(("tongue", "dark", "pixels"), [("en", False, DESKTOP_PIXELS), ("ru", True, PHONE_PIXELS)])
def test_every_page_can_be_read_by_all(
    chromium: Browser, served: Served, arrive: Arrive, tongue: str, dark: bool, pixels: int
) -> None:
    """No serious finding of axe, nothing wider than the screen, and nothing that the browser complains of."""
    arrive(payment())
    with opened(chromium, served, tongue=tongue, dark=dark, pixels=pixels) as (page, complaints):
        findings = []
        for name, path in PAGES.items():
            page.goto(served.url + path)
            found = Axe().run(page).response["violations"]
            findings += [
                f"{name}: {one['id']} {one['nodes'][0]['target']}" for one in found if one["impact"] in SERIOUS
            ]
            if page.evaluate("document.documentElement.scrollWidth") > pixels:
                findings.append(f"{name}: wider than {pixels} pixels")
            if os.environ.get("GUARD_TEST_SCREENSHOTS") and name in KEPT:
                SCREENSHOTS.mkdir(exist_ok=True)
                page.screenshot(path=SCREENSHOTS / f"{name}-{tongue}.png", full_page=False)

    assert findings == []
    assert complaints == []


def test_an_open_page_shows_a_payment_without_being_loaded_again(
    chromium: Browser, served: Served, arrive: Arrive
) -> None:
    """The bar turns, and says how old it is."""
    with opened(chromium, served) as (page, complaints):
        page.evaluate("window.neverLoadedAgain = true")
        page.wait_for_selector("#now-verdict:has-text('0 paid customers')")

        arrive(payment())

        page.wait_for_selector("#now-verdict:has-text('1 paid customer is')")
        page.wait_for_selector("[data-updated]:has-text('updated')")
        assert page.evaluate("window.neverLoadedAgain")
    assert complaints == []


def test_a_page_that_is_not_live_says_so_until_it_is(chromium: Browser, served: Served, database: Database) -> None:
    """While the database can't be looked at: since when, read out when there is time; nothing once it can."""
    with opened(chromium, served) as (page, complaints):
        page.wait_for_selector("[data-updated]:has-text('updated')")
        rename(database, "recall", "recall_gone")
        page.wait_for_selector("[data-not-live] p")
        said = page.inner_text("[data-not-live]")
        rename(database, "recall_gone", "recall")
        page.wait_for_selector("[data-not-live]:not(:has(p))", state="attached")

        assert re.match(r"Not live: the guard can't look at its database\. .* of \d{1,2}:\d\d:\d\d", said)
        assert page.get_attribute("[data-not-live]", "aria-live") == "polite"
    assert complaints == []


@pytest.mark.parametrize(
    ("tongue", "event", "expected"),
    [
        ("en", "trouble", "Not live: the guard can't look"),
        ("en", "full", "Not live: too many pages are open"),
        ("en", "", "Not live: the console does not answer"),
        ("ru", "trouble", "система не может обратиться к базе данных"),
        ("ru", "full", "открыто слишком много страниц"),
        ("ru", "", "консоль не отвечает"),
    ],
)
def test_each_reason_why_nothing_is_new_has_its_words(
    chromium: Browser, served: Served, tongue: str, event: str, expected: str
) -> None:
    """What the stream says, and that there is none."""
    with opened(chromium, served, tongue=tongue) as (page, _):
        page.route("**/console/live/now*", lambda route: said(route, event) if event else route.abort())
        page.reload()
        page.wait_for_selector(f'[data-not-live]:has-text("{expected}")')


def test_a_page_is_live_again_after_the_stream_was_answered_by_an_error(chromium: Browser, served: Served) -> None:
    """A browser gives such a stream up; the page does not."""
    calls: list[str] = []

    def send(route: Route) -> None:
        calls.append(route.request.url)
        route.fulfill(status=502) if len(calls) == 1 else said(route, "", {"now-agencies": "<p>again</p>"})

    with opened(chromium, served) as (page, _):
        page.route("**/console/live/now*", send)
        page.reload()

        page.wait_for_selector("#now-agencies:has-text('again')")

    assert len(calls) > 1


def test_what_has_not_changed_is_not_replaced(chromium: Browser, served: Served) -> None:
    """A part is left alone while the server sends what it sent before, however a browser would write it."""
    counts = """window.replaced = 0;
        document.addEventListener("DOMContentLoaded", () =>
            new MutationObserver((all) => { window.replaced += all.length; })
                .observe(document.getElementById("now-agencies"), { childList: true }));"""
    calls: list[str] = []
    with opened(chromium, served) as (page, _):
        here = page.request.get(f"{served.url}/console/").text()
        stands = here.partition('<div id="now-agencies">')[2].partition("</div></section>")[0]
        messages = [stands, stands, "<p title='new'>it&#39;s > new</p>"]

        def send(route: Route) -> None:
            calls.append(messages[min(len(calls), len(messages) - 1)])
            said(route, "", {"now-agencies": calls[-1]})

        page.add_init_script(counts)
        page.route("**/console/live/now*", send)
        page.reload()
        while len(calls) < 2:
            page.wait_for_timeout(50)
        before = page.evaluate("window.replaced")
        page.wait_for_selector("#now-agencies:has-text('> new')")
        while len(calls) < 6:
            page.wait_for_timeout(50)

        assert stands
        assert (before, page.evaluate("window.replaced")) == (0, 1)


def test_a_recall_is_sent_again_with_the_keyboard_alone(
    chromium: Browser, served: Served, arrive: Arrive, database: Database
) -> None:
    """From the list: to the order, open it, give it; the page then says so, and the record who did it."""
    arrive(payment())
    mark_sent(database)
    with opened(chromium, served) as (page, _):
        page.goto(f"{served.url}/console/recalls")
        tab_to(page, "Send again")
        page.keyboard.press("Enter")
        tab_to(page, "Send it again")
        with page.expect_navigation():
            page.keyboard.press("Enter")
        page.wait_for_selector("main [role=status]")

    acts = [one.act for one in Records(database).newest(limit=1)]
    assert acts == [Act.RECALL_RESENT]


def test_every_page_works_without_a_script(chromium: Browser, served: Served, arrive: Arrive) -> None:
    """What is told is in the page; a script only renews it."""
    arrive(payment())
    context = chromium.new_context(java_script_enabled=False, locale="en")
    page = context.new_page()
    page.goto(f"{served.url}/console/sign-in")
    page.fill("input[name=key]", served.key())
    page.click("main button")

    texts = {}
    for name, path in PAGES.items():
        page.goto(served.url + path)
        texts[name] = page.inner_text("main")
    context.close()

    assert "1 paid customer is with a collector" in texts["now"]
    assert "Yes: the debt is paid" in texts["account"]
    assert all(texts.values())


def tab_to(page: Page, text: str) -> None:
    """Press Tab until what has the focus begins with this text."""
    for _ in range(100):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.innerText || ''")
        if re.match(re.escape(text), focused.strip()):
            return
    raise AssertionError(f"no Tab leads to {text!r}")


def said(route: Route, event: str, parts: dict[str, str] | None = None) -> None:
    """Answer as a stream that says one thing and ends; the browser soon asks again."""
    head = f"event: {event}\n" if event else ""
    body = f"retry: 50\n\n{head}data: {json.dumps(parts or {})}\n\n"
    route.fulfill(content_type="text/event-stream", body=body)


def rename(database: Database, name: str, new: str) -> None:
    """Give a table another name: what needs it fails."""
    with database.transaction() as connection:
        connection.execute(sa.text(f"ALTER TABLE {name} RENAME TO {new}"))


def mark_sent(database: Database) -> None:
    """As a dispatcher would: every recall has reached its agency."""

    with database.transaction() as connection:
        at = {"at": day(7) + timedelta(minutes=1)}
        connection.execute(sa.text("UPDATE outbox SET sent_at = :at"), at)
        connection.execute(sa.text("UPDATE recall SET sent_at = :at"), at)
