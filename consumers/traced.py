"""What a trace is told of the work: the spans of a transaction, and of one attempt to deliver.

Used by every consumer that applies events, and by those that deliver. A span is made for an event that decided
something, for each message that it brought about, for each attempt to deliver one, and for an acknowledgement; none
for the thousands of events a second that change nothing. The context of a message's span is what is kept in the
outbox, so whoever delivers it goes on with its trace, and so does the agency's answer, weeks later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from domain.delivery import Attempt
from domain.recall import BalanceReduced, Message, PlacementResumed, PlacementSuspended, RecallRequested
from domain.traces import OFF, Kind, Span, Told, Tracing, same_trace
from infra.postgres.ledger import Acknowledged
from infra.wire.decode import Decoded
from infra.wire.kinds import RECALLS
from infra.wire.models import RecallAcknowledged

HEADER = "traceparent"
Headers = tuple[tuple[str, bytes], ...]
Context = Callable[[Message], str | None]
"""Under which context a message goes out."""


class Traced:
    """The spans of one transaction: begun as things are decided, told when it is committed, and lost with it."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._began_ns = tracing.now_ns()
        self._notes: list[tuple[str, int]] = []
        self._of_events: list[Span] = []
        self._of_messages: list[Span] = []
        self._said: dict[str, str] = {}

    def note(self, name: str) -> None:
        """A step of the transaction is done."""
        if self._tracing.is_on:
            self._notes.append((name, self._tracing.now_ns()))

    def because_of(self, entry: Decoded) -> Context:
        """The contexts of what an event brought about: its span, with one under it for each message."""
        if not self._tracing.is_on:
            return lambda _: entry.traceparent
        origin = entry.origin
        told: Told = {"type": entry.kind.type, "topic": origin.topic}
        told |= {"partition": origin.partition, "offset": origin.offset} if origin.topic == entry.topic else {}
        span = self._tracing.begin(
            "event.applied", Kind.CONSUMER, parent=entry.traceparent, told=told, at_ns=self._began_ns
        )
        self._of_events.append(span)
        return lambda message: self._begin(message, span.traceparent)

    def by_itself(self, message: Message) -> str | None:
        """The context of a message that no event brought about now: a trace of its own."""
        return self._begin(message, None) if self._tracing.is_on else None

    def heard(self, entry: Decoded) -> None:
        """What an agency says was applied: the trace under which it acknowledges a recall, if it has one."""
        if self._tracing.is_on and entry.traceparent and isinstance(entry.payload, RecallAcknowledged):
            self._said[entry.payload.recall_id] = entry.traceparent

    def committed(self, acknowledged: Sequence[Acknowledged]) -> None:
        """All of it is in the state."""
        if not self._tracing.is_on:
            return
        now_ns = self._tracing.now_ns()
        for span in self._of_events:
            for name, at_ns in self._notes:
                span.note(name, at_ns)
            span.note("committed", now_ns)
        for span in (*self._of_messages, *self._of_events):
            span.end()
        for one in acknowledged:
            self._acknowledged(one)

    def _begin(self, message: Message, parent: str | None) -> str | None:
        opened = message.placement
        told: Told = {"placement_id": opened.placement_id, "agency_id": opened.agency_id}
        if isinstance(message, RecallRequested):
            told |= {"recall_id": message.recall_id, "reason": message.reason, "cause": message.cause}
        span = self._tracing.begin(_name(message), Kind.PRODUCER, parent=parent, told=told)
        self._of_messages.append(span)
        return span.traceparent

    def _acknowledged(self, one: Acknowledged) -> None:
        """In the recall's trace: under what the agency sent where that goes on with it, else linked to that."""
        theirs, ours = self._said.get(one.recall_id), one.traceparent
        goes_on = theirs is not None and (ours is None or same_trace(theirs, ours))
        told: Told = {
            "recall_id": one.recall_id, "placement_id": one.placement_id, "agency_id": one.agency_id,
            "cause": one.cause,
        }  # fmt: skip
        self._tracing.begin(
            "recall.acknowledged",
            Kind.CONSUMER,
            parent=theirs if goes_on else ours,
            links=[theirs] if theirs and not goes_on else [],
            told=told,
            at_ns=self._began_ns,
        ).end()


class Record(Protocol):
    """What is delivered, as the outbox holds it."""

    @property
    def topic(self) -> str: ...
    @property
    def recall_id(self) -> str | None: ...
    @property
    def headers(self) -> Headers: ...


def begin_attempt(tracing: Tracing, record: Record, told: Told) -> tuple[Span | None, Headers]:
    """The span of an attempt to deliver what is for an agency, and the headers with which it goes out.

    The context that came by the outbox stands in the message itself; on the way it is that of the attempt.
    """
    if not tracing.is_on or record.topic != RECALLS:
        return None, record.headers
    parent = dict(record.headers).get(HEADER, b"").decode("latin-1")
    recall: Told = {"recall_id": record.recall_id} if record.recall_id else {}
    span = tracing.begin("message.delivery", Kind.PRODUCER, parent=parent, told={**recall, **told})
    if span.traceparent is None:
        return span, record.headers
    others = tuple(one for one in record.headers if one[0] != HEADER)
    return span, (*others, (HEADER, span.traceparent.encode()))


@contextmanager
def answering(tracing: Tracing, name: str, parent: str | None) -> Iterator[tuple[Span, Told]]:
    """The span of a call, from its arrival to its answer, and what to tell of it."""
    told: Told = {}
    span = tracing.begin(name, Kind.SERVER, parent=parent)
    try:
        yield span, told
    except Exception as why:
        span.end(told, failed=type(why).__name__)  # Its words may hold what was asked.
        raise
    span.end(told)


def outcome_of(one: Attempt) -> str:
    """What came of an attempt, in a word."""
    if one.delivered:
        return "delivered"
    return "refused" if one.refused else "failed"


def end_attempt(span: Span | None, outcome: str, *, failed: str = "") -> None:
    """It was made."""
    if span is not None:
        span.end({"outcome": outcome}, failed=failed)


def _name(message: Message) -> str:
    match message:
        case RecallRequested():
            return "recall.requested"
        case BalanceReduced():
            return "balance.reduced"
        case PlacementSuspended():
            return "placement.suspended"
        case PlacementResumed():
            return "placement.resumed"


UNTRACED = Traced(OFF)
"""For whoever is not traced; it keeps nothing."""
