"""`check --batch`: a file of questions on the command line, answered as the API answers a batch."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from tqdm import tqdm

from consumers.check_file import _lines
from consumers.main import main
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, who
from infra.http.bodies import _Splitter
from infra.postgres.clearances import Clearances
from infra.postgres.database import Database
from infra.wire.outgoing import Clearance
from tests.builders import day
from tests.conftest import Arrive
from tests.parts import Parts
from tests.records import referral
from tests.serving import Json, as_published, ndjson

Printed = pytest.CaptureFixture[str]


POLICY = """
version = "lenient"

[debt]
tolerance_minor = 0

[notices]
debt_reminders = 0
days_since_last_reminder = 0
"""


def question(account_id: str) -> Json:
    """A question of one account."""
    return {"account_id": account_id, "debt_id": "d-1", "agency_id": "agency-1"}


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize("longest", [6, 7, 8, 9, 20, 21])
def test_a_file_has_the_lines_that_a_body_has(longest: int, end: bytes) -> None:
    """The same are empty, and the same too long, by the byte."""
    body = b"{}\n\n  \n" + b"x" * longest + b"\n" + b"y" * 7 + b"\r\n" + b"z" * longest + end
    splitter = _Splitter(7)
    expected = splitter.feed(body) + splitter.end()

    with tqdm(disable=True) as bar:
        assert list(_lines(io.BytesIO(body), 7, bar)) == expected


@pytest.mark.parts
@pytest.mark.usefixtures("caught_up")
class TestCommand:
    """The command."""

    @pytest.fixture(autouse=True)
    def _settings(self, monkeypatch: pytest.MonkeyPatch, database_url: str, parts: Parts, tmp_path: Path) -> None:
        """The environment names a fresh database, the session's Kafka, and small sets."""
        (tmp_path / "policy.toml").write_text(POLICY)
        monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
        monkeypatch.setenv("GUARD_KAFKA_BOOTSTRAP_SERVERS", parts.bootstrap_servers)
        monkeypatch.setenv("GUARD_LOG_LEVEL", "ERROR")
        monkeypatch.setenv("GUARD_POLICY_FILE", str(tmp_path / "policy.toml"))
        monkeypatch.setenv("GUARD_API_QUESTIONS_AT_ONCE_MAX", "3")

    def test_each_line_has_its_answer(
        self, arrive: Arrive, database: Database, tmp_path: Path, capfd: Printed
    ) -> None:
        """In order and in the file that is named, kept under who asked; the bar is not in the answers."""
        ids = [f"a-{number}" for number in range(8)]
        arrive(*(referral(account_id=account_id) for account_id in ids), now=day(2))
        questions, out = tmp_path / "questions.ndjson", tmp_path / "answers.ndjson"
        questions.write_bytes(ndjson([question(one) for one in ids]))

        assert main(["check", "--batch", str(questions), "--out", str(out)]) == 0

        told = [json.loads(line) for line in out.read_text().splitlines()]
        assert [(one["account_id"], one["decision"]) for one in told] == [(one, "clear") for one in ids]
        as_published(Clearance, told[0])
        kept = Clearances(database).look(told[0]["clearance_id"])
        assert kept is not None
        assert kept.asked_by == who()
        said = capfd.readouterr()
        assert said.out == ""
        assert "questions: 100%" in said.err

    def test_standard_input_and_output(
        self, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        """What is asked comes in, what is answered goes out, and nothing else does."""
        stdin = io.TextIOWrapper(io.BytesIO(ndjson([question("a-1"), question("a-2")])))
        monkeypatch.setattr("sys.stdin", stdin)

        assert main(["check", "--batch", "-"]) == 0
        told = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
        assert [(one["account_id"], one["decision"]) for one in told] == [("a-1", "refuse"), ("a-2", "refuse")]

    def test_a_line_that_can_not_be_answered(self, tmp_path: Path, capfd: Printed) -> None:
        """It says why in its place, the others are answered, and the exit status says so."""
        questions, out = tmp_path / "questions.ndjson", tmp_path / "answers.ndjson"
        questions.write_bytes(ndjson([question("a-1")]) + b"nonsense\n\n" + ndjson([question("a-2"), {"x": 1}]))

        assert main(["check", "--batch", str(questions), "--out", str(out)]) == EXIT_WRONG

        told = [json.loads(line) for line in out.read_text().splitlines()]
        assert [one.get("account_id", one.get("status")) for one in told] == ["a-1", 422, "a-2", 422]
        assert "2 of 4 lines could not be answered; each says why in its place" in capfd.readouterr().err

    def test_a_file_is_not_answered_into_itself(self, tmp_path: Path, capfd: Printed) -> None:
        """The questions would be gone before they are read."""
        questions = tmp_path / "questions.ndjson"
        questions.write_bytes(ndjson([question("a-1")]))

        assert main(["check", "--batch", str(questions), "--out", str(questions)]) == EXIT_USAGE
        assert questions.read_bytes() == ndjson([question("a-1")])
        assert "--out" in capfd.readouterr().err

    def test_a_file_that_is_not_there(self, tmp_path: Path, capfd: Printed) -> None:
        """Nothing is written."""
        out = tmp_path / "answers.ndjson"

        assert main(["check", "--batch", str(tmp_path / "none"), "--out", str(out)]) == EXIT_USAGE
        assert not out.exists()
        assert "No such file" in capfd.readouterr().err
