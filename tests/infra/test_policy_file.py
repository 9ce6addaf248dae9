"""The creditor's policy file: its defaults are the contract's, and every mistake in it is named."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from holidays import country_holidays

from domain.calendar_days import Holidays
from domain.events import Channel, Component
from domain.policy import Days, DebtRules, NoticeRules, Policy, RecallReason, RecallRules
from infra.policy_file import HOLIDAY_YEARS, PolicyError, parse_policy, read_policy

CONTRACT = b"""
version = "2026-11-01"

[debt]
tolerance_minor = 100
tolerance_percent = 0.0
minimum_minor = 0
limitation_days = 0
snapshot_grace_hours = 72
allocation = ["principal", "price_change", "fee", "penalty"]
only_charges_left = "hold"

[notices]
debt_reminders = 2
days_since_last_reminder = 3
placement_warning_days = 0
price_change_days = 10
channels = "chosen"

[customer]
protected_marks = ["bankrupt", "deceased", "minor", "incapable", "in_hospital"]

[calendar]
timezone = "UTC"
holidays = ""

[clearance]
valid_minutes = 15
wait_for_streams_ms = 2000

[recall]
on = ["DEBT_SETTLED", "DEBT_WITHDRAWN", "DISPUTE_UPHELD", "PROTECTED_CUSTOMER"]
acknowledge_within_minutes = 60
"""
"""The contract's own example, each value the default."""


def test_the_contracts_example_is_the_default() -> None:
    """An empty file, no file and the contract's example give the same rules, but for name and fingerprint."""
    example = parse_policy(CONTRACT)

    expected = replace(
        Policy(), version="2026-11-01", sha256=hashlib.sha256(CONTRACT).hexdigest(), timezone=ZoneInfo("UTC")
    )
    assert expected == example
    assert replace(example, version="built-in", sha256=hashlib.sha256(b"").hexdigest()) == parse_policy(b"")
    assert read_policy(None) == Policy()
    moment = datetime(2026, 11, 14, tzinfo=UTC)
    assert moment.astimezone(Policy().timezone).isoformat() == moment.astimezone(example.timezone).isoformat()


def test_every_key_is_read() -> None:
    """A file that changes every key gives a policy in which each rule is changed."""
    text = b"""
    version = "strict"
    [debt]
    tolerance_minor = 1
    tolerance_percent = 0.5
    minimum_minor = 2
    limitation_days = 1095
    snapshot_grace_hours = 4
    allocation = ["penalty", "fee", "price_change", "principal"]
    only_charges_left = "place"
    [notices]
    debt_reminders = 5
    days_since_last_reminder = 6
    placement_warning_days = 7
    price_change_days = 8
    days = "working"
    channels = ["sms", "post"]
    [customer]
    protected_marks = ["deceased"]
    [calendar]
    timezone = "Europe/Moscow"
    holidays = "RU"
    [clearance]
    valid_minutes = 9
    wait_for_streams_ms = 10
    [recall]
    on = ["ONLY_CHARGES_LEFT"]
    acknowledge_within_minutes = 11
    """

    expected = Policy(
        version="strict",
        sha256=hashlib.sha256(text).hexdigest(),
        debt=DebtRules(
            tolerance_minor=1,
            tolerance_percent=Decimal("0.5"),
            minimum_minor=2,
            limitation_days=1095,
            snapshot_grace=timedelta(hours=4),
            allocation=(Component.PENALTY, Component.FEE, Component.PRICE_CHANGE, Component.PRINCIPAL),
            only_charges_left_holds=False,
        ),
        notices=NoticeRules(5, 6, 7, 8, frozenset({Channel.SMS, Channel.POST}), Days.WORKING),
        protected_marks=frozenset({"deceased"}),
        timezone=ZoneInfo("Europe/Moscow"),
        holidays=Holidays.of(country_holidays("RU", years=HOLIDAY_YEARS)),
        clearance_valid=timedelta(minutes=9),
        wait_for_streams=timedelta(milliseconds=10),
        # A paid debt always recalls, whatever the file lists.
        recall=RecallRules(
            frozenset({RecallReason.ONLY_CHARGES_LEFT, RecallReason.DEBT_SETTLED}), timedelta(minutes=11)
        ),
    )
    assert expected == parse_policy(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"tolerance = 1", ["tolerance:", "Extra inputs"]),
        (b"[debts]\nminimum_minor = 1", ["debts:", "Extra inputs"]),
        (b"[debt]\nminimum = 1", ["debt.minimum:", "Extra inputs"]),
        (b"[recall]\nOn = []", ["recall.On:", "Extra inputs"]),
        (b"debt = 1", ["debt:"]),
        (b"version = 3", ["version:"]),
        (b"[debt]\ntolerance_minor = -1", ["debt.tolerance_minor:", "greater than or equal to 0"]),
        (b'[debt]\ntolerance_minor = "100"', ["debt.tolerance_minor:", "valid integer"]),
        (b"[debt]\ntolerance_minor = 100.0", ["debt.tolerance_minor:", "valid integer"]),
        (b"[debt]\ntolerance_minor = true", ["debt.tolerance_minor:", "valid integer"]),
        (b"[debt]\nminimum_minor = 1000000000000001", ["debt.minimum_minor:", "less than or equal"]),
        (b"[debt]\ntolerance_percent = 100.1", ["debt.tolerance_percent:", "less than or equal to 100"]),
        (b"[debt]\ntolerance_percent = nan", ["debt.tolerance_percent:", "finite"]),
        (b'[debt]\ntolerance_percent = "1.5"', ["debt.tolerance_percent:", "must be a number"]),
        (b"[debt]\ntolerance_percent = true", ["debt.tolerance_percent:", "must be a number"]),
        (b"[debt]\nlimitation_days = 100001", ["debt.limitation_days:", "less than or equal"]),
        (b'[debt]\nonly_charges_left = "maybe"', ["debt.only_charges_left:", "'hold' or 'place'"]),
        (b'[debt]\nallocation = ["principal"]', ["debt.allocation:", "must name each of"]),
        (
            b'[debt]\nallocation = ["principal", "principal", "fee", "penalty"]',
            ["debt.allocation:", "must name each of"],
        ),
        (b'[debt]\nallocation = ["interest"]', ["debt.allocation.0:", "principal"]),
        (b"[notices]\ndebt_reminders = true", ["notices.debt_reminders:", "valid integer"]),
        (b'[notices]\nchannels = "sms"', ["notices.channels"]),
        (b'[notices]\nchannels = ["fax"]', ["notices.channels", "cabinet"]),
        (b'[customer]\nprotected_marks = "bankrupt"', ["customer.protected_marks:"]),
        (b'[calendar]\ntimezone = "Moscow"', ["calendar.timezone:", "Europe/Moscow"]),
        (b'[calendar]\ntimezone = "../etc/passwd"', ["calendar.timezone:", "Europe/Moscow"]),
        (b'[calendar]\ntimezone = ""', ["calendar.timezone:", "Europe/Moscow"]),
        (b'[notices]\ndays = "weekdays"', ["notices.days:", "'calendar' or 'working'"]),
        (b'[calendar]\nholidays = "ru"', ["calendar.holidays:", "a country code", "like RU", "or empty"]),
        (b'[calendar]\nholidays = "ECB"', ["calendar.holidays:", "a country code"]),
        (b'[calendar]\nholidays = "HolidayBase"', ["calendar.holidays:", "a country code"]),
        (b'[calendar]\nholidays = ["RU"]', ["calendar.holidays:", "valid string"]),
        (b"[clearance]\nvalid_minutes = 0", ["clearance.valid_minutes:", "greater than or equal to 1"]),
        (b"[clearance]\nwait_for_streams_ms = 60001", ["clearance.wait_for_streams_ms:", "less than or equal"]),
        (b'[recall]\non = ["PAID"]', ["recall.on", "DEBT_SETTLED"]),
        (b"[recall]\nacknowledge_within_minutes = 1.5", ["recall.acknowledge_within_minutes:", "valid integer"]),
        (b"[debt]\nminimum_minor = -1\nlimitation_days = -1", ["debt.minimum_minor:", "debt.limitation_days:"]),
        (b"[debt", ["is not TOML", "end of a table"]),
        (b"\xff", ["is not TOML"]),
    ],
    ids=lambda value: value.decode("utf-8", "replace").replace("\n", " ") if isinstance(value, bytes) else "",
)
def test_every_mistake_is_named(text: bytes, named: list[str]) -> None:
    """An unknown key, a wrong type or a value out of bounds is refused by its full name, with what it may be."""
    with pytest.raises(PolicyError) as refused:
        parse_policy(text, name="policy.toml")

    message = str(refused.value)
    assert [part for part in ["policy.toml", *named] if part not in message] == []


@pytest.mark.parametrize(
    "text",
    [
        b"[debt]\ntolerance_percent = 100",
        b"[debt]\ntolerance_percent = 0.000001",
        b"[debt]\nlimitation_days = 100000",
        b"[clearance]\nvalid_minutes = 10080\nwait_for_streams_ms = 60000",
        b"[notices]\nchannels = []",
        b'[notices]\ndays = "calendar"',
        b'[calendar]\nholidays = "KZ"',
        b"[customer]\nprotected_marks = []",
        b"[recall]\non = []",
    ],
)
def test_what_is_within_bounds_is_read(text: bytes) -> None:
    """Beside each limit stands a file that keeps it."""
    assert parse_policy(text).sha256 == hashlib.sha256(text).hexdigest()


@pytest.mark.parametrize(
    ("country", "day", "expected"),
    [
        ("RU", date(2026, 11, 4), True),  # Unity Day.
        ("RU", date(2026, 11, 5), False),
        ("RU", date(2026, 1, 1), True),
        ("RU", date(2027, 1, 1), True),  # Known years before it comes.
        ("DE", date(2026, 11, 4), False),
        ("RUS", date(2026, 11, 4), True),
        ("", date(2026, 1, 1), False),
    ],
)
def test_the_holidays_are_those_of_the_country(country: str, day: date, expected: bool) -> None:
    """A public holiday of the country that is named is no working day, and any other weekday is one."""
    policy = parse_policy(f'[calendar]\nholidays = "{country}"'.encode())

    passed = policy.holidays.working_days(after=day - timedelta(days=1), until=day)

    assert expected == (passed == 0)


def test_a_country_of_which_few_years_are_known_says_nothing() -> None:
    """The library warns that it knows India's holidays for some years only; a warning here would be an error."""
    policy = parse_policy(b'[calendar]\nholidays = "IN"')

    assert date(2026, 1, 26) in policy.holidays.dates


def test_a_file_is_read_with_its_fingerprint(tmp_path: Path) -> None:
    """A policy file is what its bytes say, and carries their fingerprint."""
    file = tmp_path / "policy.toml"
    file.write_bytes(CONTRACT)

    assert read_policy(file) == parse_policy(CONTRACT)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing file is the operator's to mend: the message names it."""
    file = tmp_path / "policy.toml"

    with pytest.raises(PolicyError) as refused:
        read_policy(file)

    assert str(refused.value) == f"the policy file {file} can't be read: No such file or directory"
