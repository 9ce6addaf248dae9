"""The collector of the demo: a simulated agency as a process of its own, which acknowledges a recall and calls on.

Started by `consumers.demo` beside the roles. It reads `guard.recalls` and answers on `agencies.events`, as any
agency on Kafka does; what it does is in `consumers.agency`.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM

from consumers.stage import StoryFailedError
from infra.embedded import Child

AGENCY = "agency-east"

READY = f"agency {AGENCY}: "
LOOK_SECONDS = 0.02
STOP_SECONDS = 5.0


class Collector:
    """One such agency."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Start it; its books and what it says are in a folder."""
        folder.mkdir()
        self._log = folder / "said.log"
        command = [sys.executable, "-m", "consumers.main", "agency-simulator", AGENCY, "--kafka", "--call-on", "1"]
        self._child = Child(
            [*command, "--data", str(folder)],
            if_orphaned="kill -s TERM $1",
            log_file=self._log,
            environment=environment,
        )

    def wait_until_ready(self, stop: threading.Event, *, deadline_seconds: float) -> None:
        """Wait until it reads. Raises StoryFailedError where it does not in time."""
        deadline = time.monotonic() + deadline_seconds
        while READY not in self._log.read_text(errors="replace"):
            if time.monotonic() > deadline or not self._child.is_running() or stop.wait(LOOK_SECONDS):
                raise StoryFailedError(f"{AGENCY} does not read what it is told")

    def close(self) -> None:
        """End it."""
        self._child.signal_group(SIGTERM)
        if not self._child.wait(deadline_seconds=STOP_SECONDS):
            self._child.kill()
