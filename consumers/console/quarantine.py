"""The quarantine: what waits, one event in full, and the orders to try events again or to give one up.

What an order does is decided in `consumers.requeue` and `infra.postgres.quarantine`; here it is recorded with who
gave it, and told. The list has no event's content. Who looks at one is recorded: it may hold a customer's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response

from consumers.console.render import link
from consumers.console.replies import Reply, Told, back, told_page
from consumers.console.service import Console
from consumers.console.visitors import (
    NAME_MAX_CHARACTERS,
    NUMBER_MAX,
    OperatorForm,
    QueryName,
    Reader,
    console_of,
)
from consumers.console.wire import shown
from consumers.requeue import Report
from infra.http.problems import Problem, ProblemError
from infra.postgres.quarantine import Held
from infra.postgres.records import Act
from infra.postgres.sessions import Session

router = APIRouter()

PAGE_EVENTS = 50

ACCOUNTS_SHOWN_MAX = 10
"""Of one event, in the list; it names one or two."""

EventId = Annotated[int, Path(ge=1, le=NUMBER_MAX)]


@router.get("/quarantine")
async def quarantine(
    request: Request,
    guest: Reader,
    account_id: QueryName = "",
    after: Annotated[int, Query(ge=0, le=NUMBER_MAX)] = 0,
) -> Response:
    """A page of what waits, oldest first."""
    console = console_of(request)

    def look() -> tuple[list[Held], int, int]:
        store = console.quarantine
        found = store.waiting(account_id=account_id or None, after=after, limit=PAGE_EVENTS + 1)
        held = store.holds([account_id]).get(account_id, 0) if account_id else 0
        return found, store.count(), held

    found, waiting, held = await console.call(look)
    rows = found[:PAGE_EVENTS]
    more = ""
    if len(found) > PAGE_EVENTS:
        more = link("/quarantine", account_id=account_id, after=rows[-1].quarantine_id)
    return told_page(
        request,
        guest,
        "quarantine.html",
        place="quarantine",
        events=rows,
        waiting=waiting,
        account_id=account_id,
        held=held,
        is_first=not after,
        more=more,
        first=link("/quarantine", account_id=account_id),
        accounts_max=ACCOUNTS_SHOWN_MAX,
    )


@router.get("/quarantine/{event_id}")
async def event(request: Request, guest: Reader, event_id: EventId) -> Response:
    """One in full, also when it was applied or dropped since."""
    console = console_of(request)

    def look() -> Held:
        held = _found(console, event_id)
        _record(console, guest.session, Act.EVENT_READ, held)
        return held

    held = await console.call(look)
    return told_page(
        request,
        guest,
        "quarantined.html",
        place="quarantine",
        held=held,
        state="applied" if held.applied_at else "dropped" if held.dropped else "waiting",
        shown=shown,
    )


@router.post("/quarantine/requeue")
async def requeue_account(request: Request, form: OperatorForm) -> Response:
    """Try everything again that holds an account."""
    console = console_of(request)
    account_id = form.text("account_id", max_characters=NAME_MAX_CHARACTERS)

    def order() -> Reply:
        report = console.requeue.all(account_id)
        reply = _told_of_account(account_id, report)
        console.record(
            form.guest.session, Act.EVENT_REQUEUED, account_id=account_id, outcome=_outcome(reply, report)
        )
        return reply

    reply = await console.call(order)
    return back(request, form, reply, otherwise=link("/quarantine", account_id=account_id))


@router.post("/quarantine/{event_id}/requeue")
async def requeue(request: Request, form: OperatorForm, event_id: EventId) -> Response:
    """Try one again."""
    console = console_of(request)

    def order() -> Reply:
        held = _found(console, event_id)
        report = console.requeue.these([event_id])
        reply = _told(event_id, report)
        _record(console, form.guest.session, Act.EVENT_REQUEUED, held, outcome=_outcome(reply, report))
        return reply

    return await _answer(request, form, event_id, order)


@router.post("/quarantine/{event_id}/drop")
async def drop(request: Request, form: OperatorForm, event_id: EventId) -> Response:
    """Give one up for good; its bytes stay."""
    console, reason = console_of(request), form.text("reason")
    session = form.guest.session

    def order() -> Reply:
        held = _found(console, event_id)
        dropped = console.quarantine.drop(event_id, by=session.name, reason=reason)
        if dropped is not None:
            console.log.warning("quarantine.dropped", quarantine_id=event_id, reason=dropped.reason)
        reply = Reply(Told.DROPPED if dropped is not None else Told.NOT_WAITING, name=str(event_id))
        _record(console, session, Act.EVENT_DROPPED, held, reason=reason, outcome=reply.told)
        return reply

    return await _answer(request, form, event_id, order)


async def _answer(request: Request, form: OperatorForm, event_id: int, order: Callable[[], Reply]) -> Response:
    reply = await console_of(request).call(order)
    return back(request, form, reply, otherwise=link(f"/quarantine/{event_id}"))


def _found(console: Console, event_id: int) -> Held:
    held = console.quarantine.look(event_id)
    if held is None:
        raise ProblemError(Problem.NOT_FOUND, "no event of the quarantine has this number")
    return held


def _record(
    console: Console, session: Session, act: Act, held: Held, *, reason: str = "", outcome: str = ""
) -> None:
    """Write it down for each account that the event holds, so that it is found by any of them."""
    accounts: Iterable[str] = held.accounts or ("",)
    for account_id in accounts:
        console.record(
            session, act, account_id=account_id, target=str(held.quarantine_id), reason=reason, outcome=outcome
        )


def _told(event_id: int, report: Report) -> Reply:
    name = str(event_id)
    if report.not_waiting:
        return Reply(Told.NOT_WAITING, name=name)
    if report.still_bad:
        return Reply(Told.STILL_BAD, name=name, what=report.still_bad[0].reason)
    return Reply(Told.KNOWN if report.duplicates else Told.APPLIED, name=name)


def _told_of_account(account_id: str, report: Report) -> Reply:
    applied, bad = len(report.applied), len(report.still_bad)
    if not applied and not bad:
        return Reply(Told.NOTHING_WAITS, name=account_id)
    told = Told.ACCOUNT_STILL_BAD if bad else Told.ACCOUNT_APPLIED
    reasons = ", ".join(sorted({one.reason for one in report.still_bad}))
    return Reply(told, name=account_id, n=applied, of=applied + bad, what=reasons)


def _outcome(reply: Reply, report: Report) -> str:
    """What came of it, for the record: the word, and why what is still bad is."""
    return " ".join([reply.told, *sorted({one.reason for one in report.still_bad})])
