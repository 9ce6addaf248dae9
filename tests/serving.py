"""The API over HTTP for tests: in this process with a clock that stands, or as the process that is deployed.

Used by the tests of `consumers.api`. Both are called through a socket, as callers do.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, cast

import httpx2
from pydantic import BaseModel

from consumers.api.app import build
from consumers.api.service import Api, ApiLimits
from consumers.api.threads import Threads
from consumers.barrier import Barrier
from consumers.callbacks import Callbacks
from consumers.clear import Clear
from consumers.console.live import Live
from consumers.console.service import Console, ConsoleWays, Door
from consumers.console.watch import BROKERS_SECONDS, Sources, Watch
from consumers.gate import Gate
from consumers.intake import Intake
from consumers.orders import Orders
from consumers.parts import CODEC
from consumers.producers import Heard
from consumers.requeue import Requeue
from consumers.teller import Teller
from domain.access import Scope
from domain.agency import Agencies
from domain.events import RawRecord
from domain.policy import Policy
from infra import logs
from infra.embedded import free_ports
from infra.http.server import Address, listen, serve
from infra.kafka.connection import Connection
from infra.kafka.horizon import Horizon
from infra.metrics import Metrics
from infra.postgres.agency_figures import AgencyFigures
from infra.postgres.api_keys import ApiKeys
from infra.postgres.clearances import Clearances
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries
from infra.postgres.history import History
from infra.postgres.holdings import Reconciliations
from infra.postgres.ledger import Ledger
from infra.postgres.ledger_sql import OUTBOX_CHANNEL
from infra.postgres.overview import Overviews
from infra.postgres.producers import Producers
from infra.postgres.quarantine import Quarantine
from infra.postgres.recall_life import RecallLives
from infra.postgres.recalls import Recalls
from infra.postgres.records import Records
from infra.postgres.sessions import Sessions
from infra.postgres.streams import Streams
from infra.wire.kinds import INBOUND_TOPICS
from tests.builders import LENIENT, day
from tests.environment import unset
from tests.inbound import until
from tests.parts import Parts

DEADLINE_SECONDS = 30
"""What a machine under load may take for what usually takes milliseconds."""

POLL_SECONDS = 0.05

WAIT_SECONDS = 3.0
"""For streams that are behind: they stay so in a test. Those that are read have time to show it."""

LIMITS = ApiLimits(answer_seconds=20.0, body_bytes=262_144, batch_questions=1_000_000, at_once=500, waiting=2_000)
"""Those of the settings, with more patience."""

ANY = frozenset(Scope)

API = (sys.executable, "-m", "consumers.main", "api")

Json = dict[str, Any]  # `Any`: what is sent and answered is as varied as the calls.


class Clock:
    """A clock that stands until it is set: day 3."""

    def __init__(self) -> None:
        self.now = day(3)

    def __call__(self) -> datetime:
        return self.now


@dataclass(slots=True)
class Ways:
    """How an API is built for a test: what differs from the usual."""

    policy: Policy = LENIENT
    limits: ApiLimits = LIMITS
    agencies: Agencies = field(default_factory=dict)
    rate_per_second: int = 0
    shadow: bool = False
    creditor: str = ""
    clock: Clock = field(default_factory=Clock)
    gate_clock: Callable[[], float] = time.monotonic
    clear: Callable[[Clear], Clear] = lambda clear: clear
    door: Callable[[str], Door | None] = lambda _url: None

    def limited(self, **limits: float) -> Ways:
        """With other limits."""
        return replace(self, limits=replace(self.limits, **cast("dict[str, Any]", limits)))


class Served:
    """An API that answers, and who may call it."""

    def __init__(self, url: str, database: Database) -> None:
        self.url = url
        self._keys = ApiKeys(database)
        self._stack = ExitStack()

    def key(self, *scopes: Scope) -> str:
        """A new key, with these scopes or with all."""
        return self._keys.create("tests", scopes or ANY, by="tests")[1]

    def caller(self, key: str | None = None, **more: object) -> httpx2.Client:
        """Who calls with this key, or with one that may do everything."""
        headers = {"Authorization": f"Bearer {key or self.key()}"}
        client = httpx2.Client(base_url=self.url, headers=headers, timeout=DEADLINE_SECONDS)
        return self._stack.enter_context(client)

    def guest(self, *scopes: Scope, tongue: str = "en") -> httpx2.Client:
        """A browser without a screen that is signed in at the console, by a key with these scopes or with all."""
        return self._stack.enter_context(closing(signed_in(self.url, self.key(*scopes), tongue=tongue)))

    def close(self) -> None:
        """Let go of the callers' connections."""
        self._stack.close()


def signed_in(url: str, key: str, *, tongue: str = "en") -> httpx2.Client:
    """A browser without a screen, at the console of an API, signed in by a key."""
    headers = {"Accept-Language": tongue}
    browser = httpx2.Client(base_url=url, headers=headers, timeout=DEADLINE_SECONDS, follow_redirects=True)
    form = browser.get("/console/sign-in").text
    browser.post("/console/sign-in", data={"key": key, "form_token": form_token_in(form), "next": ""})
    return browser


def told(page: str) -> str:
    """The text of a page as it is read."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def form_token_in(page: str) -> str:
    """The token that the first form of a page carries."""
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


@contextmanager
def serving(parts: Parts, database: Database, ways: Ways | None = None) -> Iterator[Served]:
    """An API in this process, on real parts, by a clock that stands."""
    with ExitStack() as stack:
        connection = Connection(parts.bootstrap_servers)
        horizon = stack.enter_context(closing(Horizon(connection, INBOUND_TOPICS, client_id="tests")))
        address = Address("127.0.0.1", free_ports(1)[0])
        url = f"http://{address.host}:{address.port}"
        api, console = _api(database, horizon, ways or Ways()), _console(database, horizon, ways or Ways(), url)
        listening = stack.enter_context(closing(listen(address)))
        stop, started = threading.Event(), threading.Event()
        told = {"started": started.set, "stopping": console.live.watch.close}
        server = threading.Thread(
            target=serve,
            args=(build(api, console), address, listening, stop),
            kwargs=told,
        )
        server.start()
        served = Served(url, database)
        try:
            assert started.wait(DEADLINE_SECONDS)
            yield served
        finally:
            served.close()
            stop.set()
            server.join()
            api.close()


def _console(database: Database, horizon: Horizon, ways: Ways, url: str) -> Console:
    log, numbers = logs.configure(role="test"), count(1)
    ledger = Ledger(database, CODEC, "")
    sessions = Sessions(database, lasts=timedelta(hours=12), idle=timedelta(hours=1))
    watch = Watch(
        sources=Sources(
            overview=Overviews(database).read,
            ends=lambda: horizon.look(deadline_seconds=BROKERS_SECONDS),
            standing=sessions.standing,
            listening=lambda: database.listening(OUTBOX_CHANNEL),
        ),
        now=ways.clock,
        log=log,
    )
    return Console(
        live=Live(watch),
        sessions=sessions,
        records=Records(database),
        gate=Gate(ApiKeys(database), rate_per_second=ways.rate_per_second, clock=ways.gate_clock),
        orders=Orders(
            ledger=ledger,
            recalls=Recalls(database),
            rules=lambda: ways.policy,
            now=ways.clock,
            new_id=lambda _now: f"console-order-{next(numbers)}",
            metrics=Metrics(),
            log=log,
        ),
        requeue=Requeue(
            ledger=ledger, quarantine=Quarantine(database), rules=lambda: ways.policy, now=ways.clock, log=log
        ),
        quarantine=Quarantine(database),
        teller=Teller(
            barrier=Barrier(horizon=horizon, streams=Streams(database), wait_seconds=WAIT_SECONDS),
            history=History(database, CODEC),
            policy=ways.policy,
            agencies=lambda: ways.agencies,
            now=ways.clock,
        ),
        history=History(database, CODEC),
        recalls=Recalls(database),
        lives=RecallLives(database),
        figures=AgencyFigures(database),
        deliveries=Deliveries(database),
        reconciliations=Reconciliations(database),
        rules=lambda: ways.policy,
        agencies=lambda: ways.agencies,
        ways=ConsoleWays(is_https=False, timezone=ways.policy.timezone, creditor=ways.creditor),
        threads=Threads(answer_seconds=ways.limits.answer_seconds, log=log),
        now=ways.clock,
        log=log,
        door=ways.door(url),
    )


def _api(database: Database, horizon: Horizon, ways: Ways) -> Api:
    log, metrics, numbers = logs.configure(role="test"), Metrics(), count(1)
    ledger = Ledger(database, CODEC, "")
    barrier = Barrier(horizon=horizon, streams=Streams(database), wait_seconds=WAIT_SECONDS)
    clear = Clear(
        barrier=barrier,
        ledger=ledger,
        clearances=Clearances(database),
        rules=lambda: ways.policy,
        shadow=ways.shadow,
        now=ways.clock,
        new_id=lambda _now: f"clearance-{next(numbers)}",
        metrics=metrics,
        log=log,
    )
    return Api(
        clear=ways.clear(clear),
        intake=Intake(
            ledger=ledger,
            rules=lambda: ways.policy,
            now=ways.clock,
            heard=Heard(Producers(database)),
            metrics=metrics,
            log=log,
        ),
        teller=Teller(
            barrier=barrier,
            history=History(database, CODEC),
            policy=ways.policy,
            agencies=dict,
            now=ways.clock,
        ),
        orders=Orders(
            ledger=ledger,
            recalls=Recalls(database),
            rules=lambda: ways.policy,
            now=ways.clock,
            new_id=lambda _now: f"order-{next(numbers)}",
            metrics=metrics,
            log=log,
        ),
        records=Records(database),
        callbacks=Callbacks(
            agencies=lambda: ways.agencies,
            rules=lambda: ways.policy,
            recalls=Recalls(database),
            rate_per_second=ways.rate_per_second,
            now=ways.clock,
            log=log,
            clock=ways.gate_clock,
        ),
        gate=Gate(ApiKeys(database), rate_per_second=ways.rate_per_second, clock=ways.gate_clock),
        limits=ways.limits,
        is_ready=lambda: None,
        now=ways.clock,
        metrics=metrics,
        log=log,
    )


@dataclass(frozen=True, slots=True)
class Running:
    """The process that is deployed, and what it says on standard error."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path


@contextmanager
def running(
    parts: Parts, database_url: str, folder: Path, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """`handoff-guard api` with these settings, once it is alive; ended afterwards."""
    (port,) = free_ports(1)
    environment = {
        **unset(),
        "GUARD_DATABASE_URL": database_url,
        "GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers,
        "GUARD_API_PORT": str(port),
        **(settings or {}),
    }
    log, url = folder / "api.log", f"http://127.0.0.1:{port}"
    with log.open("wb") as file:
        process = subprocess.Popen(API, env=environment, stdout=subprocess.DEVNULL, stderr=file)
        try:
            assert until(lambda: process.poll() is not None or _is_alive(url))
            assert process.poll() is None, log.read_text()
            yield Running(process, url, log)
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)


def _is_alive(url: str) -> bool:
    with suppress(httpx2.HTTPError):
        return httpx2.get(f"{url}/livez", timeout=DEADLINE_SECONDS).status_code == 200
    threading.Event().wait(POLL_SECONDS)
    return False


def problem(answer: httpx2.Response) -> tuple[int, str]:
    """The status of an answer and the name of its problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    said = answer.json()
    assert said["status"] == answer.status_code
    return answer.status_code, said["type"].removeprefix("urn:handoff-guard:problem:")


def ndjson(values: list[Json]) -> bytes:
    """Values as lines."""
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def as_published(model: type[BaseModel], value: Json) -> None:
    """Hold an answer to its model: every field as it is published, none missing, and none beside them."""
    read = model.model_validate_json(json.dumps(value), strict=True)
    assert _names(read.model_dump(mode="json")) == _names(value)


def _names(value: object) -> object:
    """The names in a value, wherever they stand."""
    match value:
        case dict():
            return {name: _names(one) for name, one in value.items()}
        case list():
            return [_names(one) for one in value]
        case _:
            return None


def event_of(raw: RawRecord) -> bytes:
    """A record's value, to be sent by HTTP."""
    assert raw.value is not None
    return raw.value
