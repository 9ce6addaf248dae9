"""A thousand placements over three real agencies, one by each channel: one dies, one is late, one lies.

Nothing here is simulated but the agencies, and they are processes of their own with books of their own. The dead
one is away for GUARD_TEST_DEAD_SECONDS (20; ten minutes are 600). The figures are printed side by side: how long
recalls took to be sent, while all agencies were there and while one was dead.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kafka import KafkaProducer

from consumers.agency.journal import Line
from domain.events import RawRecord
from infra.embedded import free_ports
from tests import inbound
from tests.faults.ground import Ground
from tests.faults.worker import wait_until
from tests.records import payment, placement, referral
from tests.simulated import SECRETS, Agency, agency

pytestmark = [pytest.mark.parts, pytest.mark.faults]

DEAD_SECONDS = float(os.environ.get("GUARD_TEST_DEAD_SECONDS", "20"))

ALL_THERE = 300
ONE_DEAD = 700
"""Placements that are paid while all agencies are there, and while one is dead."""

PAID_EVERY_SECONDS = 0.02
LATE_SECONDS = 3

AGENCIES = ("north", "south", "east")

ENTRIES = """
[agency.north]
channel = "webhook"
callback_secrets = ["env:NORTH_CALLBACK"]
sources = ["urn:agency:north"]
acknowledge_within_minutes = 0.2
escalate_after_minutes = 0.2
rate_per_second = 200

[agency.north.webhook]
url = "{url}"
secrets = ["env:NORTH_SECRET"]
private_hosts = ["127.0.0.1"]
ca_file = "{ca_file}"
timeout_seconds = 2

[agency.south]
channel = "file"
acknowledge_within_minutes = 0.2
escalate_after_minutes = 0.2

[agency.south.file]
folder = "{folder}"
every_seconds = 0.5

[agency.east]
sources = ["urn:agency:east"]
acknowledge_within_minutes = 0.2
escalate_after_minutes = 0.2
"""

POLICY = """
[recall]
contact_grace_minutes = 0
"""

LIES = ("--call-on", "0.3", "--silent", "0.1", "--reject", "0.1", "--repeat", "0.2", "--shuffle")


@dataclass(frozen=True, slots=True)
class Scene:
    """The agencies' folders, the port of the one by webhook, and where the guard's API is."""

    folder: Path
    north_port: int
    api_port: int

    @contextmanager
    def north(self, *, ends: int = 0) -> Iterator[Agency]:
        """The agency by webhook; it ends with this status."""
        where = ("--webhook", f"127.0.0.1:{self.north_port}", "--guard-url", f"http://127.0.0.1:{self.api_port}")
        keys = ("--secret", "env:NORTH_SECRET", "--callback-secret", "env:NORTH_CALLBACK")
        with agency(self.folder / "north", *where, *keys, ends=ends) as running:
            yield running

    @contextmanager
    def south(self) -> Iterator[Agency]:
        """The agency by files, which answers late."""
        drop = ("--folder", str(self.folder / "drop"), "--late", str(LATE_SECONDS))
        with agency(self.folder / "south", *drop, agency_id="south") as running:
            yield running

    @contextmanager
    def east(self, bootstrap_servers: str) -> Iterator[Agency]:
        """The agency by Kafka, which lies: it acknowledges and calls on, or is silent, or answers for another."""
        foreign = ("--wrong-agency", "0.1", "--other-account", "a-unpaid", "--other-placement", "l-unpaid")
        broker = {"GUARD_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
        with agency(
            self.folder / "east", "--kafka", *LIES, *foreign, agency_id="east", environment=broker
        ) as running:
            yield running


def test_every_recall_ends_and_the_dead_agency_delays_nobody_else(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acknowledged, rejected or escalated, each once; and the others' recalls leave as they did before."""
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret.decode())
    north_port, api_port = free_ports(2)
    scene = Scene(tmp_path, north_port, api_port)
    (tmp_path / "drop").mkdir()
    with ExitStack() as stack:
        stack.enter_context(scene.south())
        stack.enter_context(scene.east(ground.kafka.bootstrap_servers))
        producer = stack.enter_context(inbound.producing(ground.kafka.bootstrap_servers))
        with scene.north(ends=-signal.SIGKILL) as north:
            start_guard(ground, scene, ca_file=north.data / "ca.pem", url=north.url)
            place_all(ground, producer)
            pay(producer, range(ALL_THERE))
            wait_until("the first are answered", lambda: unanswered(ground) <= silent(ground), seconds=60)
            north.process.kill()
        died_at = datetime.now(UTC)
        pay(producer, range(ALL_THERE, ALL_THERE + ONE_DEAD))
        others = "SELECT count(*) FROM recall WHERE agency_id <> 'north' AND sent_at IS NULL"
        wait_until("all are recalled", lambda: recalls(ground) == ALL_THERE + ONE_DEAD, seconds=60)
        # While it is dead: nothing of theirs may wait for it.
        wait_until("the others' recalls are sent", lambda: ground.rows(others) == [(0,)], seconds=60)
        wait_until("it was dead for long", lambda: since(died_at) > DEAD_SECONDS, seconds=DEAD_SECONDS + 5)
        dead_seconds = since(died_at)
        stack.enter_context(scene.north())
        ended = "SELECT count(*) FROM recall WHERE state NOT IN ('acknowledged', 'rejected', 'escalated')"
        wait_until("every recall has ended", lambda: ground.rows(ended) == [(0,)], seconds=180)
        unsent = "SELECT count(*) FROM recall WHERE sent_at IS NULL"
        wait_until("the dead one has its recalls", lambda: ground.rows(unsent) == [(0,)], seconds=60)
        wait_until("every breach is seen", lambda: breaches(ground) == contacts(scene), seconds=60)

    judge(ground, scene, died_at, dead_seconds)


def since(at: datetime) -> float:
    """How many seconds ago it was."""
    return (datetime.now(UTC) - at).total_seconds()


def start_guard(ground: Ground, scene: Scene, *, ca_file: Path, url: str) -> None:
    """Every role, each in a process of its own."""
    agencies, policy = scene.folder / "agencies.toml", scene.folder / "policy.toml"
    agencies.write_text(ENTRIES.format(url=url, ca_file=ca_file, folder=scene.folder / "drop"))
    policy.write_text(POLICY)
    settings = {"AGENCIES_FILE": str(agencies), "POLICY_FILE": str(policy)}
    for role in ("ingest", "dispatch", "sweep"):
        ground.start(role, **settings)
    ground.start("api", **settings, API_PORT=str(scene.api_port))


def place_all(ground: Ground, producer: KafkaProducer) -> None:
    """A thousand debts are with the agencies, in turn, and one with `north` that nobody pays."""
    said = [one for number in range(ALL_THERE + ONE_DEAD) for one in placed(str(number), AGENCIES[number % 3])]
    inbound.send(producer, [*said, *placed("unpaid", "north")])
    count = "SELECT count(*) FROM placement"
    wait_until("all are placed", lambda: ground.rows(count) == [(ALL_THERE + ONE_DEAD + 1,)])


def placed(name: str, agency_id: str) -> tuple[RawRecord, RawRecord]:
    """A debt, and its placement, some weeks ago."""
    account_id, debt_id = f"a-{name}", f"d-{name}"
    return (
        referral(account_id=account_id, debt_id=debt_id),
        placement(f"l-{name}", account_id=account_id, debt_id=debt_id, agency_id=agency_id),
    )


def pay(producer: KafkaProducer, numbers: range) -> None:
    """These customers pay, one after the other."""
    due = datetime.now(UTC)
    for number in numbers:
        due += timedelta(seconds=PAID_EVERY_SECONDS)
        wait_until("it is time", lambda at=due: datetime.now(UTC) >= at)  # type: ignore[misc] # A default is no type.
        inbound.send(producer, [payment(f"p-{number}", account_id=f"a-{number}", paid_at=datetime.now(UTC))])


def recalls(ground: Ground) -> int:
    """How many there are."""
    return int(ground.rows("SELECT count(*) FROM recall")[0][0])


def unanswered(ground: Ground) -> int:
    """How many recalls the agencies owe an answer."""
    open_ = "SELECT count(*) FROM recall WHERE acknowledged_at IS NULL AND rejected_at IS NULL"
    return int(ground.rows(open_)[0][0]) if recalls(ground) >= ALL_THERE else ALL_THERE


def silent(_ground: Ground) -> int:
    """How many of the first the lying agency will never answer, at most."""
    return ALL_THERE // 3 // 5


def contacts(scene: Scene) -> int:
    """How often the lying agency has said that it called on."""
    return sum(1 for line in journal(scene, "east") if line.type == "agency.contact.made.v1")


def breaches(ground: Ground) -> int:
    """How often it was caught."""
    return int(ground.rows("SELECT count(*) FROM contact WHERE breached_at IS NOT NULL")[0][0])


def journal(scene: Scene, agency_id: str) -> list[Line]:
    """An agency's books."""
    return Agency(process=None, said="", data=scene.folder / agency_id).journal()  # type: ignore[arg-type] # It is over.


def judge(ground: Ground, scene: Scene, died_at: datetime, dead_seconds: float) -> None:
    """All that had to come, once in effect; and the figures."""
    states = Counter(dict(ground.rows("SELECT agency_id || ' ' || state, count(*) FROM recall GROUP BY 1")))
    sys.stdout.write(f"north dead for {dead_seconds:.0f} s; {dict(sorted(states.items()))}\n")
    for agency_id in AGENCIES:
        stopped = Counter(line.message_id for line in journal(scene, agency_id) if line.did.startswith("stopped"))
        mine = {str(row[0]) for row in ground.rows("SELECT recall_id FROM recall WHERE agency_id = %s", agency_id)}
        assert stopped == dict.fromkeys(mine, 1)
        sys.stdout.write(f"{agency_id}: {seconds(ground, agency_id, died_at)}\n")

    assert sum(states.values()) == ALL_THERE + ONE_DEAD
    assert contacts(scene) == breaches(ground) > 0
    assert ground.rows("SELECT count(*) FROM quarantine") == [(0,)]
    assert ground.rows("SELECT is_open FROM placement WHERE placement_id = 'l-unpaid'") == [(True,)]


TOOK = """
SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY took),
       percentile_cont(0.99) WITHIN GROUP (ORDER BY took)
FROM (SELECT extract(epoch FROM sent_at - known_since)::float8 AS took FROM recall
      WHERE agency_id = %s AND (known_since > %s) = %s) t"""


def seconds(ground: Ground, agency_id: str, died_at: datetime) -> str:
    """From the broker's time of a payment to its recall being sent: with all there, and with one dead."""
    words = []
    for what, is_dead in (("all there", False), ("north dead", True)):
        ((number, middle, most),) = ground.rows(TOOK, agency_id, died_at, is_dead)
        words.append(f"{what} {number} recalls, p50 {middle:.3f} s, p99 {most:.3f} s")
    return "; ".join(words)
