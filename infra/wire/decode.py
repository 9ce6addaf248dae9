"""One record to one event, or to the reason why it is none.

Called by the consumers for every record, and by the ledger for every stored fact: there is one way in. A
CloudEvents 1.0 event comes in structured mode (one JSON object) or binary mode (`ce_*` headers, JSON value);
JSON is RFC 8259 without what readers disagree on (duplicate names, NaN, Infinity). Never raises for what a
record holds, and puts no value of it into a reason: a reason may be logged, a customer's data may not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NoReturn

import orjson
from pydantic import ValidationError

from domain.account import OPENING
from domain.events import (
    Component,
    Event,
    Origin,
    Part,
    RawRecord,
    Recorded,
)
from domain.traces import context
from infra.wire import models
from infra.wire.kinds import BY_NUMBER, BY_TYPE, OWN_BY_TYPE, Kind

EVENT_MAX_BYTES = 256 * 1024
"""Far above what one customer needs (6,000 reflected payments named by UUIDs), and checked before parsing."""

NESTING_MAX_LEVELS = 16
"""The contract has four. Deeper values end, at about 1,000 levels, in the stack of whoever writes them out."""

TRACEPARENT_MAX_CHARACTERS = 256
"""W3C's version 00 has 55; later ones may have more."""

ID_MAX_CHARACTERS = 128
SOURCE_MAX_CHARACTERS = 256

Json = dict[str, Any]  # `Any`: what a producer sent, before it was judged.
MoneyColumns = tuple[str, int, str, datetime, str | None, str | None]
"""A payment or credit as the ledger's columns hold it: id, amount, currency, date, debt, contract."""

_STRUCTURED_ATTRIBUTES = ("specversion", "id", "source", "type", "time", "subject")

MONEY = (models.PaymentPending, models.PaymentSettled, models.CreditPosted)

_COLUMNS = ("amount", "currency", "debt_id", "contract_id")

_WITHOUT_COLUMN = {
    kind.number: tuple(
        kind.payload.model_fields.keys() - {"account_id", *((*_COLUMNS, *kind.money) if kind.money else ())}
    )
    for kind in BY_NUMBER.values()
}
"""By type's number, the fields of its payload that are no column of the ledger."""

_AS_STORED = {
    kind.number: frozenset({"account_id", "method", "autopay", *_COLUMNS, *kind.money})
    for kind in BY_NUMBER.values()
    if kind.money
}
"""By number of a type that moves money, the fields that are read back as what the event holds."""


@dataclass(slots=True)  # Not frozen, which costs a microsecond for each of thousands a second.
class Decoded:
    """A valid event. `digest` is of its content; `stored` is what the ledger has no columns for.

    `raw` is the record as it came. The event itself is made when it is asked for: most are of accounts of which
    facts are only kept.
    """

    kind: Kind
    payload: models.Payload
    account_id: str
    source: str
    id: str
    time: datetime
    origin: Origin
    digest: bytes
    stored: str | None
    money: MoneyColumns | None
    traceparent: str | None
    raw: RawRecord

    @property
    def number(self) -> int:
        return self.kind.number

    @property
    def topic(self) -> str:
        return self.kind.topic

    @property
    def opens_case(self) -> bool:
        return self.kind.event in OPENING

    @property
    def recorded(self) -> Recorded:
        return Recorded(_to_event(self.kind, self.payload), self.source, self.id, self.time, self.origin)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that is no valid event: why, in a code and in words, and the accounts it may concern."""

    raw: RawRecord
    reason: str
    detail: str
    accounts: tuple[str, ...]


class InvalidError(Exception):
    """The record is at fault: `reason` is a stable code, `detail` names the field and what it must be."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode(
    raw: RawRecord, *, any_topic: bool = False, keyed: bool = True, ours: bool = False
) -> Decoded | Rejected:
    """The event in a record; `any_topic` accepts every type that others may send, `ours` those of our own too.

    `keyed` asks for the account as the key.
    """
    envelope: Json = {}
    try:
        envelope = _envelope(raw)
        return _event(raw, envelope, any_topic=any_topic, keyed=keyed, ours=ours)
    except InvalidError as why:
        return Rejected(raw, why.reason, why.detail, _accounts(raw, envelope))


def named_speaker(one: Decoded) -> str | None:
    """The agency that an agency's event names as who speaks."""
    return getattr(one.payload, "agency_id", None)


def with_speaker(one: Decoded, agency_id: str) -> Decoded:
    """The same agency's event as said by this agency, which is kept with it; its content is what was sent."""
    stored = {**orjson.loads(one.stored or "{}"), "agency_id": agency_id}
    payload = one.payload.model_copy(update={"agency_id": agency_id})
    return replace(one, payload=payload, stored=_canonical(stored).decode())


def decode_line(line: bytes, number: int) -> Decoded | Rejected:
    """The event in one line of a file, ours or not, in structured mode; its origin is the number of the line."""
    epoch = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    raw = RawRecord(Origin("file", 0, number, epoch), None, line)
    return decode(raw, any_topic=True, keyed=False, ours=True)


def decode_stored(account_id: str, number: int, stored: str | None, money: MoneyColumns | None) -> Event:
    """The event of a ledger row: its type's number, what was stored of the payload, and the money columns."""
    kind = BY_NUMBER[number]
    data: Json = orjson.loads(stored) if stored else {}
    data["account_id"] = account_id
    if kind.money and money:
        columns = (kind.money[0], "amount", "currency", kind.money[1], "debt_id", "contract_id")
        data.update(zip(columns, money, strict=True))
        if data.keys() <= _AS_STORED[number]:
            return kind.event(**data)  # Was validated on its way in: most facts of a case are such.
    return _to_event(kind, kind.payload.model_validate(data))


def topic_of(number: int) -> str:
    """The topic on which events of this type come."""
    return BY_NUMBER[number].topic


def _envelope(raw: RawRecord) -> Json:
    if raw.value is None:
        raise InvalidError("EMPTY", "the record has no value; send the event, deletions mean nothing here")
    if len(raw.value) > EVENT_MAX_BYTES:
        raise InvalidError("TOO_LARGE", f"the event is larger than {EVENT_MAX_BYTES} bytes")
    value = _parse(raw.value)
    if not isinstance(value, dict):
        raise InvalidError("NOT_AN_OBJECT", "the value must be a JSON object")
    _refuse_depth(raw.value, value)
    attributes = [(name[3:], text) for name, text in raw.headers if name.startswith("ce_")]
    if not attributes or _is_structured(raw):
        return value
    if len(dict(attributes)) != len(attributes):
        raise InvalidError("BAD_ENVELOPE", "a ce_ header stands twice")
    try:
        # A header may have no value at all, whatever its type says: clients give None for it.
        return {**{name: (text or b"").decode() for name, text in attributes}, "data": value}
    except UnicodeDecodeError as why:
        raise InvalidError("BAD_ENVELOPE", "the ce_ headers must be UTF-8") from why


def _is_structured(raw: RawRecord) -> bool:
    """Whether the record says that its value is a whole CloudEvent, whatever else its headers hold."""
    return any(
        name == "content-type" and (value or b"").startswith(b"application/cloudevents")
        for name, value in raw.headers
    )


def _nested_too_deep(text: bytes, value: object) -> bool:
    if text.count(b"{") + text.count(b"[") <= NESTING_MAX_LEVELS:
        return False
    level = [value]
    for _ in range(NESTING_MAX_LEVELS + 1):
        level = [child for one in level for child in _children(one)]
    return bool(level)


def _children(value: object) -> Iterable[object]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def parse(value: bytes) -> object:
    """The value as strict JSON. Raises InvalidError, which says where it is not, and never what it says."""
    if not value.strip():
        raise InvalidError("NOT_JSON", "the body is empty")
    read = _parse(value)
    _refuse_depth(value, read)
    return read


def _refuse_depth(text: bytes, value: object) -> None:
    if _nested_too_deep(text, value):
        raise InvalidError("NOT_JSON", f"the value is nested deeper than {NESTING_MAX_LEVELS} levels")


def _parse(value: bytes) -> object:
    """The value as JSON: by the quick reader where it can't differ from the strict one, else by that.

    The quick one keeps the last of two members of one name. Where no white space stands before a colon each member
    has one `":`, and a text may hold more: so where their number is that of the names read, none stood twice.
    """
    if b"\n" in value or b"\t" in value or b"\r" in value or (b" " in value and b" :" in value):
        return _parse_strictly(value)
    try:
        read = orjson.loads(value)
    except orjson.JSONDecodeError:
        return _parse_strictly(value)
    # Before its names are counted, which goes as deep as it does: past 300 levels that would end in our stack.
    _refuse_depth(value, read)
    return read if value.count(b'":') == _names(read) else _parse_strictly(value)


def _names(value: object) -> int:
    """How many members all the objects in it have; by exact types, which is half the time of `isinstance`."""
    if type(value) is dict:
        count = len(value)
        for one in value.values():
            if type(one) is dict or type(one) is list:
                count += _names(one)
        return count
    return sum(map(_names, value)) if type(value) is list else 0


def _parse_strictly(value: bytes) -> object:
    try:
        return _DECODER.decode(value.decode())
    except UnicodeDecodeError as why:
        raise InvalidError("NOT_JSON", "the value must be UTF-8") from why
    except RecursionError as why:
        raise InvalidError("NOT_JSON", f"the value is nested deeper than {NESTING_MAX_LEVELS} levels") from why
    except ValueError as why:
        # The parser's own message gives the position, never the text.
        raise InvalidError("NOT_JSON", f"the value must be JSON: {str(why)[:120]}") from why


def _object(pairs: list[tuple[str, Any]]) -> Json:  # `Any`: as `Json`.
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return result


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def _event(raw: RawRecord, envelope: Json, *, any_topic: bool, keyed: bool, ours: bool) -> Decoded:
    kind, time, data = _judged(envelope, raw.origin.topic, any_topic=any_topic, ours=ours)
    account_id = data.get("account_id")
    if envelope["subject"] != account_id:
        raise InvalidError("SUBJECT_MISMATCH", "subject must equal data.account_id")
    if keyed and (raw.key is None or raw.key != str(account_id).encode(errors="replace")):
        raise InvalidError("KEY_MISMATCH", "the Kafka key must be data.account_id in UTF-8")
    try:
        payload = kind.payload.model_validate(data)
    except ValidationError as why:
        raise InvalidError("BAD_DATA", _fields(why)) from why
    return Decoded(
        kind,
        payload,
        payload.account_id,
        envelope["source"],
        envelope["id"],
        time,
        raw.origin,
        blake2b(_canonical([envelope["type"], envelope["time"], data]), digest_size=16).digest(),
        _stored(kind, data),
        _money(kind, payload),
        _traceparent(raw, envelope),
        raw,
    )


def _judged(envelope: Json, topic: str, *, any_topic: bool, ours: bool) -> tuple[Kind, datetime, Json]:
    """The envelope's type, time and data, once its attributes are found right."""
    for name in _STRUCTURED_ATTRIBUTES:
        value = envelope.get(name)
        if not isinstance(value, str) or not value:
            raise InvalidError("BAD_ENVELOPE", f"{name} must be a string that is not empty")
    if envelope["specversion"] != "1.0":
        raise InvalidError("BAD_ENVELOPE", 'specversion must be "1.0"')
    for name, most in (("id", ID_MAX_CHARACTERS), ("source", SOURCE_MAX_CHARACTERS)):
        if not _is_id(envelope[name], most):
            detail = f"{name} must be 1 to {most} printable characters without white space"
            raise InvalidError("BAD_ENVELOPE", detail)
    kind = BY_TYPE.get(envelope["type"]) or OWN_BY_TYPE.get(envelope["type"])
    if kind is None:
        raise InvalidError("UNKNOWN_TYPE", "type is none of the contract's")
    if kind.type in OWN_BY_TYPE and not ours:
        raise InvalidError("WRONG_TOPIC", f"{kind.type} is made by the guard alone, where a person orders it")
    if not any_topic and kind.topic != topic:
        raise InvalidError("WRONG_TOPIC", f"{kind.type} belongs on {kind.topic}")
    data = envelope.get("data")
    if not isinstance(data, dict):
        raise InvalidError("BAD_ENVELOPE", "data must be a JSON object")
    try:
        return kind, models.instant(envelope["time"]), data
    except ValueError as why:
        raise InvalidError("BAD_ENVELOPE", f"time {why}") from why


def _is_id(text: str, max_characters: int) -> bool:
    return len(text) <= max_characters and text.isprintable() and " " not in text


def _to_event(kind: Kind, payload: models.Payload) -> Event:
    fields = models.values(payload)
    if isinstance(payload, models.DebtReferred):
        parts = tuple(Part(Component(part.kind), part.amount) for part in payload.components)
        fields = {**fields, "components": parts}
    return kind.event(**fields)


def _stored(kind: Kind, data: Json) -> str | None:
    """What the ledger keeps beside its columns: for money what is left over, mostly nothing; else all."""
    left = {name: value for name in _WITHOUT_COLUMN[kind.number] if (value := data.get(name)) is not None}
    return _canonical(left).decode() if left else None


def _canonical(value: object) -> bytes:
    """The same bytes for the same content, in whatever order and with whatever white space it came."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except (
        orjson.JSONEncodeError
    ):  # A number beyond 64 bits, or half of a surrogate pair, in a field of no meaning.
        return _ENCODER.encode(value).encode()


def _money(kind: Kind, payload: models.Payload) -> MoneyColumns | None:
    if kind.money is None or not isinstance(payload, MONEY):
        return None
    money_id, at = getattr(payload, kind.money[0]), getattr(payload, kind.money[1])
    return (money_id, payload.amount, payload.currency, at, payload.debt_id, payload.contract_id)


def _fields(why: ValidationError) -> str:
    return "; ".join(
        f"data.{'.'.join(str(part) for part in error['loc']) or '*'}: {error['msg']}"
        for error in why.errors(include_input=False, include_url=False, include_context=False)[:5]
    )


def _traceparent(raw: RawRecord, envelope: Json) -> str | None:
    for name, header in raw.headers:
        if name == "traceparent":
            return context((header or b"").decode("ascii", "replace"))
    return context(envelope.get("traceparent"))


def account_named(value: bytes) -> bytes | None:
    """The account that the bytes of an event name, as the key that a record of it would have; None without one."""
    raw = RawRecord(Origin("", 0, 0, datetime.min.replace(tzinfo=UTC)), None, value)
    try:
        accounts = _accounts(raw, _envelope(raw))
    except InvalidError:
        return None
    return accounts[0].encode() if len(accounts) == 1 else None


def _accounts(raw: RawRecord, envelope: Mapping[str, Any]) -> tuple[str, ...]:  # `Any`: as `Json`.
    """The accounts that a bad record may concern: all of them are held."""
    data = envelope.get("data")
    claimed = [
        (raw.key or b"").decode(errors="ignore"),
        envelope.get("subject"),
        data.get("account_id") if isinstance(data, dict) else None,
    ]
    return tuple(
        sorted({one for one in claimed if isinstance(one, str) and one and _is_id(one, ID_MAX_CHARACTERS)})
    )
