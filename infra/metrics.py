"""The metrics of one process, made of the list in `infra.metrics_list`: it shows those that its role moves.

Built where a process starts; served by `consumers.ops`, and by `api` on its own port too. What another role moves
may be moved here without harm: it is not shown.
"""

from __future__ import annotations

import importlib.metadata
import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from infra import metrics_list as listed
from infra.metrics_list import Metric

disable_created_metrics()  # type: ignore[no-untyped-call] # It has no types.
"""Else each counter and histogram has a second series with its birth, which nobody asks for."""


def version() -> str:
    """The installed version of the guard."""
    try:
        return importlib.metadata.version("handoff-guard")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"  # A checkout that was never installed.


class AgencyMetrics:
    """What is counted of the ways to agencies."""

    def __init__(self, made: _Maker) -> None:
        self.deliveries = made.counter(listed.DELIVERIES)
        self.circuit_open = made.gauge(listed.CIRCUIT_OPEN)


class Metrics:
    """Every metric that a process moves itself; what is read from the database is `consumers.readings`'."""

    def __init__(self, role: str | None = None) -> None:
        """`role` is whose are shown; None shows all."""
        self.registry = CollectorRegistry()
        made = _Maker(self.registry, role)
        self.agencies = AgencyMetrics(made)
        self.events = made.counter(listed.EVENTS)
        self.recall_latency = made.histogram(listed.RECALL_LATENCY)
        self.unguarded = made.counter(listed.UNGUARDED)
        self.lag_records = made.gauge(listed.LAG_RECORDS)
        self.lag_seconds = made.gauge(listed.LAG_SECONDS)
        self.sweep_found = made.counter(listed.SWEEP_FOUND)
        self.clearances = made.counter(listed.CLEARANCES)
        self.clearance_seconds = made.histogram(listed.CLEARANCE_SECONDS)
        self.recalls_passed_deadline = made.counter(listed.RECALLS_PASSED_DEADLINE)
        self.contacts_after_recall = made.counter(listed.CONTACTS_AFTER_RECALL)
        self.agency_events_refused = made.counter(listed.AGENCY_EVENTS_REFUSED)
        self.heartbeat_age = made.gauge(listed.HEARTBEAT_AGE)
        made.gauge(listed.STARTED).set(time.time())
        made.gauge(listed.BUILD_INFO).labels(version(), role or "").set(1)


class _Maker:
    """Makes metrics of rows of the list, and shows those of one role."""

    def __init__(self, registry: CollectorRegistry, role: str | None) -> None:
        self._registry = registry
        self._role = role

    def counter(self, one: Metric) -> Counter:
        return Counter(one.name, one.says, one.labels, registry=self._where(one))

    def gauge(self, one: Metric) -> Gauge:
        return Gauge(one.name, one.says, one.labels, registry=self._where(one))

    def histogram(self, one: Metric) -> Histogram:
        return Histogram(one.name, one.says, one.labels, buckets=one.buckets, registry=self._where(one))

    def _where(self, one: Metric) -> CollectorRegistry | None:
        return self._registry if self._role is None or self._role in one.roles else None
