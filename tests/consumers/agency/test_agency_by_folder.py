"""A simulated agency that takes dropped files and leaves answer files, as a process; and its check."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from consumers.agency.check import check_agency
from consumers.main import _parser
from domain.agency import FileFormat
from infra.settings import Settings
from tests.simulated import agency, agency_here, recall, wait_for

HEADER = (
    "type,message_id,placement_id,debt_id,account_id,agency_id,reason,outstanding,currency,at,acknowledge_by\r\n"
)
ROW = "guard.recall.requested.v1,{id},placement-{id},debt-1,account-1,north,DEBT_SETTLED,0,RUB,,\r\n"

ENTRY = """
[agency.north]
channel = "file"

[agency.north.file]
folder = "{folder}"
format = "{format}"
"""


def _drop(folder: Path, name: str, content: bytes) -> None:
    part = folder / f"{name}.part"
    part.write_bytes(content)
    part.rename(folder / name)


def _answered(folder: Path) -> list[tuple[str, str]]:
    """Type and recall of every answer in files of lines."""
    events = [
        json.loads(line) for file in sorted(folder.glob("*.ndjson")) for line in file.read_bytes().splitlines()
    ]
    return sorted((one["type"], one["data"]["recall_id"]) for one in events)


def test_dropped_files_are_taken_and_answered(tmp_path: Path) -> None:
    """Both formats, a line that is none, another agency's recall, and a file that is not whole yet."""
    drop = tmp_path / "drop"
    drop.mkdir()
    with agency(tmp_path / "data", "--folder", str(drop)) as north:
        (drop / "recalls-3.ndjson.part").write_bytes(recall("r9"))
        _drop(drop, "recalls-1.ndjson", b"\n".join([recall("r1"), b"no json", recall("r2", agency_id="south")]))
        _drop(drop, "recalls-2.csv", (HEADER + ROW.format(id="r3")).encode())

        acknowledged = "agency.recall.acknowledged.v1"
        wait_for([(acknowledged, "r1"), (acknowledged, "r3")], lambda: _answered(drop / "answers"))
        wait_for(
            ["recalls-1.ndjson", "recalls-2.csv"], lambda: sorted(one.name for one in (drop / "taken").iterdir())
        )
        assert [(one.message_id, one.did, one.place) for one in north.journal() if one.direction == "in"] == [
            ("r1", "stopped", "recalls-1.ndjson"),
            ("", "refused: the value must be JSON: Expecting value: line 1 column 1 (char 0)", "recalls-1.ndjson"),
            ("r2", "refused: not ours", "recalls-1.ndjson"),
            ("r3", "stopped", "recalls-2.csv"),
        ]
        assert [one.name for one in drop.glob("*.part")] == ["recalls-3.ndjson.part"]


def test_answers_may_be_rows(tmp_path: Path) -> None:
    """CSV with the contract's columns."""
    drop = tmp_path / "drop"
    with agency(tmp_path / "data", "--folder", str(drop), "--answer-format", "csv", "--reject", "1") as north:
        _drop(drop, "recalls-1.ndjson", recall("r1"))
        wait_for(1, lambda: len(list((drop / "answers").glob("*.csv"))))
        (said,) = (one for one in north.journal() if one.direction == "out")
        (file,) = (drop / "answers").glob("*.csv")
        header, row = file.read_text().splitlines()

    assert header == "type,id,account_id,placement_id,recall_id,at,reason,channel"
    assert row.split(",")[:5] == ["rejected", said.event_id, "account-of-r1", "placement-of-r1", "r1"]
    assert said.did == f"said: {file.name}"


@pytest.mark.parametrize(
    ("file_format", "arguments", "failed"),
    [
        (FileFormat.NDJSON, [], []),
        (FileFormat.CSV, ["--answer-format", "csv"], []),
        (FileFormat.NDJSON, ["--fault", "half-files"], ["answers in whole files"]),
        (FileFormat.CSV, ["--silent", "1"], ["answers"]),
        (FileFormat.CSV, ["--answer-format", "csv", "--fault", "garbled"], ["answers", "answers well formed"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else str(value),
)
def test_the_check_passes_a_good_agency_and_names_what_is_wrong(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    file_format: FileFormat,
    arguments: list[str],
    failed: list[str],
) -> None:
    """1 where something fails; else 0."""
    drop, file = tmp_path / "drop", tmp_path / "agencies.toml"
    file.write_text(ENTRY.format(folder=drop, format=file_format))
    with agency_here(tmp_path / "data", *arguments, drop=drop):
        parsed = _parser().parse_args(["agency-check", "north", "--json", "--wait", "2"])
        status = check_agency(parsed, Settings(agencies_file=file), threading.Event())

    findings = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    assert [one["name"] for one in findings if one["state"] == "FAIL"] == failed
    assert (status, list(drop.glob("recalls-*"))) == (1 if failed else 0, [])


def test_a_folder_that_nobody_looks_into_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The test files are taken away again."""
    file = tmp_path / "agencies.toml"
    file.write_text(ENTRY.format(folder=tmp_path, format="csv"))
    parsed = _parser().parse_args(["agency-check", "north", "--json", "--wait", "0.1"])

    status = check_agency(parsed, Settings(agencies_file=file), threading.Event())

    failed = [one["name"] for one in json.loads(capsys.readouterr().out)["findings"] if one["state"] == "FAIL"]
    assert (status, failed, list(tmp_path.glob("recalls-*"))) == (1, ["takes the file", "answers"], [])
