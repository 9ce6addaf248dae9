"""Every metric of the guard: one row each, with its kind, labels, unit and the roles that move it.

`infra.metrics` makes a process's metrics of these rows; docs/metrics.md is written from them, and the alert rules,
the dashboard and the runbook are held to them by tests. Never a customer's or account's id in a label.

`python -m infra.metrics_list` prints docs/metrics.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

LATENCY_BUCKETS_SECONDS = (
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
    3600.0,
    21600.0,
    86400.0,
)
"""From what the guard aims at (60 ms) to what the old world takes (a day)."""

ANSWER_BUCKETS_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""From an idle house to a question's limit; 0.02 is what is aimed at."""


class Kind(StrEnum):
    """How a metric moves. `READ` is a gauge that the database is asked for when it is scraped."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    READ = "read"


EVERY_ROLE = ("ingest", "dispatch", "sweep", "api")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: what it is called, how it moves, what tells its series apart, who moves it, and what it says."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    roles: tuple[str, ...]
    says: str
    buckets: tuple[float, ...] = ()

    @property
    def type(self) -> str:
        """Its type, as Prometheus has it."""
        return "gauge" if self.kind is Kind.READ else str(self.kind)

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which it is scraped."""
        return tuple(f"{self.name}{end}" for end in ("_bucket", "_sum", "_count")) if self.buckets else (self.name,)


RECALL_LATENCY = Metric(
    "guard_recall_latency_seconds", Kind.HISTOGRAM, ("stage", "agency", "cause"), ("ingest", "dispatch", "api"),
    "From the broker's time of the event after which it could be known, to the recall `requested`, `sent` and"
    " `acknowledged`.", LATENCY_BUCKETS_SECONDS,
)  # fmt: skip
RECALLS_OPEN = Metric(
    "guard_recalls_open", Kind.READ, ("agency", "state"), EVERY_ROLE,
    "Recalls that are neither acknowledged nor of a closed placement, by where they stand.",
)  # fmt: skip
OLDEST_UNRECALLED = Metric(
    "guard_oldest_unrecalled_paid_placement_seconds", Kind.READ, (), EVERY_ROLE,
    "Of the placements that were paid and whose recall is not sent yet: since when the first could have been"
    " recalled. 0 where there are none; not there at all where the database does not answer.",
)  # fmt: skip
RECALLS_OVERDUE = Metric(
    "guard_recalls_overdue", Kind.READ, ("agency",), EVERY_ROLE,
    "Of the open recalls those past their deadline that nobody answered or took over.",
)  # fmt: skip
RECALLS_PASSED_DEADLINE = Metric(
    "guard_recalls_passed_deadline_total", Kind.COUNTER, ("agency",), ("sweep",),
    "Recalls that nobody answered in time.",
)  # fmt: skip
CONTACTS_AFTER_RECALL = Metric(
    "guard_contacts_after_recall_total", Kind.COUNTER, ("agency",), EVERY_ROLE,
    "Contacts with customers after the recall was sent, and the policy's grace.",
)  # fmt: skip
LAST_CONTACT_AFTER_RECALL = Metric(
    "guard_contact_after_recall_last_timestamp_seconds", Kind.READ, ("agency",), EVERY_ROLE,
    "When the last such contact was found, of the last seven days. Unlike the counter it is there at the first one,"
    " and outlives a restart.",
)  # fmt: skip
AGENCY_EVENTS_REFUSED = Metric(
    "guard_agency_events_refused_total", Kind.COUNTER, ("agency", "reason"), ("ingest", "dispatch", "api"),
    "What agencies said of a placement without effect, by who has the placement.",
)  # fmt: skip
UNGUARDED = Metric(
    "guard_unguarded_placements_total", Kind.COUNTER, ("agency",), ("ingest", "api"),
    "Placements that name no clearance: somebody placed without asking.",
)  # fmt: skip
CLEARANCES = Metric(
    "guard_clearances_total", Kind.COUNTER, ("decision", "reason"), ("api",),
    "Answers before a transfer, by their first reason.",
)  # fmt: skip
CLEARANCE_SECONDS = Metric(
    "guard_clearance_seconds", Kind.HISTOGRAM, (), ("api",),
    "From a question's arrival to its answer; those of batches are not in it.", ANSWER_BUCKETS_SECONDS,
)  # fmt: skip
EVENTS = Metric(
    "guard_events_total", Kind.COUNTER, ("topic", "outcome"), ("ingest", "dispatch", "api"),
    "Inbound events that were `applied`, `duplicate`, `quarantined`, or, by HTTP, in `conflict`.",
)  # fmt: skip
LAG_RECORDS = Metric(
    "guard_stream_lag_records", Kind.GAUGE, ("topic", "partition"), ("ingest",),
    "Records behind the end of a partition; what an open transaction of a producer hides counts too. Each worker"
    " shows those that it reads.",
)  # fmt: skip
LAG_SECONDS = Metric(
    "guard_stream_lag_seconds", Kind.GAUGE, ("topic",), ("ingest",),
    "For how long the longest unread record of a topic has waited, to within a look (5 s). Each worker shows it of"
    " all partitions, also of those that nobody reads.",
)  # fmt: skip
STREAM_STOPPED = Metric(
    "guard_stream_stopped", Kind.READ, ("topic",), EVERY_ROLE,
    "1 while a stream is stopped, 0 while it is read.",
)  # fmt: skip
PRODUCER_LAST_EVENT = Metric(
    "guard_producer_last_event_timestamp_seconds", Kind.READ, ("topic", "source"), EVERY_ROLE,
    "The broker's time of the last event that was read of a producer, by the `source` of its events. At most 20 a"
    " topic; the others are `other`.",
)  # fmt: skip
QUARANTINED = Metric(
    "guard_quarantined_events", Kind.READ, (), EVERY_ROLE,
    "Events that wait in quarantine.",
)  # fmt: skip
OUTBOX_PENDING = Metric(
    "guard_outbox_pending", Kind.READ, (), EVERY_ROLE,
    "Records that wait to be sent for the first time.",
)  # fmt: skip
OUTBOX_OLDEST = Metric(
    "guard_outbox_oldest_seconds", Kind.READ, (), EVERY_ROLE,
    "How long the oldest of them waits. What waits for an agency that is not reached is in neither:"
    " `guard_agency_circuit_open` says so.",
)  # fmt: skip
DELIVERIES = Metric(
    "guard_deliveries_total", Kind.COUNTER, ("agency", "channel", "outcome"), ("dispatch",),
    "Attempts to deliver by webhook or file: `delivered`; `refused`: the agency wants none of this message (400,"
    " 409, 413, 415, 422); `failed`: all else, 401 and 403 too.",
)  # fmt: skip
CIRCUIT_OPEN = Metric(
    "guard_agency_circuit_open", Kind.GAUGE, ("agency", "channel"), ("dispatch",),
    "1 while an agency is left alone because it was not reached.",
)  # fmt: skip
AGENCY_WAITING = Metric(
    "guard_agency_messages_waiting", Kind.READ, ("agency",), EVERY_ROLE,
    "Messages that wait to be delivered to an agency, by any channel.",
)  # fmt: skip
SWEEP_FOUND = Metric(
    "guard_sweep_found_total", Kind.COUNTER, (), ("sweep",),
    "What sweeps had to repair.",
)  # fmt: skip
HEARTBEAT_AGE = Metric(
    "guard_heartbeat_age_seconds", Kind.GAUGE, ("loop",), EVERY_ROLE,
    "Since when a loop of this process has not turned: `ingest`, `dispatch`, `lanes` (the slowest of them),"
    " `sweep`, `api`.",
)  # fmt: skip
DATABASE_ANSWERS = Metric(
    "guard_database_answers", Kind.READ, (), EVERY_ROLE,
    "1 where the database answered this scrape, 0 where it did not; then all that is read from it is missing.",
)  # fmt: skip
STARTED = Metric(
    "guard_started_timestamp_seconds", Kind.GAUGE, (), EVERY_ROLE,
    "When this process started.",
)  # fmt: skip
BUILD_INFO = Metric(
    "guard_build_info", Kind.GAUGE, ("version", "role"), EVERY_ROLE,
    "1, with the version and the role of this process.",
)  # fmt: skip

METRICS = (
    OLDEST_UNRECALLED, RECALL_LATENCY, RECALLS_OPEN, RECALLS_OVERDUE, RECALLS_PASSED_DEADLINE,
    CONTACTS_AFTER_RECALL, LAST_CONTACT_AFTER_RECALL, AGENCY_EVENTS_REFUSED, UNGUARDED, CLEARANCES,
    CLEARANCE_SECONDS, EVENTS, LAG_RECORDS, LAG_SECONDS, STREAM_STOPPED, PRODUCER_LAST_EVENT, QUARANTINED,
    OUTBOX_PENDING, OUTBOX_OLDEST, DELIVERIES, CIRCUIT_OPEN, AGENCY_WAITING, SWEEP_FOUND, HEARTBEAT_AGE,
    DATABASE_ANSWERS, STARTED, BUILD_INFO,
)  # fmt: skip
"""All of them, in the order in which somebody on call would ask."""


_PAGE = """# Metrics

Written by `python -m infra.metrics_list` from the list in `infra/metrics_list.py`: change it there.

Each role serves `/metrics` on its own `GUARD_METRICS_PORT`, and `api` on its own port too. A role shows what it
moves and nothing else. What is marked *read* is asked of the database when it is scraped, by every role, so that
it is right while `sweep`, or any one of them, is down: take the `max` over them, never the `sum`. Where the
database does not answer, these are missing and never 0; `guard_database_answers` is 0, and the alert `GuardDown`
says so.

No label names a customer or an account. What to do when one of them moves is in the [runbook](runbook.md#metrics),
and the alerts on them are in [deploy/prometheus/alerts.yml](../deploy/prometheus/alerts.yml).

## All of them

| metric | type | labels | moved by | what it says |
|---|---|---|---|---|
"""


def page() -> str:
    """The text of docs/metrics.md."""
    return _PAGE + "".join(f"{line}\n" for line in _rows()) + "".join(f"{line}\n" for line in _buckets())


def _rows() -> Iterator[str]:
    for one in METRICS:
        kind = "gauge, read" if one.kind is Kind.READ else one.type
        roles = "every role" if one.roles == EVERY_ROLE else ", ".join(one.roles)
        yield f"| `{one.name}` | {kind} | {', '.join(one.labels)} | {roles} | {one.says} |"


def _buckets() -> Iterator[str]:
    yield ""
    yield "## Buckets"
    yield ""
    yield 'In seconds, as they stand in the label `le`: 5 is `5.0` there, and a query for `le="5"` finds nothing.'
    yield ""
    yield "| histogram | `le` |"
    yield "|---|---|"
    for one in METRICS:
        if one.buckets:
            yield f"| `{one.name}` | {', '.join(str(edge) for edge in one.buckets)}, +Inf |"


if __name__ == "__main__":
    sys.stdout.write(page())
