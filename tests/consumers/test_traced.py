"""One trace from billing's event to the agency's answer, by the parts of the roles and a collector that listens."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from consumers.ingest import Ingest
from consumers.lane import LaneWorker, Pace
from domain.agency import ChannelKind
from domain.delivery import AnswerFile, Attempt, Message
from domain.events import RawRecord
from domain.recall import recall_id_of
from domain.traces import ATTRIBUTES, OFF, Tracing
from infra import logs
from infra.kafka.source import Polled
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries, Lane
from infra.tracing import CLOSE_SECONDS, OpenTelemetry, to_collector
from tests.beside import Beside
from tests.builders import ACCOUNT, LENIENT, day
from tests.collector import Collector, Seen, collecting
from tests.conftest import worker
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

BILLING = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, BILLINGS_SPAN = BILLING.split("-")[1:3]
AGENCYS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
RECALL = recall_id_of(ACCOUNT, "l-1")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Who takes spans."""
    with collecting() as listening:
        yield listening


@pytest.fixture
def tracing(collector: Collector) -> Iterator[Tracing]:
    """Spans that go there."""
    with contextlib.closing(OpenTelemetry(to_collector(collector.url), role="test")) as made:
        yield made


class Agency:
    """An agency's channel on which every message arrives, or none; it keeps what came."""

    def __init__(self, *, answers: Attempt) -> None:
        self.answered = answers
        self.came: list[Message] = []

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """One attempt for each."""
        self.came += messages
        return [self.answered for _ in messages]

    def answers(self) -> Sequence[AnswerFile]:
        """None."""
        return ()

    def taken(self, answer: AnswerFile) -> None:
        """Nothing to put away."""

    def close(self) -> None:
        """Nothing to close."""


ARRIVED = Attempt(delivered=True, target="https://agency.example")
LATE = Attempt(delivered=False, target="https://agency.example", detail="no answer within 2 s")


def take(database: Database, tracing: Tracing | None, *records: RawRecord) -> Ingest:
    """These come in one batch to a worker."""
    one = worker(database, LENIENT, day(9))
    if tracing is not None:
        one._tracing = tracing
    one.take(Polled(list(records), {}))
    return one


def deliver(database: Database, tracing: Tracing, channel: Agency) -> None:
    """What waits for the agency is tried once."""
    LaneWorker(
        lane=Lane("agency-1", ChannelKind.WEBHOOK, is_first=True),
        channel=channel,
        pace=Pace(batch_max=8, lease_seconds=15),
        deliveries=Deliveries(database),
        read_answers=lambda _: 0,
        poll_seconds=1,
        now=lambda: day(9),
        chance=lambda: 0.0,
        metrics=Metrics(),
        log=logs.configure(role="test", level="CRITICAL"),
        tracing=tracing,
    ).step()


def paid(traceparent: str | None = BILLING, **more: object) -> RawRecord:
    """A payment, with the trace to which it belongs."""
    headers = (("traceparent", traceparent.encode()),) if traceparent is not None else ()
    return replace(payment(**more), headers=headers)  # type: ignore[arg-type] # As its own arguments.


def acknowledged(traceparent: str | None = None) -> RawRecord:
    """The agency has stopped."""
    said = record(
        "agency.recall.acknowledged.v1",
        at=day(5),
        recall_id=RECALL,
        placement_id="l-1",
        acknowledged_at=day(5).isoformat(),
    )
    return replace(said, headers=(("traceparent", traceparent.encode()),) if traceparent else ())


def header_of(agency: Agency) -> str:
    """The context under which the first message came."""
    return dict(agency.came[0].headers)["traceparent"].decode()


def spans(tracing: Tracing, collector: Collector) -> dict[str, Seen]:
    """All that was told, by name."""
    tracing.close()
    return {one.name: one for one in collector.spans()}


def test_one_trace_goes_from_the_payment_to_the_agencys_answer(
    database: Database, tracing: Tracing, collector: Collector
) -> None:
    """Each span under the one that brought it about; what is no decision has none."""
    agency = Agency(answers=ARRIVED)

    take(database, tracing, referral(), placement())
    take(database, tracing, paid(), payment("p-2", account_id="another", late=timedelta(0)))
    deliver(database, tracing, agency)
    take(database, tracing, acknowledged())

    told = spans(tracing, collector)
    assert len(collector.spans()) == len(told) == 4
    assert {one.trace for one in told.values()} == {TRACE}
    assert told["event.applied"].parent == BILLINGS_SPAN
    assert told["recall.requested"].parent == told["event.applied"].id
    assert told["message.delivery"].parent == told["recall.requested"].id
    assert told["recall.acknowledged"].parent == told["recall.requested"].id
    assert told["event.applied"].notes == ("decoded", "loaded", "applied", "committed")
    assert told["message.delivery"].context in header_of(agency)
    assert told["recall.requested"].context.encode() in agency.came[0].value


def test_a_span_says_which_case_and_no_more(database: Database, tracing: Tracing, collector: Collector) -> None:
    """Ids of placements, recalls and agencies, and words of ours; no account, debt, payment or amount."""
    take(database, tracing, referral(), placement())
    take(database, tracing, paid())
    deliver(database, tracing, Agency(answers=LATE))

    told = spans(tracing, collector)
    named = {f"guard.{name}" for name in ATTRIBUTES}
    assert {name for one in told.values() for name in one.told} <= named
    assert told["recall.requested"].told == {
        "guard.recall_id": RECALL,
        "guard.placement_id": "l-1",
        "guard.agency_id": "agency-1",
        "guard.reason": "DEBT_SETTLED",
        "guard.cause": "paid_after_placement",
    }
    assert told["message.delivery"].told == {
        "guard.recall_id": RECALL,
        "guard.agency_id": "agency-1",
        "guard.channel": "webhook",
        "guard.attempt": 1,
        "guard.outcome": "failed",
    }
    assert told["message.delivery"].failed == "no answer within 2 s"
    assert told["event.applied"].told["guard.type"] == "billing.payment.settled.v1"
    assert all(word not in body for body in collector.bodies for word in (ACCOUNT.encode(), b"p-1", b"d-1"))


def test_an_agencys_own_trace_is_linked(database: Database, tracing: Tracing, collector: Collector) -> None:
    """Whoever looks at the recall's trace finds the agency's."""
    agency = Agency(answers=ARRIVED)
    take(database, tracing, referral(), placement())
    take(database, tracing, paid())
    deliver(database, tracing, agency)

    take(database, tracing, acknowledged(AGENCYS))
    by_another = spans(tracing, collector)["recall.acknowledged"]

    assert (by_another.trace, by_another.links) == (TRACE, (AGENCYS.split("-")[1],))
    assert TRACE in header_of(agency)


def test_an_agency_that_goes_on_with_the_trace_is_the_parent(
    database: Database, tracing: Tracing, collector: Collector
) -> None:
    """Its span of the same trace stands between ours."""
    take(database, tracing, referral(), placement())
    take(database, tracing, paid())
    theirs = f"00-{TRACE}-00000000000000aa-01"

    take(database, tracing, acknowledged(theirs))

    told = spans(tracing, collector)["recall.acknowledged"]
    assert (told.trace, told.parent, told.links) == (TRACE, "00000000000000aa", ())


@pytest.mark.parametrize(
    "traceparent",
    [
        "Anna",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-+79261234567",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "",
    ],
)
def test_what_is_no_context_is_dropped_and_the_recall_has_a_trace_of_its_own(
    database: Database, tracing: Tracing, collector: Collector, traceparent: str
) -> None:
    """Whatever it may hold goes nowhere."""
    agency = Agency(answers=ARRIVED)
    take(database, tracing, referral(), placement())
    take(database, tracing, paid(traceparent))
    deliver(database, tracing, agency)

    told = spans(tracing, collector)
    assert told["event.applied"].parent == ""
    assert told["message.delivery"].context in header_of(agency)
    assert not traceparent or traceparent.encode() not in agency.came[0].value


def test_what_is_not_committed_is_told_to_nobody(
    database: Database, tracing: Tracing, collector: Collector
) -> None:
    """A batch that fails leaves no span of a recall that there is not."""
    take(database, tracing, referral(), placement())
    one = worker(database, LENIENT, day(9))
    one._tracing = tracing
    one._positions = {("billing.payments", 0): 0}

    with pytest.raises(KeyError):  # Of a stream that it was never given.
        one.take(Polled([paid()], {("billing.payments", 0): 1}))

    assert spans(tracing, collector) == {}


def test_where_nobody_wants_traces_what_came_in_goes_out(database: Database, collector: Collector) -> None:
    """The context of billing's event is in the recall as it came, and nothing is sent anywhere."""
    agency = Agency(answers=ARRIVED)
    take(database, None, referral(), placement())
    take(database, None, paid())
    deliver(database, OFF, agency)

    assert header_of(agency) == BILLING
    assert collector.bodies == []


def test_a_collector_that_hangs_delays_nobody(database: Database, bare: Beside) -> None:
    """Work goes on at its pace, and the end of a process waits a moment only."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        tracing = OpenTelemetry(to_collector(f"http://127.0.0.1:{silent.getsockname()[1]}"), role="test")
        take(database, tracing, referral(), placement())
        with bare.within(CLOSE_SECONDS):
            take(database, tracing, paid())
        with bare.within(2 * CLOSE_SECONDS):
            tracing.close()
