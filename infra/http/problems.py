"""Every error that the API tells, in one table: problem details (RFC 9457) of types that stay.

Raised by the routes of `consumers.api`; told by the handlers here. A detail names a field or a rule and never
repeats what was sent, so that it may be logged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
TYPES = "urn:handoff-guard:problem:"
"""What a type begins with; the rest is its name in the docs."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of problem: its name, its status, and its title, which is the same each time."""

    name: str
    status: int
    title: str


class Problem(Enum):
    """Every type."""

    UNAUTHORIZED = Kind("unauthorized", 401, "The call has no valid API key.")
    BAD_SIGNATURE = Kind("bad-signature", 401, "The call is not signed as it must be.")
    FORBIDDEN = Kind("forbidden", 403, "The API key may not make this call.")
    WRONG_AGENCY = Kind("wrong-agency", 403, "This is another agency's to say.")
    NOT_FOUND = Kind("not-found", 404, "There is no such thing.")
    METHOD_NOT_ALLOWED = Kind("method-not-allowed", 405, "This can't be done here.")
    CLEARANCE_VOID = Kind("clearance-void", 409, "The clearance can't be used; ask again.")
    EVENT_CONFLICT = Kind("event-conflict", 409, "This source and id said something else before.")
    PLACEMENT_AMBIGUOUS = Kind("placement-ambiguous", 409, "More than one account has such a placement.")
    PLACEMENT_CLOSED = Kind("placement-closed", 409, "The placement has ended; there is nothing to recall.")
    RECALL_OVER = Kind("recall-over", 409, "The recall is over; nothing is left to do.")
    TOO_LARGE = Kind("too-large", 413, "The request is larger than is allowed.")
    INVALID = Kind("invalid", 422, "The request is not right; its detail names the field.")
    RATE_LIMITED = Kind("rate-limited", 429, "The caller asks more often than it may.")
    FAULT = Kind("fault", 500, "A fault of the guard's own; nothing was answered.")
    OVERLOADED = Kind("overloaded", 503, "Too many wait already; nothing was answered.")
    UNAVAILABLE = Kind("unavailable", 503, "The guard can't answer now; nothing was answered.")


RETRY_AFTER_SECONDS = {Problem.RATE_LIMITED: 1, Problem.OVERLOADED: 1, Problem.UNAVAILABLE: 5}


CHALLENGES = {Problem.UNAUTHORIZED: "Bearer", Problem.BAD_SIGNATURE: "StandardWebhooks"}
"""How to come in, in the header that HTTP asks for."""


class ProblemError(Exception):
    """A request can't be answered as it was asked; `more` are members beside those of the standard."""

    def __init__(self, problem: Problem, detail: str = "", **more: object) -> None:
        super().__init__(detail or problem.value.title)
        self.problem = problem
        self.detail = detail
        self.more = more


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457)."""

    type: str = Field(description=f"`{TYPES}` and the name of the type, which stays.")
    title: str = Field(description="The type in words; the same each time.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="This time: which field or rule, and what to do.")


def details(why: ProblemError) -> dict[str, object]:
    """The members of a problem, as they stand in an answer or in a line of a batch."""
    kind = why.problem.value
    return {
        "type": f"{TYPES}{kind.name}",
        "title": kind.title,
        "status": kind.status,
        "detail": why.detail or kind.title,
        **why.more,
    }


def as_response(why: ProblemError, headers: Mapping[str, str] | None = None) -> Response:
    """The answer that tells a problem."""
    wait = RETRY_AFTER_SECONDS.get(why.problem)
    retry = {"Retry-After": str(wait)} if wait else {}
    scheme = CHALLENGES.get(why.problem)
    challenge = {"WWW-Authenticate": scheme} if scheme else {}
    return Response(
        orjson.dumps(details(why)),
        why.problem.value.status,
        media_type=MEDIA_TYPE,
        headers={**retry, **challenge, **(headers or {})},
    )


def responses(*problems: Problem) -> dict[int | str, dict[str, object]]:
    """How these problems are published for a route."""
    by_status: dict[int | str, list[Problem]] = {}
    for problem in problems:
        by_status.setdefault(problem.value.status, []).append(problem)
    return {
        status: {
            "description": " ".join(f"`{one.value.name}`: {one.value.title}" for one in some),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
            **({"headers": headers} if (headers := _headers(some)) else {}),
        }
        for status, some in by_status.items()
    }


def _headers(problems: Iterable[Problem]) -> dict[str, object]:
    """The headers that always stand with these problems."""
    headers: dict[str, object] = {}
    if all(problem in RETRY_AFTER_SECONDS for problem in problems):
        seconds = {"type": "string", "pattern": "^[0-9]+$"}
        words = "In how many seconds it is worth to ask again."
        headers["Retry-After"] = {"required": True, "description": words, "schema": seconds}
    if any(problem in CHALLENGES for problem in problems):
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    return headers


def tell_problems(app: FastAPI) -> None:
    """Have every error of the application told as a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)


_BY_STATUS = {404: Problem.NOT_FOUND, 405: Problem.METHOD_NOT_ALLOWED, 413: Problem.TOO_LARGE}


async def _problem(_request: Request, why: Exception) -> Response:
    assert isinstance(why, ProblemError)  # noqa: S101 # It is registered for nothing else.
    return as_response(why)


async def _http(_request: Request, why: Exception) -> Response:
    assert isinstance(why, HTTPException)  # noqa: S101 # As above.
    problem = _BY_STATUS.get(why.status_code, Problem.INVALID)
    return as_response(ProblemError(problem), dict(why.headers or {}))


async def _validation(_request: Request, why: Exception) -> Response:
    assert isinstance(why, RequestValidationError)  # noqa: S101 # As above.
    detail = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in why.errors()[:5])
    return as_response(ProblemError(Problem.INVALID, detail))
