"""The port of a role for who runs it: what it says while all is well, while it starts, and while a loop hangs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from consumers import ops
from consumers.pulse import LOOP_SILENT_SECONDS, Pulse
from infra.embedded import free_ports
from infra.metrics import Metrics
from infra.metrics_list import EVERY_ROLE, METRICS
from tests.clocks import Clock
from tests.environment import unset
from tests.inbound import until
from tests.parts import Parts

DEADLINE_SECONDS = 60
"""What a machine under load may take to start four processes."""


@contextmanager
def asked(
    pulse: Pulse, servers: ops.Servers, metrics: Metrics | None = None
) -> Iterator[Callable[[str], tuple[int, str]]]:
    """The port of a process with these parts; asked for a path it gives the status and the text."""
    (port,) = free_ports(1)
    server = ops.serve(port, ops.Ops(metrics or Metrics(), pulse, servers))
    try:
        yield lambda path: _get(f"http://127.0.0.1:{port}{path}")
    finally:
        server.stop()


def _get(url: str) -> tuple[int, str]:
    answer = httpx2.get(url, timeout=DEADLINE_SECONDS)
    return answer.status_code, answer.text


def test_a_role_that_starts_is_alive_and_not_ready() -> None:
    """It waits for its servers, and says so; nothing is posted, and nothing else is to be got."""
    servers = ops.Servers({"database": lambda: None})

    with asked(Pulse(), servers) as get:
        assert get("/livez") == (200, "ok\n")
        assert get("/readyz") == (
            503,
            "starting: it waits for the servers that it needs\nthe servers have not been asked yet\n",
        )
        assert get("/other") == (404, "there is /metrics, /livez and /readyz\n")


def test_a_role_whose_loop_turns_is_ready_while_its_servers_answer() -> None:
    """Which one does not is said in words; it is alive all the same."""
    why: dict[str, str | None] = {"broker": None}
    servers, pulse = ops.Servers({"database": lambda: None, "broker": lambda: why["broker"]}), Pulse()
    pulse.loop("ingest")
    servers.look()

    with asked(pulse, servers) as get:
        assert (get("/livez"), get("/readyz")) == ((200, "ok\n"), (200, "ok\n"))
        why["broker"] = "no answer within 10 s"
        servers.look()
        assert (get("/livez"), get("/readyz")) == ((200, "ok\n"), (503, "broker: no answer within 10 s\n"))


def test_a_server_that_answers_nothing_at_all_is_away() -> None:
    """The look hangs in a thread of its own, and the probe says for how long."""
    clock = Clock()
    servers, pulse = ops.Servers({"database": lambda: None}, clock=clock), Pulse()
    pulse.loop("sweep")
    servers.look()
    clock.seconds += ops.STALE_SECONDS + 1

    with asked(pulse, servers) as get:
        assert get("/readyz") == (503, "the servers have not answered for 31 s\n")


def test_a_loop_that_is_slow_is_alive_and_one_that_hangs_is_not() -> None:
    """A batch of thirty seconds is borne; the age is shown as it is at that moment."""
    clock = Clock()
    pulse, servers = Pulse(clock=clock), ops.Servers({})
    pulse.loop("ingest")
    servers.look()

    with asked(pulse, servers, Metrics("ingest")) as get:
        clock.seconds += 30
        assert (get("/livez"), get("/readyz")) == ((200, "ok\n"), (200, "ok\n"))
        assert 'guard_heartbeat_age_seconds{loop="ingest"} 30.0' in get("/metrics")[1].splitlines()
        clock.seconds = 1_000 + LOOP_SILENT_SECONDS + 1
        stuck = "ingest has not turned for 61 s (it may take 60)\n"
        assert (get("/livez"), get("/readyz")) == ((503, stuck), (503, stuck))


HANGS = """
import sys, threading
from consumers import ops
from consumers.pulse import Pulse
from infra.metrics import Metrics
pulse = Pulse()
ops.serve(int(sys.argv[1]), ops.Ops(Metrics("sweep"), pulse, ops.Servers({})))
beat, stop = pulse.loop("sweep", limit_seconds=1.0), threading.Event()
while True:
    beat()
    if sys.stdin.read(1) != "t":
        stop.wait()
"""
"""A loop that turns for each letter `t`, and hangs at any other."""


def test_a_process_that_froze_in_its_loop_says_so() -> None:
    """From outside: it answers while it turns, and is not alive soon after it has stopped turning."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/livez"
    with subprocess.Popen([sys.executable, "-c", HANGS, str(port)], stdin=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        try:
            assert until(lambda: _status(url) == 200)
            process.stdin.write("x")
            process.stdin.flush()
            assert until(lambda: _status(url) == 503)
            assert _get(url)[1].startswith("sweep has not turned for ")
        finally:
            process.kill()


def _status(url: str) -> int | None:
    with suppress(httpx2.HTTPError):
        return _get(url)[0]
    return None


@contextmanager
def roles(parts: Parts, database_url: str, folder: Path) -> Iterator[dict[str, str]]:
    """All four, as they are deployed, each with the address of its port."""
    ports = free_ports(len(EVERY_ROLE) + 1)
    with ExitStack() as stack:
        for role, port in zip(EVERY_ROLE, ports, strict=False):
            environment = {
                **unset(),
                "GUARD_DATABASE_URL": database_url,
                "GUARD_KAFKA_BOOTSTRAP_SERVERS": parts.bootstrap_servers,
                "GUARD_KAFKA_GROUP": folder.name,
                "GUARD_API_PORT": str(ports[-1]),
                "GUARD_METRICS_PORT": str(port),
            }
            log = stack.enter_context((folder / f"{role}.log").open("wb"))
            command = [sys.executable, "-m", "consumers.main", role]
            process = stack.enter_context(subprocess.Popen(command, env=environment, stderr=log))
            stack.callback(process.terminate)
        yield {role: f"http://127.0.0.1:{port}" for role, port in zip(EVERY_ROLE, ports, strict=False)}


@pytest.mark.parts
@pytest.mark.usefixtures("caught_up")
def test_every_role_is_alive_ready_and_shows_what_it_moves(parts: Parts, database_url: str, tmp_path: Path) -> None:
    """The processes that are deployed: their probes, and the metrics of the list by role, no more and no fewer."""
    with roles(parts, database_url, tmp_path) as urls:
        ready = {
            role: until(lambda url=url: _status(f"{url}/readyz") == 200, deadline_seconds=DEADLINE_SECONDS)  # type: ignore[misc] # Bound for its turn.
            for role, url in urls.items()
        }
        assert ready == dict.fromkeys(EVERY_ROLE, True), {one.name: one.read_text() for one in tmp_path.iterdir()}
        shown = {role: _shown(f"{url}/metrics") for role, url in urls.items()}

    assert shown == {role: {one.name for one in METRICS if role in one.roles} for role in EVERY_ROLE}


def _shown(url: str) -> set[str]:
    return {line.split()[2] for line in _get(url)[1].splitlines() if line.startswith("# TYPE")}
