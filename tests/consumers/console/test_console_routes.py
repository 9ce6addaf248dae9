"""What every route of the console asks for, new ones too: a session, the scope, and the token of its forms."""

from __future__ import annotations

import re

import pytest
from starlette.routing import Route

from consumers.console.app import ROUTERS
from domain.access import Scope
from infra.postgres.database import Database
from infra.postgres.records import Act, Records
from tests.serving import Served, form_token_in

FOR_ANYBODY = {"/sign-in", "/language/{tongue}", "/look/{theme}", "/live/now"}
"""What is there for who has not signed in; a stream tells them that it has ended, since it can lead nowhere."""

FOR_READERS = {"/sign-out"}
"""What who may only read may order."""


def paths(method: str) -> list[str]:
    """The paths of the console that take a method, but those for anybody."""
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, Route)]
    return sorted(one.path for one in routes if method in (one.methods or ()) and one.path not in FOR_ANYBODY)


def address(path: str) -> str:
    """An address of a path: each id in it is 1."""
    return "/console" + re.sub(r"\{[^}]+\}", "1", path)


@pytest.mark.parts
def test_every_page_and_order_is_for_who_has_signed_in(served: Served) -> None:
    """All others are led to the form of signing in, and learn nothing."""
    stranger = served.guest()
    stranger.cookies.clear()
    stranger.follow_redirects = False

    read = {path: stranger.get(address(path)) for path in paths("GET")}
    ordered = {path: stranger.post(address(path), data={"form_token": "1"}) for path in paths("POST")}

    for path, answer in {**read, **ordered}.items():
        assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/sign-in"), path
        assert answer.text == "", path


@pytest.mark.parts
def test_no_order_is_taken_without_its_scope_or_token(served: Served, database: Database) -> None:
    """Who may only read is refused; so is who may operate, where the form was not ours. Nothing is recorded."""
    reader, operator = served.guest(Scope.READ), served.guest(Scope.READ, Scope.OPERATE)
    token = form_token_in(reader.get("/console/recalls").text)
    elsewhere = {"Sec-Fetch-Site": "cross-site"}
    own = form_token_in(operator.get("/console/recalls").text)

    orders = [path for path in paths("POST") if path not in FOR_READERS]
    without_scope = [reader.post(address(path), data={"form_token": token}) for path in orders]
    without_token = [operator.post(address(path), data={"reason": "why"}) for path in paths("POST")]
    with_another = [operator.post(address(path), data={"form_token": token}) for path in paths("POST")]
    from_elsewhere = [
        operator.post(address(path), data={"form_token": own}, headers=elsewhere) for path in paths("POST")
    ]

    assert orders
    for answers in (without_scope, without_token, with_another, from_elsewhere):
        assert {answer.status_code for answer in answers} == {403}
    assert {one.act for one in Records(database).newest(limit=9)} == {Act.SIGNED_IN}


@pytest.mark.parts
def test_the_record_is_for_who_may_operate(served: Served) -> None:
    """It names people, so it is neither in the menu of who may only read nor shown to them."""
    reader, operator = served.guest(Scope.READ), served.guest(Scope.READ, Scope.OPERATE)

    assert [one.get("/console/record").status_code for one in (reader, operator)] == [403, 200]
    menus = [one.get("/console/recalls").text.count('href="/console/record"') for one in (reader, operator)]
    assert menus == [0, 1]
