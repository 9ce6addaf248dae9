"""Leaders that don't know they are dethroned: no debt that was paid before the question is ever clear (S1).

Three brokers, the guard and its customers, each on a host of its own. One broker leads everything. Links around it
are cut, the others make another one the leader, and the old one stays up and goes on saying that it leads. All the
while customers pay, and ask the moment their payment is acknowledged. That the answer is held for STREAM_BEHIND is
right then; that the debt is clear never is.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from kafka.protocol.admin.topics import ElectionType

from infra.embedded import free_ports
from infra.embedded.kafka import EmbeddedKafka
from infra.embedded.postgres import EmbeddedPostgres
from infra.postgres import schema
from infra.postgres.database import Database
from tests import checker
from tests.beside import Beside, Way, beside
from tests.faults.asking import key
from tests.faults.conftest import BROKER_SESSION_SECONDS
from tests.faults.ground import OUTBOUND, PARTITIONS, Ground, fresh_database
from tests.faults.network import Network
from tests.faults.till import Orders, Till, Told, account_of, debt_of
from tests.faults.worker import Worker, wait_until
from tests.inbound import producing, send
from tests.records import record
from tests.simulated import listens

pytestmark = [
    pytest.mark.parts,
    pytest.mark.faults,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces, which needs root"),
]

BROKERS = ("kafka1", "kafka2", "kafka3")
HOSTS = (*BROKERS, "guard", "customers")

ACCOUNTS_PER_TEST = 2_000
TESTS = 6
PER_SECOND = 60
THREADS = 100
"""So that 50 questions a second are asked also while each waits for the policy's 2 s."""

SOME = 120
"""Questions in a row, two seconds of them, by which a state is known."""

MANY = 300
"""Questions about paid debts while a state lasts: long enough for every client to ask around who leads."""

ASKED_WHO_LEADS = 10
"""So often is somebody asked who leads: each of three brokers is then asked for all but certain."""

PAID_IN = ("billing.payments", 0)
"""Where the payments go."""

POLICY = "[notices]\ndebt_reminders = 0\n"
"""Under which a referred debt is clear, so that nothing else holds an answer."""

LET_IN = "host all all 127.0.0.1/32 trust\nhost all all samenet trust\n"

ANSWER_SECONDS_MAX = 8.0
"""The policy's 2 s, a look at the brokers that began at their end and takes as long again, and what a busy machine
adds where it does not stand."""

RIGHT = {"paid refuse DEBT_SETTLED", "paid hold STREAM_BEHIND", "unpaid clear", "unpaid hold STREAM_BEHIND"}

Cut = Callable[[Network, str, Sequence[str]], None]
"""Cuts links around the leader, which is named first; the others are the other brokers."""


@dataclass
class Town:
    """The network with everything on it."""

    network: Network
    ground: Ground
    folder: Path
    key: str
    bare: Beside
    api: Worker | None = None
    api_port: int = 0
    accounts: int = 0

    def serve(self, module: str = "consumers.main") -> None:
        """Start who answers, anew: the product's own command, or another that is like it."""
        if self.api is not None:
            self.api.kill()
        self.settle()
        (self.api_port,) = free_ports(1)
        host, policy = self.network.seat("guard").host, str(self.folder / "policy.toml")
        self.api = self.ground.start(
            "api", module=module, API_HOST=host, API_PORT=str(self.api_port), POLICY_FILE=policy
        )
        wait_until("questions are taken", lambda: listens(host, self.api_port))

    def till(self) -> Till:
        """Customers who have not paid yet."""
        first, self.accounts = self.accounts, self.accounts + ACCOUNTS_PER_TEST
        orders = Orders(
            bootstrap_servers=self.ground.kafka.bootstrap_servers,
            partition=PAID_IN[1],
            api_host=self.network.seat("guard").host,
            api_port=self.api_port,
            key=self.key,
            first=first,
            end=self.accounts,
            per_second=PER_SECOND,
            threads=THREADS,
            answers=str(self.folder / f"answers-{first}"),
        )
        return Till(orders, prefix=self.network.seat("customers").prefix, folder=self.folder)

    def settle(self) -> None:
        """Wait until all is well, and the first broker leads every partition."""
        first = self.ground.kafka.node_ids[0]
        self.ground.wait_until_replicated()
        with self.ground.admin() as admin:
            # Each to the first of its replicas, which is one broker for all.
            admin.elect_leaders(ElectionType.PREFERRED, raise_errors=False)
        # Some broker is asked each time, and the last of them may know of it later.
        wait_until(
            "one leads all", lambda: {self.ground.leader(PAID_IN) for _ in range(ASKED_WHO_LEADS)} == {first}
        )
        self.ground.wait_until_replicated()

    def cut(self, cut: Cut) -> float:
        """Cut links around the leader; the instant at which it was done."""
        cut(self.network, BROKERS[0], BROKERS[1:])
        return time.time()

    def heal(self) -> float:
        """Every link is there again; the instant at which it was done."""
        self.network.heal()
        return time.time()


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory, echo: Way) -> Iterator[Town]:
    """Three brokers, a database and an `ingest`, which has read a debt of every account."""
    folder = tmp_path_factory.mktemp("dethroned")
    (folder / "policy.toml").write_text(POLICY)
    (folder / "pg_hba.conf").write_text(LET_IN)
    with ExitStack() as stack:
        network = stack.enter_context(Network(HOSTS))
        seats = [network.seat(broker) for broker in BROKERS]
        kafka = stack.enter_context(
            EmbeddedKafka(folder / "kafka", nodes=3, seats=seats, broker_session_seconds=BROKER_SESSION_SECONDS)
        )
        listening = {"listen_addresses": f"127.0.0.1,{network.here}", "hba_file": str(folder / "pg_hba.conf")}
        postgres = stack.enter_context(EmbeddedPostgres(folder / "postgres", settings=listening))
        ground = _ground(network, kafka, postgres, folder)
        stack.callback(ground.stop)
        _make_topics(ground)
        _refer(ground)
        ground.start("ingest", INGEST_BATCH_MAX_EVENTS="2000")
        wait_until("every debt is known", lambda: ground.positions().at == ground.ends())
        bare = stack.enter_context(beside(echo))
        yield Town(network, ground, folder, key(ground, "ask"), bare)


@pytest.fixture(autouse=True)
def whole(town: Town) -> Iterator[None]:
    """No link stays cut, whatever comes of a test."""
    yield
    town.heal()


def reaches_all(network: Network, leader: str, others: Sequence[str]) -> None:
    """The guard still reaches all three: both who leads and who only thinks so."""
    network.cut(leader, *others, "customers")


def reaches_old_leader(network: Network, leader: str, others: Sequence[str]) -> None:
    """The guard is on the old leader's side of the cut, and reaches nobody else."""
    network.cut(leader, *others, "customers")
    network.cut("guard", *others)


def reaches_new_leader(network: Network, leader: str, others: Sequence[str]) -> None:
    """The old leader's host is gone for everybody: it does not even refuse."""
    network.cut(leader, *others, "customers", "guard")


def one_way(network: Network, leader: str, others: Sequence[str]) -> None:
    """The old leader hears the others, and nothing that it says arrives."""
    for other in (*others, "customers"):
        network.cut_one_way(leader, other)


@pytest.mark.parametrize("cut", [reaches_all, reaches_new_leader, one_way], ids=lambda cut: cut.__name__)
def test_who_reaches_the_new_leader_answers_under_it(town: Town, cut: Cut) -> None:
    """Answers are held until the new leader's log is read, and are right again while the links are still cut."""
    town.serve()
    with town.till() as till:
        till.wait_until_answers_are_back(SOME, since=0)
        cut_at = town.cut(cut)
        till.wait_for(MANY, since=cut_at)
        till.wait_until_answers_are_back(SOME, since=cut_at)
        healed_at = town.heal()
        till.wait_until_answers_are_back(SOME, since=healed_at)
    told = till.told()

    report(cut.__name__, told, cut_at, healed_at)
    assert set() == {one.words for one in told} - RIGHT
    assert town.bare.late(told, ANSWER_SECONDS_MAX) == []


def test_who_reaches_the_old_leader_alone_answers_nothing(town: Town) -> None:
    """Every answer is held for as long as the links are cut, and they come back by themselves."""
    town.serve()
    with town.till() as till:
        till.wait_until_answers_are_back(SOME, since=0)
        cut_at = town.cut(reaches_old_leader)
        till.wait_for(MANY, since=cut_at)
        healed_at = town.heal()
        till.wait_until_answers_are_back(SOME, since=healed_at)
    told = till.told()

    report("reaches_old_leader", told, cut_at, healed_at)
    assert set() == {one.words for one in told} - RIGHT
    assert {"paid hold STREAM_BEHIND"} == {
        one.words for one in told if one.acked_at and cut_at < one.acked_at and one.answered_at < healed_at
    }
    assert town.bare.late(told, ANSWER_SECONDS_MAX) == []


def test_who_takes_the_old_leaders_word_clears_paid_debts(town: Town) -> None:
    """The same cut, and the same barrier but for its witnesses: they are what keeps paid debts from being clear."""
    town.serve("tests.faults.believing")
    with town.till() as till:
        till.wait_until_answers_are_back(SOME, since=0)
        cut_at = town.cut(reaches_old_leader)
        till.wait_for(SOME, since=cut_at)
        healed_at = town.heal()
        till.wait_until_answers_are_back(SOME, since=healed_at)
    told = till.told()

    report("without witnesses", told, cut_at, healed_at)
    assert Counter(one.words for one in told)["paid clear"] > SOME // 2


def test_nothing_is_held_where_nothing_is_cut(town: Town) -> None:
    """With every link there, each paid debt is refused as settled, and each other one is clear."""
    town.serve()
    with town.till() as till:
        till.wait_for(MANY, since=0)
    told = till.told()

    report("nothing cut", told, told[0].asked_at, told[-1].asked_at)
    assert {"paid refuse DEBT_SETTLED", "unpaid clear"} == {one.words for one in told}


def report(what: str, told: Sequence[Told], cut_at: float, healed_at: float) -> None:
    """Show the figures: `pytest -rP` prints them."""
    acked = [one.acked_at for one in told if one.acked_at is not None]
    again = min((at for at in acked if at > cut_at + 1), default=cut_at)
    held = [one.answered_at for one in told if one.is_held]
    during = max((at for at in held if at < healed_at), default=cut_at)
    after = max((at for at in held if at >= healed_at), default=healed_at)
    sys.stdout.write(
        f"{what}: {len(acked)} payments, {len(told)} questions, {dict(Counter(one.words for one in told))}\n"
        f"cut for {healed_at - cut_at:.1f} s, payments acknowledged again after {again - cut_at:.1f} s, answers "
        f"held until {during - cut_at:.1f} s after the cut, and {after - healed_at:.1f} s after its end; the "
        f"slowest took {max(one.seconds for one in told):.1f} s\n"
        f"held for {Counter(one.evidence for one in told if one.is_held).most_common(4)}\n"
    )


def _ground(network: Network, kafka: EmbeddedKafka, postgres: EmbeddedPostgres, folder: Path) -> Ground:
    url = sa.make_url(fresh_database(postgres, "dethroned")).set(host=network.here)
    address = url.render_as_string(hide_password=False)
    with closing(Database(address, application="tests")) as database:
        schema.upgrade(database)
    return Ground(
        kafka=kafka,
        postgres=postgres,
        database_url=address,
        folder=folder,
        name="dethroned",
        prefix=network.seat("guard").prefix,
    )


def _make_topics(ground: Ground) -> None:
    """Every topic, with one broker that leads all partitions, and another that does when it is gone."""
    replicas = dict.fromkeys(range(PARTITIONS), ground.kafka.node_ids)
    wanted = {"assignments": replicas, "configs": {"min.insync.replicas": "2"}}
    with ground.admin() as admin:
        admin.create_topics(dict.fromkeys((*checker.INBOUND, *OUTBOUND), wanted), wait_for_metadata=True)


def _refer(ground: Ground) -> None:
    """Tell a debt of every account, as of two days ago."""
    at = datetime.now(UTC) - timedelta(days=2)
    with producing(ground.kafka.bootstrap_servers) as producer:
        send(
            producer,
            (
                record(
                    "collections.debt.referred.v1",
                    at=at,
                    account_id=account_of(number),
                    debt_id=debt_of(number),
                    referral_id="r-1",
                    agency_id="agency-1",
                    amount=100_00,
                    currency="RUB",
                    as_of=at.isoformat(),
                    due_on="2020-01-31",
                )
                for number in range(ACCOUNTS_PER_TEST * TESTS)
            ),
        )
