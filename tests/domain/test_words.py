"""Amounts, instants and days as people read them."""

from __future__ import annotations

from datetime import UTC, date, datetime, tzinfo
from zoneinfo import ZoneInfo

import pytest

from domain.words import amount_in_words, day_in_words, days_in_words, instant_in_words, moment_in_words


@pytest.mark.parametrize(
    ("amount_minor", "currency", "expected"),
    [
        (85000, "RUB", "850.00 RUB"),
        (5, "RUB", "0.05 RUB"),
        (0, "EUR", "0.00 EUR"),
        (-5, "EUR", "-0.05 EUR"),
        (-12345, "EUR", "-123.45 EUR"),
        (850, "JPY", "850 JPY"),
        (-850, "JPY", "-850 JPY"),
        (1234, "KWD", "1.234 KWD"),
        (1234, "XYZ", "12.34 XYZ"),
        (10**15, "RUB", "10000000000000.00 RUB"),
    ],
)
def test_an_amount_has_the_digits_of_its_currency(amount_minor: int, currency: str, expected: str) -> None:
    """Minor units become the decimals that the currency has, two where it is not known."""
    assert expected == amount_in_words(amount_minor, currency)


@pytest.mark.parametrize(
    ("timezone", "expected"),
    [(UTC, "14 Nov 2026 22:02"), (ZoneInfo("Europe/Moscow"), "15 Nov 2026 01:02")],
)
def test_an_instant_is_told_in_the_creditors_time(timezone: tzinfo, expected: str) -> None:
    """An instant is written to the minute, on the day it has in the creditor's time zone."""
    at = datetime(2026, 11, 14, 22, 2, 59, tzinfo=UTC)

    assert expected == instant_in_words(at, timezone)


def test_a_moment_is_told_to_the_second() -> None:
    """Where the order of things counts, and a recall takes seconds."""
    at = datetime(2026, 11, 14, 22, 2, 59, 700_000, tzinfo=UTC)

    assert moment_in_words(at, ZoneInfo("Europe/Moscow")) == "15 Nov 2026 01:02:59"


def test_a_date_is_written_as_the_day_of_an_instant_is() -> None:
    """A date has a month that nobody takes for its day."""
    assert day_in_words(date(2026, 3, 4)) == "04 Mar 2026"


@pytest.mark.parametrize(
    ("number", "working", "expected"),
    [
        (0, False, "0 days"),
        (1, False, "1 day"),
        (2, False, "2 days"),
        (1, True, "1 working day"),
        (10, True, "10 working days"),
    ],
)
def test_a_number_of_days_says_which_days(number: int, working: bool, expected: str) -> None:
    """Working days are named as such, and one day is one."""
    assert expected == days_in_words(number, working=working)
