"""The make-up of the benchmark's stream: its shares, its repeats, its skew, and that it is always the same."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest

from bench.latency import quantile
from bench.workload import (
    ACCOUNTS_PER_DEBT,
    BUSY_ACCOUNTS,
    DEBT_MINOR,
    Event,
    placed_debts,
    placement_name,
    settling_payment,
    stream,
)
from domain.events import Origin, PaymentSettled, PlacementOpened, RawRecord
from infra.wire.decode import Decoded, decode
from infra.wire.kinds import AGENCIES, PAYMENTS, REFERRALS
from tests.builders import day

COUNT = 40_000


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """A part of the stream."""
    return list(stream(1, COUNT))


def number_of(event: Event) -> int:
    """The number of the account that an event is about."""
    return int(event.key.decode().removeprefix("a-"))


def names(events: list[Event]) -> set[str]:
    """The ids of these events."""
    return {json.loads(event.value)["id"] for event in events}


def read(event: Event) -> Decoded:
    """The event, as the guard reads it."""
    one = decode(RawRecord(Origin(event.topic, 0, 0, day(9)), event.key, event.value))
    assert isinstance(one, Decoded), one
    return one


def test_the_same_part_is_the_same_bytes(events: list[Event]) -> None:
    """A part is made again byte by byte; another part has no event's name in common with it."""
    again, other = list(stream(1, COUNT)), list(stream(2, COUNT))

    assert events == again
    assert set() == names(events) & names(other)


def test_the_shares(events: list[Event]) -> None:
    """96 % payments without a debt, 2 % with one, 1.5 % referrals, 0.5 % the agencies'; each within a fifth."""
    found = Counter((event.topic, number_of(event) % ACCOUNTS_PER_DEBT == 0) for event in events)

    assert set(found) == {(PAYMENTS, False), (PAYMENTS, True), (REFERRALS, True), (AGENCIES, True)}
    assert found[PAYMENTS, False] / COUNT == pytest.approx(0.96, abs=0.005)
    assert found[PAYMENTS, True] / COUNT == pytest.approx(0.02, rel=0.2)
    assert found[REFERRALS, True] / COUNT == pytest.approx(0.015, rel=0.2)
    assert found[AGENCIES, True] / COUNT == pytest.approx(0.005, rel=0.2)


def test_one_in_a_hundred_is_repeated(events: list[Event]) -> None:
    """What is sent again is the same record."""
    assert (COUNT - len(set(events))) / COUNT == pytest.approx(0.01, rel=0.2)


def test_the_skew(events: list[Event]) -> None:
    """A fifth of the accounts has four fifths of the events."""
    assert sum(number_of(event) < BUSY_ACCOUNTS for event in events) / COUNT == pytest.approx(0.8, abs=0.01)


def test_the_size(events: list[Event]) -> None:
    """An event has 386 bytes on average, give or take 1 %."""
    assert sum(len(event.value) for event in events) / COUNT == pytest.approx(386, rel=0.01)


def test_every_event_is_valid(events: list[Event]) -> None:
    """The guard reads every event; distinct ones have distinct names, in the order of their time."""
    ids = [read(event).recorded.id for event in dict.fromkeys(events)]

    assert all(before < after for before, after in pairwise(ids))


def test_a_placed_debt_is_settled_by_its_payment() -> None:
    """The payment that a latency is measured by covers the debt, and comes after its placement."""
    _, placed = (read(event).recorded.event for event in placed_debts([7]))
    paid = read(settling_payment(7, "2026-11-12T12:00:00+03:00")).recorded.event

    assert isinstance(placed, PlacementOpened)
    assert isinstance(paid, PaymentSettled)
    assert (placement_name(7), placed.account_id, DEBT_MINOR) == (
        placed.placement_id,
        paid.account_id,
        paid.amount,
    )
    assert placed.placed_at < paid.paid_at


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (0.001, 1.0)])
def test_a_quantile_is_one_of_the_values(share: float, expected: float) -> None:
    """The smallest value at or above a share of all."""
    assert expected == quantile([float(value) for value in range(1, 101)], share)


def test_values_are_compact_json(events: list[Event]) -> None:
    """The raw reader's COPY escapes nothing but backslashes, so no tab or line may stand in a value."""
    for event in events[:1_000]:
        assert event.value == json.dumps(json.loads(event.value), separators=(",", ":")).encode()
