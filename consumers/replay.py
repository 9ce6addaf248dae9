"""A creditor's own history through the guard's rules, with the clock of its events: what would have happened.

Called by the command `replay`. Uses the same decoding and the same decisions as `ingest`; what it keeps in
memory instead of PostgreSQL is the set of facts and what was said. Writes nothing and sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from uuid import UUID, uuid5

from domain import clearance, recall
from domain.account import Account, apply
from domain.events import DebtReferred, Origin, PlacementOpened, Recorded
from domain.policy import Policy
from infra.wire.decode import Decoded, Rejected, decode_line

_PLACEMENTS = UUID("0f0f0b0e-36f4-4d3f-8f43-5d8f2f1a7c11")
"""The name space of the placements that a replay opens (RFC 9562, version 5): the same in every run."""

UNNAMED_AGENCY = "agency"
"""Where a referral names no agency, a replay places it here."""


@dataclass(slots=True)
class Report:
    """What would have happened, in the contract's words; `hold` and `refuse` count a question once."""

    referred: int = 0
    clear: int = 0
    hold: Counter[str] = field(default_factory=Counter)
    refuse: Counter[str] = field(default_factory=Counter)
    cleared_minor: int = 0
    recalled: Counter[str] = field(default_factory=Counter)
    balance_reduced: int = 0
    quarantined: int = 0
    duplicates: int = 0

    def as_json(self) -> dict[str, object]:
        """The report under the contract's names."""
        return {
            "referred": self.referred,
            "clear": self.clear,
            "hold": dict(sorted(self.hold.items())),
            "refuse": dict(sorted(self.refuse.items())),
            "cleared_minor": self.cleared_minor,
            "recalled": dict(sorted(self.recalled.items())),
            "balance_reduced": self.balance_reduced,
            "quarantined": self.quarantined,
            "duplicates": self.duplicates,
        }

    def in_words(self) -> list[str]:
        """The report for people, a line each."""
        held = [f"  {count:>9,} {code}" for code, count in self.hold.most_common()]
        refused = [f"  {count:>9,} {code}" for code, count in self.refuse.most_common()]
        recalled = [f"  {count:>9,} {reason}" for reason, count in self.recalled.most_common()]
        return [
            f"{self.referred:>11,} debts referred",
            f"{self.clear:>11,} clear to place, {self.cleared_minor:,} outstanding in minor units",
            f"{self.hold.total():>11,} held",
            *held,
            f"{self.refuse.total():>11,} refused",
            *refused,
            f"{self.recalled.total():>11,} recalled after placement",
            *recalled,
            f"{self.balance_reduced:>11,} balances reduced",
            f"{self.quarantined:>11,} events that can't be read, {self.duplicates:,} duplicates",
        ]


@dataclass(slots=True)
class _History:
    """The events of a file by account, each once, and the accounts that a bad line put on hold."""

    by_account: dict[str, list[Recorded]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)


def replay(
    lines: Iterable[bytes],
    policy: Policy,
    *,
    on_placement: Callable[[PlacementOpened], None] = lambda _placement: None,
    on_message: Callable[[recall.Message], None] = lambda _message: None,
) -> Report:
    """Run a file's events in order of their time; each referral is asked after the others of its instant."""
    report = Report()
    history = _read(lines, report)
    for account_id, recorded in history.by_account.items():
        life = _Life(Account(account_id), policy, report, on_placement, on_message)
        life.live(sorted(recorded, key=_order), quarantined=account_id in history.held)
    return report


def _order(recorded: Recorded) -> tuple[object, ...]:
    return (recorded.time, isinstance(recorded.event, DebtReferred), recorded.source, recorded.id)


def _read(lines: Iterable[bytes], report: Report) -> _History:
    history = _History()
    digests: dict[tuple[str, str], bytes] = {}
    for decoded in _decoded(lines):
        if isinstance(decoded, Rejected):
            report.quarantined += 1
            history.held.update(decoded.accounts)
            continue
        recorded = decoded.recorded
        known = digests.setdefault((recorded.source, recorded.id), decoded.digest)
        if known is decoded.digest:
            history.by_account.setdefault(decoded.account_id, []).append(recorded)
        elif known == decoded.digest:
            report.duplicates += 1
        else:
            report.quarantined += 1
            history.held.add(decoded.account_id)
    return history


def _decoded(lines: Iterable[bytes]) -> Iterator[Decoded | Rejected]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield decode_line(line, number)


@dataclass(slots=True)
class _Life:
    """One account, living through its events."""

    account: Account
    policy: Policy
    report: Report
    on_placement: Callable[[PlacementOpened], None]
    on_message: Callable[[recall.Message], None]
    said: recall.SaidOf = field(default_factory=dict)

    def live(self, events: list[Recorded], *, quarantined: bool) -> None:
        for _, instant in groupby(events, key=lambda recorded: recorded.time):
            together = list(instant)
            for recorded in together:
                self._apply(recorded)
            for recorded in together:
                if isinstance(recorded.event, DebtReferred):
                    self._ask(recorded.event, recorded, quarantined=quarantined)

    def _apply(self, recorded: Recorded) -> None:
        self.account = apply(self.account, recorded)
        messages = recall.decide(self.account, self.said, self.policy, now=recorded.time, noticed_by=recorded)
        self.said = recall.after(self.said, messages)
        for message in messages:
            self._count(message)

    def _count(self, message: recall.Message) -> None:
        if isinstance(message, recall.RecallRequested):
            self.report.recalled[message.reason] += 1
        if isinstance(message, recall.BalanceReduced):
            self.report.balance_reduced += 1
        self.on_message(message)

    def _ask(self, referred: DebtReferred, recorded: Recorded, *, quarantined: bool) -> None:
        self.report.referred += 1
        answer = clearance.answer(
            clearance.Question(
                self.account, self.said, referred.debt_id, self.policy, recorded.time, quarantined=quarantined
            )
        )
        match answer.decision:
            case clearance.Decision.CLEAR:
                self.report.clear += 1
                self.report.cleared_minor += answer.outstanding
                self._place(referred, recorded, answer)
            case clearance.Decision.HOLD:
                self.report.hold[answer.reasons[0].code] += 1
            case clearance.Decision.REFUSE:
                self.report.refuse[answer.reasons[0].code] += 1

    def _place(self, referred: DebtReferred, recorded: Recorded, answer: clearance.Answer) -> None:
        name = "\n".join((referred.account_id, referred.debt_id, recorded.source, recorded.id))
        opened = PlacementOpened(
            account_id=referred.account_id,
            placement_id=str(uuid5(_PLACEMENTS, name)),
            debt_id=referred.debt_id,
            agency_id=referred.agency_id or UNNAMED_AGENCY,
            amount=answer.outstanding,
            currency=answer.currency,
            placed_at=recorded.time,
        )
        self.on_placement(opened)
        placed = Recorded(opened, "replay", opened.placement_id, recorded.time, Origin("file", 0, 0, recorded.time))
        self._apply(placed)
