"""The routes of recalls: how they stand, and what a person orders; and the one by which agencies answer them.

Called by the creditor's desk, and by agencies. What an order does is decided in `consumers.orders`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from consumers.api.document import agency_event
from consumers.api.routes import (
    BEARER,
    SIGNATURE,
    SIGNED,
    AnyName,
    Operator,
    PathId,
    Reader,
    api_of,
    body_of,
    json_answer,
    published,
    takes,
)
from consumers.intake import Taken
from consumers.orders import AmbiguousError, OrderError, OverError
from consumers.recalls_report import page_as_json, place_of, recall_as_json
from domain.recall import RecallStage
from infra.http.bodies import whole
from infra.http.problems import Problem, ProblemError
from infra.postgres.recalls import Wanted
from infra.wire.answers import EventRejected, EventTaken, RecallListed, RecallOrdered, RecallPage, RecallResent
from infra.wire.asyncapi import STRUCTURED
from infra.wire.cursor import CURSOR_MAX_CHARACTERS, CursorError
from infra.wire.models import Id
from infra.wire.questions import Order, Resend, TakeOver

PAGE_RECALLS = 100
PAGE_RECALLS_MAX = 500
"""Each of which the database looks at its deliveries and contacts for."""

router = APIRouter(prefix="/v1", dependencies=[Depends(BEARER)])
signed = APIRouter(prefix="/v1", dependencies=[Depends(SIGNATURE)])
"""What agencies call, without an API key."""


@router.get(
    "/recalls",
    tags=["recalls"],
    summary="Recalls as they stand",
    responses=published(s200=(RecallPage, "A page of them, the one requested first first.")),
)
async def recalls(  # As many as there are ways to ask.
    request: Request,
    caller: Reader,
    state: Annotated[RecallStage | None, Query(description="Only those in this state.")] = None,
    agency_id: Annotated[Id | None, Query(description="Only those of this agency.")] = None,
    overdue: Annotated[
        bool | None, Query(description="Only those past their deadline that nobody answered; or all others.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_RECALLS_MAX, description="Recalls on a page.")] = PAGE_RECALLS,
    cursor: Annotated[
        str | None, Query(max_length=CURSOR_MAX_CHARACTERS, description="`next_cursor` of the page before.")
    ] = None,
) -> Response:
    """With what was tried to deliver each, and whether the agency spoke to the customer after it."""
    try:
        after = place_of(cursor) if cursor is not None else None
    except CursorError as why:
        raise ProblemError(Problem.INVALID, f"cursor {why}") from why
    wanted = Wanted(state=state, agency_id=agency_id, overdue=overdue)
    page = await api_of(request).order(lambda orders: orders.page(wanted, after=after, limit=limit))
    return json_answer(page_as_json(page, limit))


@router.post(
    "/placements/{placement_id}/recall",
    status_code=202,
    tags=["recalls"],
    summary="Recall a placement by hand",
    responses=published(
        Problem.NOT_FOUND,
        Problem.PLACEMENT_AMBIGUOUS,
        Problem.PLACEMENT_CLOSED,
        Problem.TOO_LARGE,
        s202=(RecallOrdered, "It is recalled, by this order or before it; the agency is told at once."),
    ),
    openapi_extra=takes(Order),
)
async def order(request: Request, placement_id: PathId, caller: Operator) -> Response:
    """With the same clock as every recall. A placement that was recalled before is not recalled again."""
    wanted = await body_of(request, Order)
    names = {"reason": wanted.reason, "requested_by": wanted.requested_by}
    try:
        ordered = await api_of(request).order(
            lambda orders: orders.recall(placement_id, account_id=wanted.account_id, **names)
        )
    except OrderError as why:
        raise _problem(why, over=Problem.PLACEMENT_CLOSED) from why
    return json_answer({**recall_as_json(ordered.recall), "is_new": ordered.is_new}, 202)


@router.post(
    "/recalls/{recall_id}/resend",
    status_code=202,
    tags=["recalls"],
    summary="Send a recall again",
    responses=published(
        Problem.NOT_FOUND,
        Problem.TOO_LARGE,
        s202=(RecallResent, "It is on its way again, or was waiting to be sent anyway."),
    ),
    openapi_extra=takes(Resend),
)
async def resend(request: Request, recall_id: PathId, caller: Operator) -> Response:
    """Under its id, in whatever state it is: an agency may say that it has stopped, and not have done so."""
    wanted = await body_of(request, Resend)
    try:
        resent = await api_of(request).resend(recall_id, by=wanted.by, caller=caller)
    except OrderError as why:
        raise _problem(why, over=Problem.RECALL_OVER) from why
    return json_answer({"recall_id": recall_id, "resent": resent}, 202)


@router.post(
    "/recalls/{recall_id}/take-over",
    tags=["recalls"],
    summary="See to a recall yourself",
    responses=published(
        Problem.NOT_FOUND,
        Problem.RECALL_OVER,
        Problem.TOO_LARGE,
        s200=(RecallListed, "A person has it: whoever took it over first."),
    ),
    openapi_extra=takes(TakeOver),
)
async def take_over(request: Request, recall_id: PathId, caller: Operator) -> Response:
    """Its clock stops: what waits to be sent still goes, and is not repeated."""
    wanted = await body_of(request, TakeOver)
    try:
        recall = await api_of(request).order(
            lambda orders: orders.take_over(recall_id, by=wanted.by, reason=wanted.reason)
        )
    except OrderError as why:
        raise _problem(why, over=Problem.RECALL_OVER) from why
    return json_answer(recall_as_json(recall))


@signed.post(
    "/agencies/{agency_id}/events",
    status_code=202,
    tags=["agencies"],
    summary="What an agency says",
    responses=published(
        Problem.EVENT_CONFLICT,
        Problem.TOO_LARGE,
        Problem.OVERLOADED,
        always=SIGNED,
        says_more={422: EventRejected},
        s202=(EventTaken, "It is applied."),
        s200=(EventTaken, "It was known, and changed nothing."),
    ),
    openapi_extra={"requestBody": {"required": True, "content": {STRUCTURED: {"schema": agency_event()}}}},
)
async def agency_says(request: Request, agency_id: AnyName) -> Response:
    """An `agency.*` CloudEvent in structured mode, signed with one of the agency's secrets (Standard Webhooks)."""
    api = api_of(request)
    body = await whole(request, limit_bytes=api.limits.body_bytes)
    said, taken = await api.call_back(agency_id, request.headers, body)
    if taken is Taken.CONFLICT:
        raise ProblemError(Problem.EVENT_CONFLICT, "send the new content under a new id")
    answer = {"outcome": taken, "source": said.source, "id": said.id}
    return json_answer(answer, 202 if taken is Taken.APPLIED else 200)


def _problem(why: OrderError, *, over: Problem) -> ProblemError:
    """The problem that tells what could not be ordered."""
    match why:
        case AmbiguousError():
            return ProblemError(Problem.PLACEMENT_AMBIGUOUS, str(why))
        case OverError():
            return ProblemError(over, str(why))
        case _:
            return ProblemError(Problem.NOT_FOUND, str(why))
