"""When each producer was last heard, gathered of what comes in and written down every few seconds.

Used by `ingest`, and by `api` for creditors without Kafka. In memory between two writes, so a batch costs no
statement more; a process that dies loses some seconds of it, where an alarm asks for an hour.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime

from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.producers import Producers
from infra.wire.decode import Decoded

WRITE_SECONDS = 5.0
"""Between writes of one process."""

HELD_MAX = 1_000
"""Sources between two writes: what is more is heard of the next time."""


class Heard:
    """What one process has heard."""

    def __init__(self, producers: Producers, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._producers = producers
        self._clock = clock
        self._lock = threading.Lock()
        self._write_at = float("-inf")
        self._last: dict[tuple[str, str], datetime] = {}

    def of(self, entries: Iterable[Decoded]) -> None:
        """These were said, and are in the state."""
        last = {(entry.topic, entry.source): entry.origin.received_at for entry in entries}
        with self._lock:
            for said, at in last.items():
                before = self._last.get(said)
                if before is None and len(self._last) >= HELD_MAX:
                    continue
                if before is None or before < at:
                    self._last[said] = at

    def write_if_due(self) -> None:
        """Write it down, where the last time was some seconds ago; where the database is away, the next time."""
        with self._lock:
            if not self._last or self._clock() < self._write_at:
                return
            self._write_at = self._clock() + WRITE_SECONDS
            last, self._last = self._last, {}
        try:
            self._producers.heard(last)
        except DatabaseUnavailableError:
            self._keep(last)

    def _keep(self, last: dict[tuple[str, str], datetime]) -> None:
        with self._lock:
            self._last = {**last, **self._last}
