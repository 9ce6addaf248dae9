"""The published contract: it is what the models say, what is read passes it, and what is sent keeps to it."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, cast, get_args

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from pydantic import BaseModel, TypeAdapter
from pydantic import ValidationError as RefusedError

from domain import clearance as domain
from domain.clearance import Answer, Code, Decision
from domain.events import Origin, RawRecord
from domain.policy import Policy, RecallReason
from domain.recall import (
    BalanceReduced,
    Cause,
    Message,
    PlacementResumed,
    PlacementSuspended,
    RecallRequested,
    recall_id_of,
)
from infra.wire import kinds
from infra.wire import models as m
from infra.wire.asyncapi import VERSION, as_yaml, contract
from infra.wire.clearances import FACTS_MAX, About, encode_clearance, encode_decision
from infra.wire.decode import ID_MAX_CHARACTERS, SOURCE_MAX_CHARACTERS, Decoded, Rejected, decode
from infra.wire.encode import COPY_MAX_BYTES, Outgoing, encode, encode_quarantined
from infra.wire.outgoing import DECISION_PAYLOADS, PAYLOADS, RECALL_PAYLOADS, Clearance, Fact, PolicyName, Reason
from tests import records
from tests.builders import ACCOUNT, day, opened, paid, recorded
from tests.infra.wire import test_decode as cases
from tests.tidy import pages

Json = dict[str, Any]  # `Any`: a document is as varied as what it describes.

PAGE = "docs/asyncapi.yaml"
CONTRACT = contract()

FORMATS = ("date", "date-time")
STRICT = Policy(version="strict", sha256="5e" * 32)
"""A policy as it is read from a file."""

BYTES = {"EMPTY", "TOO_LARGE", "NOT_JSON"}
"""The reasons to refuse a record before there is a JSON value that a schema could judge."""

BEYOND_A_SCHEMA = {
    "amount 850.0",  # A whole number to JSON Schema, however it is written.
    "amount 1e3",
    "another subject",  # A schema can't compare two fields, nor add up.
    "parts too small",
    "parts too large",
    "an id with a surrogate",  # Most readers of JSON never let one through.
    "id with a surrogate",
    "text with a surrogate",
}
"""The bad records that decode refuses and the schemas can't; the document says so in words."""

JUST_RIGHT: list[bytes] = vars(cases.test_what_is_just_right_is_read)["pytestmark"][0].args[1]


def _pattern(_validator: object, pattern: str, value: object, _schema: object) -> Iterator[ValidationError]:
    """A pattern as ECMA 262 reads it: `$` is the end, and not also the line feed before it."""
    if isinstance(value, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):
        yield ValidationError("does not match")


def validator(of: str, document: Json = CONTRACT, dialect: type[Validator] = Draft7Validator) -> Validator:
    """Who judges by one part of the document."""
    whole = {**document, "$ref": f"#/components/{of}"}
    checker = FormatChecker(formats=FORMATS)
    judge = cast("type[Validator]", extend(dialect, {"pattern": _pattern}))  # type: ignore[no-untyped-call] # Its stubs leave it out.
    return judge(whole, format_checker=checker)


MESSAGES = {name: validator(f"messages/{name}/payload") for name in CONTRACT["components"]["messages"]}


def passes(topic: str, value: Any) -> bool:  # `Any`: as `Json`.
    """Whether a value is one of the messages of a topic."""
    names = CONTRACT["channels"][topic]["messages"]
    return sum(MESSAGES[name].is_valid(value) for name in names) == 1


def told(raw: RawRecord) -> tuple[str, Json]:
    """A record's topic and value."""
    return raw.origin.topic, json.loads(raw.value or b"")


def test_the_page_is_the_contract() -> None:
    """The published file is what the models say now; `make contract` writes it."""
    assert as_yaml(contract()) == pages.page(PAGE)


def test_the_page_is_yaml() -> None:
    """A reader of YAML finds in it what was written."""
    assert contract() == yaml.safe_load(pages.page(PAGE))


def test_the_version_is_the_projects() -> None:
    """The document has the version of the package that it describes."""
    assert tomllib.loads(pages.page("pyproject.toml"))["project"]["version"] == VERSION


def _references(node: object) -> Iterator[str]:
    match node:
        case dict():
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for one in node.values():
                yield from _references(one)
        case list():
            for one in node:
                yield from _references(one)


def _found(reference: str) -> object:
    found: object = CONTRACT
    for name in reference.removeprefix("#/").split("/"):
        found = cast("Json", found).get(name)
    return found


def test_every_reference_leads_somewhere() -> None:
    """Nothing in the document is referred to that is not in it, and no component stands unused."""
    references = set(_references(CONTRACT))
    made = {f"#/components/{kind}/{name}" for kind, all_of in CONTRACT["components"].items() for name in all_of}

    assert [one for one in references if _found(one) is None] == []
    assert made == {one for one in references if one.startswith("#/components/")}


def test_every_topic_is_a_channel_with_its_types() -> None:
    """The topics are those that are read and written, each with its types."""
    expected = {topic: [kind.type for kind in kinds.KINDS if kind.topic == topic] for topic in kinds.INBOUND_TOPICS}
    expected |= {
        kinds.RECALLS: list(RECALL_PAYLOADS),
        kinds.DECISIONS: list(DECISION_PAYLOADS),
        kinds.QUARANTINE: ["quarantined"],
    }

    assert expected == {topic: list(one["messages"]) for topic, one in CONTRACT["channels"].items()}
    assert expected.keys() == {*kinds.INBOUND_TOPICS, *kinds.OUTBOUND_TOPICS}


def test_every_topic_is_read_or_written() -> None:
    """Each channel has one operation, in the direction in which its records go."""
    expected = {f"#/channels/{topic}": "receive" for topic in kinds.INBOUND_TOPICS}
    expected |= {f"#/channels/{topic}": "send" for topic in kinds.OUTBOUND_TOPICS}

    assert expected == {one["channel"]["$ref"]: one["action"] for one in CONTRACT["operations"].values()}


def test_the_formats_are_checked() -> None:
    """The checker knows the formats that the document uses, else it would let anything through."""
    used = set(re.findall(r"format: (\S+)", pages.page(PAGE)))

    assert used == set(FORMATS)
    assert used <= FormatChecker.checkers.keys()


@cases.EVERY
def test_what_is_read_passes_its_schema(sample: cases.Sample) -> None:
    """Each type with all its fields, with what it needs, with nulls and with unknown fields is as published."""
    needed = {"account_id": "a-1", **sample.needed}
    nulls = dict.fromkeys(sample.optional) if sample.type != "collections.debt.referred.v1" else {}
    data = [{**needed, **sample.optional}, needed, {**needed, **nulls}, {**needed, "note": {"deep": [1]}}]

    for one in data:
        topic, value = told(cases.structured(sample, one, tenant="t-1"))

        assert passes(topic, value), one


@pytest.mark.parametrize(
    "raw", [records.referral(), records.placement(), records.payment()], ids=["referral", "placement", "payment"]
)
def test_the_records_of_the_tests_pass_their_schema(raw: RawRecord) -> None:
    """What the other tests start from is as published."""
    assert passes(*told(raw))


def test_what_is_just_right_passes_its_schema() -> None:
    """The records that just keep a limit are as published, but for a space where RFC 3339 has a `T`."""
    beyond = [value for value in JUST_RIGHT if not passes(kinds.PAYMENTS, json.loads(value))]

    assert beyond == [cases.bad_value({"paid_at": "2026-11-14 12:00:00-00:00"})]


@pytest.mark.parametrize(
    ("sample", "data", "attributes"),
    [
        (cases.PAID, {"paid_at": "2026-11-14 12:00:00+03:00"}, {}),
        (cases.PAID, {}, {"traceparent": 7}),
        (cases.PAID, {}, {"traceparent": "x" * 257}),
        (cases.PAID, {}, {"datacontenttype": 7}),
        (cases.REFERRED, {"reflected_payment_ids": ["p-1"] * (m.REFLECTED_MAX + 1)}, {}),
    ],
    ids=["a space for T", "a trace that is a number", "a long trace", "a type that is a number", "repeats"],
)
def test_more_is_read_than_is_published(sample: cases.Sample, data: Json, attributes: Json) -> None:
    """Where the guard is more patient than its contract, nobody should count on it."""
    raw = cases.structured(sample, {"account_id": "a-1", **sample.needed, **data}, **attributes)

    assert isinstance(decode(raw), Decoded)
    assert not passes(*told(raw))


@cases.EVERY
def test_a_missing_field_is_refused_by_both(sample: cases.Sample) -> None:
    """Each field that decode needs, the schema needs."""
    for name in sample.needed:
        rest = {key: value for key, value in sample.needed.items() if key != name}
        raw = cases.structured(sample, {"account_id": "a-1", **rest})

        assert isinstance(decode(raw), Rejected)
        assert not passes(*told(raw)), name


@pytest.mark.parametrize("value", ["", 7, {}], ids=["empty", "number", "object"])
@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "time", "subject"])
def test_an_attribute_that_is_none_is_refused_by_both(name: str, value: object) -> None:
    """Each attribute of the envelope is a text with something in it."""
    raw = cases.structured(cases.PAID, **{name: value})

    assert isinstance(decode(raw), Rejected)
    assert not passes(*told(raw))


@cases.EVERY
def test_a_value_of_another_type_is_refused_by_both(sample: cases.Sample) -> None:
    """A field that holds what no field of the contract holds is refused, where decode looks at it."""
    for name in {**sample.needed, **sample.optional}:
        raw = cases.structured(sample, {"account_id": "a-1", **sample.needed, name: {"deep": 1.5}})

        assert isinstance(decode(raw), Rejected)
        assert not passes(*told(raw)), name


def test_what_is_refused_does_not_pass_a_schema() -> None:
    """Each bad record that holds a JSON value is refused by its topic's schemas too, or named as beyond them."""
    judged: Mapping[str, bytes] = {row[0]: row[1] or b"" for row in cases.BAD if row[2] not in BYTES}

    passed = {name for name, value in judged.items() if passes(_topic(value), json.loads(value))}

    assert passed == BEYOND_A_SCHEMA


def _topic(value: bytes) -> str:
    """The topic on which the tests of decode let a bad record come."""
    if b'"type": "collections.debt' in value and b'"debt_id"' in value:
        return kinds.REFERRALS
    return kinds.PAYMENTS


@pytest.mark.parametrize(
    ("sample", "data"),
    [
        (cases.REFERRED, {"reflected_payment_ids": [f"p-{number}" for number in range(m.REFLECTED_MAX + 1)]}),
        (cases.REFERRED, {"reflected_payment_ids": None}),
        (cases.REFERRED, {"components": None}),
        (cases.BY_NAME["customer.protection.changed.v1"], {"marks": [f"m-{n}" for n in range(m.PARTS_MAX + 1)]}),
        (cases.BY_NAME["customer.protection.changed.v1"], {"marks": ["in hospital"]}),
        (cases.BY_NAME["customer.channels.chosen.v1"], {"channels": ["pigeon"]}),
        (cases.BY_NAME["customer.channels.chosen.v1"], {"channels": "sms"}),
        (cases.BY_NAME["customer.notice.delivered.v1"], {"kind": "reminder"}),
        (cases.BY_NAME["customer.dispute.closed.v1"], {"outcome": "won"}),
        (cases.CREDITED, {"reason": "because"}),
        (cases.PAID, {"paid_at": "2026-11-14T12:00:60Z"}),
        (cases.PAID, {"paid_at": "2026-11-14T12:00:00.1234567890Z"}),
        (cases.PAID, {"paid_at": "9000-01-01T00:00:00Z"}),
    ],
)
def test_what_is_out_of_bounds_is_refused_by_both(sample: cases.Sample, data: Json) -> None:
    """Each limit and each closed list of words is published as it is kept."""
    raw = cases.structured(sample, {"account_id": "a-1", **sample.needed, **data})

    assert isinstance(decode(raw), Rejected)
    assert not passes(*told(raw))


@pytest.mark.parametrize(("name", "most"), [("id", ID_MAX_CHARACTERS), ("source", SOURCE_MAX_CHARACTERS)])
def test_the_identity_of_an_event_is_published_as_long_as_it_may_be(name: str, most: int) -> None:
    """The longest id and source are read and pass, and those of one character more do neither."""
    longest, longer = (cases.structured(cases.PAID, **{name: "x" * length}) for length in (most, most + 1))

    assert isinstance(decode(longest), Decoded)
    assert passes(*told(longest))
    assert isinstance(decode(longer), Rejected)
    assert not passes(*told(longer))


def test_the_published_pattern_of_ids_is_what_is_read() -> None:
    """Up to U+FFFF it takes all that is read as an id, and nothing that Unicode calls hidden, space or private."""
    read, published = TypeAdapter(m.Id), re.compile(m.PRINTABLE)
    hidden = {"Cc", "Cf", "Co", "Zs", "Zl", "Zp"}
    characters = [chr(number) for number in range(0x10000) if not 0xD800 <= number <= 0xDFFF]

    refused = [one for one in characters if not published.search(one)]

    assert [one for one in refused if _is_read(read, one)] == []
    assert [one for one in characters if unicodedata.category(one) in hidden and one not in refused] == []


def _is_read(read: TypeAdapter[str], text: str) -> bool:
    try:
        read.validate_python(text)
    except RefusedError:
        return False
    return True


def test_an_example_of_what_is_read_can_be_read() -> None:
    """The example of each type passes its schema, and decode makes an event of it."""
    for kind in kinds.KINDS:
        (example,) = CONTRACT["components"]["messages"][kind.type]["examples"]
        value = example["payload"]
        raw = RawRecord(Origin(kind.topic, 0, 0, day(0)), value["subject"].encode(), json.dumps(value).encode())

        assert passes(kind.topic, value), kind.type
        assert isinstance(decode(raw), Decoded), kind.type


def closed() -> Json:
    """The contract as the guard itself must keep it: nothing is sent that is not in it."""
    document = deepcopy(CONTRACT)
    schemas, messages = document["components"]["schemas"], document["components"]["messages"]
    parts = ("Trigger", "Reason", "PolicyName", "Fact", "SentHeaders")
    for name in (*(payload.__name__ for payload in PAYLOADS.values()), *parts):
        schemas[name]["additionalProperties"] = False
    for name in PAYLOADS:
        messages[name]["payload"]["unevaluatedProperties"] = False
    return document


CLOSED = closed()


def sent(of: str) -> Validator:
    """Who judges what is sent; this dialect sees through `allOf` which fields are in the contract."""
    return validator(of, CLOSED, Draft202012Validator)


RECALL = RecallRequested(
    recall_id=recall_id_of(ACCOUNT, "l-1"),
    placement=opened(),
    reason=RecallReason.DEBT_SETTLED,
    cause=Cause.PAID_AFTER_PLACEMENT,
    outstanding=0,
    currency="RUB",
    requested_at=day(4),
    acknowledge_by=day(4, hour=10),
    trigger=recorded(paid()),
    paid_at=day(4),
    noticed_by=None,
)
SAID: list[Message] = [
    RECALL,
    BalanceReduced(opened(), 15_00, "RUB", day(4)),
    PlacementSuspended(opened(), day(4)),
    PlacementResumed(opened(), day(5)),
]


def test_every_message_is_said_here() -> None:
    """The messages below are all that there are, and have all the types that are published."""
    assert {type(message) for message in SAID} == set(get_args(Message))
    assert [json.loads(encode(message).value)["type"] for message in SAID] == list(RECALL_PAYLOADS)


@pytest.mark.parametrize("traceparent", [None, cases.TRACE])
@pytest.mark.parametrize("message", SAID, ids=lambda message: type(message).__name__)
def test_what_is_sent_keeps_to_the_contract(message: Message, traceparent: str | None) -> None:
    """Each message passes its schema with no field beside those published, under the key that is published."""
    record = encode(message, traceparent=traceparent)
    event = json.loads(record.value)
    headers = {name: value.decode() for name, value in record.headers}

    sent(f"messages/{event['type']}/payload").validate(event)
    sent("schemas/SentHeaders").validate(headers)
    assert record.key.decode() == event["data"]["placement_id"]
    assert CONTRACT["components"]["messages"][event["type"]]["bindings"] == {
        "$ref": "#/components/messageBindings/placement"
    }


@pytest.mark.parametrize("reason", list(RecallReason))
@pytest.mark.parametrize("cause", list(Cause))
def test_every_recall_keeps_to_the_contract(reason: RecallReason, cause: Cause) -> None:
    """Each reason and cause is a word of the contract; a recall without a payment has no date of one."""
    message = RecallRequested(
        RECALL.recall_id,
        RECALL.placement,
        reason,
        cause,
        RECALL.outstanding,
        RECALL.currency,
        RECALL.requested_at,
        RECALL.acknowledge_by,
        RECALL.trigger,
        paid_at=None,
        noticed_by=None,
    )

    sent("messages/guard.recall.requested.v1/payload").validate(json.loads(encode(message).value))


def decided(found: Answer, *, shadow: bool = False, facts: int = 2, policy: Policy = STRICT) -> Outgoing:
    """The record that publishes an answer."""
    read_at = {kinds.PAYMENTS: {"0": 4, "11": 0}, kinds.REFERRALS: {}}
    about = About(ACCOUNT, "d-1", "agency-1")
    body = encode_clearance("c-1", about, found, policy, decided_at=day(3), read_at=read_at, shadow=shadow)
    known = [recorded(paid(), day(1), event_id=f"e-{number}") for number in range(facts)]
    return encode_decision(body, known, asked_by="anna")


HELD = Answer(
    Decision.HOLD, (domain.Reason(Code.PAYMENT_PENDING, "On its way.", ("1.00 RUB", "p-1")),), 85_00, "RUB"
)
EVERY_REASON = tuple(domain.Reason(code, code.value, ("x",) * domain.EVIDENCE_MAX) for code in Code)
ANSWERS = {
    "clear": Answer(Decision.CLEAR, (), 85_00, "RUB"),
    "hold": HELD,
    "unknown": Answer(Decision.REFUSE, (domain.Reason(Code.DEBT_UNKNOWN, "No such debt."),), 0, ""),
    "every reason": Answer(Decision.HOLD, EVERY_REASON, 0, "RUB"),
}


@pytest.mark.parametrize("policy", [Policy(), STRICT], ids=["built-in", "a file's"])
@pytest.mark.parametrize("facts", [0, FACTS_MAX + 1])
@pytest.mark.parametrize("shadow", [False, True])
@pytest.mark.parametrize("found", ANSWERS.values(), ids=ANSWERS)
def test_every_decision_keeps_to_the_contract(found: Answer, shadow: bool, facts: int, policy: Policy) -> None:
    """Each answer, in shadow mode too, passes its schema with no field beside those published."""
    record = decided(found, shadow=shadow, facts=facts, policy=policy)
    event = json.loads(record.value)

    sent("messages/guard.clearance.decided.v1/payload").validate(event)
    sent("schemas/SentHeaders").validate({name: value.decode() for name, value in record.headers})
    assert (record.topic, record.key.decode()) == (kinds.DECISIONS, event["data"]["account_id"])
    assert event["data"]["shadow"] is shadow
    assert CONTRACT["components"]["messages"]["guard.clearance.decided.v1"]["bindings"] == {
        "$ref": "#/components/messageBindings/account"
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"decision": "maybe"},
        {"reasons": [{"code": "BECAUSE", "message": "", "evidence": []}]},
        {"reasons": [{"code": "DEBT_UNKNOWN", "message": "", "evidence": ["x"] * (domain.EVIDENCE_MAX + 1)}]},
        {"outstanding": -1},
        {"outstanding": 85.5},
        {"currency": "rub"},
        {"currency": None},
        {"decided_at": "2026-11-14 12:00"},
        {"policy": {"version": "1", "sha256": "5e"}},
        {"shadow": None},
        {"read_at": {kinds.PAYMENTS: {"first": 1}}},
        {"read_at": {kinds.PAYMENTS: {"0": -1}}},
        {"facts": [{"source": "billing", "id": ""}]},
        {"facts": [{"source": "billing", "id": "e"}] * (FACTS_MAX + 1)},
        {"facts_in_all": -1},
    ],
    ids=str,
)
def test_a_decision_out_of_bounds_does_not_pass(wrong: Json) -> None:
    """Each closed list of words and each limit of a decision is published."""
    event = json.loads(decided(HELD).value)

    assert not MESSAGES["guard.clearance.decided.v1"].is_valid({**event, "data": {**event["data"], **wrong}})


@pytest.mark.parametrize("model", [Reason, PolicyName, Clearance, Fact, *DECISION_PAYLOADS.values()])
def test_every_field_of_a_clearance_is_described(model: type[BaseModel]) -> None:
    """Who builds against a clearance reads what each field holds, and no field is optional."""
    assert [name for name, field in model.model_fields.items() if not (field.description or "").endswith(".")] == []
    assert [name for name, field in model.model_fields.items() if not field.is_required()] == []


def _objects(node: object) -> Iterator[Json]:
    """The objects in a value, but for one whose names are topics and partitions."""
    match node:
        case dict():
            yield node
            for name, one in node.items():
                if name != "read_at":
                    yield from _objects(one)
        case list():
            for one in node:
                yield from _objects(one)


@pytest.mark.parametrize(
    "record", [*(encode(message) for message in SAID), decided(HELD)], ids=lambda one: json.loads(one.value)["type"]
)
def test_a_field_more_or_less_is_seen(record: Outgoing) -> None:
    """Whoever adds a field to what is sent, or takes one away, has to publish it."""
    event: Json = json.loads(record.value)
    judge = sent(f"messages/{event['type']}/payload")

    for place, fields in enumerate(_objects(event)):
        for name in fields:
            less = deepcopy(event)
            del list(_objects(less))[place][name]
            assert not judge.is_valid(less), name
        more = deepcopy(event)
        list(_objects(more))[place]["new"] = "x"
        assert not judge.is_valid(more)


def test_an_example_of_what_is_sent_keeps_to_the_contract() -> None:
    """The examples have no field beside those published."""
    for name in PAYLOADS:
        (example,) = CONTRACT["components"]["messages"][name]["examples"]

        sent(f"messages/{name}/payload").validate(example["payload"])


@pytest.mark.parametrize("size", [0, COPY_MAX_BYTES + 1], ids=["copied", "omitted"])
def test_what_is_quarantined_has_the_published_headers(size: int) -> None:
    """The copy of a bad record says why and whence, in headers that are all published."""
    raw = RawRecord(Origin("billing.payments", 3, 17, day(1)), b"a-1", b"x" * size)
    headers = {name: value.decode() for name, value in encode_quarantined(raw, "NOT_JSON", "a-1").headers}

    validator("schemas/QuarantineHeaders").validate(headers)
    assert headers.keys() <= CONTRACT["components"]["schemas"]["QuarantineHeaders"]["properties"].keys()
