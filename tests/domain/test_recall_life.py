"""What happens around a recall: it is ordered by hand, other agencies speak of it, a dispute or an end comes too.

The rows give events as they arrive. `tests.domain.test_order` asks the same of any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from itertools import permutations

import pytest

from domain.account import Account, apply
from domain.episode import episodes
from domain.events import (
    ContactMade,
    DisputeOutcome,
    Event,
    PlacementAccepted,
    RecallAcknowledged,
    RecallOrdered,
    RecallRejected,
    Recorded,
)
from domain.policy import RecallReason, RecallRules
from domain.recall import Cause, Message, RecallRequested, after, decide, recall_id_of
from tests.builders import (
    ACCOUNT,
    LENIENT,
    acknowledged,
    all_recorded,
    closed,
    day,
    dispute_ended,
    disputed,
    opened,
    paid,
    recorded,
    referred,
    withdrawn,
)

NOW = day(9)
ENDED = dispute_ended(DisputeOutcome.REJECTED)
ONLY_SETTLED = replace(LENIENT, recall=RecallRules(on=frozenset()))


def ordered(at: datetime | None = None, *, placement_id: str = "l-1", by: str = "the desk") -> RecallOrdered:
    """A recall by hand, on day 5."""
    return RecallOrdered(ACCOUNT, placement_id, "the wrong customer", by, at or day(5))


def told(events: Iterable[Event | Recorded]) -> list[Message]:
    """All that the agency is told while these events arrive one by one, under a policy that lists no reason."""
    known, said = Account(ACCOUNT), after({}, ())
    messages: list[Message] = []
    for one in all_recorded(events):
        known = apply(known, one)
        now = decide(known, said, ONLY_SETTLED, now=NOW, noticed_by=one)
        messages += now
        said = after(said, now)
    return messages


def in_short(messages: Iterable[Message]) -> list[str]:
    """What each message is; of a recall its reason and cause."""
    return [
        f"recall {one.reason} {one.cause}" if isinstance(one, RecallRequested) else type(one).__name__
        for one in messages
    ]


BY_HAND = "recall MANUAL manual"
SETTLED = "recall DEBT_SETTLED paid_after_placement"
SUSPENDED, RESUMED, REDUCED = "PlacementSuspended", "PlacementResumed", "BalanceReduced"


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([referred(), opened(), ordered()], [BY_HAND]),
        ([opened(), ordered()], [BY_HAND]),
        ([referred(), ordered(), opened()], [BY_HAND]),
        ([referred(), opened(), ordered(), ordered(day(6))], [BY_HAND]),
        ([referred(), opened(), ordered(placement_id="l-2")], []),
        ([referred(), opened(), paid(100_00, day(4)), ordered()], [SETTLED]),
        ([referred(), opened(), ordered(), paid(100_00, day(4))], [BY_HAND]),
        ([referred(), ordered(), paid(100_00, day(4)), opened()], [SETTLED]),
        ([referred(), opened(), withdrawn(day(4)), ordered()], [BY_HAND]),
        ([referred(), opened(), closed(), ordered()], []),
        ([referred(), opened(), ordered(), acknowledged(), ordered(day(8))], [BY_HAND]),
        ([referred(), opened(), disputed(), ordered()], [SUSPENDED, BY_HAND]),
        ([referred(), opened(), disputed(), ordered(), ENDED], [SUSPENDED, BY_HAND]),
        ([referred(), opened(), disputed(), ENDED, ordered()], [SUSPENDED, RESUMED, BY_HAND]),
        ([referred(), opened(), ordered(), disputed(), ENDED], [BY_HAND]),
        ([referred(), opened(), disputed(), paid(100_00, day(4)), ENDED], [SUSPENDED, SETTLED]),
        ([referred(), opened(), ordered(), paid(40_00, day(4))], [BY_HAND]),
        ([referred(), opened(), disputed(), closed(), ENDED], [SUSPENDED]),
        ([referred(), opened(), closed(), disputed(), paid(100_00, day(4))], []),
        ([referred(), opened(), paid(40_00, day(4)), closed(), ordered()], [REDUCED]),
    ],
    ids=[
        "ordered",
        "of a debt that was never stated",
        "before the placement is known",
        "ordered twice",
        "another placement",
        "recalled already",
        "paid after the order",
        "paid and ordered before the placement is known: paid comes first",
        "what the policy does not recall, a person may",
        "closed",
        "ordered again after the answer",
        "suspended",
        "suspended, and the dispute ends after the recall",
        "resumed before",
        "disputed after the recall",
        "suspended, then paid, then the dispute ends",
        "paid in part after the recall",
        "suspended, then closed",
        "closed, then disputed and paid",
        "reduced, then closed",
    ],
)
def test_what_an_agency_is_told_around_a_recall(events: list[Event | Recorded], expected: list[str]) -> None:
    """Each row gives the events as they arrive, and all that is told: nothing after a recall or an end."""
    assert in_short(told(events)) == expected


def test_an_order_is_told_with_who_asked_for_it_and_when() -> None:
    """The recall's trigger is the first order of those that were given, in whatever order they arrive."""
    first, second = recorded(ordered(day(5))), recorded(ordered(day(6), by="another desk"))
    for arrived in permutations([recorded(referred()), recorded(opened()), first, second]):
        known = Account(ACCOUNT)
        for one in arrived:
            known = apply(known, one)

        (message,) = decide(known, {}, ONLY_SETTLED, now=NOW, noticed_by=arrived[-1])

        assert isinstance(message, RecallRequested)
        assert (message.reason, message.cause, message.paid_at) == (RecallReason.MANUAL, Cause.MANUAL, None)
        assert (message.trigger, message.outstanding) == (first, 100_00)
        assert message.recall_id == recall_id_of(ACCOUNT, "l-1")


RECALL = recall_id_of(ACCOUNT, "l-1")
ACCEPTED = PlacementAccepted(ACCOUNT, "l-1", day(4))
ANSWERED = RecallAcknowledged(ACCOUNT, RECALL, "l-1", day(7))
OBJECTED = RecallRejected(ACCOUNT, RECALL, "l-1", day(7), "not ours")
CALLED = ContactMade(ACCOUNT, "l-1", day(7), "call")


@pytest.mark.parametrize("speaker", [None, "agency-1", "agency-2"])
@pytest.mark.parametrize("recall_id", [RECALL, "x-1"])
def test_only_the_agency_that_has_a_placement_speaks_of_it(speaker: str | None, recall_id: str) -> None:
    """Of its own recall, or of one that is not; before the placement is known, and after."""
    said: list[Event] = [
        replace(ACCEPTED, agency_id=speaker),
        replace(ANSWERED, agency_id=speaker, recall_id=recall_id),
        replace(OBJECTED, agency_id=speaker, recall_id=recall_id),
        replace(CALLED, agency_id=speaker),
    ]
    expected = {
        "accepted": speaker != "agency-2",
        "acknowledged": speaker != "agency-2" and recall_id == RECALL,
        "rejected": speaker != "agency-2" and recall_id == RECALL,
        "open": speaker == "agency-2" or recall_id != RECALL,
    }

    for events in permutations([*said, opened(), ordered()]):
        known = Account(ACCOUNT)
        for one in all_recorded(events):
            known = apply(known, one)
        done = decide(known, {}, LENIENT, now=NOW, noticed_by=None)
        (episode,) = episodes(known, after({}, done))

        assert expected == {
            "accepted": episode.accepted_at is not None,
            "acknowledged": episode.acknowledged_at is not None,
            "rejected": episode.rejected is not None,
            "open": episode.is_open,
        }
