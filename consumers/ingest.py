"""The worker that joins the inbound streams into the account state; `Ingest.take` is the way of every event.

1. `kafka.poll` gives a batch. 2. `ingest` takes it. 3. `wire.decode` makes events of records, or says why not.
4. `ledger.lock_and_load` locks the accounts and gives the cases among them. 5. `account.apply` adds each event
to its case, and 6. `recall.decide` says what agencies must be told. 7. `ledger.save` writes facts, recalls,
quarantine and positions in one commit. Whatever fails before the commit is read again; after it nothing is.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from consumers.aftermath import count_unguarded, known_before, report
from consumers.lag import Lag
from consumers.producers import Heard
from consumers.set_aside import NO_FAULT_OF_AN_EVENT, keep_bad, set_aside
from consumers.speakers import hear_all
from consumers.step import take_in
from consumers.traced import Traced
from consumers.watchdog import StalledError, Watchdog
from domain.events import RawRecord
from domain.policy import Policy
from domain.streams import Kept, Seen, Stop, StopReason, judge
from domain.traces import OFF, Tracing
from infra.kafka.cluster import Cluster
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.source import OutOfLogError, Place, Polled, Source
from infra.logs import Logger, where
from infra.metrics import Metrics
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.ledger import FencedError, Ledger, Loaded, Move, Outcome
from infra.postgres.streams import Registered, Streams
from infra.wire.decode import Decoded, Rejected, decode

POLL_TIMEOUT_MS = 100
"""How long an idle loop waits for records; it then stores positions that markers moved."""

PAUSE_SECONDS = 0.5
"""Between tries while the database or the broker is away."""

SHARE_WINDOW_EVENTS = 1_000
"""Over how many events of a stream the share of bad ones is taken."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How many bad events stop a stream: in a run, and as a share of the last ones, in percent."""

    bad_run_max: int
    bad_share_max_percent: int


class TooManyBadEventsError(Exception):
    """A stream brings more bad events than can be chance: nothing of the batch is written, it must stop."""

    def __init__(self, topic: str, detail: str) -> None:
        super().__init__(f"{topic}: {detail}")
        self.topic = topic
        self.detail = detail


class Ingest:
    """One worker of the group."""

    def __init__(
        self,
        *,
        source: Source,
        cluster: Cluster,
        cluster_id: str,
        topics: Sequence[str],
        streams: Streams,
        ledger: Ledger,
        rules: Callable[[], Policy],
        limits: Limits,
        now: Callable[[], datetime],
        watchdog: Watchdog,
        heard: Heard,
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
    ) -> None:
        self._source = source
        self._cluster = cluster
        self._cluster_id = cluster_id
        self._topics = topics
        self._streams = streams
        self._ledger = ledger
        self._rules = rules
        self._limits = limits
        self._now = now
        self._watchdog = watchdog
        self._heard = heard
        self._lag = Lag(now=now)
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        self._positions: dict[Place, int] = {}
        self._bad_runs: dict[Place, int] = {}
        self._bad_lately: dict[str, deque[bool]] = {}
        self._topic_ids: dict[str, str] = {}
        self._stopped: frozenset[str] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; then the batch in hand is finished and the group left.

        Raises StalledError where a partition has records and does not move: a new process may do better.
        """
        try:
            while not stop.is_set():
                self._turn(stop)
        finally:
            self._source.close()

    def _turn(self, stop: threading.Event) -> None:
        try:
            self._watchdog.beat()
            self.step()
        except FencedError as why:
            self._log.warning("ingest.fenced", detail=str(why))
        except TooManyBadEventsError as why:
            self._log.error("ingest.too_many_bad_events", topic=why.topic, detail=why.detail)
            self._stop_for_bad_events(why)
        except OutOfLogError as why:
            self._log.error("ingest.out_of_log", detail=str(why))
        except (DatabaseUnavailableError, BrokerUnavailableError) as why:
            self._log.warning("ingest.waiting", cause=type(why).__name__, detail=str(why))
            stop.wait(PAUSE_SECONDS)
        else:
            return
        # What was polled and not committed must be read again, from where the database says.
        self._source.pause(self._source.owned())
        self._watchdog.look_soon()

    def step(self) -> None:
        """One poll and, where it brought anything, one transaction."""
        polled = self._source.poll(POLL_TIMEOUT_MS)
        new = {place for place in self._source.unplaced() if place[0] not in self._stopped}
        if new or self._watchdog.look_is_due():
            self._look_at_streams()
        if polled.records or self._moved(polled):
            self.take_or_set_aside(polled)

    def take_or_set_aside(self, polled: Polled) -> None:
        """A batch; where our own code or the database can't take it, event by event.

        What can't be taken alone either goes to quarantine, so that one event stops nothing (S6). Where even that
        fails the error is raised: the partition stalls, and the worker ends and says so.
        """
        try:
            self.take(polled)
        except (*NO_FAULT_OF_AN_EVENT, TooManyBadEventsError):
            raise
        except Exception as why:  # noqa: BLE001 # Whatever it is, it must not stop the others.
            self._log.error("ingest.batch_failed", events=len(polled.records), **where(why))
            for one in _one_by_one(polled):
                self._take_one(one)

    def _take_one(self, one: Polled) -> None:
        self._watchdog.beat()  # One by one, a batch may take longer than a loop may be silent.
        try:
            self.take(one)
        except (*NO_FAULT_OF_AN_EVENT, TooManyBadEventsError):
            raise
        except Exception as why:  # noqa: BLE001 # As above.
            self._log.error("ingest.event_failed", **where(why))
            self.take(one, read=set_aside)

    def take(self, polled: Polled, read: Callable[[RawRecord], Decoded | Rejected] = decode) -> None:
        """A batch, from bytes to the commit; see the module's seven steps."""
        rules, traced = self._rules(), Traced(self._tracing)
        decoded = hear_all(polled.records, [read(raw) for raw in polled.records], rules.speakers)
        entries = [one for one in decoded if isinstance(one, Decoded)]
        now = self._now()
        traced.note("decoded")
        with self._ledger.batch() as batch:
            loaded = batch.lock_and_load(entries)
            traced.note("loaded")
            outcome = Outcome()
            known = known_before(loaded)
            take_in(entries, loaded, outcome, rules, now, traced)
            traced.note("applied")
            bad = keep_bad(polled.records, decoded, loaded, outcome)
            outcome.moves, windows = self._moves(polled, bad)
            saved = batch.save(outcome)
        self._committed(polled, outcome, windows)
        self._heard.of(entries)
        self._count(decoded, loaded, outcome)
        count_unguarded(self._metrics, outcome, known)
        report(self._log, self._metrics, outcome, saved, now)
        traced.committed(saved.acknowledged)

    def _moves(self, polled: Polled, bad: Sequence[bool]) -> tuple[list[Move], dict[str, deque[bool]]]:
        """The positions to move, with each partition's run of bad events; raises where there are too many."""
        runs = dict(self._bad_runs)
        windows = {topic: window.copy() for topic, window in self._bad_lately.items()}
        for raw, is_bad in zip(polled.records, bad, strict=True):
            place = (raw.origin.topic, raw.origin.partition)
            runs[place] = runs.get(place, 0) + 1 if is_bad else 0
            window = windows.setdefault(raw.origin.topic, deque(maxlen=SHARE_WINDOW_EVENTS))
            window.append(is_bad)
            if is_bad:
                self._refuse_too_many(raw.origin.topic, runs[place], sum(window))
        moves = [
            Move(topic, self._topic_ids[topic], partition, self._positions[topic, partition], after,
                 runs.get((topic, partition), 0))
            for (topic, partition), after in self._moved(polled).items()
        ]  # fmt: skip
        return moves, windows

    def _refuse_too_many(self, topic: str, run: int, lately: int) -> None:
        if run > self._limits.bad_run_max:
            raise TooManyBadEventsError(topic, f"{run} bad events one after the other")
        if lately * 100 > self._limits.bad_share_max_percent * SHARE_WINDOW_EVENTS:
            raise TooManyBadEventsError(topic, f"{lately} bad events among the last {SHARE_WINDOW_EVENTS}")

    def _moved(self, polled: Polled) -> dict[Place, int]:
        return {
            place: position
            for place, position in polled.positions.items()
            if place in self._positions and self._positions[place] != position
        }

    def _committed(self, polled: Polled, outcome: Outcome, windows: dict[str, deque[bool]]) -> None:
        self._positions.update(self._moved(polled))
        self._bad_runs.update({(move.topic, move.partition): move.bad_run for move in outcome.moves})
        self._bad_lately = windows
        self._lag.read(_last_read(polled))

    def _look_at_streams(self) -> None:
        """See whether the streams are still the same, and place the partitions that may be read.

        Starts are asked before our positions are read and ends after, so that a position which moves
        meanwhile looks neither lost nor ahead of its log.
        """
        seen = self._cluster.look(self._topics)
        known = self._streams.register(self._cluster_id, seen)
        ends = self._cluster.look(self._topics)
        stopped = {topic for topic, one in known.items() if one.stopped is not None}
        for topic in sorted(known.keys() - stopped):
            stop = self._judge(topic, known[topic].kept, _bounds(seen.get(topic), ends.get(topic)))
            if stop is not None:
                stopped.add(topic)
                self._streams.stop(topic, stop)
                self._log.error("stream.stopped", topic=topic, reason=stop.reason, detail=stop.detail)
        self._stopped = frozenset(stopped)
        self._source.pause({place for place in self._source.owned() if place[0] in stopped})
        self._topic_ids = {topic: one.kept.topic_id for topic, one in known.items()}
        starts: dict[Place, int] = {}
        for topic, partition in self._source.unplaced():
            if topic in known and topic not in stopped and partition in known[topic].kept.positions:
                starts[topic, partition] = known[topic].kept.positions[partition]
                self._bad_runs[topic, partition] = known[topic].bad_runs[partition]
        self._positions.update(starts)
        self._source.start_at(starts)
        self._show_lag(known, ends)
        self._heard.write_if_due()
        self._watch_lag(ends)

    def _judge(self, topic: str, kept: Kept, seen: Seen | None) -> Stop | None:
        """Why a stream must stop.

        A leader that was dethroned and does not know it has a log that ends before what was read from the next one.
        So that a log was cut short is believed of a leader that leads for certain, and of no other.
        """
        stop = judge(kept, self._cluster_id, seen)
        if stop is None or stop.reason is not StopReason.LOG_TRUNCATED:
            return stop
        return judge(kept, self._cluster_id, _bounds(seen, self._cluster.certain_end(topic)))

    def _show_lag(self, known: Mapping[str, Registered], seen: Mapping[str, Seen | None]) -> None:
        """For how long each topic waits to be read, by anybody: the positions are those of the database."""
        positions = {(topic, at): place for topic, one in known.items() for at, place in one.kept.positions.items()}
        ends = {(topic, at): end for topic, one in seen.items() if one is not None for at, end in one.ends.items()}
        for topic, seconds in self._lag.seconds(positions, ends).items():
            self._metrics.lag_seconds.labels(topic).set(seconds)

    def _watch_lag(self, seen: dict[str, Seen | None]) -> None:
        """Show how far behind we are, and raise StalledError where a partition does not move."""
        reading = self._source.owned() - self._source.unplaced()
        stable = self._cluster.stable_ends(reading)
        behind: dict[Place, int] = {}
        unread: dict[Place, int] = {}
        self._metrics.lag_records.clear()  # Of partitions that others read now.
        for place in reading & self._positions.keys():
            topic = seen.get(place[0])
            if topic is not None and place[1] in topic.ends:
                lag = max(0, topic.ends[place[1]] - self._positions[place])
                self._metrics.lag_records.labels(place[0], str(place[1])).set(lag)
            if stable.get(place, 0) > self._positions[place]:
                behind[place] = self._positions[place]
                unread[place] = stable[place] - self._positions[place]
        self._watchdog.behind(behind, unread)
        self._source.show_progress({place: self._positions[place] for place in reading & self._positions.keys()})

    def _stop_for_bad_events(self, why: TooManyBadEventsError) -> None:
        try:
            self._streams.stop(why.topic, Stop(StopReason.TOO_MANY_BAD_EVENTS, why.detail))
        except DatabaseUnavailableError as away:
            # Not marked, so the same batch will be judged the same way again: nothing is lost.
            self._log.warning("ingest.waiting", cause=type(away).__name__, detail=str(away))

    def _count(self, decoded: Sequence[Decoded | Rejected], loaded: Loaded, outcome: Outcome) -> None:
        """What is counted of a batch."""
        events = Counter((one.raw.origin.topic, "quarantined") for one in decoded if isinstance(one, Rejected))
        entries = [one for one in decoded if isinstance(one, Decoded)]
        outcomes = (("applied", loaded.fresh), ("duplicate", loaded.duplicates), ("quarantined", loaded.conflicts))
        for outcome_name, numbers in outcomes:
            events.update((entries[number].origin.topic, outcome_name) for number in numbers)
        for (topic, outcome_name), count in events.items():
            self._metrics.events.labels(topic, outcome_name).inc(count)


def _one_by_one(polled: Polled) -> Iterator[Polled]:
    """The same records and positions, a record at a time."""
    last = {(raw.origin.topic, raw.origin.partition): raw.origin.offset for raw in polled.records}
    for raw in polled.records:
        place = (raw.origin.topic, raw.origin.partition)
        at_its_end = raw.origin.offset == last[place] and place in polled.positions
        after = polled.positions[place] if at_its_end else raw.origin.offset + 1
        yield Polled([raw], {place: after})


def _last_read(polled: Polled) -> dict[Place, datetime]:
    """The broker's time of the last record of each partition; those of one partition stand in their order."""
    return {(raw.origin.topic, raw.origin.partition): raw.origin.received_at for raw in polled.records}


def _bounds(before: Seen | None, after: Seen | None) -> Seen | None:
    if before is None or after is None:
        return None
    return Seen(after.topic_id, before.starts, after.ends) if before.starts.keys() == after.ends.keys() else after


__all__ = ["Ingest", "Limits", "StalledError", "TooManyBadEventsError"]
