"""The account state: one transaction locks the accounts of a batch, gives their facts, saves what follows.

Called by `ingest`, `sweep`, `quarantine requeue` and `why`. The number of statements of a batch is constant,
whatever its size: rows go in by COPY into a temporary table and from there in sets (twice as fast as any
VALUES list, 30 to 60 times single rows).

Locks are taken in one order: events in quarantine by id, accounts by id, then stream positions. The lock on
the account's row is what makes two workers that hold events of one account in different partitions take
turns: whichever is second sees what the first has written. It is taken for accounts without a case too, since
a referral may be on its way in the other worker.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol

import orjson
import sqlalchemy as sa

from domain.account import Account, from_events
from domain.episode import Episode
from domain.events import ContactMade, Event, Origin, RawRecord, Recorded
from domain.heeding import Refused
from domain.recall import RecallRequested, Said
from infra.postgres import contacts, quarantine, received
from infra.postgres import ledger_sql as sql
from infra.postgres.case_rows import answer_row, episode_row, recall_row
from infra.postgres.database import Database, raw

CALLER_LOCK_TIMEOUT_MS = 1_000
"""How long somebody who waits for an answer waits for an account: `ingest` has it for a batch, 4 to 25 ms."""

MoneyColumns = tuple[str, int, str, datetime, str | None, str | None]


class Entry(Protocol):
    """A decoded event as the ledger stores it."""

    account_id: str
    source: str
    id: str
    time: datetime
    origin: Origin
    digest: bytes
    stored: str | None
    money: MoneyColumns | None
    raw: RawRecord

    @property
    def number(self) -> int: ...
    @property
    def topic(self) -> str:
        """On which events of its type come."""

    @property
    def opens_case(self) -> bool: ...


class OutboxRecord(Protocol):
    """A record to publish after the commit."""

    @property
    def account_id(self) -> str: ...
    @property
    def placement_id(self) -> str: ...
    @property
    def agency_id(self) -> str | None:
        """Whom it is for; None for what goes to a topic of ours."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...
    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]: ...


@dataclass(frozen=True, slots=True)
class Codec:
    """How stored payloads become events again, and on which topic a type comes; given by the wire adapter."""

    decode_stored: Callable[[str, int, str | None, MoneyColumns | None], Event]
    topic_of: Callable[[int], str]


@dataclass(slots=True)
class Case:
    """An account whose money can matter to an agency: what it was told, its facts, and what agencies were told."""

    account: Account
    said: Mapping[str, Said]
    events: list[Recorded] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A batch, locked: the cases among its accounts as they were before it, and what each entry is."""

    cases: dict[str, Case]
    fresh: list[int]
    duplicates: list[int]
    conflicts: list[int]


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A record that could not be applied, why, and the accounts to hold."""

    raw: RawRecord
    reason: str
    detail: str
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Move:
    """A partition's position before and after a batch; the commit fails where another worker moved it."""

    topic: str
    topic_id: str
    partition: int
    before: int
    after: int
    bad_run: int = 0


@dataclass(slots=True)
class Outcome:
    """All that one transaction writes beside the ledger itself; `refused` is what had no effect."""

    episodes: list[Episode] = field(default_factory=list)
    recalls: list[RecallRequested] = field(default_factory=list)
    contacts: list[ContactMade] = field(default_factory=list)
    contact_grace: timedelta = timedelta(0)
    refused: list[Refused] = field(default_factory=list)
    outbox: list[tuple[OutboxRecord, str | None]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A recall whose acknowledgement came with this transaction."""

    recall_id: str
    placement_id: str
    agency_id: str
    cause: str
    known_since: datetime
    traceparent: str | None = None
    """The trace of the recall, as it went out."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What became known as a transaction was written: the ids of new events in quarantine, answers, breaches."""

    quarantined: list[int]
    acknowledged: list[Acknowledged]
    breaches: list[contacts.Breach]


class FencedError(Exception):
    """Another worker has moved a position of this batch: it owns the partition, nothing was written."""


class Ledger:
    """The account state in one database."""

    def __init__(self, database: Database, codec: Codec, cluster_id: str) -> None:
        self._database = database
        self._codec = codec
        self._cluster_id = cluster_id

    @contextmanager
    def batch(self, *, lock_timeout_ms: int = 0) -> Iterator[Batch]:
        """One transaction over the accounts of a batch; committed where the block ends.

        Raises LockedError where one of them belongs to another for longer than the time-out; 0 waits.
        """
        with self._database.transaction() as connection:
            if lock_timeout_ms:
                connection.execute(cached_text(sql.LOCK_TIMEOUT), {"milliseconds": str(lock_timeout_ms)})
            yield Batch(connection, self._codec, self._cluster_id)

    def read(self, account_id: str) -> Case | None:
        """One account as it is now, without a lock; None where nothing is known of it."""
        with self._database.transaction() as connection:
            batch = Batch(connection, self._codec, self._cluster_id)
            case = batch.load([account_id])[account_id]
            return case if case.account != Account(account_id) else None

    def held(self, account_id: str) -> int:
        """How many events of this account are in quarantine."""
        with self._database.transaction() as connection:
            found = connection.execute(sa.text(sql.HELD), {"account_id": account_id})
            return int(found.scalar_one())


class Batch:
    """The statements of one transaction, in the order in which they are made."""

    def __init__(self, connection: sa.Connection, codec: Codec, cluster_id: str) -> None:
        self._connection = connection
        self._codec = codec
        self._cluster_id = cluster_id

    @property
    def connection(self) -> sa.Connection:
        """For the stores of this package that read and write in the same transaction."""
        return self._connection

    def lock_and_load(self, entries: Sequence[Entry]) -> Loaded:
        """Lock the accounts, load the cases among them, and add the entries that are new to the ledger."""
        if not entries:
            return Loaded({}, [], [], [])
        first: dict[tuple[str, bytes], int] = {}
        twins: list[tuple[int, int]] = []
        rows = io.StringIO()
        for number, entry in enumerate(entries):
            key = _event_key(entry.source, entry.id)
            original = first.setdefault((entry.account_id, key), number)
            if original != number:
                twins.append((number, original))
            else:
                rows.write(_row(number, key, entry))
        rows.seek(0)
        locked = self._execute(sql.LOCK, accounts=_text_array({entry.account_id for entry in entries}))
        cases = {str(account_id) for account_id, has_case in locked if has_case}
        self._execute(sql.INCOMING)
        with raw(self._connection).cursor() as cursor:
            cursor.copy_expert(sql.COPY, rows)
        opening = {entry.account_id for entry in entries if entry.opens_case}
        loaded = self.load(sorted(cases | opening)) if cases or opening else {}
        if opening - cases:
            self._execute(sql.OPEN_CASES, accounts=sorted(opening - cases))
        known = {int(seq): bytes.fromhex(digest) for seq, digest in self._execute(sql.INSERT)}
        sorted_out = _sorted_out(entries, twins, known, loaded)
        if loaded:  # Of accounts without a case no bytes are kept, and nothing is asked.
            of_cases = (entries[number] for number in sorted_out.fresh if entries[number].account_id in loaded)
            received.keep(self._connection, ((_event_key(one.source, one.id), one) for one in of_cases))
        return sorted_out

    def load(self, account_ids: Sequence[str]) -> dict[str, Case]:
        """The facts of these accounts, and what agencies were told of their placements."""
        facts: dict[str, list[Recorded]] = {account_id: [] for account_id in account_ids}
        for account_id, recorded in self._facts(facts):
            facts[account_id].append(recorded)
        said: dict[str, dict[str, Said]] = {account_id: {} for account_id in account_ids}
        for account_id, placement_id, told, suspended, recalled in self._execute(sql.SAID, accounts=list(facts)):
            said[account_id][placement_id] = Said(told, suspended, recalled)
        return {one: Case(from_events(one, facts[one]), said[one], facts[one]) for one in facts}

    def events(self, account_id: str) -> list[Recorded]:
        """Every event of one account, in the order of their time."""
        return sorted((recorded for _, recorded in self._facts([account_id])), key=lambda one: one.stamp)

    def claim(self, quarantine_ids: Sequence[int]) -> list[quarantine.Held]:
        """Lock these events in quarantine, as far as they wait, oldest first; before any account is locked."""
        return quarantine.claim(self._connection, quarantine_ids)

    def settle(self, applied: Sequence[quarantine.Held], refused: Sequence[quarantine.Refused]) -> None:
        """Say what became of the claimed events: applied and no longer holding anything, or still bad."""
        if applied:
            quarantine.release(self._connection, applied)
        if refused:
            quarantine.refuse(self._connection, refused)

    def kept_before(self, quarantined: Sequence[Quarantined]) -> set[int]:
        """The places of those lines of files that were quarantined once: the same bytes of the same file's line."""
        rows = json_rows(_quarantine_row(number, one) for number, one in enumerate(quarantined))
        return {int(seq) for (seq,) in self._execute(sql.KEPT_BEFORE, rows=rows)}

    def lock(self, account_ids: Iterable[str]) -> None:
        """Lock those of these accounts that there are, in their order."""
        self._execute(sql.LOCK_THESE, accounts=sorted(account_ids))

    def lock_or_make(self, account_ids: Iterable[str]) -> None:
        """Lock these accounts, in their order, and make those that are new."""
        self._execute(sql.LOCK, accounts=_text_array(account_ids))

    def save(self, outcome: Outcome) -> Saved:
        """Write what follows from the batch, and move its positions.

        Raises FencedError where another worker has moved one of them.
        """
        if outcome.episodes:
            episodes = [episode_row(episode) for episode in outcome.episodes]
            self._execute(sql.SAVE_PLACEMENTS, rows=json_rows(episodes))
        if outcome.recalls:
            self._execute(sql.SAVE_RECALLS, rows=json_rows(recall_row(one) for one in outcome.recalls))
        acknowledged = self._answer(outcome.episodes) if outcome.episodes else []
        breaches = contacts.keep(self._connection, outcome.contacts, outcome.contact_grace)
        if outcome.outbox:
            self._execute(sql.SAVE_OUTBOX, rows=json_rows(_outbox_row(*one) for one in outcome.outbox))
            self._execute(sql.WAKE)
        quarantined = self._quarantine(outcome.quarantined) if outcome.quarantined else []
        if outcome.moves:
            self.move(outcome.moves)
        return Saved(quarantined, acknowledged, breaches)

    def _answer(self, episodes: Iterable[Episode]) -> list[Acknowledged]:
        changed = self._execute(sql.ANSWER_RECALLS, rows=json_rows(answer_row(one) for one in episodes))
        return [
            Acknowledged(row[0], row[1], row[2], row[3], row[4], _traceparent(row[6])) for row in changed if row[5]
        ]

    def move(self, moves: Sequence[Move]) -> None:
        """Move positions from where they were; raises FencedError where one was not there any more."""
        rows = [
            {
                "topic": one.topic,
                "topic_id": one.topic_id,
                "partition": one.partition,
                "before": one.before,
                "after": one.after,
                "bad_run": one.bad_run,
            }
            for one in moves
        ]
        moved = self._execute(sql.MOVE, rows=json_rows(rows), cluster_id=self._cluster_id)
        if moved.rowcount != len(rows):
            raise FencedError(f"{len(rows) - moved.rowcount} of {len(rows)} positions belong to another worker")

    def _facts(self, account_ids: Iterable[str]) -> Iterator[tuple[str, Recorded]]:
        self._execute(sql.BY_KEY)
        for row in self._execute(sql.FACTS, accounts=_text_array(account_ids)):
            money = (row[9], row[10], row[11], row[12], row[13], row[14]) if row[9] is not None else None
            event = self._codec.decode_stored(row[0], row[1], row[15], money)
            topic = row[6] or self._codec.topic_of(row[1])
            yield row[0], Recorded(event, row[2], row[3], row[4], Origin(topic, row[7], row[8], row[5]))

    def _quarantine(self, quarantined: list[Quarantined]) -> list[int]:
        rows = [_quarantine_row(number, one) for number, one in enumerate(quarantined)]
        made = {int(seq): int(made_id) for seq, made_id in self._execute(sql.QUARANTINE, rows=json_rows(rows))}
        holds = [
            {"account_id": account_id, "quarantine_id": made[number]}
            for number, one in enumerate(quarantined)
            for account_id in one.accounts
        ]
        self._execute(sql.HOLD, rows=json_rows(holds))
        return [made[number] for number in range(len(quarantined))]

    def _execute(
        self, statement: str, **parameters: object
    ) -> sa.CursorResult[*tuple[Any, ...]]:  # `Any`: rows are untyped.
        return self._connection.execute(cached_text(statement), parameters)


cached_text = functools.cache(sa.text)
"""The statements are few; each is searched for its parameters once (0.1 ms)."""


def _sorted_out(
    entries: Sequence[Entry], twins: list[tuple[int, int]], known: dict[int, bytes], cases: dict[str, Case]
) -> Loaded:
    """Tell new entries from those known before (`known`: their stored digests) or twice in the batch."""
    loaded = Loaded(cases, [], [], [])
    if not twins and not known:
        return Loaded(cases, list(range(len(entries))), [], [])
    original_of = dict(twins)
    for number, entry in enumerate(entries):
        twin = original_of.get(number)
        stored = known.get(number) if twin is None else known.get(twin, entries[twin].digest)
        if stored is None:
            loaded.fresh.append(number)
        elif stored == entry.digest:
            loaded.duplicates.append(number)
        else:
            loaded.conflicts.append(number)
    return loaded


def _event_key(source: str, event_id: str) -> bytes:
    return blake2b(f"{source}\0{event_id}".encode(), digest_size=16).digest()


def _text_array(texts: Iterable[str]) -> str:
    """An array as one literal: as a list, the server would parse thousands of expressions (2 ms)."""
    quoted = [text.replace("\\", "\\\\").replace('"', '\\"') for text in texts]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"


def _row(number: int, key: bytes, entry: Entry) -> str:
    """A line for COPY, in which nothing between two tabs is NULL: no text that we keep is empty."""
    origin = entry.origin
    topic = "" if origin.topic == entry.topic else origin.topic
    money = "\t\t\t\t\t"
    if entry.money is not None:
        money_id, amount, currency, at, debt_id, contract_id = entry.money
        money = f"{money_id}\t{amount}\t{currency}\t{at.isoformat()}\t{debt_id or ''}\t{contract_id or ''}"
    row = (
        f"{number}\t{entry.account_id}\t{key.hex()}\t{entry.digest.hex()}\t{entry.number}\t{entry.source}"
        f"\t{entry.id}\t{entry.time.isoformat()}\t{origin.received_at.isoformat()}\t{topic}\t{origin.partition}"
        f"\t{origin.offset}\t{money}\t{entry.stored or ''}\n"
    )
    # Only the backslash means something to COPY: control characters are refused in ids, and escaped in JSON.
    return row.replace("\\", "\\\\") if "\\" in row else row


def json_rows(rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as one value, which a statement takes apart by `jsonb_to_recordset`."""
    return orjson.dumps(list(rows)).decode()


def _outbox_row(record: OutboxRecord, recall_id: str | None) -> dict[str, object]:
    return {
        "account_id": record.account_id,
        "placement_id": record.placement_id,
        "recall_id": recall_id,
        "agency_id": record.agency_id,
        "topic": record.topic,
        "key": record.key.hex(),
        "value": record.value.hex(),
        "headers": _header_pairs(record.headers),
    }


def _quarantine_row(number: int, one: Quarantined) -> dict[str, object]:
    origin = one.raw.origin
    return {
        "seq": number,
        "origin_topic": origin.topic,
        "origin_partition": origin.partition,
        "origin_offset": origin.offset,
        "received_at": origin.received_at,
        "key": one.raw.key.hex() if one.raw.key is not None else None,
        "value": one.raw.value.hex() if one.raw.value is not None else None,
        "headers": _header_pairs(one.raw.headers),
        "reason": one.reason,
        "detail": one.detail.replace("\0", ""),
    }


def _traceparent(headers: Iterable[Sequence[str]] | None) -> str | None:
    """The trace context among the headers of a record in the outbox, which are kept as pairs."""
    found = [bytes.fromhex(value).decode("latin-1") for name, value in headers or () if name == "traceparent"]
    return found[0] if found else None


def _header_pairs(headers: Iterable[tuple[str, bytes]]) -> list[list[str]]:
    # A name may hold the one character that jsonb refuses; a bad record must not fail to be set aside for it.
    return [[name.replace("\0", ""), value.hex()] for name, value in headers]
