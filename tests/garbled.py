"""Records that are no events, in every way that the way in tells apart, each full of marked personal data.

Used by the test that looks for customers' data where none may be, beside `tests.marked`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from domain.events import RawRecord
from infra.wire.decode import EVENT_MAX_BYTES, ID_MAX_CHARACTERS, NESTING_MAX_LEVELS, SOURCE_MAX_CHARACTERS
from infra.wire.kinds import KINDS, Kind
from tests.marked import Customer, Headers, Json, Marks, data_of, envelope, sent


def garbled(marks: Marks, customer: Customer) -> Iterator[RawRecord]:
    """All of them; each of a customer of its own would be held, so they are all of this one."""
    for kind in KINDS:
        yield from _wrong_data(kind, marks, customer)
    for kind in {one.topic: one for one in KINDS}.values():
        for value in (*_wrong_envelopes(kind, marks, customer), *_no_events(kind, marks, customer)):
            yield sent(customer, kind.topic, value)
        yield from _wrongly_sent(kind, marks, customer)


def _wrong_data(kind: Kind, marks: Marks, customer: Customer) -> Iterator[RawRecord]:
    """Each field as an object, as a list and as a text with white space."""
    for name in kind.payload.model_fields:
        what = f"{kind.type} {name}, of a wrong type"
        for wrong in ({marks.text(what): marks.text(what)}, [{marks.text(what): 1}], marks.text(what) + "\n"):
            data = {**data_of(kind, marks, customer), name: wrong}
            yield sent(customer, kind.topic, envelope(kind, marks, customer, data))


def _wrong_envelopes(kind: Kind, marks: Marks, customer: Customer) -> Iterator[Json]:
    """Each attribute of a wrong type, and with white space; names that are too long; types that nobody knows."""
    right = envelope(kind, marks, customer, data_of(kind, marks, customer))
    for name in ("specversion", "id", "source", "type", "time", "subject", "data"):
        what = f"{kind.topic}, the attribute {name}"
        yield {**right, name: marks.text(what)}
        yield {**right, name: [marks.text(what)]}
        yield {**right, name: {marks.text(what): marks.text(what)}} if name != "data" else {**right, name: None}
    yield {**right, "id": marks.id("an id that is too long") + "x" * ID_MAX_CHARACTERS}
    yield {**right, "source": marks.id("a source that is too long") + "x" * SOURCE_MAX_CHARACTERS}
    yield {**right, "type": marks.id("a type that nobody knows")}
    yield {**right, "subject": marks.id("another subject")}


def _no_events(kind: Kind, marks: Marks, customer: Customer) -> Iterator[bytes | None]:
    """What is no JSON, or no object, or too much."""
    said = json.dumps(marks.text(f"{kind.topic}, no event"))
    whole = json.dumps(envelope(kind, marks, customer, data_of(kind, marks, customer)))
    deep = NESTING_MAX_LEVELS + 1
    yield None
    yield b""
    yield said.encode()
    yield f"[{said}]".encode()
    yield whole[:-1].encode()
    yield whole.replace("{", f"{{{said}: NaN, ", 1).encode()
    yield whole.replace("{", f"{{{said}: 1, {said}: 2, ", 1).encode()
    yield whole.encode("utf-16")
    yield whole.encode() + marks.text("bytes that are no UTF-8").encode() + b"\xff\xfe"
    yield f"{'[' * deep}{said}{']' * deep}".encode()
    yield whole.replace("{", f'{{"more": "{"x" * EVENT_MAX_BYTES}", ', 1).encode()


def _wrongly_sent(kind: Kind, marks: Marks, customer: Customer) -> Iterator[RawRecord]:
    """Right events under a wrong key, on a wrong topic, with headers that are none; and one id for two events."""

    def right(**said: object) -> Json:
        return envelope(kind, marks, customer, data_of(kind, marks, customer), **said)

    for key in (None, marks.id("another key").encode(), marks.text("a key that is text").encode() + b"\xff"):
        yield sent(customer, kind.topic, right(), key=key)
    yield sent(customer, next(one.topic for one in KINDS if one.topic != kind.topic), right())
    used = marks.id("an id for two events")
    yield sent(customer, kind.topic, right(id=used))
    yield sent(customer, kind.topic, right(id=used))
    text = marks.text("a header").encode()
    odd: tuple[Headers, ...] = (
        (("ce_id", text), ("ce_id", text)),
        (("ce_id", text + b"\xff"),),
        ((f"ce_{marks.id('the name of a header')}", text), (marks.text("the name of a header"), b"")),
        (("content-type", text), ("traceparent", text + b"\xff")),
    )
    for headers in odd:
        yield sent(customer, kind.topic, right(), headers=headers)
