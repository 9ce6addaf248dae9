"""The command line's exit statuses, and what it says when it can't do what it was asked."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.main import _of_the_system, main
from infra.embedded import free_ports
from tests.parts import Parts


@pytest.fixture
def set_to(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a setting of ours, to be filled."""
    for name in os.environ:
        if name.startswith("GUARD_") and not name.startswith("GUARD_TEST_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(autouse=True)
def signals_restored() -> Iterator[None]:
    """A role takes the process's signals for itself: put back what was there."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("role", ["ingest", "dispatch", "sweep"])
def test_a_role_without_its_servers_says_which_setting_is_missing(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], role: str
) -> None:
    """2: the settings are at fault, and the line says which and what to do."""
    set_to.setenv("GUARD_LOG_LEVEL", "ERROR")

    assert main([role]) == 2
    assert capsys.readouterr().err == (
        "handoff-guard: GUARD_DATABASE_URL is not set; `handoff-guard up` starts an embedded one\n"
    )


@pytest.mark.parametrize(
    ("why", "words"),
    [
        (FileExistsError(17, "File exists", "a.zip"), "a.zip: is there already; name a new one"),
        (PermissionError(13, "Permission denied", b"a.zip"), "a.zip: Permission denied"),
        (OSError("no room"), "no room"),
    ],
)
def test_what_the_system_refuses_names_the_file(why: OSError, words: str) -> None:
    """In words that say what to do, without a number or a list of errors."""
    assert _of_the_system(why) == words


def test_an_agency_that_the_file_does_not_name_is_not_checked(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """2: a name that was mistyped is no agency that is reached by Kafka."""
    file = tmp_path / "agencies.toml"
    file.write_text('[agency.north]\nname = "North"\n')
    set_to.setenv("GUARD_AGENCIES_FILE", str(file))

    assert main(["agency-check", "nosuch"]) == 2
    assert "nosuch is not in the file of agencies: add [agency.nosuch]" in capsys.readouterr().err


def test_a_simulated_agency_names_the_certificate_that_is_missing(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """2, before it listens."""
    set_to.setenv("NORTH_SECRET", "a secret of a test")
    nowhere = str(tmp_path / "no.pem")
    arguments = ["--webhook", "127.0.0.1:8443", "--secret", "env:NORTH_SECRET", "--data", str(tmp_path / "data")]
    arguments += ["--guard-url", "https://127.0.0.1:1", "--callback-secret", "env:NORTH_SECRET"]

    status = main(["agency-simulator", "north", *arguments, "--tls-cert", nowhere, "--tls-key", nowhere])

    assert (status, f"{nowhere} is no file" in capsys.readouterr().err) == (2, True)


def test_an_unknown_setting_or_a_wrong_file_is_a_mistake_of_use(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """2 for a setting that is none, a policy that is not there, and a file to replay that is not there."""
    nowhere = tmp_path / "nowhere"
    statuses = [main(["replay", str(nowhere)]), main(["replay", str(nowhere), "--policy", str(nowhere)])]
    set_to.setenv("GUARD_NONE_SUCH", "1")
    statuses.append(main(["replay", str(nowhere)]))

    assert statuses == [2, 2, 2]
    said = capsys.readouterr().err.splitlines()
    assert [str(nowhere) in said[0], "policy file" in said[1], "GUARD_NONE_SUCH" in said[2]] == [True] * 3


def test_a_database_that_is_away_is_told_from_a_mistake(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """3: try again; the line names the command that says more, and no password."""
    (port,) = free_ports(1)
    set_to.setenv("GUARD_DATABASE_URL", f"postgresql://guard:s3cret@127.0.0.1:{port}/guard")

    assert main(["db", "upgrade"]) == 3
    said = capsys.readouterr().err
    assert ("`handoff-guard doctor` says more" in said, "s3cret" in said) == (True, False)


@pytest.mark.parts
def test_a_database_without_our_schema_says_what_mends_it(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parts: Parts
) -> None:
    """2, and the command to run: on the server's own database, which has no table of ours."""
    set_to.setenv("GUARD_DATABASE_URL", parts.database_url)

    assert main(["sweep", "--once"]) == 2
    assert "the database is at schema none" in (said := capsys.readouterr().err)
    assert said.endswith("handoff-guard db upgrade\n")


@pytest.mark.parts
def test_a_sweep_that_finds_nothing_is_a_success(
    set_to: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    """0, and what it did as one JSON object."""
    set_to.setenv("GUARD_DATABASE_URL", database_url)

    assert main(["sweep", "--once"]) == 0
    nothing = {"repaired": 0, "overdue": 0, "forgotten": 0, "escalated": 0, "resent": 0, "breaches": 0}
    assert json.loads(capsys.readouterr().out) == nothing


def test_no_command_is_a_mistake_of_use() -> None:
    """2, as of every wrong argument."""
    with pytest.raises(SystemExit) as ended:
        main([])

    assert ended.value.code == 2
