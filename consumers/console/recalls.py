"""The recalls: a list with its filters in the address, one in full, and the orders that are given of them.

What an order does is decided in `consumers.orders`; here it is recorded with who gave it, and told. A page is
always older than the database, so each form says what its reader saw: where something happened since, nothing is
done, and that is told instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from consumers.console.recall_events import events_of
from consumers.console.render import filters, link, part
from consumers.console.replies import Reply, Told, back, told_page
from consumers.console.service import Console
from consumers.console.visitors import NAME_MAX_CHARACTERS, OperatorForm, PathName, Reader, console_of
from consumers.console.wire import shown
from consumers.orders import OverError, UnknownError
from consumers.recalls_report import TO_BE_CALLED, next_cursor, place_of
from domain.agency import agency_of
from domain.recall import OVER, RecallStage
from infra.http.problems import Problem, ProblemError
from infra.postgres.recall_life import ATTEMPTS_MAX, SENDINGS_MAX, Life
from infra.postgres.recalls import KeptRecall, Place, Wanted
from infra.postgres.records import Act
from infra.postgres.sessions import Session
from infra.wire.cursor import CURSOR_MAX_CHARACTERS, CursorError

router = APIRouter()

PAGE_RECALLS = 50
"""What a person looks through; also the most that are sent again at a time, so a page can be chosen as a whole."""

CHOSEN = "recall:"
"""What the name of a checkbox begins with; behind it is the recall's id, and its value is what its reader saw."""

OPEN, DONE, ALL = "true", "false", "all"

MOODS = {
    RecallStage.REQUESTED: "wait",
    RecallStage.SENT: "wait",
    RecallStage.OVERDUE: "bad",
    RecallStage.ESCALATED: "bad",
    RecallStage.REJECTED: "bad",
    RecallStage.TAKEN_OVER: "plain",
    RecallStage.CLOSED: "plain",
    RecallStage.ACKNOWLEDGED: "good",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for. Where it says nothing, what is still open: the rest is history."""

    wanted: Wanted
    after: Place | None
    filters: Mapping[str, str]


@router.get("/recalls")
async def recalls(request: Request, guest: Reader) -> Response:
    """A page of recalls, the one requested first first."""
    console, asked = console_of(request), _asked(request.query_params)
    found = await console.call(lambda: console.orders.page(asked.wanted, after=asked.after, limit=PAGE_RECALLS + 1))
    rows = found[:PAGE_RECALLS]
    more = next_cursor(rows, PAGE_RECALLS) if len(found) > PAGE_RECALLS else None
    return told_page(
        request,
        guest,
        "recalls.html",
        place="recalls",
        recalls=rows,
        filters=asked.filters,
        is_first=asked.after is None,
        more=link("/recalls", **asked.filters, cursor=more) if more else "",
        first=link("/recalls", **asked.filters),
        at_once=PAGE_RECALLS,
        **_common(console),
    )


@router.get("/recalls/{recall_id}")
async def recall(request: Request, guest: Reader, recall_id: PathName) -> Response:
    """One in full. That somebody read it is recorded: what was sent is in it."""
    console = console_of(request)

    def look() -> tuple[KeptRecall, Life]:
        one = console.orders.find(recall_id)
        console.record(guest.session, Act.RECALL_READ, account_id=one.account_id, target=one.recall_id)
        return one, console.lives.of(one.account_id, one.placement_id, one.recall_id)

    one, life = await console.call(look)
    return told_page(
        request,
        guest,
        "recall.html",
        place="recalls",
        one=one,
        life=life,
        events=events_of(one, life),
        contact=agency_of(console.agencies(), one.agency_id).escalation_contact,
        is_to_be_called=one.state in TO_BE_CALLED,
        shown=shown,
        sendings_max=SENDINGS_MAX,
        attempts_max=ATTEMPTS_MAX,
        **_common(console),
    )


@router.post("/recalls/resend")
async def resend_chosen(request: Request, form: OperatorForm) -> Response:
    """Send those again that were chosen on a page."""
    console = console_of(request)
    prefix = len(CHOSEN)
    chosen = {name[prefix:]: seen for name, seen in form.fields.items() if name.startswith(CHOSEN)}
    if len(chosen) > PAGE_RECALLS:
        raise ProblemError(Problem.INVALID, f"at most {PAGE_RECALLS} recalls are sent again at a time")
    reply = Reply(Told.NONE_CHOSEN)
    if chosen:
        reply = await console.call(lambda: _resend(console, form.guest.session, chosen))
    return back(request, form, reply, otherwise=link("/recalls"))


@router.post("/recalls/{recall_id}/resend")
async def resend(request: Request, form: OperatorForm, recall_id: PathName) -> Response:
    """Send one again."""
    console = console_of(request)
    chosen = {recall_id: form.fields.get("seen", "")}
    reply = await console.call(lambda: _resend_one(console, form.guest.session, chosen))
    return back(request, form, reply, otherwise=link(f"/recalls/{part(recall_id)}"))


@router.post("/recalls/{recall_id}/take-over")
async def take_over(request: Request, form: OperatorForm, recall_id: PathName) -> Response:
    """See to one oneself."""
    console, reason = console_of(request), form.text("reason")
    reply = await console.call(lambda: _take_over(console, form.guest.session, recall_id, reason))
    return back(request, form, reply, otherwise=link(f"/recalls/{part(recall_id)}"))


def seen_of(one: KeptRecall) -> str:
    """What a form says that its reader saw of a recall."""
    return f"{one.state}:{one.resends}"


def _common(console: Console) -> dict[str, object]:
    return {
        "moods": MOODS,
        "over": OVER,
        "states": list(RecallStage),
        "agency_ids": sorted(console.agencies()),
        "seen_of": seen_of,
        "chosen": CHOSEN,
    }


def _asked(query: Mapping[str, str]) -> Asked:
    """What the address asks for. Raises ProblemError."""
    state, agency_id = query.get("state", ""), query.get("agency_id", "")
    overdue, is_open, cursor = query.get("overdue", ""), query.get("open", ""), query.get("cursor", "")
    if state and state not in set(RecallStage):
        raise ProblemError(Problem.INVALID, f"state: must be one of {', '.join(RecallStage)}")
    if len(agency_id) > NAME_MAX_CHARACTERS or not agency_id.isprintable():
        raise ProblemError(Problem.INVALID, f"agency_id: must be 1 to {NAME_MAX_CHARACTERS} printable characters")
    for name, value, known in (("overdue", overdue, {"", "true"}), ("open", is_open, {"", OPEN, DONE, ALL})):
        if value not in known:
            raise ProblemError(Problem.INVALID, f"{name}: must be one of {', '.join(sorted(known - {''}))}")
    if not is_open and not state and not overdue:
        is_open = OPEN
    wanted = Wanted(
        state=RecallStage(state) if state else None,
        agency_id=agency_id or None,
        overdue=True if overdue else None,
        is_open={OPEN: True, DONE: False}.get(is_open),
    )
    kept = filters({"state": state, "agency_id": agency_id, "overdue": overdue, "open": is_open})
    return Asked(wanted, _after(cursor), kept)


def _after(cursor: str) -> Place | None:
    if not cursor:
        return None
    if len(cursor) > CURSOR_MAX_CHARACTERS:
        raise ProblemError(Problem.INVALID, "cursor: must be a cursor as a page gave it")
    try:
        return place_of(cursor)
    except CursorError as why:
        raise ProblemError(Problem.INVALID, f"cursor: {why}") from why


def _resend_one(console: Console, session: Session, chosen: Mapping[str, str]) -> Reply:
    """Send one again, unless something happened since its reader looked. Raises UnknownError."""
    told = _resent(console, session, chosen)
    if not told:
        raise UnknownError("no recall has this id")
    return told[0]


def _resend(console: Console, session: Session, chosen: Mapping[str, str]) -> Reply:
    """Send these again, but those to which something happened since, and tell how many."""
    told = _resent(console, session, chosen)
    sent = sum(one.told is Told.RESENT for one in told)
    return Reply(Told.MANY_RESENT if sent else Told.NONE_RESENT, n=sent, of=len(chosen))


def _resent(console: Console, session: Session, chosen: Mapping[str, str]) -> list[Reply]:
    """What came of each that there is; each is recorded, also where nothing was done."""
    found = console.orders.these(list(chosen))
    unchanged = [one.recall_id for one in found if _since(one, chosen[one.recall_id]) is None]
    sent = console.orders.send_again(unchanged, by=session.signed_by) if unchanged else frozenset()
    told = []
    for one in found:
        instead = _since(one, chosen[one.recall_id]) or Told.WAITS
        came = Told.RESENT if one.recall_id in sent else instead
        console.record(session, Act.RECALL_RESENT, account_id=one.account_id, target=one.recall_id, outcome=came)
        told.append(Reply(came, name=one.placement_id, what=one.state))
    return told


def _since(one: KeptRecall, seen: str) -> Told | None:
    """What happened to a recall since its reader saw it; None where it is as it was, for all that counts here."""
    state, _, resends = seen.partition(":")
    if one.state in OVER and state != one.state:
        return Told.OVER_MEANWHILE
    if resends != str(one.resends):
        return Told.RESENT_MEANWHILE
    return None


def _take_over(console: Console, session: Session, recall_id: str, reason: str) -> Reply:
    """Let who asks have it; whoever had it first keeps it. Raises UnknownError."""
    before = console.orders.find(recall_id)
    told, by = Told.TAKEN_OVER, ""
    try:
        one = console.orders.take_over(recall_id, by=session.name, reason=reason)
    except OverError:
        one, told = console.orders.find(recall_id), Told.OVER_MEANWHILE
    if told is Told.TAKEN_OVER and one.taken_over_by != session.name:
        told, by = Told.WITH_ANOTHER, one.taken_over_by or ""
    elif told is Told.TAKEN_OVER and before.taken_over_at is not None:
        told = Told.YOURS_ALREADY
    console.record(
        session,
        Act.RECALL_TAKEN_OVER,
        account_id=one.account_id,
        target=recall_id,
        reason=reason,
        outcome=told,
    )
    return Reply(told, name=one.placement_id, what=by or one.state)
