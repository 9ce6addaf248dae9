"""When the end that a leader gives is the end for certain: the table of cases."""

from __future__ import annotations

import pytest

from domain.horizon import Led, View, doubt

THREE = frozenset({1, 2, 3})


def views(**epochs: int) -> dict[int, View]:
    """What brokers know: `b1=5` is broker 1, which knows leader epoch 5."""
    return {int(name[1:]): View(epoch, THREE) for name, epoch in epochs.items()}


LED = Led(broker=1, epoch=5, end=10, stable_end=10)


@pytest.mark.parametrize(
    ("led", "known", "min_insync_replicas", "expected"),
    [
        # All agree, or enough do: replication 3 less min.insync.replicas 2 plus one is two, the leader among them.
        (LED, views(b1=5, b2=5, b3=5), 2, None),
        (LED, views(b1=5, b2=5), 2, None),
        (LED, views(b1=5, b3=4), 2, None),
        (LED, views(b1=5), 3, None),
        # Too few, or not the leader itself.
        (LED, views(b1=5), 2, "1 of 3 replicas say who leads, 2 must"),
        (LED, views(b1=5, b2=5), 1, "2 of 3 replicas say who leads, 3 must"),
        (LED, views(b2=5, b3=5), 2, "broker 1 answered as leader, and does not say who leads"),
        # A broker that holds no replica is no witness, but what it knows counts.
        (LED, views(b1=5, b4=5), 2, "1 of 3 replicas say who leads, 2 must"),
        (
            LED,
            views(b1=5, b2=5, b4=6),
            2,
            "broker 1 answered as leader of epoch 5, another knows epoch 6",
        ),
        # A leader that was dethroned without knowing: the others know a newer one.
        (
            LED,
            views(b1=5, b2=6, b3=6),
            2,
            "broker 1 answered as leader of epoch 5, another knows epoch 6",
        ),
        # Nobody to ask.
        (None, views(b1=5, b2=5, b3=5), 2, "no leader answered"),
        (LED, {}, 2, "no broker says who leads"),
        # An open transaction hides what is behind it, also plain events.
        (Led(1, 5, 10, 7), views(b1=5, b2=5), 2, "an open transaction hides what is behind offset 7"),
    ],
)
def test_an_end_counts_only_where_no_newer_leader_can_have_acknowledged_more(
    led: Led | None, known: dict[int, View], min_insync_replicas: int, expected: str | None
) -> None:
    """So many replicas know no newer epoch that any set which acknowledges a write must meet them."""
    assert expected == doubt(led, known, min_insync_replicas=min_insync_replicas)


def test_one_replica_is_its_own_witness() -> None:
    """On a single broker there is nobody else who could lead."""
    assert doubt(Led(1, 0, 4, 4), {1: View(0, frozenset({1}))}, min_insync_replicas=1) is None
