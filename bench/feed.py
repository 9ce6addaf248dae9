"""Sends the benchmark's events to the broker, as fast as it takes them or at a pace.

Called by `bench.rates` and `bench.latency`, in a process of its own, so that sending does not wait for
whoever measures.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing

from kafka import KafkaProducer

from bench.parts import Parts
from bench.workload import Event, owed_debts, placed_debts, stream

LINGER_MS = 5
BATCH_BYTES = 128 * 1024
"""As a busy producer is set: a few milliseconds to fill a batch."""

TICK_SECONDS = 0.01
"""A paced producer sends what is due so often."""


def send_stream(parts: Parts, part: int, count: int) -> int:
    """Send so many events of one part of the stream; returns the bytes of their values."""
    return send(parts, stream(part, count))


def send_placed_debts(parts: Parts, accounts: Iterable[int]) -> int:
    """Send a debt and its open placement for each of these accounts; returns the bytes of their values."""
    return send(parts, placed_debts(accounts))


def send_owed_debts(parts: Parts, accounts: Iterable[int]) -> int:
    """Send a debt and a part payment of it for each of these accounts; returns the bytes of their values."""
    return send(parts, owed_debts(accounts))


def send(parts: Parts, events: Iterable[Event]) -> int:
    """Send these events, each acknowledged; returns the bytes of their values."""
    sent_bytes = 0
    with closing(producer(parts, linger_ms=LINGER_MS)) as to_broker:
        for event in events:
            to_broker.send(event.topic, key=event.key, value=event.value)
            sent_bytes += len(event.value)
        to_broker.flush()
    return sent_bytes


def send_at_pace(parts: Parts, part: int, *, per_second: int, seconds: float) -> float:
    """Send events of one part at a steady pace; returns the pace that was kept, in events a second."""
    count = int(per_second * seconds)
    # Made beforehand, so that the pace is the broker's to keep and not ours.
    events = list(stream(part, count))
    with closing(producer(parts, linger_ms=LINGER_MS)) as to_broker:
        began = time.monotonic()
        for tick, due in enumerate(_in_ticks(events, per_second), start=1):
            for event in due:
                to_broker.send(event.topic, key=event.key, value=event.value)
            time.sleep(max(0.0, began + tick * TICK_SECONDS - time.monotonic()))
        to_broker.flush()
        return count / (time.monotonic() - began)


def producer(parts: Parts, *, linger_ms: int) -> KafkaProducer:
    """A producer whose records are acknowledged by all replicas, and never sent twice by itself."""
    return KafkaProducer(
        **parts.connection.options("bench"),
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        batch_size=BATCH_BYTES,
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )


def _in_ticks(events: list[Event], per_second: int) -> Iterator[list[Event]]:
    sent, tick = 0, 0
    while sent < len(events):
        tick += 1
        due = int(tick * TICK_SECONDS * per_second)
        yield events[sent:due]
        sent = due
