"""A stream that is no longer the one that was read stops with an alarm, and a person lets it go on.

The real `ingest` and the real `streams accept`, on a topic that was made again, one that was given partitions,
and one whose retention went past what was read.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

import pytest
from kafka import KafkaProducer, TopicPartition

from domain.events import RawRecord
from tests.builders import day
from tests.faults.ground import Ground
from tests.faults.worker import Worker, wait_until
from tests.records import payment, record

pytestmark = [pytest.mark.parts, pytest.mark.faults]

ACCOUNTS = 12
"""So many that every partition is likely to have some."""


def remade(ground: Ground, topic: str) -> None:
    """It is deleted and made again behind the back of a running worker."""
    (worker,) = ground.ingests()
    worker.freeze()
    with ground.admin() as admin:
        admin.delete_topics([topic])
    ground.make_topic(topic)
    worker.thaw()


def given_partitions(ground: Ground, topic: str) -> None:
    """It has two partitions more, and keys go elsewhere from now on."""
    with ground.admin() as admin:
        admin.create_partitions({topic: 8})


def cut_short(ground: Ground, topic: str) -> None:
    """While no worker runs, records come and are deleted unread."""
    (worker,) = ground.ingests()
    assert worker.terminate() == 0
    publish(ground, EVENTS[topic]("deleted"))
    with ground.admin() as admin:
        admin.delete_records({TopicPartition(topic, number): -1 for number in range(6)})
    ground.start("ingest")


def choices(run: str) -> list[RawRecord]:
    """How each customer asked to be told."""
    return [
        record(
            "customer.channels.chosen.v1",
            at=day(1),
            account_id=f"a-{number}",
            event_id=f"{run}-choice-{number}",
            channels=["sms"],
        )
        for number in range(ACCOUNTS)
    ]


def disputes(run: str) -> list[RawRecord]:
    """One dispute for each account."""
    return [
        record(
            "customer.dispute.opened.v1",
            at=day(1),
            account_id=f"a-{number}",
            event_id=f"{run}-dispute-{number}",
            dispute_id=f"{run}-{number}",
            opened_at=day(1).isoformat(),
        )
        for number in range(ACCOUNTS)
    ]


def contacts(run: str) -> list[RawRecord]:
    """One contact with each customer."""
    return [
        record(
            "agency.contact.made.v1",
            at=day(1),
            account_id=f"a-{number}",
            event_id=f"{run}-contact-{number}",
            placement_id="l-1",
            contacted_at=day(1).isoformat(),
            channel="sms",
        )
        for number in range(ACCOUNTS)
    ]


EVENTS: dict[str, Callable[[str], list[RawRecord]]] = {
    "customers.standing": disputes,
    "customers.notices": choices,
    "agencies.events": contacts,
}

CHANGES: dict[str, tuple[str, Callable[[Ground, str], None]]] = {
    "TOPIC_REMADE": ("customers.standing", remade),
    "PARTITIONS_CHANGED": ("customers.notices", given_partitions),
    "RETENTION_LOSS": ("agencies.events", cut_short),
}
"""Why a stream stops, which one it is here, and what happens to it."""


@pytest.mark.parametrize("reason", CHANGES)
def test_a_stream_that_changed_stops_until_it_is_accepted(reason: str, ground: Ground) -> None:
    """Its positions stay, an alarm is raised, the others go on; accepted, it is read on as it is now."""
    topic, change = CHANGES[reason]
    if not ground.ingests():
        ground.start("ingest")
    publish(ground, EVENTS[topic](f"{reason}-before"))
    wait_until("the stream is read", lambda: applied(ground, f"{reason}-before") == ACCOUNTS)
    before = ground.positions_of(topic)

    change(ground, topic)

    wait_until("the stream stops", lambda: stopped(ground) == {topic: reason})
    publish(ground, EVENTS[topic](f"{reason}-after"))
    publish(ground, [payment(f"{reason}-paid-{number}", account_id=f"a-{number}") for number in range(ACCOUNTS)])
    wait_until("another stream goes on", lambda: applied(ground, f"{reason}-paid") == ACCOUNTS)
    (worker,) = ground.ingests()
    assert [(topic, reason)] == alarms(worker, topic)
    assert before == ground.positions_of(topic)
    assert applied(ground, f"{reason}-after") == 0

    assert ground.start("streams", "accept", topic).wait() == 0

    wait_until("the stream is read on", lambda: applied(ground, f"{reason}-after") == ACCOUNTS)
    assert stopped(ground) == {}
    wait_until("to its ends", lambda: ground.positions().at == ground.ends())


def publish(ground: Ground, records: list[RawRecord]) -> None:
    """These, acknowledged by every replica."""
    producer = KafkaProducer(bootstrap_servers=ground.kafka.bootstrap_servers.split(","), acks="all")
    with closing(producer):
        for future in [producer.send(one.origin.topic, key=one.key, value=one.value) for one in records]:
            future.get(timeout=30)


def applied(ground: Ground, prefix: str) -> int:
    """How many events whose id begins so are in the ledger."""
    (counted,) = ground.rows(f"SELECT count(*) FROM ledger WHERE starts_with(event_id, '{prefix}')")  # noqa: S608 # Of our own constants.
    return int(counted[0])


def stopped(ground: Ground) -> dict[str, str]:
    """The streams that stand, and why."""
    return dict(ground.rows("SELECT topic, stopped_reason FROM stream WHERE stopped_reason IS NOT NULL"))


def alarms(worker: Worker, topic: str) -> list[tuple[str, str]]:
    """The lines in which a worker said that it stopped this stream."""
    return [(one["topic"], one["reason"]) for one in worker.logged("stream.stopped") if one["topic"] == topic]
