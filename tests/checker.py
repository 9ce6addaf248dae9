"""Whether what the guard holds and says follows from what the topics hold, judged without any of its code.

Used by the fault tests. It reads the topics with a plain consumer and the database with plain SQL, so a mistake
of the product can't hide in a mistake of its own. It knows the feed of `tests.faults.feed` and no more: one
referral and one placement for an account, payments that may be returned, and nothing else that recalls.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import psycopg2.extensions
from kafka import KafkaConsumer, TopicPartition

RECALLS = "guard.recalls"
QUARANTINE = "guard.quarantine"

TOPIC_OF = {
    "billing.payment.settled.v1": "billing.payments",
    "billing.payment.returned.v1": "billing.payments",
    "collections.debt.referred.v1": "collections.referrals",
    "collections.placement.opened.v1": "collections.referrals",
    "customer.notice.delivered.v1": "customers.notices",
    "customer.dispute.opened.v1": "customers.standing",
    "agency.contact.made.v1": "agencies.events",
}
"""The types of the feed, and where each belongs; the topics are all that the guard reads."""

INBOUND = tuple(sorted(set(TOPIC_OF.values())))

TOLERANCE_MINOR = 100
"""The built-in policy's: so little left is settled."""

POLL_TIMEOUT_MS = 200
READ_ROUNDS_MAX = 300
"""A minute of polls that bring nothing; the broker is at fault then."""

Json = dict[str, Any]  # `Any`: JSON, as it stands in a record.
Place = tuple[str, int, int]
"""A topic, a partition and an offset."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic."""

    place: Place
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class Topics:
    """All that the topics hold, each partition in its order, and the ends of the inbound ones."""

    inbound: Sequence[Record]
    recalls: Sequence[Record]
    quarantine: Sequence[Record]
    ends: Mapping[tuple[str, int], int]


def read_topics(bootstrap_servers: str) -> Topics:
    """Every committed record, from the beginning of each partition to its end."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap_servers.split(","),
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        max_poll_records=5_000,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
    with closing(consumer):
        topics = (*INBOUND, RECALLS, QUARANTINE)
        places = [TopicPartition(topic, number) for topic in topics for number in _partitions(consumer, topic)]
        consumer.assign(places)
        consumer.seek_to_beginning()
        ends = consumer.end_offsets(places)
        by_topic: dict[str, list[Record]] = {topic: [] for topic in topics}
        for record in _read(consumer, ends):
            by_topic[record.place[0]].append(record)
    return Topics(
        inbound=sorted((one for topic in INBOUND for one in by_topic[topic]), key=lambda one: one.place),
        recalls=sorted(by_topic[RECALLS], key=lambda one: one.place),
        quarantine=sorted(by_topic[QUARANTINE], key=lambda one: one.place),
        ends={(place.topic, place.partition): end for place, end in ends.items() if place.topic in INBOUND},
    )


def _partitions(consumer: KafkaConsumer, topic: str) -> set[int]:
    known = consumer.partitions_for_topic(topic)
    if not known:
        raise AssertionError(f"the broker does not have {topic}")
    return set(known)


def _read(consumer: KafkaConsumer, ends: Mapping[TopicPartition, int]) -> Iterator[Record]:
    quiet = 0
    while any(consumer.position(place) < end for place, end in ends.items()):
        fetched = consumer.poll(timeout_ms=POLL_TIMEOUT_MS)
        quiet = 0 if fetched else quiet + 1
        if quiet > READ_ROUNDS_MAX:
            raise AssertionError("the topics can't be read to their ends")
        for place, records in fetched.items():
            for one in records:
                headers = tuple((name, value) for name, value in one.headers)
                yield Record((place.topic, place.partition, one.offset), one.key, one.value, headers)


Name = tuple[str, str, str]
"""An account, a source and an id: what names an event for ever."""


@dataclass(slots=True)
class _Said:
    """What the inbound topics say: each valid event where it first stands, and the records that are none."""

    events: dict[Name, tuple[Record, Json]] = field(default_factory=dict)
    bad: dict[Place, Record] = field(default_factory=dict)


def findings(topics: Topics, connection: psycopg2.extensions.connection) -> list[str]:
    """All that is wrong, in words; nothing where the database and the outbound topics are right."""
    said = _sorted_out(topics.inbound)
    base = _Base(connection)
    return [
        *_ledger(said, base),
        *_quarantine(said, base, topics.quarantine),
        *_recalls(said, base),
        *_published(base, topics.recalls),
        *_positions(topics.ends, base),
    ]


@dataclass(frozen=True, slots=True)
class _Base:
    """The database, asked in plain SQL."""

    connection: psycopg2.extensions.connection

    def rows(self, statement: str) -> list[tuple[Any, ...]]:  # `Any`: rows are untyped.
        with self.connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())


def _sorted_out(inbound: Iterable[Record]) -> _Said:
    said = _Said()
    for record in inbound:
        event = _event(record)
        if event is None:
            said.bad[record.place] = record
            continue
        name = (event["subject"], event["source"], event["id"])
        first = said.events.setdefault(name, (record, event))
        if first[0].value != record.value:  # The feed repeats an event to the byte, or says something else.
            said.bad[record.place] = record
    return said


def _event(record: Record) -> Json | None:
    try:
        event = json.loads(record.value or b"")
    except ValueError:
        return None
    account = (record.key or b"").decode()
    right = (
        isinstance(event, dict)
        and TOPIC_OF.get(event.get("type", "")) == record.place[0]
        and event.get("subject") == account == event["data"].get("account_id")
    )
    return event if right else None


def _ledger(said: _Said, base: _Base) -> Iterator[str]:
    """Each event is there once, with its origin and its money."""
    rows = base.rows("SELECT account_id, source, event_id, origin_partition, origin_offset, amount FROM ledger")
    times = Counter((row[0], row[1], row[2]) for row in rows)
    for name in sorted(said.events.keys() - times.keys()):
        yield f"lost: {_of(name)} is not in the ledger ({_at(said.events[name][0].place)})"
    for name in sorted(times.keys() - said.events.keys()):
        yield f"invented: {_of(name)} is in the ledger and in no topic"
    for name, count in sorted(times.items()):
        if count > 1:
            yield f"twice: {_of(name)} is in the ledger {count} times"
    for account, source, event_id, partition, offset, amount in rows:
        record, event = said.events.get((account, source, event_id), (None, {}))
        if record is None:
            continue
        if record.place[1:] != (partition, offset):
            yield f"origin: {event_id} came first at {_at(record.place)}, the ledger says {partition} at {offset}"
        is_money = event["type"] == "billing.payment.settled.v1"
        if is_money and event["data"]["amount"] != amount:
            yield f"money: {event_id} is {event['data']['amount']}, the ledger says {amount}"


def _quarantine(said: _Said, base: _Base, shown: Iterable[Record]) -> Iterator[str]:
    """Each bad record is kept once, to the byte; its account is on hold; and whoever watches was shown it."""
    rows = base.rows(
        "SELECT origin_topic, origin_partition, origin_offset, key, value, quarantine_id FROM quarantine"
    )
    times = Counter((row[0], row[1], row[2]) for row in rows)
    for place in sorted(said.bad.keys() - times.keys()):
        yield f"vanished: the bad record {_at(place)} is not in quarantine"
    for place in sorted(times.keys() - said.bad.keys()):
        yield f"condemned: the record {_at(place)} is in quarantine and is not bad"
    for place, count in sorted(times.items()):
        if count > 1:
            yield f"twice: the bad record {_at(place)} is in quarantine {count} times"
    held = {(account, number) for account, number in base.rows("SELECT account_id, quarantine_id FROM hold")}
    told = {_origin(one): one.value for one in shown}
    for topic, partition, offset, key, value, number in rows:
        place = (topic, partition, offset)
        record = said.bad.get(place)
        if record is None:
            continue
        if (record.key, record.value) != (_bytes(key), _bytes(value)):
            yield f"bytes: the bad record {_at(place)} is kept with other bytes"
        if ((record.key or b"").decode(), number) not in held:
            yield f"hold: the account of the bad record {_at(place)} is not on hold"
        if told.get(place) != record.value:
            yield f"unshown: the bad record {_at(place)} is not on {QUARANTINE} as it came"


def _origin(record: Record) -> Place:
    headers = dict(record.headers)
    return (
        headers["guard_origin_topic"].decode(),
        int(headers["guard_origin_partition"]),
        int(headers["guard_origin_offset"]),
    )


def _recalls(said: _Said, base: _Base) -> Iterator[str]:
    """Each settled placement has one recall, no other has any, and the sweep had none to find."""
    rows = base.rows("SELECT account_id, placement_id, swept FROM recall")
    times = Counter((row[0], row[1]) for row in rows)
    due, allowed = _due(said.events)
    for account, placement in sorted(due - times.keys()):
        yield f"unrecalled: {placement} of {account} is settled and has no recall"
    for account, placement in sorted(times.keys() - due - allowed):
        yield f"causeless: {placement} of {account} has a recall and is not settled"
    by_placement = Counter(placement for _account, placement, _swept in rows)
    for placement, count in sorted(by_placement.items()):
        if count > 1:
            yield f"twice: {placement} has {count} recalls"
    for account, placement, swept in rows:
        if swept:
            yield f"late: the recall of {placement} of {account} was missed, and found by a sweep"


@dataclass(slots=True)
class _Debt:
    """What the events say of one account."""

    amount: int = 0
    placement: str = ""
    paid: dict[str, tuple[int, Place]] = field(default_factory=dict)
    returned: dict[str, Place] = field(default_factory=dict)

    def left(self, *, count_returned: bool) -> int:
        """What is owed; where asked, payments count that stood for a while before they came back.

        A payment and its return have one key, so they stand in one partition, in their order.
        """
        return self.amount - sum(
            amount
            for payment, (amount, place) in self.paid.items()
            if payment not in self.returned or (count_returned and place < self.returned[payment])
        )


def _due(events: Mapping[Name, tuple[Record, Json]]) -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """The placements that must have a recall, and those that may: they were settled only until a return."""
    debts: dict[str, _Debt] = defaultdict(_Debt)
    for (account, _source, _id), (record, event) in events.items():
        data, debt = event["data"], debts[account]
        match event["type"]:
            case "collections.debt.referred.v1":
                debt.amount = data["amount"]
            case "collections.placement.opened.v1":
                debt.placement = data["placement_id"]
            case "billing.payment.settled.v1":
                debt.paid[data["payment_id"]] = (data["amount"], record.place)
            case "billing.payment.returned.v1":
                debt.returned[data["payment_id"]] = record.place
    placed = {account: debt for account, debt in debts.items() if debt.amount and debt.placement}
    due = {
        (account, debt.placement)
        for account, debt in placed.items()
        if debt.left(count_returned=False) <= TOLERANCE_MINOR
    }
    allowed = {
        (account, debt.placement)
        for account, debt in placed.items()
        if debt.left(count_returned=True) <= TOLERANCE_MINOR
    }
    return due, allowed


def _published(base: _Base, wire: Iterable[Record]) -> Iterator[str]:
    """Each recall is on the wire, the same bytes under the same id however often, and nothing waits."""
    ids: dict[str, set[str]] = defaultdict(set)
    values: dict[str, set[bytes]] = defaultdict(set)
    for record in wire:
        event = json.loads(record.value or b"")
        if event["type"] == "guard.recall.requested.v1":
            ids[event["data"]["placement_id"]].add(event["data"]["recall_id"])
            values[event["data"]["placement_id"]].add(record.value or b"")
    kept = {row[0]: row[1] for row in base.rows("SELECT placement_id, recall_id FROM recall")}
    for placement in sorted(kept.keys() - ids.keys()):
        yield f"unpublished: the recall of {placement} is not on {RECALLS}"
    for placement in sorted(ids.keys() - kept.keys()):
        yield f"unkept: a recall of {placement} is on {RECALLS} and not in the database"
    for placement in sorted(ids.keys() & kept.keys()):
        if ids[placement] != {kept[placement]}:
            yield f"renamed: the recall of {placement} is on {RECALLS} under another id"
        if len(values[placement]) > 1:
            yield f"reworded: the recall of {placement} is on {RECALLS} in {len(values[placement])} wordings"
    for (waiting,) in base.rows("SELECT count(*) FROM outbox WHERE sent_at IS NULL HAVING count(*) > 0"):
        yield f"waiting: {waiting} records in the outbox were not published"
    for (placement,) in base.rows("SELECT placement_id FROM recall WHERE sent_at IS NULL"):
        yield f"waiting: the recall of {placement} does not count as sent"


def _positions(ends: Mapping[tuple[str, int], int], base: _Base) -> Iterator[str]:
    """Each partition was read to its end, and no stream stands."""
    rows = base.rows(
        "SELECT topic, partition, position FROM stream_position JOIN stream USING (topic, cluster_id, topic_id)"
    )
    kept = {(topic, partition): position for topic, partition, position in rows}
    for place in sorted(ends.keys() | kept.keys()):
        if ends.get(place) != kept.get(place):
            yield f"position: {place[0]}/{place[1]} ends at {ends.get(place)}, and was read to {kept.get(place)}"
    for topic, reason in base.rows("SELECT topic, stopped_reason FROM stream WHERE stopped_reason IS NOT NULL"):
        yield f"stopped: {topic} is not read, {reason}"


def _bytes(value: memoryview | None) -> bytes | None:
    return None if value is None else bytes(value)


def _of(name: Name) -> str:
    account, source, event_id = name
    return f"{source} {event_id} of {account}"


def _at(place: Place) -> str:
    topic, partition, offset = place
    return f"{topic}/{partition} at {offset}"
