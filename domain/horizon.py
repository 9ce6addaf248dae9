"""Whether the end that a leader gives of its log is the end for certain: what the read barrier rests on (S1).

Called by the adapter that asks the brokers. Theory: a leader that has lost its followers goes on answering, and
its end stays behind what others acknowledge under a newer leader epoch. A write that was acknowledged with
`acks=all` is on `min.insync.replicas` replicas, and those know the epoch under which it was made. So where so many
replicas that any such set must meet them, replication factor less `min.insync.replicas` plus one, know no newer
epoch than the leader that answered, there is no acknowledged write that this leader does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Led:
    """What a leader answered of its log: its epoch, the end, and up to where no transaction is open."""

    broker: int
    epoch: int
    end: int
    stable_end: int


@dataclass(frozen=True, slots=True)
class View:
    """What one broker knows of a partition: the leader's epoch, and the replicas."""

    epoch: int
    replicas: frozenset[int]


def doubt(led: Led | None, views: Mapping[int, View], *, min_insync_replicas: int) -> str | None:
    """Why this end may not be the end of what was acknowledged; None where it is. `views` are by broker."""
    if led is None:
        return "no leader answered"
    newest = max(views.values(), key=lambda view: view.epoch, default=None)
    if newest is None:
        return "no broker says who leads"
    if newest.epoch > led.epoch:
        return f"broker {led.broker} answered as leader of epoch {led.epoch}, another knows epoch {newest.epoch}"
    witnesses = newest.replicas & views.keys()
    needed = len(newest.replicas) - min_insync_replicas + 1
    if led.broker not in witnesses:
        return f"broker {led.broker} answered as leader, and does not say who leads"
    if len(witnesses) < needed:
        return f"{len(witnesses)} of {len(newest.replicas)} replicas say who leads, {needed} must"
    if led.stable_end < led.end:
        return f"an open transaction hides what is behind offset {led.stable_end}"
    return None
