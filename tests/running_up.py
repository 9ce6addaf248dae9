"""A real `up` as a newcomer starts it: its process, what it said, and where its servers are.

Used by the tests of `up` and of the stories.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2

from consumers.compose import House
from consumers.telecom import Saying
from infra import logs
from infra.embedded import free_ports
from infra.settings import Settings
from tests.environment import unset

UP = (sys.executable, "-m", "consumers.main", "up")
DEADLINE_SECONDS = 60


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

    def say(self, *said: Saying) -> None:
        """Have the broker acknowledge these."""
        settings = Settings.model_construct(kafka_bootstrap_servers=self.bootstrap_servers)
        with closing(House(settings, logs.configure(role="test"), role="test").publisher()) as publisher:
            assert [True] * len(said) == publisher.publish(list(said))


@contextmanager
def running_up(folder: Path, **settings: str) -> Iterator[Running]:
    """An `up` whose data is in a folder, with more settings; ended afterwards, and nothing of it is left."""
    named = {f"GUARD_{name}": value for name, value in settings.items()}
    process = subprocess.Popen(
        UP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(folder) | named
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


def environment(folder: Path) -> dict[str, str]:
    """What an `up` in this folder is started with."""
    return {
        **unset(),
        "GUARD_DATA_FOLDER": str(folder),
        "GUARD_INGEST_CHECK_SECONDS": "0.5",
        "GUARD_API_PORT": str(free_ports(1)[0]),
    }


def _found(pattern: str, words: str) -> str:
    match = re.search(pattern, words)
    assert match is not None, words
    return match.group(1)
