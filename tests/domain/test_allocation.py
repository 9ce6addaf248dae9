"""What is owed on each debt, and which money brought it there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import permutations

import pytest

from domain.allocation import Balance, balances, pending, tolerance, uncertain
from domain.events import Component, DebtReferred, Event, PaymentFailed, Recorded
from domain.policy import DebtRules
from tests.builders import (
    ACCOUNT,
    MOMENT,
    account,
    credited,
    day,
    paid,
    recorded,
    referred,
    restated,
    returned,
    withdrawn,
)
from tests.builders import pending as on_its_way

RULES = DebtRules(tolerance_minor=0)
GRACE = timedelta(hours=72)

OLDER = replace(referred("d-9", 40_00), due_on=date(2026, 9, 1), contract_id="k-1")
NEWER = replace(referred("d-1", 60_00), due_on=date(2026, 10, 1), contract_id="k-2")


def owed(*events: Event | Recorded, rules: DebtRules = RULES) -> dict[str, int]:
    """What is outstanding on each debt of the account that these events make."""
    return {debt_id: balance.outstanding for debt_id, balance in balances(account(*events), rules).items()}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], 100_00),
        ([paid(30_00)], 70_00),
        ([paid(100_00)], 0),
        ([paid(130_00)], 0),
        ([paid(100_00), returned()], 100_00),
        ([returned(), paid(100_00)], 100_00),
        ([PaymentFailed(ACCOUNT, "p-1"), paid(100_00)], 0),
        ([on_its_way(100_00)], 100_00),
        ([credited(30_00)], 70_00),
        ([credited(30_00, reason="credit_note"), paid(70_00)], 0),
        ([paid(30_00), paid(30_00)], 70_00),
        ([paid(30_00), paid(30_00, payment_id="p-2")], 40_00),
    ],
)
def test_what_arrived_and_stayed_is_taken_off(events: list[Event], expected: int) -> None:
    """Settled payments and credits reduce a debt; pending, failed and returned ones don't, in any order."""
    for order in permutations([referred(), *events]):
        assert {"d-1": expected} == owed(*order)


@pytest.mark.parametrize(
    ("at", "reflected", "expected"),
    [
        (day(0) + MOMENT, frozenset[str](), 0),
        (day(0), frozenset[str](), 100_00),
        (day(0) - MOMENT, frozenset[str](), 100_00),
        (day(1), frozenset({"p-1"}), 100_00),
        (day(1), frozenset({"p-2"}), 0),
    ],
    ids=["just after as_of", "at as_of", "just before as_of", "after, but reflected", "after, another reflected"],
)
def test_money_counts_when_the_statement_does_not_hold_it(
    at: datetime, reflected: frozenset[str], expected: int
) -> None:
    """Money dated after `as_of` counts, unless collections says that it is in the amount already."""
    stated = replace(referred(), reflected_payment_ids=reflected)
    payment = replace(paid(), paid_at=at)

    assert {"d-1": expected} == owed(stated, payment)


def test_a_reflected_credit_does_not_count_either() -> None:
    """The ids that a statement lists may be of credits."""
    assert owed(replace(referred(), reflected_payment_ids=frozenset({"c-1"})), credited()) == {"d-1": 100_00}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([paid(50_00)], {"d-9": 0, "d-1": 50_00}),
        ([paid(50_00, debt_id="d-1")], {"d-9": 40_00, "d-1": 10_00}),
        ([paid(50_00, contract_id="k-2")], {"d-9": 40_00, "d-1": 10_00}),
        ([paid(50_00, contract_id="k-1")], {"d-9": 0, "d-1": 50_00}),
        ([paid(70_00, debt_id="d-1")], {"d-9": 30_00, "d-1": 0}),
        ([paid(70_00, contract_id="k-2")], {"d-9": 30_00, "d-1": 0}),
        ([paid(500_00)], {"d-9": 0, "d-1": 0}),
        ([paid(50_00, debt_id="d-7")], {"d-9": 40_00, "d-1": 60_00}),
        ([paid(50_00, contract_id="k-7")], {"d-9": 40_00, "d-1": 60_00}),
        ([paid(50_00, debt_id="d-7", contract_id="k-2")], {"d-9": 40_00, "d-1": 60_00}),
        (
            [paid(40_00, day(1)), paid(60_00, day(2), payment_id="p-2", debt_id="d-9")],
            {"d-9": 0, "d-1": 0},
        ),
        (
            [paid(40_00, day(1), contract_id="k-1"), paid(40_00, day(2), payment_id="p-2", debt_id="d-9")],
            {"d-9": 0, "d-1": 20_00},
        ),
    ],
    ids=[
        "names nothing: the older debt first",
        "names a debt",
        "names a contract",
        "names the older contract",
        "names a debt, and leaves some over",
        "names a contract, and leaves some over",
        "more than all",
        "names an unknown debt: waits",
        "names an unknown contract: waits",
        "names an unknown debt and a known contract: waits",
        "what names a debt goes first, though paid later",
        "what names a debt goes before what names a contract",
    ],
)
def test_money_goes_where_it_is_meant_then_to_the_oldest(events: list[Event], expected: dict[str, int]) -> None:
    """Money goes to the debt or contract that it names, any other to the oldest debt; the rest to the next."""
    for order in permutations([OLDER, NEWER, *events]):
        assert expected == owed(*order)


def test_debts_of_one_date_are_paid_by_their_id() -> None:
    """Where two debts are due on one day the lesser id is paid first."""
    assert owed(referred("d-2", 60_00), referred("d-1", 60_00), paid(90_00)) == {"d-1": 0, "d-2": 30_00}


def test_a_waiting_payment_takes_effect_when_its_debt_is_seen() -> None:
    """A payment that names a debt not seen yet goes to it, and not to another, once it is stated."""
    payment = paid(60_00, debt_id="d-1")

    assert owed(OLDER, payment) == {"d-9": 40_00}
    assert owed(OLDER, payment, NEWER) == {"d-9": 40_00, "d-1": 0}


def test_what_an_older_statement_holds_is_not_left_over() -> None:
    """A payment of a debt whose amount holds it already is spent, and pays no other debt."""
    later = replace(OLDER, as_of=day(2))

    assert owed(later, NEWER, paid(50_00, day(1), debt_id="d-9")) == {"d-9": 40_00, "d-1": 60_00}


def test_a_debt_stated_anew_is_paid_by_what_came_after() -> None:
    """A new statement starts the count again from its own `as_of`, and frees nothing it holds."""
    events: list[Event] = [
        referred(),
        paid(30_00, day(1)),
        restated(70_00, day(2)),
        paid(20_00, day(3), payment_id="p-2"),
    ]

    for order in permutations(events):
        assert owed(*order) == {"d-1": 50_00}


@pytest.mark.parametrize(
    ("paid_on", "gone", "expected"),
    [
        (1, [withdrawn(day(5), "d-9")], {"d-9": 0, "d-1": 60_00}),
        (6, [withdrawn(day(5), "d-9")], {"d-9": 40_00, "d-1": 20_00}),
        (6, [withdrawn(day(5), "d-9"), recorded(OLDER, day(6))], {"d-9": 0, "d-1": 60_00}),
        (6, [withdrawn(day(5), "d-9"), withdrawn(day(5), "d-1")], {"d-9": 0, "d-1": 60_00}),
    ],
    ids=[
        "paid while it was claimed, and withdrawn for it",
        "paid when it was claimed no more",
        "withdrawn and referred again",
        "both withdrawn",
    ],
)
def test_a_withdrawn_debt_keeps_what_paid_it(paid_on: int, gone: list[Recorded], expected: dict[str, int]) -> None:
    """A debt withdrawn because it was paid frees no money for another; what is paid later goes to claims first."""
    assert expected == owed(OLDER, NEWER, paid(40_00, day(paid_on)), *gone)


@pytest.mark.parametrize(
    ("events", "outstanding", "foreign"),
    [
        ([paid(currency="USD")], 100_00, ["p-1"]),
        ([paid(currency="USD", debt_id="d-1")], 100_00, ["p-1"]),
        ([paid(currency="USD", debt_id="d-2")], 100_00, []),
        ([paid(currency="USD", at=day(-1))], 100_00, []),
        ([paid(currency="USD"), returned()], 100_00, []),
        ([paid(currency="USD"), paid(60_00, payment_id="p-2")], 40_00, ["p-1"]),
        ([paid(currency="USD"), paid(100_00, payment_id="p-2")], 0, []),
    ],
    ids=["unnamed", "its own", "another's", "before as_of", "returned", "beside a part", "beside all of it"],
)
def test_money_in_another_currency_is_shown_and_not_taken_off(
    events: list[Event], outstanding: int, foreign: list[str]
) -> None:
    """What would count but for its currency is told with the debt while anything is owed on it."""
    balance = balances(account(referred(), *events), RULES)["d-1"]

    assert (outstanding, foreign) == (balance.outstanding, [one.money_id for one in balance.in_other_currency])


def test_foreign_money_is_shown_once() -> None:
    """A payment for a contract that meets a debt in another currency twice is one payment."""
    dollars = replace(OLDER, currency="USD")
    roubles = replace(NEWER, contract_id="k-1")

    balance = balances(account(dollars, roubles, paid(500_00, contract_id="k-1")), RULES)["d-9"]

    assert [one.money_id for one in balance.in_other_currency] == ["p-1"]


MADE = referred(principal=60_00, price_change=5_00, fee=20_00, penalty=15_00)
PENALTY_FIRST = (Component.PENALTY, Component.FEE, Component.PRICE_CHANGE, Component.PRINCIPAL)


@pytest.mark.parametrize(
    ("amount", "rules", "expected"),
    [
        (1, RULES, (59_99, 5_00, 20_00, 15_00)),
        (60_00, RULES, (0, 5_00, 20_00, 15_00)),
        (65_00, RULES, (0, 0, 20_00, 15_00)),
        (86_00, RULES, (0, 0, 0, 14_00)),
        (100_00, RULES, (0, 0, 0, 0)),
        (36_00, replace(RULES, allocation=PENALTY_FIRST), (60_00, 4_00, 0, 0)),
    ],
)
def test_a_payment_pays_components_in_the_policys_order(
    amount: int, rules: DebtRules, expected: tuple[int, int, int, int]
) -> None:
    """Within a debt money pays one component after another, as the policy lists them."""
    balance = balances(account(MADE, paid(amount)), rules)["d-1"]

    kinds = (Component.PRINCIPAL, Component.PRICE_CHANGE, Component.FEE, Component.PENALTY)
    assert dict(zip(kinds, expected, strict=True)) == balance.left


def test_a_debt_without_components_is_principal() -> None:
    """A debt of which only the amount is stated is all principal."""
    assert balances(account(referred(), paid(30_00)), RULES)["d-1"].left == {Component.PRINCIPAL: 70_00}


def test_a_component_stated_in_two_parts_is_one() -> None:
    """Parts of one kind add up."""
    twice = replace(referred(principal=60_00), amount=120_00, components=referred(principal=60_00).components * 2)

    assert balances(account(twice, paid(30_00)), RULES)["d-1"].left == {Component.PRINCIPAL: 90_00}


@pytest.mark.parametrize(
    ("amount", "rules", "expected"),
    [
        (100_00, DebtRules(tolerance_minor=0), 0),
        (100_00, DebtRules(tolerance_minor=100), 100),
        (100_00, DebtRules(tolerance_minor=100, tolerance_percent=Decimal("0.5")), 100),
        (100_00, DebtRules(tolerance_minor=100, tolerance_percent=Decimal("1.5")), 150),
        (99_99, DebtRules(tolerance_minor=0, tolerance_percent=Decimal(1)), 99),
    ],
)
def test_the_greater_tolerance_holds(amount: int, rules: DebtRules, expected: int) -> None:
    """What may be left is the greater of the amount and the share, in whole minor units."""
    assert expected == tolerance(referred(amount=amount), rules)


@pytest.mark.parametrize(("amount", "expected"), [(99_00, True), (98_99, False), (100_00, True)])
def test_a_debt_within_tolerance_is_settled(amount: int, expected: bool) -> None:
    """At the tolerance a debt is settled, one minor unit above it is not."""
    rules = DebtRules(tolerance_minor=100)

    assert expected == balances(account(referred(), paid(amount)), rules)["d-1"].settled(rules)


SMALL = referred(amount=50)


@pytest.mark.parametrize(
    ("events", "rules", "expected"),
    [
        ([referred(), paid(60_00, day(1)), paid(40_00, day(2), payment_id="p-2")], RULES, "p-2"),
        ([referred(), paid(60_00, day(2)), paid(40_00, day(1), payment_id="p-2")], RULES, "p-1"),
        ([referred(), paid(99_00, day(1)), paid(1_00, day(2), payment_id="p-2")], DebtRules(), "p-1"),
        ([referred(), paid(30_00, day(1)), credited(70_00, day(3))], RULES, "c-1"),
        ([SMALL], DebtRules(), None),
        ([SMALL, paid(50)], DebtRules(), None),
    ],
    ids=[
        "in order",
        "by date, not by id",
        "within tolerance",
        "a write-off",
        "always was",
        "was before it was paid",
    ],
)
def test_the_money_that_settled_it_is_told(events: list[Event], rules: DebtRules, expected: str | None) -> None:
    """The money, by its date, with which the debt came within tolerance settled it; none where it always was."""
    for order in permutations(events):
        money = balances(account(*order), rules)["d-1"].settled_by(rules)

        assert expected == (money.money_id if money else None)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (lambda balance: balance.outstanding < 80_00, "p-2"),
        (lambda balance: balance.outstanding < 100_00, "p-1"),
        (lambda balance: balance.outstanding < 41_00, "p-3"),
        (lambda balance: balance.outstanding <= 100_00, None),
    ],
)
def test_the_money_that_brought_a_debt_to_a_state_is_told(
    state: Callable[[Balance], bool], expected: str | None
) -> None:
    """Of several payments that which first brought the state about is named, not the last."""
    payments = [paid(20_00, day(number), payment_id=f"p-{number}") for number in (1, 2, 3)]

    money = balances(account(referred(), *payments), RULES)["d-1"].brought_to(state)

    assert expected == (money.money_id if money else None)


def test_pending_money_is_told_earliest_first() -> None:
    """What is on its way is listed by date; what arrived or failed is not."""
    known = account(
        on_its_way(10, payment_id="p-3"),
        on_its_way(10, payment_id="p-2"),
        on_its_way(10, payment_id="p-4"),
        PaymentFailed(ACCOUNT, "p-4"),
        on_its_way(10, payment_id="p-5"),
        paid(10, payment_id="p-5"),
    )

    assert [money.money_id for money in pending(known)] == ["p-2", "p-3"]


@pytest.mark.parametrize(
    ("at", "terms", "grace", "expected"),
    [
        (day(0) + MOMENT, referred(), GRACE, []),
        (day(0), referred(), GRACE, ["p-1"]),
        (day(0) - GRACE + MOMENT, referred(), GRACE, ["p-1"]),
        (day(0) - GRACE, referred(), GRACE, []),
        (day(0), referred(), timedelta(0), []),
        (day(-1), replace(referred(), reflected_payment_ids=frozenset({"p-1"})), GRACE, []),
    ],
    ids=["after as_of", "at as_of", "just within grace", "at the end of grace", "no grace", "reflected"],
)
def test_money_just_before_the_statement_is_uncertain(
    at: datetime, terms: DebtReferred, grace: timedelta, expected: list[str]
) -> None:
    """Money dated at `as_of`, or before it by less than the grace, may not be in the amount."""
    known = account(terms, replace(paid(), paid_at=at))

    assert expected == [money.money_id for money in uncertain(known, terms, grace)]


def test_what_may_count_can_be_supposed() -> None:
    """Asked "what if", pending and doubtful money is taken off too, and nothing else changes."""
    known = account(referred(), paid(30_00, day(-1)), on_its_way(50_00, payment_id="p-2"))

    nothing = balances(known, RULES)["d-1"].outstanding
    arrived = balances(known, RULES, also=pending(known))["d-1"].outstanding
    both = balances(known, RULES, also=pending(known), in_time=[("p-1", "d-1")])["d-1"].outstanding
    other = balances(known, RULES, in_time=[("p-1", "d-2")])["d-1"].outstanding

    assert (nothing, arrived, both, other) == (100_00, 50_00, 20_00, 100_00)
