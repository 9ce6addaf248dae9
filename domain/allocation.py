"""What is still owed on each debt of an account, and which money brought it there.

Called by `domain.recall` and `domain.clearance`. A pure function of the facts, so the order in which events
arrived cannot matter (S7).

Money that names a debt goes to that debt first, then money that names a contract to that contract's debts,
then all other money and what was left over, to the account's debts: oldest `due_on` first (then by debt id),
debts that collections had taken back before it was paid last, and within a debt in the policy's order of
components. Within each of these rounds the earliest money goes first. Money counts against a debt only when it
is dated after the debt's `as_of` and is not among its `reflected_payment_ids`; it is never turned into another
currency.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from domain.account import Account, Money, Statement
from domain.events import Component, DebtReferred, Recorded
from domain.policy import DebtRules


@dataclass(frozen=True, slots=True)
class Share:
    """The part of one money that went to one debt, in minor units."""

    money: Money
    amount: int


@dataclass(frozen=True, slots=True)
class Balance:
    """What is owed on one debt. Amounts are in minor units of the debt's currency."""

    terms: DebtReferred
    stated_by: Recorded
    shares: tuple[Share, ...]
    in_other_currency: tuple[Money, ...]
    allocation: tuple[Component, ...]

    @property
    def outstanding(self) -> int:
        """The amount less what has been allocated to it."""
        return self.terms.amount - sum(share.amount for share in self.shares)

    @property
    def left(self) -> Mapping[Component, int]:
        """What is left of each component; a debt that states none is all principal."""
        parts: dict[Component, int] = {}
        for part in self.terms.components:
            parts[part.kind] = parts.get(part.kind, 0) + part.amount
        if not parts:
            parts[Component.PRINCIPAL] = self.terms.amount
        paid = sum(share.amount for share in self.shares)
        for kind in sorted(parts, key=self._order):
            taken = min(parts[kind], paid)
            parts[kind] -= taken
            paid -= taken
        return parts

    def _order(self, kind: Component) -> tuple[int, str]:
        known = self.allocation
        return (known.index(kind) if kind in known else len(known), kind)

    def settled(self, rules: DebtRules) -> bool:
        """Whether nothing is owed, or no more than the policy's tolerance."""
        return self.outstanding <= tolerance(self.terms, rules)

    def settled_by(self, rules: DebtRules) -> Money | None:
        """The money, in order of its date, with which this became settled; None where it always was."""
        return self.brought_to(lambda balance: balance.settled(rules))

    def brought_to(self, state: Callable[[Balance], bool]) -> Money | None:
        """The money, in order of its date, with which this came into a state; None where it always was.

        The state holds now, and more money never ended it on the way here.
        """
        ordered = tuple(sorted(self.shares, key=lambda share: _money_order(share.money)))
        needed = bisect_left(
            range(len(ordered)), True, key=lambda taken: state(replace(self, shares=ordered[:taken]))
        )
        return ordered[needed - 1].money if needed else None


def tolerance(terms: DebtReferred, rules: DebtRules) -> int:
    """What may be left of a debt that counts as settled, in minor units: the greater of amount and share."""
    share = Decimal(terms.amount) * rules.tolerance_percent / 100
    return max(rules.tolerance_minor, int(share))


def balances(
    account: Account, rules: DebtRules, *, also: Iterable[Money] = (), in_time: Iterable[tuple[str, str]] = ()
) -> Mapping[str, Balance]:
    """The balance of every stated debt, by debt id.

    To ask "what if": `also` is money counted as if it had arrived today, and `in_time` holds pairs of money
    id and debt id which count together whatever their dates.
    """
    expected = list(also)
    every = {(one.money_id, debt_id) for one in expected for debt_id in account.debts}
    return _Book(account, rules, every | set(in_time)).balances(_arrived(account) + expected)


def pending(account: Account) -> tuple[Money, ...]:
    """The money on its way, earliest first."""
    waiting = (money for payment in account.payments.values() if (money := payment.on_its_way))
    return tuple(sorted(waiting, key=_money_order))


def uncertain(account: Account, terms: DebtReferred, grace: timedelta) -> tuple[Money, ...]:
    """The money that the copy which stated this debt may not have had, earliest first.

    It is dated at `as_of` or before it by less than the grace, and not listed as reflected. Money that names
    another debt is among it: what that debt leaves over may be meant.
    """
    doubtful = (
        money
        for money in _arrived(account)
        if timedelta(0) <= terms.as_of - money.at < grace and money.money_id not in terms.reflected_payment_ids
    )
    return tuple(sorted(doubtful, key=_money_order))


def _arrived(account: Account) -> list[Money]:
    paid = [money for payment in account.payments.values() if (money := payment.counts)]
    return paid + list(account.credits.values())


def _money_order(money: Money) -> tuple[datetime, str]:
    return (money.at, money.money_id)


def _debt_order(terms: DebtReferred) -> tuple[int, str]:
    return (terms.due_on.toordinal(), terms.debt_id)


class _Book:
    """One allocation in the making: what each debt still takes and each money still has."""

    def __init__(self, account: Account, rules: DebtRules, in_time: set[tuple[str, str]]) -> None:
        self._allocation = rules.allocation
        self._in_time = in_time
        stated = [(debt, debt.statement) for debt in account.debts.values() if debt.statement is not None]
        stated.sort(key=lambda pair: _debt_order(pair[1].terms))
        self._statements = [statement for _, statement in stated]
        self._withdrawn_at = {
            statement.terms.debt_id: debt.withdrawal.time
            for debt, statement in stated
            if debt.withdrawn and debt.withdrawal is not None
        }
        self._owed = {statement.terms.debt_id: statement.terms.amount for statement in self._statements}
        self._shares: dict[str, list[Share]] = {debt_id: [] for debt_id in self._owed}
        self._foreign: dict[str, list[Money]] = {debt_id: [] for debt_id in self._owed}

    def balances(self, money: list[Money]) -> Mapping[str, Balance]:
        of_debts = [one for one in money if one.debt_id is not None]
        of_contracts = [one for one in money if one.debt_id is None and one.contract_id is not None]
        free = [(one, one.amount) for one in money if one.debt_id is None and one.contract_id is None]
        for one in sorted(of_debts, key=_money_order):
            free += self._allocate(one, [s for s in self._statements if s.terms.debt_id == one.debt_id])
        for one in sorted(of_contracts, key=_money_order):
            free += self._allocate(one, [s for s in self._statements if s.terms.contract_id == one.contract_id])
        for one, left in sorted(free, key=lambda pair: _money_order(pair[0])):
            self._allocate(one, self._statements, left)
        return {s.terms.debt_id: self._balance(s.terms, s.said_by) for s in self._statements}

    def _allocate(
        self, one: Money, statements: list[Statement], left: int | None = None
    ) -> list[tuple[Money, int]]:
        """Give money to these debts, and say what is over.

        Nothing is over where none of them could count it: then it is not surplus but waits for its own debt.
        """
        met = False
        left = one.amount if left is None else left
        for statement in self._claimed_first(one, statements):
            terms = statement.terms
            if not self._counts(one, terms):
                continue
            owed = self._owed[terms.debt_id]
            if one.currency != terms.currency:
                if owed and left and one not in self._foreign[terms.debt_id]:
                    self._foreign[terms.debt_id].append(one)
                continue
            met = True
            taken = min(left, owed)
            if taken:
                self._owed[terms.debt_id] -= taken
                self._shares[terms.debt_id].append(Share(one, taken))
                left -= taken
        return [(one, left)] if met and left else []

    def _claimed_first(self, one: Money, statements: list[Statement]) -> list[Statement]:
        """These debts, those last that were no claim any more when this was paid.

        A debt that is withdrawn because it was paid keeps the money that paid it.
        """
        gone = self._withdrawn_at
        if not gone:
            return statements
        return sorted(statements, key=lambda s: (at := gone.get(s.terms.debt_id)) is not None and at <= one.at)

    def _counts(self, one: Money, terms: DebtReferred) -> bool:
        if one.money_id in terms.reflected_payment_ids:
            return False
        return one.at > terms.as_of or (one.money_id, terms.debt_id) in self._in_time

    def _balance(self, terms: DebtReferred, stated_by: Recorded) -> Balance:
        debt_id = terms.debt_id
        return Balance(
            terms=terms,
            stated_by=stated_by,
            shares=tuple(self._shares[debt_id]),
            in_other_currency=tuple(self._foreign[debt_id]) if self._owed[debt_id] else (),
            allocation=self._allocation,
        )
