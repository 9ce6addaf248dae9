"""The published document: it is the application's, whole, and says what the models say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pytest
from jsonschema import Draft202012Validator

from consumers.api.app import build
from consumers.api.service import Api
from infra.wire.asyncapi import contract
from infra.wire.kinds import KINDS
from infra.wire.questions import REFERRAL
from tests.serving import Json
from tests.tidy import pages

PAGE = "docs/openapi.json"
DOCUMENT: Json = build(cast("Api", None)).openapi()  # Of routes alone: nothing has to answer.
SCHEMAS: Json = DOCUMENT["components"]["schemas"]


def references(node: object) -> Iterator[str]:
    """Every reference in a part of the document."""
    match node:
        case dict():
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for one in node.values():
                yield from references(one)
        case list():
            for one in node:
                yield from references(one)


def judge(schema: Json) -> Draft202012Validator:
    """Who judges by a schema of the document."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def test_the_page_is_the_document() -> None:
    """The published file is what the application says now; `make contract` writes it."""
    printed = subprocess.run(
        (sys.executable, "-m", "consumers.api.document"), check=True, capture_output=True, text=True, timeout=60
    )

    assert pages.page(PAGE) == printed.stdout
    assert json.loads(printed.stdout) == json.loads(json.dumps(DOCUMENT))


def test_every_reference_leads_somewhere() -> None:
    """Nothing is referred to that is not there, and no schema stands unused."""
    found = {one.removeprefix("#/components/schemas/") for one in references(DOCUMENT)}

    assert found == SCHEMAS.keys()


def test_every_schema_is_one() -> None:
    """Each part is a valid JSON Schema."""
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_events_are_those_of_the_stream_contract() -> None:
    """Each inbound type by its name, with the schemas of the stream contract word for word."""
    published = contract()["components"]
    body = DOCUMENT["paths"]["/v1/events"]["post"]["requestBody"]["content"]["application/cloudevents+json"]

    assert list(body["schema"]["discriminator"]["mapping"]) == [kind.type for kind in KINDS]
    for kind in KINDS:
        assert SCHEMAS[kind.type] == published["messages"][kind.type]["payload"]
        assert SCHEMAS[kind.payload.__name__] == published["schemas"][kind.payload.__name__]
        (example,) = published["messages"][kind.type]["examples"]
        assert judge(body["schema"]).is_valid(example["payload"])
    assert not judge(body["schema"]).is_valid({**example["payload"], "type": "agency.contact.lost.v1"})


def test_a_referral_is_the_data_of_its_event_without_what_the_question_says() -> None:
    """All else that the event needs, the question needs."""
    referral, event = SCHEMAS["Referral"], SCHEMAS[REFERRAL.__name__]

    assert set(event["required"]) - set(referral["required"]) == {"account_id", "debt_id"}
    assert referral["properties"] == event["properties"]


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ({"account_id": "a", "debt_id": "d", "agency_id": "g"}, True),
        ({"account_id": "a", "debt_id": "d", "agency_id": "g", "referral": None}, True),
        ({"account_id": "a", "debt_id": "d"}, False),
        ({"account_id": "a b", "debt_id": "d", "agency_id": "g"}, False),
        ({"account_id": "a", "debt_id": "d", "agency_id": "g", "more": 1}, False),
        ({"account_id": "a", "debt_id": "d", "agency_id": "g", "referral": {"amount": 5}}, False),
    ],
)
def test_a_question_is_published_as_strictly_as_it_is_read(value: dict[str, Any], is_one: bool) -> None:
    """What the schema lets through is read, and what it does not is refused."""
    assert judge(SCHEMAS["Question"]).is_valid(value) == is_one


def test_each_route_tells_all_its_problems() -> None:
    """What any call may meet, and when to ask again where that helps."""
    for path, operations in DOCUMENT["paths"].items():
        for operation in operations.values():
            assert {"401", "403", "422", "429", "500", "503"} <= operation["responses"].keys(), path
            assert operation["responses"]["503"]["headers"]["Retry-After"]["required"]
            assert operation["summary"]
            assert operation["description"]
