"""The account page: may support say why the collector calls, what to tell the customer, and who acts next.

Called by support. Each reading is written down before anything is shown. What is told is decided by
`consumers.story`, and said by `telling` and `customer`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Literal, get_args

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from consumers.api.routes import AnyName
from consumers.confirmation_page import Language, Paper
from consumers.console import customer, telling
from consumers.console.headers import HEADERS
from consumers.console.render import link, page, part
from consumers.console.replies import Reply, Told, back, told_page
from consumers.console.service import Console
from consumers.console.timeline import Asked, Order, after
from consumers.console.timeline import shown as timeline_shown
from consumers.console.visitors import NAME_MAX_CHARACTERS, NUMBER_MAX, Guest, OperatorForm, Reader, console_of
from consumers.console.wire import shown
from consumers.orders import AmbiguousError, OverError, UnknownError
from consumers.story import Story
from consumers.teller import Unknown
from domain.agency import agency_of
from domain.confirmation import NotYet
from infra.http.problems import Problem, ProblemError
from infra.postgres.history import Raw
from infra.postgres.records import Act
from infra.wire.cursor import CURSOR_MAX_CHARACTERS
from infra.wire.kinds import BY_NUMBER, QUARANTINE

router = APIRouter()


def what_is_asked(
    kind: Annotated[str, Query(max_length=80)] = "",
    order: Annotated[Literal["", Order], Query()] = "",
    cursor: Annotated[str, Query(max_length=CURSOR_MAX_CHARACTERS)] = "",
) -> Asked:
    """What the address asks for of the timeline. Raises ProblemError."""
    return Asked(kind, order or "newest", after(cursor))


WhatIsAsked = Annotated[Asked, Depends(what_is_asked)]


@router.get("/accounts")
async def find(
    request: Request, guest: Reader, q: Annotated[str, Query(max_length=NAME_MAX_CHARACTERS)] = ""
) -> Response:
    """Lead on to the account that somebody looks for, by its id or by a placement's or a recall's."""
    wanted = q.strip()
    found = await console_of(request).call(lambda: _find(console_of(request), wanted)) if wanted else []
    if len(found) == 1:
        return RedirectResponse(link(f"/accounts/{part(found[0])}"), 303, headers=HEADERS)
    status = 404 if wanted and not found else 200
    return page(request, guest.visitor, "find.html", place="account", status=status, wanted=wanted, found=found)


def _find(console: Console, wanted: str) -> list[str]:
    if console.history.knows(wanted):
        return [wanted]
    if accounts := console.recalls.accounts_of(wanted):
        return accounts
    try:
        return [console.orders.find(wanted).account_id]
    except UnknownError:
        return []


@router.get("/accounts/{account_id}")
async def account(
    request: Request,
    guest: Reader,
    account_id: AnyName,
    asked: WhatIsAsked,
    at: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The account as it stands, or as it was known at an instant."""
    console = console_of(request)
    if asked.kind and not guest.visitor.words.has(telling.kind_text(asked.kind)):
        raise ProblemError(Problem.INVALID, "kind: must be a kind of event or line, as the page has them")
    instant = _instant(at, console)
    target = f"as of {instant.isoformat()}" if instant else ""
    await console.call(
        lambda: console.record(guest.session, Act.ACCOUNT_READ, account_id=account_id, target=target)
    )
    story = await console.call(lambda: console.teller.tell(account_id, at=instant))
    if isinstance(story, Unknown):
        raise ProblemError(Problem.NOT_FOUND, guest.visitor.words("account.unknown"))
    return _page(request, guest, story, asked, instant)


def _page(request: Request, guest: Guest, story: Story, asked: Asked, instant: datetime | None) -> Response:
    words, ways = guest.visitor.words, console_of(request).ways
    answer, mood = telling.verdict(story, words)
    path, kept = f"/accounts/{part(story.account_id)}", {"at": instant.isoformat() if instant else ""}
    timeline = timeline_shown(story, asked, path, kept)
    return told_page(
        request,
        guest,
        "account.html",
        place="account",
        story=story,
        answer=answer,
        mood=mood,
        to_tell="" if instant else customer.in_words(story, words),
        steps={
            one.episode.opened.placement_id: telling.step_in_words(one.next_step, words) for one in story.placements
        },
        rows=list(telling.rows(timeline.lines, words)),
        timeline=timeline,
        kinds={
            kind: words(telling.kind_text(kind))
            for kind in sorted({line.kind for line in story.lines} | ({asked.kind} - {""}))
        },
        asked=asked,
        orders=get_args(Order),
        to_now=link(path, kind=asked.kind, order=asked.order),
        instant=instant,
        instant_text=instant.astimezone(ways.timezone).strftime("%Y-%m-%dT%H:%M:%S") if instant else "",
        creditor=ways.creditor,
        proof=proof_command,
    )


def proof_command(account_id: str, placement_id: str) -> str:
    """The command that packs the proof of a placement, as a shell takes it, whatever the ids are."""
    # An id that begins with a hyphen would be an option.
    placement = f"-- {shlex.quote(placement_id)}" if placement_id.startswith("-") else shlex.quote(placement_id)
    return f"handoff-guard evidence {shlex.quote(f'--account={account_id}')} --out evidence.zip {placement}"


def _instant(text: str, console: Console) -> datetime | None:
    """The instant that somebody asks about, in the policy's zone where it has no offset. Raises ProblemError."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))  # A plus in an address means a space.
        at = at if at.tzinfo is not None else at.replace(tzinfo=console.ways.timezone)
        at.astimezone(console.ways.timezone)
    except (ValueError, OverflowError) as why:
        raise ProblemError(Problem.INVALID, "at: must be an instant like 2026-11-14T10:02:00+03:00") from why
    if at > console.now():
        raise ProblemError(Problem.INVALID, "at: must not be in the future")
    return at


@router.get("/accounts/{account_id}/event")
async def event(
    request: Request,
    guest: Reader,
    account_id: AnyName,
    source: Annotated[str, Query(max_length=2_000)],
    event_id: Annotated[str, Query(alias="id", max_length=NAME_MAX_CHARACTERS)],
) -> Response:
    """One event as it came: its bytes where they were kept, else what was kept of it."""
    console = console_of(request)
    await console.call(
        lambda: console.record(guest.session, Act.EVENT_READ, account_id=account_id, target=event_id)
    )
    found = await console.call(lambda: console.history.raw(account_id, source, event_id))
    if found is None:
        raise ProblemError(Problem.NOT_FOUND, guest.visitor.words("account.event_unknown"))
    return page(
        request,
        guest.visitor,
        "event.html",
        place="account",
        account_id=account_id,
        event_id=event_id,
        source=source,
        value=shown(found.value) if found.value is not None else None,
        headers=_headers(found.headers),
        origin=f"{found.topic}/{found.partition} @ {found.offset}",
        fact=_fact_in_words(found),
    )


def _fact_in_words(found: Raw) -> dict[str, str]:
    """What the ledger has of an event, by its own names and as it has it."""
    told = {"type": BY_NUMBER[found.kind].type, **found.fact}
    return {name: kept.isoformat() if isinstance(kept, datetime) else str(kept) for name, kept in told.items()}


@router.get("/accounts/{account_id}/messages/{number}")
async def message(
    request: Request, guest: Reader, account_id: AnyName, number: Annotated[int, Path(ge=1, le=NUMBER_MAX)]
) -> Response:
    """One message of ours, as it is published."""
    console = console_of(request)
    await console.call(
        lambda: console.record(guest.session, Act.MESSAGE_READ, account_id=account_id, target=str(number))
    )
    found = await console.call(lambda: console.history.message(account_id, number))
    if found is None or found.topic == QUARANTINE:  # A copy of what came, which the quarantine shows.
        raise ProblemError(Problem.NOT_FOUND, guest.visitor.words("account.message_unknown"))
    return page(
        request,
        guest.visitor,
        "message.html",
        place="account",
        account_id=account_id,
        number=number,
        message=found,
        key=shown(found.key).text,
        value=shown(found.value),
        headers=_headers(found.headers),
    )


def _headers(headers: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [(shown(name.encode()).text, shown(value).text) for name, value in headers]


@router.get("/accounts/{account_id}/placements/{placement_id}/confirmation")
async def confirmation(
    request: Request, guest: Reader, account_id: AnyName, placement_id: AnyName, language: Language = Language.RU
) -> Response:
    """The page for the customer of a placement, to be kept and handed on, where it is true now."""
    console, words = console_of(request), guest.visitor.words

    def take() -> Paper | NotYet | None:
        paper = _paper(console, account_id, placement_id, language)
        outcome = "given" if isinstance(paper, Paper) else "not_yet"
        names = {"account_id": account_id, "target": placement_id}
        console.record(guest.session, Act.CONFIRMATION_TAKEN, **names, outcome=outcome)
        return paper

    match await console.call(take):
        case Paper() as paper:
            return HTMLResponse(paper.html(), headers={**HEADERS, "Content-Disposition": _file(placement_id)})
        case NotYet(why):
            raise ProblemError(Problem.NOT_FOUND, f"{words('account.paper_not_yet')} {why}")
        case None:
            what = "account.placement_unknown" if console.ways.creditor else "account.paper_no_creditor"
            raise ProblemError(Problem.NOT_FOUND, words(what))


def _file(placement_id: str) -> str:
    """That it is to be kept, and under which name (RFC 6266); a placement's id may be any text."""
    return f"attachment; filename=\"confirmation.html\"; filename*=UTF-8''confirmation-{part(placement_id)}.html"


def _paper(console: Console, account_id: str, placement_id: str, language: Language) -> Paper | NotYet | None:
    """The paper on a placement, or why there is none yet; None for a placement that is none, or of nobody's."""
    story = console.teller.tell(account_id)
    placements = story.placements if isinstance(story, Story) else ()
    one = next((one for one in placements if one.episode.opened.placement_id == placement_id), None)
    if one is None or not console.ways.creditor or not isinstance(story, Story):
        return None
    if isinstance(one.confirmed, NotYet):
        return one.confirmed
    agency_id = one.episode.opened.agency_id
    agency = agency_of(console.agencies(), agency_id).name or agency_id
    return Paper(one.confirmed, console.ways.creditor, agency, story.asked_at, console.ways.timezone, language)


@router.post("/placements/{placement_id}/recall")
async def recall(request: Request, form: OperatorForm, placement_id: AnyName) -> Response:
    """Recall a placement by hand, and come back to its account."""
    console, session = console_of(request), form.guest.session
    account_id, reason = form.text("account_id", max_characters=NAME_MAX_CHARACTERS), form.text("reason")

    def order() -> Told:
        try:
            ordered = console.orders.recall(
                placement_id, account_id=account_id, reason=reason, requested_by=session.name
            )
        except OverError:
            return Told.CLOSED
        except AmbiguousError:
            return Told.AMBIGUOUS
        return Told.ORDERED if ordered.is_new else Told.KNOWN_BEFORE

    def carry_out() -> Told:
        names = {"account_id": account_id, "target": placement_id, "reason": reason}
        console.record(session, Act.RECALL_ORDERED, **names, outcome="asked")
        told = order()
        console.record(session, Act.RECALL_ORDERED, **names, outcome=told)
        return told

    reply = Reply(await console.call(carry_out), name=placement_id)
    return back(request, form, reply, otherwise=link(f"/accounts/{part(account_id)}"))
