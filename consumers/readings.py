"""What the database says of how things stand, asked when a process is scraped: right within seconds, in every role.

Registered with a process's metrics by `consumers.compose`. So the figures to page on need no sweep to be alive,
and any one process that lives shows them. Where the database does not answer they are missing: never 0, and never
old.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra import metrics_list as listed
from infra.logs import Logger
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.readings import Reading, Readings, Standing

KEPT_SECONDS = 1.0
"""For how long a reading serves whoever scrapes: so the port can't be used to keep the database busy."""


class ReadingsCollector(Collector):
    """The gauges of kind `READ` of the list."""

    def __init__(
        self,
        readings: Readings,
        *,
        now: Callable[[], datetime],
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._readings = readings
        self._now = now
        self._log = log
        self._clock = clock
        self._lock = threading.Lock()
        self._taken_at = float("-inf")
        self._shown: list[GaugeMetricFamily] = []

    def describe(self) -> Iterable[Metric]:
        """Their names without their values: a process registers them before the database is there."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read, or show what was read just now; whoever comes meanwhile waits for the same reading."""
        with self._lock:
            if self._clock() - self._taken_at > KEPT_SECONDS:
                self._shown = self._read()
                self._taken_at = self._clock()
            yield from self._shown

    def _read(self) -> list[GaugeMetricFamily]:
        try:
            now = self._now()
            reading = self._readings.take(now)
        except DatabaseUnavailableError as why:
            self._log.warning("readings.missing", detail=str(why))
            return [_one(listed.DATABASE_ANSWERS, 0)]
        return [_one(listed.DATABASE_ANSWERS, 1), *_gauges(reading, now)]


def _gauges(reading: Reading, now: datetime) -> Iterator[GaugeMetricFamily]:
    standings = reading.standings
    overdue: Counter[str] = Counter()
    for one in standings:
        overdue[one.agency_id] += one.overdue
    waited = (now - reading.outbox.oldest).total_seconds() if reading.outbox.oldest else 0.0
    yield _one(listed.OLDEST_UNRECALLED, _oldest_seconds(standings, now))
    yield _many(listed.RECALLS_OPEN, (((one.agency_id, one.state), one.recalls) for one in standings))
    yield _many(listed.RECALLS_OVERDUE, (((agency_id,), recalls) for agency_id, recalls in overdue.items()))
    yield _many(
        listed.LAST_CONTACT_AFTER_RECALL, _instants(((one,), at) for one, at in reading.breached_at.items())
    )
    yield _many(listed.STREAM_STOPPED, (((topic,), stopped) for topic, stopped in sorted(reading.stopped.items())))
    yield _many(listed.PRODUCER_LAST_EVENT, _instants(sorted(reading.heard_at.items())))
    yield _one(listed.QUARANTINED, reading.quarantined)
    yield _one(listed.OUTBOX_PENDING, reading.outbox.records)
    yield _one(listed.OUTBOX_OLDEST, max(0.0, waited))
    yield _many(listed.AGENCY_WAITING, (((agency_id,), waiting) for agency_id, waiting in reading.waiting.items()))


def _oldest_seconds(standings: Iterable[Standing], now: datetime) -> float:
    since = min((one.paid_since for one in standings if one.paid_since is not None), default=None)
    return max(0.0, (now - since).total_seconds()) if since is not None else 0.0


def _instants(some: Iterable[tuple[tuple[str, ...], datetime]]) -> Iterator[tuple[tuple[str, ...], float]]:
    yield from ((labels, at.timestamp()) for labels, at in some)


def _one(metric: listed.Metric, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(metric.name, metric.says, value=value)


def _many(metric: listed.Metric, values: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(metric.name, metric.says, labels=metric.labels)
    for labels, value in values:
        family.add_metric(labels, value)
    return family
