"""The record of who read and did what, as its page and `record` tell it; on real parts."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from consumers.console.record import PAGE_ACTS
from consumers.main import main
from infra.postgres.database import Database
from infra.postgres.records import Act, Record, Records
from tests.builders import day
from tests.parts import Parts
from tests.serving import serving

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]
NASTY = "<script>alert(1)</script>"

READ = Record(day(3), "Vera", "oidc:17", Act.ACCOUNT_READ, "a-1")
TAKEN = Record(day(4), "Oleg", "key:9", Act.RECALL_TAKEN_OVER, "a-2", "r-1", f"why {NASTY}", "taken_over")


def kept(database: Database, *acts: Record) -> None:
    """Record these."""
    for one in acts:
        Records(database).keep(one)


@pytest.mark.parametrize("tongue", ["en", "ru"])
def test_the_record_is_shown_the_newest_first(
    parts: Parts, database: Database, caught_up: None, tongue: str
) -> None:
    """A page at a time, all of it or of one account; no reason becomes a part of the page."""
    kept(database, TAKEN, *(READ for _ in range(PAGE_ACTS)))
    with serving(parts, database) as served:
        browser = served.guest(tongue=tongue)

        first = browser.get("/console/record").text
        (following,) = re.findall(r'<a href="([^"]+)" rel="next">', first)
        second = browser.get(unescape(following)).text
        one = browser.get("/console/record?account_id=a-2").text
        wrong = [browser.get(f"/console/record?{query}").status_code for query in ("before=0", "account_id=%00")]

    assert [page.count('<th scope="row">') for page in (first, second, one)] == [PAGE_ACTS, 2, 1]
    assert {"en": "signed in", "ru": "вход"}[tongue] in first
    assert f"why {NASTY}" in unescape(one)
    assert NASTY not in one
    assert wrong == [422, 422]


def test_the_record_is_told_by_a_command(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch, capfd: Printed
) -> None:
    """In lines and as data; a page has the number from before which the next one is."""
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)
    kept(database, READ, TAKEN)

    assert main(["record"]) == 0
    zone, newest, oldest = capfd.readouterr().out.splitlines()
    assert main(["record", "--limit", "1", "--json"]) == 0
    page = json.loads(capfd.readouterr().out)
    assert main(["record", "--before", str(page["next"]), "--limit", "1"]) == 0
    rest = capfd.readouterr().out.splitlines()
    assert main(["record", "--account", "a-9"]) == 0
    nothing = capfd.readouterr().out

    assert zone.startswith("Times are in ")
    assert (
        newest
        == f"06 Nov 2026 09:00:00  Oleg (key:9)  recall.taken_over  account a-2  r-1  -> taken_over  why {NASTY}"
    )
    assert oldest == "05 Nov 2026 09:00:00  Vera (oidc:17)  account.read  account a-1"
    assert page["acts"] == [
        {
            "record_id": page["next"],
            "at": day(4).isoformat(),
            "name": "Oleg",
            "signed_by": "key:9",
            "act": "recall.taken_over",
            "account_id": "a-2",
            "target": "r-1",
            "reason": f"why {NASTY}",
            "outcome": "taken_over",
        }
    ]
    assert rest[1:] == [oldest, "there may be more: add --before 1"]
    assert nothing == "nothing is recorded\n"
