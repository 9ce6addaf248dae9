"""The bounds of the API: how often, how many, how long; and what its process says when it can't begin."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from fastapi import FastAPI

from consumers.api.service import ASKING_THREADS
from consumers.clear import Asked, Clear, Refused
from consumers.terminal import EXIT_USAGE
from domain.access import Scope
from infra.http.server import Address, AddressError, listen, serve
from infra.postgres.api_keys import ApiKeys
from infra.postgres.clearances import Given
from infra.postgres.database import Database
from tests.builders import ACCOUNT
from tests.environment import unset
from tests.inbound import until
from tests.parts import Parts
from tests.serving import API, Ways, ndjson, problem, running, serving
from tests.tidy import pages

pytestmark = pytest.mark.parts

QUESTION = {"account_id": ACCOUNT, "debt_id": "d-1", "agency_id": "agency-1"}
DEADLINE_SECONDS = 30


class Stuck(Clear):
    """Answers nobody until it is let."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Event()

    def ask_all(self, questions: Sequence[Asked]) -> list[Given | Refused]:
        """Wait, and then refuse them all."""
        self.begun.release()
        assert self.may_go_on.wait(DEADLINE_SECONDS)
        return [Refused("enough")] * len(questions)


@pytest.fixture
def stuck() -> Stuck:
    """Nobody is let yet."""
    return Stuck()


def test_a_key_that_asks_too_often(parts: Parts, database: Database, caught_up: None) -> None:
    """It hears when to come again, and then it may; another key is not held up."""
    now = [0.0]
    ways = Ways(rate_per_second=3, gate_clock=lambda: now[0])
    with serving(parts, database, ways) as served:
        caller, other = served.caller(), served.caller()
        told = [caller.get("/v1/clearances/x") for _ in range(4)]
        assert other.get("/v1/clearances/x").status_code == 404
        now[0] += 1
        again = caller.get("/v1/clearances/x")

    assert [one.status_code for one in told] == [404, 404, 404, 429]
    assert problem(told[-1]) == (429, "rate-limited")
    assert (told[-1].headers["retry-after"], again.status_code) == ("1", 404)


def test_too_many_wait(parts: Parts, database: Database, caught_up: None, stuck: Stuck) -> None:
    """Who comes then hears so at once, and those that wait have their answers."""
    ways = Ways(clear=lambda _clear: stuck).limited(waiting=3, at_once=1)
    with serving(parts, database, ways) as served, ThreadPoolExecutor(20) as threads:
        caller = served.caller()
        served_now = [threads.submit(caller.post, "/v1/clearances", json=QUESTION) for _ in range(ASKING_THREADS)]
        for _ in served_now:
            assert stuck.begun.acquire(timeout=DEADLINE_SECONDS)
        more = [threads.submit(caller.post, "/v1/clearances", json=QUESTION) for _ in range(8)]
        assert until(lambda: sum(one.done() for one in more) == 5)
        stuck.may_go_on.set()

    refused = [one.result() for one in more if one.result().status_code == 503]
    assert [problem(one) for one in refused] == [(503, "overloaded")] * 5
    assert {one.headers["retry-after"] for one in refused} == {"1"}
    waited = [one.result().status_code for one in [*served_now, *more]]
    assert waited.count(422) == ASKING_THREADS + 3


def test_nobody_waits_longer_than_the_limit(
    parts: Parts, database: Database, caught_up: None, stuck: Stuck
) -> None:
    """Who asks alone, and each line of a set, hears that nothing could be said."""
    ways = Ways(clear=lambda _clear: stuck).limited(answer_seconds=0.3)
    with serving(parts, database, ways) as served:
        caller = served.caller()
        alone = caller.post("/v1/clearances", json=QUESTION)
        lines = caller.post("/v1/clearances/batch", content=ndjson([QUESTION] * 3)).text.splitlines()
        stuck.may_go_on.set()

    assert problem(alone) == (503, "unavailable")
    assert alone.headers["retry-after"] == "5"
    assert len(lines) == 3
    assert all('"type":"urn:handoff-guard:problem:unavailable"' in line for line in lines)


def test_the_settings_are_the_limits_of_the_process(
    parts: Parts, database_url: str, database: Database, caught_up: None, tmp_path: Path
) -> None:
    """Bytes of a body, questions of a batch, calls a second."""
    settings = {
        "GUARD_API_REQUEST_MAX_BYTES": "1024",
        "GUARD_API_BATCH_MAX_QUESTIONS": "2",
        "GUARD_API_RATE_PER_SECOND": "1000",
    }
    with running(parts, database_url, tmp_path, settings) as api:
        key = ApiKeys(database).create("tests", {Scope.ASK}, by="tests")[1]
        with httpx2.Client(base_url=api.url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as caller:
            assert problem(caller.post("/v1/clearances", content=b" " * 1_025)) == (413, "too-large")
            told = caller.post("/v1/clearances/batch", content=ndjson([QUESTION] * 3)).text.splitlines()
            assert httpx2.get(f"{api.url}/readyz").text == "ok\n"
    assert [len(told), "a batch may have 2 questions" in told[-1]] == [3, True]
    assert '"event": "api.listening"' in api.log.read_text()
    assert key not in api.log.read_text()


def test_the_example_of_the_page_runs(
    parts: Parts, database_url: str, database: Database, caught_up: None, tmp_path: Path
) -> None:
    """Whoever pastes it has an answer to each question, more of them than any buffer holds."""
    (example,) = re.findall(r"```python\n(.*?)```", pages.page("docs/api.md"), re.DOTALL)
    key = ApiKeys(database).create("tests", {Scope.ASK}, by="tests")[1]
    with running(parts, database_url, tmp_path, {"GUARD_LOG_LEVEL": "WARNING"}) as api:
        ran = subprocess.run(
            (sys.executable, "-c", example),
            check=False,
            capture_output=True,
            text=True,
            timeout=4 * DEADLINE_SECONDS,
            env={**os.environ, "URL": api.url, "KEY": key},
        )

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.split() == ["refuse"] * 10_000


def test_a_port_that_is_taken(parts: Parts, database_url: str) -> None:
    """The process ends at once, with the status of a wrong setting and its name."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        environment = unset() | {"GUARD_DATABASE_URL": database_url, "GUARD_API_PORT": str(port)}
        environment |= {"GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers}
        ended = subprocess.run(
            API, check=False, capture_output=True, text=True, env=environment, timeout=DEADLINE_SECONDS
        )

    assert ended.returncode == EXIT_USAGE
    said = f"handoff-guard: can't listen on 127.0.0.1 port {port} (Address already in use): "
    assert ended.stderr == f"{said}set GUARD_API_HOST and GUARD_API_PORT\n"


def test_a_port_that_is_taken_while_we_start(parts: Parts, database: Database) -> None:
    """Two that bound it meanwhile: the second to listen names the settings as well."""
    address = Address("127.0.0.1", 0)
    with closing(listen(address)) as first:
        again = Address("127.0.0.1", first.getsockname()[1])
        with closing(listen(again)) as second:
            first.listen()
            with pytest.raises(AddressError, match="set GUARD_API_HOST and GUARD_API_PORT"):
                serve(_nobody(), again, second, _told_to_stop())


def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    """The settings of both files are named."""
    (tmp_path / "empty.pem").write_text("")
    for file in ("missing.pem", "empty.pem"):
        address = Address("127.0.0.1", 0, str(tmp_path / file), str(tmp_path / file))
        with (
            closing(listen(address)) as listening,
            pytest.raises(AddressError, match="GUARD_API_TLS_CERT_FILE and GUARD_API_TLS_KEY_FILE"),
        ):
            serve(_nobody(), address, listening, _told_to_stop())


def test_an_address_of_somebody_else() -> None:
    """It is told like a port that is taken."""
    with pytest.raises(AddressError, match=r"can't listen on 192\.0\.2\.1 port 80 .*GUARD_API_HOST"):
        listen(Address("192.0.2.1", 80))


def _nobody() -> FastAPI:
    """An application without a call."""
    return FastAPI()


def _told_to_stop() -> threading.Event:
    """Who would begin all the same ends at once."""
    stop = threading.Event()
    stop.set()
    return stop
