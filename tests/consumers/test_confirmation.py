"""The page for a customer, and the two commands that hand out what is known: as on the command line."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import sqlalchemy as sa

from consumers.confirmation_page import Language, Paper
from consumers.evidence import verify
from consumers.main import main
from consumers.terminal import EXIT_USAGE, EXIT_WRONG
from domain.confirmation import Confirmed, Ending
from infra.postgres.database import Database
from tests import inbound
from tests.builders import ACCOUNT, day
from tests.conftest import Arrive
from tests.consumers.evidence.test_evidence import acknowledgement
from tests.parts import Parts
from tests.records import payment, placement, referral

AT = datetime(2026, 11, 4, 21, 30, tzinfo=UTC)

PAPER = Paper(
    confirmed=Confirmed(
        account_id="40817-55",
        agency_id="agency-1",
        contract_id="k-1",
        ending=Ending.PAID,
        amount=1_250_850_00,
        currency="RUB",
        settled_at=AT,
        told_at=AT + timedelta(minutes=2),
        stopped_at=AT + timedelta(hours=1),
        closed_at=None,
    ),
    creditor="Пример Телеком",
    agency_name="North Collections",
    at=AT + timedelta(days=3),
    timezone=timezone(timedelta(hours=3)),
    language=Language.RU,
)
"""Paid at half past midnight by the creditor's clock."""


def table(page: str) -> dict[str, str]:
    """The rows of a page."""
    return dict(re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td></tr>", page))


class TestPage:
    """What stands on it."""

    def test_in_russian(self) -> None:
        """Days and times are the creditor's; amounts as people write them."""
        page = PAPER.html()

        assert table(page) == {
            "Лицевой счёт": "40817-55",
            "Договор": "k-1",
            "Кредитор": "Пример Телеком",
            "Агентство": "North Collections",
            "Оплачено": "1\u00a0250\u00a0850,00\u00a0руб.",
            "Дата оплаты": "5 ноября 2026 г.",
            "Мы сообщили агентству, что взыскание нужно прекратить": "5 ноября 2026 г., 00:32",
            "Агентство подтвердило, что прекратило взыскание": "5 ноября 2026 г., 01:30",
        }
        assert "Подтверждаем, что ваш долг погашен." in page
        assert "Составлено 8 ноября 2026 г., 00:30. Время указано по поясу UTC+03:00." in page
        assert '<html lang="ru">' in page

    def test_in_english(self) -> None:
        """The same."""
        page = replace(PAPER, language=Language.EN).html()

        assert table(page) == {
            "Your account": "40817-55",
            "Contract": "k-1",
            "Creditor": "Пример Телеком",
            "Collection agency": "North Collections",
            "Paid": "1,250,850.00 RUB",
            "Date of payment": "5 November 2026",
            "We told the agency to stop": "5 November 2026, 00:32",
            "The agency confirmed that it has stopped": "5 November 2026, 01:30",
        }
        assert "We confirm that your debt is settled. North Collections no longer collects it." in page

    @pytest.mark.parametrize(
        ("changes", "rows", "words"),
        [
            (
                {"ending": Ending.SETTLED},
                {"Settled": "1,250,850.00 RUB", "Settled on": "5 November 2026"},
                "your debt is settled",
            ),
            ({"ending": Ending.TAKEN_BACK, "amount": 0, "settled_at": None}, {}, "this claim was taken back"),
            (
                {"stopped_at": None, "closed_at": AT},
                {"The agency ended its work on the debt": "5 November 2026, 00:30"},
                "your debt is settled",
            ),
            ({"amount": 5, "currency": "JPY"}, {"Paid": "5 JPY"}, "your debt is settled"),
        ],
        ids=["credited", "taken-back", "closed", "no-minor-units"],
    )
    def test_it_says_what_was_and_nothing_else(
        self, changes: Mapping[str, object], rows: dict[str, str], words: str
    ) -> None:
        """A credit is no payment; a claim that was taken back was not paid; who closed did not confirm."""
        confirmed = replace(PAPER.confirmed, **changes)  # type: ignore[arg-type] # A row names its own fields.
        page = replace(PAPER, confirmed=confirmed, language=Language.EN).html()

        assert rows.items() <= table(page).items()
        assert words in page
        if confirmed.ending is not Ending.PAID:
            assert "Date of payment" not in table(page)

    def test_nothing_on_it_is_markup(self) -> None:
        """Whoever names an agency, an account or a contract writes no page."""
        evil = "<script>alert('1')</script>&\u202e\n\0"
        confirmed = replace(PAPER.confirmed, account_id=evil, contract_id=evil)
        page = replace(PAPER, confirmed=confirmed, creditor=evil, agency_name=evil).html()

        assert "<script" not in page
        assert "\u202e" not in page
        assert page.count("&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&amp;") == 6

    def test_it_stays_one_page(self) -> None:
        """Names that are longer than any get small print."""
        longest = replace(PAPER, creditor="Щ" * 200, agency_name="Щ" * 200)

        assert "body { font-size: 11.5pt;" in PAPER.html()
        assert "body { font-size: 9pt;" in longest.html()

    @pytest.mark.parametrize("language", Language)
    def test_it_loads_nothing_and_has_no_word_of_ours(self, language: Language) -> None:
        """It is a page for somebody who never heard of us."""
        page = replace(PAPER, language=language).html()
        text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).lower()

        assert re.findall(r"(?:src|href|url|@import)\s*[=(]", page) == []
        ours = "recall placement outbox clearance guard event debt_settled agency-1 {"
        assert [word for word in ours.split() if word in text] == []


Printed = pytest.CaptureFixture[str]


@pytest.fixture
def _settings(
    monkeypatch: pytest.MonkeyPatch, database_url: str, parts: Parts, caught_up: None, tmp_path: Path
) -> None:
    """The environment names a fresh database, the session's Kafka, a creditor and an agency."""
    agencies = tmp_path / "agencies.toml"
    agencies.write_text('[agency.agency-1]\nname = "North Collections"\n')
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
    monkeypatch.setenv("GUARD_KAFKA_BOOTSTRAP_SERVERS", parts.bootstrap_servers)
    monkeypatch.setenv("GUARD_CREDITOR_NAME", "Example Telecom")
    monkeypatch.setenv("GUARD_AGENCIES_FILE", str(agencies))


@pytest.mark.parts
@pytest.mark.usefixtures("_settings")
class TestCommands:
    """`confirmation` and `evidence`."""

    def test_the_page_is_written_where_it_is_true(
        self, arrive: Arrive, database: Database, capsys: Printed, tmp_path: Path
    ) -> None:
        """With when the agency was told; the log says who asked, and about which placement."""
        arrive(referral(), placement(), payment(), acknowledgement())
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE recall SET sent_at = :at"), {"at": day(4, 10)})
        out = tmp_path / "page.html"

        assert main(["confirmation", "l-1", "--out", str(out), "--language", "en", "--by", "clerk"]) == 0

        rows = table(out.read_text())
        assert (rows["Creditor"], rows["Collection agency"]) == ("Example Telecom", "North Collections")
        assert rows["We told the agency to stop"] == "6 November 2026, 10:00"
        logged = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        (line,) = [one for one in logged if one["event"] == "confirmation.given"]
        assert (line["placement_id"], line["by"]) == ("l-1", "clerk")
        assert ACCOUNT not in json.dumps(logged)

    def test_the_page_is_not_written_where_it_is_not(self, arrive: Arrive, capsys: Printed, tmp_path: Path) -> None:
        """The command says why, in words and as data, and leaves no file."""
        arrive(referral(), placement(), payment())
        out = tmp_path / "page.html"

        assert main(["confirmation", "l-1", "--out", str(out)]) == EXIT_WRONG
        assert capsys.readouterr().out == (
            "nothing can be confirmed yet: agency-1 has not acknowledged the recall\n"
        )
        assert main(["confirmation", "l-1", "--out", str(out), "--json"]) == EXIT_WRONG
        assert json.loads(capsys.readouterr().out) == {
            "placement_id": "l-1",
            "confirmed": False,
            "why": "agency-1 has not acknowledged the recall",
        }
        assert not out.exists()

    def test_nothing_is_confirmed_that_may_not_be_read_yet(
        self, arrive: Arrive, database: Database, capsys: Printed, tmp_path: Path
    ) -> None:
        """The payment may have come back, and wait in the log."""
        arrive(referral(), placement(), payment(), acknowledgement())
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE stream_position SET position = -1 WHERE topic = 'billing.payments'"))

        assert main(["confirmation", "l-1", "--out", str(tmp_path / "page.html")]) == EXIT_WRONG
        assert "what was acknowledged is not all read: billing.payments/0" in capsys.readouterr().out

    def test_somebody_must_sign_it(
        self, arrive: Arrive, monkeypatch: pytest.MonkeyPatch, capsys: Printed, tmp_path: Path
    ) -> None:
        """No creditor is no page; one that is given beats none."""
        monkeypatch.delenv("GUARD_CREDITOR_NAME")
        arrive(referral(), placement(), payment(), acknowledgement())
        out = str(tmp_path / "page.html")

        assert main(["confirmation", "l-1", "--out", out]) == EXIT_USAGE
        assert "set GUARD_CREDITOR_NAME, or give --creditor" in capsys.readouterr().err
        assert main(["confirmation", "l-1", "--out", out, "--creditor", "Somebody"]) == 0

    def test_a_pack_is_made_and_its_hash_is_printed(self, arrive: Arrive, capsys: Printed, tmp_path: Path) -> None:
        """The last line is what is written down, it is in the log, and the pack passes with it."""
        arrive(payment("p-0", paid_at=day(-1)))
        arrive(referral(), placement(), payment(), acknowledgement())
        out = tmp_path / "pack.zip"

        assert main(["evidence", "l-1", "--out", str(out), "--by", "clerk"]) == 0

        printed = capsys.readouterr()
        *lines, sha256 = printed.out.splitlines()
        assert lines == [
            f"written to {out}: 19 files, 5 events",
            "  of 1 events the content is kept, and the bytes are no longer held",
            "  the page for the customer: in the pack",
            "  it holds a customer's data; look at quarantine/ before you hand it on",
            "the manifest's hash, to be written down where the pack is not:",
        ]
        logged = [json.loads(line) for line in printed.err.splitlines()]
        (made,) = [one for one in logged if one["event"] == "evidence.made"]
        assert (made["placement_id"], made["by"], made["sha256"]) == ("l-1", "clerk", sha256)
        assert ACCOUNT not in json.dumps(logged)
        assert verify.main([str(out), "--expect", sha256]) == 0

    def test_what_the_log_still_has_is_read_back(
        self, arrive: Arrive, database: Database, parts: Parts, tmp_path: Path
    ) -> None:
        """A payment from before the account had a case, from the place in the real log where it was read."""
        with inbound.known(parts.bootstrap_servers) as cluster:
            seen = cluster.look(["billing.payments"])["billing.payments"]
        assert seen is not None
        before = payment("p-0", paid_at=day(-1))
        inbound.publish(parts.bootstrap_servers, before, partition=0)
        arrive(replace(before, origin=replace(before.origin, offset=seen.ends[0])))
        arrive(referral(), placement())
        with database.transaction() as connection:
            moved = {"topic": "billing.payments", "after": seen.ends[0] + 1}
            statement = "UPDATE stream_position SET position = :after WHERE topic = :topic AND partition = 0"
            connection.execute(sa.text(statement), moved)
        out = tmp_path / "pack.zip"

        assert main(["evidence", "l-1", "--out", str(out)]) == 0

        with zipfile.ZipFile(out) as archive:
            first = json.loads(archive.read("events/index.json"))[0]
            assert (first["id"], first["bytes"]) == ("p-0", "as received, read back from the log")
            assert archive.read(first["file"]) == before.value

    def test_a_pack_as_data(self, arrive: Arrive, capsys: Printed, tmp_path: Path) -> None:
        """One JSON object; FILE must be new."""
        arrive(referral(), placement())
        out = tmp_path / "pack.zip"

        assert main(["evidence", "l-1", "--out", str(out), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["account_id"], told["events"], told["behind"]) == (ACCOUNT, 2, None)
        assert main(["evidence", "l-1", "--out", str(out)]) == EXIT_USAGE
        assert "is there already; name a new one" in capsys.readouterr().err

    @pytest.mark.parametrize("command", ["evidence", "confirmation"])
    def test_of_an_unknown_placement(self, command: str, capsys: Printed, tmp_path: Path) -> None:
        """It says so, and writes nothing."""
        out = tmp_path / "x"

        assert main([command, "l-9", "--out", str(out)]) == EXIT_WRONG
        assert capsys.readouterr().err == "handoff-guard: no placement l-9 is known\n"
        assert not out.exists()
