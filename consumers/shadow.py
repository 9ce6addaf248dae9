"""`shadow report`: what was answered before each placement, beside what collections then did.

Called by `consumers.desk`. It is what a creditor looks at before the answers are enforced: how many placements
would not have been made, and how many of them had been paid.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from consumers.compose import House
from consumers.parts import utc_now
from consumers.terminal import answer
from domain.clearance import Decision
from infra.postgres.shadow import Group

NOT_ASKED = "not_asked"

ANSWERS = (*Decision, NOT_ASKED)
"""What may have been said before a placement."""


@dataclass(frozen=True, slots=True)
class Report:
    """The placements of a time, in groups."""

    since: datetime
    until: datetime
    groups: Sequence[Group]

    def count(self, wanted: Callable[[Group], bool] = lambda _group: True) -> int:
        """How many placements are of the groups that are wanted."""
        return sum(one.placements for one in self.groups if wanted(one))

    def answered(self, decision: str, *, paid_before: bool | None = None) -> int:
        """How many placements were made after this answer; of those paid before alone, or of all."""
        return self.count(
            lambda one: (one.decision or NOT_ASKED) == decision and paid_before in {None, one.paid_before}
        )

    def reasons(self, decision: str) -> dict[str, int]:
        """How many placements were made although the answer had been this one, by its first reason."""
        found: dict[str, int] = {}
        for one in self.groups:
            if one.decision == decision and one.code:
                found[one.code] = found.get(one.code, 0) + one.placements
        return found

    def as_json(self) -> dict[str, object]:
        """The report as data."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "placements": self.count(),
            "paid_before": self.count(lambda one: one.paid_before),
            "in_shadow": self.count(lambda one: one.shadow),
            "answered": {name: self.answered(name) for name in ANSWERS},
            "paid_before_answered": {name: self.answered(name, paid_before=True) for name in ANSWERS},
            "hold": self.reasons(Decision.HOLD),
            "refuse": self.reasons(Decision.REFUSE),
        }

    def in_words(self) -> Iterator[str]:
        """The report for people, a line each."""
        paid = self.count(lambda one: one.paid_before)
        yield f"Of {self.count():,} placements since {self.since.isoformat()}, {paid:,} had been paid before."
        yield f"  asked before: {self.count(lambda one: one.decision is not None):,}, {self._in_shadow()}"
        for decision in (Decision.REFUSE, Decision.HOLD):
            reasons = ", ".join(f"{code} {count:,}" for code, count in sorted(self.reasons(decision).items()))
            yield f"  placed although the answer was {decision}: {self.answered(decision):,}" + (
                f" ({reasons})" if reasons else ""
            )
        yield f"  placed as the answer was clear: {self.answered(Decision.CLEAR):,}"
        yield f"  placed without asking: {self.answered(NOT_ASKED):,}"
        if paid:
            split = ", ".join(
                f"{name.replace('_', ' ')} {self.answered(name, paid_before=True):,}" for name in ANSWERS
            )
            yield f"  of those that had been paid before, the answer was: {split}"

    def _in_shadow(self) -> str:
        return f"{self.count(lambda one: one.shadow):,} of them in shadow mode"


def report(arguments: argparse.Namespace, house: House) -> int:
    """Compare, and write it."""
    until = utc_now()
    since = until - timedelta(days=arguments.days)
    found = Report(since, until, house.shadow().groups(since, until))
    answer(found.as_json(), found.in_words(), as_json=arguments.json)
    return 0
