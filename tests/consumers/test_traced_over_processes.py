"""One trace over the guard's own processes: from billing's record on Kafka to the agency's answer on Kafka."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from domain.events import RawRecord
from domain.recall import recall_id_of
from tests import inbound
from tests.builders import ACCOUNT, day
from tests.collector import collecting
from tests.faults.worker import wait_until
from tests.house import house
from tests.parts import Parts
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

BILLING = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, BILLINGS_SPAN = BILLING.split("-")[1:3]

ROLES = ("ingest", "dispatch")


def with_trace(raw: RawRecord) -> RawRecord:
    """The record as billing sends it, as a part of its own trace."""
    return replace(raw, headers=(("traceparent", BILLING.encode()),))


def test_billings_trace_goes_through_both_processes(parts: Parts, database_url: str, tmp_path: Path) -> None:
    """What `ingest` decides, what `dispatch` sends, and the answer that `ingest` reads: one trace, in its order."""
    answer = {
        "recall_id": recall_id_of(ACCOUNT, "l-1"),
        "placement_id": "l-1",
        "acknowledged_at": day(5).isoformat(),
    }
    with (
        collecting() as collector,
        house(parts, database_url, tmp_path, {"TRACING_ENDPOINT": collector.url}) as home,
    ):
        home.start(*ROLES)
        home.wait_until_ready(*ROLES)
        inbound.publish(parts.bootstrap_servers, referral(), placement(), with_trace(payment()))
        sent = "SELECT count(*) FROM recall WHERE sent_at IS NOT NULL"
        wait_until("the recall is sent", lambda: home.rows(sent) == [(1,)], seen=home.logs)
        said = record("agency.recall.acknowledged.v1", at=day(5), **answer)  # type: ignore[arg-type] # All is data.
        inbound.publish(parts.bootstrap_servers, said)
        wait_until("the answer is read", lambda: bool(collector.named("recall.acknowledged")), seen=home.logs)
        home.stop()
        told = {one.name: one for one in collector.spans()}

    assert {name: (one.role, one.trace) for name, one in told.items()} == {
        "event.applied": ("ingest", TRACE),
        "recall.requested": ("ingest", TRACE),
        "message.delivery": ("dispatch", TRACE),
        "recall.acknowledged": ("ingest", TRACE),
    }
    assert told["event.applied"].parent == BILLINGS_SPAN
    assert told["message.delivery"].parent == told["recall.acknowledged"].parent == told["recall.requested"].id
