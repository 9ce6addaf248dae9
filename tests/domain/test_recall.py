"""Which placements are withdrawn, reduced, suspended or resumed, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from domain.account import Account, apply
from domain.events import DisputeOutcome, Event, Recorded
from domain.policy import DebtRules, Policy, RecallReason, RecallRules
from domain.recall import (
    BalanceReduced,
    Cause,
    Message,
    PlacementResumed,
    PlacementSuspended,
    RecallRequested,
    Said,
    SaidOf,
    after,
    decide,
    is_open,
    recall_id_of,
)
from tests.builders import (
    ACCOUNT,
    LENIENT,
    account,
    acknowledged,
    all_recorded,
    closed,
    credited,
    day,
    dispute_ended,
    disputed,
    marked,
    opened,
    paid,
    recorded,
    referred,
    restated,
    returned,
    withdrawn,
)

NOW = day(9)


def told(events: Iterable[Event | Recorded], policy: Policy = LENIENT) -> list[Message]:
    """All that agencies are told while these events arrive one by one."""
    known, said = Account(ACCOUNT), dict[str, Said]()
    messages: list[Message] = []
    for one in all_recorded(events):
        known = apply(known, one)
        now = decide(known, said, policy, now=NOW, noticed_by=one)
        messages += now
        said = dict(after(said, now))
    return messages


def in_short(messages: Iterable[Message]) -> list[str]:
    """Messages as a row of a table shows them."""
    return [_short(message) for message in messages]


def _short(message: Message) -> str:
    placement_id = message.placement.placement_id
    match message:
        case RecallRequested():
            return f"recall {placement_id} {message.reason} {message.cause} {message.outstanding}"
        case BalanceReduced():
            return f"reduce {placement_id} {message.outstanding}"
        case PlacementSuspended():
            return f"suspend {placement_id}"
        case PlacementResumed():
            return f"resume {placement_id}"


PAID_AFTER, IN_ERROR = Cause.PAID_AFTER_PLACEMENT, Cause.REFERRED_IN_ERROR
LATE = day(4)
UPHELD, REJECTED = dispute_ended(DisputeOutcome.UPHELD), dispute_ended(DisputeOutcome.REJECTED)


def test_a_recall_says_all_that_the_agency_and_the_evidence_need() -> None:
    """A settled placement is recalled with its reason, cause, deadline, trigger and what was noticed last."""
    late_return = recorded(returned("p-9"), day(8))
    payment = recorded(paid(100_00, LATE))
    known = account(referred(), opened(), payment, late_return)

    actual = decide(known, {}, LENIENT, now=NOW, noticed_by=late_return)

    expected = RecallRequested(
        recall_id=recall_id_of(ACCOUNT, "l-1"),
        placement=opened(),
        reason=RecallReason.DEBT_SETTLED,
        cause=PAID_AFTER,
        outstanding=0,
        currency="RUB",
        requested_at=NOW,
        acknowledge_by=NOW + timedelta(minutes=60),
        trigger=payment,
        paid_at=LATE,
        noticed_by=late_return,
    )
    assert (expected,) == actual


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([referred(), opened(), paid(100_00, LATE)], ["recall l-1 DEBT_SETTLED paid_after_placement 0"]),
        ([referred(), opened(), paid(100_00, day(3))], ["recall l-1 DEBT_SETTLED referred_in_error 0"]),
        ([referred(), paid(100_00, day(1)), opened()], ["recall l-1 DEBT_SETTLED referred_in_error 0"]),
        ([opened(), paid(100_00, LATE), referred()], ["recall l-1 DEBT_SETTLED paid_after_placement 0"]),
        ([opened(), paid(100_00, LATE)], []),
        ([referred(), opened(), credited(100_00, LATE)], ["recall l-1 DEBT_SETTLED paid_after_placement 0"]),
        ([referred(), opened(), paid(99_99, LATE)], ["reduce l-1 1"]),
        ([referred(), opened(), paid(100_00, LATE, debt_id="d-2")], []),
        ([referred(), opened(), paid(100_00, LATE, currency="USD")], []),
        ([referred(), paid(100_00, LATE), closed(), opened()], []),
        ([referred(), opened(), closed(), paid(100_00, LATE)], []),
        ([referred(), opened(), withdrawn(LATE)], ["recall l-1 DEBT_WITHDRAWN referred_in_error 10000"]),
        ([referred(), opened(), withdrawn(LATE, "d-2")], []),
        ([referred(), opened(), recorded(restated(90_00, LATE), day(6)), withdrawn(LATE)], ["reduce l-1 9000"]),
        ([referred(), opened(), marked("bankrupt")], ["recall l-1 PROTECTED_CUSTOMER referred_in_error 10000"]),
        ([referred(), opened(), marked("vip")], []),
        ([marked("bankrupt"), marked(on_day=5), referred(), opened()], []),
        (
            [referred(), opened(), disputed(), UPHELD],
            ["suspend l-1", "recall l-1 DISPUTE_UPHELD referred_in_error 10000"],
        ),
        (
            [referred(), opened(), disputed(None), UPHELD],
            ["suspend l-1", "recall l-1 DISPUTE_UPHELD referred_in_error 10000"],
        ),
        ([referred(), opened(), disputed("d-2"), UPHELD], []),
        ([disputed(), UPHELD, restated(90_00, day(7)), opened()], ["reduce l-1 9000"]),
        ([referred(), opened(), disputed(), REJECTED], ["suspend l-1", "resume l-1"]),
        (
            [referred(), opened(), disputed(), paid(100_00, LATE)],
            ["suspend l-1", "recall l-1 DEBT_SETTLED paid_after_placement 0"],
        ),
        (
            [referred(), opened(), withdrawn(LATE), paid(100_00, LATE)],
            ["recall l-1 DEBT_WITHDRAWN referred_in_error 10000"],
        ),
        ([restated(0, day(6)), opened()], ["recall l-1 DEBT_SETTLED referred_in_error 0"]),
        ([opened(), withdrawn(LATE)], ["recall l-1 DEBT_WITHDRAWN referred_in_error 10000"]),
        ([opened(), marked("deceased")], ["recall l-1 PROTECTED_CUSTOMER referred_in_error 10000"]),
        (
            [opened(), disputed(), UPHELD],
            ["suspend l-1", "recall l-1 DISPUTE_UPHELD referred_in_error 10000"],
        ),
        ([opened(), disputed(), REJECTED], ["suspend l-1", "resume l-1"]),
    ],
    ids=[
        "paid after the placement",
        "paid at the instant of the placement",
        "paid before the placement",
        "debt referred last",
        "debt not referred",
        "written off",
        "all but one kopeck",
        "another debt paid",
        "another currency",
        "ended before it was opened",
        "ended before it was paid",
        "withdrawn",
        "another withdrawn",
        "withdrawn, and referred again later",
        "protected",
        "a mark that protects from nothing",
        "protected no more",
        "dispute upheld",
        "dispute of the account upheld",
        "dispute of another debt upheld",
        "dispute upheld, then the debt stated anew",
        "dispute rejected",
        "disputed and paid",
        "withdrawn and then paid: one recall",
        "nothing owed by statement",
        "never stated, and withdrawn",
        "never stated, of a protected customer",
        "never stated, and a dispute upheld",
        "never stated, and disputed",
    ],
)
def test_agencies_are_told_what_the_facts_ask(events: list[Event | Recorded], expected: list[str]) -> None:
    """Each row gives the events as they arrive, and all that the agency is told."""
    assert expected == in_short(told(events))


@pytest.mark.parametrize(
    ("on", "rules", "events", "expected"),
    [
        (RecallReason.DEBT_WITHDRAWN, LENIENT.debt, [referred(), opened(), withdrawn(LATE)], True),
        (None, LENIENT.debt, [referred(), opened(), withdrawn(LATE)], False),
        (RecallReason.PROTECTED_CUSTOMER, LENIENT.debt, [referred(), opened(), marked("minor")], True),
        (None, LENIENT.debt, [referred(), opened(), marked("minor")], False),
        (RecallReason.DISPUTE_UPHELD, LENIENT.debt, [referred(), opened(), disputed(), UPHELD], True),
        (None, LENIENT.debt, [referred(), opened(), disputed(), UPHELD], False),
        (
            RecallReason.BELOW_MINIMUM,
            DebtRules(tolerance_minor=0, minimum_minor=50_00),
            [referred(), opened(), paid(50_01, LATE)],
            True,
        ),
        (
            RecallReason.BELOW_MINIMUM,
            DebtRules(tolerance_minor=0, minimum_minor=50_00),
            [referred(), opened(), paid(50_00, LATE)],
            False,
        ),
        (
            None,
            DebtRules(tolerance_minor=0, minimum_minor=50_00),
            [referred(), opened(), paid(50_01, LATE)],
            False,
        ),
        (
            RecallReason.ONLY_CHARGES_LEFT,
            LENIENT.debt,
            [referred(principal=60_00, fee=40_00), opened(), paid(60_00, LATE)],
            True,
        ),
        (
            RecallReason.ONLY_CHARGES_LEFT,
            LENIENT.debt,
            [referred(principal=60_00, fee=40_00), opened(), paid(59_99, LATE)],
            False,
        ),
        (
            RecallReason.ONLY_CHARGES_LEFT,
            replace(LENIENT.debt, only_charges_left_holds=False),
            [referred(principal=60_00, fee=40_00), opened(), paid(60_00, LATE)],
            False,
        ),
        (None, LENIENT.debt, [referred(principal=60_00, fee=40_00), opened(), paid(60_00, LATE)], False),
        (RecallReason.DEBT_SETTLED, LENIENT.debt, [referred(), opened(), paid(100_00, LATE)], True),
    ],
)
def test_the_policy_says_which_reasons_recall(
    on: RecallReason | None, rules: DebtRules, events: list[Event | Recorded], expected: bool
) -> None:
    """A reason recalls where the policy lists it, and where its own rule is met."""
    policy = replace(LENIENT, debt=rules, recall=RecallRules(on=frozenset({on} if on else ())))

    recalls = [one.reason for one in told(events, policy) if isinstance(one, RecallRequested)]

    assert ([on] if expected else []) == recalls


def test_a_paid_debt_recalls_whatever_the_policy_lists() -> None:
    """That the debt is settled recalls even where the policy lists no reason at all."""
    policy = replace(LENIENT, recall=RecallRules(on=frozenset()))

    actual = in_short(told([referred(), opened(), paid(100_00, LATE)], policy))

    assert actual == ["recall l-1 DEBT_SETTLED paid_after_placement 0"]


def test_of_several_reasons_the_first_is_given() -> None:
    """A placement that is wrong in every way is recalled once, for the first reason in their order."""
    policy = replace(
        LENIENT,
        debt=DebtRules(tolerance_minor=0, minimum_minor=90_00),
        recall=RecallRules(on=frozenset(RecallReason)),
    )
    grounds: list[tuple[RecallReason, list[Event | Recorded]]] = [
        (RecallReason.DEBT_SETTLED, [paid(40_00, day(5), payment_id="p-2")]),
        (RecallReason.DEBT_WITHDRAWN, [withdrawn(LATE)]),
        (RecallReason.PROTECTED_CUSTOMER, [marked("deceased")]),
        (RecallReason.DISPUTE_UPHELD, [disputed(), UPHELD]),
        (RecallReason.BELOW_MINIMUM, []),
    ]
    both: list[Event | Recorded] = [referred(principal=60_00, fee=40_00), opened(), paid(60_00, LATE)]

    for number, (reason, _) in enumerate(grounds):
        more = [event for _, events in grounds[number:] for event in events]

        recalls = decide(account(*both, *more), {}, policy, now=NOW, noticed_by=None)

        assert [reason] == [one.reason for one in recalls if isinstance(one, RecallRequested)]


@pytest.mark.parametrize(
    ("events", "policy", "trigger"),
    [
        (
            [referred(), opened(), paid(60_00, day(4)), paid(40_00, day(5), payment_id="p-2")],
            LENIENT,
            paid(40_00, day(5), payment_id="p-2"),
        ),
        (
            [referred(), opened(), paid(40_00, day(5), payment_id="p-2"), paid(60_00, day(4))],
            LENIENT,
            paid(40_00, day(5), payment_id="p-2"),
        ),
        ([referred(), paid(100_00, day(1)), opened()], LENIENT, paid(100_00, day(1))),
        ([referred(amount=50), opened()], Policy(), referred(amount=50)),
        ([referred(), opened(), marked("bankrupt")], LENIENT, marked("bankrupt")),
        ([referred(), opened(), disputed(), UPHELD], LENIENT, UPHELD),
        (
            [referred(), paid(60_00, day(1)), opened(amount=40_00), paid(10_00, LATE, payment_id="p-2")],
            replace(
                LENIENT,
                debt=DebtRules(tolerance_minor=0, minimum_minor=50_00),
                recall=RecallRules(on=frozenset({RecallReason.BELOW_MINIMUM})),
            ),
            paid(60_00, day(1)),
        ),
    ],
    ids=["the last part", "by date, not by arrival", "before", "the statement", "marks", "outcome", "first below"],
)
def test_the_trigger_is_what_made_the_placement_wrong(events: list[Event], policy: Policy, trigger: Event) -> None:
    """A recall names the event that made its placement wrong, not that which happened to arrive last."""
    recalls = decide(account(*events), {}, policy, now=NOW, noticed_by=None)

    assert [trigger] == [one.trigger.event for one in recalls if isinstance(one, RecallRequested)]


def test_the_trigger_of_a_minimum_is_the_first_payment_below_it() -> None:
    """A later payment of a debt that was below the minimum before its placement does not excuse the placement."""
    policy = replace(
        LENIENT,
        debt=DebtRules(tolerance_minor=0, minimum_minor=50_00),
        recall=RecallRules(on=frozenset({RecallReason.BELOW_MINIMUM})),
    )
    known = account(referred(), paid(60_00, day(1)), opened(), paid(10_00, LATE, payment_id="p-2"))

    actual = in_short(decide(known, {}, policy, now=NOW, noticed_by=None))

    assert actual == ["recall l-1 BELOW_MINIMUM referred_in_error 3000"]


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([referred(), opened(), paid(30_00, LATE)], ["reduce l-1 7000"]),
        ([referred(), paid(30_00, day(1)), opened()], ["reduce l-1 7000"]),
        ([referred(), paid(30_00, day(1)), opened(amount=70_00)], []),
        ([referred(), paid(30_00, day(1)), opened(amount=60_00)], []),
        (
            [referred(), opened(), paid(30_00, LATE), paid(20_00, LATE, payment_id="p-2")],
            ["reduce l-1 7000", "reduce l-1 5000"],
        ),
        ([referred(), opened(), paid(30_00, LATE), paid(30_00, LATE)], ["reduce l-1 7000"]),
        ([referred(), opened(), paid(30_00, LATE), returned()], ["reduce l-1 7000"]),
        (
            [referred(), opened(), paid(30_00, LATE), returned(), paid(20_00, LATE, payment_id="p-2")],
            ["reduce l-1 7000"],
        ),
        (
            [referred(), opened(), paid(100_00, LATE), returned(), paid(30_00, day(6), payment_id="p-2")],
            ["recall l-1 DEBT_SETTLED paid_after_placement 0"],
        ),
        ([replace(referred(), currency="USD"), opened(), paid(30_00, LATE, currency="USD")], []),
        (
            [referred(), opened(), disputed(), paid(30_00, LATE)],
            ["suspend l-1", "reduce l-1 7000"],
        ),
    ],
    ids=[
        "part paid",
        "opened for more than is owed",
        "opened for what is owed",
        "opened for less",
        "two parts",
        "the same part twice",
        "returned: nothing is told up",
        "returned, then less than was told",
        "not after a recall",
        "opened in another currency",
        "while suspended",
    ],
)
def test_an_agency_is_told_once_that_less_is_owed(events: list[Event], expected: list[str]) -> None:
    """A reduced balance is told when it falls under what the agency was told, and never after a recall."""
    assert expected == in_short(told(events))


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([referred(), opened(), disputed()], ["suspend l-1"]),
        ([referred(), disputed(), opened()], ["suspend l-1"]),
        ([referred(), opened(), disputed(None)], ["suspend l-1"]),
        ([referred(), opened(), disputed("d-2")], []),
        ([referred(), opened(), disputed(), disputed()], ["suspend l-1"]),
        ([referred(), opened(), disputed(), REJECTED], ["suspend l-1", "resume l-1"]),
        ([referred(), opened(), REJECTED, disputed()], []),
        (
            [referred(), opened(), disputed(), REJECTED, disputed(on_day=7)],
            ["suspend l-1", "resume l-1", "suspend l-1"],
        ),
        (
            [referred(), opened(), disputed(), replace(disputed(None), dispute_id="q-2"), REJECTED],
            ["suspend l-1"],
        ),
        ([referred(), opened(), disputed(), closed(), REJECTED], ["suspend l-1"]),
    ],
    ids=[
        "opened",
        "opened before the placement",
        "of the account",
        "of another debt",
        "twice",
        "ended",
        "ended before it was opened",
        "opened again",
        "one of two ended",
        "placement closed meanwhile",
    ],
)
def test_a_disputed_placement_is_suspended_and_resumed(events: list[Event], expected: list[str]) -> None:
    """The agency pauses while any dispute of the debt or of the account is open, and is told so once each."""
    assert expected == in_short(told(events))


def test_a_placement_is_recalled_once_whatever_is_repeated() -> None:
    """The same events again, a return, another payment and a sweep make no second recall."""
    events: list[Event | Recorded] = [referred(), opened(), paid(100_00, LATE)]
    more: list[Event | Recorded] = [
        *events,
        returned(),
        *events,
        paid(100_00, day(6), payment_id="p-2"),
        withdrawn(day(7)),
    ]

    actual = told([*events, *more])
    swept = decide(account(*more), after({}, tuple(actual)), LENIENT, now=NOW, noticed_by=None)

    assert (in_short(actual), swept) == (["recall l-1 DEBT_SETTLED paid_after_placement 0"], ())


def test_a_sweep_finds_what_was_missed() -> None:
    """Decided from the facts alone, the recall is the same as the event would have made, but for who noticed."""
    known = account(referred(), opened(), paid(100_00, LATE))
    payment = recorded(paid(100_00, LATE))

    (noticed,) = decide(known, {}, LENIENT, now=NOW, noticed_by=payment)
    (swept,) = decide(known, {}, LENIENT, now=NOW, noticed_by=None)

    assert isinstance(noticed, RecallRequested)
    assert replace(noticed, noticed_by=None) == swept


def test_a_returned_payment_undoes_no_recall_and_the_next_placement_gets_its_own() -> None:
    """Money never resurrects a placement: the debt is open again, and a new placement has a new recall."""
    again = paid(100_00, day(12), payment_id="p-2")
    episodes: list[Event | Recorded] = [
        opened(),
        paid(100_00, LATE),
        returned(),
        acknowledged(),
        opened("l-2", on_day=10),
        again,
    ]

    actual = told([referred(), *episodes])

    assert in_short(actual) == [
        "recall l-1 DEBT_SETTLED paid_after_placement 0",
        "recall l-2 DEBT_SETTLED paid_after_placement 0",
    ]
    assert len({one.recall_id for one in actual if isinstance(one, RecallRequested)}) == 2


def test_every_open_placement_of_a_paid_debt_is_recalled() -> None:
    """Two agencies that hold one debt are both told, in the order of their placements."""
    actual = told([referred(), opened("l-2"), opened("l-1"), paid(100_00, LATE)])

    assert in_short(actual) == [
        "recall l-1 DEBT_SETTLED paid_after_placement 0",
        "recall l-2 DEBT_SETTLED paid_after_placement 0",
    ]


def test_only_the_placement_of_the_paid_debt_is_recalled() -> None:
    """Of two placed debts the one that the payment settles is recalled, the other reduced by what is over."""
    events: list[Event | Recorded] = [referred("d-1"), referred("d-2"), opened("l-1", "d-1"), opened("l-2", "d-2")]

    actual = told([*events, paid(130_00, LATE, debt_id="d-2")])

    assert in_short(actual) == ["reduce l-1 7000", "recall l-2 DEBT_SETTLED paid_after_placement 0"]


def test_a_debt_withdrawn_because_it_was_paid_recalls_no_other() -> None:
    """The money that paid a withdrawn debt does not settle the next one."""
    older = replace(referred("d-0"), due_on=referred().due_on - timedelta(days=30))
    events: list[Event | Recorded] = [older, referred(), opened(), paid(100_00, LATE), withdrawn(day(5), "d-0")]

    assert told(events) == []


@pytest.mark.parametrize(
    ("events", "said", "expected"),
    [
        ([opened()], None, True),
        ([opened()], Said(100_00, recalled=True), True),
        ([opened(), acknowledged()], Said(100_00, recalled=True), False),
        ([opened(), acknowledged()], Said(100_00), True),
        ([opened(), acknowledged()], None, True),
        ([opened(), replace(acknowledged(), recall_id="x-1")], Said(100_00, recalled=True), True),
        ([opened(), closed()], None, False),
        ([closed()], None, False),
        ([acknowledged()], None, False),
    ],
    ids=[
        "opened",
        "recalled, not acknowledged",
        "acknowledged",
        "acknowledged what was not asked",
        "acknowledged before anything was said",
        "acknowledged another recall",
        "closed",
        "not opened",
        "acknowledged, not opened",
    ],
)
def test_a_placement_is_open_until_the_agency_stopped(
    events: list[Event], said: Said | None, expected: bool
) -> None:
    """A placement ends when it is closed, or when the agency acknowledges the recall that it was sent."""
    assert expected == is_open(account(*events), "l-1", said)


def test_a_recall_id_is_of_one_account_and_placement() -> None:
    """The id of a recall is the same whoever computes it, and no other placement has it."""
    ids = [recall_id_of(*pair) for pair in [("a-1", "l-1"), ("a-1", "l-1"), ("a-1", "l-2"), ("a-2", "l-1")]]

    # Agencies know past recalls by it: another value would recall them all again.
    assert ids[0] == "fee10874-3f05-5d55-b1cc-2909169c0f41"
    assert [one == ids[0] for one in ids[1:]] == [True, False, False]


def test_what_was_said_grows_by_what_is_told() -> None:
    """Each message changes its own part of what was said, and nothing of another placement."""
    before: SaidOf = {"l-2": Said(5_00, suspended=True)}
    reduced = BalanceReduced(opened(), 70_00, "RUB", NOW)
    suspended, resumed = PlacementSuspended(opened(), NOW), PlacementResumed(opened("l-2"), NOW)
    (recall,) = decide(account(referred(), opened(), paid()), {}, LENIENT, now=NOW, noticed_by=None)

    actual = after(before, (reduced, suspended, resumed, recall))

    assert {"l-1": Said(70_00, suspended=True, recalled=True), "l-2": Said(5_00)} == actual
    assert {"l-2": Said(5_00, suspended=True)} == before
