"""Signing in by the creditor's provider: somebody is sent there, and comes back with a code.

What belongs to one attempt is in a cookie of the browser that began it, and nothing of it is kept here: `state`,
`nonce` and the verifier are made of the cookie, so an answer is taken only where it was asked for, and one that
somebody else began signs nobody in.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote, unquote

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from consumers.console.headers import HEADERS
from consumers.console.service import Console, Door
from consumers.console.sign_in import form, welcome
from consumers.console.visitors import Anybody, console_of, forget_cookie, keep_cookie, local
from domain.access import Scope, scopes_given
from infra.http.problems import Problem, ProblemError

if TYPE_CHECKING:
    from infra.oidc import Person

router = APIRouter()

TRIP_MAX = timedelta(minutes=10)
"""To find a password and a second factor."""

NEXT_MAX_CHARACTERS = 1_000
"""Of the page to go on to: the cookie has 4,096 in all."""

Text = Annotated[str, Query(max_length=4_096)]
"""What a provider sends back. Codes are opaque, and some are long."""


@dataclass(frozen=True, slots=True)
class Trip:
    """One attempt: begun in one browser, good once and for a while."""

    secret: str
    began: datetime
    following: str

    @classmethod
    def begin(cls, following: str, now: datetime) -> Trip:
        """A new one that will go on to a page."""
        short = following if len(quote(following, safe="")) <= NEXT_MAX_CHARACTERS else ""
        return cls(secrets.token_urlsafe(32), now.astimezone(UTC).replace(microsecond=0), local(short))

    @classmethod
    def of(cls, cookie: str) -> Trip | None:
        """The one that a cookie holds, if it holds one."""
        secret, _, rest = cookie.partition(".")
        began, _, following = rest.partition(".")
        if not secret or not began.isdecimal() or len(began) > 11:  # Of seconds since 1970, for 3,000 years.
            return None
        return cls(secret, datetime.fromtimestamp(int(began), UTC), unquote(following))

    @property
    def cookie(self) -> str:
        """As the browser keeps it."""
        return f"{self.secret}.{int(self.began.timestamp())}.{quote(self.following, safe='')}"

    def made(self, what: str) -> str:
        """The `state`, `nonce` or `verifier` of it: from none can the others be told."""
        digest = hashlib.sha256(f"{what}:{self.cookie}".encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_of(self, state: str, now: datetime) -> bool:
        """Whether an answer belongs to it, and comes in time."""
        is_ours = secrets.compare_digest(self.made("state").encode(), state.encode())
        return is_ours and timedelta() <= now - self.began <= TRIP_MAX


@router.get("/oidc/start")
async def start(
    request: Request, visitor: Anybody, following: Annotated[str, Query(alias="next")] = ""
) -> Response:
    """Send somebody to the provider."""
    console = console_of(request)
    door, trip = _door(console), Trip.begin(following, console.now())
    address = await console.threads.run(lambda: _address(console, door, trip), door.waiting)
    if address is None:
        return form(request, visitor, trip.following, wrong="sign_in.provider_is_away", status=503)
    response = RedirectResponse(address, 303, headers=HEADERS)
    # Lax, since the provider sends the browser back here from another site.
    keep_cookie(console, response, _cookie(console), trip.cookie, same_site="lax", max_age=TRIP_MAX)
    return response


@router.get("/oidc/return")
async def come_back(
    request: Request, visitor: Anybody, state: Text = "", code: Text = "", error: Text = "", iss: Text = ""
) -> Response:
    """Open a session for whom the provider vouches for, if that gives them the console."""
    console = console_of(request)
    door, trip = _door(console), Trip.of(request.cookies.get(_cookie(console), ""))
    if trip is None or not trip.is_of(state, console.now()):
        return form(request, visitor, "", wrong="sign_in.trip_is_over", status=403)
    if error or not code:
        console.log.warning("console.sign_in_refused", detail=f"the provider said {_said(error)}")
        return _over(console, form(request, visitor, trip.following, wrong="sign_in.provider_refused", status=403))
    person = await console.threads.run(lambda: _person(console, door, trip, code, iss), door.waiting)
    if isinstance(person, str):
        status = 503 if person == "sign_in.provider_is_away" else 403
        return _over(console, form(request, visitor, trip.following, wrong=person, status=status))
    signed_by, scopes = f"oidc:{person.subject}", scopes_given(door.scopes, person.values)
    if Scope.READ not in scopes:
        console.log.warning(
            "console.sign_in_refused", signed_by=signed_by, detail="no value of theirs gives a scope"
        )
        return _over(console, form(request, visitor, trip.following, wrong="sign_in.nothing_is_given", status=403))
    return _over(
        console,
        await welcome(
            request, name=person.name, signed_by=signed_by, key_id=None, scopes=scopes, following=trip.following
        ),
    )


def _said(error: str) -> str:
    from infra.oidc import error_of  # noqa: PLC0415 # Only where a provider is set.

    return error_of(error) if error else "neither an error nor a code"


def _address(console: Console, door: Door, trip: Trip) -> str | None:
    from infra.oidc import ProviderUnavailableError  # noqa: PLC0415 # Only where a provider is set.

    try:
        return door.provider.address(
            state=trip.made("state"), nonce=trip.made("nonce"), verifier=trip.made("verifier")
        )
    except ProviderUnavailableError as why:
        console.log.warning("console.provider_is_away", detail=str(why))
        return None


def _person(console: Console, door: Door, trip: Trip, code: str, said_issuer: str) -> Person | str:
    """Who has come back; or the name of the words that say why nobody has."""
    from infra.oidc import ProviderRefusedError, ProviderUnavailableError  # noqa: PLC0415 # As above.

    try:
        return door.provider.person(
            code=code, nonce=trip.made("nonce"), verifier=trip.made("verifier"), said_issuer=said_issuer
        )
    except ProviderUnavailableError as why:
        console.log.warning("console.provider_is_away", detail=str(why))
        return "sign_in.provider_is_away"
    except ProviderRefusedError as why:
        console.log.warning("console.sign_in_refused", detail=str(why))
        return "sign_in.provider_refused"


def _door(console: Console) -> Door:
    if console.door is None:
        raise ProblemError(Problem.NOT_FOUND, "nobody signs in by a provider here")
    return console.door


def _cookie(console: Console) -> str:
    """The name of the cookie; over https it can't be set by another host, who could sign somebody in as another."""
    return "__Host-guard-trip" if console.ways.is_https else "guard-trip"


def _over(console: Console, response: Response) -> Response:
    """An attempt is good once, however it ends."""
    forget_cookie(console, response, _cookie(console), same_site="lax")
    return response
