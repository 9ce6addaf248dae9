"""Metrics: their names as they are scraped, and no label that names a customer."""

from __future__ import annotations

import urllib.request

from prometheus_client import generate_latest

from infra.embedded import free_ports
from infra.metrics import Metrics

LABELS = {
    "topic",
    "partition",
    "outcome",
    "stage",
    "agency",
    "cause",
    "le",
    "version",
    "state",
    "decision",
    "reason",
}
"""What a label may be: a place, an agency or a code, each of a few values."""


def test_every_name_is_ours_and_no_label_is_a_persons() -> None:
    """The prefix, and labels of a known few."""
    families = list(Metrics().registry.collect())

    assert [one.name for one in families if not one.name.startswith("guard_")] == []
    used = {label for one in vars(Metrics()).values() for label in getattr(one, "_labelnames", ())}
    assert used - LABELS == set()


def test_they_are_served_where_the_port_is_set() -> None:
    """What was counted is what is scraped."""
    metrics = Metrics()
    metrics.events.labels("billing.payments", "applied").inc(3)
    (port,) = free_ports(1)

    metrics.serve(port)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:  # Our own, just above.
        scraped = answer.read()

    line = b'guard_events_total{outcome="applied",topic="billing.payments"} 3.0'
    assert line in scraped.splitlines()
    assert generate_latest(metrics.registry).splitlines()[0] in scraped.splitlines()
