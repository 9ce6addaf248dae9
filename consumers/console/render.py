"""Writes pages: a template, its values and words, and the headers that keep everything else out.

Used by every page. Nothing is loaded from anywhere but this server, and no style or script stands in a page, so
that text that somebody slipped into an event can't become one (Content Security Policy, level 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from consumers.console.headers import HEADERS
from consumers.console.visitors import PREFIX, THEMES, Visitor, console_of
from consumers.console.words import Tongue
from domain.access import Scope

FOLDER = Path(__file__).with_name("templates")


@dataclass(frozen=True, slots=True)
class Place:
    """A page that the menu leads to, for those who may see it."""

    name: str
    path: str
    scope: Scope = Scope.READ


PLACES = (
    Place("now", f"{PREFIX}/"),
    Place("account", f"{PREFIX}/accounts"),
    Place("recalls", f"{PREFIX}/recalls"),
    Place("agencies", f"{PREFIX}/agencies"),
    Place("quarantine", f"{PREFIX}/quarantine"),
    Place("record", f"{PREFIX}/record", Scope.OPERATE),
)
"""The menu, in its order; the words of each are `common.place_<name>`."""


def page(
    request: Request, visitor: Visitor, template: str, *, place: str = "", status: int = 200, **values: object
) -> Response:
    """A page of this template; `place`: which entry of the menu it belongs to."""
    text = fragment(request, visitor, template, place=place, **values)
    return HTMLResponse(text, status, headers=HEADERS)


def fragment(request: Request, visitor: Visitor, template: str, *, place: str = "", **values: object) -> str:
    """The text of a template, for a page or for a part of one that is renewed."""
    console = console_of(request)
    return _ENVIRONMENT.get_template(template).render(
        w=visitor.words,
        visitor=visitor,
        place=place,
        places=[one for one in PLACES if visitor.may(one.scope)],
        here=request.url.path,
        address=request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        now=console.now(),
        may_operate=visitor.may(Scope.OPERATE),
        form_token=visitor.form_token,
        tongues=list(Tongue),
        themes=THEMES,
        **values,
    )


def link(path: str, **query: object) -> str:
    """An address of the console: `link("/recalls", agency_id="north")`; what is None or empty is left out."""
    kept = {name: str(value) for name, value in query.items() if value not in {None, ""}}
    return f"{PREFIX}{path}" + (f"?{urlencode(kept)}" if kept else "")


def part(name: str) -> str:
    """An id as a part of a path."""
    return quote(name, safe="")


def filters(values: Mapping[str, object]) -> dict[str, str]:
    """The filters that are set, for links that keep them."""
    return {name: str(value) for name, value in values.items() if value not in {None, ""}}


_ENVIRONMENT = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(link=link, PREFIX=PREFIX)
_ENVIRONMENT.filters["part"] = part
