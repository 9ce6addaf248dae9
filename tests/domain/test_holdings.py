"""How an amount of a list is read, when a list is another agency's, and the recall of what is held wrongly."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.holdings import Held, closed_and_held, is_of_another, minor_units, recall_held
from domain.policy import Policy, RecallReason
from domain.recall import Cause, Said, recall_id_of
from domain.words import digits_of
from tests.builders import ACCOUNT, account, all_recorded, closed, day, opened, recorded, referred


@pytest.mark.parametrize(
    ("text", "currency", "expected"),
    [
        ("0", "RUB", 0),
        ("12", "RUB", 12_00),
        ("12.5", "RUB", 12_50),
        ("12,50", "RUB", 12_50),
        ("12.500", "RUB", 12_50),
        ("12.505", "RUB", None),
        ("12.505", "KWD", 12_505),
        ("12", "JPY", 12),
        ("12.00", "JPY", 12),
        ("12.5", "JPY", None),
        ("9999999999999.99", "RUB", 999_999_999_999_999),
        ("10000000000000.01", "RUB", None),
        ("1" * 400, "RUB", None),
        ("", "RUB", None),
        (".5", "RUB", None),
        ("1 234.50", "RUB", None),
        ("1,234.50", "RUB", None),
        ("-12.50", "RUB", None),
        ("1e3", "RUB", None),
        ("١٢", "RUB", None),
        ("12.¹", "RUB", None),
    ],
)
def test_an_amount_with_a_point(text: str, currency: str, expected: int | None) -> None:
    """A point or a comma, as fine as the currency; anything else is no amount."""
    assert minor_units(text, digits=digits_of(currency)) == expected


@pytest.mark.parametrize(
    ("rows", "orphans", "expected"), [(0, 0, False), (2, 1, False), (3, 2, True), (1, 1, True), (1_000, 500, False)]
)
def test_a_list_of_another_agency(rows: int, orphans: int, expected: bool) -> None:
    """It is one where more than half of its rows were never placed with this one."""
    assert is_of_another(rows, orphans) is expected


def test_a_closed_placement_is_recalled_by_hand_because_it_was_closed() -> None:
    """The recall has its usual id and clock; its latency runs from when the list was compared."""
    events = all_recorded([referred(), opened(), closed(), opened("l-2")])
    held = closed_and_held(account(*events), "l-1", events)

    assert held == Held(opened(), recorded(closed()))
    told = recall_held(held, Said(told=60_00), Policy(), now=day(9))
    assert (told.recall_id, told.reason, told.cause) == (
        recall_id_of(ACCOUNT, "l-1"),
        RecallReason.MANUAL,
        Cause.MANUAL,
    )
    assert (told.outstanding, told.requested_at, told.trigger) == (60_00, day(9), recorded(closed()))
    assert told.acknowledge_by == Policy().recall.acknowledge_by("agency-1", day(9))
    assert told.noticed_by == replace(told.trigger, origin=replace(told.trigger.origin, received_at=day(9)))


def test_what_is_not_closed_is_not_recalled_for_that() -> None:
    """Nor what was closed and never opened."""
    events = all_recorded([opened("l-1"), closed("l-2")])

    assert closed_and_held(account(*events), "l-1", events) is None
    assert closed_and_held(account(*events), "l-2", events) is None
