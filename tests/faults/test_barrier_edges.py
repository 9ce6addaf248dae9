"""The read barrier where brokers, topics and the database are not as on a quiet day (S1), asked through the API.

Real processes on one broker and one PostgreSQL of this module's own, which are frozen and killed. In each test
what was acknowledged is in the answer, or the answer is `hold` or that nothing can be said; it comes in time; and
when all is well again, so are the answers.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from tests.beside import Beside, Took, Way, beside
from tests.faults.asking import (
    NOT_NOW,
    TRIES_MAX,
    Answer,
    Front,
    answered,
    caught_up,
    cleared,
    owing,
    paid,
    policy_file,
)
from tests.faults.ground import PARTITIONS, Ground, Place
from tests.faults.worker import Worker, wait_until
from tests.inbound import producing, send

pytestmark = [pytest.mark.parts, pytest.mark.faults]

PAYMENTS = "billing.payments"
NODE = 1

IN_TIME_SECONDS = 9.0
"""The API gives up at 8 s, whatever hangs, and has a second to write that down, where the machine never stands."""

CLIENTS = 8
FROZEN_ROUNDS = 3
"""Questions of each client while a server is frozen: more than the API has threads to hang in."""

READERS = 24
"""Six times as many as are told of accounts at once."""

BESIDE_SECONDS = 5.0
"""Twice the wait at the barrier, since a question may come while a set of others waits, and a second."""

READY_SECONDS = 1.0
"""Who asks whether a process is there waits for nobody."""

CLEAR = "clear"
SETTLED = "refuse DEBT_SETTLED"
BEHIND = "hold STREAM_BEHIND"
UNAVAILABLE = "503 unavailable"


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """One node, so that nobody takes over for it."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """Another than the session's, which other modules go on with."""
    with EmbeddedPostgres(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture(scope="module")
def worker(ground: Ground) -> Worker:
    """The one worker; a name in the group gives it its partitions back at once."""
    return ground.start("ingest", INGEST_INSTANCE="worker", POLICY_FILE=policy_file(ground))


class Timed(Front):
    """The API in one process, whose every answer is in time, beside what an empty process takes meanwhile."""

    def __init__(self, ground: Ground, bare: Beside) -> None:
        super().__init__(ground, processes=1)
        self.bare = bare

    def call(self, method: str, path: str, body: str | None, process: int | None) -> Answer:
        """One call."""
        answer = super().call(method, path, body, process)
        assert self.bare.late([answer], IN_TIME_SECONDS) == []
        return answer


@pytest.fixture(scope="module")
def front(ground: Ground, worker: Worker, echo: Way) -> Iterator[Timed]:
    """The API."""
    wait_until("the streams are registered", lambda: ground.positions().at.keys() == ground.ends().keys())
    with beside(echo) as bare:
        yield Timed(ground, bare)


@pytest.fixture(autouse=True)
def thawed(ground: Ground, worker: Worker) -> Iterator[None]:
    """Whatever a test froze goes on after it."""
    yield
    ground.kafka.thaw_node(NODE)
    ground.postgres.thaw()
    ground.postgres.start()
    worker.thaw()


def asked(front: Front, account: str) -> str:
    """What is answered; asked again where it can't be said at the moment, since the machine may stand for one."""
    return _asked(front, account, NOT_NOW)


def held(front: Front, account: str) -> str:
    """The same where it should be that a stream is behind, so that it is asked again only where nothing is said."""
    return _asked(front, account, {UNAVAILABLE})


def _asked(front: Front, account: str, passing: Set[str]) -> str:
    for _ in range(TRIES_MAX):
        said = shown(account, front.ask(account))
        if said not in passing:
            break
    return said


def shown(what: str, answer: Answer) -> str:
    """What was answered, after its seconds were shown: `pytest -rP` prints them."""
    sys.stdout.write(f"{what}: {answer.said} after {answer.seconds:.2f} s\n")
    return answer.said


def well_again(front: Front, account: str, said: str = CLEAR) -> None:
    """It is soon answered as if nothing had been; until then the answer is never better than it may be."""
    before: Counter[str] = Counter()
    began = time.monotonic()

    def as_ever() -> bool:
        answer = front.ask(account)
        before[answer.said] += 1
        return answer.said == said

    wait_until("the answers are well again", as_ever, seen=lambda: before)
    del before[said]
    sys.stdout.write(f"well again after {time.monotonic() - began:.2f} s, {dict(before)} until then\n")
    assert before.keys() <= {BEHIND, UNAVAILABLE}


def pay(producer: KafkaProducer, *accounts: str, partition: int | None = None) -> None:
    """Each account's debt is paid, and that is acknowledged."""
    send(producer, map(paid, accounts), partition=partition)


@contextmanager
def transaction(ground: Ground, account: str) -> Iterator[KafkaProducer]:
    """The account's payment, in a transaction that is left open."""
    with producing(ground.kafka.bootstrap_servers, transactional_id=account) as producer:
        producer.begin_transaction()
        pay(producer, account, partition=0)
        yield producer


class TestTransactions:
    """A producer with transactions: its records count from its commit on."""

    def test_what_was_committed_is_in_the_answer(
        self, ground: Ground, front: Front, producer: KafkaProducer
    ) -> None:
        """At once, marker and all."""
        account, other = owing(ground, producer, "committed", 2)
        with transaction(ground, account) as creditor:
            creditor.commit_transaction()

            assert asked(front, account) == SETTLED
        assert asked(front, other) == CLEAR

    def test_what_was_aborted_is_not(self, ground: Ground, front: Front, producer: KafkaProducer) -> None:
        """Nor does it hold anybody up: the marker is read past."""
        account, other = owing(ground, producer, "aborted", 2)
        with transaction(ground, account) as creditor:
            creditor.abort_transaction()

            assert asked(front, account) == CLEAR
        assert asked(front, other) == CLEAR

    def test_an_open_transaction_holds_all_that_it_may_hide(
        self, ground: Ground, front: Front, producer: KafkaProducer
    ) -> None:
        """Behind it stands an acknowledged payment that no reader of committed records is given."""
        account, behind, other = owing(ground, producer, "open", 3)
        with transaction(ground, account) as creditor:
            pay(producer, behind, partition=0)

            assert [held(front, one) for one in (account, behind, other)] == [BEHIND] * 3
            creditor.commit_transaction()
            assert [asked(front, one) for one in (account, behind, other)] == [SETTLED, SETTLED, CLEAR]


class TestTopics:
    """Topics that are empty, full of holes, or no longer what they were."""

    def test_empty_partitions_hold_nobody_up(self, ground: Ground, front: Front, producer: KafkaProducer) -> None:
        """Whether nothing ever came, or all that came was deleted after it was read."""
        account, other = owing(ground, producer, "empty", 2)
        caught_up(ground)
        with ground.admin() as admin:
            every = [TopicPartition(PAYMENTS, number) for number in range(PARTITIONS)]
            admin.delete_records(dict.fromkeys(every, -1))

        assert asked(front, account) == CLEAR
        pay(producer, account)
        assert asked(front, account) == SETTLED
        assert asked(front, other) == CLEAR

    def test_a_log_with_holes_is_read_over_them(
        self, ground: Ground, front: Front, worker: Worker, producer: KafkaProducer
    ) -> None:
        """Compaction has taken repeated events and an aborted transaction out, up to the last marker."""
        account, repeated, aborted = owing(ground, producer, "compacted", 3)
        place: Place = (PAYMENTS, 0)
        worker.freeze()
        with compacting(ground, PAYMENTS):
            first = ground.ends()[place]
            pay(producer, account, *[repeated] * 10, partition=0)
            hole = ground.ends()[place]

            def is_compacted() -> bool:
                # A log's newest segment is never compacted: each look begins another.
                with transaction(ground, aborted) as creditor:
                    creditor.abort_transaction()
                return not {first + 1, hole} & set(stored(ground, place, first))

            wait_until("the log has holes", is_compacted)
            last = ground.ends()[place] - 1
            offsets = stored(ground, place, first)
        worker.thaw()

        sys.stdout.write(f"offsets {first} to {last}, of which there are {offsets}\n")
        well_again(front, account, SETTLED)
        assert asked(front, repeated) == SETTLED
        assert asked(front, aborted) == CLEAR
        assert ground.positions().at == ground.ends()

    def test_a_topic_that_was_made_again_holds_everybody_until_it_is_accepted(
        self, ground: Ground, front: Front, worker: Worker, producer: KafkaProducer
    ) -> None:
        """Its positions say nothing of the new log, before the workers have noticed and after."""
        account, other = owing(ground, producer, "remade", 2)
        worker.freeze()
        with ground.admin() as admin:
            admin.delete_topics([PAYMENTS])
        ground.make_topic(PAYMENTS)
        with producing(ground.kafka.bootstrap_servers) as creditor:
            pay(creditor, account)

        assert [held(front, one) for one in (account, other)] == [BEHIND] * 2
        worker.thaw()
        wait_until("the stream stops", lambda: stopped(ground) == [(PAYMENTS,)])
        assert [held(front, one) for one in (account, other)] == [BEHIND] * 2
        assert ground.start("streams", "accept", PAYMENTS).wait() == 0
        well_again(front, account, SETTLED)
        assert asked(front, other) == CLEAR

    def test_partitions_that_were_added_hold_everybody_until_they_are_accepted(
        self, ground: Ground, front: Front, producer: KafkaProducer
    ) -> None:
        """A payment may stand in one of them, where no position is kept."""
        account, other = owing(ground, producer, "widened", 2)
        with ground.admin() as admin:
            admin.create_partitions({PAYMENTS: PARTITIONS + 1})
        with producing(ground.kafka.bootstrap_servers) as creditor:
            wait_until("the partition is there", lambda: PARTITIONS in creditor.partitions_for(PAYMENTS))
            pay(creditor, account, partition=PARTITIONS)

        assert [held(front, one) for one in (account, other)] == [BEHIND] * 2
        wait_until("the stream stops", lambda: stopped(ground) == [(PAYMENTS,)])
        assert [held(front, one) for one in (account, other)] == [BEHIND] * 2
        assert ground.start("streams", "accept", PAYMENTS).wait() == 0
        well_again(front, account, SETTLED)
        assert asked(front, other) == CLEAR


class TestServers:
    """A broker and a database that don't answer, or not all."""

    def test_a_frozen_broker_holds_everybody(self, ground: Ground, front: Front, producer: KafkaProducer) -> None:
        """Nobody can say what it has acknowledged; each waits for its limit and no longer."""
        owed, free = owing(ground, producer, "broker", 2)
        clearance_id = cleared(front, free)

        ground.kafka.freeze_node(NODE)
        said = crowd(front, owed, lambda: front.confirm(clearance_id, "l-broker"))
        ground.kafka.thaw_node(NODE)

        assert said.keys() <= {BEHIND, UNAVAILABLE, "409 STREAM_BEHIND"}
        assert said.keys() & {BEHIND, "409 STREAM_BEHIND"}
        well_again(front, owed)
        assert answered(lambda: front.confirm(clearance_id, "l-broker")).said == "200"

    def test_a_frozen_database_is_told_in_time(self, ground: Ground, front: Front, producer: KafkaProducer) -> None:
        """Its connections stay open and nothing answers: that nothing can be said is said."""
        owed, free = owing(ground, producer, "database", 2)
        clearance_id = cleared(front, free)

        ground.postgres.freeze()
        said = crowd(front, owed, lambda: front.confirm(clearance_id, "l-database"))
        ground.postgres.thaw()

        assert said.keys() == {UNAVAILABLE}
        well_again(front, owed)
        assert answered(lambda: front.confirm(clearance_id, "l-database")).said == "200"

    def test_a_killed_database_is_told_at_once(self, ground: Ground, front: Front, producer: KafkaProducer) -> None:
        """And when it is back, so are the answers, with what was paid meanwhile."""
        account, owed = owing(ground, producer, "crashed", 2)
        ground.postgres.kill()
        pay(producer, account)

        assert shown(account, front.ask(account)) == UNAVAILABLE
        ground.postgres.start()
        well_again(front, account, SETTLED)
        assert asked(front, owed) == CLEAR

    def test_an_account_that_another_session_has_is_told_and_the_others_are_answered(
        self, ground: Ground, front: Front, producer: KafkaProducer
    ) -> None:
        """Those that are asked about at the same time wait for it once."""
        locked, *others = owing(ground, producer, "locked", CLIENTS)
        with ground.connection() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT FROM account WHERE account_id = %s FOR UPDATE", (locked,))
            with ThreadPoolExecutor(CLIENTS) as clients:
                answers = dict(zip((locked, *others), clients.map(front.ask, (locked, *others)), strict=True))
            said = {account: shown(account, answer) for account, answer in answers.items()}
            said |= {account: asked(front, account) for account in others if said[account] in NOT_NOW}

        assert said == {locked: UNAVAILABLE, **dict.fromkeys(others, CLEAR)}
        assert asked(front, locked) == CLEAR


def test_who_reads_accounts_keeps_nobody_from_asking(
    ground: Ground, front: Timed, worker: Worker, producer: KafkaProducer
) -> None:
    """While a stream is behind each account takes its time to tell; who asks waits for that once, like they."""
    account, owed = owing(ground, producer, "read", 2)
    worker.freeze()
    pay(producer, account)
    enough = threading.Event()

    def read() -> None:
        while not enough.is_set():
            front.get(f"/v1/accounts/{owed}")

    with ThreadPoolExecutor(READERS) as readers:
        for _ in range(READERS):
            readers.submit(read)
        answers = [front.ask(one) for one in (account, owed) * 3]
        ready = [(is_ready, Took(time.time() - took, took)) for is_ready, took in map(front.ready, front.ports)]
        enough.set()
    worker.thaw()

    said = Counter(shown("beside readers", one) for one in answers)
    assert said.keys() <= NOT_NOW
    assert said[BEHIND] > 0
    assert front.bare.late(answers, BESIDE_SECONDS) == []
    assert [is_ready for is_ready, _ in ready] == [True]
    assert front.bare.late((took for _, took in ready), READY_SECONDS) == []
    well_again(front, account, SETTLED)


def crowd(front: Front, account: str, confirm: Callable[[], Answer]) -> Counter[str]:
    """What many clients are told who ask again and again, and one who confirms; all of it in time."""

    def ask() -> list[Answer]:
        return [front.ask(account) for _ in range(FROZEN_ROUNDS)]

    with ThreadPoolExecutor(CLIENTS + 1) as clients:
        asking = [clients.submit(ask) for _ in range(CLIENTS)]
        answers: Sequence[Answer] = [clients.submit(confirm).result(), *(a for one in asking for a in one.result())]
    said = Counter(one.said for one in answers)
    seconds = sorted(one.seconds for one in answers)
    sys.stdout.write(f"{dict(said)} after {seconds[0]:.2f} to {seconds[-1]:.2f} s\n")
    return said


@contextmanager
def compacting(ground: Ground, topic: str) -> Iterator[None]:
    """The topic is compacted, at once and often; what is kept after it is as before."""
    often = {"cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.01"}
    seldom = {"cleanup.policy": "delete", "segment.ms": "604800000", "min.cleanable.dirty.ratio": "0.5"}
    with ground.admin() as admin:
        cleaner = {"log.cleaner.backoff.ms": "50"}
        admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, str(NODE), cleaner)])
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, often)])
        yield
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, seldom)])


def stored(ground: Ground, place: Place, first: int) -> list[int]:
    """The offsets of a partition, from this one on, at which there still is a record."""
    where = TopicPartition(*place)
    consumer = KafkaConsumer(bootstrap_servers=ground.kafka.bootstrap_servers, group_id=None)
    found: list[int] = []
    try:
        consumer.assign([where])
        consumer.seek(where, first)
        (end,) = consumer.end_offsets([where]).values()
        while consumer.position(where) < end:
            found += [one.offset for some in consumer.poll(timeout_ms=200).values() for one in some]
    finally:
        consumer.close()
    return found


def stopped(ground: Ground) -> list[tuple[str]]:
    """The streams that stand."""
    return [(topic,) for (topic,) in ground.rows("SELECT topic FROM stream WHERE stopped_reason IS NOT NULL")]
