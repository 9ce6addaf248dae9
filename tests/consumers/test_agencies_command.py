"""`agencies`, as on the command line: each agency with its ways, and what waits for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.main import main
from consumers.terminal import EXIT_USAGE
from domain.agency import ChannelKind
from domain.patience import Circuit
from infra.postgres.database import Database
from infra.postgres.deliveries import Deliveries, Lane
from tests.conftest import Arrive
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]

FILE = """
[agency.north]
name = "North Collections"
channel = "file"
second_channel = "kafka"
acknowledge_within_minutes = 30
[agency.north.file]
folder = "/srv/drop/north"
"""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> None:
    """The environment names a fresh database and a file of agencies."""
    (tmp_path / "agencies.toml").write_text(FILE)
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
    monkeypatch.setenv("GUARD_AGENCIES_FILE", str(tmp_path / "agencies.toml"))


def test_what_waits_is_told_with_the_reason(arrive: Arrive, database: Database, capfd: Printed) -> None:
    """Of an agency that is not reached, and of one that the file does not name."""
    arrive(referral(), placement(agency_id="north"), payment())
    arrive(
        referral(account_id="a-2", debt_id="d-2"),
        placement("l-2", account_id="a-2", debt_id="d-2", agency_id="south"),
        payment("p-2", account_id="a-2"),
    )
    now = datetime.now(UTC)
    circuit = Circuit(4, now + timedelta(minutes=5), "the folder is not there")
    Deliveries(database).keep_circuit(Lane("north", ChannelKind.FILE, is_first=True), circuit, now)

    assert main(["agencies"]) == 0
    words = capfd.readouterr().out.splitlines()
    assert main(["agencies", "--json"]) == 0
    north, south = json.loads(capfd.readouterr().out)

    assert words[0] == "north  North Collections  by file, then kafka  answers within 30 min"
    assert words[1].startswith("    file: 1 wait, the oldest for ")
    assert "; refused or not reached 4 times, tried again in 29" in words[1]
    assert words[-2] == "south  south  by kafka  answers within 60 min  (not in the file of agencies)"
    assert words[-1].startswith("    kafka: 1 wait, the oldest for ")
    assert (north["channels"], south["channels"]) == (["file", "kafka"], ["kafka"])
    assert [(way["channel"], way["waiting"], way["failures"], way["last_error"]) for way in north["ways"]] == [
        ("file", 1, 4, "the folder is not there")
    ]
    assert (north["is_named"], south["is_named"]) == (True, False)


def test_a_wrong_file_is_refused_by_name(tmp_path: Path, capfd: Printed) -> None:
    """With the key that is wrong."""
    (tmp_path / "agencies.toml").write_text('[agency.north]\nchannel = "fax"\n')

    assert main(["agencies"]) == EXIT_USAGE
    assert "agency.north.channel" in capfd.readouterr().err
