"""Whether a loop still turns and its partitions still move; a process that does neither ends itself.

Used by `ingest`. kafka-python has had partitions that stopped without a word, and a thread that hangs in a
call can't look after itself: so one thread watches the loop's beats, and the loop watches its positions.

Neither counts time in which nothing could have moved: a database or a broker that was away, a machine that stood.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import FrameType

from infra.logs import Logger

EXIT_STALLED = 70
"""The exit status of a worker that must be started again (EX_SOFTWARE of sysexits.h)."""


TICKS = 10
"""So many times in `stalled_seconds` the beats are watched; a loop that hangs misses all of them."""

LOOKS_APART_MAX = 2
"""Between two looks no more than so many times their distance counts: what took longer was not the reading."""


BACKLOG_EVENTS = 100
"""A place that moves and has more to read than this is being caught up with: the others may have to wait for it."""

BUSY_TIMES = 10
"""So many times longer may a place stand while another is caught up with: the library drains them one by one."""


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
        self._looked_at = clock()
        self._stood: dict[tuple[str, int], tuple[int, float]] = {}

    def guard(self) -> None:
        """Watch the beats of this thread from another, and end the process where they stop."""
        watched = (threading.get_ident(),)
        threading.Thread(target=self._watch, args=watched, name="watchdog", daemon=True).start()

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

    def behind(
        self, positions: Mapping[tuple[str, int], int], unread: Mapping[tuple[str, int], int] | None = None
    ) -> None:
        """These places have records to read, and are at these positions; `unread` is how many records each has.

        Raises StalledError where one has been at the same position for `stalled_seconds` in which it was looked at.
        """
        now = self._clock()
        passed = min(now - self._looked_at, LOOKS_APART_MAX * self._check_seconds)
        self._looked_at = now
        before = self._stood
        if any(
            place in before and before[place][0] != positions[place] and records > BACKLOG_EVENTS
            for place, records in (unread or {}).items()
        ):
            passed /= BUSY_TIMES
        self._stood = {place: (position, 0.0) for place, position in positions.items()}
        for place, (position, stood) in before.items():
            if positions.get(place) == position:
                self._stood[place] = (position, stood + passed)
        for (topic, partition), (position, stood) in self._stood.items():
            if stood > self._stalled_seconds:
                raise StalledError(f"{topic}/{partition} is behind, and at {position} for {stood:.0f} s")

    def _watch(self, watched: int) -> None:
        """Look at a thread's beats; where none comes for `TICKS` looks, say where it hangs and end the process."""
        seen, missed = self._beaten_at, 0
        while missed < TICKS:
            time.sleep(self._stalled_seconds / TICKS)
            missed = missed + 1 if self._beaten_at == seen else 0
            seen = self._beaten_at
        hangs_at = _places(sys._current_frames().get(watched))  # noqa: SLF001 # There is no other way to see it.
        self._log.error("worker.stalled", silent_seconds=round(self._clock() - seen), hangs_at=hangs_at)
        os._exit(EXIT_STALLED)  # The loop's thread hangs, so nothing gentler would be heard.


def _places(frame: FrameType | None) -> list[str]:
    """Where a thread is, its innermost call last: files, lines and functions, and no values."""
    return [f"{one.filename}:{one.lineno} {one.name}" for one in traceback.extract_stack(frame)] if frame else []
