"""The first page: what it says of paid customers who are with a collector, and that it renews itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from consumers.console import charts
from consumers.console.words import Tongue, Words
from domain.access import Scope
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from tests.conftest import Arrive
from tests.records import payment, placement, referral
from tests.serving import Served, told

pytestmark = pytest.mark.parts

LIVE = "/console/live/now"

WITH = "у взыскателя"  # noqa: RUF001 # It is Russian.

PARTS = ("verdict", "tiles", "funnel", "latency", "recalls", "agencies", "streams", "answers")


@pytest.mark.parametrize(
    ("customers", "english", "russian"),
    [
        (0, "0 paid customers are with a collector", f"0 оплативших клиентов всё ещё {WITH}"),
        (1, "1 paid customer is with a collector", f"1 оплативший клиент всё ещё {WITH}"),
        (3, "3 paid customers are with a collector", f"3 оплативших клиента всё ещё {WITH}"),
        (21, "21 paid customers are with a collector", f"21 оплативший клиент всё ещё {WITH}"),
    ],
)
def test_the_verdict_is_a_sentence(customers: int, english: str, russian: str) -> None:
    """In either language, with its plurals."""
    said = [Words(tongue, UTC)("now.verdict", n=customers) for tongue in (Tongue.EN, Tongue.RU)]

    assert said == [english, russian]


def test_the_page_tells_who_has_paid_and_is_with_a_collector(served: Served, arrive: Arrive) -> None:
    """In a sentence on top, with the recall below, and links to what is behind each number."""
    arrive(referral(), placement(), payment())

    page = served.guest(Scope.READ).get("/console/", params={"agency_id": "agency-1"})

    assert "1 paid customer is with a collector" in told(page.text)
    assert 'href="/console/recalls?open=true&amp;agency_id=agency-1"' in page.text
    assert "style=" not in page.text


def test_an_open_page_is_renewed_when_a_payment_lands(served: Served, arrive: Arrive) -> None:
    """The stream sends the parts that changed, and ends with the session."""
    browser = served.guest(Scope.READ)
    arrive(referral(), placement())

    with browser.stream("GET", LIVE) as stream:
        lines = stream.iter_lines()
        first = next_parts(lines)
        arrive(payment())
        renewed = ""
        while "1 paid customer" not in renewed:
            renewed = told(next_parts(lines).get("now-verdict", ""))

    assert "0 paid customers" in told(first["now-verdict"])
    assert set(first) == {f"now-{name}" for name in PARTS}


def test_a_stream_ends_when_its_key_is_revoked(served: Served, database: Database) -> None:
    """The page then leads to the form of signing in; and who is not signed in has no stream."""
    browser = served.guest(Scope.READ)
    with browser.stream("GET", LIVE) as stream:
        lines = stream.iter_lines()
        next_parts(lines)
        for key in ApiKeys(database).all():
            ApiKeys(database).revoke(key.key_id, by="tests")
        ended = [line for line in lines if line.startswith("event: ")]
    browser.cookies.clear()

    assert ended == ["event: ended"]
    assert "event: ended" in browser.get(LIVE).text


@pytest.mark.parametrize("query", [{"stage": "never"}, {"agency_id": "a\x00b"}])
def test_what_the_address_can_not_mean_is_refused(served: Served, query: dict[str, str]) -> None:
    """In words that name the field."""
    answer = served.guest(Scope.READ).get("/console/", params=query)

    assert answer.status_code == 422
    assert next(iter(query)) in answer.text


def test_a_chart_leaves_a_gap_where_nothing_was_measured() -> None:
    """A line is drawn between neighbours only, and never through a 0."""
    words = Words(Tongue.EN, UTC)
    span = charts.Span(datetime(2026, 11, 2, tzinfo=UTC), timedelta(minutes=30), 48, 8)
    series = charts.Series("p50", {0: 0.01, 1: 0.02, 5: 0.03})

    drawn = str(charts.timed(charts.About("c", "Title", "About"), words, span, [series], target=0.06))

    assert drawn.count("<polyline") == 1
    assert drawn.count("<circle") == 3
    assert 'role="img"' in drawn
    assert 'class="target"' in drawn


def next_parts(lines: Iterator[str]) -> dict[str, str]:
    """The parts of the next event that has some."""
    for line in lines:
        if line.startswith("data: ") and (parts := json.loads(line.removeprefix("data: "))):
            return dict(parts)
    raise AssertionError("the stream ended")
