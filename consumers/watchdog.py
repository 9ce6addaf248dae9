"""Whether a loop still turns and its partitions still move; a process that does neither ends itself.

Used by `ingest`. kafka-python has had partitions that stopped without a word, and a thread that hangs in a
call can't look after itself: so one thread watches the loop's beats, and the loop watches its positions.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping

from infra.logs import Logger

EXIT_STALLED = 70
"""The exit status of a worker that must be started again (EX_SOFTWARE of sysexits.h)."""


class StalledError(Exception):
    """A partition has records and did not move for too long."""


class Watchdog:
    """Beats of one loop, the times at which it looks at its streams, and the places that stand still."""

    def __init__(
        self,
        *,
        check_seconds: float,
        stalled_seconds: float,
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` hears of each beat too, for whoever asks from outside."""
        self._check_seconds = check_seconds
        self._stalled_seconds = stalled_seconds
        self._log = log
        self._clock = clock
        self._beat = beat
        self._beaten_at = clock()
        self._look_at = 0.0
        self._since: dict[tuple[str, int], tuple[int, float]] = {}

    def guard(self) -> None:
        """Watch the beats from a thread of its own, and end the process where they stop."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self) -> None:
        """The loop turns."""
        self._beaten_at = self._clock()
        self._beat()

    def look_is_due(self) -> bool:
        """Whether it is time to look at the streams; says yes once each `check_seconds`."""
        now = self._clock()
        if now < self._look_at:
            return False
        self._look_at = now + self._check_seconds
        return True

    def look_soon(self) -> None:
        """The next look is due at once."""
        self._look_at = 0.0

    def behind(self, positions: Mapping[tuple[str, int], int]) -> None:
        """These places have records to read, and are at these positions.

        Raises StalledError where one has been at the same position for `stalled_seconds`.
        """
        now = self._clock()
        self._since = {
            place: self._since[place] if self._since.get(place, (None,))[0] == position else (position, now)
            for place, position in positions.items()
        }
        for (topic, partition), (position, since) in self._since.items():
            if now - since > self._stalled_seconds:
                raise StalledError(f"{topic}/{partition} is behind, and at {position} for {now - since:.0f} s")

    def _watch(self) -> None:
        while True:
            time.sleep(self._stalled_seconds / 10)
            silent = self._clock() - self._beaten_at
            if silent > self._stalled_seconds:
                self._log.error("worker.stalled", silent_seconds=round(silent))
                os._exit(EXIT_STALLED)  # The loop's thread hangs, so nothing gentler would be heard.
