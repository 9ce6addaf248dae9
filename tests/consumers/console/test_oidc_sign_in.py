"""Signing in at the console by the creditor's provider: who comes in, who doesn't, and what each is told."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from oidc_provider_mock import User, run_server_in_thread
from pydantic import SecretStr

from consumers.console.service import Door
from domain.access import Scope
from infra.oidc import RETURN_PATH, Client, Provider
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests import providers
from tests.parts import Parts
from tests.serving import DEADLINE_SECONDS, Clock, Served, Ways, form_token_in, serving

pytestmark = [
    pytest.mark.parts,
    # The provider of the tests is made with parts of its library that will go.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

SIGN_IN = "/console/sign-in"
SCOPES = {"support": frozenset({Scope.READ}), "oncall": frozenset({Scope.READ, Scope.OPERATE})}

PEOPLE = (
    User(sub="u-1", claims={"preferred_username": "anna", "groups": ["support", "choir"]}),
    User(sub="u-2", claims={"preferred_username": "boris", "groups": ["support", "oncall"]}),
    User(sub="u-3", claims={"preferred_username": "vera", "groups": ["choir"]}),
)


def door_to(issuer: str) -> Callable[[str], Door]:
    """The way in by a provider, for a console at an address."""

    def door(url: str) -> Door:
        client = Client(issuer, providers.CLIENT_ID, SecretStr("s-1"), "groups", f"{url}{RETURN_PATH}")
        return Door(Provider(client), SCOPES)

    return door


@pytest.fixture
def issuer() -> Iterator[str]:
    """A provider that three people have an account at."""
    with run_server_in_thread(user_claims=PEOPLE, require_nonce=True) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture
def served(parts: Parts, database: Database, caught_up: None, issuer: str) -> Iterator[Served]:
    """An API with the console below it, and this way in."""
    with serving(parts, database, Ways(door=door_to(issuer))) as one:
        yield one


@contextmanager
def browsing(served: Served) -> Iterator[httpx2.Client]:
    """A browser without a screen, in which nobody is signed in."""
    with httpx2.Client(base_url=served.url, timeout=DEADLINE_SECONDS, follow_redirects=True) as browser:
        yield browser


def began(browser: httpx2.Client, following: str = "") -> str:
    """Where the provider is asked, once somebody has pressed the button."""
    return browser.get(f"/console/oidc/start?next={following}", follow_redirects=False).headers["location"]


def vouched_for(browser: httpx2.Client, address: str, who: str) -> str:
    """Where the provider sends somebody back to, once they have said who they are."""
    return browser.post(address, data={"sub": who}, follow_redirects=False).headers["location"]


def signed_in(browser: httpx2.Client) -> bool:
    """Whether a session is open."""
    return "guard-session" in browser.cookies


@pytest.mark.parametrize(
    ("who", "scopes"), [("u-1", {Scope.READ}), ("u-2", {Scope.READ, Scope.OPERATE})], ids=["anna", "boris"]
)
def test_whom_the_provider_vouches_for_has_the_scopes_of_their_groups(
    served: Served, database: Database, who: str, scopes: set[Scope]
) -> None:
    """From the button, by the provider, to the page that was wanted; and the record says who it was."""
    with browsing(served) as browser:
        form = browser.get("/console/recalls?state=sent")
        (button,) = re.findall(r'href="(/console/oidc/start[^"]*)"', form.text)
        address = browser.get(button, follow_redirects=False).headers["location"]
        back = browser.get(vouched_for(browser, address, who), follow_redirects=False)
        record = Records(database).newest(limit=9)

        assert back.headers["location"] == "/console/recalls?state=sent"
        assert signed_in(browser)
        assert "guard-trip" not in browser.cookies
        assert [(one.act, one.signed_by) for one in record] == [(Act.SIGNED_IN, f"oidc:{who}")]
        assert f"May: {', '.join(sorted(scopes))}" in browser.get("/console/nothing").text


def test_who_has_no_group_that_counts_is_told_so(served: Served, database: Database) -> None:
    """They are who they are, but it opens nothing."""
    with browsing(served) as browser:
        told = browser.get(vouched_for(browser, began(browser), "u-3"))

        assert told.status_code == 403
        assert "no group of yours opens the console" in told.text
        assert not signed_in(browser)
    assert Records(database).newest(limit=9) == []


def test_an_answer_that_somebody_else_asked_for_signs_nobody_in(served: Served) -> None:
    """Or a page of elsewhere could have people work under another's name, who reads along."""
    with browsing(served) as theirs, browsing(served) as ours:
        their_answer = vouched_for(theirs, began(theirs), "u-2")
        began(ours)

        without_any, with_another = ours.get(their_answer), browsing_anew(served, their_answer)

        assert [without_any.status_code, with_another] == [403, 403]
        assert "begun elsewhere, or too long ago" in without_any.text
        assert not signed_in(ours)


def browsing_anew(served: Served, address: str) -> int:
    """What a browser is answered that has asked for nothing."""
    with browsing(served) as browser:
        return browser.get(address).status_code


def test_an_answer_is_good_once(served: Served) -> None:
    """Also for who began it, and also where the browser brings its cookie again."""
    with browsing(served) as browser:
        answer = vouched_for(browser, began(browser), "u-1")
        trip = browser.cookies["guard-trip"]
        browser.get(answer)
        browser.cookies.clear()

        again = browser.get(answer)
        browser.cookies.set("guard-trip", trip)
        with_its_cookie = browser.get(answer)

        assert [again.status_code, with_its_cookie.status_code] == [403, 403]
        assert not signed_in(browser)


def test_an_attempt_ends_by_itself(parts: Parts, database: Database, caught_up: None, issuer: str) -> None:
    """After ten minutes it has to be begun again."""
    clock = Clock()
    with serving(parts, database, Ways(door=door_to(issuer), clock=clock)) as served, browsing(served) as browser:
        answer = vouched_for(browser, began(browser), "u-1")
        clock.now += timedelta(minutes=11)

        assert browser.get(answer).status_code == 403
        assert not signed_in(browser)


@pytest.mark.parametrize("change", ["state", "cookie", "code"])
def test_what_is_changed_on_the_way_signs_nobody_in(served: Served, change: str) -> None:
    """Each part is held to the others."""
    with browsing(served) as browser:
        answer = vouched_for(browser, began(browser), "u-1")
        if change == "cookie":
            trip = browser.cookies["guard-trip"]
            browser.cookies.clear()
            browser.cookies.set("guard-trip", f"{trip}x")
        else:
            answer = answer.replace(f"{change}=", f"{change}=x")

        assert browser.get(answer).status_code == 403
        assert not signed_in(browser)


def test_who_says_no_at_the_provider_is_back_at_the_form(served: Served) -> None:
    """With words, and the button to try again."""
    with browsing(served) as browser:
        (state,) = parse_qs(urlsplit(began(browser)).query)["state"]
        told = browser.get(f"{RETURN_PATH}?error=access_denied&state={state}")

        assert told.status_code == 403
        assert "did not say who you are" in told.text
        assert "/console/oidc/start" in told.text


@pytest.mark.parametrize("following", ["https://elsewhere.example", "//elsewhere.example", "/v1", "/console\\x"])
def test_nobody_is_led_away_by_the_provider(served: Served, following: str) -> None:
    """Only paths of the console are gone on to."""
    with browsing(served) as browser:
        back = browser.get(vouched_for(browser, began(browser, following), "u-1"), follow_redirects=False)

        assert [back.status_code, back.headers["location"]] == [303, "/console/"]


def test_a_provider_that_is_away_leaves_the_key(parts: Parts, database: Database, caught_up: None) -> None:
    """It is said in words, on the form that takes a key."""
    with providers.providing() as gone:
        issuer = gone.issuer
    with serving(parts, database, Ways(door=door_to(issuer))) as served, browsing(served) as browser:
        told = browser.get("/console/oidc/start?next=/console/recalls")
        sent = {"key": served.key(), "form_token": form_token_in(told.text), "next": "/console/recalls"}
        by_key = browser.post(SIGN_IN, data=sent, follow_redirects=False)

        assert told.status_code == 503
        assert "does not answer now" in told.text
        assert by_key.headers["location"] == "/console/recalls"


def test_a_token_that_is_not_right_is_told_in_words(parts: Parts, database: Database, caught_up: None) -> None:
    """And what is wrong with it is for the log."""
    with (
        providers.providing() as away,
        serving(parts, database, Ways(door=door_to(away.issuer))) as served,
        browsing(served) as browser,
    ):
        asked = parse_qs(urlsplit(began(browser)).query)
        token = away.signed(away.claims(time.time(), nonce="of another"))
        away.token = lambda: {"id_token": token}
        told = browser.get(f"{RETURN_PATH}?code=c-1&state={asked['state'][0]}")

        assert told.status_code == 403
        assert "did not say who you are" in told.text
        assert not signed_in(browser)


def test_without_a_provider_there_is_no_button_and_no_such_page(
    parts: Parts, database: Database, caught_up: None
) -> None:
    """The form is as it was, and who calls the pages is led to it."""
    with serving(parts, database) as served, browsing(served) as browser:
        pages = [browser.get(path) for path in (SIGN_IN, "/console/oidc/start", f"{RETURN_PATH}?code=c&state=s")]

        assert ['href="/console/oidc' in page.text for page in pages] == [False] * 3
        assert {page.url.path for page in pages} == {SIGN_IN}


def test_guessing_keys_makes_the_database_work_only_now_and_then(
    parts: Parts, database: Database, caught_up: None
) -> None:
    """The gate reads the keys a few times a second for who guesses; so a key made meanwhile waits its turn."""
    gate_clock = Clock()
    seconds = [100.0]
    ways = Ways(gate_clock=lambda: seconds[0], clock=gate_clock)
    with serving(parts, database, ways) as served, browsing(served) as browser:
        token = form_token_in(browser.get(SIGN_IN).text)

        def tried(key: str) -> int:
            sent = {"key": key, "form_token": token}
            return browser.post(SIGN_IN, data=sent, follow_redirects=False).status_code

        known = served.key()
        guessed = {tried(f"hg_{number:08}_{'x' * 43}") for number in range(12)}
        made_meanwhile = served.key()
        answers = [tried(made_meanwhile)]
        seconds[0] += 1.0
        answers.append(tried(made_meanwhile))

        assert guessed == {401}
        assert answers == [401, 303]
        assert known


def test_only_where_a_provider_is_set_its_client_is_loaded() -> None:
    """Every other process starts as fast, and has as little in it, as before."""
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, consumers.compose, consumers.api.app; sys.exit(' '.join(sys.modules))",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )

    assert {"authlib", "joserfc", "requests"} & set(said.stderr.split()) == set()
    assert "consumers.console.oidc" in said.stderr
