"""Whether the loops of a process turn: each beats, and one that is silent for longer than it may be is told in
words.

Built where a process starts; beaten by the loops of the roles, asked by `consumers.ops` for `/livez` and for the
metric. Ends nothing itself: whoever asks starts the process again, and `consumers.watchdog` ends an `ingest`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOP_SILENT_SECONDS = 60.0
"""Twice the longest transaction (30 s): a batch that takes all of it is slow and not stuck."""

START_SECONDS = 120.0
"""A role waits up to 60 s for its database, and as long for its broker, before its loop begins."""


class Beat:
    """The beats of one loop. Any thread may beat; the call is an assignment."""

    def __init__(self, name: str, kind: str, limit_seconds: float, clock: Callable[[], float]) -> None:
        self.name = name
        self.kind = kind
        self.limit_seconds = limit_seconds
        self._clock = clock
        self._at = clock()

    def __call__(self) -> None:
        """The loop turns."""
        self._at = self._clock()

    @property
    def age_seconds(self) -> float:
        """Since when it has not."""
        return max(0.0, self._clock() - self._at)


class Pulse:
    """The loops of one process."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began_at = clock()
        self._lock = threading.Lock()
        self._beats: list[Beat] = []

    def loop(self, name: str, *, kind: str = "", limit_seconds: float = LOOP_SILENT_SECONDS) -> Beat:
        """A loop that begins now, and beats by the returned call. `kind` is what the metric calls it and its
        like."""
        beat = Beat(name, kind or name, limit_seconds, self._clock)
        with self._lock:
            self._beats.append(beat)
        return beat

    def end(self, beat: Beat) -> None:
        """A loop has ended in order."""
        with self._lock:
            self._beats.remove(beat)

    @property
    def has_begun(self) -> bool:
        """Whether any loop has begun."""
        return bool(self._beats)

    def ages(self) -> dict[str, float]:
        """Since when the slowest loop of each kind has not turned."""
        ages: dict[str, float] = {}
        for beat in self._all():
            ages[beat.kind] = max(beat.age_seconds, ages.get(beat.kind, 0.0))
        return ages

    def stuck(self) -> list[str]:
        """What does not turn, in words; nothing where all is well."""
        if not self.has_begun:
            waited = self._clock() - self._began_at
            return [f"nothing has begun for {waited:.0f} s"] if waited > START_SECONDS else []
        return [
            f"{beat.name} has not turned for {beat.age_seconds:.0f} s (it may take {beat.limit_seconds:.0f})"
            for beat in self._all()
            if beat.age_seconds > beat.limit_seconds
        ]

    def _all(self) -> list[Beat]:
        with self._lock:
            return list(self._beats)
