"""Signing in at the console by a key, what a session opens, and what it keeps out; over HTTP, on real parts."""

from __future__ import annotations

import re

import httpx2
import pytest

from consumers.console.headers import POLICY
from domain.access import Scope
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.serving import Served, form_token_in

pytestmark = pytest.mark.parts

SIGN_IN = "/console/sign-in"


def token_of(browser: httpx2.Client) -> str:
    """The token of a session's forms."""
    token = re.findall(r'action="/console/sign-out">\s*<input type="hidden" name="form_token" value="([^"]+)"',
                       browser.get("/console/nothing").text)  # fmt: skip
    return str(token[0])


def test_a_key_that_may_read_opens_a_session_and_the_record_says_so(served: Served, database: Database) -> None:
    """Who signs in comes to the first page, and is written down."""
    browser = served.guest(Scope.READ)

    assert [one.act for one in Records(database).newest(limit=9)] == [Act.SIGNED_IN]
    assert "guard-session" in browser.cookies
    assert SIGN_IN not in str(browser.get("/console/").url)


def test_who_is_not_signed_in_is_asked_to_and_comes_back(served: Served) -> None:
    """A page leads to the form, which knows where to go on to."""
    browser = served.guest()
    browser.cookies.clear()

    form = browser.get("/console/recalls?state=sent")

    assert form.url.path == SIGN_IN
    assert 'name="next" value="/console/recalls?state=sent"' in form.text


@pytest.mark.parametrize(
    ("key", "words"),
    [("hg_nobody_nothing", "This key opens nothing"), ("", "This key opens nothing"), ("ask", "not the scope")],
    ids=["unknown", "empty", "without read"],
)
def test_a_key_that_opens_nothing_here_is_told_so(served: Served, key: str, words: str) -> None:
    """In words, and without a session."""
    browser = served.guest()
    browser.cookies.clear()
    token = form_token_in(browser.get(SIGN_IN).text)

    sent = served.key(Scope.ASK) if key == "ask" else key
    answer = browser.post(SIGN_IN, data={"key": sent, "form_token": token})

    assert answer.status_code in {401, 403}
    assert words in answer.text
    assert "guard-session" not in browser.cookies


def test_a_form_of_elsewhere_signs_nobody_in(served: Served) -> None:
    """Without the cookie that the form's page set, or from another site, it is refused."""
    browser = served.guest()
    browser.cookies.clear()
    sent = {"key": served.key(), "form_token": form_token_in(browser.get(SIGN_IN).text)}

    from_elsewhere = browser.post(SIGN_IN, data=sent, headers={"Sec-Fetch-Site": "cross-site"})
    browser.cookies.clear()
    without_cookie = browser.post(SIGN_IN, data=sent)

    assert [from_elsewhere.status_code, without_cookie.status_code] == [403, 403]
    assert "guard-session" not in browser.cookies


def test_a_session_ends_with_its_key_and_when_its_holder_signs_out(served: Served, database: Database) -> None:
    """Both lead back to the form."""
    revoked, leaving = served.guest(), served.guest()
    newest = Records(database).newest(limit=2)

    ApiKeys(database).revoke(newest[1].signed_by.removeprefix("key:"), by="tests")
    out = leaving.post("/console/sign-out", data={"form_token": token_of(leaving)})

    assert out.url.path == SIGN_IN
    assert [browser.get("/console/recalls").url.path for browser in (revoked, leaving)] == [SIGN_IN] * 2
    assert Records(database).newest(limit=1)[0].act is Act.SIGNED_OUT


def test_a_form_without_the_sessions_token_does_nothing(served: Served) -> None:
    """Nobody is signed out, or anything else, by a page of elsewhere."""
    browser = served.guest()

    answers = [browser.post("/console/sign-out", data=sent) for sent in ({}, {"form_token": "another"})]

    assert [one.status_code for one in answers] == [403, 403]
    assert browser.get("/console/recalls").url.path != SIGN_IN


def test_every_answer_keeps_everything_else_out(served: Served) -> None:
    """Pages, errors and redirects carry the policy, and cookies are out of reach of scripts."""
    browser = served.guest()

    answers = [browser.get(SIGN_IN), browser.get("/console/nothing"), browser.get("/console/recalls/none")]

    assert [one.headers["content-security-policy"] for one in answers] == [POLICY] * 3
    assert [one.headers["cache-control"] for one in answers] == ["no-store"] * 3


@pytest.mark.parametrize("following", ["https://elsewhere.example", "//elsewhere.example", "/console\\\\x", "/v1"])
def test_nobody_is_led_away_after_signing_in(served: Served, following: str) -> None:
    """Only paths of the console are gone on to."""
    browser = served.guest()
    browser.cookies.clear()
    token = form_token_in(browser.get(SIGN_IN).text)

    sent = {"key": served.key(), "form_token": token, "next": following}
    answer = browser.post(SIGN_IN, data=sent, follow_redirects=False)

    assert [answer.status_code, answer.headers["location"]] == [303, "/console/"]
