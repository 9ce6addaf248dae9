"""The console's words, in each language: texts by name, plurals, amounts and instants as its readers write them.

Used by the templates as `w`. The texts are the TOML files in `words/`, one for each page and language; a text with
more than one form is a table by the plural categories of the language (Unicode CLDR), chosen by `n`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path

from babel import Locale, dates, numbers

from domain.words import digits_of

FOLDER = Path(__file__).with_name("words")

MINUTE_SECONDS = 60
HOUR_SECONDS = 3_600
DAY_SECONDS = 86_400

Text = str | Mapping[str, str]

_LETTERS_BEFORE_FIGURES = re.compile(r"(?<=[A-Z])(?=-?\d)")


class Tongue(StrEnum):
    """The languages of the console."""

    EN = "en"
    RU = "ru"


class Words:
    """The words of one language, with times in one zone."""

    def __init__(self, tongue: Tongue, timezone: tzinfo) -> None:
        self.tongue = tongue
        self.timezone = timezone
        self._locale = Locale.parse(tongue)
        self._texts = texts(tongue)

    def __call__(self, name: str, /, **values: object) -> str:
        """A text by its name, `page.name`, with its `{values}`; `n` chooses among forms. Raises KeyError."""
        text = self._texts[name]
        if not isinstance(text, str):
            number = values["n"]
            if not isinstance(number, int):
                raise TypeError(f"the forms of {name} are chosen by a number `n`")
            text = text[self._locale.plural_form(number)]
            values = {**values, "n": self.number(number)}
        return text.format(**values)

    def has(self, name: str) -> bool:
        """Whether there is a text of this name, for words that others choose: codes and states."""
        return name in self._texts

    def number(self, value: int) -> str:
        """A whole number, its thousands apart."""
        return str(numbers.format_decimal(value, locale=self._locale))

    def amount(self, amount_minor: int, currency: str) -> str:
        """An amount of money; a currency that is told by its letters stands apart from the figures."""
        digits = digits_of(currency)
        value = Decimal(amount_minor).scaleb(-digits)
        told = str(
            numbers.format_currency(
                value, currency, locale=self._locale, currency_digits=False, decimal_quantization=False,
                format=_currency_format(self._locale, digits),
            )
        )  # fmt: skip
        return _LETTERS_BEFORE_FIGURES.sub("\u00a0", told)

    def moment(self, at: datetime) -> str:
        """An instant to the second."""
        return str(dates.format_datetime(at, "d MMM yyyy HH:mm:ss", tzinfo=self.timezone, locale=self._locale))

    def clock(self, at: datetime) -> str:
        """The hour and minute of an instant."""
        return str(dates.format_time(at, "HH:mm", tzinfo=self.timezone, locale=self._locale))

    def day(self, at: datetime) -> str:
        """The day of an instant."""
        return str(dates.format_date(at.astimezone(self.timezone), "d MMM yyyy", locale=self._locale))

    def duration(self, span: timedelta | float) -> str:
        """How long: `41 s`, `3 min`, `2 h 5 min`, `4 d 3 h`; seconds with a fraction below ten."""
        seconds = span.total_seconds() if isinstance(span, timedelta) else span
        seconds = max(0.0, seconds)
        if seconds < 1:
            return self("common.milliseconds", value=round(seconds * 1000))
        if seconds < MINUTE_SECONDS:
            value = f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"  # Two digits either way.
            return self("common.seconds", value=value.replace(".", self("common.decimal_point")))
        whole = int(seconds)
        parts = (
            (whole // DAY_SECONDS, "common.days"),
            (whole % DAY_SECONDS // HOUR_SECONDS, "common.hours"),
            (whole % HOUR_SECONDS // MINUTE_SECONDS, "common.minutes"),
        )
        told = [self(name, value=value) for value, name in parts if value]
        return " ".join(told[:2])


def _currency_format(locale: Locale, digits: int) -> str:
    """The language's way to write money, with as many digits behind the point as the currency has."""
    pattern = str(locale.currency_formats["standard"].pattern)
    return pattern.replace("0.00", f"0.{'0' * digits}" if digits else "0")


@cache
def texts(tongue: Tongue) -> dict[str, Text]:
    """Every text of a language, by `page.name`."""
    found: dict[str, Text] = {}
    for file in sorted((FOLDER / tongue).glob("*.toml")):
        for name, text in tomllib.loads(file.read_text(encoding="utf-8")).items():
            found[f"{file.stem}.{name}"] = text
    return found


def tongue_of(chosen: str | None, accepted: str | None) -> Tongue:
    """The language of a page: what was chosen, else the first that the browser takes and we have, else English."""
    wanted = [chosen or ""]
    for part in (accepted or "").split(","):
        wanted.append(part.partition(";")[0].strip().partition("-")[0].lower())
    for one in wanted:
        if one in set(Tongue):
            return Tongue(one)
    return Tongue.EN
