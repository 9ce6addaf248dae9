"""The creditor's policy file (TOML) to a `Policy`; every key has a default, an unknown one is an error.

Called where a process starts. Never decides: the rules are in `domain`.
"""

from __future__ import annotations

import hashlib
import tomllib
import warnings
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from domain.calendar_days import Holidays
from domain.events import Channel, Component
from domain.policy import Days, DebtRules, NoticeRules, Policy, RecallReason, RecallRules
from infra.timezones import ZoneName

HOLIDAY_YEARS = range(1990, 2100)
"""The years of which public holidays are read: from before the first SMS to the end of what the library computes.
They are read once, and whole: some 30 ms and 2,000 dates, and nothing that threads could find half made."""

Count = Annotated[int, Field(strict=True, ge=0, le=100_000)]
Minor = Annotated[int, Field(strict=True, ge=0, le=10**15)]


def _number(value: object) -> object:
    if isinstance(value, bool | str):
        raise ValueError("must be a number, like 1.5")  # noqa: TRY004  Pydantic turns only ValueError into a finding.
    return value


Percent = Annotated[Decimal, BeforeValidator(_number), Field(ge=0, le=100)]


class PolicyError(Exception):
    """The policy file is at fault; the message names the key and what it may be."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Debt(_Section):
    tolerance_minor: Minor = 100
    tolerance_percent: Percent = Decimal(0)
    minimum_minor: Minor = 0
    limitation_days: Count = 0
    snapshot_grace_hours: Count = 72
    allocation: tuple[Component, ...] = DebtRules().allocation
    only_charges_left: Literal["hold", "place"] = "hold"

    @field_validator("allocation")
    @classmethod
    def _each_once(cls, value: tuple[Component, ...]) -> tuple[Component, ...]:
        if sorted(value) != sorted(Component):
            raise ValueError("must name each of principal, price_change, fee and penalty once")
        return value


class _Notices(_Section):
    debt_reminders: Count = 2
    days_since_last_reminder: Count = 3
    placement_warning_days: Count = 0
    price_change_days: Count = 10
    days: Days = Days.CALENDAR
    channels: Literal["chosen"] | frozenset[Channel] = "chosen"


class _Customer(_Section):
    protected_marks: frozenset[str] = Policy().protected_marks


class _Calendar(_Section):
    timezone: ZoneName = "UTC"
    holidays: str = ""

    @field_validator("holidays")
    @classmethod
    def _a_country(cls, value: str) -> str:
        if value and not _has_holidays(value):
            raise ValueError("must be a country code that the library `holidays` knows, like RU, or empty for none")
        return value


class _Clearance(_Section):
    valid_minutes: Annotated[int, Field(strict=True, ge=1, le=10_080)] = 15
    wait_for_streams_ms: Annotated[int, Field(strict=True, ge=1, le=60_000)] = 2000


class _Recall(_Section):
    on: frozenset[RecallReason] = RecallRules().on
    acknowledge_within_minutes: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 60
    escalate_after_minutes: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 60
    contact_grace_minutes: Annotated[int, Field(strict=True, ge=0, le=10_080)] = 15


class _File(_Section):
    version: str = "built-in"
    debt: _Debt = _Debt()
    notices: _Notices = _Notices()
    customer: _Customer = _Customer()
    calendar: _Calendar = _Calendar()
    clearance: _Clearance = _Clearance()
    recall: _Recall = _Recall()


def read_policy(path: Path | None) -> Policy:
    """The policy in a file, or the built-in one where there is none. Raises PolicyError."""
    if path is None:
        return Policy()
    try:
        text = path.read_bytes()
    except OSError as why:
        raise PolicyError(f"the policy file {path} can't be read: {why.strerror}") from why
    return parse_policy(text, name=str(path))


def parse_policy(text: bytes, *, name: str = "the policy") -> Policy:
    """The policy in a file's bytes. Raises PolicyError."""
    try:
        read = _File.model_validate(tomllib.loads(text.decode(), parse_float=Decimal))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise PolicyError(f"{name} is not TOML: {why}") from why
    except ValidationError as why:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in why.errors())
        raise PolicyError(f"{name}: {problems}") from why
    return _policy(read, hashlib.sha256(text).hexdigest())


def _policy(read: _File, sha256: str) -> Policy:
    debt, notices = read.debt, read.notices
    return Policy(
        version=read.version,
        sha256=sha256,
        debt=DebtRules(
            tolerance_minor=debt.tolerance_minor,
            tolerance_percent=debt.tolerance_percent,
            minimum_minor=debt.minimum_minor,
            limitation_days=debt.limitation_days,
            snapshot_grace=timedelta(hours=debt.snapshot_grace_hours),
            allocation=debt.allocation,
            only_charges_left_holds=debt.only_charges_left == "hold",
        ),
        notices=NoticeRules(
            debt_reminders=notices.debt_reminders,
            days_since_last_reminder=notices.days_since_last_reminder,
            placement_warning_days=notices.placement_warning_days,
            price_change_days=notices.price_change_days,
            channels=None if notices.channels == "chosen" else frozenset(notices.channels),
            days=notices.days,
        ),
        protected_marks=read.customer.protected_marks,
        timezone=ZoneInfo(read.calendar.timezone),
        holidays=_holidays(read.calendar.holidays),
        clearance_valid=timedelta(minutes=read.clearance.valid_minutes),
        wait_for_streams=timedelta(milliseconds=read.clearance.wait_for_streams_ms),
        recall=RecallRules(
            on=read.recall.on | {RecallReason.DEBT_SETTLED},
            acknowledge_within=timedelta(minutes=read.recall.acknowledge_within_minutes),
            escalate_after=timedelta(minutes=read.recall.escalate_after_minutes),
            contact_grace=timedelta(minutes=read.recall.contact_grace_minutes),
        ),
    )


def _has_holidays(country: str) -> bool:
    import holidays  # noqa: PLC0415 # It is slow to import, and few policies name a country.

    return country in holidays.list_supported_countries()


def _holidays(country: str) -> Holidays:
    """The public holidays of a country; none where none is named."""
    if not country:
        return Holidays()
    import holidays  # noqa: PLC0415 # As above.

    with warnings.catch_warnings():
        # Of some countries it knows fewer years than we ask for, and says so each time.
        warnings.simplefilter("ignore")
        return Holidays.of(holidays.country_holidays(country, years=HOLIDAY_YEARS))
