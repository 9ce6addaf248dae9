"""Which days are working days, and how many of them lie between two days.

Called by the rules of a clearance that count days. The policy carries the holidays: where they come from is
`infra.policy_file`'s to know. Dates are those of the creditor's time zone; nothing here reads a clock.

Theory: day 1 of the calendar was a Monday, so of the first n days n // 7 * 5 + min(n % 7, 5) are Monday to Friday.
A count is a difference of two such sums, less the holidays between them by bisection: no loop over days, however
long ago it begins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

SATURDAY = 5
"""As `date.weekday` counts, from Monday, 0."""


@dataclass(frozen=True, slots=True)
class Holidays:
    """Public holidays that fall on Monday to Friday, in order and each once, as `of` puts them."""

    dates: tuple[date, ...] = ()

    @classmethod
    def of(cls, dates: Iterable[date]) -> Holidays:
        """The holidays among these dates that take a working day away."""
        return cls(tuple(sorted({one for one in dates if one.weekday() < SATURDAY})))

    def working_days(self, *, after: date, until: date) -> int:
        """How many working days lie after one day, up to and including another; 0 where that is not later.

        A day counts if it is Monday to Friday and no holiday. So on a Monday one working day has passed since the
        Friday before, and since the Saturday and the Sunday too: a weekend gives nobody time to act.
        """
        if until <= after:
            return 0
        holidays = bisect_right(self.dates, until) - bisect_right(self.dates, after)
        return _weekdays_to(until) - _weekdays_to(after) - holidays


def _weekdays_to(day: date) -> int:
    """How many of all days up to this one are Monday to Friday."""
    weeks, rest = divmod(day.toordinal(), 7)
    return weeks * SATURDAY + min(rest, SATURDAY)
