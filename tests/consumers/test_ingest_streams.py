"""The worker on a real Kafka: what it reads, where it stops, and how several of them share the streams."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import psycopg2
import pytest
import sqlalchemy as sa
from kafka import TopicPartition

from consumers.ingest import Ingest, Limits
from consumers.parts import CODEC
from consumers.producers import Heard
from consumers.watchdog import Watchdog
from domain.policy import Policy
from domain.recall import recall_id_of
from domain.streams import Seen
from infra import logs
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.source import Place, Source
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.producers import Producers
from infra.postgres.streams import Registered, Streams
from infra.wire.kinds import INBOUND_TOPICS, NOTICES, PAYMENTS, REFERRALS
from tests import inbound
from tests.builders import ACCOUNT, LENIENT, day
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

Start = Callable[[], Ingest]
"""Starts one more worker of the test's group."""


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of these tests alone: the names of the inbound topics are fixed."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server.bootstrap_servers


@pytest.fixture
def broker(kafka: str) -> str:
    """That Kafka, with every inbound topic and nothing in it."""
    inbound.begin(kafka)
    return kafka


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    """The cluster as a worker asks it."""
    with inbound.known(broker) as cluster:
        yield cluster


@pytest.fixture
def start(broker: str, cluster: Cluster, database: Database, database_url: str) -> Iterator[Start]:
    """Start workers of one group; those that a test leaves behind leave the group."""
    with contextlib.ExitStack() as stack:

        def one_more() -> Ingest:
            source = Source(
                Connection(broker),
                INBOUND_TOPICS,
                group_id=sa.make_url(database_url).database or "",
                client_id="tests",
                instance_id=None,
                max_records=500,
            )
            stack.callback(source.close)
            return ingest_of(source, cluster, database)

        yield one_more


def ingest_of(source: Source, cluster: Cluster, database: Database, policy: Policy = LENIENT) -> Ingest:
    """A worker that looks at its streams at every turn and stands three bad events; its clock stands on day 9."""
    log = logs.configure(role="test", level="CRITICAL")
    return Ingest(
        source=source,
        cluster=cluster,
        cluster_id=cluster.cluster_id(),
        topics=INBOUND_TOPICS,
        streams=Streams(database),
        ledger=Ledger(database, CODEC, cluster.cluster_id()),
        rules=lambda: policy,
        limits=Limits(bad_run_max=3, bad_share_max_percent=100),
        now=lambda: day(9),
        heard=Heard(Producers(database)),
        watchdog=Watchdog(check_seconds=0.2, stalled_seconds=60, log=log),
        metrics=Metrics(),
        log=log,
    )


class TestReading:
    """What a worker takes from the streams."""

    def test_events_are_joined_over_topics_and_positions_reach_the_ends(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """A debt, its placement and its payment, from two topics, make a recall."""
        inbound.publish(broker, payment(), placement(), referral())

        read_to_the_end(start(), cluster=cluster, database=database)

        assert rows(database, "SELECT recall_id FROM recall") == [(recall_id_of(ACCOUNT, "l-1"),)]
        assert rows(database, "SELECT count(*) FROM ledger") == [(3,)]

    def test_a_transactions_end_is_passed_and_what_was_aborted_is_not_read(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """The stored position goes over the markers at the end of the log, where no record ever comes."""
        ingest = start()
        with inbound.producing(broker, transactional_id="billing") as producer:
            producer.begin_transaction()
            inbound.send(producer, [payment("p-1")])
            producer.commit_transaction()
            read_to_the_end(ingest, cluster=cluster, database=database)
            producer.begin_transaction()
            inbound.send(producer, [payment("p-2")])
            producer.abort_transaction()

        read_to_the_end(ingest, cluster=cluster, database=database)

        assert rows(database, "SELECT event_id FROM ledger") == [("p-1",)]

    def test_the_same_again_after_a_restart_changes_nothing(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """A second worker goes on where the first was, though Kafka was never told where that is."""
        events = (referral(), placement(), payment(amount=30_00))
        inbound.publish(broker, *events)
        run(start(), until=lambda: positions(database) == inbound.ends(cluster))
        inbound.publish(broker, *events, payment("p-2", amount=70_00))

        read_to_the_end(start(), cluster=cluster, database=database)

        assert rows(database, "SELECT event_id FROM ledger WHERE kind = 2 ORDER BY 1") == [("p-1",), ("p-2",)]
        assert rows(database, "SELECT count(*) FROM outbox") == [(2,)]


class TestShowing:
    """What a worker shows of the streams."""

    def test_how_long_a_topic_waits_is_shown_and_who_was_heard_is_kept(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """0 once all is read; the record's own time of who sent it is written down, and outlives the worker."""
        ingest = start()
        inbound.publish(broker, payment())

        def turned_and_heard() -> bool:
            ingest._turn(threading.Event())
            return rows(database, "SELECT topic, source FROM producer") == [(PAYMENTS, "test")]

        assert inbound.until(turned_and_heard)
        read_to_the_end(ingest, cluster=cluster, database=database)
        ingest._watchdog.look_soon()
        ingest._turn(threading.Event())

        shown = {topic: ingest._metrics.registry.get_sample_value("guard_stream_lag_seconds", {"topic": topic})
                 for topic in INBOUND_TOPICS}  # fmt: skip
        assert shown == dict.fromkeys(INBOUND_TOPICS, 0.0)
        heard = "SELECT count(*) FROM producer p JOIN ledger l ON l.received_at = p.last_at"
        assert rows(database, heard) == [(1,)]


class TestSharing:
    """What holds where several workers share the streams."""

    def test_an_account_on_two_partitions_is_one_account(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """Its payments come to two workers at the same time, as after a change of partitions: one recall (S2)."""
        workers = [start(), start()]
        share(*workers)
        inbound.publish(broker, referral(), placement())
        read_to_the_end(*workers, cluster=cluster, database=database)
        halves = [[payment(f"p-{half}-{number}", amount=1_00) for number in range(50)] for half in range(2)]
        with inbound.producing(broker) as producer:
            for partition, half in enumerate(halves):
                inbound.send(producer, half, partition=partition)

        read_to_the_end(*workers, cluster=cluster, database=database)

        assert rows(database, "SELECT recall_id, outstanding FROM recall") == [(recall_id_of(ACCOUNT, "l-1"), 0)]
        told = [99_00 - 1_00 * number for number in range(99)]
        assert rows(database, "SELECT count(*), count(DISTINCT value) FROM outbox") == [(len(told) + 1,) * 2]

    def test_what_a_worker_leaves_another_takes_over(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """Told to stop, it leaves the group; all partitions go on with the one that stays."""
        goes, stays = start(), start()
        share(goes, stays)

        run(goes, until=lambda: True)
        inbound.publish(broker, *(payment(account_id=f"a-{number}") for number in range(20)))
        read_to_the_end(stays, cluster=cluster, database=database)

        assert len(stays._source.owned()) == len(INBOUND_TOPICS) * inbound.PARTITIONS
        assert rows(database, "SELECT count(*) FROM ledger") == [(20,)]


class TestTrouble:
    """What a worker does when something is wrong around it."""

    def test_a_database_that_goes_away_in_the_middle_delays(
        self, start: Start, broker: str, cluster: Cluster, database: Database, database_url: str
    ) -> None:
        """Every connection is cut while a batch is being saved: it is read again, and applied once (S8)."""
        cuts = iter([True, True])

        def cut(*told: object) -> None:
            if "INSERT INTO recall" in str(told[2]) and next(cuts, False):
                terminate_all(database_url)

        sa.event.listen(database._engine, "before_cursor_execute", cut)
        inbound.publish(broker, referral(), placement(), payment())

        with contextlib.closing(Database(database_url, application="onlooker")) as onlooker:
            run(start(), until=lambda: bool(rows(onlooker, "SELECT FROM recall")))

        assert next(cuts, None) is None
        assert rows(database, "SELECT event_id FROM ledger WHERE kind = 2") == [("p-1",)]
        assert rows(database, "SELECT count(*) FROM outbox") == [(1,)]

    def test_told_to_stop_it_finishes_the_batch_in_hand(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """The signal comes while the batch is being saved: it is committed, and the group is left."""
        stop = threading.Event()

        def tell(*told: object) -> None:
            if "INSERT INTO recall" in str(told[2]):
                stop.set()

        sa.event.listen(database._engine, "before_cursor_execute", tell)
        inbound.publish(broker, referral(), placement(), payment())

        start().run(stop)

        assert rows(database, "SELECT reason FROM recall") == [("DEBT_SETTLED",)]
        assert cluster._admin.describe_groups([group_of(database)])[group_of(database)]["members"] == []


class TestStops:
    """What a worker never reads on from by itself; the other streams go on."""

    def test_records_that_were_deleted_unread_stop_their_stream(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """Retention overtook us: how much is lost is said, and nothing behind the hole is read."""
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        inbound.publish(broker, *(payment(f"p-{number}") for number in range(3)), partition=0)
        with inbound.administering(broker) as admin:
            admin.delete_records({TopicPartition(PAYMENTS, 0): -1})
        inbound.publish(broker, payment("p-behind"), partition=0)
        before = positions(database)

        run(ingest, until=lambda: stopped(database) != {})

        at = before[PAYMENTS, 0]
        detail = f"partition 0: 3 records after {at} were deleted unread"
        assert stopped(database) == {PAYMENTS: ("RETENTION_LOSS", detail)}
        assert before == positions(database)
        assert rows(database, "SELECT FROM ledger") == []

    def test_a_topic_that_was_made_again_stops(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """Its offsets mean something else now, though they look right."""
        inbound.publish(broker, referral(), partition=0)
        run(start(), until=lambda: positions(database) == inbound.ends(cluster))
        remake(broker, cluster, REFERRALS)
        inbound.publish(broker, placement(), placement("l-2"), partition=0)

        run(start(), until=lambda: stopped(database) != {})

        ((topic, (reason, _)),) = stopped(database).items()
        assert (topic, reason) == (REFERRALS, "TOPIC_REMADE")
        assert rows(database, "SELECT event_id FROM ledger WHERE kind = 8") == []

    def test_a_topic_that_was_made_again_while_it_is_read_stops(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """Also where the worker runs on all the time, with the old topic's numbers in its hands."""
        inbound.publish(broker, referral(), partition=0)
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        remake(broker, cluster, REFERRALS)
        inbound.publish(broker, placement(), placement("l-2"), partition=0)

        run(ingest, until=lambda: stopped(database) != {})

        assert {topic: reason for topic, (reason, _) in stopped(database).items()} == {REFERRALS: "TOPIC_REMADE"}
        assert rows(database, "SELECT event_id FROM ledger WHERE kind = 8") == []

    def test_another_number_of_partitions_stops(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """The account of a key may be elsewhere now, and what was in between is not known to be read."""
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        with inbound.administering(broker) as admin:
            admin.create_partitions({NOTICES: inbound.PARTITIONS + 1})

        run(ingest, until=lambda: stopped(database) != {})
        remake(broker, cluster, NOTICES)

        assert stopped(database) == {NOTICES: ("PARTITIONS_CHANGED", "it had 2 partitions, now 3")}

    def test_a_log_that_was_cut_short_stops(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """The cluster lost what we have read: what it takes next would have offsets that we think we know."""
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        end = positions(database)[PAYMENTS, 0]
        with database.transaction() as connection:
            lost = "UPDATE stream_position SET position = position + 3 WHERE topic = :topic AND partition = 0"
            connection.execute(sa.text(lost), {"topic": PAYMENTS})

        run(ingest, until=lambda: stopped(database) != {})

        detail = f"partition 0 ends at {end}, but was read up to {end + 3}"
        assert stopped(database) == {PAYMENTS: ("LOG_TRUNCATED", detail)}

    def test_a_leader_that_was_left_behind_stops_nothing(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """It does not know that it leads no more, and its log ends before what was read from the next one."""
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        with contextlib.closing(LeftBehind(broker)) as old:
            inbound.publish(broker, payment("p-1"), partition=0)
            read_to_the_end(ingest, cluster=cluster, database=database)
            ingest._cluster = old

            run(ingest, until=lambda: old.looks > 4)

        assert stopped(database) == {}

    def test_too_many_bad_events_stop_their_stream_and_no_other(
        self, start: Start, broker: str, cluster: Cluster, database: Database
    ) -> None:
        """The batch that has one too many is not written; what is good elsewhere is read on."""
        ingest = start()
        read_to_the_end(ingest, cluster=cluster, database=database)
        bad = [replace(payment(f"p-{number}"), value=b"not json") for number in range(4)]
        inbound.publish(broker, *bad, partition=0)
        run_one = threading.Event()

        def done() -> bool:
            if stopped(database) and not run_one.is_set():
                run_one.set()
                inbound.publish(broker, referral())
            return bool(rows(database, "SELECT FROM ledger"))

        run(ingest, until=done)

        assert stopped(database) == {PAYMENTS: ("TOO_MANY_BAD_EVENTS", "4 bad events one after the other")}
        assert rows(database, "SELECT FROM quarantine") == []


# --- Running a worker ---


class LeftBehind(Cluster):
    """The cluster as seen through leaders that stood still when this began to look."""

    def __init__(self, broker: str) -> None:
        super().__init__(Connection(broker), client_id="tests")
        self.looks = 0
        self._stood_at = super().look(INBOUND_TOPICS)

    def look(self, topics: Sequence[str]) -> dict[str, Seen | None]:
        """What they say, now as then."""
        self.looks += 1
        return {topic: self._stood_at[topic] for topic in topics}


def read_to_the_end(*workers: Ingest, cluster: Cluster, database: Database) -> None:
    """Let these workers turn by turn read until every partition's position is at its end."""

    def read() -> bool:
        for one in workers:
            one._turn(threading.Event())
        # Asked anew each time: the end counts a transaction's marker only a moment after the commit.
        return positions(database) == inbound.ends(cluster)

    assert inbound.until(read), (positions(database), inbound.ends(cluster))


def share(*workers: Ingest) -> None:
    """Let these workers turn until each has its share of the partitions."""

    def shared() -> bool:
        for one in workers:
            one._turn(threading.Event())
        return {len(one._source.owned()) for one in workers} == {every // len(workers)}

    every = len(INBOUND_TOPICS) * inbound.PARTITIONS
    assert inbound.until(shared)


def run(ingest: Ingest, *, until: Callable[[], bool]) -> None:
    """Run a worker in a thread of its own until this is so, then tell it to stop."""
    stop = threading.Event()
    running = threading.Thread(target=ingest.run, args=[stop])
    running.start()
    reached = inbound.until(until)
    stop.set()
    running.join(inbound.DEADLINE_SECONDS)
    assert (reached, running.is_alive()) == (True, False)


def remake(broker: str, cluster: Cluster, topic: str) -> None:
    """Delete a topic and make it again."""
    with inbound.administering(broker) as admin:
        admin.delete_topics([topic])
    assert inbound.until(lambda: cluster.create({topic: inbound.PARTITIONS}) == [topic])


def terminate_all(url: str) -> None:
    """End every connection of the worker to a database."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'tests'"
        )


def group_of(database: Database) -> str:
    """The group of a test is named like its database."""
    return database.url.database or ""


# --- What the database says ---


def registered(database: Database) -> dict[str, Registered]:
    """Every stream."""
    return Streams(database).registered()


def positions(database: Database) -> dict[Place, int]:
    """Where every partition was read up to."""
    return {
        (topic, number): at
        for topic, one in registered(database).items()
        for number, at in one.kept.positions.items()
    }


def stopped(database: Database) -> dict[str, tuple[str | None, str | None]]:
    """The streams that are stopped, and why."""
    return {
        topic: (one.stopped, one.stopped_detail)
        for topic, one in registered(database).items()
        if one.stopped is not None
    }


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]
