"""The OpenAPI document: the framework's, with what the framework does not see of the routes.

`python -m consumers.api.document` prints it, and `make contract` writes it to `docs/openapi.json`. The bodies are
read by `infra.wire`, so their schemas are put in here: the questions, and each event as the stream contract has it.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute

from consumers.api.routes import BEARER, SCHEMAS, Json, Needs
from domain.access import Scope
from infra.http.problems import ProblemDetails
from infra.wire.answers import EventRejected, VoidReasons
from infra.wire.asyncapi import inbound_schemas
from infra.wire.kinds import AGENCIES, KINDS, Kind
from infra.wire.questions import REFERRAL, Confirmation, Order, Question, Resend, TakeOver

if TYPE_CHECKING:
    from consumers.api.service import Api

ABOUT = """\
Collections ask before each transfer, and confirm it; support reads accounts; a creditor without Kafka sends events;
people order recalls, and agencies answer them.

An answer has every event that was acknowledged before the question arrived, or it is `hold`. Errors are problem
details (RFC 9457) whose `type` stays. JSON is strict: a name that stands twice in one object, or a field that a
question does not have, is an error.

**Who.** Each call needs an API key with the scope that stands beside it under `security`; what agencies call is
signed instead.

**What a schema can't say.** JSON is UTF-8, at most 16 levels deep. A number without a fraction is a whole number
to JSON Schema also where it is written `850.0`; the guard refuses that. The components of a debt add up to its
amount. An event's `subject` is its `data.account_id`; a referral's ids, where they stand, are those asked about.
No text holds half of a surrogate pair, and no id a hidden character beyond U+FFFF."""

SAID_BY_QUESTION = ("account_id", "debt_id")
"""What a referral need not repeat."""


CARRIED = ("datacontenttype", "traceparent")
"""Attributes of an event by which nothing is decided."""


def any_event() -> Json:
    """The schema of an event of any inbound type."""
    return _event_of(KINDS)


def agency_event() -> Json:
    """The schema of an event of any type that agencies send."""
    return _event_of([kind for kind in KINDS if kind.topic == AGENCIES])


def _event_of(kinds: Iterable[Kind]) -> Json:
    refs = {kind.type: SCHEMAS.format(model=kind.type) for kind in kinds}
    return {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "type", "mapping": refs},
    }


def document(app: FastAPI) -> Json:
    """The document of an application."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        schemas: Json = made["components"]["schemas"]
        for model in (Question, Confirmation, Order, Resend, TakeOver, ProblemDetails, VoidReasons, EventRejected):
            schemas.update(_schemas(model))
        schemas.update(_as_read(inbound_schemas()))
        _state_referral(schemas)
        for route in every_route(app):
            if isinstance(route, APIRoute) and route.include_in_schema:
                _state_scopes(made, route)
        app.openapi_schema = made
    return app.openapi_schema


def _as_read(schemas: Json) -> Json:
    """Attributes that are only carried on refuse no event: one that is none is dropped."""
    event = copy.deepcopy(schemas["Event"])
    for name in CARRIED:
        event["properties"][name] = {"description": "Carried on; what is none is dropped, and the event is taken."}
    return {**schemas, "Event": event}


def every_route(app: FastAPI) -> Iterator[BaseRoute]:
    """The routes of an application, those of its routers among them."""
    return (context.original_route for context in iter_route_contexts(app.routes))


def scopes(route: APIRoute) -> list[Scope]:
    """What a route asks of its caller."""
    return sorted(one.call.scope for one in _dependants(route.dependant) if isinstance(one.call, Needs))


def _dependants(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _dependants(one)


def _state_scopes(made: Json, route: APIRoute) -> None:
    needed = scopes(route)
    if not needed:
        return  # It is signed, which the framework has stated.
    for method in route.methods or ():
        made["paths"][route.path_format][method.lower()]["security"] = [{BEARER.scheme_name: needed}]


def _schemas(model: Any) -> Json:  # `Any`: any model.
    schema: Json = model.model_json_schema(ref_template=SCHEMAS)
    parts: Json = schema.pop("$defs", {})
    return {**parts, model.__name__: schema}


def _state_referral(schemas: Json) -> None:
    """A referral is the data of its event, without what the question has said already."""
    referral = copy.deepcopy(schemas[REFERRAL.__name__])
    referral["required"] = [name for name in referral["required"] if name not in SAID_BY_QUESTION]
    schemas["Referral"] = referral
    about = schemas["Question"]["properties"]["referral"]
    words = {name: about[name] for name in ("title", "description") if name in about}
    either = [{"$ref": SCHEMAS.format(model="Referral")}, {"type": "null"}]
    schemas["Question"]["properties"]["referral"] = {"anyOf": either, "default": None, **words}


if __name__ == "__main__":
    from consumers.api.app import build

    # A document is made of routes alone, so nothing has to answer.
    sys.stdout.write(json.dumps(document(build(cast("Api", None))), indent=1, ensure_ascii=False) + "\n")
