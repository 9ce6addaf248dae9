"""Whether a debt may be placed now: the contract's table of reasons, in its order.

Called by whoever asks before a transfer, with the account's facts and the policy. Never knows how the facts
were read: that they are complete is the caller's promise (S1), and where it can't be kept the caller says so
with `behind`. All reasons that apply are listed; the first decides; where none applies the answer is clear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.account import Account, Debt, Money, Statement
from domain.allocation import Balance, balances, pending, uncertain
from domain.events import ChannelsChosen, Component, CreditPosted, NoticeDelivered, NoticeKind
from domain.policy import Policy
from domain.recall import SaidOf, below_minimum, is_open, only_charges_left, protected_by, upheld_dispute
from domain.words import amount_in_words, instant_in_words


class Decision(StrEnum):
    """The answer: place it, not now, or not this."""

    CLEAR = "clear"
    HOLD = "hold"
    REFUSE = "refuse"


class Code(StrEnum):
    """Why a debt may not be placed, in order of precedence."""

    ACCOUNT_QUARANTINED = "ACCOUNT_QUARANTINED"
    STREAM_BEHIND = "STREAM_BEHIND"
    DEBT_UNKNOWN = "DEBT_UNKNOWN"
    DEBT_WITHDRAWN = "DEBT_WITHDRAWN"
    ALREADY_PLACED = "ALREADY_PLACED"
    DEBT_SETTLED = "DEBT_SETTLED"
    DEBT_TIME_BARRED = "DEBT_TIME_BARRED"
    PROTECTED_CUSTOMER = "PROTECTED_CUSTOMER"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    ONLY_CHARGES_LEFT = "ONLY_CHARGES_LEFT"
    PRICE_CHANGE_NOT_NOTIFIED = "PRICE_CHANGE_NOT_NOTIFIED"
    PAYMENT_PENDING = "PAYMENT_PENDING"
    SNAPSHOT_UNCERTAIN = "SNAPSHOT_UNCERTAIN"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    DISPUTE_OPEN = "DISPUTE_OPEN"
    PLAN_ACTIVE = "PLAN_ACTIVE"
    NOTICES_MISSING = "NOTICES_MISSING"


_REFUSED = frozenset(
    {
        Code.DEBT_UNKNOWN,
        Code.DEBT_WITHDRAWN,
        Code.ALREADY_PLACED,
        Code.DEBT_SETTLED,
        Code.DEBT_TIME_BARRED,
        Code.PROTECTED_CUSTOMER,
        Code.BELOW_MINIMUM,
    }
)


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason that applies, with what a person can check."""

    code: Code
    message: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What may be done with a debt now. `outstanding` is in minor units; 0 where the debt is unknown."""

    decision: Decision
    reasons: tuple[Reason, ...]
    outstanding: int
    currency: str


@dataclass(frozen=True, slots=True)
class Question:
    """One debt of one account, and what the answer is given on."""

    account: Account
    said: SaidOf
    debt_id: str
    policy: Policy
    now: datetime
    quarantined: bool = False
    behind: str | None = None
    """Why not all that was acknowledged before the question may be known; None where all is."""


def answer(question: Question) -> Answer:
    """The answer to a question, by every rule of the table."""
    reasons: list[Reason] = []
    if question.quarantined:
        reasons.append(Reason(Code.ACCOUNT_QUARANTINED, "An event of this account could not be applied."))
    if question.behind:
        message = "What was paid until now can't be known at the moment."
        reasons.append(Reason(Code.STREAM_BEHIND, message, (question.behind,)))
    debt = question.account.debts.get(question.debt_id)
    if debt is None or debt.statement is None:
        reasons.append(Reason(Code.DEBT_UNKNOWN, "No such debt was referred on this account."))
        return Answer(_decision(reasons), tuple(reasons), 0, "")
    case = _Case(question, debt, debt.statement, balances(question.account, question.policy.debt)[question.debt_id])
    reasons += [found for rule in _RULES if (found := rule(case))]
    terms = debt.statement.terms
    return Answer(_decision(reasons), tuple(reasons), case.balance.outstanding, terms.currency)


def _decision(reasons: Iterable[Reason]) -> Decision:
    first = next(iter(reasons), None)
    if first is None:
        return Decision.CLEAR
    return Decision.REFUSE if first.code in _REFUSED else Decision.HOLD


@dataclass(frozen=True, slots=True)
class _Case:
    """A question whose debt is known."""

    question: Question
    debt: Debt
    statement: Statement
    balance: Balance

    @property
    def account(self) -> Account:
        return self.question.account

    @property
    def policy(self) -> Policy:
        return self.question.policy

    @property
    def doubtful(self) -> tuple[Money, ...]:
        """The money that this debt's amount may hold already, or not."""
        return uncertain(self.account, self.statement.terms, self.policy.debt.snapshot_grace)

    def days_since(self, at: datetime) -> int:
        """Days begun since an instant, in the creditor's time zone."""
        zone = self.policy.timezone
        return (self.question.now.astimezone(zone).date() - at.astimezone(zone).date()).days

    def when(self, at: datetime) -> str:
        return instant_in_words(at, self.policy.timezone)

    def paid(self, money: Money) -> str:
        """One money in words: `850.00 RUB on 14 Nov 2026 10:02, payment p-17`."""
        kind = "credit" if isinstance(money.said_by.event, CreditPosted) else "payment"
        amount = amount_in_words(money.amount, money.currency)
        return f"{amount} on {self.when(money.at)}, {kind} {money.money_id}"

    def told(self, kind: NoticeKind) -> list[NoticeDelivered]:
        """The notices of a kind that reached the customer by a channel that counts, oldest first."""
        channels = self.policy.notices.channels
        chosen = self.account.channels
        if channels is None and chosen and isinstance(chosen.said_by.event, ChannelsChosen):
            channels = chosen.said_by.event.channels or None
        delivered = [notice.delivered for notice in self.account.notices.values() if notice.delivered]
        return sorted(
            (
                one
                for one in delivered
                if one.kind is kind
                and one.debt_id in {None, self.question.debt_id}
                and (channels is None or one.channel in channels)
                and one.delivered_at <= self.question.now
            ),
            key=lambda one: (one.delivered_at, one.notice_id),
        )


def _withdrawn(case: _Case) -> Reason | None:
    """Collections took it back, and did not refer it again since."""
    if not case.debt.withdrawn or case.debt.withdrawal is None:
        return None
    return Reason(Code.DEBT_WITHDRAWN, "Collections withdrew this debt.", (case.when(case.debt.withdrawal.time),))


def _already_placed(case: _Case) -> Reason | None:
    """One debt is with one agency at a time, so that nobody is called by two."""
    open_ones = [
        f"{placement_id} with {episode.opened.agency_id}"
        for placement_id, episode in sorted(case.account.placements.items())
        if episode.opened is not None
        and episode.opened.debt_id == case.question.debt_id
        and is_open(case.account, placement_id, case.question.said.get(placement_id))
    ]
    if not open_ones:
        return None
    return Reason(Code.ALREADY_PLACED, "An agency has this debt.", tuple(open_ones))


def _settled(case: _Case) -> Reason | None:
    """Nothing is owed, or no more than the policy's tolerance."""
    if not case.balance.settled(case.policy.debt):
        return None
    evidence = tuple(f"paid {case.paid(share.money)}" for share in case.balance.shares)
    return Reason(Code.DEBT_SETTLED, "Nothing is owed on this debt.", evidence)


def _time_barred(case: _Case) -> Reason | None:
    """Past the policy's limitation period (e.g. three years, Russian Civil Code, article 196)."""
    limit = case.policy.debt.limitation_days
    due_on = case.statement.terms.due_on
    today = case.question.now.astimezone(case.policy.timezone).date()
    if not limit or (today - due_on).days <= limit:
        return None
    return Reason(Code.DEBT_TIME_BARRED, f"It was due more than {limit} days ago.", (due_on.isoformat(),))


def _protected(case: _Case) -> Reason | None:
    """Some people must not be pursued: bankrupt, deceased, minors, and whom else the policy names."""
    protection = case.account.protection
    if protection is None or protected_by(case.account, case.policy) is None:
        return None
    since = f"since {case.when(protection.since)}"
    return Reason(Code.PROTECTED_CUSTOMER, "The customer is protected.", (since,))


def _below_minimum(case: _Case) -> Reason | None:
    """Too little is owed to be worth an agency's calls."""
    if not below_minimum(case.balance, case.policy.debt):
        return None
    owed = amount_in_words(case.balance.outstanding, case.statement.terms.currency)
    return Reason(Code.BELOW_MINIMUM, "Too little is owed.", (f"{owed} is owed",))


def _charges_left(case: _Case) -> Reason | None:
    """The principal is paid; a person should look before fees alone go to an agency."""
    if not case.policy.debt.only_charges_left_holds or not only_charges_left(case.balance):
        return None
    owed = amount_in_words(case.balance.outstanding, case.statement.terms.currency)
    return Reason(Code.ONLY_CHARGES_LEFT, "Only fees or penalties are left.", (f"{owed} is owed",))


def _price_change(case: _Case) -> Reason | None:
    """A price rise is owed only by who was told of it in time, by a way that they chose."""
    if not case.balance.left.get(Component.PRICE_CHANGE):
        return None
    days = case.policy.notices.price_change_days
    if any(case.days_since(one.delivered_at) >= days for one in case.told(NoticeKind.PRICE_CHANGE)):
        return None
    evidence = tuple(
        f"told by {one.channel} on {case.when(one.delivered_at)}"
        for notice in case.account.notices.values()
        if (one := notice.delivered)
        and one.kind is NoticeKind.PRICE_CHANGE
        and one.debt_id in {None, case.question.debt_id}
    )
    message = f"No notice of the price change reached the customer {days} days ago by a channel they chose."
    return Reason(Code.PRICE_CHANGE_NOT_NOTIFIED, message, tuple(sorted(evidence)))


def _payment_pending(case: _Case) -> Reason | None:
    """Payments on their way would settle it; whoever has done their part is not called."""
    evidence = _settling(case, pending(case.account), case.doubtful)
    if not evidence:
        return None
    return Reason(Code.PAYMENT_PENDING, "Payments on their way would settle it.", evidence)


def _snapshot_uncertain(case: _Case) -> Reason | None:
    """The copy of the base in which collections found the debt may have been older than a payment."""
    evidence = _settling(case, case.doubtful, pending(case.account))
    if not evidence:
        return None
    message = "Payments made just before the debt was stated would settle it, if they are not in its amount."
    return Reason(Code.SNAPSHOT_UNCERTAIN, message, evidence)


def _settling(case: _Case, concerned: tuple[Money, ...], other: tuple[Money, ...]) -> tuple[str, ...]:
    """What of this money would settle the debt: by itself, or beside other money that would not by itself."""
    if not concerned or case.balance.settled(case.policy.debt):
        return ()
    used = _settled_with(case, concerned)
    if not used and not _settled_with(case, other):
        used = _settled_with(case, concerned + other)
    return tuple(case.paid(money) for money in concerned if money.money_id in used)


def _settled_with(case: _Case, supposed: tuple[Money, ...]) -> frozenset[str]:
    """The ids of the money that would pay the debt if this counted too; none where it would stay unsettled."""
    expected = pending(case.account)
    debt_id = case.question.debt_id
    balance = balances(
        case.account,
        case.policy.debt,
        also=[money for money in supposed if money in expected],
        in_time=[(money.money_id, debt_id) for money in supposed],
    )[debt_id]
    settled = balance.settled(case.policy.debt)
    return frozenset(share.money.money_id for share in balance.shares) if settled else frozenset()


def _currency(case: _Case) -> Reason | None:
    """Money in another currency may be meant for it; a person has to convert it."""
    foreign = case.balance.in_other_currency
    if not foreign:
        return None
    evidence = tuple(f"paid {case.paid(money)}" for money in foreign)
    return Reason(Code.CURRENCY_MISMATCH, "It was paid in another currency.", evidence)


def _disputed(case: _Case) -> Reason | None:
    """A disputed debt waits for the outcome; one found for the customer waits to be stated anew."""
    evidence = [
        f"dispute {dispute_id} opened on {case.when(dispute.opened.opened_at)}"
        for dispute_id, dispute in sorted(case.account.disputes.items())
        if dispute.opened is not None and dispute.is_open and dispute.concerns(case.question.debt_id)
    ]
    if upheld := upheld_dispute(case.account, case.question.debt_id, since=case.statement.terms.as_of):
        evidence.append(f"dispute upheld on {case.when(upheld.time)}, and the debt not stated anew since")
    if not evidence:
        return None
    return Reason(Code.DISPUTE_OPEN, "The customer disputes it.", tuple(evidence))


def _plan(case: _Case) -> Reason | None:
    """Who pays by instalments as agreed is not pursued for the rest."""
    plans = tuple(
        f"plan {plan_id} agreed on {case.when(plan.agreed.agreed_at)}"
        for plan_id, plan in sorted(case.account.plans.items())
        if plan.agreed is not None and plan.holds(case.question.debt_id)
    )
    return Reason(Code.PLAN_ACTIVE, "The customer pays by instalments.", plans) if plans else None


def _notices(case: _Case) -> Reason | None:
    """The customer must have been reminded as often as the policy asks, and have had time to act on it."""
    rules = case.policy.notices
    reminders = case.told(NoticeKind.DEBT_REMINDER)
    warnings = case.told(NoticeKind.PLACEMENT_WARNING)
    missing: list[str] = []
    if len(reminders) < rules.debt_reminders:
        missing.append(f"{len(reminders)} of {rules.debt_reminders} reminders delivered")
    elif rules.debt_reminders and case.days_since(reminders[-1].delivered_at) < rules.days_since_last_reminder:
        missing.append(f"last reminded on {case.when(reminders[-1].delivered_at)}")
    needed = rules.placement_warning_days
    if needed and not any(case.days_since(one.delivered_at) >= needed for one in warnings):
        missing.append(f"no placement warning delivered {needed} days ago or earlier")
    if not missing:
        return None
    return Reason(Code.NOTICES_MISSING, "The customer was not told enough.", tuple(missing))


_RULES: tuple[Callable[[_Case], Reason | None], ...] = (
    # In the order of `Code`; the two before them need no debt.
    _withdrawn,
    _already_placed,
    _settled,
    _time_barred,
    _protected,
    _below_minimum,
    _charges_left,
    _price_change,
    _payment_pending,
    _snapshot_uncertain,
    _currency,
    _disputed,
    _plan,
    _notices,
)
