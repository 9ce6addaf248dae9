"""When a delivery is tried again, and when an agency is left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from domain.patience import CLOSED, Circuit, pause_after
from tests.builders import day

NOW = day(0)


@pytest.mark.parametrize(
    ("attempts", "chance", "asked_seconds", "seconds"),
    [
        (1, 1.0, None, 1),
        (1, 0.0, None, 0.5),
        (2, 1.0, None, 2),
        (5, 1.0, None, 16),
        (5, 0.5, None, 12),
        # up to a quarter of an hour, however often it failed
        (11, 1.0, None, 900),
        (1_000_000, 1.0, None, 900),
        # what the agency asks for, where that is longer, and not for ever
        (1, 1.0, 60.0, 60),
        (11, 1.0, 60.0, 900),
        (1, 1.0, 1e9, 3_600),
    ],
)
def test_pauses_grow(attempts: int, chance: float, asked_seconds: float | None, seconds: float) -> None:
    """They double, with chance in one half of them."""
    pause = pause_after(attempts, chance=chance, asked_seconds=asked_seconds)

    assert pause == timedelta(seconds=seconds)


def test_a_circuit_opens_after_some_failures_and_for_longer_each_time() -> None:
    """The pause is that between looks whether the agency is back; at most half a minute."""
    circuit, pauses = CLOSED, []
    for _ in range(10):
        circuit = circuit.after_failure(NOW, "no answer", chance=1.0)
        pauses.append(circuit.open_until and (circuit.open_until - NOW).total_seconds())

    assert pauses == [None, None, 1, 2, 4, 8, 16, 30, 30, 30]
    assert circuit == Circuit(10, NOW + timedelta(seconds=30), "no answer")


def test_many_failures_at_once_are_one_look() -> None:
    """A batch that fails opens it for the first pause, not for the longest."""
    first = CLOSED.after_failure(NOW, "no answer", chance=1.0, times=8)
    second = first.after_failure(NOW, "no answer", chance=1.0)

    assert first == Circuit(3, NOW + timedelta(seconds=1), "no answer")
    assert second == Circuit(4, NOW + timedelta(seconds=2), "no answer")


def test_an_open_circuit_lets_one_through_when_its_pause_is_over() -> None:
    """Until then nothing."""
    circuit = CLOSED.after_failure(NOW, "no answer", chance=1.0, times=3)

    assert [circuit.is_open(NOW), circuit.is_open(NOW + timedelta(seconds=1))] == [True, False]
    assert circuit.is_tried
    assert not CLOSED.is_tried
