"""The real parts that the benchmark measures on: Kafka, PostgreSQL with a state in it, the guard's processes.

Called by `bench.__main__`, `bench.rates` and `bench.latency`. Servers are started in a folder of the run and go
with it. The state is what years of payments leave behind: it is laid straight into the tables, as `ingest`
would have written it, since reading it in would take longer than the benchmark.
"""

from __future__ import annotations

import http
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import psycopg2
from tqdm import tqdm

from bench.workload import ACCOUNTS, BUSY_ACCOUNTS, BUSY_SHARE
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.postgres import schema
from infra.postgres.database import Database
from infra.wire.kinds import (
    AGENCIES,
    BY_TYPE,
    INBOUND_TOPICS,
    NOTICES,
    OUTBOUND_TOPICS,
    PAYMENTS,
    REFERRALS,
    STANDING,
)

PARTITIONS = {PAYMENTS: 4, REFERRALS: 2, AGENCIES: 2, NOTICES: 2, STANDING: 2}
"""Of the inbound topics; together as many as one worker of a small installation reads."""

POSTGRES_SETTINGS = {"shared_buffers": "4GB", "max_wal_size": "16GB", "checkpoint_timeout": "15min"}
"""Nothing but sizes that every installation sets; durability is as it comes."""

STOP_DEADLINE_SECONDS = 20
"""A worker finishes its batch and leaves the group; the dispatcher wakes up once a second."""

HOST = "127.0.0.1"

READY_SECONDS = 30.0

PRELOAD_STEP_PAYMENTS = 250_000

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class BenchError(Exception):
    """A measurement can't be taken; the message says why."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the real parts are, and the folder of the run."""

    database_url: str
    bootstrap_servers: str
    folder: Path

    @property
    def connection(self) -> Connection:
        """How to reach the broker."""
        return Connection(self.bootstrap_servers)


@contextmanager
def started(folder: Path) -> Iterator[Parts]:
    """Start both servers, with the schema and the topics; stop them at the end."""
    postgres = EmbeddedPostgres(folder / "postgres", settings=POSTGRES_SETTINGS)
    kafka = EmbeddedKafka(folder / "kafka")
    try:
        with ThreadPoolExecutor(2) as threads:
            starts = [threads.submit(postgres.start), threads.submit(kafka.start)]
        for start in starts:
            start.result()
        parts = Parts(postgres.url, kafka.bootstrap_servers, folder)
        with closing(Database(parts.database_url, application="bench")) as database:
            schema.upgrade(database)
        with closing(Cluster(parts.connection, client_id="bench")) as cluster:
            cluster.create({**PARTITIONS, **dict.fromkeys(OUTBOUND_TOPICS, 1)})
        yield parts
    finally:
        postgres.stop()
        kafka.stop()


def ends(parts: Parts) -> dict[tuple[str, int], int]:
    """The next offset of each inbound partition."""
    with closing(Cluster(parts.connection, client_id="bench")) as cluster:
        seen = cluster.look(INBOUND_TOPICS)
    return {
        (topic, partition): end
        for topic, one in seen.items()
        if one is not None
        for partition, end in one.ends.items()
    }


def sql(parts: Parts, *statements: str) -> None:
    """Run these statements, each in a transaction of its own."""
    with closing(psycopg2.connect(parts.database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


def lay_payments(parts: Parts, payments: int) -> None:
    """Put so many payments of earlier years into the state, spread over the accounts as the stream is."""
    steps = list(range(0, payments, PRELOAD_STEP_PAYMENTS))
    sql(parts, _LAY_ACCOUNTS)
    # Two at a time, since the measuring machine has that many cores at least.
    with ThreadPoolExecutor(2) as threads:
        laid = threads.map(lambda first: sql(parts, _lay_payments(first, payments)), steps)
        for _ in tqdm(laid, total=len(steps), desc=f"{payments:,} payments into the state", unit="step"):
            pass
    sql(parts, "VACUUM (ANALYZE) account", "VACUUM (ANALYZE) ledger", "CHECKPOINT")


def apart(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function in a fresh process, so that nothing of ours weighs on what it measures."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        return processes.submit(function, *args, **kwargs).result()


@contextmanager
def guard(parts: Parts, role: str, **settings: object) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the guard, started as it is in production; told to stop at the end."""
    environment = {
        **os.environ,
        "GUARD_DATABASE_URL": parts.database_url,
        "GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers,
        "GUARD_LOG_LEVEL": "WARNING",
        **{f"GUARD_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "consumers.main", role]
    with started_process(command, parts.folder / f"{role}.log", environment) as process:
        yield process


@contextmanager
def started_process(
    command: list[str], log_file: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its log in a file; told to stop at the end."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(command, env=environment, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    """Wait until a server on this port answers. Raises BenchError."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with closing(http.client.HTTPConnection(HOST, port, timeout=1)) as connection:
                connection.request("GET", "/livez")
                if connection.getresponse().status == http.HTTPStatus.OK:
                    return
        except OSError:
            time.sleep(0.1)
    raise BenchError(f"nothing answers on port {port} after {READY_SECONDS:.0f} s")


def _lay_payments(first: int, payments: int) -> str:
    last = min(first + PRELOAD_STEP_PAYMENTS, payments) - 1
    return _LAY_PAYMENTS.format(first=first, last=last)


_LAY_ACCOUNTS = f"""
INSERT INTO account (account_id)
SELECT 'a-' || lpad(n::text, 9, '0') FROM generate_series(0, {ACCOUNTS - 1}) n"""

_LAY_PAYMENTS = f"""
INSERT INTO ledger (account_id, event_key, digest, kind, source, event_id, event_time, received_at,
                    origin_partition, origin_offset, money_id, amount, currency, money_at, stored)
SELECT 'a-' || lpad(account::text, 9, '0'), md5(n::text)::uuid, md5(n::text)::uuid,
       {BY_TYPE["billing.payment.settled.v1"].number}, '/telecom/billing/eu-central-1',
       'e-' || n, at, at, 0, n, 'p-01934d2a-0000-7000-7000-' || lpad(n::text, 12, '0'),
       5000 + n % 145000, 'RUB', at, '{{{{"method":"card"}}}}'
FROM (
    SELECT n, timestamptz '2024-01-01' + n * interval '10 seconds' AS at,
           CASE WHEN random() < {BUSY_SHARE} THEN floor(random() * {BUSY_ACCOUNTS})
                ELSE {BUSY_ACCOUNTS} + floor(random() * {ACCOUNTS - BUSY_ACCOUNTS}) END::bigint AS account
    FROM generate_series({{first}}, {{last}}) n
) AS laid"""
