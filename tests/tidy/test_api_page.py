"""The page on the API is true: its calls, scopes, problems and limits are those of the code."""

from __future__ import annotations

import re
from typing import cast

from pydantic import BaseModel

from consumers.api.app import build
from consumers.api.document import every_route
from consumers.api.service import Api
from domain.access import Scope
from infra.http.problems import TYPES, Problem
from infra.settings import PREFIX, Settings
from infra.wire.questions import Confirmation, Order, Question, Resend, TakeOver, read
from tests.tidy import pages

PAGE = pages.page("docs/api.md")
APP = build(cast("Api", None))  # Its routes are looked at, and none is called.


def _published() -> list[list[str]]:
    """Each call that the document has, with its scope."""
    return [
        [f"{method.upper()} {path}", operation["security"][0].get("apiKey", ["signed"])[0]]
        for path, operations in APP.openapi()["paths"].items()
        for method, operation in operations.items()
    ]


def test_every_call_is_named_with_its_scope() -> None:
    """The table of the calls is the document's, in words; those open to anybody stand beside it."""
    told = [row for row in pages.rows(PAGE, "The calls") if len(row) == 3]
    opened = re.findall(r"^\| `GET (/\w+(?:\.json)?)` \| [^|`]", PAGE, re.MULTILINE)
    every = {str(getattr(route, "path", "")) for route in every_route(APP)}

    assert sorted(_published()) == sorted([row[0], row[1]] for row in told)
    assert {row[0].split()[1] for row in told} | set(opened) == every


def test_every_scope_is_named() -> None:
    """In the order in which the command line has them."""
    assert list(Scope) == pages.names(PAGE, "Who may call")


def test_every_problem_says_what_to_do_next() -> None:
    """The table of problems is the code's, in its order, with a next step for each."""
    told = pages.rows(PAGE, "Problems")

    assert [[one.value.name, str(one.value.status), one.value.title] for one in Problem] == [
        row[:3] for row in told
    ]
    assert [row[0] for row in told if len(row) != 4 or not row[3].endswith(".")] == []
    assert f"`{TYPES}`" in PAGE


def test_every_limit_is_named() -> None:
    """Each setting of the API that is a bound has its row."""
    bounds = [name for name in Settings.model_fields if re.match(r"api_.*(max|rate)", name)]

    assert sorted(f"{PREFIX}{name.upper()}" for name in bounds) == sorted(
        row[1] for row in pages.rows(PAGE, "Limits")
    )


def test_the_bodies_of_the_examples_are_taken() -> None:
    """Each example of a call has a body that the call reads, orders too."""
    bodies = re.findall(r"-d '([^']*)'", PAGE)

    models: tuple[type[BaseModel], ...] = (Question, Confirmation, Order, Resend, TakeOver)
    for model, body in zip(models, bodies, strict=True):
        assert read(model, body.encode())
