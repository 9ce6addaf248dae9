"""Metrics: what a role shows, their names as they are scraped, and no label that names a customer."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from infra.metrics import Metrics, version
from infra.metrics_list import EVERY_ROLE, METRICS, Kind

LABELS = {
    "topic",
    "partition",
    "outcome",
    "stage",
    "agency",
    "channel",
    "cause",
    "version",
    "role",
    "loop",
    "source",
    "state",
    "decision",
    "reason",
}
"""What a label may be: a place, an agency, a system or a code, each of a few values."""


def _shown(metrics: Metrics) -> set[str]:
    types = [line for line in generate_latest(metrics.registry).decode().splitlines() if line.startswith("# TYPE")]
    return {line.split()[2] for line in types}


def test_every_name_is_ours_and_no_label_is_a_persons() -> None:
    """The prefix, labels of a known few, no name twice, and a line of words for each."""
    names = [one.name for one in METRICS]

    assert [name for name in names if not name.startswith("guard_")] == []
    assert len(set(names)) == len(names)
    assert {label for one in METRICS for label in one.labels} == LABELS
    assert [one.name for one in METRICS if not one.says.endswith(".")] == []


@pytest.mark.parametrize("role", EVERY_ROLE)
def test_a_role_shows_what_it_moves(role: str) -> None:
    """And no zeros of what others move."""
    moved = {one.name for one in METRICS if role in one.roles and one.kind is not Kind.READ}

    assert _shown(Metrics(role)) == moved


def test_a_process_without_a_role_shows_all_that_is_moved() -> None:
    """As the tests do."""
    assert _shown(Metrics()) == {one.name for one in METRICS if one.kind is not Kind.READ}


def test_what_another_role_moves_may_be_moved_without_harm() -> None:
    """It is not shown; what was counted of ours is what is scraped."""
    metrics = Metrics("ingest")
    metrics.clearances.labels("hold", "STREAM_BEHIND").inc()
    metrics.events.labels("billing.payments", "applied").inc(3)

    scraped = generate_latest(metrics.registry).decode()

    assert 'guard_events_total{outcome="applied",topic="billing.payments"} 3.0' in scraped.splitlines()
    assert f'guard_build_info{{role="ingest",version="{version()}"}} 1.0' in scraped.splitlines()
    assert "guard_clearances" not in scraped
