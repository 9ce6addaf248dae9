"""`reconcile`, as on the command line: whole files, exit statuses, what is kept, and what `--fix` does."""

from __future__ import annotations

import gzip
import io
import json
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.barrier import BehindError
from consumers.main import main
from consumers.mend import NO_COLUMNS, NOT_SENT_AGAIN, PLACED, WITH_PEOPLE, Mend
from consumers.parts import CODEC, new_id
from consumers.reconcile import BEHIND, OF_ANOTHER, Asked, Crossing, Reconcile, Report
from consumers.terminal import EXIT_UNAVAILABLE, EXIT_USAGE, EXIT_WRONG
from domain.agency import Agency, Holdings
from domain.events import RawRecord
from infra import logs
from infra.holdings_file import HashedFile
from infra.postgres.database import Database
from infra.postgres.holdings import Reconciliations
from infra.postgres.ledger import Ledger
from tests.builders import LENIENT, day
from tests.conftest import CLUSTER_ID, Arrive
from tests.records import payment, placement, record, referral

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]

HEADER = "placement_id,outstanding,currency,account_id,debt_id"

AGENCIES = """
[agency.agency-1.holdings]
currency = "currency"
account_id = "account_id"
debt_id = "debt_id"

[agency.agency-2]
"""

HOLDINGS = Holdings(currency="currency", account_id="account_id", debt_id="debt_id")

LATER = day(9) + timedelta(hours=2)
"""When a recall of day 9 is past its deadline."""


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database_url: str) -> None:
    """The environment names a fresh database and a file of agencies."""
    entries = tmp_path / "agencies.toml"
    entries.write_text(AGENCIES)
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
    monkeypatch.setenv("GUARD_AGENCIES_FILE", str(entries))


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of one placement, l-1, as it was placed."""
    file = tmp_path / "list.csv"
    file.write_text(f"{HEADER}\nl-1,10000,RUB,a-1,d-1\n")
    return file


class Again:
    """Sends recalls again as the guard does: their first record once more. It can't send more than `most`."""

    def __init__(self, database: Database, most: int = 1_000) -> None:
        self._database = database
        self._most = most

    def resend(self, recall_ids: Sequence[str], *, by: str) -> int:
        """Put a copy of each into the outbox."""
        with self._database.transaction() as connection:
            copied = connection.execute(
                sa.text("""
                    INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, topic, key, value, headers,
                                        again, created_at)
                    SELECT account_id, placement_id, recall_id, agency_id, topic, key, value, headers, :by, now()
                    FROM outbox WHERE recall_id = ANY(:ids) AND again = '' LIMIT :most"""),
                {"ids": list(recall_ids), "by": by, "most": self._most},
            )
        return copied.rowcount


class Behind:
    """A barrier that can't be crossed."""

    WHY = "billing.payments/0 is read up to 7 of 9"

    def cross(self) -> None:
        """Never."""
        raise BehindError(self.WHY)


def fix(
    database: Database,
    *lines: str,
    even_so: bool = False,
    most: int = 1_000,
    now: datetime = LATER,
    barrier: Crossing | None = None,
) -> Report:
    """Compare a list of these lines and mend what is found, with all the real parts but a broker."""
    log = logs.configure(role="test", level="ERROR")
    mend = Mend(
        ledger=Ledger(database, CODEC, CLUSTER_ID),
        orders=Again(database, most),
        rules=lambda: LENIENT,
        now=lambda: now,
        log=log,
    )
    reconcile = Reconcile(
        reconciliations=Reconciliations(database),
        barrier=barrier,
        mend=mend,
        now=lambda: now,
        new_id=new_id,
        log=log,
    )
    asked = Asked(Agency("agency-1", holdings=HOLDINGS), "list.csv", None, "M", fix=True, even_so=even_so)
    return reconcile.run(asked, HashedFile(io.BytesIO("\n".join([HEADER, *lines]).encode())))


def told(database: Database) -> list[tuple[Any, ...]]:  # `Any`: rows are untyped.
    """What agencies were told: the placement, the recall's reason and cause, and why it was sent again."""
    with database.transaction() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT placement_id, convert_from(value, 'UTF8')::jsonb #>> '{data,reason}',
                       convert_from(value, 'UTF8')::jsonb #>> '{data,agency_id}', again
                FROM outbox ORDER BY outbox_id""")
        )
        return [tuple(row) for row in rows]


def recalls(database: Database) -> list[tuple[Any, ...]]:  # `Any`: as above.
    """The recalls that wait, with their clock and who ordered them."""
    with database.transaction() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT placement_id, state, acknowledge_by > requested_at, cause, requested_by, trigger_source
                FROM recall ORDER BY placement_id""")
        )
        return [tuple(row) for row in rows]


class TestCompare:
    """One list, and what the command says of it."""

    def test_two_sides_that_are_the_same(self, arrive: Arrive, listed: Path, capfd: Printed) -> None:
        """Nothing differs, and the status is 0."""
        arrive(referral(), placement())

        assert main(["reconcile", "agency-1", str(listed)]) == 0
        words = capfd.readouterr().out.splitlines()
        assert words[0].startswith("agency-1 lists 1 rows as of ")
        assert words[2:3] == ["Nothing differs."]

    def test_a_difference_is_told_and_kept(self, arrive: Arrive, listed: Path, capfd: Printed) -> None:
        """The status is 1; a ghost stands with its line, and `--list` shows what was found, and by whom."""
        arrive(referral(), placement(), payment())

        assert main(["reconcile", "agency-1", str(listed), "--json", "--by", "M. Petrova"]) == EXIT_WRONG
        report = json.loads(capfd.readouterr().out)
        (ghost,) = report["findings"]
        assert (ghost["kind"], ghost["line"], ghost["placement_id"], ghost["account_id"]) == (
            "ghost",
            2,
            "l-1",
            "a-1",
        )
        assert (report["differs"], report["counts"]["ghosts"], report["fixed"]) == (True, 1, None)

        assert main(["reconcile", "agency-1", "--list", "--json"]) == 0
        (kept,) = json.loads(capfd.readouterr().out)
        assert kept == {name: report[name] for name in kept}
        assert (kept["file_name"], kept["done_by"], kept["rows"]) == ("list.csv", "M. Petrova", 1)
        assert main(["reconcile", "agency-1", "--list"]) == 0
        assert "list.csv  1 rows: ghosts 1; by M. Petrova" in capfd.readouterr().out
        assert main(["reconcile", "agency-2", "--list"]) == 0
        assert capfd.readouterr().out == "no list of this agency was compared yet\n"

    def test_as_of(self, arrive: Arrive, tmp_path: Path, capfd: Printed) -> None:
        """A list that was made before the placement can't have it."""
        arrive(referral(), placement())
        empty = tmp_path / "list.csv"
        empty.write_text(HEADER)

        assert main(["reconcile", "agency-1", str(empty), "--as-of", day(2).isoformat()]) == 0
        assert main(["reconcile", "agency-1", str(empty), "--as-of", day(4).isoformat()]) == EXIT_WRONG
        assert "1 missing: open with them, and not in their list" in capfd.readouterr().out

    def test_standard_input_gzipped(
        self, arrive: Arrive, listed: Path, monkeypatch: pytest.MonkeyPatch, capfd: Printed
    ) -> None:
        """The list may come by a pipe."""
        arrive(referral(), placement())
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(listed.read_bytes()))))

        assert main(["reconcile", "agency-1", "-", "--json"]) == 0
        assert json.loads(capfd.readouterr().out)["rows"] == 1

    def test_more_than_is_shown(self, database: Database, tmp_path: Path, capfd: Printed) -> None:
        """The first of each kind stand there, the others are counted."""
        file = tmp_path / "list.csv"
        file.write_text("\n".join([HEADER, *(f"x-{number},1,RUB,," for number in range(3)), "bad row"]))

        assert main(["reconcile", "agency-1", str(file), "--show", "2"]) == EXIT_WRONG
        words = capfd.readouterr().out.splitlines()
        assert words[2:-1] == [
            "3 orphans: they hold them, and they were never placed with them",
            "  line 2: x-0: it is unknown",
            "  line 3: x-1: it is unknown",
            "  and 1 more (--show)",
            "1 unread: rows, or parts of rows, that can't be read",
            "  line 5: it has 1 columns, the header 5",
        ]

    @pytest.mark.parametrize(
        ("content", "arguments", "wrong"),
        [
            ("placement,outstanding\nl-1,1\n", ["agency-1"], "line 1, the header, has no column 'placement_id'"),
            (f"{HEADER}\nl 1,1,RUB,,\n", ["agency-1"], "none of its 1 rows can be read; line 2: the column"),
            (HEADER, ["nobody"], "nobody is not in the file of agencies: add [agency.nobody] to it"),
            (HEADER, ["agency-1", "--even-so"], "--even-so is for --fix"),
        ],
    )
    def test_what_is_refused(
        self, content: str, arguments: list[str], wrong: str, tmp_path: Path, database: Database, capfd: Printed
    ) -> None:
        """The status is 2, the error names what is wrong, and nothing is kept."""
        file = tmp_path / "list.csv"
        file.write_text(content)

        assert main(["reconcile", arguments[0], str(file), *arguments[1:]]) == EXIT_USAGE
        assert wrong in capfd.readouterr().err
        assert Reconciliations(database).earlier("agency-1", limit=1) == []

    def test_no_file_and_no_database(self, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file that is not there is a status of 2, a database that is away one of 3."""
        assert main(["reconcile", "agency-1", str(tmp_path / "none.csv")]) == EXIT_USAGE
        monkeypatch.setenv("GUARD_DATABASE_URL", "postgresql://guard@127.0.0.1:1/guard")
        assert main(["reconcile", "agency-1", str(listed)]) == EXIT_UNAVAILABLE

    @pytest.mark.parametrize("arguments", [[], ["agency-1"], ["agency-1", "f", "--as-of", "yesterday"]])
    def test_wrong_arguments(self, arguments: list[str]) -> None:
        """An agency and a file, or `--list`; an instant has an offset."""
        with pytest.raises(SystemExit) as refused:
            main(["reconcile", *arguments])

        assert refused.value.code == EXIT_USAGE


class TestFix:
    """What is recalled again, and what is left to people."""

    def test_a_recall_that_nobody_answered_is_sent_again(self, arrive: Arrive, database: Database) -> None:
        """The same order, and the finding says so; one that is within its deadline is not."""
        arrive(referral(), placement(), payment())
        line = "l-1,10000,RUB,,"

        early = fix(database, line, now=day(9))
        assert (early.differs, early.kept.counts["awaited"], len(told(database))) == (False, 1, 1)
        late = fix(database, line)

        assert (late.mended and late.mended.fixed, late.mended and late.mended.left) == (
            {"ghosts": 1, "orphans": 0},
            {},
        )
        assert told(database) == [
            ("l-1", "DEBT_SETTLED", "agency-1", ""),
            ("l-1", "DEBT_SETTLED", "agency-1", "M"),
        ]
        assert [found.fixed for some in late.found.values() for found in some] == [True]
        newest = Reconciliations(database).earlier("agency-1", limit=1)[0]
        assert newest.fixed == {"ghosts": 1, "orphans": 0}

    def test_what_was_answered_or_could_not_be_sent_is_left(self, arrive: Arrive, database: Database) -> None:
        """A recall that they acknowledged tells them nothing new."""
        for account_id in ("a-1", "a-2", "a-3"):
            arrive(
                referral(account_id=account_id),
                placement(f"l-{account_id}", account_id=account_id),
                payment(account_id=account_id),
            )
        with database.transaction() as connection:
            connection.execute(
                sa.text("UPDATE recall SET acknowledged_at = :at WHERE account_id = 'a-1'"), {"at": day(9)}
            )

        report = fix(database, *(f"l-{account_id},10000,RUB,," for account_id in ("a-1", "a-2", "a-3")), most=1)

        assert report.mended is not None
        assert report.mended.fixed == {"ghosts": 1, "orphans": 0}
        assert report.mended.left == {WITH_PEOPLE: 1, NOT_SENT_AGAIN: 1}

    def test_a_closed_placement_gets_a_recall(self, arrive: Arrive, database: Database) -> None:
        """By hand, with a clock, because of the event that closed it; and only once."""
        closed = record(
            "collections.placement.closed.v1", at=day(8), placement_id="l-1", closed_at=day(8).isoformat()
        )
        arrive(referral(), placement(), closed)

        report = fix(database, "l-1,10000,RUB,,")

        assert report.mended is not None
        assert (report.mended.fixed, report.mended.left) == ({"ghosts": 1, "orphans": 0}, {})
        assert told(database) == [("l-1", "MANUAL", "agency-1", "")]
        assert recalls(database) == [("l-1", "requested", True, "manual", "M", "test")]
        again = fix(database, "l-1,10000,RUB,,")
        assert (again.kept.counts["awaited"], again.differs, len(told(database))) == (1, False, 1)

    def test_the_clock_of_such_a_recall_goes_on(self, arrive: Arrive, database: Database) -> None:
        """It was closed before, so another event of its account does not end the recall; a later end does."""

        def closed(on: int) -> RawRecord:
            at = day(on).isoformat()
            return record("collections.placement.closed.v1", at=day(on), placement_id="l-1", closed_at=at)

        arrive(referral(), placement(), closed(8))
        fix(database, "l-1,10000,RUB,,")
        arrive(payment())
        after_a_payment = recalls(database)
        arrive(closed(20))

        assert [one[1] for one in after_a_payment] == ["requested"]
        assert [one[1] for one in recalls(database)] == ["closed"]

    def test_an_orphan_is_registered_and_recalled(self, arrive: Arrive, database: Database) -> None:
        """In one commit: what the list claims becomes a placement without a clearance, and has an open recall."""
        arrive(referral(account_id="a-9"), placement("l-9", account_id="a-9"))
        arrive(referral(account_id="a-2"))
        lines = ["l-9,10000,RUB,,", "x-1,5000,RUB,a-1,d-1", "l-8,1,RUB,a-8,d-8", "l-7,1,RUB,a-9,d-9"]

        report = fix(database, *lines, even_so=True)

        assert report.mended is not None
        assert (report.mended.fixed, report.mended.left) == ({"ghosts": 0, "orphans": 3}, {})
        assert sorted(told(database)) == [
            ("l-7", "MANUAL", "agency-1", ""),
            ("l-8", "MANUAL", "agency-1", ""),
            ("x-1", "MANUAL", "agency-1", ""),
        ]
        source = "handoff-guard/reconcile"
        assert recalls(database) == [
            (name, "requested", True, "manual", "M", source) for name in ("l-7", "l-8", "x-1")
        ]
        with database.transaction() as connection:
            placed = connection.execute(
                sa.text("SELECT account_id, agency_id, guarded, is_open FROM placement WHERE placement_id = 'x-1'")
            ).one()
        assert tuple(placed) == ("a-1", "agency-1", False, True)
        assert fix(database, *lines).kept.counts["awaited"] == 3

    def test_an_orphan_whose_debt_is_paid_is_recalled_for_that(self, arrive: Arrive, database: Database) -> None:
        """The facts say more than the list: there is one recall, with their reason."""
        arrive(referral(), payment())

        report = fix(database, "x-1,10000,RUB,a-1,d-1", even_so=True)

        assert report.mended is not None
        assert report.mended.fixed["orphans"] == 1
        assert told(database) == [("x-1", "DEBT_SETTLED", "agency-1", "")]

    def test_while_streams_are_behind_no_orphan_is_recalled(self, arrive: Arrive, database: Database) -> None:
        """It may be a placement that nobody has read yet. Ghosts are known, and recalled again."""
        arrive(referral(), placement(), payment())

        report = fix(database, "l-1,10000,RUB,,", "x-1,1,RUB,a-1,d-1", barrier=Behind())

        assert report.mended is not None
        assert report.mended.fixed == {"ghosts": 1, "orphans": 0}
        assert (report.behind, report.refused) == (Behind.WHY, (f"{BEHIND}{Behind.WHY}",))
        assert [reason for _, reason, _, _ in told(database)] == ["DEBT_SETTLED", "DEBT_SETTLED"]

    def test_an_orphan_of_which_too_little_is_known_is_left(self, arrive: Arrive, database: Database) -> None:
        """Without its columns, another agency's, or with its debt placed under another id."""
        arrive(referral(), placement())
        arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"))
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE placement SET agency_id = 'agency-2' WHERE placement_id = 'l-2'"))

        report = fix(
            database,
            "l-1,10000,RUB,,",
            "x-1,10000,RUB,,d-1",
            "x-2,0,RUB,a-3,d-1",
            "x-3,1,,a-3,d-1",
            "l-2,10000,RUB,a-2,d-1",
            "x-4,10000,RUB,a-1,d-1",
            even_so=True,
        )

        assert report.mended is not None
        assert (report.mended.fixed["orphans"], report.mended.left) == (0, {PLACED: 2, NO_COLUMNS: 3})
        assert told(database) == []

    def test_another_agencys_list_mends_nothing(self, arrive: Arrive, database: Database) -> None:
        """More than half of it was never placed here; its ghosts are left too, and it says so."""
        arrive(referral(), placement(), payment())
        lines = ["l-1,10000,RUB,,", "x-1,1,RUB,a-1,d-1", "x-2,1,RUB,a-1,d-1"]

        report = fix(database, *lines)

        assert report.refused == (OF_ANOTHER,)
        assert len(told(database)) == 1
        assert report.kept.counts["orphans"] == 2

    def test_what_was_placed_meanwhile_is_left(self, database: Database) -> None:
        """A second order for a placement that another run has registered is none."""
        both = [
            threading.Thread(target=fix, args=(database, "x-1,1,RUB,a-1,d-1"), kwargs={"even_so": True})
            for _ in "ab"
        ]
        for one in both:
            one.start()
        for one in both:
            one.join()

        assert told(database) == [("x-1", "MANUAL", "agency-1", "")]
