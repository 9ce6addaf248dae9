"""When a customer may be told in writing that a collector has stopped, and when not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from domain.account import from_events
from domain.confirmation import Confirmed, Ending, NotYet, State, confirm
from domain.events import DisputeOutcome, Event, Recorded
from domain.policy import DebtRules, Policy, RecallReason
from domain.recall import Said, SaidOf, after, decide
from tests.builders import (
    ACCOUNT,
    LENIENT,
    acknowledged,
    all_recorded,
    closed,
    credited,
    day,
    dispute_ended,
    disputed,
    opened,
    paid,
    recorded,
    referred,
    restated,
    returned,
    withdrawn,
)

TOLD = day(4)

PAID = paid(at=day(4))
DONE = Confirmed(
    account_id=ACCOUNT,
    agency_id="agency-1",
    contract_id=None,
    ending=Ending.PAID,
    amount=100_00,
    currency="RUB",
    settled_at=day(4),
    told_at=TOLD,
    stopped_at=day(7),
    closed_at=None,
)


def state(*events: Event | Recorded, policy: Policy = LENIENT) -> State:
    """The account that these make one by one, each message to an agency decided as it happens."""
    known = all_recorded(events)
    said: SaidOf = dict[str, Said]()
    for number, one in enumerate(known, start=1):
        account = from_events(ACCOUNT, known[:number])
        said = after(said, decide(account, said, policy, now=one.time, noticed_by=one))
    return State(from_events(ACCOUNT, known), said)


TRUE: list[tuple[str, Confirmed, Sequence[Event | Recorded]]] = [
    ("paid, recalled and acknowledged", DONE, [referred(), opened(), PAID, acknowledged()]),
    (
        "paid and closed without an answer",
        replace(DONE, stopped_at=None, closed_at=day(8)),
        [referred(), opened(), PAID, closed()],
    ),
    (
        "acknowledged, and closed later",
        DONE,
        [referred(), opened(), PAID, acknowledged(), closed()],
    ),
    (
        "settled by a credit",
        replace(DONE, ending=Ending.SETTLED, settled_at=day(4)),
        [referred(), opened(), credited(at=day(4)), acknowledged()],
    ),
    (
        "taken back",
        replace(DONE, ending=Ending.TAKEN_BACK, amount=0, settled_at=None),
        [referred(), opened(), withdrawn(day(4)), acknowledged()],
    ),
    (
        "the customer was right",
        replace(DONE, ending=Ending.TAKEN_BACK, amount=0, settled_at=None),
        [referred(), opened(), disputed(on_day=4), dispute_ended(DisputeOutcome.UPHELD, 5), acknowledged()],
    ),
    (
        "another collector had it, and stopped too",
        DONE,
        [referred(), opened("l-0", on_day=1), closed("l-0"), opened(), PAID, acknowledged()],
    ),
    (
        "another collector has another debt",
        DONE,
        [referred(), referred("d-2"), opened(), opened("l-2", "d-2"), PAID, acknowledged()],
    ),
]

NOT_TRUE: list[tuple[str, str, Sequence[Event | Recorded]]] = [
    ("not paid", "agency-1 has the debt, and was not told to stop", [referred(), opened()]),
    ("not answered", "agency-1 has not acknowledged the recall", [referred(), opened(), PAID]),
    (
        "the collector ended its work and nobody paid",
        "100.00 RUB of the debt is owed, and nobody has taken it back",
        [referred(), opened(), closed()],
    ),
    (
        "the payment came back",
        "100.00 RUB of the debt is owed, and nobody has taken it back",
        [referred(), opened(), PAID, acknowledged(), returned(at=day(8))],
    ),
    (
        "claimed anew",
        "50.00 RUB of the debt is owed, and nobody has taken it back",
        [referred(), opened(), PAID, acknowledged(), recorded(restated(50_00, day(8)), day(8))],
    ),
    (
        "upheld, and claimed anew",
        "50.00 RUB of the debt is owed, and nobody has taken it back",
        [
            referred(),
            opened(),
            disputed(on_day=4),
            dispute_ended(DisputeOutcome.UPHELD, 5),
            acknowledged(),
            recorded(restated(50_00, day(8)), day(8)),
        ],
    ),
    ("never stated", "what is owed on the debt was never stated", [opened(), closed()]),
    (
        "another collector has the same debt",
        "agency-1 has the same debt, placement l-2",
        [referred(), opened(), opened("l-2"), PAID, acknowledged()],
    ),
    ("another placement", "the placement was named, and never opened", [referred(), closed()]),
]


@pytest.mark.parametrize(("expected", "events"), [row[1:] for row in TRUE], ids=[row[0] for row in TRUE])
def test_what_is_true_is_confirmed(expected: Confirmed, events: Sequence[Event | Recorded]) -> None:
    """With what the paper says of it."""
    assert expected == confirm(state(*events), "l-1", LENIENT, told_at=TOLD)


@pytest.mark.parametrize(("why", "events"), [row[1:] for row in NOT_TRUE], ids=[row[0] for row in NOT_TRUE])
def test_what_is_not_true_is_not(why: str, events: Sequence[Event | Recorded]) -> None:
    """And it says why not."""
    assert NotYet(why) == confirm(state(*events), "l-1", LENIENT, told_at=TOLD)


def test_doubt_confirms_nothing() -> None:
    """An event in quarantine, or one that is not read yet, may be the return of the payment."""
    known = state(referred(), opened(), PAID, acknowledged())

    held = confirm(replace(known, quarantined=1), "l-1", LENIENT, told_at=TOLD)
    behind = confirm(replace(known, behind="no broker"), "l-1", LENIENT, told_at=TOLD)

    assert held == NotYet("1 events of the account wait in quarantine, and may say otherwise")
    assert behind == NotYet("what was acknowledged is not all read: no broker")


def test_what_is_left_within_the_tolerance_is_settled() -> None:
    """The page says what was paid, which is less than was claimed."""
    lenient = replace(LENIENT, debt=DebtRules(tolerance_minor=1_00))
    known = state(referred(), opened(), paid(99_50, day(4)), acknowledged(), policy=lenient)

    assert replace(DONE, amount=99_50) == confirm(known, "l-1", lenient, told_at=TOLD)


def test_a_recall_of_a_debt_that_is_owed_confirms_nothing() -> None:
    """A policy may recall what has only its charges left; the customer still owes them."""
    strict = replace(
        LENIENT,
        recall=replace(LENIENT.recall, on=frozenset({RecallReason.ONLY_CHARGES_LEFT})),
    )
    known = state(
        referred(principal=60_00, fee=40_00), opened(), paid(60_00, day(4)), acknowledged(), policy=strict
    )

    expected = NotYet("40.00 RUB of the debt is owed, and nobody has taken it back")
    assert expected == confirm(known, "l-1", strict, told_at=TOLD)
