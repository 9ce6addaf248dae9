"""What an agency leaves in files, from a real folder to a real database: applied, set aside alone, put away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.answer_files import AnswerFiles
from consumers.parts import CODEC
from consumers.requeue import Requeue
from domain.agency import FileDrop
from domain.recall import recall_id_of
from infra import logs
from infra.channels.file_drop import FileDropChannel
from infra.channels.folder import LocalFolder
from infra.metrics import Metrics
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.postgres.quarantine import Quarantine
from tests.builders import ACCOUNT, LENIENT, day
from tests.conftest import Arrive
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

RECALL = recall_id_of(ACCOUNT, "l-1")
HEAD = "type,id,account_id,placement_id,recall_id,at,reason,channel"

Leave = Callable[..., None]


@pytest.fixture
def channel(tmp_path: Path) -> FileDropChannel:
    """The folder of the agency `north`."""
    (tmp_path / "answers").mkdir()
    drop = FileDrop(str(tmp_path))
    return FileDropChannel(LocalFolder(str(tmp_path)), drop, agency_id="north", now=lambda: day(9))


@pytest.fixture
def leave(tmp_path: Path) -> Leave:
    """Has the agency leave a file of these lines."""

    def write(name: str, *lines: str) -> None:
        (tmp_path / "answers" / name).write_text("".join(f"{line}\n" for line in lines))

    return write


@pytest.fixture
def files(database: Database) -> AnswerFiles:
    """Who takes them in."""
    log = logs.configure(role="test", level="CRITICAL")
    ledger = Ledger(database, CODEC, "")
    return AnswerFiles(ledger=ledger, rules=lambda: LENIENT, now=lambda: day(9), metrics=Metrics(), log=log)


@pytest.fixture
def _recalled(arrive: Arrive) -> None:
    """A placement with the agency `north`, paid and so recalled."""
    arrive(referral(), placement(agency_id="north"), payment())


def rows(database: Database, query: str) -> list[Any]:  # `Any`: rows are untyped.
    """What the database says."""
    with database.transaction() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def requeue(database: Database) -> Requeue:
    """Who puts back what is in quarantine."""
    return Requeue(
        ledger=Ledger(database, CODEC, ""),
        quarantine=Quarantine(database),
        rules=lambda: LENIENT,
        now=lambda: day(9),
        log=logs.configure(role="test", level="CRITICAL"),
    )


def acknowledged(*, source: str = "urn:agency:north", **data: object) -> str:
    """The agency's word that it has stopped, as a line of NDJSON."""
    ours = {
        "account_id": ACCOUNT,
        "placement_id": "l-1",
        "recall_id": RECALL,
        "acknowledged_at": day(9).isoformat(),
    }
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": source,
        "type": "agency.recall.acknowledged.v1",
        "time": day(9).isoformat(),
        "subject": ACCOUNT,
        "data": {**ours, **data},
    }
    return json.dumps(event)


@pytest.mark.usefixtures("_recalled")
class TestAnswers:
    """What becomes of a file."""

    @pytest.mark.parametrize("way", ["csv", "ndjson"])
    def test_an_acknowledgement_in_a_file_counts(
        self,
        way: str,
        leave: Leave,
        files: AnswerFiles,
        channel: FileDropChannel,
        database: Database,
        tmp_path: Path,
    ) -> None:
        """Whichever way it is written; the file is put away, and read once."""
        row = f"acknowledged,,{ACCOUNT},l-1,{RECALL},{day(9).isoformat()},,"
        leave(f"one.{way}", *([HEAD, row] if way == "csv" else [acknowledged()]))

        taken = [files.take_all("north", channel), files.take_all("north", channel)]

        assert taken == [1, 0]
        assert rows(database, "SELECT state, acknowledged_at FROM recall") == [("acknowledged", day(9))]
        assert rows(database, "SELECT is_open FROM placement") == [(False,)]
        assert (tmp_path / "answers" / "taken" / f"one.{way}").is_file()

    def test_the_same_file_again_changes_nothing(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """As after a dispatcher that died before it could put it away."""
        leave("one.ndjson", acknowledged())
        files.take_all("north", channel)
        leave("one.ndjson", acknowledged())

        assert files.take_all("north", channel) == 1
        assert rows(database, "SELECT count(*) FROM ledger") == [(4,)]
        assert rows(database, "SELECT count(*) FROM quarantine") == [(0,)]

    def test_a_bad_line_of_a_file_that_is_read_again_is_kept_once(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """Also once a person has dropped it; another line, file, or content is another one."""
        leave("one.ndjson", "no event", "no event")
        files.take_all("north", channel)
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE quarantine SET dropped_at = now() WHERE origin_offset = 1"))
        leave("one.ndjson", "no event", "no event", "no event")
        leave("two.ndjson", "another", "no event")
        files.take_all("north", channel)
        leave("one.ndjson", "no more")
        files.take_all("north", channel)

        kept = (
            "SELECT headers -> 0 ->> 1, origin_offset, convert_from(value, 'UTF8') FROM quarantine ORDER BY 1, 2, 3"
        )
        one, two = (f"{name}.ndjson".encode().hex() for name in ("one", "two"))
        lines = [(1, "no event"), (1, "no more"), (2, "no event"), (3, "no event")]
        assert rows(database, kept) == [
            *((one, *line) for line in lines),
            *((two, *line) for line in ((1, "another"), (2, "no event"))),
        ]
        waiting = "SELECT count(*) FROM outbox WHERE topic = 'guard.quarantine'"
        assert rows(database, waiting) == [(6,)]

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("no event", "NOT_JSON"),
            (acknowledged(source="test"), "WRONG_AGENCY"),
            (acknowledged(agency_id="south"), "WRONG_AGENCY"),
            (acknowledged(acknowledged_at="soon"), "BAD_DATA"),
        ],
    )
    def test_a_bad_line_is_set_aside_alone(
        self,
        line: str,
        reason: str,
        leave: Leave,
        files: AnswerFiles,
        channel: FileDropChannel,
        database: Database,
    ) -> None:
        """With its bytes, its line and its file; the others count."""
        leave("one.ndjson", line, acknowledged())

        files.take_all("north", channel)

        aside = "SELECT reason, origin_topic, origin_offset, convert_from(value, 'UTF8'), headers FROM quarantine"
        named = [["guard_file", b"one.ndjson".hex()], ["guard_agency", b"north".hex()]]
        assert rows(database, aside) == [(reason, "agencies.events", 1, line, named)]
        assert rows(database, "SELECT state FROM recall") == [("acknowledged",)]

    def test_what_no_agency_says_is_refused(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """A payment in an agency's file would let it close what it likes."""
        leave("one.ndjson", (payment("p-9").value or b"").decode())

        files.take_all("north", channel)

        assert rows(database, "SELECT reason FROM quarantine") == [("WRONG_TOPIC",)]

    def test_what_is_not_its_to_say_stops_no_account(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """Else it could stop the clearances of accounts that it never had; what only is wrong does stop its own."""
        others = [
            acknowledged(source="billing"),
            acknowledged(agency_id="south"),
            (payment().value or b"").decode(),
        ]
        leave("one.ndjson", *others, acknowledged(acknowledged_at="soon"))

        files.take_all("north", channel)

        held = "SELECT reason, account_id FROM quarantine LEFT JOIN hold USING (quarantine_id) ORDER BY 1 DESC"
        refused = [("WRONG_TOPIC", None), ("WRONG_AGENCY", None), ("WRONG_AGENCY", None)]
        assert rows(database, held) == [*refused, ("BAD_DATA", ACCOUNT)]

    def test_nobody_takes_the_name_of_a_payment_before_it_comes(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database, arrive: Arrive
    ) -> None:
        """Neither by the file nor from quarantine: the payment counts, and is no conflict."""
        sent = json.loads(payment("p-2").value or b"")
        leave("one.ndjson", json.dumps(json.loads(acknowledged(source=sent["source"])) | {"id": sent["id"]}))

        files.take_all("north", channel)
        report = requeue(database).all()
        arrive(payment("p-2"))

        assert [one.reason for one in report.still_bad] == ["WRONG_AGENCY"]
        assert rows(database, "SELECT reason FROM quarantine") == [("WRONG_AGENCY",)]
        assert rows(database, "SELECT count(*) FROM ledger WHERE money_id = 'p-2'") == [(1,)]

    def test_another_agencys_file_has_no_effect(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """Who speaks is known by the folder; the placement is `north`'s."""
        leave("one.ndjson", acknowledged(source="urn:agency:south"))

        files.take_all("south", channel)

        assert rows(database, "SELECT state FROM recall") == [("requested",)]

    def test_a_line_can_be_tried_again_from_quarantine(
        self, leave: Leave, files: AnswerFiles, channel: FileDropChannel, database: Database
    ) -> None:
        """It has the key that a record of the stream has."""
        leave("one.ndjson", acknowledged())
        files.take_all("north", channel)
        leave("two.ndjson", acknowledged(acknowledged_at=day(8).isoformat()))
        files.take_all("north", channel)

        report = requeue(database).all()

        assert [one.reason for one in report.still_bad] == ["CONFLICT"]
