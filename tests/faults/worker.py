"""One real process of the guard, to be started, frozen and killed, and how to wait for what can only be looked at.

Used by `tests.faults.ground` and the fault tests.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]  # Ships without types; the extra `embedded` brings it.

from infra.embedded import Child
from tests.environment import unset

ROOT = Path(__file__).parents[2]

LOOK_SECONDS = 0.05
"""Between looks at what can only be asked: positions, groups, replicas, a file."""

LAST_WORDS_LINES = 20

END_SECONDS = 60
QUIET_SECONDS = 180
"""Far above what anything takes on a machine of its own: they end what never ends, and measure nothing."""


def wait_until(
    what: str,
    condition: Callable[[], bool],
    *,
    seconds: float = QUIET_SECONDS,
    seen: Callable[[], object] = lambda: "",
) -> None:
    """Look until it is so; fails, and says what was waited for and seen, where it does not become so in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what} {seen()}".rstrip())
        time.sleep(LOOK_SECONDS)


class Worker:
    """One real process of the guard, with its log in a file."""

    def __init__(
        self,
        role: str,
        arguments: Iterable[str],
        *,
        settings: Mapping[str, str],
        log_file: Path,
        module: str = "consumers.main",
        prefix: Sequence[str] = (),
    ) -> None:
        self.role = role
        self.log_file = log_file
        self._child = Child(
            [*prefix, sys.executable, "-m", module, role, *arguments],
            folder=ROOT,
            log_file=log_file,
            environment=_environment(settings),
            if_orphaned="kill -s KILL $1",
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._child.is_running()

    def kill(self) -> None:
        """SIGKILL: it does nothing more."""
        self._child.kill()

    def terminate(self) -> int | None:
        """SIGTERM, and its exit status when it has ended."""
        self.ask_to_stop()
        return self.wait()

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting."""
        self._child.signal_group(signal.SIGTERM)

    def wait(self) -> int | None:
        """Its exit status when it has ended; None where it has not in time."""
        self._child.wait(deadline_seconds=END_SECONDS)
        return self._child.exit_status

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has stopped."""
        self._child.signal_group(signal.SIGSTOP)
        seen = psutil.Process(self.pid)
        wait_until("the process has stopped", lambda: bool(seen.status() == psutil.STATUS_STOPPED))

    def thaw(self) -> None:
        """SIGCONT: it goes on, not knowing that time has passed."""
        self._child.signal_group(signal.SIGCONT)

    @property
    def ended_by_error(self) -> bool:
        """Whether it ended by itself, and not well."""
        return (self._child.exit_status or 0) > 0

    def last_words(self) -> str:
        """Who it is, how it ended, and the end of its log."""
        lines = self.log_file.read_text(errors="replace").splitlines()[-LAST_WORDS_LINES:]
        return "\n".join([f"{self.log_file.name}, status {self._child.exit_status}:", *lines])

    def ports(self) -> set[int]:
        """The local ports of its connections."""
        return {one.laddr.port for one in psutil.Process(self.pid).net_connections("tcp")}

    def logged(self, event: str) -> list[dict[str, Any]]:  # `Any`: as JSON gives it.
        """The log lines of an event."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in found if one.get("event") == event]


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    return {**unset(), **{f"GUARD_{name}": value for name, value in settings.items()}}
