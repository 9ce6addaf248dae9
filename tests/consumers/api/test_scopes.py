"""Who may make which call: every route with every kind of key, from the document that publishes the routes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import httpx2
import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route

from consumers.api.app import build
from consumers.api.document import every_route, scopes
from consumers.api.service import Api
from consumers.gate import KEYS_FOR_SECONDS
from domain.access import Scope
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from tests.parts import Parts
from tests.serving import Served, Ways, problem, serving

NEEDED = {
    ("post", "/v1/clearances"): Scope.ASK,
    ("post", "/v1/clearances/batch"): Scope.ASK,
    ("get", "/v1/clearances/{clearance_id}"): Scope.READ,
    ("post", "/v1/clearances/{clearance_id}/confirm"): Scope.CONFIRM,
    ("get", "/v1/accounts/{account_id}"): Scope.READ,
    ("get", "/v1/accounts/{account_id}/timeline"): Scope.READ,
    ("post", "/v1/events"): Scope.EVENTS,
    ("get", "/v1/recalls"): Scope.READ,
    ("post", "/v1/placements/{placement_id}/recall"): Scope.OPERATE,
    ("post", "/v1/recalls/{recall_id}/resend"): Scope.OPERATE,
    ("post", "/v1/recalls/{recall_id}/take-over"): Scope.OPERATE,
}
"""What each route asks of its caller. A new route is a new row, or its test fails."""

SIGNED = {("post", "/v1/agencies/{agency_id}/events")}
"""What agencies call: by a signature, and no key is of use there."""

OPEN = {"/livez", "/readyz", "/metrics", "/openapi.json"}
"""What tells nothing of an account."""

APP = build(cast("Api", None))  # Its routes are looked at, and none is called.


def routes() -> Iterator[tuple[str, str, list[str]]]:
    """Each route that is published: its method, its path, and the scopes that the document names."""
    for path, operations in APP.openapi()["paths"].items():
        for method, operation in operations.items():
            ((name, needed),) = operation["security"][0].items()
            assert name == ("signature" if (method, path) in SIGNED else "apiKey")
            yield method, path, needed


EVERY = list(routes())
ROUTES = [one for one in EVERY if one[:2] not in SIGNED]


def test_every_route_asks_for_its_scope() -> None:
    """The routes that are published are those of the table, each with the one scope of its row."""
    assert {(method, path): needed for method, path, needed in ROUTES} == {
        route: [scope] for route, scope in NEEDED.items()
    }
    assert len(EVERY) == len(ROUTES) + len(SIGNED)


def test_what_asks_for_nothing_is_what_tells_nothing() -> None:
    """A route without a scope is one of the four that are open, published or not, or is signed."""
    every = [route for route in every_route(APP) if isinstance(route, Route)]
    unguarded = [route.path for route in every if not isinstance(route, APIRoute) or not scopes(route)]

    assert sorted(unguarded) == sorted(OPEN | {path for _, path in SIGNED})
    assert len(every) == len(OPEN) + len(NEEDED) + len(SIGNED)


@pytest.mark.parts
def test_the_matrix(served: Served, database: Database) -> None:
    """Each route lets in the key with its scope and no other: not of another scope, none, made up, or revoked."""
    keys = ApiKeys(database)
    revoked, text = keys.create("revoked", set(Scope), by="tests")
    keys.revoke(revoked.key_id, by="tests")
    valid = served.key()
    none = ["", "Bearer", f"Basic {valid}", valid, "Bearer hg_x", f"Bearer {'x' * 5_000}", f"Bearer {text}"]
    none += [f"Bearer {valid}x", f"Bearer {valid[:-1]}", f"Bearer hg_000000000000_{valid[16:]}"]
    by_scope = {scope: served.key(scope) for scope in Scope}

    with httpx2.Client(base_url=served.url, timeout=30) as client:
        for method, path, (needed,) in ROUTES:
            for scope, key in by_scope.items():
                answer = _call(client, method, path, f"Bearer {key}")
                assert answer.status_code != 401
                assert (answer.status_code == 403) == (scope != needed), (path, scope)
                if scope != needed:
                    assert problem(answer) == (403, "forbidden")
                    assert needed in answer.json()["detail"]
            for authorization in none:
                assert problem(_call(client, method, path, authorization)) == (401, "unauthorized"), authorization


def _call(client: httpx2.Client, method: str, path: str, authorization: str) -> httpx2.Response:
    """A call of a route with an id in each place of one, and nothing as its body."""
    headers = {"Authorization": authorization} if authorization else {}
    return client.request(method.upper(), re.sub(r"\{\w+\}", "x-1", path), headers=headers)


@pytest.mark.parts
def test_a_key_opens_nothing_that_is_signed(served: Served) -> None:
    """Not even one with every scope: an agency's call is signed by the agency."""
    with httpx2.Client(base_url=served.url, timeout=30) as client:
        for method, path in SIGNED:
            answer = _call(client, method, path, f"Bearer {served.key()}")
            assert problem(answer) == (401, "bad-signature")
            assert answer.headers["www-authenticate"] == "StandardWebhooks"


@pytest.mark.parts
def test_the_open_ones_answer_anybody(served: Served) -> None:
    """And nothing else does, whatever the path."""
    with httpx2.Client(base_url=served.url, timeout=30) as client:
        assert {path: client.get(path).status_code for path in OPEN} == dict.fromkeys(OPEN, 200)
        unknown = client.get("/v1/nowhere")

    assert problem(unknown) == (404, "not-found")


@pytest.mark.parts
def test_who_is_refused_hears_how_to_come_in(served: Served) -> None:
    """The answer to a call without a key names the scheme, as HTTP asks."""
    refused = httpx2.get(f"{served.url}/v1/accounts/a-1")

    assert refused.headers["www-authenticate"] == "Bearer"
    assert "Authorization: Bearer" in refused.json()["detail"]


@pytest.mark.parts
def test_a_revoked_key_ends_in_a_process_that_knows_it(parts: Parts, database: Database, caught_up: None) -> None:
    """Within the seconds for which keys are taken as known; a key that is made meanwhile opens at once."""
    now = [0.0]
    with serving(parts, database, Ways(gate_clock=lambda: now[0])) as served:
        keys = ApiKeys(database)
        made, text = keys.create("support", {Scope.READ}, by="tests")
        old = served.caller(text)

        assert problem(old.get("/v1/clearances/x")) == (404, "not-found")
        keys.revoke(made.key_id, by="tests")
        now[0] = KEYS_FOR_SECONDS - 0.01
        assert problem(old.get("/v1/clearances/x")) == (404, "not-found")
        assert problem(served.caller().get("/v1/clearances/x")) == (404, "not-found")
        now[0] = KEYS_FOR_SECONDS
        assert problem(old.get("/v1/clearances/x")) == (401, "unauthorized")
