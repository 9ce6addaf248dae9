"""The read barrier: waits until all that was acknowledged before a question is in the account state (S1).

Called with each clearance and each confirmation, from any number of threads. Questions that wait together share
one look at the brokers, begun after the last of them arrived; then one look after another at the stored
positions, until these have reached what the brokers said. Never answers anything itself.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from domain.streams import Seen
from infra.kafka.horizon import Horizon, UncertainError
from infra.postgres.streams import Registered, Streams

PAUSE_SECONDS = 0.002
"""Between looks at the positions: a batch in hand takes 4 to 25 ms."""

T = TypeVar("T")


class BehindError(Exception):
    """Not all that was acknowledged before the question is known to be there; the message says why."""


class Barrier:
    """One for all the questions of a process."""

    def __init__(self, *, horizon: Horizon, streams: Streams, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        # Half of the wait, so that who comes during a look that fails has the time for one of his own.
        self._ends = Shared(lambda: horizon.look(deadline_seconds=wait_seconds / 2))
        self._registered = Shared(streams.registered)

    def cross(self) -> None:
        """Return once every event acknowledged before this call is in the state.

        Raises BehindError where that can't be said within `wait_seconds`, DatabaseUnavailableError where the
        database does not answer.
        """
        until = time.monotonic() + self._wait_seconds
        try:
            before = self._registered.get(until)
            ends = self._certain_ends(until)
            if why := _cut_short(ends, before):
                raise BehindError(why)
            if _missing(ends, before):
                self._wait(ends, until)
        except (UncertainError, TimeoutError) as why:
            raise BehindError(str(why)) from why

    def _wait(self, ends: Mapping[str, Seen], until: float) -> None:
        """Return once the positions have reached these ends."""
        while why := _missing(ends, self._registered.get(until)):
            if time.monotonic() + PAUSE_SECONDS > until:
                raise BehindError(why)
            time.sleep(PAUSE_SECONDS)

    def _certain_ends(self, until: float) -> Mapping[str, Seen]:
        """What a look saw that began after this call; another is taken while there is time."""
        while True:
            try:
                return self._ends.get(until)
            except UncertainError:
                if time.monotonic() + PAUSE_SECONDS > until:
                    raise


class Shared(Generic[T]):
    """A look that is shared by all who asked before it began; one at a time."""

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._changed = threading.Condition()
        self._begun = 0
        self._ended = 0
        self._outcome: Callable[[], T] = look

    def get(self, until: float) -> T:
        """What a look saw that began after this call. Raises TimeoutError at the monotonic instant `until`."""
        with self._changed:
            wanted = self._begun + 1
            while self._ended < wanted and self._begun > self._ended:
                if not self._changed.wait(max(0.0, until - time.monotonic())):
                    raise TimeoutError("the look that was asked for did not end in time")
            if self._ended >= wanted:
                return self._outcome()
            self._begun += 1
        outcome = _outcome_of(self._look)
        with self._changed:
            self._outcome = outcome
            self._ended += 1
            self._changed.notify_all()
        return outcome()


def _outcome_of(look: Callable[[], T]) -> Callable[[], T]:
    """What a look gave or raised, to be given or raised to each who waited for it."""
    try:
        seen = look()
    except Exception as why:  # noqa: BLE001 # It is raised again to all who asked.
        raised = why

        def again() -> T:
            raise raised

        return again
    return lambda: seen


def _cut_short(ends: Mapping[str, Seen], registered: Mapping[str, Registered]) -> str | None:
    """Which log now ends before what was read of it already, and where; None where none does.

    The brokers lost its end, as in a power cut before their disks had it. What they acknowledge from then on takes
    the places of what was lost, and so would pass for read.
    """
    for topic, known in registered.items():
        seen = ends.get(topic)
        if seen is None or seen.topic_id != known.kept.topic_id:
            continue
        for partition, position in known.kept.positions.items():
            if position > seen.ends.get(partition, position):
                return f"{topic}/{partition} ends at {seen.ends[partition]}, but was read up to {position}"
    return None


def _missing(ends: Mapping[str, Seen], registered: Mapping[str, Registered]) -> str | None:
    """Which stream's state does not hold all up to its end, and why; None where all do."""
    for topic, seen in ends.items():
        known = registered.get(topic)
        if known is None:
            return f"{topic} was never read"
        if known.stopped is not None:
            return f"{topic} is stopped: {known.stopped}"
        if known.kept.topic_id != seen.topic_id:
            return f"{topic} was deleted and made again"
        if known.kept.positions.keys() != seen.ends.keys():
            return f"{topic} had {len(known.kept.positions)} partitions, now {len(seen.ends)}"
        for partition, end in seen.ends.items():
            if known.kept.positions[partition] < end:
                return f"{topic}/{partition} is read up to {known.kept.positions[partition]} of {end}"
    return None
