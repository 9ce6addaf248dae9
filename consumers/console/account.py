"""The account page: may support say why the collector calls, what to tell the customer, and who acts next.

Called by support. Each reading is written down before anything is shown. What is told is decided by
`consumers.story`, and said by `telling` and `customer`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response

from consumers.api.routes import AnyName
from consumers.console import customer, telling
from consumers.console.headers import HEADERS
from consumers.console.render import link, page, part
from consumers.console.replies import Reply, Told, back, told_page
from consumers.console.service import Console
from consumers.console.visitors import NAME_MAX_CHARACTERS, Guest, OperatorForm, Reader, console_of
from consumers.console.wire import shown
from consumers.orders import AmbiguousError, OverError, UnknownError
from consumers.story import Story
from consumers.teller import Unknown
from infra.http.problems import Problem, ProblemError
from infra.postgres.records import Act

router = APIRouter()


@router.get("/accounts")
async def find(
    request: Request, guest: Reader, q: Annotated[str, Query(max_length=NAME_MAX_CHARACTERS)] = ""
) -> Response:
    """Lead on to the account that somebody looks for, by its id or by a placement's or a recall's."""
    wanted = q.strip()
    found = await console_of(request).call(lambda: _find(console_of(request), wanted)) if wanted else []
    if len(found) == 1:
        return RedirectResponse(link(f"/accounts/{part(found[0])}"), 303, headers=HEADERS)
    return page(request, guest.visitor, "find.html", place="account", wanted=wanted, found=found)


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
    at: Annotated[str, Query(max_length=40)] = "",
    kind: Annotated[str, Query(max_length=80)] = "",
) -> Response:
    """The account as it stands, or as it was known at an instant."""
    console = console_of(request)
    instant = _instant(at, console)
    target = f"as of {instant.isoformat()}" if instant else ""
    await console.call(
        lambda: console.record(guest.session, Act.ACCOUNT_READ, account_id=account_id, target=target)
    )
    story = await console.call(lambda: console.teller.tell(account_id, at=instant))
    if isinstance(story, Unknown):
        raise ProblemError(Problem.NOT_FOUND, guest.visitor.words("account.unknown"))
    return _page(request, guest, story, instant=instant, kind=kind)


def _page(request: Request, guest: Guest, story: Story, *, instant: datetime | None, kind: str) -> Response:
    words = guest.visitor.words
    rows = list(telling.rows(story, words))
    answer, mood = telling.verdict(story, words)
    zone = console_of(request).ways.timezone
    return told_page(
        request,
        guest,
        "account.html",
        place="account",
        story=story,
        answer=answer,
        mood=mood,
        to_tell=customer.in_words(story, words),
        steps={
            one.episode.opened.placement_id: telling.step_in_words(one.next_step, words) for one in story.placements
        },
        rows=[row for row in rows if not kind or row.kind == kind],
        kinds=sorted({row.kind for row in rows}),
        kind=kind,
        instant=instant,
        instant_text=(instant or story.asked_at).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S"),
    )


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
        headers=[(shown(name.encode()).text, shown(header).text) for name, header in found.headers],
        origin=f"{found.topic}/{found.partition} @ {found.offset}",
    )


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
