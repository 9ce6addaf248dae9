"""From a payment's acknowledgement to the recall that it causes, readable: p50, p99 and the slowest.

Called by `bench.__main__`. The stream runs at a steady pace from a process of its own; beside it, single
payments are sent that settle a placed debt each. A payment's clock starts when its producer has the broker's
acknowledgement (`acks=all`), and ends when a consumer that has nothing to do with the guard holds the recall.
Both are read from one clock of one machine. `ingest` and `dispatch` are the real processes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from bench.feed import producer, send_at_pace
from bench.parts import BenchError, Parts, apart, ends, guard
from bench.workload import placement_name, settling_payment
from infra.wire.kinds import RECALLS

PROBES_PER_SECOND = 50
"""Enough for a p99 in some seconds, and nothing beside the stream."""

MARGIN_SECONDS = 2.0
"""The stream goes on so long after the last payment, so that each is measured under load."""

DEADLINE_SECONDS = 30.0
"""For the processes to be at work, and for the last recall: one that comes later is a fault, not a latency."""

FIRST_PART = 0x2000
"""Parts of the stream from here on are this module's."""

PAID_AT = "2026-11-12T12:00:00+03:00"


@dataclass(frozen=True, slots=True)
class Latency:
    """What was measured at one pace, in events a second; times in milliseconds."""

    asked_pace: int
    kept_pace: float
    payments: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def measure(parts: Parts, *, pace: int, seconds: float, part: int, accounts: Sequence[int]) -> Latency:
    """Send a part of the stream at this pace, and payments for these accounts; each must have a placed debt."""
    warm, *probes = accounts[: int(PROBES_PER_SECOND * seconds) + 1]
    with (
        guard(parts, "ingest"),
        guard(parts, "dispatch"),
        closing(_Recalls(parts)) as recalls,
        closing(producer(parts, linger_ms=0)) as to_broker,
        ThreadPoolExecutor(2) as threads,
    ):
        _pay(to_broker, [warm])
        recalls.wait_for([warm], lambda: False)
        begin = sum(ends(parts).values())
        whole = seconds + MARGIN_SECONDS
        load = threads.submit(apart, send_at_pace, parts, FIRST_PART + part, per_second=pace, seconds=whole)
        while sum(ends(parts).values()) == begin:
            time.sleep(0.1)
        paying = threads.submit(_pay, to_broker, probes)
        seen = recalls.wait_for(probes, lambda: not paying.done())
        acknowledged = paying.result()
        kept_pace = load.result()
    times_ms = sorted((seen[number] - acknowledged[number]) * 1000 for number in probes)
    return Latency(pace, kept_pace, len(probes), quantile(times_ms, 0.5), quantile(times_ms, 0.99), times_ms[-1])


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that is at or above this share of the values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _pay(to_broker: KafkaProducer, accounts: Sequence[int]) -> dict[int, float]:
    """Pay the debts of these accounts, one after the other at a steady pace; when each was acknowledged."""
    acknowledged: dict[int, float] = {}

    def note(number: int, _metadata: object) -> None:
        acknowledged[number] = time.monotonic()

    began = time.monotonic()
    for due, number in enumerate(accounts):
        time.sleep(max(0.0, began + due / PROBES_PER_SECOND - time.monotonic()))
        event = settling_payment(number, PAID_AT)
        to_broker.send(event.topic, key=event.key, value=event.value).add_callback(partial(note, number))
    to_broker.flush()
    return acknowledged


class _Recalls:
    """A reader of the recalls that come from here on."""

    def __init__(self, parts: Parts) -> None:
        self._consumer = KafkaConsumer(
            **parts.connection.options("bench-recalls"),
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=500,
            metrics_enabled=False,
        )
        place = TopicPartition(RECALLS, 0)
        self._consumer.assign([place])
        self._consumer.seek_to_end(place)
        self._consumer.position(place)

    def wait_for(self, accounts: Sequence[int], more_to_come: Callable[[], bool]) -> dict[int, float]:
        """When the recall of each of these accounts' placements was here; the first time, where it came twice."""
        waiting = {placement_name(number): number for number in accounts}
        seen: dict[int, float] = {}
        deadline = time.monotonic() + DEADLINE_SECONDS
        while waiting:
            polled = self._consumer.poll(timeout_ms=100)
            here = time.monotonic()
            for record in (one for records in polled.values() for one in records):
                number = waiting.get(record.key.decode())
                if number is not None and json.loads(record.value)["type"] == "guard.recall.requested.v1":
                    seen[number] = here
                    del waiting[record.key.decode()]
            if more_to_come():
                deadline = here + DEADLINE_SECONDS
            if here > deadline:
                raise BenchError(f"{len(waiting)} recalls did not come within {DEADLINE_SECONDS:.0f} s")
        return seen

    def close(self) -> None:
        self._consumer.close()
