"""Where tests get a real Kafka and a real PostgreSQL from.

Called by the fixtures of tests that are marked `parts`. GUARD_TEST_PARTS chooses: `embedded` (the default),
`containers`, or `external`. It never skips: parts that can't be had fail the tests that need them.

Import the module, not the function: in a test module pytest would collect a name that begins with `test_`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import PartsError, free_ports
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres

POSTGRES_IMAGE = "postgres:18.1"
KAFKA_IMAGE = "apache/kafka:4.3.1"
CONTAINER_DEADLINE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the real parts are."""

    database_url: str
    bootstrap_servers: str


@contextmanager
def test_parts(folder: Path) -> Iterator[Parts]:
    """Give the parts that GUARD_TEST_PARTS names, and stop what was started; `folder` is theirs to fill."""
    kind = os.environ.get("GUARD_TEST_PARTS", "embedded")
    match kind:
        case "embedded":
            yield from _embedded(folder)
        case "containers":
            yield from _containers()
        case "external":
            yield _external()
        case _:
            raise PartsError(f"GUARD_TEST_PARTS is {kind!r}: set it to embedded, containers or external")


def _embedded(folder: Path) -> Iterator[Parts]:
    postgres, kafka = EmbeddedPostgres(folder / "postgres"), EmbeddedKafka(folder / "kafka")
    try:
        with ThreadPoolExecutor(2) as threads:
            started = [threads.submit(postgres.start), threads.submit(kafka.start)]
        for start in started:
            start.result()
        yield Parts(database_url=postgres.url, bootstrap_servers=kafka.bootstrap_servers)
    finally:
        postgres.stop()
        kafka.stop()


def _containers() -> Iterator[Parts]:
    """Needs a container engine that answers (Docker or one like it), and the images or the network."""
    # Docker's client is only wanted where there is an engine.
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    from testcontainers.core.container import DockerContainer  # noqa: PLC0415
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy  # noqa: PLC0415

    (port,) = free_ports(1)  # Before the start, since the broker advertises it.
    postgres = PostgresContainer(POSTGRES_IMAGE, username="postgres", dbname="guard", driver=None)
    kafka = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port).with_envs(**_kafka_environment(port))
    started = LogMessageWaitStrategy("Kafka Server started").with_startup_timeout(CONTAINER_DEADLINE_SECONDS)
    with postgres, kafka.waiting_for(started):
        yield Parts(
            database_url=postgres.get_connection_url(),
            bootstrap_servers=f"{kafka.get_container_host_ip()}:{port}",
        )


def _kafka_environment(port: int) -> dict[str, str]:
    """The image's settings; once one is given, it wants all of them."""
    return {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:19093",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:19093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
    }


def _external() -> Parts:
    try:
        return Parts(
            database_url=os.environ["GUARD_DATABASE_URL"],
            bootstrap_servers=os.environ["GUARD_KAFKA_BOOTSTRAP_SERVERS"],
        )
    except KeyError as missing:
        raise PartsError(f"GUARD_TEST_PARTS=external needs {missing} set to where the part is") from missing
