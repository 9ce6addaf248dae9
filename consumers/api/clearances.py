"""The routes of clearances: ask, confirm, look, and a night's file of questions in one call.

Called by collections. What an answer means is decided in `consumers.clear` and `domain.clearance`; here it is read
from a request and written to an answer.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import APIRouter, Request
from fastapi.responses import Response

from consumers.answers import problem_line
from consumers.api.routes import (
    Asker,
    Confirmer,
    PathId,
    Reader,
    api_of,
    body_of,
    json_answer,
    published,
    takes,
)
from consumers.api.service import Api
from consumers.clear import Asked, Confirmed, Confirming, Refused, Void
from domain.access import Caller
from domain.traces import context
from infra.http.bodies import lines
from infra.http.problems import Problem, ProblemError
from infra.http.streams import Duplex
from infra.wire.answers import KeptClearance, PlacementConfirmed, VoidReasons
from infra.wire.clearances import encode_confirmation, encode_reasons
from infra.wire.outgoing import Clearance
from infra.wire.questions import Confirmation, Question

NDJSON = "application/x-ndjson"

LINES = {
    "description": "Lines, each a JSON object: a `Question` that is sent, a `Clearance` or a problem that comes."
}
"""Of text there is nothing more that this version of the document could say, nor anything that is not a line."""

router = APIRouter(prefix="/v1/clearances", tags=["clearances"])


@router.post(
    "",
    status_code=201,
    summary="May this debt be placed?",
    responses=published(Problem.TOO_LARGE, Problem.OVERLOADED, s201=(Clearance, "The answer, which is kept.")),
    openapi_extra=takes(Question),
)
async def ask(request: Request, caller: Asker) -> Response:
    """Every event that the broker had acknowledged before the question arrived is in the answer, or it is `hold`.

    With `referral` the debt is stated in the same transaction.
    """
    question = await body_of(request, Question)
    given = await api_of(request).ask(Asked(question.about, _name(caller), question.referral, _trace(request)))
    if isinstance(given, Refused):
        raise ProblemError(Problem.INVALID, given.detail)
    return json_answer(given.answer, 201)


@router.post(
    "/batch",
    summary="Many questions, a line each",
    responses={
        **published(Problem.TOO_LARGE),
        200: {
            "description": "A line an answer, in the questions' order: a clearance, or a problem in its place.",
            "content": {NDJSON: {"schema": LINES}},
        },
    },
    # Not required: nothing is a batch of no questions.
    openapi_extra={"requestBody": {"required": False, "content": {NDJSON: {"schema": LINES}}}},
)
async def ask_batch(request: Request, caller: Asker) -> Response:
    """NDJSON in, NDJSON out, while it comes: a line is a question, and an answer is a line.

    A line that is not right gets a problem in its place, and the others go on; empty lines get none. Read the
    answers while you send: from who only sends no more is read once some of them wait.
    """
    return Duplex(_answers(request, api_of(request), caller), media_type=NDJSON)


@router.get(
    "/{clearance_id}",
    summary="A clearance that was given",
    responses=published(Problem.NOT_FOUND, s200=(KeptClearance, "The answer as it was given, and its use.")),
)
async def look(request: Request, clearance_id: PathId, caller: Reader) -> Response:
    """The answer as it was given, with the placement that it was used for."""
    given = await api_of(request).look(clearance_id)
    if given is None:
        raise ProblemError(Problem.NOT_FOUND, "no clearance has this id")
    confirmed_at = given.confirmed_at.isoformat() if given.confirmed_at else None
    return json_answer({**given.answer, "placement_id": given.placement_id, "confirmed_at": confirmed_at})


@router.post(
    "/{clearance_id}/confirm",
    summary="Register a placement under a clearance",
    responses=published(
        Problem.NOT_FOUND,
        Problem.CLEARANCE_VOID,
        Problem.TOO_LARGE,
        Problem.OVERLOADED,
        says_more={409: VoidReasons},
        s200=(PlacementConfirmed, "It holds, and the placement is registered."),
    ),
    openapi_extra=takes(Confirmation),
)
async def confirm(request: Request, clearance_id: PathId, caller: Confirmer) -> Response:
    """Looks again, at all that was acknowledged until now, and registers the placement in the same commit.

    The same placement again is answered again, so a lost answer can be asked for.
    """
    wanted = await body_of(request, Confirmation)
    confirming = Confirming(clearance_id, wanted.placement_id, wanted.placed_at)
    result = await api_of(request).confirm(confirming, _trace(request))
    match result:
        case Confirmed(given, placement_id, placed_at):
            return json_answer(encode_confirmation(given.answer, placement_id, placed_at))
        case Void(detail, reasons):
            raise ProblemError(Problem.CLEARANCE_VOID, detail, reasons=encode_reasons(reasons))
        case None:
            raise ProblemError(Problem.NOT_FOUND, "no clearance has this id")


def _name(caller: Caller) -> str:
    return f"key {caller.name} ({caller.key_id})"


async def _answers(request: Request, api: Api, caller: Caller) -> AsyncIterator[bytes]:
    """The answers to the lines of a request, a set at a time; a client that goes away ends the reading."""
    left = api.limits.batch_questions
    async for some in lines(request, limit_bytes=api.limits.body_bytes, at_once_max=api.limits.at_once):
        taken = some[:left]
        left -= len(taken)
        if taken:
            yield await api.ask_lines(taken, by=_name(caller))
        if len(taken) < len(some):
            limit = f"a batch may have {api.limits.batch_questions} questions; send the rest in another"
            yield problem_line(ProblemError(Problem.TOO_LARGE, limit))
            return


def _trace(request: Request) -> str | None:
    """The trace to which a question belongs."""
    return context(request.headers.get("traceparent"))
