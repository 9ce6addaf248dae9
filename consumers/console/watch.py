"""One look at everything for all who look: taken while somebody does, and shared by every open page of a process.

Used by the first page and by its stream. A look is one transaction and one question to the brokers, begun every two
seconds, and at once when a commit wakes the dispatcher; so a further page costs the database nothing. The brokers
are asked first: of what they said was there then, all that is read by now is in the state that is told, as at the
read barrier. Where they can't be asked, how much is unread is not known, and nobody says that it is 0.
"""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import psycopg2
import psycopg2.extensions

from domain.streams import Seen
from domain.verdict import Reading
from infra.kafka.horizon import UncertainError
from infra.logs import Logger
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.overview import Overview, Partition

EVERY_SECONDS = 2.0
"""Between looks: what a person takes for now."""

SOONEST_SECONDS = 0.5
"""Between looks when commits come one after the other: nobody reads faster."""

SHARE_MAX = 0.05
"""Of its time the database works for looks at most: where one takes long, the next waits for so much longer."""

BROKERS_SECONDS = 1.0
"""For an answer of the brokers; a page may have to wait for so long where they are away."""

BROKERS_PAUSE_SECONDS = 10.0
"""Before they are asked again when they did not answer."""

TREND_KEPT = timedelta(minutes=15)
TREND_OVER = timedelta(minutes=1)
TREND_SOONEST = timedelta(seconds=10)
"""How long it is remembered what was unread; over what a trend is told, and over no less than what."""

STOP_SECONDS = 5.0

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Sample:
    """What was unread at an instant, in records; of a partition that is not named it was not known."""

    at: datetime
    unread: Mapping[Place, int]
    is_whole: bool

    @property
    def total(self) -> int | None:
        """Of all partitions; None where that was not known."""
        return sum(self.unread.values()) if self.is_whole else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How everything stands, and how far the streams are read; `unread_unknown` says why that is not known."""

    number: int
    overview: Overview
    readings: tuple[Reading, ...]
    unread_unknown: str
    samples: tuple[Sample, ...]
    took_seconds: float
    taken: float

    def trend(self, place: Place) -> float | None:
        """How much more is unread than a minute ago, in records a minute; None where that is not known yet."""
        last = self.samples[-1]
        known = [one for one in self.samples if place in one.unread and last.at - one.at >= TREND_SOONEST]
        before = next((one for one in reversed(known) if last.at - one.at >= TREND_OVER), next(iter(known), None))
        if before is None or place not in last.unread:
            return None
        return (last.unread[place] - before.unread[place]) * (TREND_OVER / (last.at - before.at))


@dataclass(eq=False, slots=True)
class Viewer:
    """Somebody who looks at an open page: by which session, and how they are told that something is new."""

    secret: str
    tell: Callable[[], None]
    is_ended: bool = False


@dataclass(slots=True)
class _Brokers:
    """When they may be asked again, and why they could not be."""

    again_at: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom a look asks: the database, the brokers, which sessions still stand, and what wakes it."""

    overview: Callable[[datetime], Overview]
    ends: Callable[[], Mapping[str, Seen]]
    standing: Callable[[Collection[str], datetime], Collection[str]]
    listening: Callable[[], AbstractContextManager[psycopg2.extensions.connection]]


@dataclass(slots=True)
class Watch:
    """One for a process."""

    sources: Sources
    now: Callable[[], datetime]
    log: Logger
    newest: Snapshot | None = None
    trouble: str = ""
    """Why the newest look failed; empty where it did not."""
    is_closed: bool = False
    _taking: threading.Lock = field(default_factory=threading.Lock)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _viewers: set[Viewer] = field(default_factory=set)
    _thread: threading.Thread | None = None
    _wake: tuple[socket.socket, socket.socket] = field(default_factory=socket.socketpair)
    _brokers: _Brokers = field(default_factory=_Brokers)
    _samples: deque[Sample] = field(default_factory=deque)

    def snapshot(self) -> Snapshot:
        """The newest, where it is of now; else one is taken, for all who wait for it. Raises what a look raises."""
        if self.newest is not None and time.monotonic() - self.newest.taken < EVERY_SECONDS:
            return self.newest
        return self._take()

    def join(self, viewer: Viewer) -> None:
        """Have somebody told of what is new from now on."""
        with self._lock:
            self._viewers.add(viewer)
            if self._thread is None and not self.is_closed:
                self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
                self._thread.start()

    def leave(self, viewer: Viewer) -> None:
        """Tell somebody nothing any more."""
        with self._lock:
            self._viewers.discard(viewer)

    def close(self) -> None:
        """End every stream, and look no more; the server waits for what is still being answered."""
        with self._lock:
            if self.is_closed:
                return
            self.is_closed, thread = True, self._thread
        self._wake[0].send(b"!")
        self._tell()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _run(self) -> None:
        """Look while anybody does; then the thread ends with its connection."""
        while True:
            try:
                with self.sources.listening() as connection:
                    while self._goes_on():
                        self._look()
                        self._wait(connection)
                    return
            except Exception as why:  # noqa: BLE001 # The top of a loop: it is told, and tried again.
                self._fail(why)
                if not self._goes_on():
                    return
                select.select([self._wake[1]], [], [], EVERY_SECONDS)

    def _goes_on(self) -> bool:
        with self._lock:
            if self._viewers and not self.is_closed:
                return True
            self._thread = None
            return False

    def _look(self) -> None:
        """One look, told to all. Raises DatabaseUnavailableError."""
        self._take()
        with self._lock:
            viewers = list(self._viewers)
        stand = self.sources.standing({one.secret for one in viewers}, self.now())
        for one in viewers:
            one.is_ended = one.secret not in stand
        self._tell()

    def _fail(self, why: Exception) -> None:
        is_fault = not isinstance(why, DatabaseUnavailableError)
        words = type(why).__name__ if is_fault else str(why)  # What a fault says may hold what it was about.
        if not self.trouble:
            self.log.warning("console.look_failed", cause=type(why).__name__, detail="" if is_fault else words)
        self.trouble = words
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            for one in self._viewers:
                one.tell()

    def _wait(self, connection: psycopg2.extensions.connection) -> None:
        """Until the next look is due, or a commit says that there is something new. Raises as `_look`."""
        took = self.newest.took_seconds if self.newest is not None else 0.0
        soonest = max(SOONEST_SECONDS, took / SHARE_MAX)
        select.select([self._wake[1]], [], [], soonest)
        select.select([self._wake[1].fileno(), connection.fileno()], [], [], max(0.0, EVERY_SECONDS - soonest))
        try:
            connection.poll()
        except psycopg2.Error as why:
            raise DatabaseUnavailableError(str(why).strip()) from why
        connection.notifies.clear()

    def _take(self) -> Snapshot:
        """A snapshot that was begun after this call; those who come meanwhile share it."""
        came = time.monotonic()
        with self._taking:
            if self.newest is not None and self.newest.taken >= came:
                return self.newest
            began = time.monotonic()
            ends = self._ends()
            asked = time.monotonic()
            overview = self.sources.overview(self.now())
            readings, unknown = _readings(overview, ends, self._brokers.why)
            self.newest = Snapshot(
                number=self.newest.number + 1 if self.newest is not None else 1,
                overview=overview,
                readings=readings,
                unread_unknown=unknown,
                samples=self._remember(overview.at, readings),
                took_seconds=time.monotonic() - asked,
                taken=began,
            )
            self.trouble = ""
            return self.newest

    def _ends(self) -> Mapping[str, Seen]:
        """How far the streams go; nothing where the brokers can't be asked."""
        if time.monotonic() < self._brokers.again_at:
            return {}
        try:
            ends = self.sources.ends()
        except UncertainError as why:
            self._brokers = _Brokers(time.monotonic() + BROKERS_PAUSE_SECONDS, str(why))
            return {}
        self._brokers = _Brokers()
        return ends

    def _remember(self, at: datetime, readings: tuple[Reading, ...]) -> tuple[Sample, ...]:
        unread = {(one.topic, one.partition): one.unread for one in readings if one.unread is not None}
        self._samples.append(Sample(at, unread, is_whole=0 < len(readings) == len(unread)))
        while at - self._samples[0].at > TREND_KEPT:
            self._samples.popleft()
        return tuple(self._samples)


def _readings(overview: Overview, ends: Mapping[str, Seen], why: str) -> tuple[tuple[Reading, ...], str]:
    """How far each partition is read, and why that is not known of all of them, where it is not."""
    kept = {(one.topic, one.partition): one for one in overview.partitions}
    readings = [
        Reading(
            topic, partition, one.position, one.moved_at, one.stopped is not None, _unread(one, ends.get(topic))
        )
        for (topic, partition), one in kept.items()
    ]
    new = [(topic, partition) for topic, seen in ends.items() for partition in seen.ends]
    readings += [Reading(*place, 0, overview.at, False, None) for place in sorted(set(new) - kept.keys())]
    odd = next((one for one in readings if one.unread is None and not one.is_stopped), None)
    if odd is None:
        return tuple(readings), ""
    return tuple(readings), why or f"{odd.topic}/{odd.partition} is not the log that is registered"


def _unread(kept: Partition, seen: Seen | None) -> int | None:
    """Records behind a position; None where the brokers have not said, or have another log of this name."""
    end = seen.ends.get(kept.partition) if seen is not None and seen.topic_id == kept.topic_id else None
    return None if end is None else max(0, end - kept.position)
