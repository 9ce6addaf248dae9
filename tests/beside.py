"""What bare parts take at the same time as the guard, on a machine that may stand for seconds now and then.

Used by the tests that say how long an answer may take: a bound in seconds alone would tell of the machine, so what
an empty process took for an answer meanwhile is allowed on top of it.
"""

from __future__ import annotations

import http.client
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from infra.embedded import LOOPBACK, Child, free_ports
from tests.faults.worker import ROOT, wait_until

EVERY_SECONDS = 0.25
"""Between two bare requests of one kind."""

PATIENCE_SECONDS = 120
"""Of whoever asks: far above what is measured."""

Way = Callable[[], object]
"""One request to a bare part."""


class Answered(Protocol):
    """Whatever was asked at an instant, by the machine's clock, and took so long to be answered."""

    @property
    def asked_at(self) -> float:
        """The instant, in seconds since 1970."""

    @property
    def seconds(self) -> float:
        """From the question to the answer."""


One = TypeVar("One", bound=Answered)


@dataclass(frozen=True, slots=True)
class Took:
    """Anything that took its time."""

    asked_at: float
    seconds: float


class Beside:
    """Bare requests of several kinds, each again and again on a thread of its own."""

    def __init__(self) -> None:
        self._took: list[tuple[float, float]] = []
        self._under_way: dict[int, float] = {}
        self._enough = threading.Event()

    def slowest(self, *, since: float = -math.inf, until: float = math.inf) -> float:
        """The seconds of the slowest bare request that was under way between two instants."""
        now = time.time()
        every = [*self._took, *((due, now) for due in list(self._under_way.values()) if due < now)]
        return max((ended - due for due, ended in every if ended >= since and due <= until), default=0.0)

    def late(self, answers: Iterable[One], bound_seconds: float) -> list[One]:
        """The answers that took longer than they may, and more than that by what a bare request took meanwhile."""
        return [
            one
            for one in answers
            if one.seconds >= bound_seconds
            and one.seconds >= bound_seconds + self.slowest(since=one.asked_at, until=one.asked_at + one.seconds)
        ]

    @contextmanager
    def within(self, bound_seconds: float) -> Iterator[None]:
        """What is done here takes no longer than it may, and what a bare request takes meanwhile."""
        asked_at, began = time.time(), time.monotonic()
        yield
        took = Took(asked_at, time.monotonic() - began)
        assert self.late([took], bound_seconds) == [], f"{took.seconds:.2f} s, where {bound_seconds} s are allowed"

    def ask(self, way: Way) -> None:
        """Ask again and again, until it is enough. A request that fails took its time too.

        Each counts from when it was due: the machine may stand while nobody asks, too.
        """
        me = threading.get_ident()
        while True:
            due = self._under_way[me] = time.time() + EVERY_SECONDS
            if self._enough.wait(EVERY_SECONDS):
                break
            try:
                way()
            except Exception as why:  # noqa: BLE001 # Whatever it is, it is not the guard's.
                sys.stdout.write(f"a bare request failed: {type(why).__name__}\n")
            self._took.append((due, time.time()))
        del self._under_way[me]

    def stop(self) -> None:
        """No more requests after those that are under way."""
        self._enough.set()


@contextmanager
def beside(*ways: Way) -> Iterator[Beside]:
    """Ask bare parts while something else is measured."""
    made = Beside()
    threads = [threading.Thread(target=made.ask, args=(way,), name="beside", daemon=True) for way in ways]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.stop()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        sys.stdout.write(f"the slowest bare request took {made.slowest():.2f} s\n")


@contextmanager
def echoing(folder: Path) -> Iterator[Way]:
    """A process that does nothing but answer; its log is in the folder."""
    (port,) = free_ports(1)
    process = Child(
        [sys.executable, "-m", "tests.echo", str(port)],
        folder=ROOT,
        log_file=folder / f"echo-{port}.log",
        environment=dict(os.environ),
        if_orphaned="kill -s KILL $1",
    )

    def ask() -> None:
        with closing(http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request("GET", "/")
            connection.getresponse().read()

    def answers() -> bool:
        try:
            ask()
        except OSError:
            return False
        return True

    wait_until("the echo answers", answers)
    try:
        yield ask
    finally:
        process.kill()
