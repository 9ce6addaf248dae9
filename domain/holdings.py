"""What an agency says it holds, beside what it ought to hold: the kinds of difference, and what mends each.

Called by `reconcile`. Which row is of which kind is decided for all rows at once, in `infra.postgres.holdings_sql`;
here is what those kinds mean, how an amount is read, and the recall of what an agency holds and should not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from domain.account import Account
from domain.events import PlacementClosed, PlacementOpened, Recorded
from domain.policy import Policy, RecallReason
from domain.recall import Cause, RecallRequested, Said, recall_id_of

AMOUNT_MAX_MINOR = 10**15
"""As for every amount of an event."""


class Kind(StrEnum):
    """What can be found, as the tables keep it, in the order in which it is told.

    A ghost is a placement that was recalled or closed, and is held all the same; an orphan was never placed with
    this agency; what is missing is open and not in the list; an amount is another than was told last.
    """

    GHOST = "ghost"
    ORPHAN = "orphan"
    MISSING = "missing"
    AMOUNT = "amount"
    DUPLICATE = "duplicate"
    UNREAD = "unread"
    AWAITED = "awaited"
    """Recalled, held, and still within its deadline: nothing is wrong yet."""


DIFFERENCES = tuple(kind for kind in Kind if kind is not Kind.AWAITED)
"""The kinds of which none may be there where two lists are the same."""

PLURALS = {Kind.GHOST: "ghosts", Kind.ORPHAN: "orphans", Kind.AMOUNT: "amounts", Kind.DUPLICATE: "duplicates"}
"""The names by which kinds are counted, where it is not the kind's own."""


def counted_as(kind: Kind) -> str:
    """The name by which findings of a kind are counted."""
    return PLURALS.get(kind, kind.value)


def is_of_another(rows: int, orphans: int) -> bool:
    """Whether a list must be of another agency, or of other columns: more than half of it was never placed here."""
    return orphans * 2 > rows


def minor_units(text: str, *, digits: int) -> int | None:
    """An amount like `1234.50` or `1234,50` in minor units; None where it is none, or finer than the currency."""
    whole, _, part = text.replace(",", ".").partition(".")
    part = part.rstrip("0") if len(part) > digits else part
    if not (whole.isascii() and whole.isdecimal()) or len(part) > digits or len(whole) > len(str(AMOUNT_MAX_MINOR)):
        return None
    if part and not (part.isascii() and part.isdecimal()):
        return None
    amount = int(whole + part.ljust(digits, "0"))
    return amount if amount <= AMOUNT_MAX_MINOR else None


@dataclass(frozen=True, slots=True)
class Held:
    """A placement that an agency holds and should not: it was closed, or never made, and nobody recalled it."""

    opened: PlacementOpened
    ground: Recorded
    """The event that says so: the closing, or the claim of the agency's own list."""


def closed_and_held(account: Account, placement_id: str, events: Iterable[Recorded]) -> Held | None:
    """A closed placement with the event that closed it; None where it is not there, or not closed."""
    known = account.placements.get(placement_id)
    closings = [
        one for one in events if isinstance(one.event, PlacementClosed) and one.event.placement_id == placement_id
    ]
    if known is None or known.opened is None or not closings:
        return None
    return Held(known.opened, max(closings, key=lambda one: one.stamp))


def recall_held(held: Held, said: Said | None, policy: Policy, *, now: datetime) -> RecallRequested:
    """The recall by hand of what is held and should not be, with the same clock as any other.

    It could first be known when the list was compared, so its latency runs from now.
    """
    opened = held.opened
    known_now = replace(held.ground, origin=replace(held.ground.origin, received_at=now))
    return RecallRequested(
        recall_id=recall_id_of(opened.account_id, opened.placement_id),
        placement=opened,
        reason=RecallReason.MANUAL,
        cause=Cause.MANUAL,
        outstanding=said.told if said else opened.amount,
        currency=opened.currency,
        requested_at=now,
        acknowledge_by=policy.recall.acknowledge_by(opened.agency_id, now),
        trigger=held.ground,
        paid_at=None,
        noticed_by=known_now,
    )
