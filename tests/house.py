"""The roles of the guard as processes on real parts, with their logs, metrics and addresses, for tests.

Used by the acceptance tests and the drills; `tests.faults.ground` has the same for a cluster that is broken.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2

from infra.embedded import free_ports
from infra.wire.kinds import OUTBOUND_TOPICS
from tests import inbound
from tests.environment import unset
from tests.faults.worker import ROOT, Worker, wait_until
from tests.parts import Parts

ROLES = ("ingest", "dispatch", "sweep", "api")

Json = dict[str, Any]  # `Any`: a log line is as varied as what it is of.


@dataclass(slots=True)
class House:
    """Processes of one guard, and where each is looked at."""

    bootstrap_servers: str
    database_url: str
    folder: Path
    settings: Mapping[str, str]
    api_port: int
    metrics_ports: dict[str, int]
    workers: dict[str, Worker] = field(default_factory=dict)
    ended: list[Worker] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.api_port}"

    def start(self, *roles: str) -> None:
        """Start these roles; one that was started before is started again, with a log of its own."""
        for role in roles:
            if role in self.workers:
                self.ended.append(self.workers[role])
            settings = {
                "DATABASE_URL": self.database_url,
                "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
                "API_PORT": str(self.api_port),
                "METRICS_PORT": str(self.metrics_ports[role]),
                **self.settings,
            }
            log_file = self.folder / f"{role}-{len(self.ended)}.log"
            self.workers[role] = Worker(role, (), settings=settings, log_file=log_file)

    def wait_until_ready(self, *roles: str) -> None:
        """Wait until each of these serves its metrics, and the partitions are read."""
        for role in roles:
            wait_until(f"{role} is up\n{self.workers[role].last_words()}", lambda role=role: self.is_up(role))  # type: ignore[misc] # A default has no type.

    def is_up(self, role: str) -> bool:
        """Whether it serves its metrics."""
        try:
            return bool(self.metrics(role))
        except OSError:
            return False

    def metrics(self, role: str) -> str:
        """What it shows."""
        port = self.api_port if role == "api" else self.metrics_ports[role]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:  # Our own.
            return str(answer.read().decode())

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:  # `Any`: rows are untyped.
        """What the database answers."""
        with closing(psycopg2.connect(self.database_url)) as connected, connected.cursor() as cursor:
            connected.autocommit = True
            cursor.execute(statement, values or None)
            return list(cursor.fetchall()) if cursor.description else []

    def logs(self) -> dict[str, str]:
        """What each process has said, by the name of its file."""
        return {file.name: file.read_text(errors="replace") for file in sorted(self.folder.glob("*.log"))}

    def lines(self) -> list[Json]:
        """Every line of every log, as the object that it is."""
        return [json.loads(line) for text in self.logs().values() for line in text.splitlines()]

    def logged(self, event: str) -> list[Json]:
        """The lines of one event."""
        return [one for one in self.lines() if one.get("event") == event]

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `handoff-guard` with these words, as an operator does in a terminal."""
        settings = {"DATABASE_URL": self.database_url, "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers}
        named = {f"GUARD_{name}": value for name, value in {**settings, **self.settings}.items()}
        command = [sys.executable, "-m", "consumers.main", *words]
        return subprocess.run(
            command, cwd=ROOT, env=unset() | named, capture_output=True, text=True, timeout=120, check=False
        )

    def key(self, *scopes: str) -> str:
        """A new key with these scopes."""
        made = self.command("keys", "create", "tests", *(f"--scope={scope}" for scope in scopes), "--json")
        assert made.returncode == 0, made.stderr
        return str(json.loads(made.stdout)["key"])

    def stop(self) -> None:
        """Have every role finish what it has in hand."""
        running = [one for one in (*self.workers.values(), *self.ended) if one.is_running]
        for one in running:
            one.ask_to_stop()
        for one in running:
            if one.wait() is None:
                one.kill()


@contextmanager
def house(parts: Parts, database_url: str, folder: Path, settings: Mapping[str, str]) -> Iterator[House]:
    """A house with no role running yet, on empty topics of the session's Kafka."""
    inbound.begin(parts.bootstrap_servers)
    with inbound.known(parts.bootstrap_servers) as cluster:
        cluster.create(dict.fromkeys(OUTBOUND_TOPICS, inbound.PARTITIONS))
    api_port, *ports = free_ports(1 + len(ROLES))
    folder.mkdir(parents=True, exist_ok=True)
    made = House(
        bootstrap_servers=parts.bootstrap_servers,
        database_url=database_url,
        folder=folder,
        settings={"KAFKA_GROUP": f"house-{secrets.token_hex(4)}", "INGEST_CHECK_SECONDS": "1", **settings},
        api_port=api_port,
        metrics_ports=dict(zip(ROLES, ports, strict=True)),
    )
    with ExitStack() as stack:
        stack.callback(made.stop)
        yield made
