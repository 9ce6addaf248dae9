"""The guard's metrics, in one typed list; never a customer's or account's id in a label.

Built where a process starts, served at `/metrics` on its own port where one is set.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

LATENCY_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
"""From what the guard aims at (60 ms) to what the old world takes (a day)."""


class Metrics:
    """Every metric of every role; a role moves those that it knows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.events = Counter(
            "guard_events_total", "Inbound events by what became of them", ["topic", "outcome"], registry=registry
        )
        self.recall_latency = Histogram(
            "guard_recall_latency_seconds",
            "From the broker's time of the settling event to each stage of its recall",
            ["stage", "agency", "cause"],
            buckets=LATENCY_BUCKETS_SECONDS,
            registry=registry,
        )
        self.unguarded = Counter(
            "guard_unguarded_placements_total",
            "Placements that were opened without asking",
            ["agency"],
            registry=registry,
        )
        self.lag_records = Gauge(
            "guard_stream_lag_records",
            "Records behind the end of a partition",
            ["topic", "partition"],
            registry=registry,
        )
        self.stream_stopped = Gauge(
            "guard_stream_stopped", "1 while a stream is stopped", ["topic"], registry=registry
        )
        self.quarantined = Gauge("guard_quarantined_events", "Events in quarantine", registry=registry)
        self.outbox_pending = Gauge("guard_outbox_pending", "Records that wait to be published", registry=registry)
        self.outbox_oldest = Gauge(
            "guard_outbox_oldest_seconds", "How long the oldest of them waits", registry=registry
        )
        self.sweep_found = Counter(
            "guard_sweep_found_total", "What a sweep had to repair; anything but 0 is a fault", registry=registry
        )
        self.recalls_overdue = Counter(
            "guard_recalls_passed_deadline_total",
            "Recalls whose deadline passed unanswered",
            ["agency"],
            registry=registry,
        )

    def serve(self, port: int) -> None:
        """Answer `/metrics` on this port, from a thread of its own."""
        start_http_server(port, registry=self.registry)
