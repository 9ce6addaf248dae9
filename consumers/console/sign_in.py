"""Signing in by an API key, and out; the language and the look that somebody chose.

A key is sent once, by a form, and is answered with a session. Keys that open nothing are told so, no sooner than
others: guessing 256 bits is hopeless, and the gate reads the keys only some times a second for who guesses.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from consumers.console.headers import HEADERS
from consumers.console.render import page
from consumers.console.visitors import (
    PREFIX,
    THEME_COOKIE,
    THEMES,
    TONGUE_COOKIE,
    YEAR,
    Anybody,
    ReaderForm,
    Visitor,
    console_of,
    fields_of,
    forget_cookie,
    form_token,
    keep_cookie,
    local,
    session_cookie,
)
from consumers.console.words import Tongue
from domain.access import Scope
from infra.http.problems import Problem, ProblemError
from infra.postgres.records import Act

router = APIRouter()

SIGN_IN_COOKIE = "guard-sign-in"
SIGN_IN_FOR = timedelta(minutes=30)
"""How long the form of signing in may be looked at before it is sent."""


@router.get("/sign-in")
async def ask(
    request: Request, visitor: Anybody, following: Annotated[str, Query(alias="next", max_length=2_000)] = ""
) -> Response:
    """The form."""
    return form(request, visitor, following)


@router.post("/sign-in")
async def sign_in(request: Request, visitor: Anybody) -> Response:
    """Open a session for the holder of a key that may read."""
    console = console_of(request)
    fields = await fields_of(request)
    following, key = fields.get("next", ""), fields.get("key", "").strip()
    mark = request.cookies.get(SIGN_IN_COOKIE, "")
    # Nobody is signed in yet, so a cookie of its own shows that the form came from here: else another site could
    # sign somebody in as somebody else.
    if not mark or not secrets.compare_digest(fields.get("form_token", "").encode(), form_token(mark).encode()):
        return form(request, visitor, following, wrong="sign_in.form_is_old", status=403)
    try:
        caller = await console.call(lambda: console.gate.admit(f"Bearer {key}", Scope.READ))
    except ProblemError as why:
        if why.problem not in {Problem.UNAUTHORIZED, Problem.FORBIDDEN}:
            raise
        wrong = "sign_in.key_is_wrong" if why.problem is Problem.UNAUTHORIZED else "sign_in.key_may_not_read"
        return form(request, visitor, following, wrong=wrong, status=why.problem.value.status)
    return await welcome(
        request,
        name=caller.name,
        signed_by=f"key:{caller.key_id}",
        key_id=caller.key_id,
        scopes=caller.scopes,
        following=following,
    )


async def welcome(
    request: Request, *, name: str, signed_by: str, key_id: str | None, scopes: Iterable[Scope], following: str
) -> Response:
    """Open a session for somebody who has shown who they are, and send them on."""
    console = console_of(request)

    def begin() -> str:
        secret, session = console.sessions.open(
            name=name, signed_by=signed_by, key_id=key_id, scopes=scopes, now=console.now()
        )
        console.record(session, Act.SIGNED_IN)
        return secret

    secret = await console.call(begin)
    response = RedirectResponse(local(following), 303, headers=HEADERS)
    # Until the browser is closed; the server ends it sooner. Lax, or who comes by a link would not be known.
    keep_cookie(console, response, session_cookie(console), secret, same_site="lax")
    forget_cookie(console, response, SIGN_IN_COOKIE, same_site="strict")
    return response


@router.post("/sign-out")
async def sign_out(request: Request, sent: ReaderForm) -> Response:
    """End the session."""
    console = console_of(request)
    await console.call(lambda: console.sessions.end(sent.guest.visitor.secret, console.now()))
    await console.call(lambda: console.record(sent.guest.session, Act.SIGNED_OUT))
    response = RedirectResponse(f"{PREFIX}/sign-in", 303, headers=HEADERS)
    forget_cookie(console, response, session_cookie(console), same_site="lax")
    return response


@router.post("/language/{tongue}")
async def choose_language(request: Request, tongue: Annotated[Tongue, Path()]) -> Response:
    """Keep the language that somebody chose."""
    return await _keep_choice(request, TONGUE_COOKIE, tongue)


@router.post("/look/{theme}")
async def choose_look(request: Request, theme: str) -> Response:
    """Keep the look that somebody chose: light, dark, or as the machine has it."""
    return await _keep_choice(request, THEME_COOKIE, theme if theme in THEMES else THEMES[0])


async def _keep_choice(request: Request, cookie: str, value: str) -> Response:
    fields = await fields_of(request)
    response = RedirectResponse(local(fields.get("next", "")), 303, headers=HEADERS)
    keep_cookie(console_of(request), response, cookie, value, same_site="lax", max_age=YEAR)
    return response


def form(request: Request, visitor: Visitor, following: str, *, wrong: str = "", status: int = 200) -> Response:
    """The form, with what is wrong by the name of its words."""
    console = console_of(request)
    mark = request.cookies.get(SIGN_IN_COOKIE, "") or secrets.token_urlsafe(32)
    response = page(
        request,
        visitor,
        "sign_in.html",
        status=status,
        following=following,
        wrong=wrong,
        mark=form_token(mark),
        has_provider=console.door is not None,
    )
    keep_cookie(console, response, SIGN_IN_COOKIE, mark, same_site="strict", max_age=SIGN_IN_FOR)
    return response
