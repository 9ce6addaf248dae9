"""The stream contract as an AsyncAPI 3.0 document: what each topic carries, by event type, with its bounds.

`python -m infra.wire.asyncapi` prints it, and `make contract` writes it to `docs/asyncapi.yaml`. It is made of the
payloads that decode and of those that the encoder is held to, so that it says what is read and what is sent.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from inspect import getdoc
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from infra.wire import models as m
from infra.wire.decode import TRACEPARENT_MAX_CHARACTERS
from infra.wire.encode import COPY_MAX_BYTES, SOURCE
from infra.wire.kinds import (
    AGENCIES,
    DECISIONS,
    KINDS,
    NOTICES,
    OUTBOUND_TOPICS,
    PAYMENTS,
    QUARANTINE,
    RECALLS,
    REFERRALS,
    STANDING,
)
from infra.wire.outgoing import DECISION_PAYLOADS, PAYLOADS, RECALL_PAYLOADS

Json = dict[str, Any]  # `Any`: a document is as varied as what it describes.

VERSION = "0.1.0"
"""The project's; a type's own version is the end of its name, and grows when the type changes its meaning."""

STRUCTURED = "application/cloudevents+json"
KAFKA_BINDING = "0.5.0"

ABOUT = """\
What billing, collections, customer care and agencies tell the guard, what it tells agencies, and what it answers
before a debt is placed.

**Envelope.** Each event is a CloudEvents 1.0 event. In structured mode, which the schemas here describe, the value
of the record is one JSON object with the attributes and `data`. In binary mode the attributes are headers, `ce_id`,
`ce_source` and so on, in UTF-8, and the value is `data` alone. The guard reads both and sends structured ones. It
reads neither `data_base64` nor a batch. A record without a value means nothing and is quarantined.

**Who.** `subject`, `data.account_id` and the Kafka key of an event that comes in are the same account.

**Identity.** `source` and `id` name an event for ever. The same pair with the same content is a duplicate and
changes nothing; with other content it is a conflict and is quarantined.

**Order.** The events of one account may come in any order, late, and more than once. What goes out is sent at
least once, in order for each placement.

**Growth.** Unknown attributes and fields are ignored, and whoever reads what the guard sends should ignore them
too. A type that is unknown on its topic is quarantined.

**What a schema can't say.** JSON is UTF-8 without a name that stands twice in one object, at most 256 KiB and 16
levels deep. A number without a fraction is a whole number to JSON Schema also where it is written `850.0`; the
guard refuses that. The components of a debt add up to its amount. No text holds half of a surrogate pair, and no id
a hidden character beyond U+FFFF. Limits on a set count what is different in it."""

TOPICS = {
    PAYMENTS: "Payments and credits, said by billing.",
    REFERRALS: "Debts to be placed and their placements, said by collections.",
    NOTICES: "What customers were told, and how they wish to be told.",
    STANDING: "Disputes, payment by instalments and protection, said by customer care.",
    AGENCIES: "What agencies did, said by them.",
    RECALLS: "What agencies must do, said by the guard.",
    DECISIONS: "Each clearance as it was answered, with the events that it was decided on, said by the guard.",
    QUARANTINE: "A copy of each record that could not be applied.",
}
"""Every topic that is read or written."""

_SHARED = {
    "Id": m.Id,
    "Source": m.Source,
    "Amount": m.Amount,
    "OwedAmount": m.OwedAmount,
    "Currency": m.Currency,
    "Instant": m.Instant,
    "Day": m.Day,
    "Text": m.Text,
}
"""The types of fields that stand once and are referred to by name."""

_EXAMPLE_TIME = "2026-11-14T12:00:00+03:00"
_EXAMPLE_TRIGGER = {
    "source": "billing",
    "id": "payment-7001",
    "topic": PAYMENTS,
    "partition": 3,
    "offset": 1742,
    "paid_at": "2026-11-14T11:59:30+03:00",
}
_EXAMPLE_FIELDS: Json = {
    "account_id": "account-100",
    "payment_id": "payment-7001",
    "credit_id": "credit-310",
    "debt_id": "debt-15",
    "referral_id": "referral-4",
    "placement_id": "placement-88",
    "clearance_id": "clearance-52",
    "recall_id": "0b1f3c9e-7d1c-5a43-9c3e-5f0f6f1f2a77",
    "agency_id": "agency-1",
    "contract_id": "contract-9",
    "notice_id": "notice-61",
    "dispute_id": "dispute-3",
    "plan_id": "plan-2",
    "amount": 85000,
    "outstanding": 0,
    "currency": "RUB",
    "due_on": "2026-10-01",
    "components": [{"kind": "principal", "amount": 84000}, {"kind": "price_change", "amount": 1000}],
    "reflected_payment_ids": ["payment-6950"],
    "method": "card",
    "autopay": True,
    "kind": "price_change",
    "channel": "sms",
    "channels": ["sms", "email"],
    "outcome": "upheld",
    "marks": ["in_hospital"],
    "cause": "paid_after_placement",
    "acknowledge_by": "2026-11-14T13:00:00+03:00",
    "trigger": _EXAMPLE_TRIGGER,
}
"""What a field holds in the examples, by its name; a field that is not here is an instant or a reason."""

_EXAMPLE_DECISION: Json = {
    "decision": "hold",
    "reasons": [
        {
            "code": "PAYMENT_PENDING",
            "message": "Payments on their way would settle it.",
            "evidence": ["850.00 RUB on 14 Nov 2026 11:59, payment payment-7001"],
        }
    ],
    "outstanding": 85000,
    "expires_at": "2026-11-14T12:15:00+03:00",
    "policy": {"version": "2026-11-01", "sha256": "5e" * 32},
    "shadow": False,
    "read_at": {PAYMENTS: {"0": 88, "1": 1743}, REFERRALS: {"0": 12}},
    "asked_by": "collections",
    "facts": [{"source": "collections", "id": "referral-4"}, {"source": "billing", "id": "payment-7001"}],
    "facts_in_all": 2,
}
_EXAMPLE_OWN: dict[type[BaseModel], Json] = {
    m.CreditPosted: {"reason": "goodwill"},
    PAYLOADS["guard.recall.requested.v1"]: {"reason": "DEBT_SETTLED"},
    PAYLOADS["guard.placement.suspended.v1"]: {"reason": "DISPUTE_OPEN"},
    PAYLOADS["guard.placement.resumed.v1"]: {"reason": "DISPUTE_CLOSED"},
    PAYLOADS["guard.clearance.decided.v1"]: _EXAMPLE_DECISION,
}
"""What a type says in its own words, such as the reasons that are words of the contract; others are free text."""


def contract() -> Json:
    """The whole document."""
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "handoff-guard", "version": VERSION, "description": ABOUT},
        "defaultContentType": STRUCTURED,
        "channels": {topic: _channel(topic, about) for topic, about in TOPICS.items()},
        "operations": {f"{_action(topic)}.{topic}": _operation(topic) for topic in TOPICS},
        "components": {"messages": _messages(), "messageBindings": _bindings(), "schemas": _schemas()},
    }


def inbound_schemas() -> Json:
    """The events that come in, for the document of the API: a schema for each type by its name, and their parts."""
    types = {kind.type: _payload(kind.type, kind.payload) for kind in KINDS}
    schemas, left = _schemas(), list(_references(types))
    parts: Json = {}
    while left:
        name = left.pop()
        if name not in parts:
            parts[name] = schemas[name]
            left += _references(parts[name])
    return {**types, **dict(sorted(parts.items()))}


def _references(node: object) -> Iterator[str]:
    """The schemas that a part of the document refers to."""
    match node:
        case {"$ref": str(reference)}:
            yield reference.rpartition("/")[2]
        case dict():
            for one in node.values():
                yield from _references(one)
        case list():
            for one in node:
                yield from _references(one)


def _channel(topic: str, about: str) -> Json:
    names = {
        RECALLS: list(RECALL_PAYLOADS),
        DECISIONS: list(DECISION_PAYLOADS),
        QUARANTINE: ["quarantined"],
    }.get(topic) or [kind.type for kind in KINDS if kind.topic == topic]
    return {
        "address": topic,
        "description": about,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
    }


def _action(topic: str) -> str:
    return "send" if topic in OUTBOUND_TOPICS else "receive"


def _operation(topic: str) -> Json:
    return {"action": _action(topic), "channel": {"$ref": f"#/channels/{topic}"}, "summary": TOPICS[topic]}


def _messages() -> Json:
    inbound = {kind.type: _message(kind.type, kind.payload, str(getdoc(kind.event))) for kind in KINDS}
    outbound = {name: _message(name, payload, str(getdoc(payload))) for name, payload in PAYLOADS.items()}
    return {**inbound, **outbound, "quarantined": _quarantined()}


def _message(name: str, payload: type[BaseModel], about: str) -> Json:
    ours = name in PAYLOADS
    return {
        "name": name,
        "summary": about,
        "contentType": STRUCTURED,
        "headers": _ref("SentHeaders" if ours else "ReadHeaders"),
        "bindings": {
            "$ref": f"#/components/messageBindings/{'placement' if name in RECALL_PAYLOADS else 'account'}"
        },
        "payload": _payload(name, payload),
        "examples": [{"payload": _example(name, payload)}],
    }


def _payload(name: str, payload: type[BaseModel]) -> Json:
    """The schema of an event of a type: the envelope, and what is said in it."""
    ours = name in PAYLOADS
    fixed: Json = {"type": {"const": name}, "data": _ref(payload.__name__)}
    if ours:
        fixed |= {"source": {"const": SOURCE}, "datacontenttype": {"const": "application/json"}}
    said: Json = {"type": "object", "properties": fixed}
    if ours:
        said["required"] = ["datacontenttype"]
    return {"allOf": [_ref("Event"), said]}


def _quarantined() -> Json:
    return {
        "name": "quarantined",
        "summary": "A record that could not be applied, as received, with more headers that say why.",
        "contentType": "application/octet-stream",
        "headers": _ref("QuarantineHeaders"),
        "bindings": {"$ref": "#/components/messageBindings/received"},
        "payload": {
            "description": f"The bytes as received. Nothing, where the record has over {COPY_MAX_BYTES:,}."
        },
    }


def _bindings() -> Json:
    keys: Json = {
        "account": _described("Id", "The account, in UTF-8."),
        "placement": _described("Id", "The placement, in UTF-8."),
        "received": {"description": "The key as received, whatever it is.", "type": "string"},
    }
    return {name: {"kafka": {"key": key, "bindingVersion": KAFKA_BINDING}} for name, key in keys.items()}


def _schemas() -> Json:
    payloads = [*(kind.payload for kind in KINDS), *PAYLOADS.values()]
    _, made = models_json_schema(
        [(payload, "validation") for payload in payloads],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    fields = {name: TypeAdapter(kind).json_schema() for name, kind in _SHARED.items()}
    schemas = {name: _named(schema, fields) for name, schema in made["$defs"].items()}
    for kind in KINDS:
        schemas[kind.payload.__name__]["description"] = getdoc(kind.event)
    for schema in schemas.values():
        del schema["title"]  # Its name again.
    return {"Event": _envelope(), **_headers(), **fields, **schemas}


class _Untitled(GenerateJsonSchema):
    """Without the titles that only say a field's name again."""

    def field_title_should_be_set(self, schema: object) -> bool:
        """As the library asks, of each field."""
        return False


def _named(schema: Any, fields: Mapping[str, Json]) -> Any:  # `Any`: any part of a schema.
    """The schema with a reference wherever it says what a shared type says; its own words stand beside that."""
    match schema:
        case {"$ref": reference, "description": said}:
            return _described(reference.rpartition("/")[2], said)
        case dict():
            name = next((name for name, field in fields.items() if _wordless(field) == _wordless(schema)), None)
            if name is not None:
                own = schema.get("description")
                return _ref(name) if own in {None, fields[name]["description"]} else _described(name, str(own))
            return {key: _named(one, fields) for key, one in schema.items()}
        case list():
            return [_named(one, fields) for one in schema]
        case _:
            return schema


def _wordless(schema: Mapping[str, Any]) -> Json:  # `Any`: as `Json`.
    return {key: one for key, one in schema.items() if key != "description"}


def _envelope() -> Json:
    trace = {
        "type": "string",
        "maxLength": TRACEPARENT_MAX_CHARACTERS,
        "description": "The trace that this belongs to (W3C Trace Context); it is carried on.",
    }
    attributes: Json = {
        "specversion": {"const": "1.0"},
        "id": _ref("Id"),
        "source": _ref("Source"),
        "type": {"type": "string"},
        "time": _ref("Instant"),
        "subject": _ref("Id"),
    }
    more: Json = {"datacontenttype": {"type": "string"}, "traceparent": trace}
    return {
        "type": "object",
        "description": "A CloudEvents 1.0 event in structured mode. `subject` is the account.",
        "properties": {**attributes, **more, "data": {"type": "object"}},
        "required": [*attributes, "data"],
    }


def _headers() -> Json:
    digits = {"type": "string", "pattern": "^[0-9]+$"}
    why: Json = {
        "guard_reason": {"type": "string", "pattern": "^[A-Z_]+$", "description": "Why it could not be applied."},
        "guard_origin_topic": {"type": "string"},
        "guard_origin_partition": digits,
        "guard_origin_offset": digits,
    }
    size: Json = {**digits, "description": "How large it was in bytes, where it was too large to be copied."}
    trace: Json = {"type": "string", "description": "As the attribute of this name; where both are given, this."}
    read_type: Json = {
        "type": "string",
        "description": f"`{STRUCTURED}`. Needed where there are `ce_` headers too.",
    }
    return {
        "ReadHeaders": {"type": "object", "properties": {"content-type": read_type, "traceparent": trace}},
        "SentHeaders": {
            "type": "object",
            "properties": {"content-type": {"const": STRUCTURED}, "traceparent": trace},
            "required": ["content-type"],
        },
        "QuarantineHeaders": {
            "type": "object",
            "properties": {**why, "guard_omitted_bytes": size},
            "required": list(why),
        },
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _described(name: str, said: str) -> Json:
    """A schema in words of its own; beside a bare reference they would be ignored."""
    return {"description": said, "allOf": [_ref(name)]}


def _example(name: str, payload: type[BaseModel]) -> Json:
    given = {**_EXAMPLE_FIELDS, "reason": "free text", **_EXAMPLE_OWN.get(payload, {})}
    data = {field: given.get(field, _EXAMPLE_TIME) for field in payload.model_fields}
    ours = name in PAYLOADS
    event = {
        "specversion": "1.0",
        "id": data.get("recall_id", data.get("clearance_id", "7c1d9f52")) if ours else "event-1",
        "source": SOURCE if ours else name.split(".", maxsplit=1)[0],
        "type": name,
        "time": _EXAMPLE_TIME,
        "subject": _EXAMPLE_FIELDS["account_id"],
    }
    return {**event, **({"datacontenttype": "application/json"} if ours else {}), "data": data}


_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)\Z)[A-Za-z$][\w$/.+-]*", re.ASCII | re.IGNORECASE)
"""What YAML reads as a string without quotes, whichever version of it."""


def as_yaml(value: object) -> str:
    """JSON data as YAML, in its own order; a text of several lines stands as it is read."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: object) -> Iterator[str]:
    match value:
        case dict() if value:
            for key, one in value.items():
                yield from _entry(f"{_scalar(key)}:", one)
        case list() if value:
            for one in value:
                first, *rest = _lines(one)
                yield f"- {first}"
                yield from (f"  {line}" for line in rest)
        case _:
            yield _scalar(value)


def _entry(key: str, value: object) -> Iterator[str]:
    match value:
        case str() if "\n" in value:
            yield f"{key} |-"
            yield from (f"  {line}" if line else "" for line in value.split("\n"))
        case dict() | list() if value:
            yield key
            yield from (f"  {line}" if line else "" for line in _lines(value))
        case _:
            yield f"{key} {_scalar(value)}"


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value):
        return value
    return "'" + value.replace("'", "''") + "'" if value.isprintable() else json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(as_yaml(contract()))
