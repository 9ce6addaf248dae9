"""The race between a payment and a confirmation: the clearance is void, or the placement is recalled (S1, S2).

Real processes on three brokers: two of the API, two workers. A payment that is acknowledged before a confirmation
is sent voids the clearance; one that is sent after the confirmation's answer recalls the placement; where both are
on their way at the same time it is the one or the other. There is no third outcome, and at the end the database has
a placement for each confirmation, a recall for each placement, and nothing else.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from kafka import KafkaProducer

from tests.beside import Beside
from tests.faults.asking import Answer, Front, Ingests, answered, caught_up, cleared, owing, paid, slowest, table
from tests.faults.ground import PARTITIONS, Ground
from tests.inbound import DEADLINE_SECONDS

pytestmark = [pytest.mark.parts, pytest.mark.faults, pytest.mark.timeout(1_500)]

PROCESSES = 2
CLIENTS = 12
LATER_SECONDS_MAX = 0.02
SOONER_SECONDS_MAX = 0.15
"""How much later or sooner than a payment of the same time a confirmation begins: about as long as either takes,
with what it waits for at the barrier."""

ROUNDS = {"before": 700, "at the same time": 1_000, "after": 400}
"""How often the payment comes so, as seen from the confirmation."""

PAIRS = 60

ANSWERED_SECONDS = 10.0
"""2 s at the barrier and 8 s for the whole call (the API's own limit); no answer may take longer than both, and
what the machine takes on top."""

CONFIRMED = "200"
VOID = {"409 DEBT_SETTLED", "409 STREAM_BEHIND"}


@dataclass(frozen=True, slots=True)
class Round:
    """One interleaving: which kind, and what was answered to the confirmation."""

    kind: str
    account: str
    clearance_id: str
    answer: Answer

    @property
    def said(self) -> str:
        """What came of it, as it is counted."""
        return self.answer.said


class Rounds:
    """Runs interleavings from any number of threads."""

    def __init__(self, front: Front, producer: KafkaProducer, seed: int) -> None:
        self._front = front
        self._producer = producer
        self._chance = random.Random(seed)
        self._side = ThreadPoolExecutor(CLIENTS, thread_name_prefix="confirming")
        self._kinds: dict[str, Callable[[str, str], Answer]] = {
            "before": self._paid_before,
            "at the same time": self._paid_meanwhile,
            "after": self._paid_after,
        }

    def run(self, kind: str, account: str) -> Round:
        """A clearance that is clear, and then a payment and a confirmation."""
        clearance_id = cleared(self._front, account)
        return Round(kind, account, clearance_id, self._kinds[kind](account, clearance_id))

    def close(self) -> None:
        """End the threads."""
        self._side.shutdown()

    def _paid_before(self, account: str, clearance_id: str) -> Answer:
        self._send(account).get(timeout=DEADLINE_SECONDS)
        return self._confirm(account, clearance_id)

    def _paid_after(self, account: str, clearance_id: str) -> Answer:
        answer = self._confirm(account, clearance_id)
        self._send(account).get(timeout=DEADLINE_SECONDS)
        return answer

    def _paid_meanwhile(self, account: str, clearance_id: str) -> Answer:
        """Either begins first, by a moment that the seed chooses."""
        apart = self._chance.uniform(-SOONER_SECONDS_MAX, LATER_SECONDS_MAX)
        confirming: Future[Answer] | None = None
        if apart < 0:
            confirming = self._side.submit(self._confirm, account, clearance_id)
        else:
            sent = self._send(account)
        time.sleep(abs(apart))  # The moment is what differs from round to round: nothing is waited for.
        if confirming is None:
            answer = self._confirm(account, clearance_id)
        else:
            sent = self._send(account)
            answer = confirming.result()
        sent.get(timeout=DEADLINE_SECONDS)
        return answer

    def _send(self, account: str) -> Any:  # `Any`: the library has no types.
        record = paid(account)
        partition = self._chance.randrange(PARTITIONS)
        return self._producer.send(record.origin.topic, key=record.key, value=record.value, partition=partition)

    def _confirm(self, account: str, clearance_id: str) -> Answer:
        return answered(lambda: self._front.confirm(clearance_id, placement_of(account)))


def placement_of(account: str) -> str:
    """The placement that is made of an account's debt."""
    return f"l-{account}"


@pytest.fixture(scope="module", autouse=True)
def ingests(ground: Ground) -> Iterator[Ingests]:
    """Two workers with small batches, so that a payment waits for its turn as often as not."""
    made = Ingests(ground, INGEST_BATCH_MAX_EVENTS="20")
    caught_up(ground)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def front(ground: Ground) -> Front:
    """The API, in two processes."""
    return Front(ground, processes=PROCESSES)


def test_a_payment_voids_the_clearance_or_recalls_the_placement(
    ground: Ground, front: Front, producer: KafkaProducer, bare: Beside, seed: int
) -> None:
    """Before, it is void; after, it is recalled; at the same time, the one or the other, and never neither."""
    kinds = [kind for kind, rounds in ROUNDS.items() for _ in range(rounds)]
    random.Random(seed).shuffle(kinds)
    accounts = owing(ground, producer, "raced", len(kinds))
    rounds = Rounds(front, producer, seed)
    with ThreadPoolExecutor(CLIENTS) as clients:
        done = list(clients.map(rounds.run, kinds, accounts))
    rounds.close()
    caught_up(ground)
    tallies = {kind: Counter(one.said for one in done if one.kind == kind) for kind in ROUNDS}
    confirmed = {placement_of(one.account) for one in done if one.said == CONFIRMED}
    sys.stdout.write("\n".join(["", *table("the payment came", tallies), ""]))
    sys.stdout.write(f"{len(confirmed)} placements, {len(recalls(ground))} recalls, ")
    sys.stdout.write(f"the slowest answer {slowest(one.answer for one in done):.1f} s\n")

    assert bare.late((one.answer for one in done), ANSWERED_SECONDS) == []
    assert tallies["before"].keys() <= VOID
    assert tallies["after"].keys() <= {CONFIRMED, "409 STREAM_BEHIND"}
    assert tallies["at the same time"].keys() <= {CONFIRMED, *VOID}
    assert min(tallies["at the same time"][outcome] for outcome in (CONFIRMED, "409 DEBT_SETTLED")) > 0
    assert placements(ground, "l-raced-") == dict.fromkeys(confirmed, 1)
    assert recalls(ground) == dict.fromkeys(confirmed, 1)
    assert told(ground) == dict.fromkeys(confirmed, 1)
    assert used(ground, "l-raced-") == {
        one.clearance_id: placement_of(one.account) for one in done if one.said == CONFIRMED
    }


def test_a_confirmation_that_is_sent_twice_is_confirmed_twice_and_places_once(
    ground: Ground, front: Front, producer: KafkaProducer
) -> None:
    """At the same time, at two processes: both are told that it holds, and there is one placement."""
    accounts = owing(ground, producer, "repeated", PAIRS)
    said: Counter[tuple[str, ...]] = Counter()
    with ThreadPoolExecutor(PROCESSES) as clients:
        for account in accounts:
            clearance_id = cleared(front, account)

            def confirm(process: int, clearance_id: str = clearance_id, account: str = account) -> Answer:
                return answered(lambda: front.confirm(clearance_id, placement_of(account), process=process))

            said[tuple(sorted(one.said for one in clients.map(confirm, range(PROCESSES))))] += 1
    sys.stdout.write(f"one confirmation at two processes: {dict(said)}\n")

    assert said == {(CONFIRMED, CONFIRMED): PAIRS}
    assert placements(ground, "l-repeated-") == {placement_of(account): 1 for account in accounts}


def test_of_two_clearances_of_one_debt_one_is_confirmed(
    ground: Ground, front: Front, producer: KafkaProducer
) -> None:
    """Two placements of one debt at the same time, at two processes: one of them is void, and is not made."""
    accounts = owing(ground, producer, "twice", PAIRS)
    said: Counter[tuple[str, ...]] = Counter()
    with ThreadPoolExecutor(PROCESSES) as clients:
        for account in accounts:
            clearance_ids = [cleared(front, account) for _ in range(PROCESSES)]

            def confirm(process: int, ids: list[str] = clearance_ids, account: str = account) -> Answer:
                placement_id = f"{placement_of(account)}-{process}"
                return answered(lambda: front.confirm(ids[process], placement_id, process=process))

            said[tuple(sorted(one.said for one in clients.map(confirm, range(PROCESSES))))] += 1
    sys.stdout.write(f"two clearances of one debt: {dict(said)}\n")

    assert said == {(CONFIRMED, "409 ALREADY_PLACED"): PAIRS}
    assert sum(placements(ground, "l-twice-").values()) == PAIRS


def placements(ground: Ground, prefix: str) -> dict[str, int]:
    """How often each placement is there."""
    counted = f"SELECT placement_id, count(*) FROM placement WHERE starts_with(placement_id, '{prefix}') GROUP BY 1"  # noqa: S608 # Of our own constants.
    return dict(ground.rows(counted))


def recalls(ground: Ground) -> dict[str, int]:
    """How many recalls of each placement there are."""
    return dict(ground.rows("SELECT placement_id, count(*) FROM recall GROUP BY 1"))


def told(ground: Ground) -> dict[str, int]:
    """How many recalls of each placement were written to be published."""
    return dict(ground.rows("SELECT placement_id, count(*) FROM outbox WHERE topic = 'guard.recalls' GROUP BY 1"))


def used(ground: Ground, prefix: str) -> dict[str, str]:
    """The clearances that were used, each with its placement."""
    found = f"SELECT clearance_id, placement_id FROM clearance WHERE starts_with(placement_id, '{prefix}')"  # noqa: S608 # Of our own constants.
    return dict(ground.rows(found))
