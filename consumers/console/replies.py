"""What came of an order, told once: on the page that its form leads back to, and not again when that is reloaded.

Used by the pages that take orders. It travels in a cookie that is set with the redirect and taken away with the
page that tells it, so that no link can make the console say something. What it can say is a closed set.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from datetime import timedelta
from enum import StrEnum

from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from consumers.console.headers import HEADERS
from consumers.console.render import page
from consumers.console.service import Console
from consumers.console.visitors import Form, Guest, console_of, forget_cookie, keep_cookie, local

REPLY_FOR = timedelta(minutes=1)
"""How long it may take from the order to the page."""

TEXT_MAX_CHARACTERS = 200
COOKIE_MAX_CHARACTERS = 2_000


class Told(StrEnum):
    """What can be told; the words of each are `replies.<it>`."""

    RESENT = "resent"
    WAITS = "waits"
    RESENT_MEANWHILE = "resent_meanwhile"
    OVER_MEANWHILE = "over_meanwhile"
    MANY_RESENT = "many_resent"
    NONE_RESENT = "none_resent"
    NONE_CHOSEN = "none_chosen"
    TAKEN_OVER = "taken_over"
    YOURS_ALREADY = "yours_already"
    WITH_ANOTHER = "with_another"
    APPLIED = "applied"
    KNOWN = "known"
    STILL_BAD = "still_bad"
    NOT_WAITING = "not_waiting"
    DROPPED = "dropped"
    ACCOUNT_APPLIED = "account_applied"
    ACCOUNT_STILL_BAD = "account_still_bad"
    NOTHING_WAITS = "nothing_waits"
    ORDERED = "ordered"
    KNOWN_BEFORE = "known_before"
    CLOSED = "closed"
    AMBIGUOUS = "ambiguous"


GOOD = frozenset(
    {
        Told.RESENT,
        Told.MANY_RESENT,
        Told.TAKEN_OVER,
        Told.APPLIED,
        Told.KNOWN,
        Told.DROPPED,
        Told.ACCOUNT_APPLIED,
        Told.ORDERED,
        Told.KNOWN_BEFORE,
    }
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One: what it is about (`name`), of how many (`n` of `of`), and the code, state or person that is named."""

    told: Told
    name: str = ""
    n: int = 0
    of: int = 0
    what: str = ""

    @property
    def mood(self) -> str:
        """How it looks."""
        return "good" if self.told in GOOD else "wait"


def back(request: Request, form: Form, reply: Reply, *, otherwise: str) -> Response:
    """Lead back to where the form stood, and tell there what came of it."""
    console = console_of(request)
    following = form.fields.get("next", "")
    response = RedirectResponse(local(following) if following else otherwise, 303, headers=HEADERS)
    keep_cookie(console, response, _cookie(console), _written(reply), same_site="strict", max_age=REPLY_FOR)
    return response


def told_page(request: Request, guest: Guest, template: str, *, place: str, **values: object) -> Response:
    """A page that tells what came of an order, where one was just given."""
    console = console_of(request)
    written = request.cookies.get(_cookie(console), "")
    reply = _read(written)
    response = page(request, guest.visitor, template, place=place, status=200, reply=reply, **values)
    if written:
        forget_cookie(console, response, _cookie(console), same_site="strict")
    return response


def _cookie(console: Console) -> str:
    return "__Host-guard-reply" if console.ways.is_https else "guard-reply"


def _written(reply: Reply) -> str:
    kept = {**asdict(reply), "name": reply.name[:TEXT_MAX_CHARACTERS], "what": reply.what[:TEXT_MAX_CHARACTERS]}
    return base64.urlsafe_b64encode(json.dumps(kept, ensure_ascii=False).encode()).rstrip(b"=").decode()


def _read(written: str) -> Reply | None:
    """The reply of a cookie; None for anything that is none of ours."""
    if not written or len(written) > COOKIE_MAX_CHARACTERS:
        return None
    try:
        value = json.loads(base64.urlsafe_b64decode(written.encode("ascii") + b"=" * (-len(written) % 4)))
    except ValueError:
        return None
    match value:
        case {"told": str(told), "name": str(name), "n": int(n), "of": int(of), "what": str(what)} if (
            told in set(Told) and max(len(name), len(what)) <= TEXT_MAX_CHARACTERS
        ):
            return Reply(Told(told), name, n, of, what)
        case _:
            return None
