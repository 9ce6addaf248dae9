"""What `doctor` makes of what it saw: each check is a pure function that gives one finding.

Called by `consumers.doctor`, which does the looking. A finding that is not `ok` names the command that mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.streams import Stop
from infra.kafka.cluster import TopicFacts
from infra.postgres.deliveries import Standing
from infra.postgres.inspection import ServerFacts
from infra.postgres.outbox import Pending
from infra.postgres.streams import Registered


class State(StrEnum):
    """How a check ended: right; to be thought about, or not looked at; wrong."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what mends it, a command a line."""

    name: str
    state: State
    words: str
    remedy: str = ""


OLDEST_POSTGRES = 15
"""Older ones get no fixes any more (PostgreSQL 14's last was of November 2026)."""

SPARE_CONNECTIONS = 10
"""What one more process and a person with `psql` take, together with those that the server keeps for itself."""

CLOCK_TOLERANCE = timedelta(seconds=1)
"""Above NTP's error by far, below every deadline and latency that people look at."""

RETENTION_SHORT = timedelta(days=3)
"""A long weekend: nobody may look at a stopped worker for so long."""

LEFT_WARN = timedelta(hours=24)
LEFT_FAIL = timedelta(hours=2)
"""How long before unread records may be deleted: a working day, and the time in which a person comes."""

WAITS_LONG = timedelta(minutes=1)
"""A worker or a dispatcher that runs has done its work long before (their aims are 60 ms)."""


def away(name: str, what: str) -> Finding:
    """A check that needs something which is not there."""
    return Finding(name, State.WARN, f"not looked at, since {what}")


def server(facts: ServerFacts) -> Finding:
    """The database answers, in a version that is cared for, and is the one that takes writes."""
    name, words = "database", f"PostgreSQL {facts.version}, as role {facts.role}"
    if facts.is_replica:
        return Finding(name, State.FAIL, f"{words}: a replica", "set GUARD_DATABASE_URL to the primary")
    if facts.is_read_only:
        mend = f"ALTER ROLE {facts.role} SET default_transaction_read_only = off"
        return Finding(name, State.FAIL, f"{words}: transactions are read only", mend)
    if facts.version_number < OLDEST_POSTGRES * 10_000:
        return Finding(
            name, State.WARN, f"{words}: no longer cared for", f"upgrade it to {OLDEST_POSTGRES} or later"
        )
    return Finding(name, State.OK, words)


def may_write(facts: ServerFacts) -> Finding:
    """Our role may do all that the roles of the guard do."""
    name = "database role"
    if facts.missing_privileges:
        missing = ", ".join(facts.missing_privileges)
        mend = f"as the owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {facts.role}"
        return Finding(name, State.FAIL, f"{facts.role} lacks {missing}", mend)
    if not facts.may_make_temporary:
        mend = f"as the owner: GRANT TEMPORARY ON DATABASE ... TO {facts.role}"
        return Finding(name, State.FAIL, f"{facts.role} may not make temporary tables", mend)
    return Finding(name, State.OK, f"{facts.role} may read and write every table")


def durable(facts: ServerFacts) -> Finding:
    """What the database has committed outlives a power cut."""
    off = [
        f"{setting} = {value}"
        for setting, value in (
            ("fsync", facts.fsync),
            ("full_page_writes", facts.full_page_writes),
            ("synchronous_commit", facts.synchronous_commit),
        )
        if value == "off"
    ]
    if not off:
        words = f"fsync, full_page_writes on; synchronous_commit {facts.synchronous_commit}"
        return Finding("durability", State.OK, words)
    mend = "; ".join(f"ALTER SYSTEM RESET {one.split()[0]}" for one in off) + "; SELECT pg_reload_conf()"
    return Finding("durability", State.FAIL, f"{', '.join(off)}: a crash loses what was committed", mend)


def room(facts: ServerFacts) -> Finding:
    """There are connections left for the next process."""
    words = f"{facts.connections} of {facts.connections_max} in use"
    if facts.connections_max - facts.connections >= SPARE_CONNECTIONS:
        return Finding("connections", State.OK, words)
    mend = f"ALTER SYSTEM SET max_connections = {2 * facts.connections_max}, and restart the server"
    return Finding("connections", State.WARN, words, mend)


def schema(*, found: str | None, needed: str) -> Finding:
    """The database's schema is the one that this code needs."""
    if found == needed:
        return Finding("schema", State.OK, f"at {found}")
    words = f"at {found or 'none'}, this code needs {needed}"
    return Finding("schema", State.FAIL, words, "handoff-guard db upgrade")


def database_clock(ahead: timedelta) -> Finding:
    """The database's clock is ours."""
    words = f"{_signed(ahead)} against ours"
    if abs(ahead) <= CLOCK_TOLERANCE:
        return Finding("database clock", State.OK, words)
    return Finding("database clock", State.FAIL, words, "chronyc tracking, here and on the database's host")


def broker_clock(newest: datetime | None, now: datetime) -> Finding:
    """No record bears a time that is still to come; a broker tells no time, so that is all there is to see."""
    name = "broker clock"
    if newest is None:
        return Finding(
            name, State.OK, "not looked at: the inbound topics hold no record, and a broker tells no time"
        )
    if newest - now > CLOCK_TOLERANCE:
        words = f"the newest record is {_span(newest - now)} ahead of our clock"
        return Finding(name, State.FAIL, words, "chronyc tracking, here and on the brokers' and producers' hosts")
    return Finding(
        name, State.OK, f"the newest record is {_span(now - newest)} old; one behind ours would not show"
    )


def brokers(count: int, cluster_id: str) -> Finding:
    """The broker answers."""
    words = f"{count} in cluster {cluster_id}"
    if count < 3:
        lost = "what one broker loses is lost" if count == 1 else "one that fails leaves one copy of new events"
        return Finding("brokers", State.WARN, f"{words}: {lost}", "add brokers to the cluster, up to 3 or more")
    return Finding("brokers", State.OK, words)


def topic(name: str, facts: TopicFacts | None, *, inbound: bool) -> Finding:
    """A topic is there, and kept so that what was acknowledged on it stays until it is read."""
    title = f"topic {name}"
    if facts is None:
        return Finding(title, State.FAIL, "missing", "handoff-guard doctor --create-topics")
    words = (
        f"{facts.partitions} partitions, replication factor {facts.replication_factor},"
        f" min.insync.replicas {facts.min_insync_replicas}"
    )
    troubles = [*_kept_badly(name, facts), *(_read_badly(name, facts) if inbound else ())]
    if not troubles:
        return Finding(title, State.OK, words)
    state = State.FAIL if any(trouble[0] is State.FAIL for trouble in troubles) else State.WARN
    found = "; ".join([words, *(trouble[1] for trouble in troubles)])
    return Finding(title, state, found, "\n".join(trouble[2] for trouble in troubles))


_Trouble = tuple[State, str, str]
"""How grave it is, what it is, and what mends it."""


def _kept_badly(name: str, facts: TopicFacts) -> list[_Trouble]:
    """What is wrong with how any topic is copied."""
    found: list[_Trouble] = []
    if facts.in_sync_replicas < facts.min_insync_replicas:
        words = f"only {facts.in_sync_replicas} in sync, so nothing is acknowledged"
        found.append((State.FAIL, words, "start the brokers that are down"))
    if facts.unclean_election:
        words = "unclean.leader.election.enable is on: an acknowledged event may be lost with its brokers"
        found.append((State.FAIL, words, _configure(name, "unclean.leader.election.enable=false")))
    if facts.replication_factor == 1:
        words = "an acknowledged event may be lost with its broker"
        found.append((State.WARN, words, f"kafka-reassign-partitions.sh, to 3 replicas of {name}"))
    elif facts.min_insync_replicas == 1:
        words = "an acknowledged event may be on one broker only, and lost with it"
        found.append((State.WARN, words, _configure(name, "min.insync.replicas=2")))
    return found


def _read_badly(name: str, facts: TopicFacts) -> list[_Trouble]:
    """What is wrong with a topic that is read: that records go before they are read, or bear no broker's time."""
    found: list[_Trouble] = []
    if "compact" in facts.cleanup_policy:
        words = f"cleanup.policy {facts.cleanup_policy} deletes all but the last event of an account"
        found.append((State.FAIL, words, _configure(name, "cleanup.policy=delete")))
    if facts.retention_bytes >= 0:
        words = f"retention.bytes {facts.retention_bytes}: unread events may be deleted at any time"
        found.append((State.WARN, words, _configure(name, "retention.bytes=-1")))
    if 0 <= facts.retention_ms < RETENTION_SHORT / timedelta(milliseconds=1):
        words = f"events are kept for {_span(timedelta(milliseconds=facts.retention_ms))} only, read or unread"
        found.append((State.WARN, words, _configure(name, "retention.ms=604800000")))
    if facts.timestamp_type != "LogAppendTime":
        words = "records bear the producers' time, so latencies are measured by their clocks"
        found.append((State.WARN, words, _configure(name, "message.timestamp.type=LogAppendTime")))
    return found


def _configure(name: str, setting: str) -> str:
    server = '--bootstrap-server "$GUARD_KAFKA_BOOTSTRAP_SERVERS"'
    return f"kafka-configs.sh {server} --alter --entity-type topics --entity-name {name} --add-config {setting}"


def stream(name: str, registered: Registered | None, stop: Stop | None) -> Finding:
    """A stream is still the one whose positions we keep, and is read; `stop` is what a look at it says."""
    title = f"stream {name}"
    accept = f"handoff-guard streams accept {name}"
    if registered is None:
        return Finding(title, State.WARN, "never read", "handoff-guard ingest")
    if registered.stopped is not None:
        return Finding(title, State.FAIL, f"stopped: {registered.stopped}, {registered.stopped_detail}", accept)
    if stop is not None:
        return Finding(title, State.FAIL, f"will be stopped: {stop.reason}, {stop.detail}", accept)
    return Finding(title, State.OK, f"read, {len(registered.kept.positions)} partitions")


@dataclass(frozen=True, slots=True)
class Backlog:
    """What of a stream is unread; `oldest` is its first record's time, None where there is none to be read."""

    records: int
    oldest: datetime | None


def reading(name: str, backlog: Backlog, *, retention: timedelta | None, now: datetime) -> Finding:
    """How far behind a stream is read, and how long until what is unread could be deleted."""
    title = f"lag {name}"
    if not backlog.records:
        return Finding(title, State.OK, "read to the end")
    words = f"{backlog.records} records behind"
    if backlog.oldest is None:
        return Finding(title, State.OK, f"{words}, none that can be read now (markers, or an open transaction)")
    waits = now - backlog.oldest
    words = f"{words}, the oldest for {_span(waits)}"
    if retention is not None:
        left = retention - waits
        words = f"{words}; it may be deleted {f'in {_span(left)}' if left > timedelta(0) else 'at any moment'}"
        if left < min(LEFT_FAIL, retention / 4):
            return Finding(title, State.FAIL, words, _configure(name, "retention.ms=-1") + ", then read on")
        if left < min(LEFT_WARN, retention / 2):
            return Finding(title, State.WARN, words, "handoff-guard ingest, more of them")
    if waits > WAITS_LONG:
        return Finding(title, State.WARN, words, "handoff-guard ingest")
    return Finding(title, State.OK, words)


def quarantine(count: int) -> Finding:
    """Every event could be applied."""
    if not count:
        return Finding("quarantine", State.OK, "empty")
    words = f"{count} waiting, and their accounts on hold"
    return Finding("quarantine", State.WARN, words, "handoff-guard quarantine list")


def outbox(pending: Pending, now: datetime) -> Finding:
    """What agencies must be told goes out."""
    if pending.oldest is None:
        return Finding("outbox", State.OK, "empty")
    waits = now - pending.oldest
    words = f"{pending.records} records wait, the oldest for {_span(waits)}"
    if waits > WAITS_LONG:
        return Finding("outbox", State.FAIL, words, "handoff-guard dispatch")
    return Finding("outbox", State.OK, words)


def agencies(standing: Sequence[Standing], now: datetime) -> Finding:
    """Agencies that have another way than Kafka are reached."""
    away = [one for one in standing if one.open_until is not None]
    stuck = [one for one in standing if one.open_until is None and one.stuck]
    if not away and not stuck:
        waiting = sum(one.waiting for one in standing)
        return Finding("agencies", State.OK, f"none is away; {waiting} messages wait")
    words = "; ".join(
        f"{what}: {', '.join(sorted({one.agency_id for one in some}))}{_waiting(some, now)}"
        for what, some in (("not reached, or it refuses all", away), ("does not take some", stuck))
        if some
    )
    return Finding("agencies", State.WARN, words, "handoff-guard agencies")


def _waiting(standing: Sequence[Standing], now: datetime) -> str:
    oldest = min((one.oldest for one in standing if one.oldest is not None), default=None)
    if oldest is None:
        return ""
    return f", {sum(one.waiting for one in standing)} messages wait, the oldest for {_span(now - oldest)}"


def _signed(span: timedelta) -> str:
    return f"{span / timedelta(seconds=1):+.3f} s"


def _span(span: timedelta) -> str:
    """A length of time in its two greatest units: `6 d 23 h`, `3 min 5 s`."""
    seconds = max(0, int(span.total_seconds()))
    days, seconds = divmod(seconds, 86_400)
    hours, seconds = divmod(seconds, 3_600)
    minutes, seconds = divmod(seconds, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds, "s")]
    first = next((number for number, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
