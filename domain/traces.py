"""A trace: what followed from what, and how long each part took; and the port through which it is told.

Consumers begin a span where something is decided and end it when that is in the state. Where nobody wants traces
`OFF` is handed to them: it makes nothing, and a trace context that came in is carried on as it came. A context is
that of W3C's header `traceparent`; what is none is dropped, whatever it may hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

ATTRIBUTES = frozenset(
    {
        "topic",
        "partition",
        "offset",
        "type",
        "recall_id",
        "placement_id",
        "agency_id",
        "reason",
        "cause",
        "channel",
        "attempt",
        "outcome",
        "clearance_id",
        "decision",
    }
)
"""All that a span may say, as in the logs: ids of cases and of agencies, and words of ours. Never an account, a
customer, a debt, an amount, or the id that a producer gave to an event."""

_CONTEXT = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<ids>(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?P<more>-.*)?"
)
"""W3C Trace Context: version, trace, span, flags; versions after 00 may have more behind them."""


class Kind(StrEnum):
    """On which side of a message or a call a span is."""

    CONSUMER = "consumer"
    PRODUCER = "producer"
    SERVER = "server"
    CLIENT = "client"


Value = str | int
Told = dict[str, Value]


class Span(Protocol):
    """One part of a trace, from `begin` until it is ended; one that is never ended is told to nobody."""

    @property
    def traceparent(self) -> str | None:
        """The context under which what follows from it goes on."""

    def note(self, name: str, at_ns: int) -> None:
        """Something was done within it, at this instant."""

    def end(self, told: Told | None = None, *, failed: str = "") -> None:
        """It is over; `failed` says why it is no success, in words of ours."""


class Tracing(Protocol):
    """Where spans begin."""

    @property
    def is_on(self) -> bool:
        """Whether anybody wants them."""

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        links: Sequence[str] = (),
        told: Told | None = None,
        at_ns: int | None = None,
    ) -> Span:
        """A span under this context, or the first of a new trace; never raises, and never waits."""

    def now_ns(self) -> int:
        """The instant by the clock of the spans."""

    def close(self) -> None:
        """Tell what is left, within a moment."""


@dataclass(frozen=True, slots=True)
class Carried:
    """No span: what came in goes out."""

    traceparent: str | None

    def note(self, name: str, at_ns: int) -> None:
        """Tell nobody."""

    def end(self, told: Told | None = None, *, failed: str = "") -> None:
        """Tell nobody."""


class Untold:
    """Tracing that nobody wants."""

    is_on = False

    def begin(
        self,
        name: str,  # The port's.
        kind: Kind,  # As above.
        *,
        parent: str | None = None,
        links: Sequence[str] = (),  # As above.
        told: Told | None = None,  # As above.
        at_ns: int | None = None,  # As above.
    ) -> Span:
        """No span."""
        return Carried(parent)

    def now_ns(self) -> int:
        """No instant."""
        return 0

    def close(self) -> None:
        """Nothing is left."""


OFF = Untold()


def context(text: object) -> str | None:
    """A trace context as it may be sent on; None where it is none, as W3C asks.

    Of a later version what we know is kept, under ours: what stands behind it may be anything.
    """
    found = _CONTEXT.fullmatch(text) if isinstance(text, str) else None
    if found is None or (found["version"] == "00" and found["more"]):
        return None
    return f"00-{found['ids']}"


def same_trace(one: str, other: str) -> bool:
    """Whether two contexts are of one trace."""
    return one.split("-")[1] == other.split("-")[1]
