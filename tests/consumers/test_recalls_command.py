"""`recall` and `recalls list|resend|take-over`, as on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sqlalchemy as sa

from consumers.main import main
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, who
from domain.recall import RecallStage, recall_id_of
from infra.postgres.database import Database
from infra.wire.answers import RecallOrdered, RecallPage
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.records import payment, placement, referral
from tests.serving import as_published

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]
RECALL = recall_id_of(ACCOUNT, "l-1")


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """The environment names a fresh database."""
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)


def test_a_placement_is_recalled_by_hand(arrive: Arrive, capfd: Printed) -> None:
    """Once; the second time it is told that it was; and what can't be is told with words."""
    arrive(referral(), placement())
    order = ["recall", "l-1", "--reason", "the wrong customer"]

    assert main([*order, "--json"]) == 0
    made = capfd.readouterr()
    assert main(order) == 0
    again = capfd.readouterr().out
    assert main(["recall", "l-9", "--reason", "?"]) == EXIT_WRONG
    unknown = capfd.readouterr().err

    as_published(RecallOrdered, json.loads(made.out))
    assert json.loads(made.out)["requested_by"] == who()
    assert again.startswith(f"placement l-1 was recalled before, recall {RECALL}: requested\n")
    assert "no placement has this id" in unknown
    assert '"event": "recall.ordered"' in made.err
    assert "the wrong customer" not in made.err


def test_recalls_are_listed(arrive: Arrive, database: Database, capfd: Printed) -> None:
    """A page of them, with the way to the next one, and what stands in the way of each."""
    arrive(referral(), placement(), payment())
    arrive(referral(account_id="a-2"), placement(account_id="a-2"), payment(account_id="a-2"))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET attempts = 3, last_error = 'connection refused'"))

    assert main(["recalls", "list", "--limit", "1", "--json"]) == 0
    page = json.loads(capfd.readouterr().out)
    assert main(["recalls", "list", "--after", page["next_cursor"]]) == 0
    rest = capfd.readouterr().out
    assert main(["recalls", "list", "--state", "overdue", "--agency", "agency-1", "--overdue", "--json"]) == 0
    overdue = json.loads(capfd.readouterr().out)

    as_published(RecallPage, page)
    assert [one["recall_id"] for one in page["recalls"]] == [RECALL]
    zone, first, trouble = rest.splitlines()
    assert zone.startswith("Times are in ")
    assert first.endswith("  requested 11 Nov 2026 09:00:00")
    assert first.startswith(f"{recall_id_of('a-2', 'l-1')}  requested  agency-1  placement l-1  DEBT_SETTLED")
    assert trouble == "    not delivered, tried 3 times: connection refused"
    assert overdue == {"recalls": [], "next_cursor": None}
    for wrong in (["--state", "lost"], ["--after", "x"]):
        with pytest.raises(SystemExit) as why:
            main(["recalls", "list", *wrong])
        assert why.value.code == EXIT_USAGE


def test_an_open_recall_is_shown_with_the_instant_of_its_state(
    arrive: Arrive, database: Database, capfd: Printed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whom to call stands under an escalated one; what is acknowledged is not open."""
    file = tmp_path / "agencies.toml"
    file.write_text('[agency.agency-1]\nname = "North"\nescalation_contact = "Ivan, +7 495"\n')
    monkeypatch.setenv("GUARD_AGENCIES_FILE", str(file))
    arrive(referral(), placement(), payment())
    arrive(referral(account_id="a-2"), placement(account_id="a-2"), payment(account_id="a-2"))
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE recall SET acknowledged_at = now() WHERE account_id = 'a-2'"))
        escalate = "UPDATE recall SET overdue_at = :at, escalated_at = :at WHERE account_id = 'a-1'"
        connection.execute(sa.text(escalate), {"at": day(7)})

    assert main(["recalls", "list", "--open"]) == 0

    _, first, contact = capfd.readouterr().out.splitlines()
    assert first.startswith(f"{RECALL}  escalated  ")
    assert first.endswith("  escalated 09 Nov 2026 09:00:00")
    assert contact == "    call agency-1: Ivan, +7 495"


def test_recalls_are_sent_again_and_taken_over(arrive: Arrive, database: Database, capfd: Printed) -> None:
    """What waits is left as it is; whoever took a recall over has it."""
    arrive(referral(), placement(), payment())
    take_over = ["recalls", "take-over", RECALL, "--reason", "they call back"]

    assert main(["recalls", "resend", RECALL]) == EXIT_WRONG
    assert "recalls on their way again: 0 of 1" in capfd.readouterr().out
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE outbox SET sent_at = clock_timestamp()"))
    assert main(["recalls", "resend", RECALL, RECALL, "--by", "Oleg", "--json"]) == 0
    resent = capfd.readouterr()
    assert json.loads(resent.out) == {"resent": 1}
    assert '"by": "Oleg"' in resent.err
    assert main(["recalls", "list"]) == 0
    assert "    sent again once\n" in capfd.readouterr().out
    assert main([*take_over, "--by", "Vera", "--json"]) == 0
    taken = json.loads(capfd.readouterr().out)
    assert main([*take_over, "--by", "Oleg"]) == 0
    assert f"recall {RECALL} is already Vera's; what waits to be sent still goes" in capfd.readouterr().out
    assert main(["recalls", "take-over", "x-1", "--reason", "?"]) == EXIT_WRONG

    assert (taken["state"], taken["taken_over_by"]) == (RecallStage.TAKEN_OVER, "Vera")
