"""What callers may send to the API: names, types and bounds, and how a body is read.

Used by the API to validate and to publish, and by `check` for what stands in a file. JSON is as strict as that of
events, every known field is strict, and unlike in events an unknown field is an error: who misspells `referral`
must hear of it.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from infra.wire.clearances import About
from infra.wire.decode import InvalidError, parse
from infra.wire.models import DebtReferred, Id, Instant

ERRORS_MAX = 5
"""Named at a time; who mends five hears of the next."""

NAME_MAX_CHARACTERS = 64
"""Of a field in an error, which may be one that the caller made up; ours have 13 at most."""


class QuestionError(Exception):
    """What was sent is not right; the message names the fields and what they must be."""


class Question(BaseModel):
    """May this debt of this account be placed with this agency?"""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    account_id: Id
    debt_id: Id
    agency_id: Id
    referral: Annotated[
        dict[str, Any] | None,  # `Any`: it is judged as the event that it states.
        Field(
            description="The debt as collections state it, as `data` of `collections.debt.referred.v1`; "
            "registered in the same transaction. Its `account_id` and `debt_id` may be left out.",
        ),
    ] = None

    @property
    def about(self) -> About:
        """What is asked."""
        return About(self.account_id, self.debt_id, self.agency_id)


class Confirmation(BaseModel):
    """The placement that is to be registered under a clearance."""

    model_config = Question.model_config

    placement_id: Id
    placed_at: Annotated[Instant | None, Field(description="When it was placed. Now, where it is not given.")] = (
        None
    )


Words = Annotated[
    str,
    StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$"),
    Field(description="1 to 500 characters, without NUL, and without a customer's data."),
]
"""What a person writes down for whoever asks later."""


class Order(BaseModel):
    """A placement is to be recalled by hand."""

    model_config = Question.model_config

    reason: Annotated[Words, Field(description="Why, for whoever asks later; the agency does not see it.")]
    requested_by: Annotated[Words, Field(description="Who orders it.")]
    account_id: Annotated[
        Id | None, Field(description="Whose placement; needed where two accounts have one of this id.")
    ] = None


class Resend(BaseModel):
    """A recall is to be sent again."""

    model_config = Question.model_config

    by: Annotated[Words, Field(description="Who orders it.")]


class TakeOver(BaseModel):
    """A person sees to a recall from here on."""

    model_config = Question.model_config

    by: Annotated[Words, Field(description="Who does.")]
    reason: Annotated[Words, Field(description="Why, for whoever asks later.")]


Body = TypeVar("Body", bound=BaseModel)

REFERRAL = DebtReferred
"""What a `referral` is held to."""


def read(kind: type[Body], body: bytes) -> Body:
    """What a body says. Raises QuestionError."""
    if not body.strip():
        raise QuestionError("the body is empty")
    try:
        value = parse(body)
    except InvalidError as why:
        raise QuestionError(why.detail) from why
    if not isinstance(value, dict):
        raise QuestionError("the body must be a JSON object")
    try:
        return kind.model_validate(value)
    except ValidationError as why:
        raise QuestionError(in_words(why)) from why


def in_words(why: ValidationError) -> str:
    """Which fields are wrong, and what they must be."""
    errors = why.errors(include_input=False, include_url=False, include_context=False)[:ERRORS_MAX]
    return "; ".join(f"{'.'.join(map(str, one['loc']))[:NAME_MAX_CHARACTERS]}: {one['msg']}" for one in errors)
