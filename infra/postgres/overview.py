"""How everything stands now, read in one snapshot: the open recalls, those of a day, and what was answered.

Called by the console's first page, at most every half second in a process, however many look. A constant number of
statements, each by an index; what grows with the traffic of a day is read up to a limit, and says so where it was
reached. Takes no lock and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from domain.recall import OPEN, RecallStage
from domain.verdict import Paid
from infra.postgres import overview_sql as sql
from infra.postgres.database import Database
from infra.postgres.history import SNAPSHOT
from infra.postgres.ledger import cached_text

SLOT = timedelta(minutes=30)
DAY_SLOTS = 48

DAY_MAX_RECALLS = 50_000
"""Of a day, the newest: reading so many takes a tenth of a second; a creditor with more is told that it is so."""

DAY_MAX_QUESTIONS = 50_000
"""As above: a night's file may be larger."""

QUARANTINE_MAX = 10_000
"""Events and accounts that are counted: beyond that the number changes nothing any more."""

FIRST_RECALLS_MAX = 100
"""Open recalls that are read with their deliveries, the one requested first first."""

DEADLINE_SECONDS = 5.0
"""For all of it: a hundred times what it takes on a large state."""

STAGES = ("requested", "sent", "acknowledged")
"""What is timed, from when the recall could be known."""


@dataclass(frozen=True, slots=True)
class Latency:
    """How long it took, in seconds: of so many, half, 95 and 99 of 100 took no longer than this."""

    recalls: int
    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Funnel:
    """Recalls requested in some time: how many came how far since, where they stand now, how long it took.

    A stage that none has reached has no latency.
    """

    requested: int
    sent: int
    acknowledged: int
    rejected: int
    overdue: int
    escalated: int
    taken_over: int
    closed: int
    now: Mapping[RecallStage, int]
    latencies: Mapping[str, Latency]


COUNTED = ("requested", "sent", "acknowledged", "rejected", "overdue", "escalated", "taken_over", "closed")
"""What a funnel counts of: each stage that a recall may have come to."""

NO_FUNNEL = Funnel(0, 0, 0, 0, 0, 0, 0, 0, {}, {})


@dataclass(frozen=True, slots=True)
class Day:
    """The recalls that were requested since an instant, by half hour and by agency. `is_cut`: only the newest."""

    since: datetime
    all: Funnel
    slots: Mapping[int, Funnel]
    agencies: Mapping[str, Funnel]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """The recalls that are open, whenever they were requested."""

    paid: Paid
    states: Mapping[RecallStage, int]
    agencies: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class OpenRecall:
    """One that is open. `strikes_at` is when its clock strikes next.

    `tries_at` is when it is tried next, where something of it waits to be sent; what has passed is at once.
    """

    account_id: str
    placement_id: str
    recall_id: str
    agency_id: str
    state: RecallStage
    is_paid: bool
    known_since: datetime
    acknowledge_by: datetime
    strikes_at: datetime | None
    rejection: str | None
    taken_over_by: str | None
    attempts: int
    tries_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Way:
    """One channel to an agency that failed lately. Nothing is sent by it before `open_until`."""

    agency_id: str
    channel: str
    failures: int
    open_until: datetime | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Partition:
    """How far one partition of a registered stream is read. A stream that is stopped says why."""

    topic: str
    topic_id: str
    partition: int
    position: int
    moved_at: datetime
    stopped: str | None


@dataclass(frozen=True, slots=True)
class Questions:
    """The answers of a day by decision. `is_cut`: only the newest, and `since` is the oldest of them."""

    since: datetime
    answers: Mapping[str, int]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What waits in quarantine, since when, and how many accounts it holds. `is_cut`: it is that and more."""

    events: int
    oldest: datetime | None
    accounts: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """How everything stood at an instant."""

    at: datetime
    day: Day
    opened: Opened
    first: tuple[OpenRecall, ...]
    ways: tuple[Way, ...]
    partitions: tuple[Partition, ...]
    questions: Questions
    quarantined: Quarantined


class Overviews:
    """What can be seen of one database at a glance."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self, now: datetime) -> Overview:
        """How everything stands. Raises DatabaseUnavailableError."""
        since = day_before(now)
        names = {
            "since": since,
            "slot": SLOT.total_seconds(),
            "now": now,
            "open": list(OPEN),
            "first": FIRST_RECALLS_MAX,
            "recalls": DAY_MAX_RECALLS,
            "questions": DAY_MAX_QUESTIONS,
            "quarantine": QUARANTINE_MAX,
        }
        with self._database.transaction(deadline_seconds=DEADLINE_SECONDS) as connection:
            connection.execute(sa.text(SNAPSHOT))
            found = {
                name: connection.execute(cached_text(text), names).mappings().all()
                for name, text in sql.ALL.items()
            }
        return Overview(
            at=now,
            day=_day(found["day"], since),
            opened=_opened(found["opened"]),
            first=tuple(OpenRecall(**{**row, "state": RecallStage(row["state"])}) for row in found["first"]),
            ways=tuple(Way(**row) for row in found["ways"]),
            partitions=tuple(Partition(**row) for row in found["partitions"]),
            questions=_questions(found["questions"], since),
            quarantined=_quarantined(found["quarantined"][0]),
        )


def day_before(now: datetime) -> datetime:
    """Where the day that ends now begins: 48 half hours before the one that is under way."""
    seconds = int(now.timestamp() // SLOT.total_seconds() * SLOT.total_seconds())
    return datetime.fromtimestamp(seconds, now.tzinfo) - DAY_SLOTS * SLOT


Row = sa.RowMapping


def _day(rows: Sequence[Row], since: datetime) -> Day:
    total, slots, agencies = NO_FUNNEL, {}, {}
    for row in rows:
        if row["slot"] is not None:
            slots[row["slot"]] = _funnel(row)
        elif row["agency_id"] is not None:
            agencies[row["agency_id"]] = _funnel(row)
        else:
            total = _funnel(row)
    return Day(since, total, slots, agencies, is_cut=total.requested >= DAY_MAX_RECALLS)


def _funnel(row: Row) -> Funnel:
    now = {stage: row[f"now_{stage}"] for stage in RecallStage if row[f"now_{stage}"]}
    latencies = {
        stage: Latency(row[stage], *row[f"{stage}_took"]) for stage in STAGES if row[f"{stage}_took"] is not None
    }
    return Funnel(**{name: row[name] for name in COUNTED}, now=now, latencies=latencies)


def _opened(rows: Sequence[Row]) -> Opened:
    paid, states, agencies = Paid(0, None), {}, {}
    for row in rows:
        if row["state"] is not None:
            states[RecallStage(row["state"])] = row["recalls"]
        elif row["agency_id"] is not None:
            agencies[row["agency_id"]] = row["recalls"]
        else:
            paid = Paid(row["customers"], row["since"], row["not_sent"], row["not_sent_since"], row["to_act"])
    return Opened(paid, states, agencies)


def _questions(rows: Sequence[Row], since: datetime) -> Questions:
    answers = {row["decision"]: row["answers"] for row in rows}
    is_cut = sum(answers.values()) >= DAY_MAX_QUESTIONS
    return Questions(min(row["since"] for row in rows) if is_cut else since, answers, is_cut)


def _quarantined(row: Row) -> Quarantined:
    return Quarantined(**row, is_cut=max(row["events"], row["accounts"]) >= QUARANTINE_MAX)
