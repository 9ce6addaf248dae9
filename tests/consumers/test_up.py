"""`up` as a process: servers of its own, roles that are replaced when they die, and an orderly end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg2
import pytest

from consumers.compose import House
from consumers.roles import RoleRefusedError, Roles
from consumers.telecom import Customer
from consumers.terminal import EXIT_UNAVAILABLE, EXIT_USAGE
from infra import logs
from infra.embedded import free_ports
from infra.settings import Settings
from tests import parts as real_parts
from tests.builders import day

UP = (sys.executable, "-m", "consumers.main", "up")
DEADLINE_SECONDS = 60
POLL_SECONDS = 0.05

pytestmark = pytest.mark.parts


class Running:
    """An `up`, what it said, and where its servers are."""

    def __init__(self, process: subprocess.Popen[str], words: str) -> None:
        self.process = process
        self.words = words
        self.database_url = _found(r"GUARD_DATABASE_URL=(\S+)", words)
        self.bootstrap_servers = _found(r"GUARD_KAFKA_BOOTSTRAP_SERVERS=(\S+)", words)

    def pid(self, role: str) -> int:
        """The process of a role, as it was started first."""
        return int(_found(rf"{role} \(pid (\d+)\)", self.words))

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """What a query gives."""
        with closing(psycopg2.connect(self.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall()


def test_up_runs_the_main_job_and_replaces_what_dies(tmp_path: Path) -> None:
    """A recall goes out, a killed worker is replaced and reads on, SIGTERM ends everything, and the data stays."""
    with _up(tmp_path) as running:
        customer = Customer(1, 850_00)
        _say(running, customer, paid=False)
        _wait(lambda: running.execute("SELECT count(*) FROM ledger") == [(2,)])
        os.kill(running.pid("ingest-1"), signal.SIGKILL)
        _say(running, customer, paid=True)
        _wait(lambda: running.execute("SELECT count(*) FROM recall WHERE sent_at IS NOT NULL") == [(1,)])
        roles = [running.pid("dispatch"), running.pid("sweep")]

        running.process.send_signal(signal.SIGTERM)

        assert running.process.wait(DEADLINE_SECONDS) == 0
        assert not any(_is_there(pid) for pid in roles)
    with _up(tmp_path) as again:
        assert again.execute("SELECT placement_id FROM recall") == [("placement-1",)]


def test_one_folder_is_for_one_up(tmp_path: Path) -> None:
    """Another says who is in its way, and what to do."""
    with _up(tmp_path):
        second = subprocess.run(
            UP, check=False, capture_output=True, text=True, env=_environment(tmp_path), timeout=DEADLINE_SECONDS
        )

    assert (second.returncode, second.stdout) == (EXIT_UNAVAILABLE, "")
    assert "is in use by another `handoff-guard up`: stop it, or set GUARD_DATA_FOLDER" in second.stderr


def test_servers_that_the_settings_name_are_not_touched(
    tmp_path: Path, parts: real_parts.Parts, database_url: str
) -> None:
    """A database of one's own that lacks the schema is not migrated: the roles refuse it, and `up` ends."""
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE alembic_version")
        connection.commit()
    environment = {
        **_environment(tmp_path),
        "GUARD_DATABASE_URL": database_url,
        "GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers,
    }

    ended = subprocess.run(
        UP, check=False, capture_output=True, text=True, env=environment, timeout=DEADLINE_SECONDS
    )

    assert ended.returncode == EXIT_USAGE
    assert "handoff-guard db upgrade" in ended.stderr
    assert "does not accept its settings, and has said why" in ended.stderr


def test_a_role_that_ends_at_once_is_started_after_a_pause(tmp_path: Path) -> None:
    """Each pause doubles; a role that has run for long is started again at once."""
    clock = [1000.0]
    settings = Settings.model_construct(data_folder=tmp_path, kafka_bootstrap_servers="127.0.0.1:1")
    roles = Roles(settings, logs.configure(role="test", level="ERROR"), clock=lambda: clock[0])
    role = roles._roles[0]

    pauses: list[float] = []
    for ran_seconds in (1.0, 1.0, 1.0, 60.0, 1.0):
        role.started_at = clock[0] - ran_seconds
        roles._see_end(role, 1, clock[0])
        pauses.append(role.start_at - clock[0])

    assert pauses == [0.5, 1.0, 2.0, 0.0, 0.5]
    with pytest.raises(RoleRefusedError, match="ingest-1 does not accept its settings"):
        roles._see_end(role, EXIT_USAGE, clock[0])


def _say(running: Running, customer: Customer, *, paid: bool) -> None:
    """The customer's debt is placed, or the customer pays."""
    said = [customer.paid(day(4))] if paid else [customer.referred(day(3)), customer.placed(day(3))]
    settings = Settings.model_construct(kafka_bootstrap_servers=running.bootstrap_servers)
    with closing(House(settings, logs.configure(role="test"), role="test").publisher()) as publisher:
        assert [True] * len(said) == publisher.publish(said)


@contextmanager
def _up(folder: Path) -> Iterator[Running]:
    """A running `up` whose data is in a folder; ended afterwards, and nothing of it is left."""
    process = subprocess.Popen(
        UP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=_environment(folder)
    )
    try:
        assert process.stdout is not None
        words = ""
        while "Ctrl-C" not in words:
            line = process.stdout.readline()
            assert line, f"up ended: {words}"
            words += line
        yield Running(process, words)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_SECONDS)
        if process.stdout is not None:
            process.stdout.close()


def _environment(folder: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GUARD_")}
    cache = {name: os.environ[name] for name in ("GUARD_CACHE_FOLDER",) if name in os.environ}
    return {
        **ours,
        **cache,
        "GUARD_DATA_FOLDER": str(folder),
        "GUARD_INGEST_CHECK_SECONDS": "0.5",
        "GUARD_API_PORT": str(free_ports(1)[0]),
    }


def _found(pattern: str, words: str) -> str:
    match = re.search(pattern, words)
    assert match is not None, words
    return match.group(1)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def _is_there(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
