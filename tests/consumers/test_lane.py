"""One lane of one agency on a real database: what is due is tried, kept and marked; a dead agency is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.lane import LaneWorker, Pace
from consumers.lanes import Lanes
from domain.agency import Agency, ChannelKind, WebhookTarget
from domain.delivery import AnswerFile, Attempt, Message
from domain.patience import Circuit
from domain.recall import recall_id_of
from infra import logs
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.deliveries import STUCK_AFTER, Deliveries, Lane, Standing, Tried
from infra.postgres.outbox import Outbox
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.faults.worker import wait_until
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

WEBHOOK = Lane("north", ChannelKind.WEBHOOK, is_first=True)
SECOND = Lane("north", ChannelKind.FILE, is_first=False)
POLL_SECONDS = 0.05

DUE_IN_A_MINUTE = (
    "SELECT due_at - clock_timestamp() BETWEEN interval '50 seconds' AND interval '60 seconds',"
    " last_error, claimed_until FROM outbox"
)

REACHED = Attempt(delivered=True, target="https://north.example", request=b"POST", response=b"200")
AWAY = Attempt(delivered=False, target="https://north.example", detail="no answer", request=b"POST")
REFUSED = Attempt(delivered=False, target="https://north.example", detail="422", response=b"422", refused=True)


class Scripted:
    """An agency's channel whose attempts end as the test says; it keeps what it was given."""

    def __init__(self, *ends: Attempt) -> None:
        self.ends = list(ends)
        self.given: list[list[Message]] = []
        self.is_closed = False

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """Each as the script goes on; its last word holds."""
        self.given.append(list(messages))
        return [self.ends.pop(0) if len(self.ends) > 1 else self.ends[0] for _ in messages]

    def answers(self) -> Sequence[AnswerFile]:
        """None."""
        return ()

    def taken(self, answer: AnswerFile) -> None:
        """Nothing to put away."""

    def close(self) -> None:
        """Kept for the test."""
        self.is_closed = True


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.at = day(9)

    def __call__(self) -> datetime:
        """Now."""
        return self.at


@pytest.fixture
def clock() -> Clock:
    """Day 9."""
    return Clock()


@pytest.fixture
def metrics() -> Metrics:
    """What was counted."""
    return Metrics()


Working = Callable[..., LaneWorker]


@pytest.fixture
def working(database: Database, clock: Clock, metrics: Metrics) -> Working:
    """Makes a worker of a lane."""

    def make(channel: Scripted, *, lane: Lane = WEBHOOK, pace: Pace | None = None) -> LaneWorker:
        return LaneWorker(
            lane=lane,
            channel=channel,
            pace=pace or Pace(batch_max=8, lease_seconds=15),
            deliveries=Deliveries(database),
            read_answers=lambda _: 0,
            poll_seconds=POLL_SECONDS,
            now=clock,
            chance=lambda: 1.0,
            metrics=metrics,
            log=logs.configure(role="test", level="CRITICAL"),
        )

    return make


@pytest.fixture
def recalled(arrive: Arrive) -> str:
    """A placement with the agency `north`, paid and so recalled; its recall's id."""
    arrive(referral(), placement(agency_id="north"), payment())
    return recall_id_of(ACCOUNT, "l-1")


def rows(database: Database, query: str) -> list[Any]:  # `Any`: rows are untyped.
    """What the database says."""
    with database.transaction() as connection:
        found = connection.execute(sa.text(query)).all()
    return [tuple(bytes(one) if isinstance(one, memoryview) else one for one in row) for row in found]


def change(database: Database, statement: str) -> None:
    """Do something to the database."""
    with database.transaction() as connection:
        connection.execute(sa.text(statement))


def all_due(database: Database) -> None:
    """Time passes for what was to be tried later; the database has a clock of its own."""
    change(database, "UPDATE outbox SET due_at = NULL")


def test_a_message_is_delivered_and_kept_byte_for_byte(
    database: Database, working: Working, recalled: str, metrics: Metrics
) -> None:
    """Under the recall's id; the recall is sent, and what went and came is there to be shown."""
    channel = Scripted(REACHED)
    worker = working(channel)

    waits = [worker.step(), worker.step()]

    assert waits == [0.0, POLL_SECONDS]
    ((message,),) = channel.given
    assert (message.message_id, message.placement_id, message.topic) == (recalled, "l-1", "guard.recalls")
    assert rows(database, "SELECT value, sent_at IS NOT NULL, attempts, last_error FROM outbox") == [
        (message.value, True, 1, None)
    ]
    kept = (
        "SELECT attempt, channel, ended_at IS NOT NULL, delivered, target, detail, request, response"
        " FROM delivery_attempt"
    )
    assert rows(database, kept) == [(1, "webhook", True, True, "https://north.example", "", b"POST", b"200")]
    assert rows(database, "SELECT state FROM recall") == [("sent",)]
    labels = {"stage": "sent", "agency": "north", "cause": "paid_after_placement"}
    assert metrics.registry.get_sample_value("guard_recall_latency_seconds_count", labels) == 1
    delivered = {"agency": "north", "channel": "webhook", "outcome": "delivered"}
    assert metrics.registry.get_sample_value("guard_deliveries_total", delivered) == 1


def test_what_fails_is_tried_again_later_and_each_attempt_is_kept(
    database: Database, working: Working, recalled: str
) -> None:
    """With the agency's wish, under the same id."""
    asks = Attempt(delivered=False, target="", detail="503", retry_after_seconds=60, refused=True)
    channel = Scripted(asks, REACHED)
    worker = working(channel)

    first = worker.step()
    at_once = worker.step()
    due = rows(database, DUE_IN_A_MINUTE)
    all_due(database)
    worker.step()

    assert (first, at_once) == (0.0, POLL_SECONDS)
    assert due == [(True, "503", None)]
    assert [one.message_id for batch in channel.given for one in batch] == [recalled, recalled]
    assert rows(database, "SELECT attempt, delivered FROM delivery_attempt ORDER BY attempt") == [
        (1, False),
        (2, True),
    ]


def test_one_who_dies_with_a_message_in_hand_leaves_an_attempt_without_an_end(
    database: Database, working: Working, recalled: str
) -> None:
    """After its lease another sends it again, and both attempts are known."""
    Deliveries(database).claim(WEBHOOK, 10, lease_seconds=15)
    channel = Scripted(REACHED)
    worker = working(channel)

    while_leased = worker.step()
    change(database, "UPDATE outbox SET claimed_until = clock_timestamp() - interval '1 second'")
    worker.step()

    assert while_leased == POLL_SECONDS
    assert [one.message_id for batch in channel.given for one in batch] == [recalled]
    ended = "SELECT attempt, ended_at IS NOT NULL, delivered FROM delivery_attempt ORDER BY attempt"
    assert rows(database, ended) == [(1, False, None), (2, True, True)]


def test_a_lost_lease_does_not_undo_what_another_delivered(
    database: Database, working: Working, recalled: str
) -> None:
    """The slower of two, who failed, finds it sent."""
    deliveries = Deliveries(database)
    slow = deliveries.claim(WEBHOOK, 10, lease_seconds=0)
    working(Scripted(REACHED)).step()

    deliveries.finish(WEBHOOK, [Tried(slow[0], AWAY, timedelta(seconds=1))])

    assert rows(database, "SELECT sent_at IS NOT NULL, due_at FROM outbox") == [(True, None)]
    assert rows(database, "SELECT state FROM recall") == [("sent",)]


def test_after_a_restart_a_circuit_that_is_open_is_shown_as_open(
    recalled: str, database: Database, working: Working, metrics: Metrics
) -> None:
    """From the first turn, before anything is tried: what opened it may have been another process."""
    labels = {"agency": "north", "channel": "webhook"}
    before = working(Scripted(*[AWAY] * 3))
    for _ in range(3):
        before.step()
        all_due(database)
    metrics.agencies.circuit_open.clear()

    working(Scripted()).step()

    assert metrics.registry.get_sample_value("guard_agency_circuit_open", labels) == 1


def test_an_agency_that_is_not_reached_is_left_alone_for_a_while(
    arrive: Arrive, database: Database, working: Working, clock: Clock, metrics: Metrics
) -> None:
    """After three failures nothing is tried; then one message, and when that arrives all the others."""
    arrive(referral(), placement(agency_id="north"), payment())
    arrive(*[one for n in range(2, 7) for one in (
        referral(account_id=f"a-{n}", debt_id=f"d-{n}"),
        placement(account_id=f"a-{n}", debt_id=f"d-{n}", placement_id=f"l-{n}", agency_id="north"),
        payment(f"p-{n}", account_id=f"a-{n}"),
    )])  # fmt: skip
    channel = Scripted(*[AWAY] * 7, REACHED)
    worker = working(channel)
    open_circuit = {"agency": "north", "channel": "webhook"}

    worker.step()
    while_open = worker.step()
    all_due(database)
    opened = metrics.registry.get_sample_value("guard_agency_circuit_open", open_circuit)
    clock.at += timedelta(seconds=1)
    worker.step()
    still_away = worker.step()
    clock.at += timedelta(seconds=2)
    all_due(database)
    worker.step()
    worker.step()

    assert (while_open, still_away, opened) == (POLL_SECONDS, POLL_SECONDS, 1)
    assert [len(batch) for batch in channel.given] == [6, 1, 1, 5]
    assert rows(database, "SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(0,)]
    assert metrics.registry.get_sample_value("guard_agency_circuit_open", open_circuit) == 0
    assert Deliveries(database).standing() == [Standing("north", "webhook", 0, None, 0, 0, None, "")]


def test_a_circuit_outlives_its_process(database: Database, working: Working, recalled: str, clock: Clock) -> None:
    """A dispatcher that starts knows which agencies are away; what others opened it does not forget."""
    opened = Scripted(AWAY)
    first = working(opened)
    for _ in range(3):
        first.step()
        all_due(database)
    pending = Outbox(database).pending()
    anew = Scripted(REACHED)

    wait = working(anew).step()
    clock.at += timedelta(seconds=1)
    working(anew).step()

    assert wait == POLL_SECONDS
    assert (len(opened.given), len(anew.given)) == (3, 1)
    assert pending.records == 0  # It waits for the agency, and not for us.


def test_once_an_agency_is_back_nothing_waits_for_its_own_pause(
    arrive: Arrive, database: Database, working: Working, clock: Clock
) -> None:
    """What was tried most often would else wait longest: up to a quarter of an hour."""
    arrive(referral(), placement(agency_id="north"), payment())
    channel = Scripted(*[AWAY] * 3, REACHED)
    worker = working(channel)
    for _ in range(3):
        worker.step()
        all_due(database)
    change(database, "UPDATE outbox SET due_at = clock_timestamp() + interval '15 minutes'")
    arrive(
        referral(account_id="a-2", debt_id="d-2"),
        placement("l-2", account_id="a-2", debt_id="d-2", agency_id="north"),
        payment("p-2", account_id="a-2"),
    )
    clock.at += timedelta(seconds=1)

    worker.step()
    worker.step()

    assert rows(database, "SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(0,)]


def test_a_circuit_that_another_opened_is_closed_by_whoever_reaches_the_agency(
    database: Database, working: Working, recalled: str, clock: Clock
) -> None:
    """The one that opened it may be gone."""
    channel = Scripted(REACHED)
    worker = working(channel)
    worker.step()
    opened = Circuit(9, clock.at + timedelta(hours=1), "no answer")
    Deliveries(database).keep_circuit(WEBHOOK, opened, clock.at)
    change(database, "UPDATE outbox SET sent_at = NULL")

    worker.step()

    assert Deliveries(database).standing() == [Standing("north", "webhook", 0, None, 0, 0, None, "")]


def test_a_way_that_is_gone_leaves_nothing_behind(database: Database, recalled: str, clock: Clock) -> None:
    """No circuit that nobody would close; and what waits in it goes by the agency's first way."""
    opened = Circuit(9, clock.at, "no answer")
    deliveries = Deliveries(database)
    deliveries.keep_circuit(SECOND, opened, clock.at)
    deliveries.keep_circuit(WEBHOOK, opened, clock.at)
    change(database, "UPDATE outbox SET channel = 'file'")

    deliveries.keep_lanes([WEBHOOK, SECOND])
    kept = [one.channel for one in deliveries.standing()]
    deliveries.keep_lanes([WEBHOOK])
    left = [(one.channel, one.waiting) for one in deliveries.standing()]

    assert (kept, left) == (["file", "webhook"], [("webhook", 1)])
    assert [one.recall_id for one in deliveries.claim(WEBHOOK, 10, lease_seconds=15)] == [recalled]


def test_the_second_ways_circuit_hides_nothing_of_the_first(
    database: Database, recalled: str, clock: Clock
) -> None:
    """What waits for us is told from what waits for the agency."""
    Deliveries(database).keep_circuit(SECOND, Circuit(9, clock.at, "no answer"), clock.at)
    seen = Outbox(database).pending().records
    Deliveries(database).keep_circuit(WEBHOOK, Circuit(9, clock.at, "no answer"), clock.at)

    assert (seen, Outbox(database).pending().records) == (1, 0)


def test_what_is_tried_again_and_again_is_told(database: Database, working: Working, recalled: str) -> None:
    """The agency is there, and does not take it: nobody else would say so."""
    worker = working(Scripted(REFUSED))
    for _ in range(STUCK_AFTER):
        worker.step()
        all_due(database)

    assert [(one.waiting, one.stuck, one.open_until) for one in Deliveries(database).standing()] == [(1, 1, None)]


def test_a_message_that_is_refused_opens_no_circuit(database: Database, working: Working, recalled: str) -> None:
    """The agency is there; what it does not take must not keep the others from it."""
    channel = Scripted(REFUSED)
    worker = working(channel)

    for _ in range(5):
        worker.step()
        all_due(database)

    assert len(channel.given) == 5
    assert rows(database, "SELECT count(*) FROM agency_circuit") == [(0,)]


@pytest.mark.parametrize("end", [REFUSED, AWAY, None])
def test_a_recall_waits_for_nothing_that_was_to_be_told_before_it(
    arrive: Arrive, database: Database, working: Working, end: Attempt | None
) -> None:
    """A balance that the agency does not take, or that waits, is not told any more: the recall alone counts."""
    arrive(referral(), placement(agency_id="north"), payment(amount=30_00))
    channel = Scripted(*([end, REACHED] if end else [REACHED]))
    worker = working(channel)
    if end:
        worker.step()
    arrive(payment("p-2", amount=70_00))

    worker.step()
    all_due(database)
    after = worker.step()

    assert after == POLL_SECONDS
    assert channel.given[-1][0].message_id == recall_id_of(ACCOUNT, "l-1")
    assert rows(database, "SELECT sent_at IS NULL, superseded_at IS NULL FROM outbox ORDER BY outbox_id") == [
        (True, False),
        (False, True),
    ]
    assert [(one.waiting, one.oldest) for one in Deliveries(database).standing() if one.waiting] == []


def test_a_recall_does_not_overtake_what_is_on_its_way(
    arrive: Arrive, database: Database, working: Working
) -> None:
    """It may arrive later than the recall, and would say that the agency has it still."""
    arrive(referral(), placement(agency_id="north"), payment(amount=30_00))
    Deliveries(database).claim(WEBHOOK, 10, lease_seconds=15)
    arrive(payment("p-2", amount=70_00))
    channel = Scripted(REACHED)

    assert working(channel).step() == POLL_SECONDS
    assert channel.given == []


def test_the_second_channel_takes_only_what_names_it(database: Database, working: Working, recalled: str) -> None:
    """And is not held up by what the first can't deliver, though the order of a placement holds in each."""
    copy = (
        "INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, topic, key, value, headers,"
        " created_at, channel, again)"
        " SELECT account_id, placement_id, recall_id, agency_id, topic, key, value, headers, created_at,"
        " 'file', 'escalated' FROM outbox"
    )
    second = Scripted(REACHED)
    worker = working(second, lane=SECOND)

    before = worker.step()
    change(database, copy)
    worker.step()

    assert before == POLL_SECONDS
    assert [one.message_id for batch in second.given for one in batch] == [recalled]
    assert rows(database, "SELECT channel, sent_at IS NOT NULL FROM outbox ORDER BY outbox_id") == [
        ("", False),
        ("file", True),
    ]


def test_kafka_takes_what_has_no_lane(database: Database, recalled: str) -> None:
    """Whether an agency is named in the file or not; of one with another channel it takes nothing."""
    outbox = Outbox(database)

    assert outbox.claim(10, elsewhere={"north"}) == []
    assert outbox.pending().records == 1
    assert [one.recall_id for one in outbox.claim(10, elsewhere={"south"})] == [recalled]


def test_a_lane_keeps_to_its_rate(arrive: Arrive, database: Database, working: Working) -> None:
    """So many a second, and no more at once."""
    for n in range(1, 6):
        arrive(
            referral(account_id=f"a-{n}", debt_id=f"d-{n}"),
            placement(account_id=f"a-{n}", debt_id=f"d-{n}", placement_id=f"l-{n}", agency_id="north"),
            payment(f"p-{n}", account_id=f"a-{n}"),
        )
    channel = Scripted(REACHED)
    worker = working(channel, pace=Pace(batch_max=8, lease_seconds=15, rate_per_second=2))

    waits = [worker.step(), worker.step()]

    assert waits == [0.0, 0.5]
    assert [len(batch) for batch in channel.given] == [2]


def test_lanes_follow_the_file_of_agencies(database: Database, working: Working, recalled: str) -> None:
    """One that is named anew begins, one that is gone ends, and its channel is closed."""
    agencies: dict[str, Agency] = {}
    channels: list[Scripted] = []

    def start(_agency: Agency, lane: Lane, _pace: Pace) -> LaneWorker:
        channels.append(Scripted(REACHED))
        return working(channels[-1], lane=lane)

    lanes = Lanes(lambda: agencies, start, keep_lanes=Deliveries(database).keep_lanes)
    lanes.keep()
    target = WebhookTarget("https://north.example", ())
    agencies["north"] = Agency("north", channel=ChannelKind.WEBHOOK, webhook=target)
    lanes.keep()
    lanes.keep()
    wait_until("it is delivered", lambda: bool(channels[0].given))
    named = lanes.elsewhere()
    agencies.clear()
    lanes.keep()
    wait_until("the lane has ended", lambda: channels[0].is_closed)
    lanes.close()

    assert (len(channels), sorted(named), sorted(lanes.elsewhere())) == (1, ["north"], [])
    assert not [one for one in threading.enumerate() if one.name.startswith("lane ")]
