"""What on-call reads first: how many customers who have paid are with a collector, and how sure that is.

Called by the console's first page. A customer has paid where money brought the debt to where the placement had to
be recalled, whether it came after the placement or before. They are with the collector until the agency has said
that it stopped, or the placement is closed: that an agency objects, or that a person sees to it, takes no collector
off anybody. What is counted is what was read; so where something is unread, or was set aside, the answer says so,
and is not good.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

NOT_SENT_PATIENCE = timedelta(seconds=60)
"""How long a recall may wait to be sent before somebody must look: a thousand times what is aimed at, and the
instant at which on-call is woken."""

UNREAD_PATIENCE = timedelta(seconds=15)
"""How long a partition with unread records may stand still: batches are committed several times a second."""

UNREAD_MAX_RECORDS = 20_000
"""Behind by more than this is behind, also when it moves: a second of the busiest stream that is aimed at."""


class Mood(StrEnum):
    """How much something asks for: nothing, to wait, or to act."""

    GOOD = "good"
    WAIT = "wait"
    BAD = "bad"


class Caveat(StrEnum):
    """Why the count may be too low."""

    NOTHING_READ = "nothing_read"
    STREAM_STOPPED = "stream_stopped"
    STREAM_STILL = "stream_still"
    STREAM_BEHIND = "stream_behind"
    UNREAD_UNKNOWN = "unread_unknown"
    SET_ASIDE = "set_aside"


_BAD_CAVEATS = frozenset({Caveat.NOTHING_READ, Caveat.STREAM_STOPPED, Caveat.STREAM_STILL})
"""Those in which nobody learns of a payment until somebody acts."""


@dataclass(frozen=True, slots=True)
class Paid:
    """Customers who have paid and are with a collector. `since` is when the first of their recalls could be known.

    Of their recalls: `not_sent` is how many no agency has been told and no person has taken over, `not_sent_since`
    the oldest of these; `to_act` is how many are past a deadline, or the agency objects, and nobody sees to them.
    """

    customers: int
    since: datetime | None
    not_sent: int = 0
    not_sent_since: datetime | None = None
    to_act: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """How far one partition is read. `unread` is in records, None where that is not known."""

    topic: str
    partition: int
    position: int
    moved_at: datetime
    is_stopped: bool
    unread: int | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: whom it concerns, for how long, what of it is not on its way, and what it does not cover."""

    mood: Mood
    customers: int
    longest: timedelta | None
    not_sent: int
    to_act: int
    caveats: tuple[Caveat, ...]


def judge(paid: Paid, readings: Iterable[Reading], *, set_aside: int, now: datetime) -> Verdict:
    """The verdict on a state, with what of the streams is unread, and how many events were set aside."""
    caveats = tuple(_caveats(list(readings), set_aside, now))
    return Verdict(
        _mood(paid, caveats, now),
        paid.customers,
        max(timedelta(0), now - paid.since) if paid.since is not None else None,
        paid.not_sent,
        paid.to_act,
        caveats,
    )


def _mood(paid: Paid, caveats: tuple[Caveat, ...], now: datetime) -> Mood:
    waits_too_long = paid.not_sent_since is not None and now - paid.not_sent_since > NOT_SENT_PATIENCE
    if paid.to_act or waits_too_long or _BAD_CAVEATS & set(caveats):
        return Mood.BAD
    return Mood.WAIT if paid.customers or caveats else Mood.GOOD


def _caveats(readings: list[Reading], set_aside: int, now: datetime) -> Iterable[Caveat]:
    if not readings:
        yield Caveat.NOTHING_READ
    if any(one.is_stopped for one in readings):
        yield Caveat.STREAM_STOPPED
    going = [one for one in readings if not one.is_stopped]
    if any(one.unread and now - one.moved_at > UNREAD_PATIENCE for one in going):
        yield Caveat.STREAM_STILL
    if sum(one.unread or 0 for one in going) > UNREAD_MAX_RECORDS:
        yield Caveat.STREAM_BEHIND
    if any(one.unread is None for one in going):
        yield Caveat.UNREAD_UNKNOWN
    if set_aside:
        yield Caveat.SET_ASIDE
