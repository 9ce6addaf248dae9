"""What waits to be delivered to agencies by channels other than Kafka: claimed by lane, every attempt kept.

Called by `consumers.lane`. A lane is an agency and a channel; any number of dispatchers share each. A claim is a
lease, as in `infra.postgres.outbox`, and writes down the attempt before it is made: whoever dies in the middle
leaves an attempt without an end, never one that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.agency import ChannelKind
from domain.delivery import Attempt
from domain.patience import CLOSED, Circuit
from infra.postgres.database import Database
from infra.postgres.ledger import cached_text, json_rows
from infra.postgres.outbox import RECALLS_SENT

STUCK_AFTER = 5
"""Attempts: by then some 15 seconds have passed, and what is wrong is no chance."""

KEPT_MAX_BYTES = 65_536
"""Of each side of an attempt: our messages have some 1,000, and channels cap what agencies answer."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One way to one agency. `is_first` takes also what names no channel."""

    agency_id: str
    kind: ChannelKind
    is_first: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to deliver; `known_since` is when its recall could first be known, by the broker's clock."""

    account_id: str
    outbox_id: int
    placement_id: str
    recall_id: str | None
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    attempt: int
    cause: str | None
    known_since: datetime | None
    is_again: bool


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of one: `pause` is how long to wait before the next attempt, None where it was delivered."""

    delivery: Delivery
    attempt: Attempt
    pause: timedelta | None


class Deliveries:
    """The deliveries of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, lane: Lane, limit: int, *, lease_seconds: float) -> list[Delivery]:
        """Take up to `limit` messages of a lane that are due, oldest first, and write down their attempts."""
        wanted = {
            "agency": lane.agency_id,
            "channel": lane.kind,
            "is_first": lane.is_first,
            "limit": limit,
            "lease": lease_seconds,
        }
        with self._database.transaction() as connection:
            rows = connection.execute(cached_text(_CLAIM), wanted).all()
        claimed = [
            Delivery(
                account_id=row[0],
                outbox_id=row[1],
                placement_id=row[2],
                recall_id=row[3],
                topic=row[4],
                key=bytes(row[5]),
                value=bytes(row[6]),
                headers=tuple((name, bytes.fromhex(value)) for name, value in row[7]),
                attempt=row[8],
                is_again=row[9] != "",
                cause=row[10],
                known_since=row[11],
            )
            for row in rows
        ]
        return sorted(claimed, key=lambda one: one.outbox_id)

    def finish(self, lane: Lane, tried: Sequence[Tried]) -> None:
        """Keep what came of these, byte for byte; mark what was delivered, and say when the rest is due.

        Where the agency was reached its circuit is closed, whoever opened it, and all that waits is due at once.
        """
        rows = json_rows(_finished_row(one) for one in tried)
        done = [one.delivery for one in tried if one.attempt.delivered]
        keys = {"accounts": [one.account_id for one in done], "ids": [one.outbox_id for one in done]}
        with self._database.transaction() as connection:
            connection.execute(cached_text(_FINISH), {"rows": rows})
            connection.execute(cached_text(_FINISH_ATTEMPTS), {"rows": rows})
            if done:
                connection.execute(cached_text(RECALLS_SENT), keys)
            if any(one.attempt.delivered or one.attempt.refused for one in tried):
                names = _names(lane)
                if connection.execute(cached_text(_CLOSE_CIRCUIT), names).rowcount:
                    connection.execute(cached_text(_ALL_DUE), names)

    def circuit(self, lane: Lane) -> Circuit:
        """How the last attempts of this lane went, whoever made them."""
        with self._database.transaction() as connection:
            row = connection.execute(cached_text(_CIRCUIT), _names(lane)).one_or_none()
        return CLOSED if row is None else Circuit(row[0], row[1], row[2])

    def keep_circuit(self, lane: Lane, circuit: Circuit, now: datetime) -> None:
        """Remember how they went."""
        values = {
            **_names(lane),
            "failures": circuit.failures,
            "open_until": circuit.open_until,
            "last_error": circuit.last_error,
            "now": now,
        }
        with self._database.transaction() as connection:
            connection.execute(cached_text(_KEEP_CIRCUIT), values)

    def keep_lanes(self, lanes: Collection[Lane]) -> None:
        """These lanes there are: of no others a circuit is kept, and what waits in one goes the first way."""
        names = {"agencies": [one.agency_id for one in lanes], "channels": [str(one.kind) for one in lanes]}
        with self._database.transaction() as connection:
            connection.execute(sa.text(_FORGET_CIRCUITS), names)
            connection.execute(sa.text(_FIRST_WAY), names)

    def standing(self) -> list[Standing]:
        """How each lane stands that has something waiting, or a circuit."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(_STANDING), {"stuck_after": STUCK_AFTER})
            return [Standing(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Standing:
    """One lane: what waits in it, since when, and its circuit. `channel` is '' for the agency's first.

    `stuck` is how much of it was tried `STUCK_AFTER` times or more.
    """

    agency_id: str
    channel: str
    waiting: int
    oldest: datetime | None
    stuck: int
    failures: int
    open_until: datetime | None
    last_error: str


def _names(lane: Lane) -> dict[str, object]:
    return {"agency": lane.agency_id, "channel": lane.kind, "is_first": lane.is_first}


def _finished_row(tried: Tried) -> dict[str, object]:
    delivery, attempt = tried.delivery, tried.attempt
    return {
        "account_id": delivery.account_id,
        "outbox_id": delivery.outbox_id,
        "attempt": delivery.attempt,
        "delivered": attempt.delivered,
        "target": _text(attempt.target),
        "detail": _text(attempt.detail),
        "request": attempt.request[:KEPT_MAX_BYTES].hex(),
        "response": attempt.response[:KEPT_MAX_BYTES].hex(),
        "pause": None if tried.pause is None else tried.pause.total_seconds(),
    }


def _text(words: str) -> str:
    """What jsonb takes: the one character that it refuses is left out."""
    return words.replace("\0", "")


def elsewhere(lanes: Iterable[Lane]) -> frozenset[str]:
    """The agencies whose first channel is one of these lanes."""
    return frozenset(lane.agency_id for lane in lanes if lane.is_first)


# The oldest unsent message of each placement in this lane that is due and that nobody holds: a lease on each, and
# its attempt written down. A recall waits for nothing but what is on its way: a balance that the agency will not
# take must not keep it from hearing that it has to stop. What it passes is not sent any more.
_CLAIM = """
WITH due AS (
    SELECT account_id, outbox_id FROM outbox o
    WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id = :agency
      AND (channel = :channel OR (channel = '' AND :is_first))
      AND (due_at IS NULL OR due_at <= clock_timestamp())
      AND (claimed_until IS NULL OR claimed_until < clock_timestamp())
      AND NOT EXISTS (
          SELECT FROM outbox other
          WHERE other.account_id = o.account_id AND other.placement_id = o.placement_id
            AND other.channel = o.channel AND other.sent_at IS NULL AND other.superseded_at IS NULL
            AND CASE WHEN other.outbox_id > o.outbox_id THEN o.recall_id IS NULL AND other.recall_id IS NOT NULL
                     WHEN other.outbox_id < o.outbox_id THEN o.recall_id IS NULL OR other.recall_id IS NOT NULL
                                                             OR other.claimed_until >= clock_timestamp()
                     ELSE false END)
    ORDER BY outbox_id LIMIT :limit FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET claimed_until = clock_timestamp() + make_interval(secs => :lease),
                        attempts = attempts + 1
    FROM due WHERE o.account_id = due.account_id AND o.outbox_id = due.outbox_id
    RETURNING o.account_id, o.outbox_id, o.placement_id, o.recall_id, o.topic, o.key, o.value, o.headers,
              o.attempts, o.again, o.channel
), begun AS (
    INSERT INTO delivery_attempt (account_id, outbox_id, attempt, channel, began_at)
    SELECT account_id, outbox_id, attempts, :channel, clock_timestamp() FROM claimed
), passed AS (
    UPDATE outbox o SET superseded_at = clock_timestamp()
    FROM claimed c
    WHERE c.recall_id IS NOT NULL AND o.account_id = c.account_id AND o.placement_id = c.placement_id
      AND o.channel = c.channel AND o.outbox_id < c.outbox_id AND o.recall_id IS NULL
      AND o.sent_at IS NULL AND o.superseded_at IS NULL
      AND (o.claimed_until IS NULL OR o.claimed_until < clock_timestamp())
)
SELECT c.account_id, c.outbox_id, c.placement_id, c.recall_id, c.topic, c.key, c.value, c.headers,
       c.attempts, c.again, r.cause, r.known_since
FROM claimed c
LEFT JOIN recall r ON r.account_id = c.account_id AND r.placement_id = c.placement_id
                  AND r.recall_id = c.recall_id"""

# What was delivered stays so, also where a second dispatcher, after a lost lease, was less lucky.
_FINISH = """
UPDATE outbox o SET sent_at = CASE WHEN r.delivered THEN clock_timestamp() END,
                    due_at = clock_timestamp() + make_interval(secs => r.pause), claimed_until = NULL,
                    last_error = CASE WHEN NOT r.delivered THEN r.detail END
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, outbox_id bigint, delivered boolean, detail text, pause double precision)
WHERE o.account_id = r.account_id AND o.outbox_id = r.outbox_id AND o.sent_at IS NULL"""

_FINISH_ATTEMPTS = """
UPDATE delivery_attempt a SET ended_at = clock_timestamp(), delivered = r.delivered, target = r.target,
                              detail = r.detail, request = decode(r.request, 'hex'),
                              response = decode(r.response, 'hex')
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, outbox_id bigint, attempt integer, delivered boolean, target text, detail text,
    request text, response text)
WHERE a.account_id = r.account_id AND a.outbox_id = r.outbox_id AND a.attempt = r.attempt"""

_CIRCUIT = """
SELECT failures, open_until, last_error FROM agency_circuit WHERE agency_id = :agency AND channel = :channel"""

_KEEP_CIRCUIT = """
INSERT INTO agency_circuit (agency_id, channel, is_first, failures, open_until, last_error, changed_at)
VALUES (:agency, :channel, :is_first, :failures, :open_until, :last_error, :now)
ON CONFLICT (agency_id, channel) DO UPDATE SET
    is_first = excluded.is_first, failures = excluded.failures, open_until = excluded.open_until,
    last_error = excluded.last_error, changed_at = excluded.changed_at"""

_CLOSE_CIRCUIT = """
UPDATE agency_circuit SET failures = 0, open_until = NULL, last_error = '', changed_at = clock_timestamp()
WHERE agency_id = :agency AND channel = :channel AND failures > 0"""

_ALL_DUE = """
UPDATE outbox SET due_at = NULL
WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id = :agency
  AND (channel = :channel OR (channel = '' AND :is_first)) AND due_at > clock_timestamp()"""

_FORGET_CIRCUITS = """
DELETE FROM agency_circuit WHERE (agency_id, channel) NOT IN (
    SELECT * FROM unnest(CAST(:agencies AS text[]), CAST(:channels AS text[])))"""

_FIRST_WAY = """
UPDATE outbox SET channel = ''
WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL AND channel <> ''
  AND (agency_id, channel) NOT IN (SELECT * FROM unnest(CAST(:agencies AS text[]), CAST(:channels AS text[])))"""

_STANDING = """
WITH waiting AS (
    SELECT agency_id, CASE WHEN o.channel <> '' THEN o.channel ELSE coalesce((
               SELECT c.channel FROM agency_circuit c WHERE c.agency_id = o.agency_id AND c.is_first LIMIT 1), '')
           END AS channel, created_at, attempts
    FROM outbox o WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL
), lanes AS (
    SELECT agency_id, channel, count(*) AS records, min(created_at) AS oldest,
           count(*) FILTER (WHERE attempts >= :stuck_after) AS stuck
    FROM waiting GROUP BY agency_id, channel
)
SELECT agency_id, channel, coalesce(l.records, 0), l.oldest, coalesce(l.stuck, 0), coalesce(c.failures, 0),
       c.open_until, coalesce(c.last_error, '')
FROM lanes l FULL JOIN agency_circuit c USING (agency_id, channel)
ORDER BY agency_id, channel"""
