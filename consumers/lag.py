"""For how long the first unread record of each topic has waited, from what a worker sees at its looks anyway.

Used by `ingest`. A position that has passed the end which a look saw has read all that was there by then: so the
record behind it is younger than that look. It costs no read of the log, and holds for partitions of other workers,
and of none, too. Before any look can say so (after a start), the last record that was read here says it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime

Place = tuple[str, int]

LOOKS_MAX = 512
"""Kept of a partition that does not move; then every second one goes, and the age is as exact as it is old."""


class Lag:
    """One for a worker."""

    def __init__(self, *, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._clock = clock
        self._began_at = clock()
        self._ends: dict[Place, list[tuple[float, int]]] = {}
        self._read_at: dict[Place, datetime] = {}

    def read(self, last: Mapping[Place, datetime]) -> None:
        """The broker's time of the last record that was taken of each of these partitions."""
        self._read_at.update(last)

    def seconds(self, positions: Mapping[Place, int], ends: Mapping[Place, int]) -> dict[str, float]:
        """By topic, of its partition that is longest behind; `positions` were asked before the ends."""
        now = self._clock()
        lags: dict[str, float] = {}
        for place, end in ends.items():
            if place in positions:
                seconds = self._of(place, positions[place], end, now)
                lags[place[0]] = max(seconds, lags.get(place[0], 0.0))
        self._ends = {place: seen for place, seen in self._ends.items() if place in ends}
        return lags

    def _of(self, place: Place, position: int, end: int, now: float) -> float:
        seen = self._ends.setdefault(place, [])
        passed = sum(seen_end <= position for _, seen_end in seen)
        since = seen[passed - 1][0] if passed else None
        del seen[: max(0, passed - 1)]
        seen.append((now, end))
        if len(seen) > LOOKS_MAX:
            del seen[1::2]
        if position >= end:
            return 0.0
        if since is not None:
            return now - since
        read_at = self._read_at.get(place)
        return now - self._began_at if read_at is None else max(0.0, (self._now() - read_at).total_seconds())
