"""The routes that tell of an account, and the one by which its events may come.

Called by support, and by a creditor without Kafka.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Request
from fastapi.responses import Response

from consumers.api.document import any_event
from consumers.api.routes import PathId, Producer, Reader, api_of, json_answer, published
from consumers.clear import ORIGIN
from consumers.intake import Taken
from consumers.story import Story
from consumers.story_report import account_as_json, timeline_as_json
from consumers.teller import Unknown
from domain.events import Origin, RawRecord
from infra.http.bodies import whole
from infra.http.problems import Problem, ProblemError
from infra.wire.answers import AccountState, EventRejected, EventTaken, Timeline
from infra.wire.asyncapi import STRUCTURED
from infra.wire.decode import Rejected, decode

router = APIRouter(prefix="/v1")


@router.get(
    "/accounts/{account_id}",
    tags=["accounts"],
    summary="An account as it stands",
    responses=published(Problem.NOT_FOUND, s200=(AccountState, "Its debts, placements, recalls and holds.")),
)
async def account(request: Request, account_id: PathId, caller: Reader) -> Response:
    """With all that was acknowledged before the question, or `behind` says what may be missing."""
    return json_answer(account_as_json(await _story(request, account_id)))


@router.get(
    "/accounts/{account_id}/timeline",
    tags=["accounts"],
    summary="What happened on an account",
    responses=published(Problem.NOT_FOUND, s200=(Timeline, "Every event, decision and recall, oldest first.")),
)
async def timeline(request: Request, account_id: PathId, caller: Reader) -> Response:
    """Every event, decision and recall, oldest first, in words and by the ids of their events."""
    return json_answer(timeline_as_json(await _story(request, account_id)))


@router.post(
    "/events",
    status_code=202,
    tags=["events"],
    summary="An event, in place of its stream",
    responses=published(
        Problem.EVENT_CONFLICT,
        Problem.TOO_LARGE,
        Problem.OVERLOADED,
        says_more={422: EventRejected},
        s202=(EventTaken, "It is applied."),
        s200=(EventTaken, "It was known, and changed nothing."),
    ),
    openapi_extra={"requestBody": {"required": True, "content": {STRUCTURED: {"schema": any_event()}}}},
)
async def event(request: Request, caller: Producer) -> Response:
    """A CloudEvent of any inbound type; it is applied before the answer.

    Structured, as the schemas here describe it; or in binary mode, where the attributes are headers, `ce-id`,
    `ce-source` and so on, and the body is `data` alone.
    """
    api = api_of(request)
    body = await whole(request, limit_bytes=api.limits.body_bytes)
    raw = RawRecord(Origin(ORIGIN, 0, 0, api.now()), None, body, _headers(request))
    read = api.hear(raw, decode(raw, any_topic=True, keyed=False))
    if isinstance(read, Rejected):
        raise ProblemError(Problem.INVALID, read.detail, reason=read.reason)
    taken = await api.take(read)
    if taken is Taken.CONFLICT:
        raise ProblemError(Problem.EVENT_CONFLICT, "send the new content under a new id")
    return json_answer(
        {"outcome": taken, "source": read.source, "id": read.id}, 202 if taken is Taken.APPLIED else 200
    )


def _headers(request: Request) -> tuple[tuple[str, bytes], ...]:
    """The headers that a record of the same event would have: `ce-id` in HTTP is `ce_id` in Kafka."""
    return tuple(
        (f"ce_{name[3:]}", _attribute(value)) if name.startswith("ce-") else (name, value.encode("latin-1"))
        for name, value in request.headers.items()
        if name.startswith("ce-") or name in {"content-type", "traceparent"}
    )


def _attribute(header: str) -> bytes:
    """An attribute as CloudEvents writes it in HTTP: with %-escapes, and perhaps in quotes."""
    if len(header) > 1 and header[0] == header[-1] == '"':
        header = re.sub(r"\\(.)", r"\1", header[1:-1])
    return unquote_to_bytes(header.encode("latin-1"))


async def _story(request: Request, account_id: str) -> Story:
    story = await api_of(request).tell(account_id)
    if isinstance(story, Unknown):
        missing = f"; what may be missing: {story.behind}" if story.behind else ""
        raise ProblemError(Problem.NOT_FOUND, f"nothing is known of this account{missing}")
    return story
