"""Who looks at a page: known by a cookie, asked for a scope, and answered in their language.

Used by every page. A form is taken only from who holds the session and from a page of ours: it carries a token that
is made of the cookie's secret, and the browser says where it comes from (OWASP, Cross-Site Request Forgery
Prevention: synchronizer token, and Fetch metadata).
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Literal, cast
from urllib.parse import parse_qsl, quote

from fastapi import Depends, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BeforeValidator

from consumers.console.service import Console
from consumers.console.words import Words, tongue_of
from domain.access import Scope
from infra.http.bodies import whole
from infra.http.paths import unescaped
from infra.http.problems import Problem, ProblemError
from infra.postgres.sessions import Session

PREFIX = "/console"

TONGUE_COOKIE = "guard_language"
THEME_COOKIE = "guard_theme"
YEAR = timedelta(days=365)

FORM_FIELDS_MAX = 100
"""A page of recalls has fifty to choose."""

THEMES = ("auto", "light", "dark")


SameSite = Literal["lax", "strict"]


class SignInNeededError(Exception):
    """Nobody is signed in; the page is for those who are."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who looks at a page; `session` is None for who has not signed in."""

    session: Session | None
    secret: str
    words: Words
    theme: str

    @property
    def form_token(self) -> str:
        """What a form of this session carries."""
        return form_token(self.secret)

    def may(self, scope: Scope) -> bool:
        """Whether they have a scope."""
        return self.session is not None and scope in self.session.scopes


@dataclass(frozen=True, slots=True)
class Guest:
    """Who is signed in, surely."""

    visitor: Visitor
    session: Session


@dataclass(frozen=True, slots=True)
class Form:
    """What somebody sent by a form of ours."""

    guest: Guest
    fields: Mapping[str, str]

    def text(self, name: str, *, max_characters: int = 500) -> str:
        """A field that must be filled in with printable text. Raises ProblemError."""
        value = self.fields.get(name, "").strip()
        if not value or len(value) > max_characters or not value.isprintable():
            raise ProblemError(Problem.INVALID, f"{name}: must be 1 to {max_characters} printable characters")
        return value


def console_of(request: Request) -> Console:
    """What the pages of this application work with."""
    return cast("Console", request.app.state.console)


def session_cookie(console: Console) -> str:
    """The name of the cookie; over https it can't be set by another host or for another path."""
    return "__Host-guard-session" if console.ways.is_https else "guard-session"


def form_token(secret: str) -> str:
    """The token of a session's forms: who has it can't make the cookie of it."""
    return base64.urlsafe_b64encode(hashlib.sha256(b"form:" + secret.encode()).digest()).decode()


def keep_cookie(
    console: Console,
    response: Response,
    name: str,
    value: str,
    *,
    same_site: SameSite,
    max_age: timedelta | None = None,
) -> None:
    """Have the browser keep a cookie that no script can read; without an age until it is closed."""
    age = int(max_age.total_seconds()) if max_age is not None else None
    response.set_cookie(
        name, value, max_age=age, httponly=True, secure=console.ways.is_https, samesite=same_site, path="/"
    )


def forget_cookie(console: Console, response: Response, name: str, *, same_site: SameSite) -> None:
    """Have the browser forget a cookie that was set like this."""
    response.delete_cookie(name, httponly=True, secure=console.ways.is_https, samesite=same_site, path="/")


async def visitor(request: Request) -> Visitor:
    """Who looks at this page, signed in or not. Raises ProblemError where nobody can say."""
    if known := getattr(request.state, "visitor", None):
        return cast("Visitor", known)
    console = console_of(request)
    secret = request.cookies.get(session_cookie(console), "")
    session = await console.call(lambda: console.sessions.of(secret, console.now())) if secret else None
    request.state.visitor = Visitor(session, secret if session else "", words_of(request), _theme(request))
    return cast("Visitor", request.state.visitor)


def words_of(request: Request) -> Words:
    """The words for who asks, who may not be known."""
    tongue = tongue_of(request.cookies.get(TONGUE_COOKIE), request.headers.get("accept-language"))
    return Words(tongue, console_of(request).ways.timezone)


def _theme(request: Request) -> str:
    theme = request.cookies.get(THEME_COOKIE, THEMES[0])
    return theme if theme in THEMES else THEMES[0]


@dataclass(frozen=True, slots=True)
class Signed:
    """Only who is signed in with a scope comes in."""

    scope: Scope

    async def __call__(self, request: Request) -> Guest:
        """As the framework calls it. Raises SignInNeededError or ProblemError."""
        one = await visitor(request)
        if one.session is None:
            raise SignInNeededError
        if self.scope not in one.session.scopes:
            raise ProblemError(Problem.FORBIDDEN, f"this needs the scope {self.scope}")
        return Guest(one, one.session)


@dataclass(frozen=True, slots=True)
class Sent:
    """A form, from who is signed in with a scope, and from a page of ours."""

    scope: Scope

    async def __call__(self, request: Request) -> Form:
        """As the framework calls it. Raises SignInNeededError or ProblemError."""
        guest = await Signed(self.scope)(request)
        fields = await fields_of(request)
        token = fields.pop("form_token", "")
        if not secrets.compare_digest(token.encode(), guest.visitor.form_token.encode()):
            raise ProblemError(Problem.FORBIDDEN, "the form is not of this session; load its page again")
        return Form(guest, fields)


async def fields_of(request: Request) -> dict[str, str]:
    """The fields of a form that comes from a page of ours. Raises ProblemError."""
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise ProblemError(Problem.FORBIDDEN, "the form comes from another site")
    body = await whole(request, limit_bytes=console_of(request).ways.body_max_bytes)
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FORM_FIELDS_MAX
        )
    except ValueError as why:
        raise ProblemError(Problem.INVALID, "the form can't be read; load its page again") from why
    return dict(pairs)


def to_sign_in(request: Request) -> Response:
    """Send somebody to sign in, and back to where they wanted to be."""
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    back = f"?next={quote(wanted)}" if request.method == "GET" else ""
    return RedirectResponse(f"{PREFIX}/sign-in{back}", 303)


def local(path: str) -> str:
    """A path of the console to go on to; the first page for anything else."""
    is_ours = path == PREFIX or path.startswith(f"{PREFIX}/")
    return path if is_ours and "\\" not in path and path.isprintable() else f"{PREFIX}/"


NAME_MAX_CHARACTERS = 128
NUMBER_MAX = 2**63 - 1
"""Of what an address may name: an id, and a number of the database's."""

PathName = Annotated[str, BeforeValidator(unescaped)]
"""An id in a path, which may be any text: who asks for what is none is told that it isn't there."""

QueryName = Annotated[str, Query(max_length=NAME_MAX_CHARACTERS, pattern=r"^[^\x00]*$")]
"""An id that an address asks by; empty where it asks by none."""

Anybody = Annotated[Visitor, Depends(visitor)]
Reader = Annotated[Guest, Depends(Signed(Scope.READ))]
OperatorForm = Annotated[Form, Depends(Sent(Scope.OPERATE))]
ReaderForm = Annotated[Form, Depends(Sent(Scope.READ))]
"""Who looks at a page, or has sent its form."""
