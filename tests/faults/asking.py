"""Creditor and collections as the fault tests play them: debts are referred and paid, and asked about over HTTP.

Used by the tests of the race between a payment and a question, and of the barrier's edges. It asks and counts, and
judges nothing.
"""

from __future__ import annotations

import http.client
import itertools
import json
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kafka import KafkaProducer

from domain.events import RawRecord
from infra.embedded import LOOPBACK, free_ports
from tests.faults.ground import Ground
from tests.faults.worker import Worker, wait_until
from tests.inbound import send
from tests.records import record

POLICY = """\
[debt]
tolerance_minor = 0

[notices]
debt_reminders = 0
days_since_last_reminder = 0

[clearance]
wait_for_streams_ms = {wait_ms}
"""
"""What is owed is clear, so that nothing but the payment speaks against it."""

WAIT_MS = 2_000
"""The built-in policy's."""

AMOUNT = 100_00
DEBT = "d-1"
AGENCY = "agency-1"

PATIENCE_SECONDS = 60
"""Of a client: far above what any answer may take, so that a late answer is seen as late."""

TRIES_MAX = 20
"""For an answer that can't be given at the moment: each takes 2 s at the most on a machine that is not busy."""

NOT_NOW = frozenset({"hold STREAM_BEHIND", "503 unavailable"})
"""What a machine that stands for a moment makes of any answer."""

BEGAN = datetime.now(UTC)
REFERRED_AT = BEGAN - timedelta(days=10)
PAID_AT = BEGAN - timedelta(days=1)

Json = dict[str, Any]  # `Any`: JSON, as it stands in an answer.


def referred(account: str) -> RawRecord:
    """The account's one debt."""
    stated: Json = {"debt_id": DEBT, "referral_id": f"r-{account}", "agency_id": AGENCY, "amount": AMOUNT}
    terms: Json = {"currency": "RUB", "as_of": REFERRED_AT.isoformat(), "due_on": "2020-01-31"}
    return record("collections.debt.referred.v1", at=REFERRED_AT, account_id=account, **stated, **terms)


def paid(account: str) -> RawRecord:
    """The payment that settles it."""
    said: Json = {"payment_id": f"p-{account}", "amount": AMOUNT, "currency": "RUB", "paid_at": PAID_AT.isoformat()}
    return record("billing.payment.settled.v1", at=PAID_AT, account_id=account, event_id=f"p-{account}", **said)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, when it was asked by the machine's clock, and how long it took."""

    status: int
    body: Json
    asked_at: float
    seconds: float

    @property
    def said(self) -> str:
        """The answer as it is counted: its decision or status, and the first reason or the kind of problem."""
        reasons = self.body.get("reasons") or []
        first = reasons[0]["code"] if reasons else str(self.body.get("type", "")).rpartition(":")[2]
        return f"{self.body.get('decision') or self.status} {first}".strip()


class Front:
    """The API processes of a ground, and a key to them; asked from any number of threads."""

    def __init__(
        self, ground: Ground, *, processes: int, module: str = "consumers.main", wait_ms: int = WAIT_MS
    ) -> None:
        """`module` builds the API, and `wait_ms` is how long it waits for the streams."""
        self.ports = free_ports(processes)
        self._key = key(ground, "ask", "confirm", "read")
        self._turn = itertools.count()
        self._of_thread = threading.local()
        policy = policy_file(ground, wait_ms=wait_ms)
        self.workers = [
            ground.start("api", module=module, API_PORT=str(port), POLICY_FILE=policy, LOG_LEVEL="WARNING")
            for port in self.ports
        ]
        for port, worker in zip(self.ports, self.workers, strict=True):
            wait_until("the API answers", lambda port=port: self.ready(port)[0], seen=worker.last_words)  # type: ignore[misc] # mypy takes the default for a missing argument.

    def ask(self, account: str, *, process: int | None = None) -> Answer:
        """May the account's debt be placed? Each process in turn is asked where none is named."""
        question = {"account_id": account, "debt_id": DEBT, "agency_id": AGENCY}
        return self.post("/v1/clearances", question, process=process)

    def confirm(self, clearance_id: str, placement_id: str, *, process: int | None = None) -> Answer:
        """Register a placement."""
        path = f"/v1/clearances/{clearance_id}/confirm"
        return self.post(path, {"placement_id": placement_id}, process=process)

    def post(self, path: str, body: Mapping[str, object], *, process: int | None = None) -> Answer:
        """Send something."""
        return self.call("POST", path, json.dumps(body), process)

    def get(self, path: str, *, process: int | None = None) -> Answer:
        """Read something."""
        return self.call("GET", path, None, process)

    def call(self, method: str, path: str, body: str | None, process: int | None) -> Answer:
        """One call on this thread's own connection."""
        number = next(self._turn) if process is None else process
        connection = self._connection(self.ports[number % len(self.ports)])
        asked_at, began = time.time(), time.monotonic()
        headers = {"Authorization": f"Bearer {self._key}"}
        try:
            connection.request(method, path, body, headers)
            answered = connection.getresponse()
        except ConnectionError:  # It was idle for longer than the server keeps one, as after the machine stood.
            connection.close()
            connection.request(method, path, body, headers)
            answered = connection.getresponse()
        told = json.loads(answered.read())
        return Answer(answered.status, told, asked_at, time.monotonic() - began)

    def _connection(self, port: int) -> http.client.HTTPConnection:
        of_port: dict[int, http.client.HTTPConnection] = self._of_thread.__dict__.setdefault("connections", {})
        return of_port.setdefault(port, http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE_SECONDS))

    def ready(self, port: int) -> tuple[bool, float]:
        """Whether a process says that it could answer, and after how many seconds."""
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE_SECONDS)
        began = time.monotonic()
        try:
            connection.request("GET", "/readyz")
            is_ready = connection.getresponse().status == 200
        except OSError:
            is_ready = False
        finally:
            connection.close()
        return is_ready, time.monotonic() - began


def policy_file(ground: Ground, *, wait_ms: int = WAIT_MS) -> str:
    """Where the policy of these tests stands, for every process that has one."""
    file = ground.folder / f"policy-{wait_ms}.toml"
    file.write_text(POLICY.format(wait_ms=wait_ms))
    return str(file)


def key(ground: Ground, *scopes: str) -> str:
    """A key for this, made as an operator makes it."""
    made = ground.start("keys", "create", "tests", *(f"--scope={scope}" for scope in scopes), "--json")
    assert made.wait() == 0, made.last_words()
    lines = made.log_file.read_text().splitlines()
    (shown,) = (one for line in lines if line.startswith("{") and "key" in (one := json.loads(line)))
    return str(shown["key"])


class Ingests:
    """Two workers of the group; each keeps its name there over its death, and so its partitions."""

    def __init__(self, ground: Ground, **settings: str) -> None:
        self._ground = ground
        self._settings = {"POLICY_FILE": policy_file(ground), "LOG_LEVEL": "WARNING", **settings}
        self._by_name: dict[str, Worker] = {}
        for name in ("first", "second"):
            self.start_again(name)

    @property
    def names(self) -> list[str]:
        """What they are called."""
        return list(self._by_name)

    def of(self, name: str) -> Worker:
        """The worker that has this name now."""
        return self._by_name[name]

    def start_again(self, name: str) -> None:
        """Kill who has this name, if anybody, and start another in its place."""
        if name in self._by_name:
            self._by_name[name].kill()
        self._by_name[name] = self._ground.start("ingest", INGEST_INSTANCE=name, **self._settings)

    def join(self) -> Worker:
        """Start one more, without a name to keep: it leaves the group when it ends."""
        return self._ground.start("ingest", **self._settings)

    def stop(self) -> None:
        """End them all."""
        for worker in self._by_name.values():
            worker.thaw()
            # One that was started a moment ago may not know yet what to do when it is told to stop.
            assert worker.terminate() in {0, -signal.SIGTERM}, worker.last_words()


def caught_up(ground: Ground) -> None:
    """All that is there now is in the state, and perhaps what a feed has sent since."""
    ends = ground.ends()

    def read() -> bool:
        at = ground.positions().at
        return all(at.get(place, -1) >= end for place, end in ends.items())

    wait_until("everything is read", read, seen=ground.positions)


def owing(ground: Ground, producer: KafkaProducer, prefix: str, accounts: int) -> list[str]:
    """So many accounts whose debt is known."""
    names = [f"{prefix.replace(' ', '-')}-{number}" for number in range(accounts)]
    send(producer, map(referred, names))
    caught_up(ground)
    return names


def cleared(front: Front, account: str) -> str:
    """A clearance that is clear; one that is held by a busy machine is asked for again."""
    for _ in range(TRIES_MAX):
        answer = front.ask(account)
        if answer.said == "clear":
            return str(answer.body["clearance_id"])
        assert answer.said in NOT_NOW
    raise AssertionError(f"{account} was not clear in {TRIES_MAX} tries")


def answered(confirm: Callable[[], Answer]) -> Answer:
    """The answer to a confirmation, asked for again where there is none yet, as the contract says."""
    for _ in range(TRIES_MAX):
        answer = confirm()
        if answer.status != 503:
            return answer
    raise AssertionError(f"a confirmation was not answered in {TRIES_MAX} tries")


def table(title: str, tallies: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """Lines for people: a row for each tally, a column for each answer that there was, and the sums."""
    answers = sorted({answer for tally in tallies.values() for answer in tally})
    total = {answer: sum(tally.get(answer, 0) for tally in tallies.values()) for answer in answers}
    yield "  ".join([f"{title:<24}", *answers, "all"])
    for name, tally in (*tallies.items(), ("all", total)):
        cells = [f"{tally.get(answer, 0):>{len(answer)}}" for answer in answers]
        yield "  ".join([f"{name:<24}", *cells, str(sum(tally.values()))])


def slowest(answers: Iterable[Answer]) -> float:
    """The seconds of the slowest."""
    return max(one.seconds for one in answers)
