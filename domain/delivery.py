"""A message on its way to an agency, and what came of one attempt to bring it there: the port of every channel.

Channels (`infra.channels`) implement `Channel`; `consumers.lane` drives them. How often, and when again, is decided
in `domain.patience`; a channel makes one attempt, and says what happened, byte for byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `message_id` stays when it is sent again: for a recall it is the recall's id."""

    message_id: str
    placement_id: str
    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """What came of one attempt. Where it was not delivered, `detail` says why, in words without secrets.

    `refused`: the agency was reached, and does not take this one message; others may pass.

    `request` and `response` are what went over the wire, as far as the channel has such bytes, with signatures and
    without secrets. `retry_after_seconds` is what the agency asked for.
    """

    delivered: bool
    target: str
    detail: str = ""
    request: bytes = b""
    response: bytes = b""
    retry_after_seconds: float | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """What an agency left to be read: `lines` are agency events, each a CloudEvent in JSON."""

    name: str
    lines: tuple[bytes, ...]


class Channel(Protocol):
    """A way to one agency. Calls come from one thread, and never from within a transaction."""

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """Try once to deliver each of these, in their order; what became of each, in its place.

        Never raises for what an agency or the network does: that is an attempt which did not deliver.
        """

    def answers(self) -> Sequence[AnswerFile]:
        """What the agency has left to be read, oldest first; nothing for a channel on which it can't."""

    def taken(self, answer: AnswerFile) -> None:
        """Put a file away: all of it is in the state, or in quarantine."""

    def close(self) -> None:
        """Let go of connections and files."""
