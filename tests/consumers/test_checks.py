"""What `doctor` makes of what it saw: a table for each check, right rows beside wrong ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from consumers import checks
from consumers.checks import Backlog, Finding, State
from domain.streams import Kept, Stop, StopReason
from infra.kafka.cluster import TopicFacts
from infra.postgres.deliveries import Standing
from infra.postgres.inspection import ServerFacts
from infra.postgres.outbox import Pending
from infra.postgres.streams import Registered
from tests.builders import day

NOW = day(0)

SERVER = ServerFacts(
    version="18.1",
    version_number=180001,
    role="guard",
    is_replica=False,
    is_read_only=False,
    may_make_temporary=True,
    missing_privileges=(),
    fsync="on",
    full_page_writes="on",
    synchronous_commit="on",
    connections=5,
    connections_max=100,
    clock_ahead=timedelta(0),
)

TOPIC = TopicFacts(
    partitions=6,
    replication_factor=3,
    in_sync_replicas=3,
    min_insync_replicas=2,
    unclean_election=False,
    cleanup_policy="delete",
    retention_ms=7 * 86_400_000,
    retention_bytes=-1,
    timestamp_type="LogAppendTime",
)

ALTER = (
    'kafka-configs.sh --bootstrap-server "$GUARD_KAFKA_BOOTSTRAP_SERVERS" --alter --entity-type topics'
    " --entity-name t --add-config "
)
SIX = "6 partitions, replication factor 3, min.insync.replicas 2"
READ = Registered(Kept("c", "t", {0: 5, 1: 7}), {0: 0, 1: 0}, None, None)


@pytest.mark.parametrize(
    ("facts", "state", "words", "remedy"),
    [
        (SERVER, State.OK, "PostgreSQL 18.1, as role guard", ""),
        (
            replace(SERVER, is_replica=True, is_read_only=True),
            State.FAIL,
            "PostgreSQL 18.1, as role guard: a replica",
            "set GUARD_DATABASE_URL to the primary",
        ),
        (
            replace(SERVER, is_read_only=True),
            State.FAIL,
            "PostgreSQL 18.1, as role guard: transactions are read only",
            "ALTER ROLE guard SET default_transaction_read_only = off",
        ),
        (
            replace(SERVER, version="14.9", version_number=140009),
            State.WARN,
            "PostgreSQL 14.9, as role guard: no longer cared for",
            "upgrade it to 15 or later",
        ),
    ],
)
def test_the_server(facts: ServerFacts, state: State, words: str, remedy: str) -> None:
    """It takes writes, in a version that is cared for."""
    assert checks.server(facts) == Finding("database", state, words, remedy)


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        (SERVER, State.OK, "guard may read and write every table"),
        (
            replace(SERVER, missing_privileges=("DELETE on hold", "INSERT on outbox")),
            State.FAIL,
            "guard lacks DELETE on hold, INSERT on outbox",
        ),
        (replace(SERVER, may_make_temporary=False), State.FAIL, "guard may not make temporary tables"),
    ],
)
def test_what_the_role_may_do(facts: ServerFacts, state: State, words: str) -> None:
    """Batches come in through a temporary table, so that counts too."""
    found = checks.may_write(facts)

    assert (found.state, found.words, bool(found.remedy)) == (state, words, state is not State.OK)


@pytest.mark.parametrize(
    ("facts", "state", "words", "remedy"),
    [
        (SERVER, State.OK, "fsync, full_page_writes on; synchronous_commit on", ""),
        (
            replace(SERVER, synchronous_commit="remote_apply"),
            State.OK,
            "fsync, full_page_writes on; synchronous_commit remote_apply",
            "",
        ),
        (
            replace(SERVER, fsync="off", synchronous_commit="off"),
            State.FAIL,
            "fsync = off, synchronous_commit = off: a crash loses what was committed",
            "ALTER SYSTEM RESET fsync; ALTER SYSTEM RESET synchronous_commit; SELECT pg_reload_conf()",
        ),
    ],
)
def test_durability(facts: ServerFacts, state: State, words: str, remedy: str) -> None:
    """A commit outlives a power cut."""
    assert checks.durable(facts) == Finding("durability", state, words, remedy)


@pytest.mark.parametrize(
    ("used", "state", "remedy"),
    [(90, State.OK, ""), (91, State.WARN, "ALTER SYSTEM SET max_connections = 200, and restart the server")],
)
def test_connections(used: int, state: State, remedy: str) -> None:
    """Ten must be free."""
    found = checks.room(replace(SERVER, connections=used))

    assert found == Finding("connections", state, f"{used} of 100 in use", remedy)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("0002", Finding("schema", State.OK, "at 0002")),
        ("0001", Finding("schema", State.FAIL, "at 0001, this code needs 0002", "handoff-guard db upgrade")),
        (None, Finding("schema", State.FAIL, "at none, this code needs 0002", "handoff-guard db upgrade")),
    ],
)
def test_the_schema(found: str | None, expected: Finding) -> None:
    """The database has the schema of this code."""
    assert checks.schema(found=found, needed="0002") == expected


@pytest.mark.parametrize(
    ("ahead", "state"),
    [(timedelta(seconds=1), State.OK), (timedelta(seconds=-1.001), State.FAIL), (timedelta(minutes=3), State.FAIL)],
)
def test_the_database_clock(ahead: timedelta, state: State) -> None:
    """A second either way."""
    assert checks.database_clock(ahead).state is state


def test_the_broker_clock() -> None:
    """A record from the future is a clock that is wrong; an old one says nothing."""
    ahead = checks.broker_clock(NOW + timedelta(seconds=90), NOW)

    assert (ahead.state, ahead.words) == (State.FAIL, "the newest record is 1 min 30 s ahead of our clock")
    assert checks.broker_clock(NOW + timedelta(seconds=1), NOW).state is State.OK
    assert checks.broker_clock(NOW - timedelta(days=1), NOW) == Finding(
        "broker clock", State.OK, "the newest record is 1 d old; one behind ours would not show"
    )
    assert checks.broker_clock(None, NOW).state is State.OK


@pytest.mark.parametrize(
    ("count", "state", "words"),
    [
        (3, State.OK, "3 in cluster c"),
        (2, State.WARN, "2 in cluster c: one that fails leaves one copy of new events"),
        (1, State.WARN, "1 in cluster c: what one broker loses is lost"),
    ],
)
def test_brokers(count: int, state: State, words: str) -> None:
    """Three make the promise good."""
    found = checks.brokers(count, "c")

    assert (found.state, found.words) == (state, words)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (TOPIC, (State.OK, SIX, "")),
        (None, (State.FAIL, "missing", "handoff-guard doctor --create-topics")),
        (
            replace(TOPIC, replication_factor=1, in_sync_replicas=1, min_insync_replicas=1),
            (
                State.WARN,
                (
                    "6 partitions, replication factor 1, min.insync.replicas 1;"
                    " an acknowledged event may be lost with its broker"
                ),
                "kafka-reassign-partitions.sh, to 3 replicas of t",
            ),
        ),
        (
            replace(TOPIC, min_insync_replicas=1),
            (
                State.WARN,
                (
                    "6 partitions, replication factor 3, min.insync.replicas 1;"
                    " an acknowledged event may be on one broker only, and lost with it"
                ),
                f"{ALTER}min.insync.replicas=2",
            ),
        ),
        (
            replace(TOPIC, in_sync_replicas=1),
            (
                State.FAIL,
                f"{SIX}; only 1 in sync, so nothing is acknowledged",
                "start the brokers that are down",
            ),
        ),
        (
            replace(TOPIC, unclean_election=True),
            (
                State.FAIL,
                f"{SIX}; unclean.leader.election.enable is on: an acknowledged event may be lost with its brokers",
                f"{ALTER}unclean.leader.election.enable=false",
            ),
        ),
    ],
)
def test_how_a_topic_is_kept(facts: TopicFacts | None, expected: tuple[State, str, str]) -> None:
    """What was acknowledged on a topic is on two brokers."""
    for inbound in (True, False):
        assert checks.topic("t", facts, inbound=inbound) == Finding("topic t", *expected)


@pytest.mark.parametrize(
    ("facts", "state", "words", "setting"),
    [
        (
            replace(TOPIC, cleanup_policy="compact"),
            State.FAIL,
            "cleanup.policy compact deletes all but the last event of an account",
            "cleanup.policy=delete",
        ),
        (
            replace(TOPIC, cleanup_policy="compact,delete"),
            State.FAIL,
            "cleanup.policy compact,delete deletes all but the last event of an account",
            "cleanup.policy=delete",
        ),
        (
            replace(TOPIC, retention_bytes=10**9),
            State.WARN,
            "retention.bytes 1000000000: unread events may be deleted at any time",
            "retention.bytes=-1",
        ),
        (
            replace(TOPIC, retention_ms=86_400_000),
            State.WARN,
            "events are kept for 1 d only, read or unread",
            "retention.ms=604800000",
        ),
        (
            replace(TOPIC, timestamp_type="CreateTime"),
            State.WARN,
            "records bear the producers' time, so latencies are measured by their clocks",
            "message.timestamp.type=LogAppendTime",
        ),
    ],
)
def test_how_a_topic_is_read(facts: TopicFacts, state: State, words: str, setting: str) -> None:
    """What is read must stay until it is read, and bear the broker's time; of our own topics nobody asks that."""
    assert checks.topic("t", facts, inbound=True) == Finding("topic t", state, f"{SIX}; {words}", ALTER + setting)
    assert checks.topic("t", facts, inbound=False) == Finding("topic t", State.OK, SIX)


def test_a_topic_with_several_troubles_tells_them_all() -> None:
    """The gravest is how it stands, and each has its command."""
    found = checks.topic(
        "t", replace(TOPIC, min_insync_replicas=1, cleanup_policy="compact", retention_ms=-1), inbound=True
    )

    assert found.state is State.FAIL
    assert found.remedy.splitlines() == [f"{ALTER}min.insync.replicas=2", f"{ALTER}cleanup.policy=delete"]


@pytest.mark.parametrize(
    ("registered", "stop", "expected"),
    [
        (READ, None, (State.OK, "read, 2 partitions", "")),
        (None, None, (State.WARN, "never read", "handoff-guard ingest")),
        (
            replace(READ, stopped="TOPIC_REMADE", stopped_detail="it was made again"),
            None,
            (State.FAIL, "stopped: TOPIC_REMADE, it was made again", "handoff-guard streams accept t"),
        ),
        (
            READ,
            Stop(StopReason.RETENTION_LOSS, "partition 0: 3 records after 5 were deleted unread"),
            (
                State.FAIL,
                "will be stopped: RETENTION_LOSS, partition 0: 3 records after 5 were deleted unread",
                "handoff-guard streams accept t",
            ),
        ),
    ],
)
def test_a_stream(registered: Registered | None, stop: Stop | None, expected: tuple[State, str, str]) -> None:
    """It is read, or says why it is not and who may let it go on."""
    assert checks.stream("t", registered, stop) == Finding("stream t", *expected)


WEEK = timedelta(days=7)


@pytest.mark.parametrize(
    ("backlog", "retention", "expected"),
    [
        (Backlog(0, None), WEEK, (State.OK, "read to the end", "")),
        (
            Backlog(2, None),
            WEEK,
            (State.OK, "2 records behind, none that can be read now (markers, or an open transaction)", ""),
        ),
        (
            Backlog(9, NOW - timedelta(seconds=60)),
            WEEK,
            (State.OK, "9 records behind, the oldest for 1 min; it may be deleted in 6 d 23 h", ""),
        ),
        (
            Backlog(9, NOW - timedelta(seconds=61)),
            None,
            (State.WARN, "9 records behind, the oldest for 1 min 1 s", "handoff-guard ingest"),
        ),
        (
            Backlog(9, NOW - timedelta(days=6, hours=1)),
            WEEK,
            (
                State.WARN,
                "9 records behind, the oldest for 6 d 1 h; it may be deleted in 23 h",
                "handoff-guard ingest, more of them",
            ),
        ),
        (
            Backlog(9, NOW - timedelta(days=6, hours=23)),
            WEEK,
            (
                State.FAIL,
                "9 records behind, the oldest for 6 d 23 h; it may be deleted in 1 h",
                f"{ALTER}retention.ms=-1, then read on",
            ),
        ),
        (
            Backlog(9, NOW - timedelta(days=8)),
            WEEK,
            (
                State.FAIL,
                "9 records behind, the oldest for 8 d; it may be deleted at any moment",
                f"{ALTER}retention.ms=-1, then read on",
            ),
        ),
        (
            Backlog(9, NOW - timedelta(minutes=1)),
            timedelta(hours=1),
            (State.OK, "9 records behind, the oldest for 1 min; it may be deleted in 59 min", ""),
        ),
    ],
)
def test_how_far_a_stream_is_read(
    backlog: Backlog, retention: timedelta | None, expected: tuple[State, str, str]
) -> None:
    """Behind is nothing for a minute, a question after it, and wrong when events are about to be deleted."""
    assert checks.reading("t", backlog, retention=retention, now=NOW) == Finding("lag t", *expected)


def test_the_quarantine() -> None:
    """What waits there is to be looked at."""
    assert checks.quarantine(0) == Finding("quarantine", State.OK, "empty")
    assert checks.quarantine(3) == Finding(
        "quarantine", State.WARN, "3 waiting, and their accounts on hold", "handoff-guard quarantine list"
    )


def test_the_agencies() -> None:
    """One that is not reached is named, with how long its oldest message waits."""
    reached = Standing("south", "", 2, NOW, 0, 1, None, "one failure")
    away = Standing("north", "webhook", 0, None, 0, 9, NOW, "no answer")
    waits = replace(away, waiting=3, oldest=NOW - timedelta(minutes=5))
    stuck = replace(reached, stuck=1)

    assert checks.agencies([], NOW) == Finding("agencies", State.OK, "none is away; 0 messages wait")
    assert checks.agencies([reached], NOW) == Finding("agencies", State.OK, "none is away; 2 messages wait")
    assert checks.agencies([reached, away], NOW) == Finding(
        "agencies", State.WARN, "not reached, or it refuses all: north", "handoff-guard agencies"
    )
    assert checks.agencies([stuck, waits], NOW) == Finding(
        "agencies",
        State.WARN,
        "not reached, or it refuses all: north, 3 messages wait, the oldest for 5 min;"
        " does not take some: south, 2 messages wait, the oldest for 0 s",
        "handoff-guard agencies",
    )


def test_the_outbox() -> None:
    """A recall that waits for more than a minute is a customer who is called."""
    assert checks.outbox(Pending(0, None), NOW) == Finding("outbox", State.OK, "empty")
    assert checks.outbox(Pending(2, NOW - timedelta(seconds=60)), NOW) == Finding(
        "outbox", State.OK, "2 records wait, the oldest for 1 min"
    )
    assert checks.outbox(Pending(2, NOW - timedelta(hours=5, minutes=1)), NOW) == Finding(
        "outbox", State.FAIL, "2 records wait, the oldest for 5 h 1 min", "handoff-guard dispatch"
    )
