"""Whether a customer may be told in writing that a collector has stopped, and what that paper says.

Called by `confirmation` and by whoever collects evidence. Only what is true now is confirmed: the placement has
ended, nothing of the account is in doubt, no other collector has the debt, and the debt is paid or taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from domain.account import Account, Debt
from domain.allocation import Balance, balances
from domain.episode import Episode, episodes
from domain.events import CreditPosted
from domain.policy import Policy
from domain.recall import SaidOf, upheld_dispute
from domain.words import amount_in_words


class Ending(StrEnum):
    """What became of the debt: paid, settled with help of a credit, or no longer claimed."""

    PAID = "paid"
    SETTLED = "settled"
    TAKEN_BACK = "taken_back"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the paper says. `amount` is in minor units of `currency`, what was paid or credited; 0: nothing was.

    `told_at` and `stopped_at` are of the recall; `closed_at` is of a placement that ended without one.
    """

    account_id: str
    agency_id: str
    contract_id: str | None
    ending: Ending
    amount: int
    currency: str
    settled_at: datetime | None
    told_at: datetime | None
    stopped_at: datetime | None
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class NotYet:
    """Nothing can be confirmed now, and why."""

    why: str


@dataclass(frozen=True, slots=True)
class State:
    """An account as it stands, and what makes it doubtful: events that wait in quarantine, streams not read."""

    account: Account
    said: SaidOf
    quarantined: int = 0
    behind: str | None = None


def confirm(
    state: State,
    placement_id: str,
    policy: Policy,
    *,
    told_at: datetime | None,
    owed: Mapping[str, Balance | None] | None = None,
) -> Confirmed | NotYet:
    """The paper on a placement, or why there is none yet; `told_at` is when the agency was told to stop.

    `owed` is what is owed on each debt of the account, for who has worked it out already.
    """
    every = episodes(state.account, state.said)
    episode = next((one for one in every if one.opened.placement_id == placement_id), None)
    if episode is None:
        return NotYet("the placement was named, and never opened")
    why = _still_going_on(episode, every) or _in_doubt(state)
    if why is not None:
        return NotYet(why)
    debt_id = episode.opened.debt_id
    debt = state.account.debts.get(debt_id, Debt())
    balance = (balances(state.account, policy.debt) if owed is None else owed).get(debt_id)
    if balance is not None and balance.settled(policy.debt):
        return _confirmed(episode, balance, policy, told_at)
    since = balance.terms.as_of if balance is not None else episode.opened.placed_at
    if debt.withdrawn or upheld_dispute(state.account, debt_id, since=since) is not None:
        return _confirmed(episode, balance, policy, told_at)
    if balance is None:
        return NotYet("what is owed on the debt was never stated")
    still = amount_in_words(balance.outstanding, balance.terms.currency)
    return NotYet(f"{still} of the debt is owed, and nobody has taken it back")


def _still_going_on(episode: Episode, every: tuple[Episode, ...]) -> str | None:
    opened = episode.opened
    if episode.is_open:
        if episode.said.recalled:
            return f"{opened.agency_id} has not acknowledged the recall"
        return f"{opened.agency_id} has the debt, and was not told to stop"
    for other in every:
        if other.is_open and other.opened.debt_id == opened.debt_id:
            return f"{other.opened.agency_id} has the same debt, placement {other.opened.placement_id}"
    return None


def _in_doubt(state: State) -> str | None:
    if state.quarantined:
        return f"{state.quarantined} events of the account wait in quarantine, and may say otherwise"
    return f"what was acknowledged is not all read: {state.behind}" if state.behind else None


def _confirmed(episode: Episode, balance: Balance | None, policy: Policy, told_at: datetime | None) -> Confirmed:
    opened = episode.opened
    settled = balance is not None and balance.settled(policy.debt)
    money = balance.settled_by(policy.debt) if balance is not None and settled else None
    ending = _ending(balance) if settled and balance is not None else Ending.TAKEN_BACK
    # An acknowledgement counts only where there was a recall to acknowledge; what else ended it was its close.
    recalled = episode.acknowledged_at is not None and episode.said.recalled
    return Confirmed(
        account_id=opened.account_id,
        agency_id=opened.agency_id,
        contract_id=balance.terms.contract_id if balance is not None else None,
        ending=ending,
        amount=sum(share.amount for share in balance.shares) if balance is not None and settled else 0,
        currency=balance.terms.currency if balance is not None else opened.currency,
        settled_at=money.at if money is not None else None,
        told_at=told_at,
        stopped_at=episode.acknowledged_at if recalled else None,
        closed_at=None if recalled else episode.closed_at,
    )


def _ending(balance: Balance) -> Ending:
    credited = any(isinstance(share.money.said_by.event, CreditPosted) for share in balance.shares)
    return Ending.SETTLED if credited or not balance.shares else Ending.PAID
