"""`demo`: a small telecom, live, on an embedded Kafka and PostgreSQL, told line by line as it happens.

Every line went through the broker and the database, and what is claimed was checked: recalls are heard on
`guard.recalls` as an agency would hear them, and compared with what the made-up customers must bring about.
It uses servers of its own in a temporary folder, whatever the settings name, and leaves nothing behind.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from consumers.asker import Asker
from consumers.collector import AGENCY, Collector
from consumers.compose import House
from consumers.roles import Roles
from consumers.servers import Servers
from consumers.stage import DEADLINE_SECONDS, Recall, Stage, StoryFailedError, milliseconds
from consumers.telecom import Customer, Expected, history
from consumers.terminal import EXIT_WRONG, complain, say
from domain.access import Scope
from domain.words import amount_in_words
from infra import logs
from infra.embedded import free_ports, log_tail
from infra.settings import PREFIX, Settings

SEED = 1983
TOWN = 240
"""Customers whose last days are there before the stories begin."""

LIVE = 20
LIVE_EVERY_SECONDS = 0.05
"""Customers who pay while we look, one after the other."""

STAY_EVERY_SECONDS = 1.0
STAY_TELLS_EVERY = 10
"""With `--stay` another customer lives each second, and each tenth is told of."""

POLICY = "[recall]\ncontact_grace_minutes = 0\n"
"""Of the demo: a collector may not even finish a call that was under way, so that nobody waits for a breach."""

KEPT = ("GUARD_CACHE_FOLDER",)
"""What of the environment under our prefix the demo's roles see."""

STOPPED = 130
"""Exit status of what was ended by Ctrl-C, as shells have it."""


def demo(stop: threading.Event, *, stay: bool) -> int:
    """Play it, and return 0 where all that was claimed came true."""
    with tempfile.TemporaryDirectory(prefix="handoff-guard-demo-") as name:
        log_file = Path(name) / "roles.log"
        try:
            with _running(Path(name), log_file, stop) as running:
                servers, roles, stage, collections, seconds = running
                play(stage, servers, collections, seconds)
                say(_next(stay=stay))
                if stay:
                    _go_on(stop, stage, servers, roles)
        except StoryFailedError as why:
            if stop.is_set():
                return STOPPED
            complain(f"FAILED: {why}; {log_tail(log_file)}")
            return EXIT_WRONG
    return 0


def play(stage: Stage, servers: Servers, collections: Asker, seconds: float) -> None:
    """The stories, and at the end the check of all that came. Raises StoryFailedError."""
    addresses = servers.settings.kafka_bootstrap_servers
    say(f"Apache Kafka ({addresses}), PostgreSQL, ingest, dispatch, sweep and api run: {seconds:.1f} s")
    expected = _town(stage)
    recalled = _paid_after_the_package_left(stage)
    expected.recalls |= {recalled.placement_id: recalled.cause}
    expected.recalls |= _paid_first(stage)
    expected.recalls |= _out_of_order_and_repeated(stage)
    expected.events += _short_by_a_price_rise(stage, collections)
    expected.events += _paid_between_question_and_transfer(stage, collections)
    expected.events += _called_all_the_same(stage, recalled)
    expected.recalls |= _one_after_the_other(stage)
    stage.wait_until_quiet()
    stage.check(expected)
    say(
        f"OK  {expected.events:,} events, each applied once; {len(expected.recalls)} recalls of"
        f" {len(expected.recalls)} that had to come, no other; {len(expected.balances)} reduced balances;"
        " 0 in quarantine"
    )


def _town(stage: Stage) -> Expected:
    said, expected = history(range(1, TOWN + 1), now=_now(), chance=Random(SEED))  # noqa: S311 # Nothing here is a secret.
    stage.send(*said)
    stage.wait_until_quiet()
    say(
        f"A telecom of {TOWN} customers: {len(said)} events through Kafka, in no order,"
        f" {len(said) - expected.events} of them repeated; {len(expected.recalls)} who had paid are recalled"
    )
    expected.events += 3 * (3 + LIVE)
    return expected


def _paid_after_the_package_left(stage: Stage) -> Recall:
    customer = Customer(9_001, 850_00, agency=AGENCY)
    stage.send(customer.referred(_now()), customer.placed(_now()))
    stage.wait_until_quiet()
    paid_at = stage.send(customer.paid(_now()))
    say(
        f"1. The package had left: a set-top box, {_owed(customer)}, is with {customer.agency_id};"
        f" the customer pays it at {_clock(_now())}"
    )
    recall = stage.wait_for_recall(customer.placement_id, cause="paid_after_placement")
    answered_at = stage.wait_for_answer(recall)
    say(
        f"   recalled {milliseconds(recall.heard_at - paid_at)} after the broker had the payment: {recall.cause};"
        f" {customer.agency_id} acknowledged {milliseconds(answered_at - recall.heard_at)} later"
    )
    return recall


def _called_all_the_same(stage: Stage, recall: Recall) -> int:
    """The collector of the first story, who had acknowledged; that, and the call, are two more events."""
    called_at = stage.wait_for_breach(recall)
    say(f"6. {AGENCY}, which had acknowledged, called the first customer again at {_clock(called_at)}: caught")
    return 2


def _paid_first(stage: Stage) -> dict[str, str]:
    customer = Customer(9_002, 2_300_00)
    stage.send(customer.paid(_now() - timedelta(hours=1)))
    say(f"2. The payment was there first: {_owed(customer)}, an hour before collections refer and place the debt")
    placed_at = stage.send(customer.referred(_now()), customer.placed(_now()))
    recall = stage.wait_for_recall(customer.placement_id, cause="referred_in_error")
    say(f"   recalled {milliseconds(recall.heard_at - placed_at)} after it was placed: {recall.cause}")
    return {recall.placement_id: recall.cause}


def _out_of_order_and_repeated(stage: Stage) -> dict[str, str]:
    customer = Customer(9_003, 1_190_00)
    placed, paid = customer.placed(_now() - timedelta(minutes=5)), customer.paid(_now())
    stage.send(paid, placed, paid)
    referred_at = stage.send(customer.referred(_now()), paid, placed)
    recall = stage.wait_for_recall(customer.placement_id, cause="paid_after_placement")
    stage.wait_until_quiet()
    stage.check_only_one(recall)
    took = milliseconds(recall.heard_at - referred_at)
    say(f"3. A payment comes twice before its debt is known, and once more: recalled once, {took} after the debt")
    return {recall.placement_id: recall.cause}


def _short_by_a_price_rise(stage: Stage, collections: Asker) -> int:
    """The second story: autopay pays the old price, and the rise was told only where the customer does not look."""
    customer = Customer(9_004, 585_00)
    said = customer.short_by_a_price_rise(_now(), rise=85_00)
    stage.send(*said)
    say("4. Collections ask first: autopay paid the old price, and 85.00 RUB of a price rise are owed")
    told = collections.ask(customer.account_id, customer.debt_id, customer.agency_id)
    _expect("hold PRICE_CHANGE_NOT_NOTIFIED", f"{told.body.get('decision')} {told.first_reason}")
    say(f"   hold, {told.first_reason}: {'; '.join(told.evidence[1:])}")
    return len(said)


def _paid_between_question_and_transfer(stage: Stage, collections: Asker) -> int:
    """A clearance that is true when it is given, and not any more when the debt is handed over."""
    customer = Customer(9_005, 640_00)
    said = [customer.referred(_now()), *customer.reminded(_now())]
    stage.send(*said)
    clearance = collections.ask(customer.account_id, customer.debt_id, customer.agency_id)
    _expect("clear ", f"{clearance.body.get('decision')} {clearance.first_reason}")
    say(
        f"5. Collections ask, {_owed(customer)} are clear; the customer pays at {_clock(_now())}, then they confirm"
    )
    paid_at = stage.send(customer.paid(_now()))
    told = collections.confirm(clearance.body["clearance_id"], customer.placement_id)
    took = milliseconds(time.monotonic() - paid_at)
    _expect("409 DEBT_SETTLED", f"{told.status} {told.first_reason}")
    say(f"   void {took} after the broker had the payment: {told.first_reason}, {told.evidence[0]}")
    return len(said) + 1


def _expect(wanted: str, found: str) -> None:
    if wanted != found:
        raise StoryFailedError(f"the answer was {found!r}, where {wanted!r} had to be")


def _one_after_the_other(stage: Stage) -> dict[str, str]:
    customers = [Customer(number, 500_00) for number in range(8_001, 8_001 + LIVE)]
    for customer in customers:
        stage.send(customer.referred(_now()), customer.placed(_now()))
    stage.wait_until_quiet()
    paid_at: dict[str, float] = {}
    for customer in customers:
        paid_at[customer.placement_id] = stage.send(customer.paid(_now()))
        stage.listen(seconds=LIVE_EVERY_SECONDS)
    recalls = [stage.wait_for_recall(one.placement_id, cause="paid_after_placement") for one in customers]
    took = [recall.heard_at - paid_at[recall.placement_id] for recall in recalls]
    say(
        f"{LIVE} more pay, one after the other: {len(recalls)} recalls, median"
        f" {milliseconds(statistics.median(took))}, slowest {milliseconds(max(took))}"
    )
    return {recall.placement_id: recall.cause for recall in recalls}


def _go_on(stop: threading.Event, stage: Stage, servers: Servers, roles: Roles) -> None:
    """Another customer each second, until told to stop."""
    say("For other commands, in another terminal (Ctrl-C here ends everything):")
    for line in servers.exports():
        say(line)
    number = 10_000
    while not stop.wait(STAY_EVERY_SECONDS):
        servers.mend()
        roles.mend()
        number += 1
        customer = Customer(number, 500_00)
        stage.send(customer.referred(_now()), customer.placed(_now()))
        paid_at = stage.send(customer.paid(_now()))
        recall: Recall = stage.wait_for_recall(customer.placement_id, cause="paid_after_placement")
        if number % STAY_TELLS_EVERY == 0:
            took = milliseconds(recall.heard_at - paid_at)
            say(f"{_clock(_now())}  {customer.account_id} paid, recalled {took} later")


@contextmanager
def _running(
    folder: Path, log_file: Path, stop: threading.Event
) -> Iterator[tuple[Servers, Roles, Stage, Asker, float]]:
    """Servers and roles of the demo alone, the stage on them, and how long it took to get there."""
    began = time.monotonic()
    _say_in_terminal("Starting an embedded Apache Kafka and PostgreSQL ..")
    log = logs.configure(role="demo", level="ERROR")
    # Nothing of this but the cache is the user's: no setting of theirs may lead us to a server of theirs.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in KEPT}
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    environment[f"{PREFIX}POLICY_FILE"] = str(policy)
    (port,) = free_ports(1)
    with Servers(Settings.model_construct(data_folder=folder, api_port=port), log) as servers:
        roles = Roles(servers.settings, log, environment=environment, log_file=log_file)
        with closing(House(servers.settings, log, role="demo")) as house, closing(roles):
            roles.start()
            broker = {f"{PREFIX}KAFKA_BOOTSTRAP_SERVERS": servers.settings.kafka_bootstrap_servers}
            with (
                closing(Collector(folder / AGENCY, {**environment, **broker})) as collector,
                closing(Stage.of(house, stop)) as stage,
            ):
                _, key = house.api_keys().create("the demo's collections", {Scope.ASK, Scope.CONFIRM}, by="demo")
                collections = Asker(f"http://{servers.settings.api_host}:{port}", key)
                stage.wait_until_read()
                if not collections.wait_until_ready(deadline_seconds=DEADLINE_SECONDS, give_up=stop.is_set):
                    raise StoryFailedError("the API does not answer")
                collector.wait_until_ready(stop, deadline_seconds=DEADLINE_SECONDS)
                yield servers, roles, stage, collections, time.monotonic() - began


def _say_in_terminal(text: str) -> None:
    """A line that the next one takes the place of; only where a person looks."""
    if sys.stdout.isatty():
        sys.stdout.write(f"{text}\r")
        sys.stdout.flush()


def _next(*, stay: bool) -> str:
    program = Path(sys.argv[0])
    name = os.path.relpath(program) if program.is_absolute() else str(program)
    return "Next: " + " | ".join(
        f"{name} {command}" for command in (["why c-9001", "doctor"] if stay else ["demo --stay", "up", "--help"])
    )


def _owed(customer: Customer) -> str:
    return amount_in_words(customer.amount, "RUB")


def _clock(at: datetime) -> str:
    return at.strftime("%H:%M:%S")


def _now() -> datetime:
    return datetime.now(UTC)
