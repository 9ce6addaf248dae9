"""The commands of a person at a desk, run as on the command line: what they print, and their exit status."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from consumers.main import main
from consumers.terminal import EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG
from domain.recall import recall_id_of
from infra.embedded import free_ports
from infra.postgres.database import Database
from infra.postgres.quarantine import Held, Quarantine
from infra.postgres.streams import Streams
from tests.builders import ACCOUNT
from tests.conftest import CLUSTER_ID, Arrive
from tests.parts import Parts
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, database_url: str, parts: Parts) -> None:
    """The environment names a fresh database and the session's Kafka."""
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
    monkeypatch.setenv("GUARD_KAFKA_BOOTSTRAP_SERVERS", parts.bootstrap_servers)
    monkeypatch.setenv("GUARD_LOG_LEVEL", "ERROR")


@pytest.fixture
def held(arrive: Arrive, database: Database) -> Held:
    """A payment in quarantine, whose Kafka key is of another account than the event."""
    arrive(referral(), placement(), payment(key="somebody-else"))
    (one,) = Quarantine(database).waiting()
    return one


class TestWhy:
    """`why ACCOUNT`."""

    def test_answers_first(self, arrive: Arrive, capsys: Printed, caught_up: None) -> None:
        """The question and its answer are the first two lines."""
        arrive(referral(), placement(), payment())

        assert main(["why", ACCOUNT]) == 0
        first, second, *_ = capsys.readouterr().out.splitlines()
        assert first == "Is a paid debt of this customer with a collector?"
        assert second.startswith("Yes: debt d-1 is paid and agency-1 still has it; next is ")

    def test_as_data(self, arrive: Arrive, capsys: Printed, caught_up: None) -> None:
        """One JSON object with the answer."""
        arrive(referral())

        assert main(["why", ACCOUNT, "--json"]) == 0
        answer = json.loads(capsys.readouterr().out)
        assert (answer["account_id"], answer["paid_debt_with_collector"]) == (ACCOUNT, False)
        assert answer["behind"] is None

    def test_where_no_worker_has_read_the_streams(
        self, arrive: Arrive, database: Database, capsys: Printed, caught_up: None
    ) -> None:
        """What was acknowledged and is not read may be a payment: nobody can say that there is none."""
        arrive(referral())
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'"))

        assert main(["why", ACCOUNT]) == 0
        _, second, *_ = capsys.readouterr().out.splitlines()
        assert second.startswith("It can't be said for sure: billing.payments/0 is read up to -1 of ")

    def test_where_no_broker_can_be_asked(
        self, arrive: Arrive, capsys: Printed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Away or not named, it is a doubt and no failure: the story is told as far as it is known."""
        (nobody,) = free_ports(1)
        arrive(referral())

        monkeypatch.setenv("GUARD_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{nobody}")
        assert main(["why", ACCOUNT]) == 0
        assert "It can't be said for sure: " in capsys.readouterr().out
        monkeypatch.delenv("GUARD_KAFKA_BOOTSTRAP_SERVERS")
        assert main(["why", ACCOUNT]) == 0
        assert "It can't be said for sure: no broker is named" in capsys.readouterr().out

    def test_of_an_unknown_account(self, capsys: Printed, caught_up: None) -> None:
        """It says so, and the exit status says so too."""
        assert main(["why", "a-2"]) == EXIT_WRONG
        assert capsys.readouterr().out == "nothing is known of this account\n"

        assert main(["why", "a-2", "--json"]) == EXIT_WRONG
        assert json.loads(capsys.readouterr().out) == {"account_id": "a-2", "known": False, "behind": None}

    def test_of_an_account_that_may_come_yet(self, capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where not all is read, that nothing is known says little, and it says so."""
        monkeypatch.delenv("GUARD_KAFKA_BOOTSTRAP_SERVERS")

        assert main(["why", "a-2"]) == EXIT_WRONG
        words = "nothing is known of this account; what may be missing: no broker is named"
        assert capsys.readouterr().out.startswith(words)


class TestQuarantine:
    """`quarantine list|show|requeue|drop`."""

    def test_list_has_no_customers_data(self, held: Held, capsys: Printed) -> None:
        """Ids, the reason and the place; the bytes are shown only on demand."""
        assert main(["quarantine", "list"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "waiting in quarantine: 1",
            f"{held.quarantine_id:>8}  KEY_MISMATCH  billing.payments/0 at 0  holds a-1, somebody-else",
        ]

    def test_list_turns_its_pages(self, arrive: Arrive, database: Database, capsys: Printed) -> None:
        """A full page names the command of the next one."""
        arrive(*(payment(f"p-{number}", key="somebody-else") for number in range(3)))
        ids = [held.quarantine_id for held in Quarantine(database).waiting()]

        main(["quarantine", "list", "--limit", "2", "--account", ACCOUNT])
        *_, last = capsys.readouterr().out.splitlines()
        assert last == f"-> handoff-guard quarantine list --account a-1 --after {ids[1]} --limit 2"

        main([*last.split()[2:], "--json"])
        page = json.loads(capsys.readouterr().out)
        assert (page["waiting"], page["next"]) == (3, None)
        assert [event["quarantine_id"] for event in page["events"]] == ids[2:]

    def test_show_gives_the_bytes(self, held: Held, capsys: Printed) -> None:
        """Text stands as text."""
        assert main(["quarantine", "show", str(held.quarantine_id)]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"event {held.quarantine_id}, waiting",
            "  reason    KEY_MISMATCH: the Kafka key must be data.account_id in UTF-8",
            "  from      billing.payments/0 at 0, received 2026-11-06T09:00:00+00:00",
            f"  since     {held.quarantined_at.isoformat()}, tried again 0 times",
            "  accounts  holds a-1, somebody-else",
            "  key       somebody-else",
            f"  value     {(held.raw.value or b'').decode()}",
        ]

    @pytest.mark.parametrize("value", [b"\xff\x00", b"\x1b[2J", "\u202eabc".encode()])
    def test_show_gives_what_could_steer_a_terminal_as_hex(
        self, arrive: Arrive, database: Database, capsys: Printed, value: bytes
    ) -> None:
        """What is no plain text is hex, in words and as data."""
        arrive(replace(payment(), value=value, headers=(("ce_id", b"\x07"),)))
        (held,) = Quarantine(database).waiting()

        main(["quarantine", "show", str(held.quarantine_id)])
        lines = capsys.readouterr().out.splitlines()
        assert lines[-2:] == ["  header    ce_id: hex 07", f"  value     hex {value.hex()}"]

        main(["quarantine", "show", str(held.quarantine_id), "--json"])
        assert json.loads(capsys.readouterr().out)["value"] == {"hex": value.hex()}

    def test_show_of_an_unknown_one(self, capsys: Printed) -> None:
        """It says so, and the exit status says so too."""
        assert main(["quarantine", "show", "99"]) == EXIT_WRONG
        assert capsys.readouterr().err == "handoff-guard: 99 is no event of the quarantine\n"

    def test_requeue_says_what_became_of_each(self, held: Held, capsys: Printed) -> None:
        """What is still bad is told with its reason and what it holds, and is no success."""
        number = held.quarantine_id

        assert main(["quarantine", "requeue", "--all"]) == EXIT_WRONG
        assert capsys.readouterr().out.splitlines() == [
            "applied: 0, known already among them: 0",
            f"event {number} is still bad: KEY_MISMATCH, the Kafka key must be data.account_id in UTF-8",
            "account a-1 stays on hold, events that wait: 1",
            "account somebody-else stays on hold, events that wait: 1",
        ]

    def test_requeue_of_one_that_is_mended(self, held: Held, database: Database, capsys: Printed) -> None:
        """The recall that follows is named."""
        with database.transaction() as connection:
            connection.exec_driver_sql("UPDATE quarantine SET key = 'a-1'")

        assert main(["quarantine", "requeue", str(held.quarantine_id), "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "applied": [held.quarantine_id],
            "duplicates": [],
            "still_bad": [],
            "not_waiting": [],
            "recall_ids": [recall_id_of(ACCOUNT, "l-1")],
            "still_held": {},
        }

    def test_drop_keeps_who_and_why(self, held: Held, database: Database, capsys: Printed) -> None:
        """The event is shown as dropped, and no longer holds its accounts."""
        number = str(held.quarantine_id)

        assert main(["quarantine", "drop", number, "--reason", "a test of billing", "--by", "anna", "--json"]) == 0
        shown = json.loads(capsys.readouterr().out)
        assert (shown["state"], shown["dropped"]["by"], shown["dropped"]["reason"]) == (
            "dropped",
            "anna",
            "a test of billing",
        )
        assert Quarantine(database).holds([ACCOUNT]) == {}

        assert main(["quarantine", "drop", number, "--reason", "again"]) == EXIT_WRONG
        assert capsys.readouterr().err == f"handoff-guard: {number} does not wait in quarantine\n"

    def test_drop_of_several_gives_up_those_that_wait(
        self, held: Held, database: Database, capsys: Printed
    ) -> None:
        """One that does not wait is told, and keeps none of the others."""
        ids = ["999999", str(held.quarantine_id)]

        assert main(["quarantine", "drop", *ids, "--reason", "sent by a wrong version"]) == EXIT_WRONG
        assert capsys.readouterr().err == "handoff-guard: 999999 does not wait in quarantine\n"
        assert Quarantine(database).holds([ACCOUNT]) == {}

    @pytest.mark.parametrize(
        "arguments",
        [
            ["requeue"],
            ["requeue", "1", "--all"],
            ["requeue", "--all", "--account", "a-1"],
            ["requeue", "0"],
            ["requeue", "x"],
            ["requeue", "9" * 30],
            ["list", "--limit", "1001"],
            ["drop", "1"],
            ["drop", "1", "--reason", " "],
            ["drop", "1", "--reason", "a\x1bb"],
            ["drop", "1", "--reason", "a" * 501],
        ],
    )
    def test_wrong_arguments(self, arguments: list[str]) -> None:
        """They are refused before anything is asked."""
        with pytest.raises(SystemExit) as refused:
            main(["quarantine", *arguments])
        assert refused.value.code == EXIT_USAGE


class TestStreams:
    """`streams list|accept`."""

    def test_list_and_accept(self, database: Database, capsys: Printed) -> None:
        """A stream that can't be accepted says why, and the exit status says so too."""
        Streams(database).register(CLUSTER_ID, {})

        assert main(["streams", "list", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == []

        assert main(["streams", "accept", "nowhere"]) == EXIT_WRONG
        said = "nowhere is not registered; `handoff-guard streams list` shows those that are"
        assert capsys.readouterr().err == f"handoff-guard: {said}\n"


class TestDoctor:
    """`doctor`."""

    def test_says_what_is_wrong_and_which_settings_are_in_force(self, capsys: Printed) -> None:
        """On a Kafka without our topics something is wrong; the settings are told without their secrets."""
        status = main(["doctor", "--json"])

        told = json.loads(capsys.readouterr().out)
        states = {finding["name"]: finding["state"] for finding in told["findings"]}
        assert states["database"] == "ok"
        assert status == (EXIT_WRONG if "fail" in states.values() else 0)
        assert told["settings"]["GUARD_LOG_LEVEL"] == "ERROR"
        assert told["settings"]["GUARD_KAFKA_GROUP"] == "handoff-guard"

    def test_a_wrong_database_address_is_a_finding(self, monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
        """What can't be read as an address says what one looks like."""
        monkeypatch.setenv("GUARD_DATABASE_URL", "nonsense")

        assert main(["doctor"]) == EXIT_WRONG
        assert "GUARD_DATABASE_URL must be like postgresql://" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["why", "a-1"], ["quarantine", "list"], ["streams", "list"]])
def test_with_the_database_away_a_command_ends_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: Printed, command: list[str]
) -> None:
    """A person is told whom to ask, and does not wait for retries."""
    (nobody,) = free_ports(1)
    monkeypatch.setenv("GUARD_DATABASE_URL", f"postgresql://guard@127.0.0.1:{nobody}/guard")

    assert main(command) == EXIT_UNAVAILABLE
    assert "`handoff-guard doctor` says more" in capsys.readouterr().err
