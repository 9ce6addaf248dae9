"""How routes are declared: what each needs of its caller, and how its body and answers are published.

Used by the routes beside it. Bodies are read by `infra.wire`, as strictly as events are, and not by the framework;
so what is published of them is stated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast

import orjson
from fastapi import Depends, Path, Request, Response
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel, BeforeValidator

from consumers.api.service import Api
from domain.access import Caller, Scope
from infra.http.bodies import whole
from infra.http.paths import unescaped
from infra.http.problems import MEDIA_TYPE, Problem, ProblemDetails, ProblemError, responses
from infra.wire.models import Id
from infra.wire.questions import QuestionError, read

Json = dict[str, Any]  # `Any`: a part of a document is as varied as what it describes.
Body = TypeVar("Body", bound=BaseModel)

SCHEMAS = "#/components/schemas/{model}"
"""How a schema of the document is referred to."""

BEARER = HTTPBearer(
    auto_error=False, scheme_name="apiKey", description="An API key, made by `handoff-guard keys create`."
)

SIGNATURE = APIKeyHeader(
    name="webhook-signature",
    scheme_name="signature",
    auto_error=False,
    description="A signature of the body by one of the agency's secrets, beside `webhook-id` and "
    "`webhook-timestamp`, as Standard Webhooks has it.",
)

PathId = Annotated[Id, BeforeValidator(unescaped), Path(description="Its id, with %-escapes where it needs them.")]
"""An id in a path; a slash in it is sent as `%2F`."""


def _any_name(part: str) -> str:
    try:
        return unescaped(part)
    except ValueError:
        return ""


AnyName = Annotated[
    str, BeforeValidator(_any_name), Path(description="Its id, with %-escapes where it needs them.")
]
"""A part of a path that may be anything: whatever nobody is called by is told like whoever is unknown."""

ALWAYS = (
    Problem.UNAUTHORIZED,
    Problem.FORBIDDEN,
    Problem.INVALID,
    Problem.RATE_LIMITED,
    Problem.FAULT,
    Problem.UNAVAILABLE,
)
"""What any call with a key may be answered with."""

SIGNED = (
    Problem.BAD_SIGNATURE,
    Problem.WRONG_AGENCY,
    Problem.INVALID,
    Problem.RATE_LIMITED,
    Problem.FAULT,
    Problem.UNAVAILABLE,
)
"""What any call that is signed may be answered with."""


def api_of(request: Request) -> Api:
    """What the routes of this application work with."""
    return cast("Api", request.app.state.api)


@dataclass(frozen=True, slots=True)
class Needs:
    """Only callers with this scope come in; the route is given who it is."""

    scope: Scope

    async def __call__(self, request: Request) -> Caller:
        """As the framework calls it. Raises ProblemError."""
        return await api_of(request).admit(request, self.scope)


Asker = Annotated[Caller, Depends(Needs(Scope.ASK))]
Confirmer = Annotated[Caller, Depends(Needs(Scope.CONFIRM))]
Reader = Annotated[Caller, Depends(Needs(Scope.READ))]
Operator = Annotated[Caller, Depends(Needs(Scope.OPERATE))]
Producer = Annotated[Caller, Depends(Needs(Scope.EVENTS))]
"""Who calls a route: the holder of a key with its scope, or nobody."""


def published(
    *problems: Problem,
    always: Sequence[Problem] = ALWAYS,
    says_more: Mapping[int, type[BaseModel]] | None = None,
    **answers: tuple[type[BaseModel], str],
) -> dict[int | str, Json]:
    """Every answer of a route: its models by status, as `s201=(Model, "words")`, and its problems.

    `says_more`: what the problems of a status have beside the members of every problem.
    """
    good: dict[int | str, Json] = {
        int(status.removeprefix("s")): {"model": model, "description": words}
        for status, (model, words) in answers.items()
    }
    bad = responses(*always, *problems)
    for status, model in (says_more or {}).items():
        all_of = [{"$ref": SCHEMAS.format(model=name)} for name in (ProblemDetails.__name__, model.__name__)]
        bad[status]["content"] = {MEDIA_TYPE: {"schema": {"allOf": all_of}}}
    return {**good, **bad}


def takes(model: type[BaseModel], media_type: str = "application/json") -> Json:
    """How the body of a route is published, as a schema that the application's document holds."""
    schema = {"$ref": SCHEMAS.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


async def body_of(request: Request, model: type[Body]) -> Body:
    """The body of a request. Raises ProblemError where it is not right."""
    text = await whole(request, limit_bytes=api_of(request).limits.body_bytes)
    try:
        return read(model, text)
    except QuestionError as why:
        raise ProblemError(Problem.INVALID, str(why)) from why


def json_answer(value: object, status: int = 200) -> Response:
    """An answer as it is written."""
    return Response(orjson.dumps(value), status, media_type="application/json")
