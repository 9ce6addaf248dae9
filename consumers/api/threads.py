"""The edge between what is asynchronous and what is not: calls run in threads, and none is waited for too long.

Used by the API and by the console. Behind this everything is synchronous, as it is everywhere else in the house.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from consumers.answers import problem_of
from consumers.orders import OrderError
from infra.http.problems import Problem, ProblemError
from infra.logs import Logger

T = TypeVar("T")


class Threads:
    """Runs calls, each within the limit of an answer."""

    def __init__(self, *, answer_seconds: float, log: Logger) -> None:
        self._answer_seconds = answer_seconds
        self._log = log

    async def run(self, call: Callable[[], T], limiter: anyio.CapacityLimiter) -> T:
        """The result of a call that waits its turn at a limiter. Raises ProblemError, and OrderError as it is."""
        return await self.limited(
            asyncio.ensure_future(anyio.to_thread.run_sync(call, limiter=limiter, abandon_on_cancel=True))
        )

    async def limited(self, answer: asyncio.Future[T]) -> T:
        """The answer, or the problem that there is none; nobody waits longer than the limit."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await answer
        except TimeoutError as why:
            raise ProblemError(Problem.UNAVAILABLE, "no answer could be had in time; ask again") from why
        except OrderError:
            raise
        except Exception as why:
            raise problem_of(why, self._log) from why
