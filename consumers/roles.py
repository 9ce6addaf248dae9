"""The roles of `up` and `demo` as processes of their own: started, started again when they end, and stopped.

One that ends soon after its start is started again after a pause that doubles; one that refuses its settings
would refuse them again, so then nothing goes on. They end with us, however we go.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from signal import SIGTERM

from consumers.terminal import EXIT_USAGE
from infra.embedded import Child
from infra.logs import Logger
from infra.settings import PREFIX, Settings

STEADY_SECONDS = 10.0
"""A role that ran so long is started again at once."""

PAUSE_SECONDS = 0.5
PAUSE_MAX_SECONDS = 30.0
"""Before one that ended sooner is started again; doubled each time."""

STOP_DEADLINE_SECONDS = 35.0
"""A batch may take 30 s (its transaction's deadline) before a worker hears that it should stop."""


class RoleRefusedError(Exception):
    """A role does not accept its settings; it has said why."""


@dataclass(slots=True)
class _Role:
    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    child: Child | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    pause_seconds: float = field(default=PAUSE_SECONDS)


class Roles:
    """The processes of one house: ingest workers, a dispatcher, a sweeper and the API."""

    def __init__(
        self,
        settings: Settings,
        log: Logger,
        *,
        environment: Mapping[str, str] = os.environ,
        log_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._log_file = log_file
        self._clock = clock
        names = [
            *(f"ingest-{number + 1}" for number in range(settings.up_ingest_workers)),
            "dispatch",
            "sweep",
            "api",
        ]
        self._roles = [
            _Role(name, _command(name), {**environment, **_environment(settings, name, number)})
            for number, name in enumerate(names)
        ]

    @property
    def pids(self) -> dict[str, int]:
        """The process of each role that was started, by the role's name."""
        return {role.name: role.child.pid for role in self._roles if role.child is not None}

    def start(self) -> None:
        """Start every role."""
        for role in self._roles:
            self._start(role)

    def mend(self) -> None:
        """Start those again that have ended. Raises RoleRefusedError where one refuses its settings."""
        now = self._clock()
        for role in self._roles:
            if role.child is not None and role.child.exit_status is not None:
                self._see_end(role, role.child.exit_status, now)
            if role.child is None and now >= role.start_at:
                self._start(role)

    def close(self) -> None:
        """End every role: each finishes what it has in hand, or is killed when that takes too long."""
        children = [role.child for role in self._roles if role.child is not None]
        for child in children:
            child.signal_group(SIGTERM)
        deadline = self._clock() + STOP_DEADLINE_SECONDS
        for child in children:
            if not child.wait(deadline_seconds=max(0.0, deadline - self._clock())):
                child.kill()
        for role in self._roles:
            role.child = None

    def _start(self, role: _Role) -> None:
        role.child = Child(
            role.command,
            if_orphaned="kill -s TERM $1",
            log_file=self._log_file,
            environment=role.environment,
        )
        role.started_at = self._clock()

    def _see_end(self, role: _Role, exit_status: int, now: float) -> None:
        if role.child is not None:
            role.child.wait(deadline_seconds=0)  # Calls off its watch.
        role.child = None
        if exit_status == EXIT_USAGE:
            raise RoleRefusedError(f"{role.name} does not accept its settings, and has said why")
        steady = now - role.started_at >= STEADY_SECONDS
        role.start_at = now if steady else now + role.pause_seconds
        role.pause_seconds = PAUSE_SECONDS if steady else min(2 * role.pause_seconds, PAUSE_MAX_SECONDS)
        self._log.error("role.ended", name=role.name, exit_status=exit_status, again_in=role.start_at - now)


def _command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "consumers.main", name.partition("-")[0])


def _instance(settings: Settings, name: str) -> str:
    """A worker's name in the group: kept over a restart, so that one that was killed has its partitions back at
    once, and another on every host and folder, since two of one name would put each other out.
    """
    folder = blake2b(str(settings.data_folder.absolute()).encode(), digest_size=4).hexdigest()
    return f"{socket.gethostname()}-{folder}-{name}"


def _environment(settings: Settings, name: str, number: int) -> dict[str, str]:
    """What a role is told of the addresses that hold here; each serves its metrics on its own port."""
    environment = {f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers}
    if settings.database_url is not None:
        environment[f"{PREFIX}DATABASE_URL"] = settings.database_url.get_secret_value()
    if settings.metrics_port:
        environment[f"{PREFIX}METRICS_PORT"] = str(settings.metrics_port + number)
    if name == "api":
        environment[f"{PREFIX}API_HOST"], environment[f"{PREFIX}API_PORT"] = (
            settings.api_host,
            str(settings.api_port),
        )
    if name.startswith("ingest-"):
        environment[f"{PREFIX}INGEST_INSTANCE"] = _instance(settings, name)
    return environment
