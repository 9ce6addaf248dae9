"""`agency-check` passes the good simulated agency and names what is wrong with each bad one, over real https."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from consumers.agency.certificate import self_made
from consumers.agency.check import check_agency
from consumers.agency.journal import NAME, lines
from consumers.main import _parser
from infra.embedded import free_ports
from infra.settings import Settings
from tests.simulated import DEADLINE_SECONDS, SECRETS, agency, agency_here

CHECK = (sys.executable, "-m", "consumers.main", "agency-check")

ENTRY = """
[agency.north]
channel = "webhook"
sources = ["urn:agency:north"]
callback_secrets = ["env:NORTH_CALLBACK"]

[agency.north.webhook]
url = "{url}/recalls"
secrets = ["env:NORTH_SECRET", "env:NORTH_SECOND"]
private_hosts = ["127.0.0.1"]
ca_file = "{ca}"
timeout_seconds = {timeout}
answer_max_bytes = 4096
"""

ALL_OK = [
    "entry",
    "reachable",
    "takes",
    "takes again",
    "refuses a bad signature",
    "refuses an old message",
    "takes the second secret",
    "bears an unknown type",
    "bears unknown fields",
    "takes a big message",
    "takes 20 at once",
    "does not redirect",
    "answers shortly",
    "answers",
    "answers signed",
    "answers well formed",
    "answers name the recall",
    "answers do not contradict",
    "answers by its source",
]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check came to: its status, and by state the names of its findings."""

    status: int
    found: dict[str, list[str]]
    said: str


Check = Callable[..., Checked]
"""Checks the agency `north` in this process: `check(url, ca_file, argument, .., timeout=)`."""


def _entry(folder: Path, url: str, ca_file: Path, timeout: float = 5) -> Path:
    file = folder / "agencies.toml"
    file.write_text(ENTRY.format(url=url, ca=ca_file, timeout=timeout))
    return file


def _checked(status: int, said: str) -> Checked:
    found: dict[str, list[str]] = {}
    for one in json.loads(said.splitlines()[-1])["findings"]:  # Behind the line of an agency in this process.
        found.setdefault(one["state"], []).append(one["name"])
    return Checked(status, found, said)


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """The check, without a process of its own; agencies of the test may have none either."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value.decode())

    def run(url: str, ca_file: Path, *arguments: str, timeout: float = 5) -> Checked:
        settings = Settings(agencies_file=_entry(tmp_path, url, ca_file, timeout))
        capsys.readouterr()
        parsed = _parser().parse_args(["agency-check", "north", "--json", *arguments])
        return _checked(check_agency(parsed, settings, threading.Event()), capsys.readouterr().out)

    return run


@pytest.fixture
def listen() -> str:
    """An address for the guard's side of call-backs."""
    return f"127.0.0.1:{free_ports(1)[0]}"


def _way(listen: str) -> list[str]:
    return [
        *("--secret", "env:NORTH_SECRET", "--secret", "env:NORTH_SECOND"),
        *("--guard-url", f"http://{listen}", "--callback-secret", "env:NORTH_CALLBACK"),
    ]


def test_the_good_agency_passes_every_check(tmp_path: Path, listen: str) -> None:
    """Two processes: the status is 0, each check is ok, and each has its line."""
    way = ("--webhook", "127.0.0.1:0", *_way(listen))
    secrets = {name: value.decode() for name, value in SECRETS.items()}
    with agency(tmp_path, *way, "--accept", "--repeat", "1") as north:
        file = _entry(tmp_path, north.url, north.data / "ca.pem")
        ended = subprocess.run(
            [*CHECK, "north", "--listen", listen],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            env={**os.environ, **secrets, "GUARD_AGENCIES_FILE": str(file)},
        )

    lines = [re.split(r"\s{2,}", line) for line in ended.stdout.splitlines()]
    assert (ended.returncode, [line[:2] for line in lines[:-1]]) == (0, [["ok", name] for name in ALL_OK])
    assert lines[-1] == ["19 ok, 0 FAIL, 0 skipped"]


BAD = {
    "careless": ["refuses a bad signature", "refuses an old message"],
    "undated": ["refuses an old message"],
    "one-secret": ["takes the second secret"],
    "strict": ["bears unknown fields", "takes a big message"],
    "breaks-on-unknown": ["bears an unknown type"],
    "small": ["takes a big message"],
    "one-at-a-time": ["takes 20 at once"],
    "verbose": ["answers shortly"],
    "wrong-recall": ["answers", "answers name the recall"],
    "garbled": ["answers", "answers well formed"],
    "wrong-signature": ["answers", "answers signed"],
    "contradicts": ["answers do not contradict"],
}
"""By fault, what fails."""


@pytest.mark.parametrize("fault", BAD)
def test_each_fault_is_named(tmp_path: Path, listen: str, fault: str, check: Check) -> None:
    """1, and what is wrong is found, and nothing else."""
    with agency_here(tmp_path, *_way(listen), "--fault", fault) as url:
        checked = check(url, tmp_path / "ca.pem", "--listen", listen, "--wait", "1")

    assert (checked.status, checked.found["FAIL"]) == (1, BAD[fault]), checked.said


@pytest.mark.parametrize(("fault", "moves"), [("redirects", True), ("breaks", False)])
def test_an_agency_that_sends_calls_elsewhere_or_breaks_takes_nothing(
    tmp_path: Path, listen: str, check: Check, fault: str, *, moves: bool
) -> None:
    """Both are found at the first message; the redirect is named as such."""
    with agency_here(tmp_path, *_way(listen), "--fault", fault) as url:
        failed = check(url, tmp_path / "ca.pem").found["FAIL"]

    assert (failed[0], "does not redirect" in failed) == ("takes", moves)


def test_a_slow_agency_does_not_take_it(tmp_path: Path, listen: str, check: Check) -> None:
    """It answers after its time, and nothing else is tried."""
    with agency_here(tmp_path, *_way(listen), "--slow", "2") as url:
        slow = check(url, tmp_path / "ca.pem", timeout=0.5)

    assert (slow.status, slow.found["FAIL"], slow.found["ok"]) == (1, ["takes"], ["entry", "reachable"])
    assert "no answer within 0.5 s" in slow.said


def test_a_silent_agency_is_told_so(tmp_path: Path, listen: str, check: Check) -> None:
    """It takes everything, and nothing comes back."""
    with agency_here(tmp_path, *_way(listen), "--silent", "1") as url:
        silent = check(url, tmp_path / "ca.pem", "--listen", listen, "--wait", "1")

    assert (silent.status, silent.found["FAIL"]) == (1, ["answers"])
    assert "nothing came within 1 s" in silent.said


def test_a_certificate_that_does_not_hold_is_not_called(tmp_path: Path, listen: str, check: Check) -> None:
    """Another authority's: no message was sent, and every further check is skipped."""
    self_made(tmp_path / "other", "127.0.0.1", now=datetime.now(UTC))
    with agency_here(tmp_path, *_way(listen)) as url:
        checked = check(url, tmp_path / "other" / "ca.pem")

    assert (checked.status, checked.found["FAIL"]) == (1, ["reachable"])
    assert list(lines(tmp_path / NAME)) == []
    assert "the certificate is not to be trusted" in checked.said
