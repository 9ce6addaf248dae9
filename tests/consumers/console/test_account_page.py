"""The account page: why the collector calls, what to tell the customer, and what was known when; on real parts."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest
import sqlalchemy as sa

from consumers.console.words import Tongue, texts
from consumers.story import Step
from domain.access import Scope
from domain.clearance import Code
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from infra.wire.kinds import EVERY_KIND
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, received, record, referral
from tests.serving import Served, told

pytestmark = pytest.mark.parts

PAGE = f"/console/accounts/{ACCOUNT}"


@pytest.mark.parametrize(
    ("tongue", "answer", "customer"),
    [
        ("en", "Yes: the debt is paid, and agency-1 still has it.", "We are telling the collection agency"),
        ("ru", "Да: долг оплачен, но он всё ещё у агентства agency-1.", "Мы сообщаем агентству agency-1"),  # noqa: RUF001 # It is Russian.
    ],
)  # fmt: skip
def test_a_paid_debt_with_a_collector_is_told_in_one_sentence(
    served: Served, arrive: Arrive, tongue: str, answer: str, customer: str
) -> None:
    """The answer first, in the reader's language, then what to tell the customer."""
    arrive(referral(), placement(), payment())

    page = served.guest(Scope.READ, tongue=tongue).get(PAGE)

    assert answer in told(page.text)
    assert customer in told(page.text)


def test_a_price_rise_that_was_told_in_the_cabinet_alone_is_told_so(served: Served, arrive: Arrive) -> None:
    """The second story: 85 roubles short, and nobody was told as they had asked to be."""
    arrive(
        record(
            "collections.debt.referred.v1",
            at=day(1),
            account_id=ACCOUNT,
            as_of=day(1).isoformat(),
            due_on="2026-01-31",
            components=[{"kind": "price_change", "amount": 85_00}],
            debt_id="d-1",
            referral_id="r-1",
            amount=85_00,
            currency="RUB",
        ),
        record("customer.channels.chosen.v1", at=day(1), account_id=ACCOUNT, channels=["sms"]),
    )

    page = told(served.guest(Scope.READ, tongue="ru").get(PAGE).text)

    assert "повышении цены клиента не известили как положено" in page
    assert "возникла из-за изменения цены" in page


def test_reading_is_written_down_before_anything_is_shown(
    served: Served, arrive: Arrive, database: Database
) -> None:
    """Who read which account; and where that can't be written, nothing is shown."""
    arrive(referral(), placement())
    browser = served.guest(Scope.READ)

    browser.get(PAGE)
    newest = Records(database).newest(account_id=ACCOUNT, limit=5)
    with database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE console_record RENAME TO console_record_gone"))
    refused = browser.get(PAGE)

    assert [(one.act, one.name) for one in newest] == [(Act.ACCOUNT_READ, "tests")]
    assert refused.status_code == 500
    assert "agency-1" not in refused.text


def test_what_came_later_was_not_known_then(served: Served, arrive: Arrive) -> None:
    """A payment that was made before an instant, and came after it, is not there as of that instant."""
    arrive(received(referral(), day(1)), received(placement(), day(2)), received(payment(paid_at=day(2)), day(6)))
    browser = served.guest(Scope.READ)

    before = told(browser.get(PAGE, params={"at": (day(2) + timedelta(hours=12)).isoformat()}).text)

    assert "What we knew at" in before
    assert "No: the debt that agency-1 has is not paid." in before
    assert "Payment p-1" not in before


def test_of_the_past_nobody_is_told_what_to_tell_now(served: Served, arrive: Arrive) -> None:
    """What was known then is not what a customer is to hear; the page says where that is."""
    arrive(received(referral(), day(1)), received(placement(), day(2)), received(payment(), day(6)))
    browser = served.guest(Scope.READ)

    now, then = browser.get(PAGE), browser.get(PAGE, params={"at": day(3).isoformat()})

    assert "data-copy" in now.text
    assert "data-copy" not in then.text
    assert "to-tell" not in then.text
    assert "What to tell the customer is on the page of now." in told(then.text)


def test_what_is_english_on_a_russian_page_says_so(served: Served, arrive: Arrive, database: Database) -> None:
    """Evidence, what may be missing, and why an event waits: so that they are read out as what they are."""
    arrive(referral(), placement(), payment())
    arrive(record("billing.payment.settled.v1", at=day(3), event_id="bad", amount=-5))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE stream SET topic_id = 'another'"))
    page = served.guest(Scope.READ, tongue="ru").get(PAGE).text

    english = [told(one) for one in re.findall(r'<(?:span|code)[^>]* lang="en"[^>]*>(.*?)</(?:span|code)>', page)]
    foreign = [one for one in english if re.search(r"[\u0400-\u04ff]", one)]
    rest = told(re.sub(r'<(span|code)[^>]* lang="en"[^>]*>.*?</\1>', "", page))

    assert foreign == []
    assert [one for one in english if "l-1" in one]
    assert english.count("BAD_DATA") == 2
    assert [one for one in english if one.endswith("was deleted and made again")]
    assert "BAD_DATA" not in rest


@pytest.mark.parametrize("at", ["tomorrow", "2999-01-01T00:00:00Z", "2026-13-40"])
def test_an_instant_that_is_none_or_in_the_future_is_refused(served: Served, arrive: Arrive, at: str) -> None:
    """In words that name the field."""
    arrive(referral())

    answer = served.guest(Scope.READ).get(PAGE, params={"at": at})

    assert answer.status_code == 422
    assert "at: must" in answer.text


def test_an_event_opens_to_its_bytes(served: Served, arrive: Arrive, database: Database) -> None:
    """With its place in the streams; what could steer a reader is shown as its escape, and who looked is kept."""
    arrive(referral(), placement(), payment())
    browser = served.guest(Scope.READ)
    link = re.search(rf'href="({PAGE}/event[^"]+)"', browser.get(PAGE, params={"order": "oldest"}).text)
    assert link is not None

    page = browser.get(html.unescape(link[1]))

    assert page.status_code == 200
    assert "collections.referrals/" in page.text
    assert Records(database).newest(account_id=ACCOUNT, limit=1)[0].act is Act.EVENT_READ


def test_nothing_that_was_sent_becomes_a_part_of_the_page(served: Served, arrive: Arrive) -> None:
    """Markup in an id or in words stays text."""
    arrive(referral(debt_id="<script>alert(1)</script>"), placement(debt_id="<script>alert(1)</script>"))

    page = served.guest(Scope.READ).get(PAGE).text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_placement_is_recalled_by_its_button(served: Served, arrive: Arrive, database: Database) -> None:
    """The order is carried out once, whoever clicks again is told, and the record says who gave it."""
    arrive(referral(), placement())
    browser = served.guest()
    token = re.findall(r'name="form_token" value="([^"]+)"', browser.get(PAGE).text)[-1]
    sent = {"form_token": token, "account_id": ACCOUNT, "reason": "promised by phone"}

    first, second = (browser.post("/console/placements/l-1/recall", data=sent) for _ in range(2))

    assert "The placement is recalled" in first.text
    assert "It had been recalled before" in second.text
    outcomes = [one.outcome for one in Records(database).newest(account_id=ACCOUNT, limit=9) if one.target == "l-1"]
    assert outcomes == ["known_before", "asked", "ordered", "asked"]


def test_who_may_only_read_is_told_why_there_is_no_button(served: Served, arrive: Arrive) -> None:
    """And an order that is sent all the same is refused."""
    arrive(referral(), placement())
    browser = served.guest(Scope.READ)

    page = browser.get(PAGE)
    token = re.findall(r'name="form_token" value="([^"]+)"', page.text)[-1]
    sent = {"form_token": token, "account_id": ACCOUNT, "reason": "x"}

    assert "this needs the scope" in page.text
    assert browser.post("/console/placements/l-1/recall", data=sent).status_code == 403


@pytest.mark.parametrize("wanted", [ACCOUNT, "l-1"])
def test_an_account_is_found_by_its_id_or_a_placements(served: Served, arrive: Arrive, wanted: str) -> None:
    """One that is found is led on to; nothing is told in words."""
    arrive(referral(), placement())
    browser = served.guest(Scope.READ)

    assert browser.get("/console/accounts", params={"q": wanted}).url.path == PAGE
    assert browser.get("/console/accounts").status_code == 200
    assert browser.get("/console/accounts/nobody").status_code == 404


def test_a_search_without_a_result_says_so_by_its_status_too(served: Served, arrive: Arrive) -> None:
    """On the page of the search, so that the next try is at hand."""
    arrive(referral())

    found = served.guest(Scope.READ).get("/console/accounts", params={"q": "nobody"})

    assert found.status_code == 404
    assert "Nothing is known by the id nobody" in told(found.text)
    assert 'name="q" value="nobody"' in found.text


@pytest.mark.parametrize("tongue", Tongue)
def test_everything_that_can_happen_has_its_words(tongue: Tongue) -> None:
    """Each kind of event and line, each reason and each step, in either language."""
    ours = ["recall.sent", "recall.resent", "recall.overdue", "recall.escalated", "recall.taken_over"]
    ours += ["event.quarantined", "event.dropped", "guard.recall.requested.v1", "guard.balance.reduced.v1"]
    ours += ["guard.placement.suspended.v1", "guard.placement.resumed.v1", "guard.clearance.decided.v1"]
    kinds = [kind.type for kind in EVERY_KIND] + ours
    names = [kind.removesuffix(".v1").replace(".", "_") for kind in kinds]
    wanted = [f"account.line_{name}" for name in names] + [f"account.kind_{name}" for name in names]
    wanted += [f"account.reason_{code}" for code in Code] + [f"account.step_{step}" for step in Step]

    assert [name for name in wanted if name not in texts(tongue)] == []


def test_both_languages_say_the_same_things() -> None:
    """Every text is there in each, with the same values in it."""

    def values(text: object) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", str(text)))

    english, russian = texts(Tongue.EN), texts(Tongue.RU)

    assert english.keys() == russian.keys()
    assert [name for name in english if values(english[name]) != values(russian[name])] == []
