"""What the dispatcher publishes from a real database to a real Kafka: in order, once, and again after a crash."""

from __future__ import annotations

import contextlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.dispatch import Dispatch
from consumers.lane import LaneWorker
from consumers.lanes import Lanes
from domain.recall import recall_id_of
from infra import logs
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.connection import Connection
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.publisher import Publisher
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries
from infra.postgres.outbox import Outbox
from infra.wire.kinds import QUARANTINE, RECALLS
from tests import inbound
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

LONG_SECONDS = 3_600.0
"""Between looks of a dispatcher that is not woken: longer than any test."""


class Log:
    """What comes onto a topic from now on."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._topic = topic
        with inbound.known(bootstrap_servers) as cluster:
            cluster.create({topic: 2})
            seen = cluster.look([topic])[topic]
            assert seen is not None
            self._since = dict(seen.ends)

    def read(self, records: int) -> list[Any]:  # `Any`: the library has no types.
        """So many records, and those that stand there with them."""
        return inbound.published(self._bootstrap_servers, self._topic, since=self._since, records=records)


@pytest.fixture
def recalls(parts: Parts) -> Log:
    """The topic that agencies read."""
    return Log(parts.bootstrap_servers, RECALLS)


@pytest.fixture
def publisher(parts: Parts) -> Iterator[Publisher]:
    """A producer on the session's Kafka."""
    with contextlib.closing(Publisher(Connection(parts.bootstrap_servers), client_id="tests")) as publisher:
        yield publisher


def dispatcher(database: Database, publisher: Publisher, *, poll_seconds: float = LONG_SECONDS) -> Dispatch:
    """A dispatcher whose clock stands on day 9."""
    return Dispatch(
        database=database,
        outbox=Outbox(database),
        publisher=publisher,
        lanes=Lanes(dict, no_lane, keep_lanes=Deliveries(database).keep_lanes),
        batch_max=500,
        poll_seconds=poll_seconds,
        now=lambda: day(9),
        metrics=Metrics(),
        log=logs.configure(role="test", level="CRITICAL"),
    )


def no_lane(*_: object) -> LaneWorker:
    """No agency here has a lane."""
    raise AssertionError


def test_a_placements_messages_leave_in_their_order_and_are_marked(
    arrive: Arrive, database: Database, publisher: Publisher, recalls: Log
) -> None:
    """Two balances and the recall: as they were saved, under the placement's key, and the recall is sent."""
    arrive(referral(), placement())
    for number in range(1, 3):
        arrive(payment(f"p-{number}", amount=30_00))
    arrive(payment("p-3", amount=40_00))
    saved = rows(database, "SELECT key, value FROM outbox ORDER BY outbox_id")
    dispatch = dispatcher(database, publisher)

    out = [dispatch.step() for _ in range(4)]

    assert out == [1, 1, 1, 0]
    assert saved == [(one.key, one.value) for one in recalls.read(3)]
    assert rows(database, "SELECT count(*) FROM outbox WHERE sent_at IS NULL") == [(0,)]
    assert rows(database, "SELECT state FROM recall") == [("sent",)]


def test_what_was_sent_and_not_marked_is_sent_again_as_it_was(
    arrive: Arrive, database: Database, publisher: Publisher, recalls: Log
) -> None:
    """A dispatcher dies between the two: after its lease another sends the same bytes, under the same id."""
    arrive(referral(), placement(), payment())
    publisher.publish(Outbox(database).claim(10))
    dispatch = dispatcher(database, publisher)
    while_leased = dispatch.step()
    end_leases(database)

    assert (while_leased, dispatch.step(), dispatch.step()) == (0, 1, 0)
    first, again = recalls.read(2)
    assert (first.key, first.value, first.headers) == (again.key, again.value, again.headers)
    assert json.loads(first.value)["id"] == recall_id_of(ACCOUNT, "l-1")


def test_a_recall_that_is_sent_again_is_no_latency(
    arrive: Arrive, database: Database, publisher: Publisher, recalls: Log
) -> None:
    """It would tell of the hours for which nobody answered, and not of us."""
    arrive(referral(), placement(), payment())
    dispatch = dispatcher(database, publisher)
    dispatch.step()
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = NULL, again = 'overdue'"))

    assert dispatch.step() == 1
    labels = {"stage": "sent", "agency": "agency-1", "cause": "paid_after_placement"}
    counted = dispatch._metrics.registry.get_sample_value("guard_recall_latency_seconds_count", labels)
    assert counted == 1


def test_the_rest_of_a_placement_waits_for_its_oldest(arrive: Arrive, database: Database) -> None:
    """While somebody holds a placement's balance its recall can't overtake; another placement's can."""
    arrive(referral(), placement(), payment(amount=30_00))
    held = Outbox(database).claim(10)
    arrive(payment("p-2", amount=70_00))
    arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"), payment(account_id="a-2", amount=100_00))

    claimed = Outbox(database).claim(10)

    assert [one.account_id for one in held] == [ACCOUNT]
    assert [one.account_id for one in claimed] == ["a-2"]


def test_two_dispatchers_share_without_doubling(
    arrive: Arrive, database: Database, publisher: Publisher, recalls: Log
) -> None:
    """Three hundred recalls, two at work at the same time: each leaves once."""
    accounts = [f"a-{number}" for number in range(300)]
    for account_id in accounts:
        arrive(
            referral(account_id=account_id),
            placement(f"l-{account_id}", account_id=account_id),
            payment(account_id=account_id),
        )
    both = [dispatcher(database, publisher) for _ in range(2)]
    for one in both:
        one._batch_max = 20

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(step_to_the_end, both))

    assert Counter(f"l-{account_id}" for account_id in accounts) == Counter(
        one.key.decode() for one in recalls.read(300)
    )


def test_it_is_woken_by_the_commit(arrive: Arrive, database: Database, publisher: Publisher, recalls: Log) -> None:
    """A dispatcher that would not look for an hour publishes what has just been saved."""
    stop = threading.Event()
    dispatch = dispatcher(database, publisher)
    running = threading.Thread(target=dispatch.run, args=[stop])
    running.start()
    assert inbound.until(lambda: is_listening(database))

    arrive(referral(), placement(), payment())
    woken = recalls.read(1)
    stop.set()
    with database.transaction() as connection:
        connection.execute(sa.text("SELECT pg_notify('guard_outbox', '')"))
    running.join(inbound.DEADLINE_SECONDS)

    assert [one.key for one in woken] == [b"l-1"]
    assert not running.is_alive()


def test_a_record_that_no_broker_takes_holds_up_no_other(
    arrive: Arrive, database: Database, publisher: Publisher, parts: Parts, recalls: Log
) -> None:
    """It stays and the dispatcher says that something is wrong, but recalls beside it leave (S2)."""
    Log(parts.bootstrap_servers, QUARANTINE)
    arrive(referral(), placement(), payment())
    with database.transaction() as connection:
        connection.execute(sa.text(TOO_LARGE), {"topic": QUARANTINE, "value": b" " * 2**21})
    dispatch = dispatcher(database, publisher)

    with pytest.raises(BrokerUnavailableError, match="1 of 2 records were not acknowledged"):
        dispatch.step()

    assert [one.key for one in recalls.read(1)] == [b"l-1"]
    assert rows(database, "SELECT topic, attempts FROM outbox WHERE sent_at IS NULL") == [(QUARANTINE, 1)]


def test_a_broker_that_goes_away_delays(
    arrive: Arrive, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The claim is given back at once, nothing is marked; when the broker is there again it leaves once."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        log = Log(kafka.bootstrap_servers, RECALLS)
        connection = Connection(kafka.bootstrap_servers)
        with contextlib.closing(Publisher(connection, client_id="tests")) as publisher:
            dispatch = dispatcher(database, publisher)
            arrive(referral(), placement(), payment())
            kafka.kill_node(1)
            with pytest.raises(BrokerUnavailableError):
                dispatch.step()
            waiting = rows(database, "SELECT sent_at, claimed_until, attempts FROM outbox")
            kafka.start_node(1)
            assert inbound.until(lambda: stepped(dispatch))

        assert waiting == [(None, None, 1)]
        assert [one.key for one in log.read(1)] == [b"l-1"]


TOO_LARGE = """
INSERT INTO outbox (account_id, placement_id, topic, key, value, headers, created_at)
VALUES ('a-9', '', :topic, '', :value, '[]', now())"""


def stepped(dispatch: Dispatch) -> bool:
    """Whether one step published anything; a broker that is still away is none."""
    with contextlib.suppress(BrokerUnavailableError):
        return dispatch.step() > 0
    return False


def step_to_the_end(dispatch: Dispatch) -> None:
    """Step until nothing is left to claim."""
    while dispatch.step():
        pass


def end_leases(database: Database) -> None:
    """Let every lease be over, as after its time."""
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET claimed_until = clock_timestamp() - interval '1 second'"))


def is_listening(database: Database) -> bool:
    """Whether a dispatcher hears the outbox's notifications."""
    return rows(
        database,
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'",
    ) == [(1,)]


def rows(database: Database, statement: str) -> list[tuple[object, ...]]:
    """What a query gives; bytes as such."""
    with database.transaction() as connection:
        found = connection.execute(sa.text(statement))
        return [tuple(bytes(one) if isinstance(one, memoryview) else one for one in row) for row in found]
