"""Every call of the API and every page of the console, with marked personal data wherever a caller may put any.

Used by the test that looks for customers' data where none may be, beside `tests.marked`. What is answered is kept
where it is a problem: a problem repeats no value that was sent.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote, urlsplit

import httpx2

from infra.channels.signatures import sign
from infra.http.problems import MEDIA_TYPE
from infra.wire.kinds import BY_TYPE, KINDS
from tests import providers
from tests.marked import Customer, Json, Marks, data_of, envelope
from tests.serving import DEADLINE_SECONDS, form_token_in

PEOPLE = ("preferred_username", "email", "name", "phone_number")
"""Claims of a person that are none of an id."""


@dataclass(slots=True)
class Callers:
    """Who calls one guard: with a right key, with wrong ones, and with marks in everything that is sent."""

    client: httpx2.Client
    key: str
    marks: Marks
    problems: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> httpx2.Response:
        """One call. A body that is no bytes is sent as JSON."""
        usual = {
            "Authorization": f"Bearer {self.key}",
            "User-Agent": self.marks.id("a header of a call"),
            "X-Customer": self.marks.text("a header of a call"),
            "Traceparent": self.marks.text("traceparent of a call"),
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
        answer = self.client.request(method, path, content=content, headers={**usual, **headers})
        # A clearance that is void tells its reasons, as the clearance itself does.
        if answer.headers.get("content-type") == MEDIA_TYPE and "clearance-void" not in answer.text:
            self.problems.append(answer.text)
        return answer

    def place(self, customer: Customer) -> None:
        """Ask with the debt, and confirm: one call after the other, each also with what makes it wrong."""
        marks, kind = self.marks, BY_TYPE["collections.debt.referred.v1"]
        data = data_of(kind, marks, customer, amount=customer.amount, debt_id=customer.debt_id)
        known = {name: value for name, value in data.items() if name in kind.payload.model_fields}
        about = {
            "account_id": customer.account_id,
            "debt_id": customer.debt_id,
            "agency_id": customer.agency_id,
        }
        given = self.call("POST", "/v1/clearances", {**about, "referral": known})
        assert (given.status_code, given.json()["decision"]) == (201, "clear"), given.text
        path = f"/v1/clearances/{given.json()['clearance_id']}"
        assert self.call("POST", f"{path}/confirm", {"placement_id": customer.placement_id}).status_code == 200
        self.call("POST", f"{path}/confirm", {"placement_id": marks.shown_id("placement_id")})
        self.call("GET", path)
        for body in self._wrong({**about, "referral": known}):
            self.call("POST", "/v1/clearances", body)
        for body in self._wrong({"placement_id": customer.placement_id, "placed_at": None}):
            self.call("POST", f"{path}/confirm", body)
        lines = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in self._wrong(about)]
        batch = self.call("POST", "/v1/clearances/batch", b"\n".join(line.replace(b"\n", b" ") for line in lines))
        self.problems += [line for line in batch.text.splitlines() if "urn:handoff-guard:problem" in line]

    def tell(self, customer: Customer) -> None:
        """Events of every type in place of their streams, right and wrong."""
        marks = self.marks
        for kind in KINDS:
            if kind.type == "collections.placement.opened.v1":
                continue
            event = envelope(kind, marks, customer, data_of(kind, marks, customer))
            self.call("POST", "/v1/events", event)
            self.call("POST", "/v1/events", {**event, "data": data_of(kind, marks, customer)})
            for body in self._wrong(event):
                self.call("POST", "/v1/events", body)
        attributes = {
            f"ce-{name}": marks.id("an attribute") for name in ("id", "source", "type", "time", "subject")
        }
        self.call("POST", "/v1/events", {"account_id": marks.text("a body in binary mode")}, **attributes)

    def order(self, customer: Customer, recall_id: str) -> None:
        """What a person orders, and the lists that they look at."""
        marks, said = self.marks, self.marks.text
        orders: dict[str, Json] = {
            f"/v1/placements/{customer.placement_id}/recall": {
                "reason": said("why a recall is ordered"),
                "requested_by": said("who orders a recall"),
            },
            f"/v1/recalls/{recall_id}/resend": {"by": said("who sends a recall again")},
            f"/v1/recalls/{recall_id}/take-over": {
                "by": said("who takes a recall over"),
                "reason": said("why a recall is taken over"),
            },
        }
        for path, body in orders.items():
            assert self.call("POST", path, body).is_success, path
            for wrong in self._wrong(body):
                self.call("POST", path, wrong)
            of_nothing = path.replace(customer.placement_id, marks.id("a path")).replace(
                recall_id, marks.id("a path")
            )
            self.call("POST", of_nothing, body)
        for name in ("state", "agency_id", "overdue", "limit", "cursor", "nothing"):
            self.call("GET", f"/v1/recalls?{name}={quote(said(f'the query {name}'))}")

    def read(self, customer: Customer) -> None:
        """Accounts, and whatever is at no address; without a key, and with wrong ones."""
        marks = self.marks
        for path in (
            "/v1/accounts/{}",
            "/v1/accounts/{}/timeline",
            "/v1/clearances/{}",
            "/v1/{}",
            "/{}",
            "/livez?{}",
        ):
            for named in (customer.account_id, marks.id("a path"), quote(marks.text("a path"), safe=""), "%FF%FE"):
                self.call("GET", path.format(named))
                self.call("PUT", path.format(named), {"name": marks.text("a body at no address")})
        for wrong in (
            f"Bearer {marks.text('a wrong key')}",
            marks.id("a wrong key"),
            f"Bearer hg_{'a' * 12}_{marks.id('key')}",
        ):
            self.call("GET", f"/v1/accounts/{customer.account_id}", Authorization=wrong)
        for raw in (
            f"GET /{marks.text('bytes that are no call')} HTTP/1.1\r\n\r\n",
            f"{marks.id('a method')} / HTTP/1.1\r\nHost: a\r\n\r\n",
            f"GET / HTTP/1.1\r\nHost: a\r\n{marks.text('a header without a colon').replace(':', '')}\r\n\r\n",
            f"POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Length: {marks.id('a length')}\r\n\r\n",
        ):
            say(str(self.client.base_url), raw.encode())

    def call_back(self, customer: Customer, recall_id: str, secret: bytes) -> None:
        """What an agency says itself: signed, not signed, not its own, and in the name of who is no agency."""
        marks, kind = self.marks, BY_TYPE["agency.recall.rejected.v1"]
        path = f"/v1/agencies/{customer.agency_id}/events"
        data = data_of(kind, marks, customer, recall_id=recall_id)
        right = envelope(kind, marks, customer, data, source=f"urn:agency:{customer.agency_id}")
        bodies = [right, *self._wrong(right), {**right, "source": marks.id("the source of another")}]
        bodies.append({**right, "data": {**data, "agency_id": marks.id("another agency")}})
        for body in bodies:
            written = body if isinstance(body, bytes) else json.dumps(body).encode()
            signed = sign([secret], message_id=marks.id("a message"), at=datetime.now(UTC), body=written)
            answer = self.call("POST", path, written, **signed)
            assert body is not right or answer.is_success, answer.text
            self.call("POST", path, written, **{**signed, "webhook-signature": f"v1,{marks.id('a signature')}"})
            self.call("POST", path, written, **{**signed, "webhook-id": marks.id("a message")})
            self.call("POST", path, written)
        self.call("POST", f"/v1/agencies/{quote(marks.text('an agency'), safe='')}/events", right)

    def _wrong(self, right: Mapping[str, object]) -> Iterator[object]:
        """A body with each field wrong, with one more, and as no JSON."""
        for name in right:
            yield {**right, name: {self.marks.id(f"the field {name}"): self.marks.text(f"the field {name}")}}
            yield {**right, name: self.marks.text(f"the field {name}") * 40}
        yield {**right, "customer_name": self.marks.text("a field that nobody knows")}
        yield [self.marks.text("a body that is a list")]
        yield self.marks.text("a body that is no JSON").encode()
        yield json.dumps(right).encode()[:-1] + self.marks.text("a body that breaks off").encode()
        yield b"\xff" + self.marks.text("a body that is no UTF-8").encode()


@dataclass(slots=True)
class Visitors:
    """Who looks at the console of one guard."""

    url: str
    marks: Marks

    def browser(self) -> httpx2.Client:
        """Somebody who has not signed in."""
        return httpx2.Client(base_url=self.url, timeout=DEADLINE_SECONDS, follow_redirects=True)

    def sign_in_by_key(self, key: str) -> httpx2.Client:
        """Somebody who has first tried with a wrong key."""
        browser = self.browser()
        following = quote(f"/console/accounts/{self.marks.id('where to go on')}")
        for one in (self.marks.text("a wrong key of a visitor"), key):
            form = browser.get(f"/console/sign-in?next={following}").text
            fields = {"key": one, "form_token": form_token_in(form), "next": self.marks.text("where to go on")}
            browser.post("/console/sign-in", data=fields)
        browser.post("/console/sign-in", data={"key": self.marks.text("a key of no form")})
        return browser

    def sign_in_by_provider(self, provider: providers.Provider, now: float) -> httpx2.Client:
        """Somebody for whom the creditor's provider vouches, after answers of it that are none."""
        marks, browser = self.marks, self.browser()
        said = {name: marks.text(f"the claim {name}") for name in PEOPLE}
        groups = ["oncall", marks.id("a group")]
        for wrong in (
            {"sub": marks.id("a subject") * 40},
            {"iss": marks.id("an issuer")},
            {"aud": marks.id("an audience")},
            {"nonce": marks.id("a nonce")},
            {"exp": marks.text("an expiry")},
            {"groups": [marks.id("a group")]},
            {},
        ):
            state, nonce = self._begin(browser)
            claims = provider.claims(now, **{"nonce": nonce, "groups": groups, **said, **wrong})
            token = {
                "access_token": marks.id("a token"),
                "token_type": "Bearer",
                "id_token": provider.signed(claims),
            }
            provider.token = lambda token=token: token  # type: ignore[misc] # A default has no type.
            browser.get(f"/console/oidc/return?state={state}&code={marks.id('a code')}")
        assert "guard-session" in browser.cookies
        self._be_refused(provider)
        return browser

    def _be_refused(self, provider: providers.Provider) -> None:
        marks, browser = self.marks, self.browser()
        answers: tuple[object, ...] = (
            (400, {"error": marks.id("an error"), "error_description": marks.text("an error in words")}),
            (500, marks.text("a failure of the provider").encode()),
            {"access_token": marks.id("a token"), "token_type": "Bearer", "id_token": f"a.{marks.id('a token')}.b"},
            {"error": marks.text("an error")},
        )
        for answer in answers:
            state, _ = self._begin(browser)
            provider.token = lambda answer=answer: answer  # type: ignore[misc] # As above.
            browser.get(f"/console/oidc/return?state={state}&code={marks.id('a code')}")
        for name in ("error", "iss", "code"):
            state, _ = self._begin(browser)
            browser.get(f"/console/oidc/return?state={state}&{name}={quote(marks.text(f'{name} of an answer'))}")
        browser.get(f"/console/oidc/return?state={marks.id('a state')}")

    def _begin(self, browser: httpx2.Client) -> tuple[str, str]:
        following = quote(f"/console/accounts/{self.marks.id('where to go on')}")
        to = browser.get(f"/console/oidc/start?next={following}", follow_redirects=False).headers["location"]
        asked = parse_qs(urlsplit(to).query)
        return asked["state"][0], asked["nonce"][0]

    def look(self, browser: httpx2.Client, customer: Customer, recall_id: str) -> None:
        """Every page, by ids that are there and by marks, with marks in each query and cookie."""
        marks = self.marks
        paths = (
            "",
            "now",
            "accounts",
            "recalls",
            "agencies",
            "quarantine",
            "record",
            "sign-in",
            "nothing",
            "events",
        )
        ids = (
            customer.account_id,
            recall_id,
            customer.agency_id,
            marks.id("a page"),
            quote(marks.text("a page"), safe=""),
        )
        queries = (
            "q",
            "at",
            "kind",
            "next",
            "state",
            "agency_id",
            "account_id",
            "after",
            "cursor",
            "before",
            "open",
        )
        browser.cookies.set("guard_language", marks.id("a cookie"))
        browser.cookies.set("guard-trip", marks.id("a cookie"))
        for path in paths:
            for name in queries:
                browser.get(f"/console/{path}?{name}={quote(marks.text(f'the query {name}'))}")
            for one in ids:
                browser.get(f"/console/{path}/{one}")
                browser.get(f"/console/{path}/{one}?at={marks.id('an instant')}&kind={marks.id('a kind')}")
        browser.get(f"/console/accounts?q={customer.account_id}")
        for number in range(1, 20):
            browser.get(f"/console/quarantine/{number}")

    def order(self, browser: httpx2.Client, customer: Customer, recall_id: str) -> None:
        """Every form, filled in and with marks where they do not belong."""
        marks = self.marks
        token = form_token_in(browser.get(f"/console/recalls/{recall_id}").text)
        seen = (
            browser.get(f"/console/recalls/{recall_id}").text.partition('name="seen" value="')[2].partition('"')[0]
        )
        reason = {"reason": marks.text("the reason in a form"), "account_id": customer.account_id}
        forms: dict[str, dict[str, str]] = {
            f"recalls/{recall_id}/resend": {"seen": seen},
            "recalls/resend": {f"recall:{recall_id}": seen, f"recall:{marks.id('a box')}": marks.text("a box")},
            f"recalls/{recall_id}/take-over": reason,
            f"recalls/{marks.id('a form')}/take-over": reason,
            f"placements/{customer.placement_id}/recall": reason,
            f"placements/{marks.id('a form')}/recall": reason,
            "quarantine/requeue": {"account_id": customer.account_id},
            "quarantine/1/requeue": {},
            "quarantine/2/drop": reason,
            f"quarantine/{marks.id('a form')}/drop": reason,
            f"language/{marks.id('a language')}": {},
            f"look/{marks.id('a look')}": {},
        }
        for path, fields in forms.items():
            sent = {
                **fields,
                "form_token": token,
                "next": marks.text("where to go on"),
                "more": marks.text("a field"),
            }
            browser.post(f"/console/{path}", data=sent)
            browser.post(f"/console/{path}", data={**sent, "form_token": marks.text("a form's token")})
            browser.post(f"/console/{path}", data={name: marks.text(f"the field {name}") * 40 for name in sent})
        browser.post("/console/sign-out", data={"form_token": token})


def say(url: str, raw: bytes) -> None:
    """Send bytes to an address, and hear whatever comes."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port or 80), timeout=DEADLINE_SECONDS) as line:
        line.sendall(raw)
        line.settimeout(1)
        with suppress(OSError):
            line.recv(65_536)
