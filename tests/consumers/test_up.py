"""`up` as a process: servers of its own, roles that are replaced when they die, and an orderly end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import psycopg2
import pytest

from consumers.roles import RoleRefusedError, Roles
from consumers.telecom import Customer
from consumers.terminal import EXIT_UNAVAILABLE, EXIT_USAGE
from infra import logs
from infra.settings import Settings
from tests import parts as real_parts
from tests.builders import day
from tests.running_up import DEADLINE_SECONDS, UP, Running, environment, running_up

POLL_SECONDS = 0.05

pytestmark = pytest.mark.parts


def test_up_runs_the_main_job_and_replaces_what_dies(tmp_path: Path) -> None:
    """A recall goes out, a killed worker is replaced and reads on, SIGTERM ends everything, and the data stays."""
    with running_up(tmp_path) as running:
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
    with running_up(tmp_path) as again:
        assert again.execute("SELECT placement_id FROM recall") == [("placement-1",)]


def test_one_folder_is_for_one_up(tmp_path: Path) -> None:
    """Another says who is in its way, and what to do."""
    with running_up(tmp_path):
        second = subprocess.run(
            UP, check=False, capture_output=True, text=True, env=environment(tmp_path), timeout=DEADLINE_SECONDS
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
    named = {
        **environment(tmp_path),
        "GUARD_DATABASE_URL": database_url,
        "GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers,
    }

    ended = subprocess.run(UP, check=False, capture_output=True, text=True, env=named, timeout=DEADLINE_SECONDS)

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
    running.say(*([customer.paid(day(4))] if paid else [customer.referred(day(3)), customer.placed(day(3))]))


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
