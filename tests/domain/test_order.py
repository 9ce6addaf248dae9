"""Order does not matter (S7), every paid placement is recalled once (S2), and none without cause (S4).

Histories are drawn from a catalogue of events of every kind, whose few ids make them meet: the same payment in
several statements, placements of debts that come later, returns without a payment. What is right is asked of
the facts at each step, not of the code that decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import combinations, product
from typing import get_args

import pytest
from hypothesis import HealthCheck, event, given, seed, settings
from hypothesis import strategies as st

from domain.account import Account, apply, from_events
from domain.allocation import balances
from domain.episode import episodes
from domain.events import (
    AgencyEvent,
    Channel,
    ChannelsChosen,
    ContactMade,
    CreditPosted,
    DebtReferred,
    DebtWithdrawn,
    DisputeClosed,
    DisputeOpened,
    DisputeOutcome,
    Event,
    NoticeDelivered,
    NoticeFailed,
    NoticeKind,
    Origin,
    PaymentFailed,
    PaymentPending,
    PaymentReturned,
    PaymentSettled,
    PlacementAccepted,
    PlacementClosed,
    PlacementOpened,
    PlanAgreed,
    PlanEnded,
    ProtectionChanged,
    RecallAcknowledged,
    RecallOrdered,
    RecallRejected,
    Recorded,
)
from domain.policy import DebtRules, Policy, RecallReason, RecallRules
from domain.recall import RecallRequested, SaidOf, after, decide, is_open, recall_id_of
from tests.builders import ACCOUNT, LENIENT, day, referred

EXAMPLES = 3_000
"""Thousands, as the promise asks, and under a minute on a busy two-core machine: 8 ms an example when idle."""

EVENTS_MAX = 14
"""Enough for two debts to be referred, placed, paid, returned and referred again; more only slows shrinking."""

DAYS = (1, 2, 3, 5)
DEBTS = ("d-1", "d-2")
NAMED = ((None, None), ("d-1", None), ("d-2", None), (None, "k-1"), ("d-3", None))
PLACEMENTS = (("l-1", "d-1"), ("l-2", "d-2"), ("l-3", "d-1"), ("l-4", "d-3"))
ALL_REASONS = replace(
    LENIENT,
    debt=DebtRules(tolerance_minor=5, minimum_minor=20),
    recall=RecallRules(on=frozenset(RecallReason)),
)
POLICIES = (LENIENT, Policy(), ALL_REASONS)


def _referrals() -> list[Event]:
    return [
        replace(
            referred(debt_id, amount),
            referral_id=referral_id,
            as_of=day(on),
            due_on=referred().due_on + timedelta(days=DEBTS.index(debt_id) - on),
            contract_id=contract_id,
            reflected_payment_ids=frozenset({"p-1"} if amount == 100 and on == 2 else ()),
        )
        for debt_id, amount, on, (referral_id, contract_id) in product(
            DEBTS, (60, 100), (0, 2, 4), (("r-1", None), ("r-2", "k-1"))
        )
    ]


def _payments() -> list[Event]:
    settled: list[Event] = [
        PaymentSettled(ACCOUNT, payment_id, amount, currency, day(on), debt_id=debt_id, contract_id=contract_id)
        for payment_id, amount, on, currency, (debt_id, contract_id) in product(
            ("p-1", "p-2"), (60, 100, 200), DAYS, ("RUB", "RUB", "USD"), NAMED
        )
    ]
    pending: list[Event] = [PaymentPending(ACCOUNT, "p-1", amount, "RUB", day(1)) for amount in (60, 100)]
    undone: list[Event] = [
        kind
        for payment_id in ("p-1", "p-2")
        for kind in (PaymentFailed(ACCOUNT, payment_id), PaymentReturned(ACCOUNT, payment_id, day(4)))
    ]
    credits_: list[Event] = [
        CreditPosted(ACCOUNT, "c-1", amount, "RUB", day(on), "write_off", debt_id)
        for amount, on, debt_id in product((40, 100), DAYS, (None, "d-1"))
    ]
    return settled + pending + undone + credits_


def _episodes() -> list[Event]:
    placed: list[Event] = [
        PlacementOpened(ACCOUNT, placement_id, debt_id, agency_id, amount, "RUB", day(on))
        for (placement_id, debt_id), agency_id, amount, on in product(PLACEMENTS, ("g-1", "g-2"), (60, 100), DAYS)
    ]
    return placed


def _ends() -> list[Event]:
    ends: list[Event] = []
    for placement_id, _ in PLACEMENTS:
        recall_id = recall_id_of(ACCOUNT, placement_id)
        ends += [
            PlacementClosed(ACCOUNT, placement_id, day(6)),
            PlacementAccepted(ACCOUNT, placement_id, day(3)),
            RecallAcknowledged(ACCOUNT, recall_id, placement_id, day(6)),
            RecallAcknowledged(ACCOUNT, "x-1", placement_id, day(6)),
            RecallRejected(ACCOUNT, recall_id, placement_id, day(6), "paid to us"),
            RecallRejected(ACCOUNT, recall_id, placement_id, day(6), "not ours"),
            ContactMade(ACCOUNT, placement_id, day(5), "call"),
            RecallOrdered(ACCOUNT, placement_id, "a mistake", "the desk", day(5)),
            RecallOrdered(ACCOUNT, placement_id, "another mistake", "the desk", day(6)),
        ]
        for speaker in ("g-1", "g-2", "g-3"):
            ends += [
                PlacementAccepted(ACCOUNT, placement_id, day(4), speaker),
                RecallAcknowledged(ACCOUNT, recall_id, placement_id, day(7), speaker),
                RecallRejected(ACCOUNT, recall_id, placement_id, day(7), "paid to us", speaker),
                ContactMade(ACCOUNT, placement_id, day(6), "call", speaker),
            ]
    return ends


def _standing() -> list[Event]:
    named = (None, "d-1", "d-2")
    events: list[Event] = [DebtWithdrawn(ACCOUNT, debt_id) for debt_id in DEBTS]
    for on, debt_id in product((2, 4), named):
        events += [
            DisputeOpened(ACCOUNT, "q-1", day(on), debt_id),
            PlanAgreed(ACCOUNT, "i-1", day(on), debt_id),
            PlanEnded(ACCOUNT, "i-1", day(on)),
            NoticeDelivered(ACCOUNT, "n-1", NoticeKind.DEBT_REMINDER, Channel.SMS, day(on), debt_id),
            NoticeFailed(ACCOUNT, "n-1", NoticeKind.DEBT_REMINDER, Channel.SMS, day(on), debt_id),
        ]
    for on, outcome in product((3, 5), DisputeOutcome):
        events.append(DisputeClosed(ACCOUNT, "q-1", day(on), outcome))
    for on, marks in product((2, 4), ((), ("bankrupt",), ("vip",))):
        events.append(ProtectionChanged(ACCOUNT, frozenset(marks), day(on)))
    return [*events, ChannelsChosen(ACCOUNT, frozenset({Channel.SMS})), ChannelsChosen(ACCOUNT, frozenset())]


def _recorded(events: Iterable[Event], name: str) -> list[Recorded]:
    """Each event said on each of two days, so that statements of one thing come in both orders of time."""
    return [
        Recorded(one, f"s-{number % 2}", f"{name}-{number}-{on}", _hour(on), Origin(name, 0, number, _hour(on)))
        for number, one in enumerate(events)
        for on in (3, 5)
    ]


def _hour(on: int) -> datetime:
    return day(on, 12)


REFERRALS, MONEY = _recorded(_referrals(), "referral"), _recorded(_payments(), "money")
OPENED, ENDS = _recorded(_episodes(), "opened"), _recorded(_ends(), "end")
STANDING = _recorded(_standing(), "standing")
CATALOGUE = [*REFERRALS, *MONEY, *OPENED, *ENDS, *STANDING]


@dataclass(frozen=True)
class History:
    """The same events as they happened to be written down, and as they arrived, some of them again."""

    events: Sequence[Recorded]
    arrived: Sequence[Recorded]
    policy: Policy


@st.composite
def histories(draw: st.DrawFn) -> History:
    """A referred and placed debt most of the time, with money and whatever else may happen to it."""
    one_of = st.one_of(*(st.sampled_from(pool) for pool in (MONEY, MONEY, STANDING, ENDS, OPENED, REFERRALS)))
    start = draw(st.tuples(st.sampled_from(REFERRALS), st.sampled_from(OPENED), st.sampled_from(MONEY)))
    events = [*start, *draw(st.lists(one_of, max_size=EVENTS_MAX - len(start)))]
    repeated = draw(st.lists(st.sampled_from(events), max_size=4))
    arrived = draw(st.permutations([*events, *repeated]))
    return History(events, arrived, draw(st.sampled_from(POLICIES)))


@dataclass
class Run:
    """What came of a history, event by event; `wrong` are the placements that a recall had a cause for."""

    account: Account = field(default_factory=lambda: Account(ACCOUNT))
    said: SaidOf = field(default_factory=dict)
    recalled: Counter[str] = field(default_factory=Counter)
    wrong: set[str] = field(default_factory=set)


def lived(history: History) -> Run:
    """The events applied and judged one by one, as `ingest` does."""
    run = Run()
    for recorded in history.arrived:
        run.account = apply(run.account, recorded)
        messages = decide(run.account, run.said, history.policy, now=day(9), noticed_by=recorded)
        run.said = after(run.said, messages)
        run.recalled.update(one.placement.placement_id for one in messages if isinstance(one, RecallRequested))
        run.wrong |= wrong_placements(run.account, history.policy)
    return run


def wrong_placements(account: Account, policy: Policy) -> set[str]:
    """The placements for whose recall the facts give any cause: the contract's list, told without `decide`."""
    owed = balances(account, policy.debt)
    protection = account.protection.said_by.event if account.protection else None
    protected = isinstance(protection, ProtectionChanged) and bool(protection.marks & policy.protected_marks)
    wrong: set[str] = set()
    for placement_id, episode in account.placements.items():
        if (opened := episode.opened) is None:
            continue
        balance, debt = owed.get(opened.debt_id), account.debts.get(opened.debt_id)
        little = max(policy.debt.tolerance_minor, policy.debt.minimum_minor - 1)
        stated_at = balance.terms.as_of if balance else opened.placed_at
        if (
            protected
            or episode.ordered_by is not None
            or (balance is not None and balance.outstanding <= little)
            or (debt is not None and debt.withdrawn)
            or any(
                one.concerns(opened.debt_id)
                and one.closed
                and one.closed.outcome is DisputeOutcome.UPHELD
                and one.closed.closed_at > stated_at
                for one in account.disputes.values()
            )
        ):
            wrong.add(placement_id)
    return wrong


def paid_and_open(run: Run, policy: Policy) -> set[str]:
    """The placements that an agency still has though their stated debt is settled."""
    owed = balances(run.account, policy.debt)
    return {
        placement_id
        for placement_id, episode in run.account.placements.items()
        if episode.opened
        and is_open(run.account, placement_id, run.said.get(placement_id))
        and (balance := owed.get(episode.opened.debt_id))
        and balance.outstanding <= policy.debt.tolerance_minor
    }


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_order_delay_and_repetition_change_nothing_and_every_paid_placement_is_recalled_once(
    history: History,
) -> None:
    """Events in any order, some again, end in the same facts and amounts, and in one recall where one is due."""
    in_order = from_events(ACCOUNT, history.events)

    run = lived(history)

    # The same facts, and so the same amounts (S7).
    rules = history.policy.debt
    assert in_order == run.account
    assert balances(in_order, rules) == balances(run.account, rules)
    # Every paid placement has its recall, none has two (S2), none without cause (S4).
    due = paid_and_open(run, history.policy)
    event(f"paid and still open: {len(due)}")
    assert dict.fromkeys(due, 1) == {placement_id: run.recalled[placement_id] for placement_id in due}
    assert [placement_id for placement_id, count in run.recalled.items() if count > 1] == []
    assert set() == set(run.recalled) - run.wrong
    # A sweep finds nothing.
    assert decide(run.account, run.said, history.policy, now=day(10), noticed_by=None) == ()


@settings(max_examples=200, deadline=None)
@given(histories())
def test_what_an_agency_is_told_at_the_end_is_owed(history: History) -> None:
    """An open placement that is not recalled was told no more than is owed, unless in another currency."""
    run = lived(history)

    owed = balances(run.account, history.policy.debt)
    told_too_much = [
        placement_id
        for placement_id, episode in run.account.placements.items()
        if episode.opened
        and episode.closed_at is None
        and (balance := owed.get(episode.opened.debt_id))
        and (said := run.said.get(placement_id)) is not None
        and not said.recalled
        and said.told > balance.outstanding
    ]
    assert told_too_much == []


@settings(max_examples=EXAMPLES // 3, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(histories())
def test_what_another_agency_says_has_no_effect_in_any_order(history: History) -> None:
    """Without what agencies say that do not have the placement, each placement stands as it does with it."""
    run = lived(history)

    def is_heeded(one: Event) -> bool:
        episode = run.account.placements[one.placement_id] if isinstance(one, AgencyEvent) else None
        return episode is None or episode.heeds(one.agency_id if isinstance(one, AgencyEvent) else None)

    heeded = from_events(ACCOUNT, [one for one in history.arrived if is_heeded(one.event)])

    event(f"unheeded: {len(history.arrived) - sum(is_heeded(one.event) for one in history.arrived)}")
    assert episodes(heeded, run.said) == episodes(run.account, run.said)


def test_the_histories_hold_paid_placements() -> None:
    """A fair part of the drawn histories end with a paid placement, so that the promise above is put to it."""
    seen: Counter[str] = Counter()

    # So many, since the library draws histories that are like each other, and its choice hangs on the constants of
    # all code that is loaded: of 300 between 13 and 28 of 100 were paid, of 2,000 between 21 and 27.
    @seed(20261114)
    @settings(max_examples=2_000, database=None, deadline=None)
    @given(histories())
    def count(history: History) -> None:
        run = lived(history)
        seen["all"] += 1
        seen["paid"] += bool(paid_and_open(run, history.policy))
        seen["recalled"] += bool(run.recalled)
        seen["not recalled"] += not run.recalled

    count()

    shares = {name: seen[name] / seen["all"] for name in ("paid", "recalled", "not recalled")}
    assert min(shares.values()) > 0.15, shares


@pytest.mark.parametrize("pool", [STANDING, ENDS, REFERRALS, OPENED, MONEY[::9]], ids=lambda pool: pool[0].id)
def test_any_two_events_of_the_catalogue_may_change_places(pool: list[Recorded]) -> None:
    """Two statements of one thing end in the same facts in both orders, down to ties of the same instant."""
    unequal = [
        (one.id, other.id)
        for one, other in combinations(pool, 2)
        if from_events(ACCOUNT, [one, other]) != from_events(ACCOUNT, [other, one])
    ]

    assert unequal == []


@pytest.mark.parametrize("kind", get_args(Event))
def test_the_catalogue_holds_every_kind_of_event(kind: type[Event]) -> None:
    """No kind of event is left out of what the histories are drawn from."""
    assert any(isinstance(one.event, kind) for one in CATALOGUE)


def test_one_id_names_one_event_in_the_catalogue() -> None:
    """No two events of the catalogue share source and id, since then one would be a conflict."""
    assert len(CATALOGUE) == len({(one.source, one.id) for one in CATALOGUE})
    assert all(isinstance(one.event, DebtReferred) for one in REFERRALS)
