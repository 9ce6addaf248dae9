"""Which placements must be withdrawn, reduced, suspended or resumed: why something was recalled.

Called after each event by the consumers, and by the sweep for every account, with the same result: what is
wanted follows from the facts, and what was already said (`Said`) is taken off. A recall is final (S5), there
is one for each placement (S2), and it names that placement (S4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never
from uuid import UUID, uuid5

from domain.account import Account, Debt, Placement
from domain.allocation import Balance, balances
from domain.events import DisputeOutcome, PlacementOpened, ProtectionChanged, Recorded
from domain.policy import DebtRules, Policy, RecallReason

_RECALLS = UUID("8f8f7d2e-52f5-4f0c-9a6f-6f2c1a0f8f6d")
"""The name space of recall ids (RFC 9562, version 5): a placement has one, whoever computes it."""


class Cause(StrEnum):
    """Whether the money came after the placement, or the placement should never have been."""

    PAID_AFTER_PLACEMENT = "paid_after_placement"
    REFERRED_IN_ERROR = "referred_in_error"
    MANUAL = "manual"


class RecallStage(StrEnum):
    """Where a recall stands, from its request to its end; the one that stands last in its life wins."""

    REQUESTED = "requested"
    SENT = "sent"
    OVERDUE = "overdue"
    ESCALATED = "escalated"
    REJECTED = "rejected"
    TAKEN_OVER = "taken_over"
    CLOSED = "closed"
    ACKNOWLEDGED = "acknowledged"


OVER = frozenset({RecallStage.CLOSED, RecallStage.ACKNOWLEDGED})
"""The states in which nothing is left to do."""

OPEN = tuple(stage for stage in RecallStage if stage not in OVER)
"""The others, in the order of a recall's life."""


@dataclass(frozen=True, slots=True)
class RecallRequested:
    """Order the agency to stop. `trigger` is the event that made the placement wrong."""

    recall_id: str
    placement: PlacementOpened
    reason: RecallReason
    cause: Cause
    outstanding: int
    currency: str
    requested_at: datetime
    acknowledge_by: datetime
    trigger: Recorded
    paid_at: datetime | None
    noticed_by: Recorded | None
    """The event after which the recall could first be known; None when a sweep found it."""


@dataclass(frozen=True, slots=True)
class BalanceReduced:
    """Tell the agency that less is owed than it believes."""

    placement: PlacementOpened
    outstanding: int
    currency: str
    as_of: datetime


@dataclass(frozen=True, slots=True)
class PlacementSuspended:
    """Tell the agency to pause while a dispute is open."""

    placement: PlacementOpened
    at: datetime
    reason: str = "DISPUTE_OPEN"


@dataclass(frozen=True, slots=True)
class PlacementResumed:
    """Tell the agency to go on: no dispute is open any more."""

    placement: PlacementOpened
    at: datetime
    reason: str = "DISPUTE_CLOSED"


Message = RecallRequested | BalanceReduced | PlacementSuspended | PlacementResumed


@dataclass(frozen=True, slots=True)
class Said:
    """What an agency has been told of one placement so far. `told` is in minor units."""

    told: int
    suspended: bool = False
    recalled: bool = False


SaidOf = Mapping[str, Said]
"""What was said, by placement id."""


def recall_id_of(account_id: str, placement_id: str) -> str:
    """The one recall id of a placement."""
    return str(uuid5(_RECALLS, f"{account_id}\n{placement_id}"))


def is_open(account: Account, placement_id: str, said: Said | None) -> bool:
    """Whether the agency still has the debt: opened, not closed, and no recall of it acknowledged."""
    episode = account.placements[placement_id]
    if episode.opened is None or episode.closed_at is not None:
        return False
    if said is None or not said.recalled:
        return True
    return episode.acknowledged_at(recall_id_of(account.account_id, placement_id)) is None


def decide(
    account: Account, said: SaidOf, policy: Policy, *, now: datetime, noticed_by: Recorded | None
) -> tuple[Message, ...]:
    """What must be told to agencies now, given what they were told before; in order of placement id."""
    to_judge = [
        (placement_id, episode.opened)
        for placement_id, episode in sorted(account.placements.items())
        if episode.opened is not None
        and is_open(account, placement_id, said.get(placement_id))
        and not said.get(placement_id, _nothing(episode)).recalled
    ]
    if not to_judge:
        return ()
    owed = balances(account, policy.debt)
    messages: list[Message] = []
    for placement_id, opened in to_judge:
        debt = account.debts.get(opened.debt_id, Debt())
        told = said.get(placement_id, Said(told=opened.amount))
        judge = _Judge(account, debt, owed.get(opened.debt_id), opened, told, policy, now)
        messages += judge.messages(noticed_by)
    return tuple(messages)


def after(said: SaidOf, messages: tuple[Message, ...]) -> SaidOf:
    """What has been said once these messages are out."""
    result = dict(said)
    for message in messages:
        opened = message.placement
        before = result.get(opened.placement_id, Said(told=opened.amount))
        match message:
            case RecallRequested():
                result[opened.placement_id] = replace(before, recalled=True)
            case BalanceReduced():
                result[opened.placement_id] = replace(before, told=message.outstanding)
            case PlacementSuspended():
                result[opened.placement_id] = replace(before, suspended=True)
            case PlacementResumed():
                result[opened.placement_id] = replace(before, suspended=False)
            case _:
                assert_never(message)
    return result


def _nothing(episode: Placement) -> Said:
    return Said(told=episode.opened.amount if episode.opened else 0)


@dataclass(frozen=True, slots=True)
class _Ground:
    """Why a placement is wrong: the reason, the event that made it so, and when it was paid if it was."""

    reason: RecallReason
    trigger: Recorded
    paid_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Judge:
    """One open placement, beside what the policy says of it.

    `balance` is None where its debt was never stated: what is owed then waits to be known, and the placement stands
    or falls with all else.
    """

    account: Account
    debt: Debt
    balance: Balance | None
    opened: PlacementOpened
    said: Said
    policy: Policy
    now: datetime

    def messages(self, noticed_by: Recorded | None) -> list[Message]:
        ground = next((g for g in self._grounds() if g.reason in self._recalled_reasons()), None)
        if ground is not None:
            return [self._recall(ground, noticed_by)]
        messages: list[Message] = []
        outstanding, currency = self._owed()
        if currency == self.opened.currency and outstanding < self.said.told:
            messages.append(BalanceReduced(self.opened, outstanding, currency, self.now))
        disputed = any(
            dispute.is_open and dispute.concerns(self.opened.debt_id) for dispute in self.account.disputes.values()
        )
        if disputed and not self.said.suspended:
            messages.append(PlacementSuspended(self.opened, self.now))
        if self.said.suspended and not disputed:
            messages.append(PlacementResumed(self.opened, self.now))
        return messages

    def _recalled_reasons(self) -> frozenset[RecallReason]:
        # That the debt is paid, or that a person orders it, always recalls, whatever the policy lists.
        return self.policy.recall.on | {RecallReason.DEBT_SETTLED, RecallReason.MANUAL}

    def _grounds(self) -> list[_Ground]:
        """All that makes this placement wrong, in the order of `RecallReason`."""
        found: list[_Ground] = []
        rules = self.policy.debt
        if self.balance and self.balance.settled(rules):
            found.append(_paid(self.balance, RecallReason.DEBT_SETTLED, lambda balance: balance.settled(rules)))
        if self.debt.withdrawn and self.debt.withdrawal is not None:
            found.append(_Ground(RecallReason.DEBT_WITHDRAWN, self.debt.withdrawal))
        if protection := protected_by(self.account, self.policy):
            found.append(_Ground(RecallReason.PROTECTED_CUSTOMER, protection))
        since = self.balance.terms.as_of if self.balance else self.opened.placed_at
        if upheld := upheld_dispute(self.account, self.opened.debt_id, since=since):
            found.append(_Ground(RecallReason.DISPUTE_UPHELD, upheld))
        if self.balance and below_minimum(self.balance, rules):
            below = _paid(self.balance, RecallReason.BELOW_MINIMUM, lambda balance: below_minimum(balance, rules))
            found.append(below)
        if self.balance and rules.only_charges_left_holds and only_charges_left(self.balance):
            found.append(_paid(self.balance, RecallReason.ONLY_CHARGES_LEFT, only_charges_left))
        if order := self.account.placements[self.opened.placement_id].ordered_by:
            found.append(_Ground(RecallReason.MANUAL, order))
        return found

    def _owed(self) -> tuple[int, str]:
        """What is owed, as far as it is known: by the debt's statement, else by what the agency was told."""
        if self.balance is None:
            return self.said.told, self.opened.currency
        return self.balance.outstanding, self.balance.terms.currency

    def _recall(self, ground: _Ground, noticed_by: Recorded | None) -> RecallRequested:
        outstanding, currency = self._owed()
        return RecallRequested(
            recall_id=recall_id_of(self.account.account_id, self.opened.placement_id),
            placement=self.opened,
            reason=ground.reason,
            cause=self._cause(ground),
            outstanding=outstanding,
            currency=currency,
            requested_at=self.now,
            acknowledge_by=self.policy.recall.acknowledge_by(self.opened.agency_id, self.now),
            trigger=ground.trigger,
            paid_at=ground.paid_at,
            noticed_by=noticed_by,
        )

    def _cause(self, ground: _Ground) -> Cause:
        if ground.reason is RecallReason.MANUAL:
            return Cause.MANUAL
        paid_after = ground.paid_at is not None and ground.paid_at > self.opened.placed_at
        return Cause.PAID_AFTER_PLACEMENT if paid_after else Cause.REFERRED_IN_ERROR


def _paid(balance: Balance, reason: RecallReason, state: Callable[[Balance], bool]) -> _Ground:
    """The money that brought a debt into a state, or the statement where it always was in it."""
    money = balance.brought_to(state)
    if money is None:
        return _Ground(reason, balance.stated_by)
    return _Ground(reason, money.said_by, money.at)


def protected_by(account: Account, policy: Policy) -> Recorded | None:
    """The event that marks this customer as one whom the policy protects, if any holds now."""
    latest = account.protection
    if latest is None or not isinstance(latest.said_by.event, ProtectionChanged):
        return None
    return latest.said_by if latest.said_by.event.marks & policy.protected_marks else None


def upheld_dispute(account: Account, debt_id: str, *, since: datetime) -> Recorded | None:
    """The latest event that upheld a dispute of this debt after it was last stated, if any.

    A statement made after the outcome has taken it into account, so it is a claim again.
    """
    upheld = [
        dispute.closed_by
        for dispute in account.disputes.values()
        if dispute.closed is not None
        and dispute.closed_by is not None
        and dispute.closed.outcome is DisputeOutcome.UPHELD
        and dispute.concerns(debt_id)
        and dispute.closed.closed_at > since
    ]
    return max(upheld, key=lambda recorded: recorded.stamp, default=None)


def below_minimum(balance: Balance, rules: DebtRules) -> bool:
    """Whether less is owed than may be placed."""
    return balance.outstanding < rules.minimum_minor


def only_charges_left(balance: Balance) -> bool:
    """Whether something is owed, and all of it is fees or penalties."""
    left = {kind for kind, amount in balance.left.items() if amount}
    return bool(left) and left <= {"fee", "penalty"}
