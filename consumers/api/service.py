"""What the routes of the API work with: who comes in, where questions queue, and how long anybody waits.

Built by `consumers.compose`, used by the routes beside it. Here the asynchronous edge ends: connections are waited
for, and everything behind runs in threads, as it does everywhere else in the house.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar

import anyio
from fastapi import Request

from consumers.answers import Line, answer_lines, problem_line, problem_of
from consumers.api.threads import Threads
from consumers.callbacks import Callbacks
from consumers.clear import Asked, Clear, Confirmed, Confirming, Refused, Void
from consumers.counter import Counter, FullError, serve_each
from consumers.gate import Gate
from consumers.intake import Intake, Taken
from consumers.orders import Orders
from consumers.story import Story
from consumers.teller import Teller, Unknown
from consumers.traced import answering
from domain.access import Caller, Scope
from domain.traces import OFF, Told, Tracing, context
from infra.http.problems import Problem, ProblemError
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.clearances import Given
from infra.postgres.records import Act, Record, Records
from infra.wire.decode import Decoded

ASKING_THREADS = 1
"""A set costs about the same whatever its size, and most of it is ours to compute: a second thread makes sets
smaller and answers later (8 clients on two cores: 264 a second instead of 336, a p99 of 78 ms instead of 38)."""

READS_AT_ONCE_MAX = 4
ORDERS_AT_ONCE_MAX = 2
BATCHES_AT_ONCE_MAX = 2
READY_AT_ONCE_MAX = 1
KEYS_AT_ONCE_MAX = 16
"""What runs beside the counters, so that there is a connection for each: 1 + 1 + 1 threads, 4, 2, 2, 1, and one for
all who wait for keys, since they share a look, are 13. Accounts that are told wait at the barrier, for seconds
where a stream is behind: so nobody waits behind them for a key, or to hear that the process is well.
"""

T = TypeVar("T")
Q = TypeVar("Q")
A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """How much, how many and how long: seconds of an answer, bytes of a body, questions at once and waiting."""

    answer_seconds: float
    body_bytes: int
    batch_questions: int
    at_once: int
    waiting: int


class Api:
    """One for all the calls of a process."""

    def __init__(
        self,
        *,
        clear: Clear,
        intake: Intake,
        teller: Teller,
        orders: Orders,
        records: Records,
        callbacks: Callbacks,
        gate: Gate,
        limits: ApiLimits,
        is_ready: Callable[[], str | None],
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
    ) -> None:
        self.limits = limits
        self.metrics = metrics
        self.now = now
        self._clear = clear
        self._teller = teller
        self._orders = orders
        self._records = records
        self._callbacks = callbacks
        self._gate = gate
        self._is_ready = is_ready
        self._log = log
        self._tracing = tracing
        size = {"at_once_max": limits.at_once, "waiting_max": limits.waiting}
        self._questions = Counter(clear.ask_all, name="questions", threads=ASKING_THREADS, log=log, **size)
        self._confirmations = Counter(clear.confirm_all, name="confirmations", threads=1, log=log, **size)
        self.hear = intake.hear
        self._events = Counter(intake.take_all, name="events", threads=1, log=log, **size)
        self._threads = Threads(answer_seconds=limits.answer_seconds, log=log)
        self._reads = anyio.CapacityLimiter(READS_AT_ONCE_MAX)
        self._ordering = anyio.CapacityLimiter(ORDERS_AT_ONCE_MAX)
        self._batches = anyio.CapacityLimiter(BATCHES_AT_ONCE_MAX)
        self._ready = anyio.CapacityLimiter(READY_AT_ONCE_MAX)
        self._keys = anyio.CapacityLimiter(KEYS_AT_ONCE_MAX)

    def close(self) -> None:
        """Take nothing more; what waits is answered."""
        for counter in (self._questions, self._confirmations, self._events):
            counter.close()

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """Who calls. Raises ProblemError where they may not."""
        authorization = request.headers.get("authorization")
        if self._gate.knows(authorization):
            return self._gate.admit(authorization, scope)
        return await self._threads.run(partial(self._gate.admit, authorization, scope), self._keys)

    async def ask(self, asked: Asked) -> Given | Refused:
        """Answer one question, with those that come at the same time."""
        began = time.monotonic()
        with answering(self._tracing, "clearance.asked", asked.traceparent) as (span, told):
            given = await self._queued(self._questions, replace(asked, traceparent=span.traceparent))
            told.update(_answered(given) if isinstance(given, Given) else {"outcome": "invalid"})
        self.metrics.clearance_seconds.observe(time.monotonic() - began)
        return given

    async def ask_lines(self, some: Sequence[Line], *, by: str) -> bytes:
        """Answer a set of lines that came together, a line each."""
        ask = partial(serve_each, self._clear.ask_all, log=self._log)
        answer = partial(answer_lines, some, ask, by=by, limit_bytes=self.limits.body_bytes, log=self._log)
        try:
            return await self._threads.run(answer, self._batches)
        except ProblemError as why:
            return problem_line(why) * len(some)

    async def confirm(self, confirming: Confirming, traceparent: str | None = None) -> Confirmed | Void | None:
        """Register one placement, with those that come at the same time."""
        with answering(self._tracing, "clearance.confirmed", traceparent) as (_, told):
            result = await self._queued(self._confirmations, confirming)
            if isinstance(result, Confirmed):
                told.update({**_answered(result.given), "placement_id": result.placement_id})
            told["outcome"] = "confirmed" if isinstance(result, Confirmed) else "void"
        return result

    async def take(self, event: Decoded) -> Taken:
        """Apply one event, with those that come at the same time."""
        return await self._queued(self._events, event)

    async def call_back(self, agency_id: str, headers: Mapping[str, str], body: bytes) -> tuple[Decoded, Taken]:
        """Apply what an agency says in a call of its own. Raises ProblemError where it may not say it."""
        agency = self._callbacks.admit(agency_id, headers, body)
        said = self._callbacks.read(agency, headers, body)
        # Of the trace alone: no header is signed.
        said = replace(said, traceparent=said.traceparent or context(headers.get("traceparent")))
        await self._threads.run(partial(self._callbacks.refuse_another, agency, said), self._ordering)
        return said, await self.take(said)

    async def order(self, call: Callable[[Orders], T]) -> T:
        """Have an order carried out, or a list of recalls read. Raises OrderError beside ProblemError."""
        return await self._threads.run(partial(call, self._orders), self._ordering)

    async def resend(self, recall_id: str, *, by: str, caller: Caller) -> bool:
        """Send a recall again, and write down who ordered it; False where it waits anyway. Raises OrderError."""

        def resend(orders: Orders) -> bool:
            recall, signed_by = orders.find(recall_id), f"key:{caller.key_id}"
            sent = orders.resend([recall_id], by=signed_by) > 0
            names = {"account_id": recall.account_id, "target": recall_id, "outcome": "resent" if sent else "waits"}
            self._records.keep(Record(self.now(), by, signed_by, Act.RECALL_RESENT, **names))
            return sent

        return await self.order(resend)

    async def look(self, clearance_id: str) -> Given | None:
        """A clearance that was given before."""
        return await self._threads.run(partial(self._clear.look, clearance_id), self._reads)

    async def tell(self, account_id: str) -> Story | Unknown:
        """The story of an account."""
        return await self._threads.run(partial(self._teller.tell, account_id), self._reads)

    async def is_ready(self) -> str | None:
        """Why nothing could be answered now; None where it could."""
        return await self._threads.run(self._is_ready, self._ready)

    async def _queued(self, counter: Counter[Q, A], one: Q) -> A:
        try:
            waiting: Future[A] = counter.put(one)
        except FullError as why:
            raise ProblemError(Problem.OVERLOADED) from why
        return await self._threads.limited(asyncio.wrap_future(waiting))

    def problem_of(self, why: Exception) -> ProblemError:
        """The problem that tells an error."""
        return problem_of(why, self._log)


def _answered(given: Given) -> Told:
    """What the trace is told of an answer."""
    return {"clearance_id": given.clearance_id, "decision": str(given.decision), "agency_id": given.agency_id}
