"""What support may tell the customer of their debts: a sentence for each, without a word of ours.

Used by the account page. It promises nothing that the guard does not do: where an agency is told to stop it says
how far that is, and where a person has to act it says that we are at it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from consumers.console.words import Words
from consumers.story import DebtNow, PlacementNow, Step, Story
from domain.clearance import Code


class Tell(StrEnum):
    """What a customer may be told: one text for each."""

    STOP_TOLD = "tell_stop_told"
    """The collector was told to stop, and has time to confirm it."""
    STOP_WAITING = "tell_stop_waiting"
    """The collector is being told to stop."""
    STOP_LATE = "tell_stop_late"
    """The collector has not confirmed in time that it stops, and a person sees to it."""
    STOP_REFUSED = "tell_stop_refused"
    """The collector objects, and a person sees to it."""
    STOP_DONE = "tell_stop_done"
    """The collector has confirmed that it stopped."""
    NOT_ANNOUNCED = "tell_not_announced"
    """Owed for a change of price that the customer was not properly told of."""
    NOT_ANNOUNCED_PLACED = "tell_not_announced_placed"
    """The same, and a collector has it."""
    DISPUTED = "tell_disputed"
    """The customer objects to the debt, and nobody has it."""
    DISPUTED_PLACED = "tell_disputed_placed"
    """The customer objects to the debt, and the collector was told to wait."""
    OWED_PLACED = "tell_owed_placed"
    """Owed, and with a collector."""
    OWED = "tell_owed"
    """Owed, and with nobody."""
    WITHDRAWN = "tell_withdrawn"
    """No longer asked for, and with nobody."""
    UNSURE = "tell_unsure"
    """Not to be said now."""
    NOTHING = "tell_nothing"
    """Nothing is owed, and nobody collects."""


_STOPPING = {
    Step.RECALL: Tell.STOP_WAITING,
    Step.SEND_RECALL: Tell.STOP_WAITING,
    Step.ACKNOWLEDGE: Tell.STOP_TOLD,
    Step.CALL_AGENCY: Tell.STOP_LATE,
    Step.FINISH_RECALL: Tell.STOP_LATE,
    Step.ANSWER_OBJECTION: Tell.STOP_REFUSED,
}
"""How far it is that a collector stops, by what is done next. Any other step stops nobody."""


@dataclass(frozen=True, slots=True)
class Telling:
    """One sentence to a customer, with the debt and the placement that it is about."""

    tell: Tell
    debt: DebtNow | None = None
    placement: PlacementNow | None = None


def what_to_tell(story: Story) -> tuple[Telling, ...]:
    """A sentence for each debt that there is something to say of; never none."""
    if story.paid_and_placed is None:
        return (Telling(Tell.UNSURE),)
    told = tuple(one for debt in story.debts for one in _of_debt(debt, story))
    return told or (_stopped(story.placements) or Telling(Tell.NOTHING),)


def in_words(story: Story, words: Words) -> str:
    """All of it, in the reader's language."""
    return " ".join(_in_words(one, words) for one in what_to_tell(story))


def _of_debt(debt: DebtNow, story: Story) -> Iterator[Telling]:
    """With whom a debt is, and else whether it is owed."""
    codes = {reason.code for reason in debt.answer.reasons}
    placements = [one for one in story.placements if one.episode.opened.debt_id == debt.debt_id]
    placed = [one for one in placements if one.episode.is_open]
    for one in placed:
        yield Telling(_of_placement(one, debt, codes), debt, one)
    if not placed and debt.balance is not None and not debt.settled:
        if Code.DEBT_WITHDRAWN not in codes:
            yield Telling(_of_owed(codes), debt)
        else:
            yield _stopped(placements) or Telling(Tell.WITHDRAWN, debt)


def _of_placement(one: PlacementNow, debt: DebtNow, codes: set[Code]) -> Tell:
    if debt.settled or one.next_step.step in _STOPPING:
        return _STOPPING.get(one.next_step.step, Tell.STOP_WAITING)
    if one.next_step.step is Step.DECIDE_DISPUTE:
        return Tell.DISPUTED_PLACED
    return Tell.NOT_ANNOUNCED_PLACED if Code.PRICE_CHANGE_NOT_NOTIFIED in codes else Tell.OWED_PLACED


def _of_owed(codes: set[Code]) -> Tell:
    if Code.PRICE_CHANGE_NOT_NOTIFIED in codes:
        return Tell.NOT_ANNOUNCED
    return Tell.DISPUTED if Code.DISPUTE_OPEN in codes else Tell.OWED


def _stopped(placements: Iterable[PlacementNow]) -> Telling | None:
    """Who has confirmed last that it stopped; None where nobody had to."""
    confirmed = [
        (one.recall.acknowledged_at, one)
        for one in placements
        if one.recall is not None and one.recall.acknowledged_at is not None
    ]
    if not confirmed:
        return None
    _, last = max(confirmed, key=lambda pair: pair[0])
    return Telling(Tell.STOP_DONE, placement=last)


def _in_words(one: Telling, words: Words) -> str:
    values: dict[str, object] = {}
    if one.debt is not None and one.debt.balance is not None:
        balance = one.debt.balance
        values["amount"] = words.amount(balance.outstanding, balance.terms.currency)
    if one.placement is not None:
        recall = one.placement.recall
        values |= {
            "agency": one.placement.episode.opened.agency_id,
            "paid": _paid(one.debt, words),
        }
        if recall is not None:
            values |= {
                "told_at": _moment(recall.sent_at, words),
                "by": _moment(recall.acknowledge_by, words),
                "at": _moment(recall.acknowledged_at, words),
            }
    return words(f"account.{one.tell}", **values).strip()


def _paid(debt: DebtNow | None, words: Words) -> str:
    """That and when the debt was paid; empty where the collector stops for another reason."""
    if debt is None or not debt.settled:
        return ""
    if debt.settled_by is None:
        return words("account.paid_somehow")
    return words("account.paid_on", at=words.moment(debt.settled_by.at))


def _moment(instant: datetime | None, words: Words) -> str:
    return words.moment(instant) if instant is not None else ""
