"""Who comes in at the API: the holder of a key that was not revoked, with its scope, and not too often.

Used by the routes of `consumers.api`. The active keys are few and are read all at once, every few seconds and when
an unknown one comes: so a revoked key ends within `KEYS_FOR_SECONDS` in every process, a new one opens at once, and
nobody makes the database work by guessing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from consumers.barrier import Shared
from domain.access import Caller, Scope
from infra.http.problems import Problem, ProblemError
from infra.postgres.api_keys import ApiKeys, Lock, is_formed, opened_by

KEYS_FOR_SECONDS = 5.0
"""How long the keys that were read are taken as known."""

LOOKS_PER_SECOND = 5
"""For keys that are not known yet, and so many at once: more come only from who guesses."""

LOOK_DEADLINE_SECONDS = 10.0
"""Above the deadline of the transaction in which keys are read."""


class Gate:
    """One for all the calls of a process."""

    def __init__(self, keys: ApiKeys, *, rate_per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`rate_per_second`: calls a second that a key may make, so many at once too; 0 for any number."""
        self._look = Shared(keys.active)
        self._rate = rate_per_second
        self._clock = clock
        self._locks: dict[str, Lock] = {}
        self._read_at = float("-inf")
        self._looks = Bucket(LOOKS_PER_SECOND, clock)
        self._calls: dict[str, Bucket] = {}

    def knows(self, authorization: str | None) -> bool:
        """Whether `admit` can answer without reading the keys."""
        token = _token(authorization)
        if not is_formed(token):
            return True
        # Keys that are not fresh are read for whoever comes, or a burst at the start would find none of them known.
        return self._is_fresh() and (opened_by(token, self._locks) is not None or self._looks.is_empty())

    def admit(self, authorization: str | None, scope: Scope) -> Caller:
        """Who calls. Raises ProblemError where they may not, DatabaseUnavailableError where nobody can say."""
        token = _token(authorization)
        caller = opened_by(token, self._locks)
        if is_formed(token) and (not self._is_fresh() or (caller is None and self._looks.take())):
            began = self._clock()
            self._locks = self._look.get(time.monotonic() + LOOK_DEADLINE_SECONDS)
            self._read_at = began
            caller = opened_by(token, self._locks)
        if caller is None:
            raise ProblemError(Problem.UNAUTHORIZED, "send `Authorization: Bearer` with an API key that is active")
        if scope not in caller.scopes:
            raise ProblemError(Problem.FORBIDDEN, f"this call needs a key with the scope {scope}")
        if not self._is_within_rate(caller.key_id):
            raise ProblemError(Problem.RATE_LIMITED, f"a key may make {self._rate} calls a second")
        return caller

    def _is_fresh(self) -> bool:
        return self._clock() - self._read_at < KEYS_FOR_SECONDS

    def _is_within_rate(self, key_id: str) -> bool:
        return not self._rate or self._calls.setdefault(key_id, Bucket(self._rate, self._clock)).take()


class Bucket:
    """Fills at a rate, up to a second's worth."""

    def __init__(self, rate_per_second: int, clock: Callable[[], float]) -> None:
        self._rate = float(rate_per_second)
        self._clock = clock
        self._level = self._rate
        self._at = clock()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Take one; False where there is none."""
        with self._lock:
            self._fill()
            taken = self._level >= 1
            self._level -= taken
            return taken

    def is_empty(self) -> bool:
        """Whether there is none to take."""
        with self._lock:
            self._fill()
            return self._level < 1

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now


def _token(authorization: str | None) -> str:
    kind, _, token = (authorization or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""
