"""A drill for each alert: its cause with real processes, the alert seen to fire, its runbook page followed.

The rules are the deployed ones with their times divided by `HASTENED`. Each drill runs the commands that the alert
names and opens its page of the console; then it does what the page says, and the alert ends.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from domain.events import RawRecord
from tests import inbound
from tests.conftest import fresh_database_url
from tests.drills.prometheus import Alert, Prometheus, prometheus
from tests.faults.worker import wait_until
from tests.house import ROLES, House, house
from tests.parts import Parts
from tests.records import record
from tests.serving import signed_in

pytestmark = [pytest.mark.parts, pytest.mark.faults]

HASTENED = 60
"""An hour of a rule is a minute here."""

POLICY = """\
[debt]
tolerance_minor = {tolerance}

[recall]
contact_grace_minutes = 0
acknowledge_within_minutes = 1
"""

AMOUNT = 100_00
BROKEN = 12
"""More than the ten that the alert takes for no chance."""

MET = {0, 1}
"""The exit statuses of a look: one is for what is found to be wrong."""


@dataclass
class Town:
    """The guard's processes, whoever watches them, and what billing, collections and agencies say."""

    house: House
    watch: Prometheus
    browser: httpx2.Client
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def say(self, *records: RawRecord) -> None:
        """Have the brokers acknowledge these."""
        inbound.publish(self.house.bootstrap_servers, *records)

    def at(self, days: float) -> datetime:
        """An instant so many days before now."""
        return self.now - timedelta(days=days)

    def placed(self, name: str, *, agency_id: str) -> None:
        """A debt that an agency has."""
        self.say(
            record(
                "collections.debt.referred.v1",
                at=self.at(20),
                account_id=name,
                debt_id=f"d-{name}",
                referral_id=f"r-{name}",
                amount=AMOUNT,
                currency="RUB",
                as_of=self.at(20).isoformat(),
                due_on="2026-01-31",
            ),
            record(
                "collections.placement.opened.v1",
                at=self.at(10),
                account_id=name,
                placement_id=f"l-{name}",
                debt_id=f"d-{name}",
                agency_id=agency_id,
                amount=AMOUNT,
                currency="RUB",
                placed_at=self.at(10).isoformat(),
            ),
        )
        self.wait_for("SELECT count(*) FROM placement WHERE account_id = %s", name)

    def paid(self, name: str, *, amount: int = AMOUNT) -> RawRecord:
        """What billing says when the debt is paid."""
        at = datetime.now(UTC)
        said = {"payment_id": f"p-{name}-{at.timestamp()}", "amount": amount, "currency": "RUB"}
        return record("billing.payment.settled.v1", at=at, account_id=name, paid_at=at.isoformat(), **said)  # type: ignore[arg-type] # All is data.

    def recalled(self, name: str, *, agency_id: str) -> str:
        """The recall of a debt that was placed, was paid, and whose agency was told."""
        self.placed(name, agency_id=agency_id)
        self.say(self.paid(name))
        self.wait_for("SELECT count(*) FROM recall WHERE account_id = %s AND sent_at IS NOT NULL", name)
        ((recall_id,),) = self.house.rows("SELECT recall_id FROM recall WHERE account_id = %s", name)
        return str(recall_id)

    def wait_for(self, counted: str, *values: object) -> None:
        """Go on when a count is above zero."""
        wait_until(counted, lambda: self.house.rows(counted, *values)[0][0] > 0, seen=self.house.logs)

    def fires(self, name: str, **labels: str) -> Alert:
        """The alert as it fires, with everything that it names looked at."""
        began = time.monotonic()
        alert = self.watch.wait_until_fires(name, **labels)
        _show(f"{name} fires after {time.monotonic() - began:.1f} s: {alert.annotations['summary']}")
        for look in alert.annotations["look"].split("; "):
            told = self.command(*shlex.split(look)[1:], met=MET)
            _show(f"$ {look}\n{told}")
        page = self.browser.get(alert.annotations["console"])
        assert page.status_code == 200, page.text
        return alert

    def ends(self, name: str, **labels: str) -> None:
        """Go on when the alert does not fire any more."""
        began = time.monotonic()
        self.watch.wait_until_ends(name, **labels)
        _show(f"{name} ended after {time.monotonic() - began:.1f} s")

    def command(self, *words: str, met: set[int] | None = None) -> str:
        """What a command of the runbook prints."""
        done = self.house.command(*words)
        assert done.returncode in (met or {0}), (words, done.stdout, done.stderr)
        return done.stdout


@pytest.fixture(scope="module")
def town(parts: Parts, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Every role at work on parts of its own, watched by a Prometheus."""
    folder = tmp_path_factory.mktemp("drills")
    policy = folder / "policy.toml"
    policy.write_text(POLICY.format(tolerance=0))
    settings = {"POLICY_FILE": str(policy), "SWEEP_SECONDS": "2", "LOG_LEVEL": "INFO"}
    with ExitStack() as stack:
        url = stack.enter_context(fresh_database_url(parts, template))
        made = stack.enter_context(house(parts, url, folder / "logs", settings))
        made.start(*ROLES)
        made.wait_until_ready(*ROLES)
        watch = stack.enter_context(prometheus(folder / "prometheus", made.metrics_ports, hastened=HASTENED))
        for role in ROLES:
            watch.wait_until_sees(f'guard_build_info{{role="{role}"}}')
        browser = stack.enter_context(closing(signed_in(made.url, made.key("read", "operate"))))
        yield Town(made, watch, browser)


def test_a_paid_placement_that_is_not_recalled(town: Town) -> None:
    """The dispatcher hangs while somebody pays; started again, it sends what waits."""
    town.placed("unsent", agency_id="agency-1")
    hanging = town.house.workers["dispatch"]
    hanging.freeze()
    town.say(town.paid("unsent"))

    town.fires("GuardPaidPlacementNotRecalled")
    assert "l-unsent" in town.command("recalls", "list", "--open")
    hanging.kill()
    town.house.start("dispatch")

    town.ends("GuardPaidPlacementNotRecalled")
    assert town.house.rows("SELECT count(*) FROM recall WHERE sent_at IS NULL") == [(0,)]


def test_a_recall_that_nobody_answers(town: Town) -> None:
    """An agency says nothing until its deadline and longer; a person calls it and takes the recall over."""
    recall_id = town.recalled("silent", agency_id="agency-silent")

    town.fires("GuardRecallOverdue", agency="agency-silent")
    assert recall_id in town.command("recalls", "list", "--overdue")
    town.command("recalls", "take-over", recall_id, "--reason", "confirmed by telephone")

    town.ends("GuardRecallOverdue", agency="agency-silent")


def test_a_contact_after_a_recall(town: Town, tmp_path: Path) -> None:
    """An agency calls on; there is proof of it, and the alert ends an hour after the call."""
    town.recalled("called", agency_id="agency-calls")
    called_at = datetime.now(UTC) + timedelta(seconds=1)
    said = {"placement_id": "l-called", "contacted_at": called_at.isoformat(), "channel": "phone"}
    town.say(record("agency.contact.made.v1", at=called_at, account_id="called", agency_id="agency-calls", **said))  # type: ignore[arg-type] # All is data.

    town.fires("GuardContactAfterRecall", agency="agency-calls")
    assert "after it was told to stop" in town.command("why", "called")
    town.command("evidence", "l-called", "--out", str(tmp_path / "proof.zip"))
    assert (tmp_path / "proof.zip").stat().st_size > 0

    town.ends("GuardContactAfterRecall", agency="agency-calls")


def test_a_stream_that_is_behind(town: Town) -> None:
    """A producer leaves a transaction open; whoever runs it ends it, and the stream is read on."""
    town.placed("hidden", agency_id="agency-1")
    with inbound.producing(town.house.bootstrap_servers, transactional_id="drill") as producer:
        producer.begin_transaction()
        inbound.send(producer, [town.paid("hidden")])

        town.fires("GuardStreamBehind", topic="billing.payments")
        producer.commit_transaction()

    town.ends("GuardStreamBehind", topic="billing.payments")
    town.wait_for("SELECT count(*) FROM recall WHERE account_id = %s", "hidden")


def test_a_stream_that_is_stopped(town: Town) -> None:
    """A topic was made again; a person has looked, and accepts it."""
    topic = "customers.notices"
    with inbound.administering(town.house.bootstrap_servers) as admin:
        admin.delete_topics([topic])
    with inbound.known(town.house.bootstrap_servers) as cluster:
        wait_until("the topic is made again", lambda: _made_again(lambda: cluster.create({topic: 2})))

    town.fires("GuardStreamStopped", topic=topic)
    assert topic in town.command("streams", "list")
    town.command("streams", "accept", topic)

    town.ends("GuardStreamStopped", topic=topic)


def test_a_producer_that_is_silent(town: Town) -> None:
    """Billing had a payment to tell of, and then none; once it speaks again all is well."""
    town.say(town.paid("early"))

    town.fires("GuardProducerSilent", topic="billing.payments", source="test")
    town.say(town.paid("late"))

    town.ends("GuardProducerSilent", topic="billing.payments", source="test")


def test_a_quarantine_that_grows(town: Town) -> None:
    """A producer was deployed that sends what is no event; it is put back, and what it sent is given up."""
    whole = [town.paid(f"broken-{number}") for number in range(BROKEN)]
    town.say(*(RawRecord(one.origin, one.key, (one.value or b"")[:-1]) for one in whole))

    town.fires("GuardQuarantineGrowing")
    waiting = json.loads(town.command("quarantine", "list", "--json"))["events"]
    ids = [str(one["quarantine_id"]) for one in waiting]
    town.command("quarantine", "drop", *ids, "--reason", "sent by a wrong version")

    town.ends("GuardQuarantineGrowing")
    assert len(ids) >= BROKEN
    assert json.loads(town.command("quarantine", "list", "--json"))["events"] == []


def test_a_sweep_that_finds_something(town: Town) -> None:
    """A policy under which more counts as paid: the sweep recalls what was right before, and a ticket says so."""
    town.placed("short", agency_id="agency-1")
    town.say(town.paid("short", amount=AMOUNT - 50))
    town.wait_for("SELECT count(*) FROM ledger WHERE account_id = %s AND amount IS NOT NULL", "short")
    Path(town.house.settings["POLICY_FILE"]).write_text(POLICY.format(tolerance=100))
    assert town.house.workers["sweep"].terminate() == 0
    town.house.start("sweep")

    alert = town.fires("GuardSweepFound")
    assert alert.labels["severity"] == "ticket"
    assert [one["placement_id"] for one in town.house.logged("sweep.found")] == ["l-short"]

    town.ends("GuardSweepFound")


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_is_down(town: Town, role: str) -> None:
    """Killed, and not started again by anybody; until somebody does."""
    town.house.workers[role].kill()

    if role == "api":
        town.watch.wait_until_fires("GuardDown", role=role)  # Whose console is away too.
    else:
        town.fires("GuardDown", role=role)
    town.house.start(role)

    town.ends("GuardDown", role=role)


def _show(text: str) -> None:
    """For whoever wants to see a drill: `pytest -rP` prints it."""
    sys.stdout.write(f"{text}\n")


def _made_again(make: Callable[[], object]) -> bool:
    """Whether a topic could be made: the broker may still be deleting the one before."""
    try:
        make()
    except Exception:  # noqa: BLE001 # Whatever the library says of it.
        return False
    return True
