"""The embedded servers, held to what tests and the demo rely on: data, crashes, the lock, and no orphans."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # Ships without types; the extra `embedded` brings it.
import psycopg2
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from infra.embedded import PartsError, free_ports
from infra.embedded.kafka import LOCK_FILE, EmbeddedKafka, cache_folder, java_command, resolve_jars
from infra.embedded.postgres import EmbeddedPostgres
from tests import parts

pytestmark = pytest.mark.parts

TOPIC = "payments"
ANSWER_DEADLINE_SECONDS = 60
ORPHAN_DEADLINE_SECONDS = 15
SHORT_SESSION_SECONDS = 2


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL with nothing in it."""
    with EmbeddedPostgres(tmp_path / "postgres") as server:
        yield server


@pytest.fixture
def kafka(tmp_path: Path) -> Iterator[EmbeddedKafka]:
    """A Kafka of one node, whose death is noticed soon."""
    with EmbeddedKafka(tmp_path / "kafka", broker_session_seconds=SHORT_SESSION_SECONDS) as cluster:
        yield cluster


class TestPostgres:
    """What holds of EmbeddedPostgres."""

    def test_committed_rows_outlive_a_stop(self, postgres: EmbeddedPostgres) -> None:
        """A row that was committed is there after a stop and a start, at the same address."""
        url = postgres.url
        execute(url, "CREATE TABLE fact (id int); INSERT INTO fact VALUES (1)")

        postgres.stop()
        assert not answers(url)
        postgres.start()

        assert query_row(url, "SELECT id FROM fact") == (1,)

    def test_committed_rows_outlive_a_crash(self, postgres: EmbeddedPostgres) -> None:
        """A row that was committed is there after SIGKILL of every process, with a client connected."""
        execute(postgres.url, "CREATE TABLE fact (id int); INSERT INTO fact VALUES (1)")
        with contextlib.closing(psycopg2.connect(postgres.url)):
            postgres.kill()
        assert not answers(postgres.url)

        postgres.start()

        assert query_row(postgres.url, "SELECT id FROM fact") == (1,)

    def test_a_stale_pid_file_that_names_another_program_is_no_obstacle(
        self, postgres: EmbeddedPostgres, tmp_path: Path
    ) -> None:
        """After a crash the server starts, though its process number now belongs to another program."""
        postgres.kill()
        pid_file = tmp_path / "postgres" / "cluster" / "data" / "postmaster.pid"
        other_lines = pid_file.read_text().splitlines()[1:]
        # As PostgreSQL's user, since it does not mind the number of another user's process.
        with other_program(uid=pid_file.stat().st_uid) as pid:
            pid_file.write_text("\n".join([str(pid), *other_lines]))

            postgres.start()

            assert answers(postgres.url)

    def test_a_running_server_is_not_started_twice(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """A second server on the folder is refused, and the first goes on."""
        with pytest.raises(PartsError, match="already runs"):
            EmbeddedPostgres(tmp_path / "postgres").start()

        assert answers(postgres.url)

    def test_frozen_it_does_not_answer_and_thawed_it_does(self, postgres: EmbeddedPostgres) -> None:
        """A frozen server takes connections and leaves them waiting; thawed it answers."""
        postgres.freeze()
        assert not answers(postgres.url)

        postgres.thaw()

        assert answers(postgres.url)

    def test_a_frozen_server_can_be_stopped(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """A test that failed with the server frozen still cleans up, and in order."""
        postgres.freeze()

        postgres.stop()

        assert not answers(postgres.url)
        assert "database system is shut down" in (tmp_path / "postgres" / "postgres.log").read_text()

    def test_it_is_durable_unless_told_otherwise(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """The durable defaults stay, and a setting that was asked for is in force."""
        durable = "SELECT current_setting('fsync'), current_setting('synchronous_commit')"
        assert query_row(postgres.url, durable) == ("on", "on")

        with EmbeddedPostgres(tmp_path / "other", settings={"max_connections": "20"}) as other:
            assert query_row(other.url, "SELECT current_setting('max_connections')") == ("20",)

    def test_the_port_is_the_one_asked_for(self, tmp_path: Path) -> None:
        """A port that was asked for is used, and kept."""
        (port,) = free_ports(1)

        asked, kept = EmbeddedPostgres(tmp_path, port=port), EmbeddedPostgres(tmp_path)

        assert f"postgresql://postgres@127.0.0.1:{port}/guard" == asked.url == kept.url

    def test_a_taken_port_is_named(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """Where another server has the port, the error names it rather than letting that server answer."""
        port = psycopg2.extensions.parse_dsn(postgres.url)["port"]

        with pytest.raises(PartsError, match=f"port {port}"):
            EmbeddedPostgres(tmp_path / "other", port=int(port)).start()

    def test_a_failed_start_shows_the_log(self, tmp_path: Path) -> None:
        """The error of a server that does not start holds the server's own words."""
        server = EmbeddedPostgres(tmp_path, settings={"shared_buffers": "plenty"})

        with pytest.raises(PartsError, match="shared_buffers"):
            server.start()


class TestKafka:
    """What holds of EmbeddedKafka."""

    def test_acknowledged_records_outlive_a_stop(self, kafka: EmbeddedKafka) -> None:
        """A record that was acknowledged is there after a stop and a start, at the same address."""
        create_topic(kafka)
        produce(kafka, b"before")

        kafka.stop()
        kafka.start()
        produce(kafka, b"after")

        assert read(kafka, count=2) == [b"before", b"after"]

    def test_records_outlive_a_crash(self, kafka: EmbeddedKafka) -> None:
        """A record that was acknowledged is there after SIGKILL of the node."""
        create_topic(kafka)
        produce(kafka, b"before")

        kafka.kill_node(1)
        kafka.start_node(1)

        assert read(kafka, count=1) == [b"before"]

    def test_frozen_it_does_not_answer_and_thawed_it_does(self, kafka: EmbeddedKafka) -> None:
        """A frozen node leaves a producer waiting; thawed it serves."""
        create_topic(kafka)
        kafka.freeze_node(1)
        with pytest.raises(KafkaError):
            produce(kafka, b"lost", deadline_seconds=1)

        kafka.thaw_node(1)
        produce(kafka, b"after")

        assert b"after" in read(kafka, count=1)

    def test_topics_are_not_made_on_demand(self, kafka: EmbeddedKafka) -> None:
        """A topic that nobody made can't be written to: a misspelt name is an error."""
        with pytest.raises(KafkaError):
            produce(kafka, b"lost", deadline_seconds=1)

    def test_three_nodes_survive_the_loss_of_any_one(self, tmp_path: Path) -> None:
        """With acks=all a record is on two nodes at least, so that one dead node loses and hinders nothing."""
        with EmbeddedKafka(tmp_path / "kafka", nodes=3, broker_session_seconds=SHORT_SESSION_SECONDS) as cluster:
            create_topic(cluster)
            # Not to be seen from outside: the second death takes the quorum, and with it every write.
            assert min_in_sync_replicas(cluster) == "2"
            produce(cluster, b"three nodes")

            cluster.kill_node(1)
            produce(cluster, b"two nodes")
            assert read(cluster, count=2) == [b"three nodes", b"two nodes"]

            cluster.start_node(1)
            cluster.kill_node(2)
            produce(cluster, b"two other nodes")
            assert read(cluster, count=3) == [b"three nodes", b"two nodes", b"two other nodes"]

    def test_a_folder_keeps_its_number_of_nodes(self, tmp_path: Path) -> None:
        """A folder of three nodes is not opened as one node, which would leave two thirds of the data unread."""
        three = EmbeddedKafka(tmp_path, nodes=3)
        assert three.node_ids == [1, 2, 3]

        with pytest.raises(PartsError, match="3 nodes, not 1"):
            EmbeddedKafka(tmp_path)
        assert three.bootstrap_servers == EmbeddedKafka(tmp_path, nodes=3).bootstrap_servers

    def test_a_failed_start_shows_the_log(self, tmp_path: Path) -> None:
        """The error of a node that does not start holds Kafka's own words."""
        cluster = EmbeddedKafka(tmp_path)
        data_folder = tmp_path / "node-1" / "data"
        data_folder.mkdir(parents=True)
        (data_folder / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=another\n")

        with pytest.raises(PartsError, match="node id 7") as refused, cluster:
            pass

        assert str(tmp_path / "node-1" / "kafka.log") in str(refused.value)


class TestJars:
    """What holds of the jars and their lock."""

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Path:
        """A cache of its own, filled from the machine's."""
        java_command()
        (filled,) = {jar.parent for jar in resolve_jars(cache_folder())}
        shutil.copytree(filled, tmp_path / filled.parent.name / "jars")
        return tmp_path

    def test_a_jar_that_is_not_the_locked_one_is_named(self, cache: Path) -> None:
        """One changed byte in one jar is an error that names the jar and its place."""
        jar = resolve_jars(cache)[7]
        content = bytearray(jar.read_bytes())
        content[100] ^= 1
        jar.write_bytes(content)

        with pytest.raises(PartsError, match=f"{jar} has sha256"):
            resolve_jars(cache)

    def test_a_jar_that_the_lock_does_not_know_is_named(self, cache: Path) -> None:
        """A jar that somebody put beside the others is an error."""
        (resolve_jars(cache)[0].parent / "intruder-1.0.jar").write_bytes(b"")

        with pytest.raises(PartsError, match=r"intruder-1\.0\.jar"):
            resolve_jars(cache)

    def test_a_full_cache_needs_no_network(self, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """With the network out of reach a full cache resolves, and one that lacks a jar says which."""
        cut_the_network(monkeypatch)
        jars = resolve_jars(cache)
        assert LOCK_FILE.read_text().count('" = "') == len(jars)

        jars[7].unlink()

        name = jars[7].stem.rpartition("-")[0]
        with pytest.raises(PartsError, match=f":{name}:.* can't be fetched"):
            resolve_jars(cache)

    def test_a_fetched_jar_that_is_not_the_locked_one_is_not_kept(self, cache: Path, tmp_path: Path) -> None:
        """A source that serves another jar than the lock names is refused, and nothing of it stays."""
        jar = resolve_jars(cache)[0]
        jar.unlink()
        lock_file = tmp_path / "kafka.lock.toml"
        name = jar.stem.rpartition("-")[0]
        lines = LOCK_FILE.read_text().splitlines()
        lock_file.write_text(
            "\n".join(set_sha256(line, "0" * 64) if f":{name}:" in line else line for line in lines)
        )

        with pytest.raises(PartsError, match=f"{jar.name} has sha256"):
            resolve_jars(cache, lock_file)

        assert not jar.exists()


class TestParts:
    """What holds of both together."""

    def test_both_are_given_and_both_are_stopped(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Inside the block both answer, after it neither does."""
        monkeypatch.setenv("GUARD_TEST_PARTS", "embedded")

        with parts.test_parts(tmp_path) as given:
            assert answers(given.database_url)
            assert {1} == broker_ids(given.bootstrap_servers)

        assert not answers(given.database_url)
        with pytest.raises(KafkaError):
            broker_ids(given.bootstrap_servers)

    def test_parts_that_are_not_there_fail(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """External parts that nobody named are an error, not a skip."""
        monkeypatch.setenv("GUARD_TEST_PARTS", "external")
        monkeypatch.delenv("GUARD_DATABASE_URL", raising=False)

        with pytest.raises(PartsError, match="GUARD_DATABASE_URL"), parts.test_parts(tmp_path):
            pass

    def test_servers_do_not_outlive_a_parent_that_was_killed(self, tmp_path: Path) -> None:
        """SIGKILL of the process that started them ends every server process, a frozen one too."""
        script = (
            "import pathlib, sys, psutil; from tests import parts\n"
            f"with parts.test_parts(pathlib.Path({str(tmp_path)!r})):\n"
            "    children = psutil.Process().children(recursive=True)\n"
            "    print(*(child.pid for child in children), flush=True)\n"
            "    sys.stdin.read()\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"GUARD_TEST_PARTS": "embedded", "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as parent:
            assert parent.stdout
            children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
            assert {"java", "postgres"} <= {child.name() for child in children}
            for child in children:
                if child.name() == "postgres":
                    child.send_signal(signal.SIGSTOP)

            parent.kill()

            _, alive = psutil.wait_procs(children, timeout=ORPHAN_DEADLINE_SECONDS)
        assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE] == []


# --- The clients ---


def execute(url: str, statement: str) -> None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def query_row(url: str, statement: str) -> tuple[object, ...] | None:
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()


def answers(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True


def create_topic(cluster: EmbeddedKafka) -> None:
    """Make the topic, of one partition, with the cluster's default of replicas."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(TOPIC, 1, -1)])


def min_in_sync_replicas(cluster: EmbeddedKafka) -> str:
    """What the topic has from the cluster's default."""
    name = "min.insync.replicas"
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as admin:
        settings = admin.describe_configs([ConfigResource("TOPIC", TOPIC, [name])], config_filter="all")
        return str(settings["topic"][TOPIC][name]["value"])


def produce(cluster: EmbeddedKafka, value: bytes, *, deadline_seconds: int = ANSWER_DEADLINE_SECONDS) -> None:
    """Write one record with acks=all, within the deadline; the error is Kafka's."""
    deadline_ms = deadline_seconds * 1000
    producer = KafkaProducer(
        bootstrap_servers=cluster.bootstrap_servers,
        acks="all",
        bootstrap_timeout_ms=deadline_ms,
        max_block_ms=deadline_ms,
        delivery_timeout_ms=deadline_ms,
        request_timeout_ms=min(deadline_ms, 5000),
        linger_ms=0,
    )
    try:
        producer.send(TOPIC, value, partition=0).get(timeout=deadline_seconds + 1)
    finally:
        producer.close(timeout=1)


def read(cluster: EmbeddedKafka, *, count: int) -> list[bytes]:
    """The first records of the topic."""
    consumer = KafkaConsumer(
        bootstrap_servers=cluster.bootstrap_servers, consumer_timeout_ms=ANSWER_DEADLINE_SECONDS * 1000
    )
    with contextlib.closing(consumer):
        consumer.assign([TopicPartition(TOPIC, 0)])
        consumer.seek_to_beginning()
        return [record.value for _, record in zip(range(count), consumer, strict=False)]


def broker_ids(bootstrap_servers: str) -> set[int]:
    with contextlib.closing(
        KafkaAdminClient(bootstrap_servers=bootstrap_servers, bootstrap_timeout_ms=2000)
    ) as admin:
        return {broker["broker_id"] for broker in admin.describe_cluster()["brokers"]}


@contextlib.contextmanager
def other_program(*, uid: int) -> Iterator[int]:
    """A process of this user that is no PostgreSQL."""
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=uid) as process:
        yield process.pid


def cut_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what goes through the HTTP client to a proxy that nobody runs."""
    (nobody,) = free_ports(1)
    for scheme in ("http", "https", "all"):
        for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper()):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def set_sha256(lock_line: str, sha256: str) -> str:
    artifact, _ = lock_line.split(" = ")
    return f'{artifact} = "{sha256}"'
