"""An agency's list compared with what it ought to hold: every kind of difference, on a real database.

The rule is in SQL alone, so its table is held to a database; `tests.consumers.test_reconcile_command` gives the
command whole files, and mends what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import pytest
import sqlalchemy as sa

from domain.words import amount_in_words
from infra.postgres.database import Database
from infra.postgres.holdings import Comparison, Kept, Read, Reconciliations, Row, Run
from tests.builders import day
from tests.conftest import Arrive
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

AS_OF = day(9)
RUN = Run("run-1", "agency-1", AS_OF, AS_OF, "a test")

TABLE = """
placed recall answer by closed told theirs   | found

3      -      -      -  -      500  500      | -
3      -      -      -  -      500  500 RUB  | -
3      -      -      -  -      500  499      | amount
3      -      -      -  -      500  500 EUR  | amount
3      -      -      -  -      0    0        | -
3      -      -      -  -      500  ?        | -
3      -      -      -  -      500  absent   | missing
10     -      -      -  -      500  absent   | -
10     -      -      -  -      500  500      | -

3      5      -      6  -      500  500      | ghost
3      5      -      6  -      500  499      | ghost
3      5      -      9  -      500  500      | ghost
3      8      -      10 -      500  500      | awaited
3      8      -      10 -      500  499      | awaited
3      10     -      11 -      500  500      | -
3      10     -      11 -      500  499      | -
3      5      -      6  -      500  absent   | -
3      8      -      10 -      500  absent   | -
3      10     -      11 -      500  absent   | -

3      5      ack8   6  -      500  500      | ghost
3      8      ack8   10 -      500  500      | ghost
3      8      ack10  10 -      500  500      | awaited
3      5      ack10  6  -      500  500      | ghost
3      5      ack8   6  -      500  absent   | -
3      5      obj8   6  -      500  500      | ghost
3      8      obj8   10 -      500  500      | ghost
3      8      obj10  10 -      500  500      | awaited
3      5      obj8   6  -      500  absent   | -

3      -      -      -  8      500  500      | ghost
3      -      -      -  10     500  500      | -
3      -      -      -  8      500  absent   | -
3      -      -      -  10     500  absent   | -
3      5      -      6  8      500  500      | ghost
3      8      -      10 8      500  500      | awaited
3      8      -      10 8      500  absent   | -
"""
"""The days on which it happened; the list is of day 9. On `ack8` they acknowledged, on `obj8` they objected."""

CASES = [line for line in TABLE.splitlines() if "|" in line][1:]


@pytest.fixture
def comparison(database: Database) -> Iterator[Comparison]:
    """A list that can be loaded."""
    with Reconciliations(database).comparing() as begun:
        yield begun


def compare(comparison: Comparison, rows: Sequence[Row], run: Run = RUN) -> Kept:
    """Load these rows and compare them."""
    read = comparison.load([rows])
    return comparison.compare(run, file_name="list.csv", file_sha256="0" * 64, read=read, finished_at=AS_OF)


def found(database: Database) -> list[tuple[str, int, str, str]]:
    """Every finding: its kind, line, placement and detail."""
    with database.transaction() as connection:
        rows = connection.execute(
            sa.text("SELECT kind, line, placement_id, detail FROM reconciliation_finding ORDER BY line, kind")
        )
        return [tuple(row) for row in rows]


def theirs(line: int, placement_id: str, outstanding: int | str = "", currency: str = "", **more: str) -> Row:
    """A row of their list."""
    return (
        line,
        placement_id,
        outstanding,
        currency,
        more.get("account_id", ""),
        more.get("debt_id", ""),
        more.get("problem", ""),
    )


def lay(database: Database, number: int, case: str) -> Row | None:
    """The placement of a case, with its recall; and their row of it, if there is one."""
    placed, recall, answer, by, closed, told, said = case.split("|", 1)[0].split(maxsplit=6)
    on = {
        name: None if text == "-" else day(int(text))
        for name, text in (("placed", placed), ("recall", recall), ("by", by), ("closed", closed))
    }
    answered = day(int(answer[3:])) if answer != "-" else None
    is_open = on["closed"] is None and not answer.startswith("ack")
    with database.transaction() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO placement VALUES (:account, 'l-' || :n, 'd-' || :n, 'agency-1', 1, 'RUB', :placed, true,
                                              :told, false, NULL, :closed, :is_open)"""),
            {"account": f"a-{number}", "n": str(number), "told": int(told), "is_open": is_open, **on},
        )
        if recall != "-":
            connection.execute(
                sa.text("""
                    INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause,
                                        outstanding, currency, requested_at, acknowledge_by, trigger_source,
                                        trigger_id, known_since, swept, acknowledged_at, rejected_at)
                    VALUES (:account, 'l-' || :n, 'r-' || :n, 'd-' || :n, 'agency-1', 'DEBT_SETTLED',
                            'manual', 0, 'RUB', :recall, :by, 't', 't', :recall, false, :ack, :obj)"""),
                {
                    "account": f"a-{number}",
                    "n": str(number),
                    **on,
                    "ack": answered if answer.startswith("ack") else None,
                    "obj": answered if answer.startswith("obj") else None,
                },
            )
    amount, _, currency = said.strip().partition(" ")
    return None if amount == "absent" else theirs(number, f"l-{number}", amount.strip("?"), currency)


def test_what_each_pair_is(database: Database, comparison: Comparison) -> None:
    """Ours and theirs, a case a row: the table is the rule."""
    rows = [row for number, case in enumerate(CASES, 1) if (row := lay(database, number, case)) is not None]

    compare(comparison, rows)

    kinds = {placement_id: kind for kind, _, placement_id, _ in found(database)}
    told = [f"{case.split('|', 1)[0]}| {kinds.get(f'l-{number}', '-')}" for number, case in enumerate(CASES, 1)]
    assert told == CASES


def test_what_was_never_placed_with_them(arrive: Arrive, database: Database, comparison: Comparison) -> None:
    """Nobody's, another agency's, and one whose debt they have under another id."""
    arrive(referral(), placement())
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE placement SET agency_id = 'agency-2' WHERE placement_id = 'l-1'"))
    arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"))

    kept = compare(
        comparison,
        [
            theirs(2, "l-1", 100_00),
            theirs(3, "l-2", 100_00),
            theirs(4, "l-3", 100_00, account_id="a-3", debt_id="d-1"),
            theirs(5, "case-2", 100_00, account_id="a-2", debt_id="d-1"),
        ],
    )

    assert kept.counts["orphans"] == 3
    assert found(database) == [
        ("orphan", 2, "l-1", "it is placed with agency-2"),
        ("orphan", 4, "l-3", "it is unknown"),
        ("orphan", 5, "case-2", "it is unknown; the same debt is placed with them as l-2"),
    ]


def test_a_placement_that_is_named_twice(arrive: Arrive, database: Database, comparison: Comparison) -> None:
    """The first line counts, each further one is a duplicate, whatever it says; so with orphans."""
    arrive(referral(), placement())

    kept = compare(
        comparison,
        [
            theirs(2, "l-1", 100_00),
            theirs(3, "l-1", 1),
            theirs(4, "x-1"),
            theirs(5, "x-1"),
            theirs(6, "l-1", 100_00),
        ],
    )

    assert kept.counts == {
        "ghosts": 0,
        "orphans": 1,
        "missing": 0,
        "amounts": 0,
        "duplicates": 3,
        "unread": 0,
        "awaited": 0,
    }
    assert [(kind, line, detail) for kind, line, _, detail in found(database)] == [
        ("duplicate", 3, "line 2 names it too, and counts"),
        ("orphan", 4, "it is unknown"),
        ("duplicate", 5, "line 4 names it too, and counts"),
        ("duplicate", 6, "line 2 names it too, and counts"),
    ]


def test_a_bad_row_is_told_and_its_placement_counts(
    arrive: Arrive, database: Database, comparison: Comparison
) -> None:
    """What they hold is not missing because its amount can't be read; of a row without a placement nobody knows."""
    arrive(referral(), placement())
    arrive(referral(account_id="a-2"), placement("l-2", account_id="a-2"))

    kept = compare(comparison, [theirs(2, "l-1", problem="no amount"), theirs(3, "", problem="no id")])

    assert (kept.rows, kept.bad_rows) == (2, 2)
    assert found(database) == [
        ("missing", 0, "l-2", "placed on 2026-11-05T09:00:00Z"),
        ("unread", 2, "l-1", "no amount"),
        ("unread", 3, "", "no id"),
    ]


def test_an_amount_that_they_were_told_since(arrive: Arrive, database: Database, comparison: Comparison) -> None:
    """A list can't have what was sent after it was made, or not yet; what was sent before is a difference."""
    arrive(referral(), placement(), payment(amount=40_00))
    rows = [theirs(2, "l-1", 100_00, "RUB")]

    def amounts(run_id: str, sent_at: datetime | None) -> int:
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE outbox SET sent_at = :at"), {"at": sent_at})
        with Reconciliations(database).comparing() as begun:
            return compare(begun, rows, Run(run_id, "agency-1", AS_OF, AS_OF, "a test")).counts["amounts"]

    assert [amounts("run-1", None), amounts("run-2", day(10)), amounts("run-3", day(8))] == [0, 0, 1]
    assert [detail for _, _, _, detail in found(database)] == ["they say 100.00 RUB, we told 60.00 RUB"]


@pytest.mark.parametrize("currency", ["RUB", "JPY", "KWD", "XYZ"])
def test_amounts_are_told_as_people_write_them(database: Database, comparison: Comparison, currency: str) -> None:
    """With the digits of their currency, as everywhere; ours where the list names none."""
    row = lay(database, 1, "3 - - - - 123456 499")
    assert row is not None
    with database.transaction() as connection:
        connection.execute(sa.text("UPDATE placement SET currency = :currency"), {"currency": currency})

    compare(comparison, [theirs(2, row[1], 99_999, currency)])

    told = f"they say {amount_in_words(99_999, currency)}, we told {amount_in_words(123_456, currency)}"
    assert [detail for *_, detail in found(database)] == [told]


def test_the_details_say_what_happened(arrive: Arrive, database: Database, comparison: Comparison) -> None:
    """When it was recalled, until when it was to be acknowledged, what they answered, and that it was not sent."""
    for number, case in enumerate(
        ("3 5 - 6 - 500 500", "3 5 ack8 6 - 500 500", "3 5 obj8 6 - 500 500", "3 - - - 8 500 500"), 1
    ):
        lay(database, number, case)

    compare(comparison, [theirs(number, f"l-{number}") for number in range(1, 5)])

    recalled = "recalled on 2026-11-07T09:00:00Z"
    assert [detail for *_, detail in found(database)] == [
        f"{recalled}, to be acknowledged by 2026-11-08T09:00:00Z; not sent yet",
        f"{recalled}, and they acknowledged it on 2026-11-10T09:00:00Z",
        f"{recalled}, and they objected on 2026-11-10T09:00:00Z",
        "closed on 2026-11-10T09:00:00Z, without a recall",
    ]


def test_earlier_comparisons_newest_first(database: Database) -> None:
    """Those of one agency, with all that was kept of each."""
    reconciliations = Reconciliations(database)
    for number in range(1, 4):
        agency_id = "agency-2" if number == 2 else "agency-1"
        run = Run(f"run-{number}", agency_id, AS_OF, day(number), "a test")
        with reconciliations.comparing() as begun:
            compare(begun, [theirs(2, "x-1")], run)
    reconciliations.fixed("run-3", {"orphans": 1})

    third, first = reconciliations.earlier("agency-1", limit=5)
    assert [first.reconciliation_id] == [
        one.reconciliation_id for one in reconciliations.earlier("agency-1", limit=2)[1:]
    ]
    assert (third.reconciliation_id, third.fixed, first.fixed) == ("run-3", {"orphans": 1}, None)
    assert (first.file_name, first.rows, first.started_at, first.done_by) == ("list.csv", 1, day(1), "a test")


def test_it_waits_for_nobody_and_nobody_for_it(arrive: Arrive, database: Database, comparison: Comparison) -> None:
    """With every account locked by another it compares; what it compared is committed while they still are."""
    arrive(referral(), placement())
    with database.transaction(deadline_seconds=20) as holder:
        holder.execute(sa.text("SELECT FROM account FOR UPDATE"))
        holder.execute(sa.text("SELECT FROM placement FOR UPDATE"))

        assert compare(comparison, [theirs(2, "l-1", 1)]).counts["amounts"] == 1


def test_the_list_is_gone_with_its_session(database: Database, comparison: Comparison) -> None:
    """The next comparison begins with none, on whatever connection, and no list stays on the server."""
    assert comparison.load([[theirs(2, "l-1")]]) == Read(rows=1, named=True)

    with Reconciliations(database).comparing() as another:
        assert another.load([]) == Read()
