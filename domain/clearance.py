"""Whether a debt may be placed now: the contract's table of reasons, in its order.

Called by whoever asks before a transfer, with the account's facts and the policy. Never knows how the facts
were read: that they are complete is the caller's promise (S1), and where it can't be kept the caller says so
with `behind`. All reasons that apply are listed; the first decides; where none applies the answer is clear.

Evidence is for a person who checks the answer: amounts, instants, and the ids by which more can be found. It is
published and kept, so it holds nothing that a customer wrote, nor the mark that protects one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from domain.account import Account, Debt, Money, Statement
from domain.allocation import Balance, Share, balances, pending, uncertain
from domain.events import (
    Component,
    CreditPosted,
    DisputeClosed,
    NoticeKind,
    PaymentPending,
    PlacementOpened,
)
from domain.notices import Notices
from domain.policy import Policy
from domain.recall import SaidOf, below_minimum, is_open, only_charges_left, protected_by, upheld_dispute
from domain.words import amount_in_words, day_in_words, days_in_words, instant_in_words

EVIDENCE_MAX = 20
"""Lines of evidence of one reason: more than a person reads, and far from what one record of Kafka holds."""


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
    """One reason that applies, with what a person can check; the evidence has no more lines than `EVIDENCE_MAX`."""

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
    quarantine_ids: tuple[int, ...] = ()
    """By which the events in quarantine can be looked at, where they have ids."""
    behind: str | None = None
    """Why not all that was acknowledged before the question may be known; None where all is."""
    placement_id: str | None = None
    """The placement that is to be confirmed: where it was opened already, it does not stand in its own way."""


def answer(question: Question) -> Answer:
    """The answer to a question, by every rule of the table."""
    reasons: list[Reason] = []
    if question.quarantined:
        evidence = tuple(f"event {one} is in quarantine" for one in question.quarantine_ids)
        reasons.append(Reason(Code.ACCOUNT_QUARANTINED, "An event of this account could not be applied.", evidence))
    if question.behind:
        message = "What was paid until now can't be known at the moment."
        reasons.append(Reason(Code.STREAM_BEHIND, message, (question.behind,)))
    debt = question.account.debts.get(question.debt_id)
    if debt is None or debt.statement is None:
        return _answer([*reasons, _unknown(question)], 0, "")
    case = _Case(question, debt, debt.statement, balances(question.account, question.policy.debt)[question.debt_id])
    reasons += [found for rule in _RULES if (found := rule(case))]
    return _answer(reasons, case.balance.outstanding, debt.statement.terms.currency)


def _answer(reasons: Iterable[Reason], outstanding: int, currency: str) -> Answer:
    bounded = tuple(_bounded(reason) for reason in reasons)
    return Answer(decision_of(bounded), bounded, outstanding, currency)


def _unknown(question: Question) -> Reason:
    """Nobody stated this debt, so nobody can say what is owed on it; the ids beside it show a mistake in its id."""
    known = tuple(
        f"debt {debt_id} was referred" for debt_id, debt in sorted(question.account.debts.items()) if debt.statement
    )
    return Reason(Code.DEBT_UNKNOWN, "No such debt was referred on this account.", known)


def _bounded(reason: Reason) -> Reason:
    """The reason with no more evidence than a person reads."""
    more = len(reason.evidence) - EVIDENCE_MAX
    if more <= 0:
        return reason
    kept = reason.evidence[: EVIDENCE_MAX - 1]
    return replace(reason, evidence=(*kept, f"and {more + 1} more"))


def decision_of(reasons: Iterable[Reason]) -> Decision:
    """What reasons come to: the first decides, and where there is none it is clear."""
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

    @property
    def notices(self) -> Notices:
        """What the customer was told of this debt."""
        return Notices(self.account, self.question.debt_id, self.policy, self.question.now)

    def when(self, at: datetime) -> str:
        return instant_in_words(at, self.policy.timezone)

    def paid(self, money: Money) -> str:
        """One money in words: `paid 850.00 RUB on 14 Nov 2026 10:02, payment p-17`."""
        amount, at = amount_in_words(money.amount, money.currency), self.when(money.at)
        match money.said_by.event:
            case CreditPosted():
                return f"credited {amount} on {at}, credit {money.money_id}"
            case PaymentPending():
                return f"{amount} on its way since {at}, payment {money.money_id}"
            case _:
                return f"paid {amount} on {at}, payment {money.money_id}"

    def share(self, share: Share) -> str:
        """What one money paid of this debt, in words: all of it, or a part."""
        paid = self.paid(share.money)
        if share.amount == share.money.amount:
            return paid
        return f"{paid}, {self.amount(share.amount)} of it for this debt"

    def amount(self, amount_minor: int) -> str:
        """An amount of this debt's currency in words."""
        return amount_in_words(amount_minor, self.statement.terms.currency)

    @property
    def owed(self) -> str:
        """What is owed of what was stated, in words."""
        return f"{self.amount(self.balance.outstanding)} of {self.amount(self.statement.terms.amount)} is owed"


def _withdrawn(case: _Case) -> Reason | None:
    """Collections took it back, and did not refer it again since: the creditor alone says what is claimed."""
    if not case.debt.withdrawn or case.debt.withdrawal is None:
        return None
    evidence = (f"withdrawn on {case.when(case.debt.withdrawal.time)}",)
    return Reason(Code.DEBT_WITHDRAWN, "Collections withdrew this debt.", evidence)


def _already_placed(case: _Case) -> Reason | None:
    """One debt is with one agency at a time, by practice: nobody is called by two, nor pays one debt to both."""
    open_ones = [
        _placement(case, episode.opened)
        for placement_id, episode in sorted(case.account.placements.items())
        if episode.opened is not None
        and episode.opened.debt_id == case.question.debt_id
        and placement_id != case.question.placement_id
        and is_open(case.account, placement_id, case.question.said.get(placement_id))
    ]
    if not open_ones:
        return None
    return Reason(Code.ALREADY_PLACED, "An agency has this debt.", tuple(open_ones))


def _placement(case: _Case, opened: PlacementOpened) -> str:
    said = case.question.said.get(opened.placement_id)
    state = "; recalled, and not acknowledged" if said and said.recalled else ""
    return f"placement {opened.placement_id} with {opened.agency_id} since {case.when(opened.placed_at)}{state}"


def _settled(case: _Case) -> Reason | None:
    """Nothing is owed, or no more than the policy's tolerance: who has paid is never called."""
    if not case.balance.settled(case.policy.debt):
        return None
    message = "Nothing is owed on this debt."
    if case.balance.outstanding > 0:
        message = "No more is owed on this debt than the policy's tolerance."
    evidence = (*(case.share(share) for share in case.balance.shares), case.owed)
    return Reason(Code.DEBT_SETTLED, message, evidence)


def _time_barred(case: _Case) -> Reason | None:
    """Past the policy's limitation period (e.g. three years, Russian Civil Code, article 196), in calendar days."""
    limit = case.policy.debt.limitation_days
    due_on = case.statement.terms.due_on
    today = case.question.now.astimezone(case.policy.timezone).date()
    if not limit or (today - due_on).days <= limit:
        return None
    evidence = f"due on {day_in_words(due_on)}, {days_in_words((today - due_on).days)} ago"
    return Reason(Code.DEBT_TIME_BARRED, f"It was due more than {days_in_words(limit)} ago.", (evidence,))


def _protected(case: _Case) -> Reason | None:
    """Some people must not be pursued: bankrupt, incapable, minors, in hospital, and whom else the policy names.

    E.g. Russian Federal Law 230-FZ, article 7. Which of the marks it is stays with the event.
    """
    protection, by = case.account.protection, protected_by(case.account, case.policy)
    if protection is None or by is None:
        return None
    evidence = f"since {case.when(protection.since)}, by event {by.id} of {by.source}"
    return Reason(Code.PROTECTED_CUSTOMER, "The customer is protected.", (evidence,))


def _below_minimum(case: _Case) -> Reason | None:
    """Too little is owed to be worth an agency's calls, by the creditor's practice."""
    if not below_minimum(case.balance, case.policy.debt):
        return None
    least = f"the least that is placed is {case.amount(case.policy.debt.minimum_minor)}"
    return Reason(Code.BELOW_MINIMUM, "Too little is owed.", (case.owed, least))


def _charges_left(case: _Case) -> Reason | None:
    """The principal is paid; by practice a person looks before fees alone go to an agency."""
    if not case.policy.debt.only_charges_left_holds or not only_charges_left(case.balance):
        return None
    left = tuple(f"{kind}: {case.amount(amount)} is owed" for kind, amount in case.balance.left.items() if amount)
    return Reason(Code.ONLY_CHARGES_LEFT, "Only fees or penalties are left.", left)


def _price_change(case: _Case) -> Reason | None:
    """A price rise is owed only by who was told of it in time, by a way that they chose.

    E.g. ten days before, by the Russian rules for telephone services. It holds whatever has been paid since: what
    went to a rise that nobody was told of would otherwise have paid the rest.
    """
    parts = case.statement.terms.components
    rise = sum(part.amount for part in parts if part.kind is Component.PRICE_CHANGE)
    notices, asked = case.notices, case.policy.notices.price_change_days
    told = notices.that_count(NoticeKind.PRICE_CHANGE)
    if not rise or any(notices.days_since(one.delivered_at) >= asked for one in told):
        return None
    message = f"No notice of the price change reached the customer {notices.days(asked)} ago or earlier."
    known = tuple(notices.in_words(NoticeKind.PRICE_CHANGE)) or ("no notice of it is known",)
    evidence = (f"{case.amount(rise)} of it is a price change", notices.channels_in_words(), *known)
    return Reason(Code.PRICE_CHANGE_NOT_NOTIFIED, message, evidence)


def _payment_pending(case: _Case) -> Reason | None:
    """Payments on their way would settle it; by practice whoever has done their part is not called."""
    evidence = _settling(case, pending(case.account), case.doubtful)
    if not evidence:
        return None
    return Reason(Code.PAYMENT_PENDING, "Payments on their way would settle it.", evidence)


def _snapshot_uncertain(case: _Case) -> Reason | None:
    """The copy of the base in which collections found the debt may have been older than a payment.

    Copies lag by hours or days, so by practice a person asks billing before somebody is called who may have paid.
    """
    evidence = _settling(case, case.doubtful, pending(case.account))
    if not evidence:
        return None
    evidence = (*evidence, f"the debt was stated as of {case.when(case.statement.terms.as_of)}")
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
    """Money in another currency may be meant for it; at which rate it counts is for a person to say."""
    foreign = case.balance.in_other_currency
    if not foreign:
        return None
    evidence = (*(case.paid(money) for money in foreign), f"the debt is in {case.statement.terms.currency}")
    return Reason(Code.CURRENCY_MISMATCH, "It was paid in another currency.", evidence)


def _disputed(case: _Case) -> Reason | None:
    """A disputed debt waits for the outcome; one found for the customer waits to be stated anew.

    E.g. 15 U.S.C. 1692g: who collects stops until the debt has been verified.
    """
    evidence = [
        f"dispute {dispute_id} opened on {case.when(dispute.opened.opened_at)}"
        for dispute_id, dispute in sorted(case.account.disputes.items())
        if dispute.opened is not None and dispute.is_open and dispute.concerns(case.question.debt_id)
    ]
    upheld = upheld_dispute(case.account, case.question.debt_id, since=case.statement.terms.as_of)
    if upheld is not None and isinstance(upheld.event, DisputeClosed):
        at = case.when(upheld.event.closed_at)
        evidence.append(f"dispute {upheld.event.dispute_id} upheld on {at}, and the debt not stated anew since")
    if not evidence:
        return None
    return Reason(Code.DISPUTE_OPEN, "The customer disputes it.", tuple(evidence))


def _plan(case: _Case) -> Reason | None:
    """Who pays by instalments as agreed is not pursued for the rest: by the agreement it is not due yet."""
    plans = tuple(
        f"plan {plan_id} agreed on {case.when(plan.agreed.agreed_at)}"
        for plan_id, plan in sorted(case.account.plans.items())
        if plan.agreed is not None and plan.holds(case.question.debt_id)
    )
    return Reason(Code.PLAN_ACTIVE, "The customer pays by instalments.", plans) if plans else None


def _notices(case: _Case) -> Reason | None:
    """The customer must have been reminded as often as the policy asks, and have had time to act on it.

    By practice most debts are paid after a reminder; and a warning before a placement lets the customer object.
    """
    reminders, warnings = _reminders(case), _warnings(case)
    if not reminders and not warnings:
        return None
    evidence = (*reminders, *warnings, case.notices.channels_in_words())
    for missing, kind in ((reminders, NoticeKind.DEBT_REMINDER), (warnings, NoticeKind.PLACEMENT_WARNING)):
        if missing:
            evidence = (*evidence, *case.notices.in_words(kind))
    return Reason(Code.NOTICES_MISSING, "The customer was not told enough.", evidence)


def _reminders(case: _Case) -> tuple[str, ...]:
    """What is missing of the reminders: their number, or the days since the last of them."""
    rules, notices = case.policy.notices, case.notices
    counting = notices.that_count(NoticeKind.DEBT_REMINDER)
    if len(counting) < rules.debt_reminders:
        return (f"{len(counting)} of {rules.debt_reminders} reminders delivered",)
    if not rules.debt_reminders:
        return ()
    last, asked = counting[-1].delivered_at, rules.days_since_last_reminder
    passed = notices.days_since(last)
    return (f"last reminded on {case.when(last)}, {passed} of {notices.days(asked)} ago",) if passed < asked else ()


def _warnings(case: _Case) -> tuple[str, ...]:
    """What is missing of the warnings: one that is old enough."""
    asked, notices = case.policy.notices.placement_warning_days, case.notices
    warned = notices.that_count(NoticeKind.PLACEMENT_WARNING)
    if not asked or any(notices.days_since(one.delivered_at) >= asked for one in warned):
        return ()
    return (f"no placement warning delivered {notices.days(asked)} ago or earlier",)


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
