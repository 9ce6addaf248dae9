"""When a delivery that failed is tried again, and when an agency is left alone for a while.

Called by `consumers.lane`. Pauses double up to a limit, with chance in them, so that what failed together does not
come back together. An agency that fails several times one after the other has an open circuit: nothing is sent to
it until a pause has passed, and then one message, to see. So a dead agency costs its own messages time alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

FIRST_PAUSE = timedelta(seconds=1)
"""After the first attempt that failed: most faults of a network are shorter."""

LONGEST_PAUSE = timedelta(minutes=15)
"""Between attempts, however many have failed: an agency that is back hears of a paid customer within it."""

ASKED_PAUSE_MAX = timedelta(hours=1)
"""The longest pause that an agency may ask for (`Retry-After`)."""

CIRCUIT_OPENS_AFTER = 3
"""Failures one after the other: fewer may be chance."""

CIRCUIT_PAUSE_MAX = timedelta(seconds=30)
"""Between looks whether an agency is back; one message each, so that it costs little to look often."""


def pause_after(attempts: int, *, chance: float, asked_seconds: float | None = None) -> timedelta:
    """How long to wait after so many attempts. `chance` is from 0 to 1; half of the pause is left to it."""
    pause = _doubled(FIRST_PAUSE, attempts, LONGEST_PAUSE) * (0.5 + chance / 2)
    if asked_seconds is None:
        return pause
    return max(pause, timedelta(seconds=min(asked_seconds, ASKED_PAUSE_MAX.total_seconds())))


@dataclass(frozen=True, slots=True)
class Circuit:
    """How the last attempts to reach an agency went. `open_until` is None where nothing stands in the way."""

    failures: int = 0
    open_until: datetime | None = None
    last_error: str = ""

    def is_open(self, now: datetime) -> bool:
        """Whether nothing may be sent now."""
        return self.open_until is not None and now < self.open_until

    @property
    def is_tried(self) -> bool:
        """Whether it was open, so that one message is enough to see."""
        return self.open_until is not None

    def after_failure(self, now: datetime, error: str, *, chance: float, times: int = 1) -> Circuit:
        """The circuit after attempts that did not reach the agency."""
        # What fails together is no more than enough to open it; each look that fails then counts.
        failures = self.failures + 1 if self.is_tried else min(self.failures + times, CIRCUIT_OPENS_AFTER)
        if failures < CIRCUIT_OPENS_AFTER:
            return Circuit(failures, None, error)
        looks = failures - CIRCUIT_OPENS_AFTER + 1
        pause = _doubled(FIRST_PAUSE, looks, CIRCUIT_PAUSE_MAX) * (0.5 + chance / 2)
        return Circuit(failures, now + pause, error)


CLOSED = Circuit()
"""The circuit of an agency that answers."""


def _doubled(first: timedelta, times: int, most: timedelta) -> timedelta:
    """`first` for the first time, twice as long for each that follows, at most `most`."""
    doublings = min(max(times, 1) - 1, 30)  # More would be past any limit here, and past what a timedelta holds.
    return min(first * (1 << doublings), most)
