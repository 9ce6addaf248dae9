"""Where questions queue: those that arrive while others are served are then served together.

Used by `api` for all that a caller waits for one by one. A set costs one look at the brokers and one transaction,
whatever its size, so the queue shortens as it grows. Never decides anything: what serves a set is handed to it.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from infra.logs import Logger, where
from infra.postgres.database import DatabaseUnavailableError, LockedError

Q = TypeVar("Q")
A = TypeVar("A")


ALONE_MAX = 25
"""A larger set that fails is tried again in parts, and only the part that fails one by one: of 500 with one that is
locked 45 tries instead of 500, at a look at the brokers each, for a second more of waiting at the lock."""


class FullError(Exception):
    """So many wait already that another would wait too long."""


class Counter(Generic[Q, A]):
    """One queue, served by some threads, each with a set of its own."""

    def __init__(
        self,
        serve: Callable[[Sequence[Q]], Sequence[A]],
        *,
        name: str,
        threads: int,
        at_once_max: int,
        waiting_max: int,
        log: Logger,
    ) -> None:
        self._serve = serve
        self._at_once_max = at_once_max
        self._waiting_max = waiting_max
        self._log = log
        self._waiting: deque[tuple[Q, Future[A]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def put(self, one: Q) -> Future[A]:
        """Queue one; its answer comes with the set that it is served in. Raises FullError."""
        future: Future[A] = Future()
        with self._changed:
            if self._closed or len(self._waiting) >= self._waiting_max:
                raise FullError
            self._waiting.append((one, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Let the threads end once nothing waits; nothing more is taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        while taken := self._take():
            # Whoever has gone away needs no answer.
            wanted = [(one, future) for one, future in taken if future.set_running_or_notify_cancel()]
            answers = serve_each(self._serve, [one for one, _ in wanted], log=self._log)
            for (_, future), result in zip(wanted, answers, strict=True):
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

    def _take(self) -> list[tuple[Q, Future[A]]]:
        """All that waits, up to a set; nothing once there is nothing more to come."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), self._at_once_max))]


def serve_each(
    serve: Callable[[Sequence[Q]], Sequence[A]], wanted: Sequence[Q], *, log: Logger
) -> Sequence[A | Exception]:
    """Serve a set or, where one of it can't be served, the others without it; what fails for one is its alone.

    Where the database is away it is so for each of them, and nothing is tried again.
    """
    if not wanted:
        return []
    try:
        return serve(wanted)
    except LockedError as why:
        failed: Exception = why
    except DatabaseUnavailableError as why:
        return [why] * len(wanted)
    except Exception as why:  # noqa: BLE001 # Whatever it is, the others must have their answers.
        log.error("questions.failed", questions=len(wanted), **where(why))  # noqa: TRY400 # A traceback may hold what was asked.
        failed = why
    if len(wanted) == 1:
        return [failed]
    size = math.isqrt(len(wanted)) if len(wanted) > ALONE_MAX else 1
    parts = [wanted[start : start + size] for start in range(0, len(wanted), size)]
    return [result for part in parts for result in serve_each(serve, part, log=log)]
