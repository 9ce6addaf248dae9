"""Simulated agencies as processes, and the guard's side of each of their ways, for tests.

Used by the tests of `consumers.agency`. Messages are as the guard encodes them; call-backs come to a real server.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from consumers.agency.journal import NAME, Line, lines
from consumers.agency.simulator import simulate
from consumers.main import _parser
from infra.channels.signatures import SignatureError, sign, verify
from infra.embedded import free_ports
from infra.http.threaded import Answer, Request, Server
from infra.settings import Settings

SIMULATOR = (sys.executable, "-m", "consumers.main", "agency-simulator")
DEADLINE_SECONDS = 30
"""What a machine under load may take for what usually takes a moment."""

POLL_SECONDS = 0.02

SECRET, SECOND_SECRET, CALLBACK_SECRET = b"of the guard", b"of the guard, before", b"of the agency"
SECRETS = {"NORTH_SECRET": SECRET, "NORTH_SECOND": SECOND_SECRET, "NORTH_CALLBACK": CALLBACK_SECRET}

Json = dict[str, Any]  # `Any`: events are as varied as their types.


def recall(recall_id: str, *, agency_id: str = "north", kind: str = "guard.recall.requested.v1") -> bytes:
    """A message of the guard, as it goes over the wire."""
    at = datetime.now(UTC)
    data = {
        "placement_id": f"placement-of-{recall_id}",
        "agency_id": agency_id,
        "debt_id": "debt-1",
        "account_id": f"account-of-{recall_id}",
        "recall_id": recall_id,
        "reason": "DEBT_SETTLED",
        "cause": "paid_after_placement",
        "outstanding": 0,
        "currency": "RUB",
        "requested_at": at.isoformat(),
        "acknowledge_by": (at + timedelta(hours=1)).isoformat(),
        "trigger": {
            "source": "billing",
            "id": "payment-1",
            "topic": "billing.payments",
            "partition": 0,
            "offset": 1,
            "paid_at": at.isoformat(),
        },
    }
    event = {
        "specversion": "1.0",
        "id": recall_id,
        "source": "handoff-guard",
        "type": kind,
        "time": at.isoformat(),
        "subject": data["account_id"],
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event).encode()


@dataclass(slots=True)
class Agency:
    """A simulated agency that runs."""

    process: subprocess.Popen[str]
    said: str
    """The line by which it said that it is ready."""
    data: Path

    @property
    def url(self) -> str:
        """Where it takes calls."""
        return self.said.split()[2]

    def journal(self) -> list[Line]:
        """Its books."""
        return list(lines(self.data / NAME))

    def did(self, direction: str = "in") -> list[tuple[str, int, str]]:
        """What it did, in short: message, attempt, and the word for it."""
        return [(one.message_id, one.attempt, one.did) for one in self.journal() if one.direction == direction]


@contextmanager
def agency(
    folder: Path,
    *arguments: str,
    agency_id: str = "north",
    ends: int = 0,
    environment: dict[str, str] | None = None,
) -> Iterator[Agency]:
    """An agency with its journal in a folder; it must end with this status when it is told to stop."""
    command = [*SIMULATOR, agency_id, "--data", str(folder), *arguments]
    secrets = {name: value.decode() for name, value in SECRETS.items()}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **secrets, **(environment or {})},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            said = process.stdout.readline()
            assert said.startswith(f"agency {agency_id}: "), process.stderr.read()
            yield Agency(process, said.strip(), folder)
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_SECONDS) == ends, process.stderr.read()
        finally:
            process.kill()


@contextmanager
def agency_here(folder: Path, *arguments: str, drop: Path | None = None) -> Iterator[str]:
    """The agency `north` in a thread of this process, which starts sooner: by https, or with a folder; its URL."""
    host, (port,) = "127.0.0.1", free_ports(1)
    way = ["--folder", str(drop)] if drop else ["--webhook", f"{host}:{port}"]
    where = ["agency-simulator", "north", "--data", str(folder), *way]
    stop = threading.Event()
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1) as threads:
        for name, value in SECRETS.items():
            patch.setenv(name, value.decode())
        running = threads.submit(simulate, _parser().parse_args([*where, *arguments]), Settings(), stop)
        try:
            ready = (drop / "taken").exists if drop else lambda: listens(host, port)
            wait_for(True, lambda: running.done() or ready())
            yield f"https://{host}:{port}"
        finally:
            stop.set()
        assert running.result(DEADLINE_SECONDS) == 0


def listens(host: str, port: int) -> bool:
    """Whether anybody takes connections there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_for(found: object, look: Any, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:  # `Any`: a callable.
    """Look until what is seen equals what is to be found; fail with what was seen last."""
    deadline = time.monotonic() + deadline_seconds
    while (seen := look()) != found:
        assert time.monotonic() < deadline, seen
        threading.Event().wait(POLL_SECONDS)


@dataclass(slots=True)
class Guard:
    """The guard's side of call-backs: what came, and what each is answered, in turn; 202 where nothing is said."""

    url: str = ""
    events: list[Json] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def answer(self, request: Request) -> Answer:
        """Take a call-back as the guard would."""
        assert request.path == "/v1/agencies/north/events"
        try:
            verify([CALLBACK_SECRET], request.headers, request.body, now=datetime.now(UTC))
        except SignatureError as why:
            self.refused.append(why.reason)
            return Answer(401)
        status = self.answers.pop(0) if self.answers else 202
        if status < 300:
            self.events.append(json.loads(request.body))
        return Answer(status)

    def said(self) -> list[tuple[str, str]]:
        """What came, in short: the type without its ends, and the placement."""
        return [
            (one["type"].removeprefix("agency.").removesuffix(".v1"), one["data"]["placement_id"])
            for one in self.events
        ]


@contextmanager
def guard() -> Iterator[Guard]:
    """Somebody who takes call-backs."""
    taken = Guard()
    server = Server("127.0.0.1", 0, taken.answer)
    taken.url = server.url
    server.start()
    try:
        yield taken
    finally:
        server.stop()


@contextmanager
def caller(one: Agency) -> Iterator[httpx2.Client]:
    """Somebody who calls an agency, and trusts its certificate."""
    with caller_of(one.url, one.data) as client:
        yield client


@contextmanager
def caller_of(url: str, data: Path) -> Iterator[httpx2.Client]:
    """As `caller`, by an agency's address and the folder of its certificate."""
    context = ssl.create_default_context(cafile=str(data / "ca.pem"))
    with httpx2.Client(base_url=url, verify=context, timeout=DEADLINE_SECONDS) as client:
        yield client


def send(
    client: httpx2.Client, body: bytes, *, secrets: Sequence[bytes] = (SECRET,), at: datetime | None = None
) -> int:
    """Send a message as the guard does; the status of the answer."""
    message_id = json.loads(body)["id"]
    headers = sign(secrets, message_id=message_id, at=at or datetime.now(UTC), body=body)
    return client.post("/recalls", content=body, headers=headers).status_code
