"""How amounts, instants and days are written for people: in messages, evidence and stories. Never parsed back."""

from __future__ import annotations

from datetime import date, datetime, tzinfo

DIGITS_USUALLY = 2

OTHER_DIGITS = {
    # ISO 4217 lists these with other than two digits of minor unit.
    **dict.fromkeys(["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG"], 0),
    **dict.fromkeys(["RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF", "XPF"], 0),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
}


def digits_of(currency: str) -> int:
    """How many digits amounts of a currency have behind the point."""
    return OTHER_DIGITS.get(currency, DIGITS_USUALLY)


def amount_in_words(amount_minor: int, currency: str) -> str:
    """An amount as people write it: `85000, "RUB"` is `850.00 RUB`."""
    digits = digits_of(currency)
    if not digits:
        return f"{amount_minor} {currency}"
    whole, part = divmod(abs(amount_minor), 10**digits)
    sign = "-" if amount_minor < 0 else ""
    return f"{sign}{whole}.{part:0{digits}d} {currency}"


def instant_in_words(at: datetime, timezone: tzinfo) -> str:
    """An instant in the creditor's time zone, to the minute: `14 Nov 2026 10:02`."""
    return at.astimezone(timezone).strftime("%d %b %Y %H:%M")


def moment_in_words(at: datetime, timezone: tzinfo) -> str:
    """An instant in the creditor's time zone, to the second, where the order of things counts."""
    return at.astimezone(timezone).strftime("%d %b %Y %H:%M:%S")


def day_in_words(day: date) -> str:
    """A date as people write it: `14 Nov 2026`."""
    return day.strftime("%d %b %Y")


def days_in_words(number: int, *, working: bool = False) -> str:
    """A number of days: `1 day`, `10 working days`."""
    kind = "working day" if working else "day"
    return f"{number} {kind}{'' if number == 1 else 's'}"
