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
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any, Protocol

import sqlalchemy as sa

from domain.account import Account, from_events
from domain.episode import Episode
from domain.events import Event, Origin, RawRecord, Recorded
from domain.recall import RecallRequested, Said
from infra.postgres import ledger_sql as sql
from infra.postgres import quarantine
from infra.postgres.database import Database, raw

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
    """An account whose money can matter to an agency: its facts, and what agencies were told."""

    account: Account
    said: Mapping[str, Said]


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
    """All that one transaction writes beside the ledger itself."""

    episodes: list[Episode] = field(default_factory=list)
    recalls: list[RecallRequested] = field(default_factory=list)
    outbox: list[tuple[OutboxRecord, str | None]] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)


class FencedError(Exception):
    """Another worker has moved a position of this batch: it owns the partition, nothing was written."""


class Ledger:
    """The account state in one database."""

    def __init__(self, database: Database, codec: Codec, cluster_id: str) -> None:
        self._database = database
        self._codec = codec
        self._cluster_id = cluster_id

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """One transaction over the accounts of a batch; committed where the block ends."""
        with self._database.transaction() as connection:
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
        return _sorted_out(entries, twins, known, loaded)

    def load(self, account_ids: Sequence[str]) -> dict[str, Case]:
        """The facts of these accounts, and what agencies were told of their placements."""
        facts: dict[str, list[Recorded]] = {account_id: [] for account_id in account_ids}
        for account_id, recorded in self._facts(account_ids):
            facts[account_id].append(recorded)
        said: dict[str, dict[str, Said]] = {account_id: {} for account_id in account_ids}
        for account_id, placement_id, told, suspended, recalled in self._execute(sql.SAID, accounts=account_ids):
            said[account_id][placement_id] = Said(told, suspended, recalled)
        return {one: Case(from_events(one, facts[one]), said[one]) for one in account_ids}

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

    def lock(self, account_ids: Sequence[str]) -> None:
        """Lock these accounts, in their order."""
        self._execute(sql.LOCK_THESE, accounts=sorted(account_ids))

    def save(self, outcome: Outcome) -> list[int]:
        """Write what follows from the batch, and move its positions. Returns the new quarantine ids.

        Raises FencedError where another worker has moved one of them.
        """
        if outcome.episodes:
            episodes = [_episode_row(episode) for episode in outcome.episodes]
            self._execute(sql.SAVE_PLACEMENTS, rows=_rows(episodes))
        if outcome.recalls:
            self._execute(sql.SAVE_RECALLS, rows=_rows(_recall_row(one) for one in outcome.recalls))
        if outcome.episodes:
            self._execute(sql.ANSWER_RECALLS, rows=_rows(_answer_row(one) for one in outcome.episodes))
        if outcome.outbox:
            self._execute(sql.SAVE_OUTBOX, rows=_rows(_outbox_row(*one) for one in outcome.outbox))
            self._execute(sql.WAKE)
        quarantined = self._quarantine(outcome.quarantined) if outcome.quarantined else []
        if outcome.moves:
            self.move(outcome.moves)
        return quarantined

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
        moved = self._execute(sql.MOVE, rows=_rows(rows), cluster_id=self._cluster_id)
        if moved.rowcount != len(rows):
            raise FencedError(f"{len(rows) - moved.rowcount} of {len(rows)} positions belong to another worker")

    def _facts(self, account_ids: Sequence[str]) -> Iterator[tuple[str, Recorded]]:
        self._execute(sql.BY_KEY)
        for row in self._execute(sql.FACTS, accounts=_text_array(account_ids)):
            money = (row[9], row[10], row[11], row[12], row[13], row[14]) if row[9] is not None else None
            event = self._codec.decode_stored(row[0], row[1], row[15], money)
            topic = row[6] or self._codec.topic_of(row[1])
            yield row[0], Recorded(event, row[2], row[3], row[4], Origin(topic, row[7], row[8], row[5]))

    def _quarantine(self, quarantined: list[Quarantined]) -> list[int]:
        rows = [_quarantine_row(number, one) for number, one in enumerate(quarantined)]
        made = {int(seq): int(made_id) for seq, made_id in self._execute(sql.QUARANTINE, rows=_rows(rows))}
        holds = [
            {"account_id": account_id, "quarantine_id": made[number]}
            for number, one in enumerate(quarantined)
            for account_id in one.accounts
        ]
        self._execute(sql.HOLD, rows=_rows(holds))
        return [made[number] for number in range(len(quarantined))]

    def _execute(
        self, statement: str, **parameters: object
    ) -> sa.CursorResult[*tuple[Any, ...]]:  # `Any`: rows are untyped.
        return self._connection.execute(_text(statement), parameters)


_text = functools.cache(sa.text)
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


def _rows(rows: Iterable[Mapping[str, object]]) -> str:
    return json.dumps(list(rows), default=_plain)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"no column takes a {type(value).__name__}")


def _episode_row(episode: Episode) -> dict[str, object]:
    opened = episode.opened
    return {
        "account_id": opened.account_id,
        "placement_id": opened.placement_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "amount": opened.amount,
        "currency": opened.currency,
        "placed_at": opened.placed_at,
        "guarded": episode.guarded,
        "told": episode.said.told,
        "suspended": episode.said.suspended,
        "accepted_at": episode.accepted_at,
        "closed_at": episode.closed_at,
        "is_open": episode.is_open,
    }


def _answer_row(episode: Episode) -> dict[str, object]:
    rejected = episode.rejected
    return {
        "account_id": episode.opened.account_id,
        "placement_id": episode.opened.placement_id,
        "acknowledged_at": episode.acknowledged_at,
        "rejected_at": rejected.rejected_at if rejected else None,
        "rejection": rejected.reason.replace("\0", "") if rejected else None,
    }


def _recall_row(recall: RecallRequested) -> dict[str, object]:
    opened, noticed = recall.placement, recall.noticed_by
    return {
        "account_id": opened.account_id,
        "placement_id": opened.placement_id,
        "recall_id": recall.recall_id,
        "debt_id": opened.debt_id,
        "agency_id": opened.agency_id,
        "reason": recall.reason,
        "cause": recall.cause,
        "outstanding": recall.outstanding,
        "currency": recall.currency,
        "requested_at": recall.requested_at,
        "acknowledge_by": recall.acknowledge_by,
        "trigger_source": recall.trigger.source,
        "trigger_id": recall.trigger.id,
        "paid_at": recall.paid_at,
        "known_since": (noticed or recall.trigger).origin.received_at,
        "swept": noticed is None,
    }


def _outbox_row(record: OutboxRecord, recall_id: str | None) -> dict[str, object]:
    return {
        "account_id": record.account_id,
        "placement_id": record.placement_id,
        "recall_id": recall_id,
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


def _header_pairs(headers: Iterable[tuple[str, bytes]]) -> list[list[str]]:
    # A name may hold the one character that jsonb refuses; a bad record must not fail to be set aside for it.
    return [[name.replace("\0", ""), value.hex()] for name, value in headers]
