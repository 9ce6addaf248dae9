"""What a rebalance may not do: pass for a place that was read to something that was not committed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.publisher import Publisher
from infra.kafka.source import Place, Source
from infra.wire.encode import Outgoing
from tests.faults.worker import wait_until

pytestmark = [pytest.mark.parts, pytest.mark.faults]

TOPIC = "rebalanced"
RECORDS = 20
"""Of each partition."""

Join = Callable[[], Source]


@pytest.fixture
def join(kafka: EmbeddedKafka) -> Iterator[Join]:
    """Makes members of one group on a topic of two partitions that have records."""
    connection = Connection(kafka.bootstrap_servers)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(contextlib.closing(Cluster(connection, client_id="tests")))
        cluster.create({TOPIC: 2})
        publisher = stack.enter_context(contextlib.closing(Publisher(connection, client_id="tests")))
        keys = [str(number).encode() for number in range(2 * RECORDS)]
        assert all(publisher.publish([Outgoing("", "", TOPIC, key, b"{}", ()) for key in keys]))

        def member() -> Source:
            made = Source(
                connection, [TOPIC], group_id="rebalanced", client_id="tests", instance_id=None, max_records=5
            )
            return stack.enter_context(contextlib.closing(made))

        yield member


def test_what_was_read_and_not_committed_is_not_shown_as_read(join: Join) -> None:
    """A batch fails, and before it is read again the group begins to rebalance: no position moves until then."""
    worker, silent = join(), join()
    wait_until("both have a partition", lambda: all_own(worker, silent))
    (place,) = worker.owned()
    worker.start_at({place: 0})
    wait_until("records are read", lambda: bool(worker.poll(100).records))
    worker.pause({place})  # As `ingest` does with what it could not commit.

    newcomer = join()
    shown: dict[Place, int] = {}

    def is_rebalancing() -> bool:
        newcomer.poll(10)
        shown.update(worker.poll(10).positions)
        return bool(worker._consumer._coordinator.rejoining)

    # The silent one does not join again, so that the rebalance lasts.
    wait_until("the group rebalances", is_rebalancing)
    shown.update(worker.poll(10).positions)

    assert shown == {}
    assert worker.unplaced() == {place}


def all_own(*members: Source) -> bool:
    for member in members:
        member.poll(50)
    return all(len(member.owned()) == 1 for member in members)
