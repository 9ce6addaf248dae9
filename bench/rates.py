"""Events a second into state: the guard's `ingest` beside the raw parts, and beside one event a transaction.

Called by `bench.__main__`. Each round sends a slice of the stream and lets each way read it, one after the
other, so that a slow minute of the machine falls on all of them. `ingest` is the real process in its real
loop: its clock starts when the database shows its first moved position, and ends when it shows all of them at
the end of the logs; what it had done by the first is not counted.
"""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

import psycopg2
from kafka import KafkaConsumer, TopicPartition
from tqdm import tqdm

from bench.feed import send_stream
from bench.parts import BenchError, Parts, apart, ends, guard, sql
from infra.kafka.source import FETCH_MAX_WAIT_MS
from infra.settings import Settings

BATCH_MAX_EVENTS: int = Settings.model_fields["ingest_batch_max_events"].default
"""Of `ingest`; the raw reader takes as much at a time."""

POLL_TIMEOUT_MS = 100
LOOK_SECONDS = 0.01
"""Between looks at the positions: a hundredth of the shortest measurement, and nothing to the database."""

DEADLINE_SECONDS = 180

Places = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    rounds: int
    slice_events: int
    plain_events: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round's rates, in events a second, and the mean size of its events."""

    raw: float
    ingest: float
    plain: float
    event_bytes: float


def measure(parts: Parts, sizes: Sizes) -> list[Round]:
    """Measure round after round."""
    sql(parts, _RAW_TABLE)
    numbers = tqdm(range(1, sizes.rounds + 1), desc="raw parts, ingest, one by one", unit="round")
    return [_round(parts, sizes, number) for number in numbers]


def catch_up(parts: Parts) -> float:
    """Let `ingest` read all that there is; returns its events a second."""
    with guard(parts, "ingest", ingest_batch_max_events=BATCH_MAX_EVENTS) as process:
        return watch(parts, process, sum(ends(parts).values()))


def watch(parts: Parts, process: subprocess.Popen[bytes], end: int) -> float:
    """Wait until the positions add up to `end`; returns events a second from their first move on."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    began: tuple[float, int] | None = None
    before: int | None = None
    for at in _positions(parts):
        now = time.monotonic()
        if began is None and before is not None and at > before:
            began = (now, at)
        elif began is not None and at >= end:
            return (at - began[1]) / (now - began[0])
        before = at
        if process.poll() is not None or now > deadline:
            raise BenchError(f"ingest is at {at:,} of {end:,}: see ingest.log in {parts.folder}")
    raise AssertionError("the positions end with the benchmark")


def _round(parts: Parts, sizes: Sizes, number: int) -> Round:
    starts = ends(parts)
    sent_bytes = apart(send_stream, parts, number, sizes.slice_events)
    raw = apart(poll_and_copy, parts, starts, ends(parts))
    ingest = catch_up(parts)
    apart(send_stream, parts, 0x1000 + number, sizes.plain_events)
    with guard(parts, "ingest", ingest_batch_max_events=1) as process:
        plain = watch(parts, process, sum(ends(parts).values()))
    return Round(raw, ingest, plain, sent_bytes / sizes.slice_events)


def poll_and_copy(parts: Parts, starts: Places, stops: Places) -> float:
    """Read these records as `ingest` reads them, and COPY them as they are; returns events a second.

    The least that any worker in this language does: the same consumer, the same batches, one commit a batch,
    into one table without an index, and no look at what a record says.
    """
    places = [TopicPartition(*place) for place, stop in stops.items() if stop > starts[place]]
    with closing(psycopg2.connect(parts.database_url)) as connection, closing(_consumer(parts)) as consumer:
        consumer.assign(places)
        for place in places:
            consumer.seek(place, starts[place.topic, place.partition])
        began: float | None = None
        read, first = 0, 0
        wanted = sum(stops[place.topic, place.partition] - starts[place.topic, place.partition] for place in places)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while read < wanted:
            rows = _rows(consumer.poll(timeout_ms=POLL_TIMEOUT_MS))
            with connection.cursor() as cursor:
                cursor.copy_expert("COPY raw_records FROM STDIN", io.StringIO("".join(rows)))
            connection.commit()
            read += len(rows)
            if began is None and rows:
                began, first = time.monotonic(), read
            if time.monotonic() > deadline:
                raise BenchError(f"the raw reader is at {read:,} of {wanted:,} records")
        return (read - first) / (time.monotonic() - (began or 0.0))


def _consumer(parts: Parts) -> KafkaConsumer:
    return parts.connection.reader(
        "bench-raw", max_poll_records=BATCH_MAX_EVENTS, fetch_max_wait_ms=FETCH_MAX_WAIT_MS
    )


def _rows(polled: Mapping[TopicPartition, list[object]]) -> list[str]:
    return [
        f"{place.topic}\t{place.partition}\t{record.offset}\t{record.key.decode()}\t{_text(record.value)}\n"  # type: ignore[attr-defined] # The library has no types.
        for place, records in polled.items()
        for record in records
    ]


def _text(value: bytes) -> str:
    # JSON holds no raw tab or line, so only the backslash means something to COPY.
    return value.decode().replace("\\", "\\\\")


def _positions(parts: Parts) -> Iterator[int]:
    """The sum of the stored positions, again and again."""
    with closing(psycopg2.connect(parts.database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while True:
                cursor.execute("SELECT coalesce(sum(position), 0) FROM stream_position")
                ((at,),) = cursor.fetchall()
                yield int(at)
                time.sleep(LOOK_SECONDS)


_RAW_TABLE = """
CREATE TABLE raw_records (topic text, partition integer, "offset" bigint, key text, value text)"""
