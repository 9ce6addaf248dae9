"""The lanes of one dispatcher: one thread for each agency and channel, as the file of agencies says now.

Called by `consumers.dispatch`. A changed entry ends its lanes, after what they have in hand, and starts new ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from consumers.lane import LaneWorker, Pace
from domain.agency import Agencies, Agency, ChannelKind
from infra.postgres.deliveries import Lane, elsewhere
from infra.postgres.outbox import LEASE_SECONDS

FILE_BATCH_MAX = 1_000
"""Messages in one dropped file."""

FILE_LEASE_SECONDS = 120.0
"""For writing one over a slow line; above what the channel gives itself."""

ROUNDS_IN_A_CLAIM = 2
"""How often all of an agency's simultaneous calls are made in one claim: its lease must last for all of them."""

LEASE_MARGIN_SECONDS = 5.0

STOP_DEADLINE_SECONDS = 30.0
"""How long a lane may finish what it has in hand."""


@dataclass(slots=True)
class _Running:
    agency: Agency
    worker: LaneWorker
    stop: threading.Event
    thread: threading.Thread


class Lanes:
    """All the lanes of one process but Kafka's."""

    def __init__(
        self,
        agencies: Callable[[], Agencies],
        start: Callable[[Agency, Lane, Pace], LaneWorker],
        *,
        keep_lanes: Callable[[Collection[Lane]], None],
    ) -> None:
        """`start` makes the worker of a lane; `keep_lanes` is told which there are, whenever that changes."""
        self._agencies = agencies
        self._keep_lanes = keep_lanes
        self._kept: frozenset[Lane] | None = None
        self._start = start
        self._running: dict[Lane, _Running] = {}
        self._ending: list[_Running] = []

    def elsewhere(self) -> frozenset[str]:
        """The agencies whose first channel is not Kafka."""
        return elsewhere(lane for one in self._agencies().values() for lane in lanes_of(one))

    def keep(self) -> None:
        """Have the lanes run that the file of agencies asks for now, and no others."""
        wanted = {lane: one for one in self._agencies().values() for lane in lanes_of(one)}
        if self._kept != wanted.keys():
            self._keep_lanes(wanted.keys())
            self._kept = frozenset(wanted)
        for lane in [lane for lane, running in self._running.items() if wanted.get(lane) != running.agency]:
            self._end(lane)
        self._ending = [one for one in self._ending if one.thread.is_alive()]
        for lane, agency in wanted.items():
            if lane not in self._running:
                self._begin(lane, agency)

    def wake(self) -> None:
        """Something new may wait."""
        for running in self._running.values():
            running.worker.wake()

    def close(self) -> None:
        """End every lane; each finishes what it has in hand."""
        for lane in list(self._running):
            self._end(lane)
        for one in self._ending:
            one.thread.join(STOP_DEADLINE_SECONDS)

    def _begin(self, lane: Lane, agency: Agency) -> None:
        worker, stop = self._start(agency, lane, pace_of(agency, lane.kind)), threading.Event()
        name = f"lane {lane.agency_id} {lane.kind}"
        thread = threading.Thread(target=worker.run, args=(stop,), name=name, daemon=True)
        self._running[lane] = _Running(agency, worker, stop, thread)
        thread.start()

    def _end(self, lane: Lane) -> None:
        """Nobody waits for it here: what it has in hand is leased to it, so another may begin meanwhile."""
        ending = self._running.pop(lane)
        ending.stop.set()
        ending.worker.wake()
        self._ending.append(ending)


def lanes_of(agency: Agency) -> Iterator[Lane]:
    """The lanes of one agency; its first way is none where that is Kafka, which the dispatcher itself serves."""
    for kind in agency.channels:
        if (kind, agency.channel) != (ChannelKind.KAFKA, ChannelKind.KAFKA):
            yield Lane(agency.agency_id, kind, is_first=kind is agency.channel)


def pace_of(agency: Agency, kind: ChannelKind) -> Pace:
    """How fast one may go."""
    if kind is ChannelKind.FILE and agency.file is not None:
        return Pace(FILE_BATCH_MAX, FILE_LEASE_SECONDS, every_seconds=agency.file.every_seconds)
    if kind is ChannelKind.KAFKA:
        return Pace(ROUNDS_IN_A_CLAIM * agency.at_once, LEASE_SECONDS, rate_per_second=agency.rate_per_second)
    timeout_seconds = agency.webhook.timeout_seconds if agency.webhook else 0.0
    return Pace(
        batch_max=ROUNDS_IN_A_CLAIM * agency.at_once,
        lease_seconds=ROUNDS_IN_A_CLAIM * timeout_seconds + LEASE_MARGIN_SECONDS,
        rate_per_second=agency.rate_per_second,
    )
