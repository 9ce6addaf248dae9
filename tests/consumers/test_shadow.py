"""`shadow report`: the placements of a time beside what was answered before them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from consumers.shadow import Report
from infra.postgres.database import Database
from infra.postgres.shadow import Group, Shadow
from tests.builders import day
from tests.conftest import Arrive
from tests.records import payment, placement, referral

NOBODY_ASKED = {"clear": 0, "hold": 0, "refuse": 0, "not_asked": 0}


def report(database: Database, since: datetime, until: datetime) -> dict[str, Any]:  # `Any`: a report is varied.
    """The report on this time."""
    return Report(since, until, Shadow(database).groups(since, until)).as_json()


def answered(database: Database, decision: str, code: str, *, at: datetime, account_id: str = "a-1") -> None:
    """Somebody asked for debt d-1, and was answered so in shadow mode."""
    reasons = f'[{{"code": "{code}"}}]' if code else "[]"
    names = {"account_id": account_id, "decision": decision, "at": at, "answer": f'{{"reasons": {reasons}}}'}
    with database.transaction() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO clearance (account_id, clearance_id, debt_id, agency_id, decision, outstanding,
                                       currency, decided_at, expires_at, asked_by, shadow, answer)
                VALUES (:account_id, gen_random_uuid()::text, 'd-1', 'agency-1', :decision, 0, 'RUB', :at, :at,
                        'a test', true, CAST(:answer AS jsonb))"""),
            names,
        )


@pytest.mark.parts
class TestOnADatabase:
    """Debts that are placed on day 3, with and without asking."""

    def test_the_last_answer_before_a_placement_counts(self, arrive: Arrive, database: Database) -> None:
        """An earlier one and one that came after it do not."""
        arrive(referral(), placement())
        answered(database, "clear", "", at=day(1))
        answered(database, "hold", "DISPUTE_OPEN", at=day(2))
        answered(database, "refuse", "DEBT_SETTLED", at=day(4))

        found = report(database, day(0), day(9))

        assert (
            found["placements"],
            found["paid_before"],
            found["in_shadow"],
            found["answered"],
        ) == (1, 0, 1, {**NOBODY_ASKED, "hold": 1})
        assert found["hold"] == {"DISPUTE_OPEN": 1}

    def test_a_debt_that_had_been_paid_is_told_with_its_answer(self, arrive: Arrive, database: Database) -> None:
        """One that was paid after its placement is not among them."""
        for account_id, paid_at in (("a-1", day(1)), ("a-2", day(1)), ("a-3", day(4))):
            arrive(
                referral(account_id=account_id),
                placement(account_id=account_id),
                payment(account_id=account_id, paid_at=paid_at),
            )
        answered(database, "refuse", "DEBT_SETTLED", at=day(2))
        answered(database, "clear", "", at=day(2), account_id="a-3")

        found = report(database, day(0), day(9))

        assert (
            found["placements"],
            found["paid_before"],
            found["paid_before_answered"],
            found["refuse"],
        ) == (3, 2, {**NOBODY_ASKED, "refuse": 1, "not_asked": 1}, {"DEBT_SETTLED": 1})

    def test_only_placements_of_the_time_count(self, arrive: Arrive, database: Database) -> None:
        """From its first instant on, and before its last."""
        arrive(referral(), placement())

        assert report(database, day(3), day(4))["placements"] == 1
        assert report(database, day(2), day(3))["placements"] == 0
        assert report(database, day(3) + timedelta(seconds=1), day(4))["placements"] == 0


def test_a_report_in_words() -> None:
    """The first line is the one that matters; each other says what it counts."""
    groups = [
        Group("clear", "", shadow=True, paid_before=False, placements=4_700),
        Group("hold", "PAYMENT_PENDING", shadow=True, paid_before=False, placements=60),
        Group("refuse", "DEBT_SETTLED", shadow=True, paid_before=True, placements=30),
        Group(None, "", shadow=False, paid_before=False, placements=15),
        Group(None, "", shadow=False, paid_before=True, placements=7),
    ]

    assert list(Report(day(0), day(9), groups).in_words()) == [
        "Of 4,812 placements since 2026-11-02T09:00:00+00:00, 37 had been paid before.",
        "  asked before: 4,790, 4,790 of them in shadow mode",
        "  placed although the answer was refuse: 30 (DEBT_SETTLED 30)",
        "  placed although the answer was hold: 60 (PAYMENT_PENDING 60)",
        "  placed as the answer was clear: 4,700",
        "  placed without asking: 22",
        "  of those that had been paid before, the answer was: clear 0, hold 0, refuse 30, not asked 7",
    ]
