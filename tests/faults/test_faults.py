"""Real processes on three brokers, killed and frozen in the middle of their work, while a feed goes on.

After each fault every stream is read to its end and the outbox is empty; then `tests.checker` finds nothing: no
event is lost or applied twice, and each settled placement has one recall (S2, S3, S7, S8). The state goes on from
one fault to the next, as a creditor's does.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from tests.faults.feed import Feed, Feeder
from tests.faults.ground import PARTITIONS, Ground, Place
from tests.faults.worker import Worker, wait_until

pytestmark = [pytest.mark.parts, pytest.mark.faults]

PER_SECOND = 300
"""Records of the feed: with small batches every worker is at work all the time, and the machine is not."""

SOME = PER_SECOND
"""Records that come before, between and after what goes wrong: a second of the feed."""

REPLACED_TIMES = 2
"""A worker that died is replaced in no more than so many times what the group alone takes for it, at the same time:
a heartbeat of the other is up to 1.5 s away, and it finishes its batch first. Seconds would tell of the machine."""

BARE = "group-bare"

FROZEN_SECONDS = 13
"""More than twice the session: the group has long forgotten the frozen one."""

IN_HAND_SECONDS = 1.0
"""For so long a worker may go on with what it had fetched from a broker that is gone."""

BUSY = [(topic, number) for topic in ("billing.payments", "collections.referrals") for number in range(PARTITIONS)]
"""The partitions that the feed never leaves alone."""

RANDOM_FAULTS = 8

Fault = Callable[[Ground, Feeder], None]


def killed_and_started_again(ground: Ground, feeder: Feeder) -> None:
    """Each worker in turn is killed in the middle of a batch, and another started in its place."""
    for worker in ground.two_ingests():
        ground.catch_in_a_batch(worker)
        worker.kill()
        ground.start("ingest")
        feeder.wait_for(SOME)


def killed_and_replaced(ground: Ground, feeder: Feeder) -> None:
    """One is killed in the middle of a batch, and nobody comes: the other has its partitions in time."""
    victim, other = ground.two_ingests()
    bare_victim, bare_other = (ground.start(BARE, module="tests.faults.member") for _ in range(2))
    shared = {bare_victim.pid, bare_other.pid}
    wait_until("the bare members share", lambda: ground.owners(BARE).keys() == shared)
    feeder.wait_for(SOME)
    lost = {ground.group: ground.owners()[victim.pid], BARE: ground.owners(BARE)[bare_victim.pid]}
    assert all(lost.values())

    killed_in_a_batch(ground, victim)
    bare_victim.kill()
    since = time.time()
    heirs = {ground.group: other.pid, BARE: bare_other.pid}
    ours, bare = ground.takeover_seconds(lost, heirs, since=since)
    bare_other.kill()

    measured("SIGKILL of a worker", ground.recovery_seconds(lost[ground.group] & set(BUSY), since=since))
    sys.stdout.write(f"taken over after {ours:.1f} s; a group whose members do nothing: {bare:.1f} s\n")
    assert ours < REPLACED_TIMES * bare


def frozen_in_a_batch(ground: Ground, feeder: Feeder) -> None:
    """One freezes with a transaction open, is replaced, and goes on as if nothing had been."""
    victim, other = ground.two_ingests()
    feeder.wait_for(SOME)
    recovery_seconds(ground, "a frozen worker", victim, lambda: ground.catch_in_a_batch(victim))
    feeder.wait_for(FROZEN_SECONDS * PER_SECOND)
    victim.thaw()
    ground.wait_until_shared(victim, other)


def frozen_anywhere(ground: Ground, feeder: Feeder) -> None:
    """One freezes wherever it is, with records in hand that are another's when it goes on."""
    victim, other = ground.two_ingests()
    feeder.wait_for(SOME)
    victim.freeze()
    feeder.wait_for(FROZEN_SECONDS * PER_SECOND)
    victim.thaw()
    ground.wait_until_shared(victim, other)
    sys.stdout.write(f"{len(victim.logged('ingest.fenced'))} batches of a frozen worker were fenced\n")


def leading_broker_killed(ground: Ground, feeder: Feeder) -> None:
    """The node that leads a busy partition dies, and comes back later."""
    feeder.wait_for(SOME)
    leader = ground.leader(BUSY[0])
    since = time.time()
    ground.kafka.kill_node(leader)
    seconds = ground.recovery_seconds(BUSY, since=since, in_hand_seconds=IN_HAND_SECONDS)
    measured("SIGKILL of the leading broker", seconds)
    ground.kafka.start_node(leader)
    ground.wait_until_replicated()


def leading_broker_frozen(ground: Ground, feeder: Feeder) -> None:
    """The node that leads a busy partition freezes, loses it, and goes on not knowing."""
    feeder.wait_for(SOME)
    leader = ground.leader(BUSY[0])
    since = time.time()
    ground.kafka.freeze_node(leader)
    seconds = ground.recovery_seconds(BUSY, since=since, in_hand_seconds=IN_HAND_SECONDS)
    measured("a frozen leading broker", seconds)
    ground.kafka.thaw_node(leader)
    ground.wait_until_replicated()


def database_killed(ground: Ground, feeder: Feeder) -> None:
    """PostgreSQL crashes in the middle of everything, and recovers."""
    ground.two_ingests()
    feeder.wait_for(SOME)
    ground.postgres.kill()
    feeder.wait_for(SOME)
    ground.postgres.start()
    since = time.time()
    measured("start of PostgreSQL after a crash", ground.recovery_seconds(BUSY, since=since))


def database_frozen(ground: Ground, feeder: Feeder) -> None:
    """PostgreSQL freezes for longer than any transaction may take: the workers give theirs up, and wait."""
    workers = ground.two_ingests()
    feeder.wait_for(SOME)
    before = {worker: len(worker.logged("ingest.waiting")) for worker in workers}
    ground.postgres.freeze()
    try:
        wait_until(
            "both workers wait",
            lambda: all(len(worker.logged("ingest.waiting")) > before[worker] for worker in workers),
        )
    finally:
        ground.postgres.thaw()
    since = time.time()
    measured("thaw of PostgreSQL", ground.recovery_seconds(BUSY, since=since))


def rebalanced(ground: Ground, feeder: Feeder) -> None:
    """A third worker joins, and another leaves."""
    first, second = ground.two_ingests()
    third = ground.start("ingest")
    ground.wait_until_shared(first, second, third)
    feeder.wait_for(SOME)
    assert first.terminate() == 0
    ground.wait_until_shared(second, third)


def told_to_stop_in_a_batch(ground: Ground, feeder: Feeder) -> None:
    """SIGTERM in the middle of a batch: the batch is committed, the group is left, the status is 0."""
    worker, other = ground.two_ingests()
    feeder.wait_for(SOME)
    other.kill()  # So that nobody else moves a position.
    ground.catch_in_a_batch(worker)
    before = ground.positions().at
    worker.ask_to_stop()
    worker.thaw()
    assert worker.wait() == 0
    assert ground.positions().at != before
    assert worker.pid not in ground.members()


def dispatcher_killed(ground: Ground, feeder: Feeder) -> None:
    """The dispatcher is killed while it has records claimed, and another sends them when the lease is over."""
    feeder.wait_for(SOME)
    (dispatcher,) = running(ground, "dispatch")
    ground.catch_with_a_claim(dispatcher)
    dispatcher.kill()
    ground.start("dispatch")


FAULTS: dict[str, Fault] = {
    "a worker is killed and started again": killed_and_started_again,
    "a worker is killed and not started again": killed_and_replaced,
    "a worker is frozen in a batch": frozen_in_a_batch,
    "a worker is frozen anywhere": frozen_anywhere,
    "the leading broker is killed": leading_broker_killed,
    "the leading broker is frozen": leading_broker_frozen,
    "the database is killed": database_killed,
    "the database is frozen": database_frozen,
    "the group is rebalanced": rebalanced,
    "a worker is told to stop": told_to_stop_in_a_batch,
    "the dispatcher is killed": dispatcher_killed,
}


@pytest.fixture(autouse=True)
def roles(ground: Ground) -> Iterator[None]:
    """A dispatcher and a sweeper beside the workers; afterwards nothing is frozen or dead."""
    for role in ("dispatch", "sweep"):
        if not running(ground, role):
            ground.start(role)
    yield
    crashed(ground)
    for node in ground.kafka.node_ids:
        ground.kafka.thaw_node(node)
    ground.kafka.start()
    ground.postgres.thaw()
    ground.postgres.start()
    for worker in ground.workers:
        if worker.is_running:
            worker.thaw()


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_or_done_twice(fault: str, ground: Ground, seed: int) -> None:
    """While a feed goes on something breaks, and in the end everything is as if nothing had been."""
    ground.two_ingests()
    with feeding(ground, seed, fault) as feeder:
        FAULTS[fault](ground, feeder)
        feeder.wait_for(SOME)
    ground.two_ingests()
    ground.wait_until_done()

    assert ground.findings() == []
    assert crashed(ground) == []


def test_nothing_is_lost_or_done_twice_when_anything_goes_wrong(ground: Ground, seed: int) -> None:
    """The same after a row of faults that the seed chooses, each before the guard has got over the last."""
    chance = random.Random(seed)
    ground.two_ingests()
    with feeding(ground, seed, "random") as feeder:
        for _ in range(RANDOM_FAULTS):
            ground.wait_for_an_ingest()
            disturb(ground, feeder, chance)
            feeder.wait_for(chance.randrange(SOME))
    ground.wait_until_replicated()
    ground.two_ingests()
    ground.wait_until_done()

    assert ground.findings() == []
    assert crashed(ground) == []


def disturb(ground: Ground, feeder: Feeder, chance: random.Random) -> None:
    """One thing goes wrong, and is mended before anybody can know."""
    victim = chance.choice(ground.ingests())
    match chance.randrange(6):
        case 0:
            victim.kill()
            ground.start("ingest")
        case 1:
            victim.freeze()
            feeder.wait_for(chance.randrange(FROZEN_SECONDS * PER_SECOND))
            victim.thaw()
        case 2:
            ground.start("ingest")
            # One that is still being started ends by the signal itself: it has nothing to bring in order yet.
            wait_until("the worker has begun", lambda: victim.pid in ground.members())
            assert victim.terminate() == 0
        case 3:
            ground.postgres.kill()
            feeder.wait_for(chance.randrange(SOME))
            ground.postgres.start()
        case 4:
            ground.wait_until_replicated()
            node = chance.choice(ground.kafka.node_ids)
            ground.kafka.kill_node(node)
            ground.kafka.start_node(node)
        case _:
            for role in ("dispatch", "sweep"):
                for worker in running(ground, role):
                    worker.kill()
                ground.start(role)


def feeding(ground: Ground, seed: int, fault: str) -> Feeder:
    """A feed of accounts of its own for each fault."""
    prefix = fault.replace(" ", "-")
    return Feeder(
        ground.kafka.bootstrap_servers,
        Feed(seed, prefix=prefix, today=datetime.now(UTC)),
        per_second=PER_SECOND,
    )


def running(ground: Ground, role: str) -> list[Worker]:
    """The processes of a role that run."""
    return [worker for worker in ground.workers if worker.role == role and worker.is_running]


def crashed(ground: Ground) -> list[str]:
    """The end of the log of each process that ended by an error of its own; those that ended are forgotten."""
    ended = [worker for worker in ground.workers if not worker.is_running]
    ground.workers = [worker for worker in ground.workers if worker.is_running]
    return [worker.last_words() for worker in ended if worker.ended_by_error]


def killed_in_a_batch(ground: Ground, victim: Worker) -> None:
    """SIGKILL between the begin and the commit of a transaction."""
    ground.catch_in_a_batch(victim)
    victim.kill()


def recovery_seconds(ground: Ground, what: str, victim: Worker, end: Callable[[], None]) -> float:
    """How long the partitions of a worker stood after its end."""
    lost: set[Place] = ground.owners()[victim.pid] & set(BUSY)
    assert lost
    end()
    since = time.time()
    seconds = ground.recovery_seconds(lost, since=since)
    measured(what, seconds)
    return seconds


def measured(what: str, seconds: float) -> None:
    """Show a figure: `pytest -rP` prints it."""
    sys.stdout.write(f"{what} to positions moving again: {seconds:.1f} s\n")
