"""The ground of the fault tests: a cluster of three, a database, and the guard's real processes on them.

Built by the fixtures of `tests.faults.conftest`. It starts, kills, freezes and looks; it judges nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import sqlalchemy as sa
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError

from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from tests import checker
from tests.faults.worker import LOOK_SECONDS, Worker, wait_until

OUTBOUND = (checker.RECALLS, checker.QUARANTINE, "guard.decisions")
PARTITIONS = 6

BATCH_EVENTS = 20
"""So few that a steady feed keeps every worker between the two ends of a transaction for most of the time."""

CATCH_LOOKS_MAX = 2_000

WAITED_SECONDS = 30
"""For one answer of a part to the tests: the machine may stand for long, and nothing is proved by our own haste."""

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Positions:
    """Where the streams stand, and when each partition last moved, by the machine's clock."""

    at: Mapping[Place, int]
    moved: Mapping[Place, float]


class Ground:
    """One cluster and one fresh database on it, with the workers that were started."""

    def __init__(
        self,
        *,
        kafka: EmbeddedKafka,
        postgres: EmbeddedPostgres,
        database_url: str,
        folder: Path,
        name: str,
        prefix: Sequence[str] = (),
    ) -> None:
        """`prefix` is what the guard's commands are put behind, where it does not run here."""
        self.kafka = kafka
        self.postgres = postgres
        self.database_url = database_url
        self.group = f"group-{name}"
        self.workers: list[Worker] = []
        self.folder = folder
        self._prefix = prefix
        self._numbers = count(1)

    # --- Processes ---

    def start(self, role: str, *arguments: str, module: str = "consumers.main", **settings: str) -> Worker:
        """Start a process of the guard, by its command line or by another module."""
        log_file = self.folder / f"{role}-{next(self._numbers)}.log"
        ours = {
            "DATABASE_URL": self.database_url,
            "KAFKA_BOOTSTRAP_SERVERS": self.kafka.bootstrap_servers,
            "KAFKA_GROUP": self.group,
            "INGEST_BATCH_MAX_EVENTS": str(BATCH_EVENTS),
            "INGEST_CHECK_SECONDS": "1",
            "SWEEP_SECONDS": "1",
            **settings,
        }
        worker = Worker(role, arguments, settings=ours, log_file=log_file, module=module, prefix=self._prefix)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """End every worker that is left."""
        for worker in self.workers:
            if worker.is_running:
                worker.kill()

    def ingests(self) -> list[Worker]:
        """The `ingest` processes that run."""
        return [worker for worker in self.workers if worker.role == "ingest" and worker.is_running]

    def wait_for_an_ingest(self) -> None:
        """Wait until a worker has some partitions."""
        wait_until("a worker has partitions", lambda: any(self.owners().values()))

    def two_ingests(self) -> tuple[Worker, Worker]:
        """Two `ingest` processes that share the partitions, started where they are missing."""
        while len(self.ingests()) < 2:
            self.start("ingest")
        first, second = self.ingests()
        self.wait_until_shared(first, second)
        return first, second

    def wait_until_shared(self, *workers: Worker) -> None:
        """Wait until these, and no others, have all the partitions of the inbound topics among them."""

        def shared() -> bool:
            owners = self.owners()
            return owners.keys() == {worker.pid for worker in workers} and all(owners.values())

        pids = [worker.pid for worker in workers]
        wait_until(f"{pids} share the partitions", shared, seen=self._seen)

    def _seen(self) -> str:
        """The group, and the last words of every worker, for whoever waits for one in vain."""
        return "\n".join([str(self._group()), *(worker.last_words() for worker in self.workers)])

    def owners(self, name: str = "") -> dict[int, set[Place]]:
        """The members of the group, or of another, by process id, with their partitions; none in a rebalance."""
        group = self._group(name)
        return _partitions_of(group) if group["group_state"] == "Stable" else {}

    def members(self) -> set[int]:
        """The process ids of the members of the group, whatever it does."""
        return set(_partitions_of(self._group()))

    def takeover_seconds(
        self, lost: Mapping[str, set[Place]], heirs: Mapping[str, int], *, since: float
    ) -> list[float]:
        """How long after an instant the heir of each group, by its process id, has what the group had lost."""
        found: dict[str, float] = {}

        def all_taken() -> bool:
            for name in lost.keys() - found.keys():
                if lost[name] <= self.owners(name).get(heirs[name], set()):
                    found[name] = time.time() - since
            return found.keys() == lost.keys()

        wait_until("what was lost is taken over", all_taken)
        return [found[name] for name in lost]

    def _group(self, name: str = "") -> dict[str, Any]:  # `Any`: as the library gives it.
        name = name or self.group
        with self.admin() as admin:
            try:
                group: dict[str, Any] = admin.describe_groups([name])[name]
            except KafkaError:
                return {"group_state": "Unknown", "members": []}
        return group

    def catch_in_a_batch(self, worker: Worker) -> None:
        """Freeze a worker between the begin and the commit of a transaction on its database."""
        self._catch(worker, lambda: self._is_in_a_batch(worker))

    def catch_with_a_claim(self, dispatcher: Worker) -> None:
        """Freeze the only dispatcher while it holds records that it has not yet marked as sent."""
        claimed = "SELECT EXISTS (SELECT FROM outbox WHERE sent_at IS NULL AND claimed_until > clock_timestamp())"
        self._catch(dispatcher, lambda: self.rows(claimed) == [(True,)])

    def _catch(self, worker: Worker, condition: Callable[[], bool]) -> None:
        for _ in range(CATCH_LOOKS_MAX):
            worker.freeze()
            if condition():
                return
            worker.thaw()
            time.sleep(LOOK_SECONDS / 10)
        raise AssertionError(
            f"{worker.role} was never caught in the act, however often we looked: is there a feed?"
        )

    def _is_in_a_batch(self, worker: Worker) -> bool:
        busy = self.rows(
            "SELECT client_port FROM pg_stat_activity "
            "WHERE state = 'idle in transaction' AND query NOT ILIKE 'begin%' AND application_name LIKE '% ingest'"
        )
        return bool(worker.ports() & {int(row[0]) for row in busy})

    # --- The database ---

    @contextmanager
    def connection(self) -> Iterator[psycopg2.extensions.connection]:
        """A connection of our own."""
        with closing(psycopg2.connect(self.database_url, connect_timeout=WAITED_SECONDS)) as connected:
            yield connected

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:  # `Any`: rows are untyped.
        """What the database answers; `%s` in the statement stands for a value."""
        with self.connection() as connected, connected.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def positions(self) -> Positions:
        """Where the streams stand."""
        rows = self.rows(
            "SELECT topic, partition, position, extract(epoch FROM moved_at)::float8 "
            "FROM stream_position JOIN stream USING (topic, cluster_id, topic_id)"
        )
        return Positions({(row[0], row[1]): row[2] for row in rows}, {(row[0], row[1]): row[3] for row in rows})

    def positions_of(self, topic: str) -> dict[Place, int]:
        """Where one stream stands."""
        return {place: at for place, at in self.positions().at.items() if place[0] == topic}

    def recovery_seconds(self, places: Iterable[Place], *, since: float, in_hand_seconds: float = 0.0) -> float:
        """How long after an instant the last of these partitions moved again; fails where one does not.

        What a worker has in hand may move a position for a moment longer: `in_hand_seconds` do not count.
        """
        waited = set(places)
        first: dict[Place, float] = {}

        def all_moved() -> bool:
            for place, at in self.positions().moved.items():
                if place in waited and at > since + in_hand_seconds:
                    first.setdefault(place, at)
            return first.keys() == waited

        wait_until("the partitions move again", all_moved, seen=self._seen)
        return max(first.values()) - since

    # --- The cluster ---

    @contextmanager
    def admin(self) -> Iterator[KafkaAdminClient]:
        """An admin client of our own."""
        with closing(
            KafkaAdminClient(
                bootstrap_servers=self.kafka.bootstrap_servers.split(","), request_timeout_ms=WAITED_SECONDS * 1000
            )
        ) as client:
            yield client

    def make_topics(self) -> None:
        """Every topic anew, with nothing in it."""
        topics = (*checker.INBOUND, *OUTBOUND)
        with self.admin() as admin:
            if old := sorted(set(admin.list_topics()) & set(topics)):
                admin.delete_topics(old)
        for topic in topics:
            self.make_topic(topic)

    def make_topic(self, topic: str) -> None:
        """A topic as `doctor --create-topics` makes it."""
        read = {"message.timestamp.type": "LogAppendTime"} if topic in checker.INBOUND else {}
        replicas = len(self.kafka.node_ids)
        wanted = {
            "num_partitions": PARTITIONS,
            "replication_factor": replicas,
            "configs": {"min.insync.replicas": str(max(1, replicas - 1)), **read},
        }

        def made() -> bool:
            with self.admin() as admin:
                try:
                    admin.create_topics({topic: wanted}, wait_for_metadata=True)
                except TopicAlreadyExistsError:
                    return False  # The broker is still deleting the old one.
            return True

        wait_until(f"{topic} is made", made)

    def leader(self, place: Place) -> int:
        """The node that leads a partition."""
        with self.admin() as admin:
            (topic,) = admin.describe_topics([place[0]])
        (leader,) = (one["leader_id"] for one in topic["partitions"] if one["partition_index"] == place[1])
        return int(leader)

    def ends(self) -> dict[Place, int]:
        """Where the inbound logs end."""
        with closing(KafkaConsumer(bootstrap_servers=self.kafka.bootstrap_servers.split(","))) as consumer:
            places = [
                TopicPartition(topic, number)
                for topic in checker.INBOUND
                for number in consumer.partitions_for_topic(topic) or ()
            ]
            return {(place.topic, place.partition): end for place, end in consumer.end_offsets(places).items()}

    def wait_until_replicated(self) -> None:
        """Wait until every replica of every partition is in sync, so that any node may fail."""
        nodes = len(self.kafka.node_ids)

        def replicated() -> bool:
            with self.admin() as admin:
                try:
                    topics = admin.describe_topics()
                except KafkaError:
                    return False
            return all(len(one["isr_nodes"]) == nodes for topic in topics for one in topic["partitions"])

        wait_until("all replicas are in sync", replicated)

    # --- Both ---

    def wait_until_done(self) -> None:
        """Wait until every stream is read to its end, and the outbox is empty."""
        ends = self.ends()
        wait_until("every stream is read to its end", lambda: self.positions().at == ends)
        unsent = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
        wait_until("the outbox is empty", lambda: self.rows(unsent) == [(0,)])

    def findings(self) -> list[str]:
        """What the checker finds."""
        topics = checker.read_topics(self.kafka.bootstrap_servers)
        with self.connection() as connected:
            return checker.findings(topics, connected)


def _partitions_of(group: Mapping[str, Any]) -> dict[int, set[Place]]:  # `Any`: as the library gives it.
    return {
        int(member["client_id"].rpartition("-")[2]): {
            (topic["topic"], partition)
            for topic in (member["member_assignment"] or {}).get("assigned_partitions", ())
            for partition in topic["partitions"]
        }
        for member in group["members"]
    }


def fresh_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The address of a database of this name with nothing in it."""
    with closing(psycopg2.connect(postgres.url)) as connection:
        connection.autocommit = True  # Databases are not made in transactions.
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            cursor.execute(f"CREATE DATABASE {name}")
    return sa.make_url(postgres.url).set(database=name).render_as_string(hide_password=False)
