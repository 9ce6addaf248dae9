"""One record to one event, or to the reason why it is none: the contract's types, and every way to be bad."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from datetime import UTC, date, datetime, timedelta, timezone
from typing import cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.events import (
    Channel,
    ChannelsChosen,
    Component,
    ContactMade,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    DisputeOutcome,
    Event,
    NoticeDelivered,
    NoticeFailed,
    NoticeKind,
    Origin,
    Part,
    PaymentFailed,
    PaymentPending,
    PaymentReturned,
    PaymentSettled,
    PlacementAccepted,
    PlacementClosed,
    PlacementOpened,
    PlanAgreed,
    PlanEnded,
    ProtectionChanged,
    RawRecord,
    RecallAcknowledged,
    RecallRejected,
    Recorded,
)
from infra.wire.decode import (
    EVENT_MAX_BYTES,
    NESTING_MAX_LEVELS,
    Decoded,
    Rejected,
    decode,
    decode_line,
    decode_stored,
    topic_of,
)
from infra.wire.kinds import (
    AGENCIES,
    BY_TYPE,
    INBOUND_TOPICS,
    KINDS,
    NOTICES,
    OWN_KINDS,
    PAYMENTS,
    REFERRALS,
    STANDING,
    Kind,
)

Data = dict[str, object]

NOON = "2026-11-14T12:00:00+03:00"
AT = datetime(2026, 11, 14, 12, tzinfo=timezone(timedelta(hours=3)))
RECEIVED = datetime(2026, 11, 14, 9, 0, 1, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REFERENCE: Data = {"debt_id": "d-1", "contract_id": "k-1"}
HOW: Data = {"method": "card", "autopay": True}
WORDS = "за ноябрь\n«всё»"


@dataclass(frozen=True)
class Sample:
    """One type of the contract: its topic, what its data must and may hold, and the event that all of it makes."""

    type: str
    topic: str
    needed: Data
    optional: Data
    event: Event


def money(name: str, dated: str) -> Data:
    """What every movement of money must say."""
    return {name: "m-1", "amount": 85000, "currency": "RUB", dated: NOON}


def notice(dated: str) -> Data:
    """What every notice must say."""
    return {"notice_id": "n-1", "kind": "price_change", "channel": "cabinet", dated: NOON}


RISE, CABINET = NoticeKind.PRICE_CHANGE, Channel.CABINET
SAMPLES = [
    Sample(
        "billing.payment.pending.v1",
        PAYMENTS,
        money("payment_id", "initiated_at"),
        {**REFERENCE, **HOW},
        PaymentPending("a-1", "m-1", 85000, "RUB", AT, "d-1", "k-1", "card", autopay=True),
    ),
    Sample(
        "billing.payment.settled.v1",
        PAYMENTS,
        money("payment_id", "paid_at"),
        {**REFERENCE, **HOW, "settled_at": NOON},
        PaymentSettled("a-1", "m-1", 85000, "RUB", AT, AT, "d-1", "k-1", "card", autopay=True),
    ),
    Sample(
        "billing.payment.failed.v1",
        PAYMENTS,
        {"payment_id": "m-1"},
        {"reason": WORDS},
        PaymentFailed("a-1", "m-1", WORDS),
    ),
    Sample(
        "billing.payment.returned.v1",
        PAYMENTS,
        {"payment_id": "m-1", "returned_at": NOON},
        {"reason": WORDS},
        PaymentReturned("a-1", "m-1", AT, WORDS),
    ),
    Sample(
        "billing.credit.posted.v1",
        PAYMENTS,
        {**money("credit_id", "posted_at"), "reason": "write_off"},
        REFERENCE,
        CreditPosted("a-1", "m-1", 85000, "RUB", AT, "write_off", "d-1", "k-1"),
    ),
    Sample(
        "collections.debt.referred.v1",
        REFERRALS,
        {
            "debt_id": "d-1",
            "referral_id": "r-1",
            "amount": 85000,
            "currency": "RUB",
            "as_of": NOON,
            "due_on": "2026-10-01",
        },
        {
            "agency_id": "g-1",
            "contract_id": "k-1",
            "components": [{"kind": "principal", "amount": 84000}, {"kind": "price_change", "amount": 1000}],
            "reflected_payment_ids": ["m-1", "m-2"],
        },
        DebtReferred(
            "a-1",
            "d-1",
            "r-1",
            85000,
            "RUB",
            AT,
            date(2026, 10, 1),
            "g-1",
            "k-1",
            (Part(Component.PRINCIPAL, 84000), Part(Component.PRICE_CHANGE, 1000)),
            frozenset({"m-1", "m-2"}),
        ),
    ),
    Sample(
        "collections.debt.withdrawn.v1",
        REFERRALS,
        {"debt_id": "d-1"},
        {"reason": WORDS},
        DebtWithdrawn("a-1", "d-1", WORDS),
    ),
    Sample(
        "collections.placement.opened.v1",
        REFERRALS,
        {
            "placement_id": "l-1",
            "debt_id": "d-1",
            "agency_id": "g-1",
            "amount": 85000,
            "currency": "RUB",
            "placed_at": NOON,
        },
        {"clearance_id": "c-1"},
        PlacementOpened("a-1", "l-1", "d-1", "g-1", 85000, "RUB", AT, "c-1"),
    ),
    Sample(
        "collections.placement.closed.v1",
        REFERRALS,
        {"placement_id": "l-1", "closed_at": NOON},
        {"reason": WORDS},
        PlacementClosed("a-1", "l-1", AT, WORDS),
    ),
    Sample(
        "customer.notice.delivered.v1",
        NOTICES,
        notice("delivered_at"),
        {"debt_id": "d-1"},
        NoticeDelivered("a-1", "n-1", RISE, CABINET, AT, "d-1"),
    ),
    Sample(
        "customer.notice.failed.v1",
        NOTICES,
        notice("failed_at"),
        {"debt_id": "d-1"},
        NoticeFailed("a-1", "n-1", RISE, CABINET, AT, "d-1"),
    ),
    Sample(
        "customer.channels.chosen.v1",
        NOTICES,
        {"channels": ["sms", "email", "post", "push", "cabinet", "sms"]},
        {},
        ChannelsChosen("a-1", frozenset(Channel)),
    ),
    Sample(
        "customer.dispute.opened.v1",
        STANDING,
        {"dispute_id": "q-1", "opened_at": NOON},
        {"debt_id": "d-1", "reason": WORDS},
        DisputeOpened("a-1", "q-1", AT, "d-1", WORDS),
    ),
    Sample(
        "customer.dispute.closed.v1",
        STANDING,
        {"dispute_id": "q-1", "closed_at": NOON, "outcome": "upheld"},
        {},
        DisputeClosed("a-1", "q-1", AT, DisputeOutcome.UPHELD),
    ),
    Sample(
        "customer.plan.agreed.v1",
        STANDING,
        {"plan_id": "i-1", "agreed_at": NOON},
        {"debt_id": "d-1"},
        PlanAgreed("a-1", "i-1", AT, "d-1"),
    ),
    Sample(
        "customer.plan.ended.v1",
        STANDING,
        {"plan_id": "i-1", "ended_at": NOON},
        {"debt_id": "d-1"},
        PlanEnded("a-1", "i-1", AT, "d-1"),
    ),
    Sample(
        "customer.protection.changed.v1",
        STANDING,
        {"marks": ["bankrupt", "in_hospital"], "changed_at": NOON},
        {},
        ProtectionChanged("a-1", frozenset({"bankrupt", "in_hospital"}), AT),
    ),
    Sample(
        "agency.placement.accepted.v1",
        AGENCIES,
        {"placement_id": "l-1", "accepted_at": NOON},
        {"agency_id": "agency-1"},
        PlacementAccepted("a-1", "l-1", AT, "agency-1"),
    ),
    Sample(
        "agency.recall.acknowledged.v1",
        AGENCIES,
        {"recall_id": "x-1", "placement_id": "l-1", "acknowledged_at": NOON},
        {"agency_id": "agency-1"},
        RecallAcknowledged("a-1", "x-1", "l-1", AT, "agency-1"),
    ),
    Sample(
        "agency.recall.rejected.v1",
        AGENCIES,
        {"recall_id": "x-1", "placement_id": "l-1", "rejected_at": NOON, "reason": WORDS},
        {"agency_id": "agency-1"},
        RecallRejected("a-1", "x-1", "l-1", AT, WORDS, "agency-1"),
    ),
    Sample(
        "agency.contact.made.v1",
        AGENCIES,
        {"placement_id": "l-1", "contacted_at": NOON, "channel": "phone call"},
        {"agency_id": "agency-1"},
        ContactMade("a-1", "l-1", AT, "phone call", "agency-1"),
    ),
]
BY_NAME = {sample.type: sample for sample in SAMPLES}


def enveloped(kind: str, data: object, /, **attributes: object) -> Data:
    """The event in structured mode, before it is bytes; an attribute that is None is left out."""
    envelope = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "billing/eu",
        "type": kind,
        "time": NOON,
        "subject": "a-1",
        "data": data,
        **attributes,
    }
    return {name: value for name, value in envelope.items() if value is not None}


def record(
    value: bytes | None,
    topic: str = PAYMENTS,
    *,
    key: bytes | None = b"a-1",
    headers: tuple[tuple[str, bytes], ...] = (),
) -> RawRecord:
    """A record at offset 7 of partition 3."""
    return RawRecord(Origin(topic, 3, 7, RECEIVED), key, value, headers)


def structured(sample: Sample, data: Data | None = None, /, **attributes: object) -> RawRecord:
    """A sample as one JSON object."""
    said = data or {"account_id": "a-1", **sample.needed, **sample.optional}
    return record(json.dumps(enveloped(sample.type, said, **attributes)).encode(), sample.topic)


def binary(sample: Sample, *more: tuple[str, bytes]) -> RawRecord:
    """A sample with its attributes as headers."""
    said = {"account_id": "a-1", **sample.needed, **sample.optional}
    attributes = enveloped(sample.type, None)
    headers = tuple((f"ce_{name}", str(value).encode()) for name, value in attributes.items())
    return record(json.dumps(said).encode(), sample.topic, headers=(*headers, *more))


def decoded(raw: RawRecord) -> Decoded:
    """The event in a record that holds one."""
    result = decode(raw)
    assert isinstance(result, Decoded), result
    return result


def without_optional(sample: Sample) -> Event:
    """The event that is made of what its type needs, each other field at its default."""
    defaults = {one.name: one.default for one in fields(sample.event) if one.default is not MISSING}
    return replace(sample.event, **{name: defaults[name] for name in sample.optional})


EVERY = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.type)


@EVERY
def test_every_type_is_read_with_all_its_fields(sample: Sample) -> None:
    """Every type of the contract, all fields given, becomes its event with its identity and origin."""
    actual = decoded(structured(sample)).recorded

    assert actual == Recorded(sample.event, "billing/eu", "e-1", AT, Origin(sample.topic, 3, 7, RECEIVED))


@EVERY
def test_every_type_is_read_with_what_it_needs(sample: Sample) -> None:
    """Optional fields may be missing or null, and unknown fields are ignored."""
    missing: Data = {"account_id": "a-1", **sample.needed}
    null = (
        {**missing, **dict.fromkeys(sample.optional)} if sample.type != "collections.debt.referred.v1" else missing
    )
    unknown = {**missing, "note": {"deep": [1]}}

    actual = [decoded(structured(sample, data, tenant="t-1")).recorded.event for data in (missing, null, unknown)]

    assert actual == [without_optional(sample)] * 3


@EVERY
def test_both_modes_say_the_same(sample: Sample) -> None:
    """An event in binary mode is the event in structured mode, with the same digest."""
    first, second = decoded(structured(sample)), decoded(binary(sample))

    assert (first.recorded, first.digest, first.stored) == (second.recorded, second.digest, second.stored)


@EVERY
def test_what_is_stored_is_read_back(sample: Sample) -> None:
    """A ledger row, made of the columns and of what they don't hold, is the same event again."""
    for data in ({**sample.needed, **sample.optional}, sample.needed):
        one = decoded(structured(sample, {"account_id": "a-1", **data, "unknown": "x"}))

        assert one.recorded.event == decode_stored("a-1", one.number, one.stored, one.money)


@EVERY
def test_a_missing_field_is_named(sample: Sample) -> None:
    """Each field that a type needs is named where it is missing."""
    for name in sample.needed:
        rest = {"account_id": "a-1", **{key: value for key, value in sample.needed.items() if key != name}}

        result = decode(structured(sample, rest))

        assert isinstance(result, Rejected)
        assert (result.reason, result.detail) == ("BAD_DATA", f"data.{name}: Field required")


@EVERY
def test_a_type_belongs_on_one_topic(sample: Sample) -> None:
    """A type on another topic is refused by name, unless the caller takes every type."""
    for topic in set(INBOUND_TOPICS) - {sample.topic}:
        raw = replace(structured(sample), origin=Origin(topic, 3, 7, RECEIVED))

        result = decode(raw)

        assert isinstance(result, Rejected)
        assert (result.reason, result.detail) == ("WRONG_TOPIC", f"{sample.type} belongs on {sample.topic}")
        assert isinstance(decode(raw, any_topic=True), Decoded)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.type)
def test_a_payload_has_the_fields_of_its_event(kind: Kind) -> None:
    """What the wire reads is what the domain takes: the same names, and the same ones optional."""
    sample = BY_NAME[kind.type]

    payload = {name: one.is_required() for name, one in kind.payload.model_fields.items()}
    event = {
        one.name: one.default is MISSING and one.default_factory is MISSING for one in fields(type(sample.event))
    }

    assert payload == event
    assert {name for name, needed in payload.items() if needed} == {"account_id", *sample.needed}


def test_the_table_of_kinds_is_the_contracts() -> None:
    """Every type of the contract has a row, on its topic; every event of the domain has one; numbers stay."""
    assert {kind.type: kind.topic for kind in KINDS} == {sample.type: sample.topic for sample in SAMPLES}
    assert {type(sample.event) for sample in SAMPLES} | {kind.event for kind in OWN_KINDS} == set(get_args(Event))
    assert [(kind.number, kind.type) for kind in OWN_KINDS] == [(22, "guard.recall.ordered.v1")]
    assert [(kind.number, kind.type) for kind in KINDS] == list(enumerate((one.type for one in SAMPLES), start=1))
    assert [topic_of(kind.number) for kind in KINDS] == [sample.topic for sample in SAMPLES]


PAID = BY_NAME["billing.payment.settled.v1"]
REFERRED = BY_NAME["collections.debt.referred.v1"]
CREDITED = BY_NAME["billing.credit.posted.v1"]


@pytest.mark.parametrize(
    ("sample", "stored", "columns"),
    [
        (PAID, None, ("m-1", 85000, "RUB", AT, None, None)),
        (CREDITED, '{"reason":"write_off"}', ("m-1", 85000, "RUB", AT, None, None)),
        (BY_NAME["billing.payment.failed.v1"], '{"payment_id":"m-1"}', None),
    ],
    ids=lambda value: value.type if isinstance(value, Sample) else "",
)
def test_the_ledger_keeps_of_money_only_what_has_no_column(
    sample: Sample, stored: str | None, columns: object
) -> None:
    """The columns hold a movement's id, amount, currency, date and reference; mostly nothing is left over."""
    one = decoded(structured(sample, {"account_id": "a-1", **sample.needed}))

    assert (one.stored, one.money) == (stored, columns)


MARK = "S3CR3T"
"""Stands in every text of the bad records below, as a customer's data would; never to be seen in a reason."""

MARKED: Data = {
    "account_id": f"{MARK}-a",
    "payment_id": f"{MARK}-p",
    "amount": 85000,
    "currency": "RUB",
    "paid_at": NOON,
    "method": f"{MARK} method",
}
MARKED_DEBT: Data = {
    **REFERRED.needed,
    "account_id": f"{MARK}-a",
    "debt_id": f"{MARK}-d",
    "agency_id": f"{MARK}-g",
}


def bad_value(changes: Mapping[str, object]) -> bytes:
    """A marked payment with other data."""
    return json.dumps(enveloped(PAID.type, {**MARKED, **changes}, subject=f"{MARK}-a", id=f"{MARK}-e")).encode()


def bad_envelope(**changes: object) -> bytes:
    """A marked payment with other attributes; None leaves one out."""
    return json.dumps(enveloped(PAID.type, MARKED, **{"subject": f"{MARK}-a", **changes})).encode()


def bad_debt(changes: Mapping[str, object]) -> bytes:
    """A marked referral with other data."""
    return json.dumps(enveloped(REFERRED.type, {**MARKED_DEBT, **changes}, subject=f"{MARK}-a")).encode()


def with_number(number: str) -> bytes:
    """A marked payment whose amount is these characters."""
    return bad_value({"amount": 123456789}).replace(b"123456789", number.encode())


AN_ID = "data.payment_id: String should"
TIME = "must be an RFC 3339 time with an offset, like 2026-11-14T10:02:00+03:00"
PARTS = [{"kind": "principal", "amount": 84000}]
BAD = [
    # The value as a whole.
    ("no value", None, "EMPTY", "the record has no value"),
    ("empty value", b"", "NOT_JSON", "the value must be JSON"),
    ("too large", b'"' + b"x" * EVENT_MAX_BYTES, "TOO_LARGE", f"larger than {EVENT_MAX_BYTES} bytes"),
    ("not UTF-8", bad_value({}).replace(b"method", b"\xff"), "NOT_JSON", "must be UTF-8"),
    ("UTF-16", json.dumps(MARKED).encode("utf-16"), "NOT_JSON", "must be UTF-8"),
    ("a surrogate in UTF-8", bad_value({}).replace(b"method", b"\xed\xa0\x80"), "NOT_JSON", "must be UTF-8"),
    ("a byte order mark", b"\xef\xbb\xbf" + bad_value({}), "NOT_JSON", "the value must be JSON"),
    ("cut short", bad_value({})[:-9], "NOT_JSON", "the value must be JSON"),
    ("two values", bad_value({}) * 2, "NOT_JSON", "Extra data"),
    ("a control character", bad_value({}).replace(b" method", b"\x01"), "NOT_JSON", "Invalid control character"),
    ("a bad escape", bad_value({}).replace(b" method", rb"\q"), "NOT_JSON", "the value must be JSON"),
    ("NaN", with_number("NaN"), "NOT_JSON", "NaN and Infinity are no JSON"),
    ("Infinity", with_number("Infinity"), "NOT_JSON", "NaN and Infinity are no JSON"),
    ("-Infinity", with_number("-Infinity"), "NOT_JSON", "NaN and Infinity are no JSON"),
    ("duplicate names", b'{"id":"S3CR3T","id":"S3CR3T"}', "NOT_JSON", "a name stands twice in one object"),
    ("duplicate data", with_number('1,"amount":2'), "NOT_JSON", "a name stands twice in one object"),
    ("5,000 digits", with_number("9" * 5000), "NOT_JSON", "the value must be JSON"),
    ("nested too deep", with_number("[" * 20 + "]" * 20), "NOT_JSON", f"deeper than {NESTING_MAX_LEVELS} levels"),
    ("a nesting bomb", b"[" * 100_000, "NOT_JSON", f"deeper than {NESTING_MAX_LEVELS} levels"),
    ("too deep to be walked", b"[" * 1_000 + b"]" * 1_000, "NOT_JSON", f"deeper than {NESTING_MAX_LEVELS} levels"),
    ("a bomb of objects", b'{"a":' * 20_000, "NOT_JSON", f"deeper than {NESTING_MAX_LEVELS} levels"),
    ("a list", b'["S3CR3T"]', "NOT_AN_OBJECT", "the value must be a JSON object"),
    ("a text", b'"S3CR3T"', "NOT_AN_OBJECT", "the value must be a JSON object"),
    ("null", b"null", "NOT_AN_OBJECT", "the value must be a JSON object"),
    # The envelope.
    *(
        (f"no {name}", bad_envelope(**{name: None}), "BAD_ENVELOPE", f"{name} must be a string that is not empty")
        for name in ("specversion", "id", "source", "type", "time", "subject")
    ),
    ("an empty id", bad_envelope(id=""), "BAD_ENVELOPE", "id must be a string that is not empty"),
    ("an id that is a number", bad_envelope(id=7), "BAD_ENVELOPE", "id must be a string that is not empty"),
    ("another version", bad_envelope(specversion="0.3"), "BAD_ENVELOPE", 'specversion must be "1.0"'),
    ("an id with a space", bad_envelope(id=f"{MARK} e"), "BAD_ENVELOPE", "id must be 1 to 128 printable"),
    ("an id of 129", bad_envelope(id="S3CR3T".ljust(129, "x")), "BAD_ENVELOPE", "id must be 1 to 128 printable"),
    ("an id with NUL", bad_envelope(id=f"{MARK}\0"), "BAD_ENVELOPE", "id must be 1 to 128 printable"),
    ("an id with a surrogate", bad_envelope(id=f"{MARK}\ud800"), "BAD_ENVELOPE", "id must be 1 to 128 printable"),
    ("a source with a tab", bad_envelope(source=f"{MARK}\t"), "BAD_ENVELOPE", "source must be 1 to 256 printable"),
    ("an unknown type", bad_envelope(type=f"{MARK}.v1"), "UNKNOWN_TYPE", "type is none of the contract's"),
    ("a later version", bad_envelope(type="billing.payment.settled.v2"), "UNKNOWN_TYPE", "type is none of"),
    ("another topic's type", bad_envelope(type=REFERRED.type), "WRONG_TOPIC", f"{REFERRED.type} belongs on"),
    ("no data", bad_envelope(data=None), "BAD_ENVELOPE", "data must be a JSON object"),
    ("data that is a text", bad_envelope(data=MARK), "BAD_ENVELOPE", "data must be a JSON object"),
    ("no offset", bad_envelope(time="2026-11-14T12:00:00"), "BAD_ENVELOPE", f"time {TIME}"),
    ("a time in words", bad_envelope(time=MARK), "BAD_ENVELOPE", f"time {TIME}"),
    ("other digits", bad_envelope(time="\u0662\u066026-11-14T12:00:00Z"), "BAD_ENVELOPE", f"time {TIME}"),
    ("no such month", bad_envelope(time="2026-13-14T12:00:00Z"), "BAD_ENVELOPE", "time month must be in 1..12"),
    ("no such offset", bad_envelope(time="2026-11-14T12:00:00+24:00"), "BAD_ENVELOPE", f"time {TIME}"),
    ("the year 1", bad_envelope(time="0001-01-01T00:00:00Z"), "BAD_ENVELOPE", "time must be in the years 1900"),
    ("the last year", bad_envelope(time="9999-12-31T23:59:59Z"), "BAD_ENVELOPE", "time must be in the years 1900"),
    # Who it is about.
    (
        "another subject",
        bad_envelope(subject=f"{MARK}-b"),
        "SUBJECT_MISMATCH",
        "subject must equal data.account_id",
    ),
    ("no account", bad_value({"account_id": None}), "SUBJECT_MISMATCH", "subject must equal data.account_id"),
    # The data.
    ("amount true", bad_value({"amount": True}), "BAD_DATA", "data.amount: "),
    ("amount text", bad_value({"amount": "85000"}), "BAD_DATA", "data.amount: "),
    ("amount 850.0", bad_value({"amount": 850.0}), "BAD_DATA", "data.amount: "),
    ("amount 1e3", with_number("1e3"), "BAD_DATA", "data.amount: "),
    ("amount null", bad_value({"amount": None}), "BAD_DATA", "data.amount: "),
    ("amount 0", bad_value({"amount": 0}), "BAD_DATA", "data.amount: "),
    ("amount -1", bad_value({"amount": -1}), "BAD_DATA", "data.amount: "),
    ("amount 10^15 + 1", bad_value({"amount": 10**15 + 1}), "BAD_DATA", "data.amount: "),
    ("4,000 digits", with_number("9" * 4000), "BAD_DATA", "data.amount: "),
    ("currency in small", bad_value({"currency": "rub"}), "BAD_DATA", "data.currency: "),
    ("currency of four", bad_value({"currency": "RUBL"}), "BAD_DATA", "data.currency: "),
    ("currency and a line", bad_value({"currency": "RUB\n"}), "BAD_DATA", "data.currency: "),
    ("no offset in data", bad_value({"paid_at": "2026-11-14T12:00:00"}), "BAD_DATA", "data.paid_at: "),
    ("a moment as a number", bad_value({"paid_at": 1794646920}), "BAD_DATA", "data.paid_at: "),
    ("only a date", bad_value({"paid_at": "2026-11-14"}), "BAD_DATA", "data.paid_at: "),
    ("year 1 in data", bad_value({"settled_at": "0001-01-01T00:00:00Z"}), "BAD_DATA", "data.settled_at: "),
    ("empty id", bad_value({"payment_id": ""}), "BAD_DATA", AN_ID),
    ("id with a space", bad_value({"payment_id": f"{MARK} p"}), "BAD_DATA", AN_ID),
    ("id with a no-break space", bad_value({"payment_id": f"{MARK}\u00a0p"}), "BAD_DATA", AN_ID),
    ("id with a line", bad_value({"payment_id": f"{MARK}\n"}), "BAD_DATA", AN_ID),
    ("id with a control", bad_value({"payment_id": f"{MARK}\x07"}), "BAD_DATA", AN_ID),
    ("id with NUL", bad_value({"payment_id": f"{MARK}\0"}), "BAD_DATA", AN_ID),
    ("id with a hidden character", bad_value({"payment_id": f"{MARK}\u200b"}), "BAD_DATA", AN_ID),
    ("id with a surrogate", bad_value({"payment_id": f"{MARK}\ud800"}), "BAD_DATA", "data.payment_id: "),
    ("id of 129", bad_value({"payment_id": "S3CR3T".ljust(129, "x")}), "BAD_DATA", AN_ID),
    ("id that is a number", bad_value({"payment_id": 7}), "BAD_DATA", "data.payment_id: "),
    ("text with NUL", bad_value({"method": f"{MARK}\0"}), "BAD_DATA", "data.method: "),
    ("text with a surrogate", bad_value({"method": f"{MARK}\udfff"}), "BAD_DATA", "data.method: "),
    ("text of 2,001", bad_value({"method": MARK.ljust(2001)}), "BAD_DATA", "data.method: "),
    ("autopay in words", bad_value({"autopay": "yes"}), "BAD_DATA", "data.autopay: "),
    ("several fields", bad_value({"amount": 0, "paid_at": MARK}), "BAD_DATA", "; data.paid_at: "),
    # A debt.
    ("parts too small", bad_debt({"components": PARTS}), "BAD_DATA", "components must add up to amount"),
    ("parts too large", bad_debt({"components": PARTS * 2}), "BAD_DATA", "components must add up to amount"),
    (
        "an unknown part",
        bad_debt({"components": [{"kind": MARK, "amount": 85000}]}),
        "BAD_DATA",
        "data.components.0.kind",
    ),
    (
        "a part below 0",
        bad_debt({"components": [{"kind": "fee", "amount": -1}]}),
        "BAD_DATA",
        "data.components.0.amount",
    ),
    ("101 parts", bad_debt({"components": [{"kind": "fee", "amount": 0}] * 101}), "BAD_DATA", "data.components: "),
    ("a debt below 0", bad_debt({"amount": -1}), "BAD_DATA", "data.amount: "),
    ("a date with a time", bad_debt({"due_on": NOON}), "BAD_DATA", "data.due_on: "),
    ("no such day", bad_debt({"due_on": "2026-02-30"}), "BAD_DATA", "data.due_on: "),
    ("reflected, one text", bad_debt({"reflected_payment_ids": MARK}), "BAD_DATA", "data.reflected_payment_ids"),
    ("reflected, a number", bad_debt({"reflected_payment_ids": [1]}), "BAD_DATA", "data.reflected_payment_ids"),
    (
        "reflected, a bad id",
        bad_debt({"reflected_payment_ids": [f"{MARK} p"]}),
        "BAD_DATA",
        "data.reflected_payment_ids",
    ),
]


@pytest.mark.parametrize(("value", "reason", "detail"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_record_is_told_by_its_field_and_not_by_its_content(
    value: bytes | None, reason: str, detail: str
) -> None:
    """Each way to be bad has its code, names what is wrong, and shows no value of the record."""
    referral = value is not None and b'"type": "collections.debt' in value and reason != "WRONG_TOPIC"
    raw = record(value, REFERRALS if referral else PAYMENTS, key=f"{MARK}-a".encode())

    result = decode(raw)

    assert isinstance(result, Rejected)
    assert (result.raw, result.reason) == (raw, reason)
    assert detail in result.detail
    assert MARK not in result.detail
    assert len(result.detail) < 1000


@pytest.mark.parametrize(
    "value",
    [
        bad_value({}),
        bad_value({"amount": 1}),
        bad_value({"amount": 10**15}),
        bad_value({"payment_id": "x" * 128}),
        bad_value({"payment_id": "п-1/№7"}),
        bad_value({"method": "x" * 2000}),
        bad_value({"method": ""}),
        bad_value({"paid_at": "2026-11-14t12:00:00.123456789z"}),
        bad_value({"paid_at": "2026-11-14 12:00:00-00:00"}),
        bad_value({"note": "\0 \ud800"}),
        bad_value({"note": [[[[[[[[[[[[0]]]]]]]]]]]]}),
        bad_value({"note": [[]] * 100}),
        bad_envelope(id="e" * 128),
        b" \n" + bad_value({}) + b"\n",
    ],
    ids=range(14),
)
def test_what_is_just_right_is_read(value: bytes) -> None:
    """Beside each limit stands a record that keeps it."""
    assert isinstance(decode(record(value, key=f"{MARK}-a".encode())), Decoded)


def test_a_debt_may_be_stated_as_nothing() -> None:
    """A referral may state that nothing is owed, in all or in a part; a payment of nothing is none."""
    nothing = {"amount": 0, "components": [{"kind": "principal", "amount": 0}]}

    assert isinstance(decode(record(bad_debt(nothing), REFERRALS, key=f"{MARK}-a".encode())), Decoded)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"a-1", None),
        (b"a-2", "KEY_MISMATCH"),
        (None, "KEY_MISMATCH"),
        (b"", "KEY_MISMATCH"),
        (b"\xff", "KEY_MISMATCH"),
    ],
)
def test_the_key_is_the_account(key: bytes | None, expected: str | None) -> None:
    """A record whose key is not its account is refused where records are keyed, and read where not."""
    raw = replace(structured(PAID), key=key)

    result = decode(raw)

    assert expected == (result.reason if isinstance(result, Rejected) else None)
    assert isinstance(decode(raw, keyed=False), Decoded)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (b"a-1", b"not json", ("a-1",)),
        (
            b"a-1",
            json.dumps(enveloped(PAID.type, {"account_id": "a-3"}, subject="a-2")).encode(),
            ("a-1", "a-2", "a-3"),
        ),
        (None, json.dumps(enveloped("x", {"account_id": "a-3"}, subject="a-3")).encode(), ("a-3",)),
        (b"a 1", b"not json", ()),
        (None, None, ()),
        (b"a-1", json.dumps(enveloped("x", [], subject=7)).encode(), ("a-1",)),
    ],
    ids=["key only", "three claims", "no key", "no id", "nothing", "other types"],
)
def test_every_account_that_a_bad_record_may_concern_is_named(
    key: bytes | None, value: bytes | None, expected: tuple[str, ...]
) -> None:
    """The key, the subject and the data may each name the account that is to be held."""
    result = decode(record(value, key=key))

    assert isinstance(result, Rejected)
    assert expected == result.accounts


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"traceparent": TRACE}, True),
        ({"datacontenttype": "application/json"}, True),
        ({"time": "2026-11-14T12:00:01+03:00"}, False),
        ({"data": {"account_id": "a-1", **PAID.needed, "amount": 85001}}, False),
        ({"data": {"account_id": "a-1", **PAID.needed, "note": "x"}}, False),
    ],
    ids=["the same", "trace", "content type", "time", "amount", "an unknown field"],
)
def test_the_digest_is_of_the_content(changed: Data, expected: bool) -> None:
    """The same content has the same digest however it travels; other content has another."""
    said: Data = {"data": {**PAID.needed, "account_id": "a-1"}}
    first = decoded(record(json.dumps(enveloped(PAID.type, None, **said)).encode()))
    second = decoded(record(json.dumps(enveloped(PAID.type, None, **{**said, **changed}), indent=2).encode()))

    assert expected == (first.digest == second.digest)


def test_the_order_of_names_is_no_content() -> None:
    """The same fields in another order are the same content."""
    data: Data = {"account_id": "a-1", **PAID.needed}
    backwards = dict(reversed(list(data.items())))

    assert decoded(structured(PAID, data)).digest == decoded(structured(PAID, backwards)).digest


@pytest.mark.parametrize(
    ("headers", "attribute", "expected"),
    [
        ((), None, None),
        ((("traceparent", TRACE.encode()),), None, TRACE),
        ((), TRACE, TRACE),
        ((("traceparent", TRACE.encode()),), "00-other", TRACE),
        ((), "\ud800", None),
        ((), "a\nb", None),
        ((), "x" * 257, None),
        ((), 7, None),
        ((("traceparent", b"\xff\xfe"),), None, None),
        ((("traceparent", b""),), None, None),
    ],
    ids=["none", "header", "attribute", "both", "surrogate", "line", "long", "number", "not ASCII", "empty"],
)
def test_the_trace_is_carried_on(
    headers: tuple[tuple[str, bytes], ...], attribute: object, expected: str | None
) -> None:
    """The trace context comes from the header, else from the attribute; what is none is dropped."""
    said = {"account_id": "a-1", **PAID.needed}
    value = json.dumps(enveloped(PAID.type, said, traceparent=attribute)).encode()

    assert expected == decoded(record(value, headers=headers)).traceparent


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ((), None),
        ((("ce_traceparent", TRACE.encode()), ("other", b"\xff")), None),
        ((("content-type", b"application/json"),), None),
        ((("ce_id", b"e-2"),), "a ce_ header stands twice"),
        ((("ce_tenant", b"\xff"),), "the ce_ headers must be UTF-8"),
        ((("content-type", b"application/cloudevents+json"),), "specversion must be a string that is not empty"),
    ],
    ids=["plain", "more headers", "content type", "twice", "not UTF-8", "says it is structured"],
)
def test_the_headers_of_binary_mode_are_judged(more: tuple[tuple[str, bytes], ...], expected: str | None) -> None:
    """Attributes in headers must be readable and given once; the content type says which mode it is."""
    result = decode(binary(PAID, *more))

    assert expected == (result.detail if isinstance(result, Rejected) else None)


def test_a_structured_event_may_have_extension_headers() -> None:
    """A record that says it is a whole event is one, also where somebody added a `ce_` header."""
    headers = (("content-type", b"application/cloudevents+json; charset=utf-8"), ("ce_tenant", b"t-1"))

    assert decoded(replace(structured(PAID), headers=headers)).recorded.event == PAID.event


def test_a_header_without_a_value_is_survived() -> None:
    """Kafka allows a header to be null, which clients hand over as None: an attribute is then empty."""
    null = cast("bytes", None)  # What kafka-python gives, in spite of the type.
    raw = replace(binary(PAID), headers=(*binary(PAID).headers, ("traceparent", null), ("ce_tenant", null)))
    nameless = replace(
        raw, headers=tuple((name, null if name == "ce_id" else value) for name, value in raw.headers)
    )

    result = decode(nameless)

    assert decoded(raw).recorded.event == PAID.event
    assert isinstance(result, Rejected)
    assert result.detail == "id must be a string that is not empty"


def test_a_line_of_a_file_is_an_event_of_any_type() -> None:
    """A line needs no key and no topic; its origin is its number."""
    line = json.dumps(enveloped(REFERRED.type, {"account_id": "a-1", **REFERRED.needed})).encode() + b"\n"

    result = decode_line(line, 42)

    assert isinstance(result, Decoded)
    assert result.recorded.origin == Origin("file", 0, 42, datetime(1970, 1, 1, tzinfo=UTC))
    assert result.account_id == "a-1"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(NOON) | st.just("a-1"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def _near_events(draw: st.DrawFn) -> tuple[Sample, bytes]:
    """A valid event of which some fields hold anything, or some bytes are other bytes."""
    sample = draw(st.sampled_from(SAMPLES))
    data = {"account_id": "a-1", **sample.needed, **sample.optional}
    data.update(draw(st.dictionaries(st.sampled_from(sorted(data)), JSON, max_size=2)))
    envelope = enveloped(sample.type, data)
    envelope.update(draw(st.dictionaries(st.sampled_from(sorted(envelope)), JSON, max_size=1)))
    value = json.dumps(envelope).encode()
    if draw(st.booleans()):
        start = draw(st.integers(0, len(value)))
        value = value[:start] + draw(st.binary(max_size=8)) + value[start + draw(st.integers(0, 8)) :]
    return sample, value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _texts(one: Event) -> list[str]:
    values = [getattr(one, field.name) for field in fields(one)]
    return [
        text
        for value in values
        for text in (value if isinstance(value, frozenset) else [value])
        if isinstance(text, str)
    ]


HEADERS = st.lists(
    st.tuples(st.sampled_from(["ce_id", "ce_type", "ce_specversion", "traceparent", "content-type"]), st.binary()),
    max_size=4,
)


@settings(max_examples=1000, deadline=None)
@given(st.binary(), st.one_of(st.none(), st.binary()), HEADERS)
def test_no_bytes_are_too_strange(value: bytes, key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    """Whatever bytes a record holds, the answer is an event or a reason."""
    assert isinstance(decode(record(value, key=key, headers=tuple(headers))), Rejected)


@settings(max_examples=1000, deadline=None)
@given(_near_events())
def test_what_is_nearly_an_event_is_one_or_is_not(near: tuple[Sample, bytes]) -> None:
    """A valid event with something else in it is read and can be stored and read back, or has a reason."""
    sample, value = near

    result = decode(record(value, sample.topic))

    assert isinstance(result, Decoded | Rejected)
    if isinstance(result, Decoded):
        stored = decode_stored(result.account_id, result.number, result.stored, result.money)
        assert result.recorded.event == stored
        # Everything that PostgreSQL will be given as text, it can take.
        assert [text for text in _texts(stored) if "\0" in text or not _encodable(text)] == []


@settings(max_examples=1000, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_no_reason_shows_a_customers_data(sample: Sample, choice: st.DataObject) -> None:
    """A value in the wrong place is named by its field and never shown."""
    data: Data = {"account_id": "a-1", **sample.needed, **sample.optional}
    name = choice.draw(st.sampled_from(sorted(data)))
    data[name] = choice.draw(
        st.sampled_from([f"{MARK} x", [f"{MARK} x"], {MARK: MARK}, [{"kind": MARK}], f"{MARK}\0"])
    )
    attribute = choice.draw(st.sampled_from(["id", "source", "subject", "time", "type", "data"]))
    changes: Data = {attribute: f"{MARK} x"} if choice.draw(st.booleans()) else {}

    result = decode(structured(sample, data, **changes))

    assert not isinstance(result, Rejected) or MARK not in result.detail


def test_every_type_has_its_place_by_name() -> None:
    """A type is found by its name, and no two share one."""
    assert [BY_TYPE[kind.type] for kind in KINDS] == list(KINDS)
