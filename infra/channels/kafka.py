"""The channel `kafka`: the topic on which agencies without a way of their own read what they are told.

Driven by `consumers.lane`. The publisher is handed in, and shared by all agencies; a message is delivered when
every replica has it. What the agency answers comes by the stream `agencies.events`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from domain.delivery import AnswerFile, Attempt, Message

Publish = Callable[[Sequence[Message]], list[bool]]
"""Sends messages in their order; says of each whether the broker acknowledged it."""


class KafkaChannel:
    """The topic of each message."""

    def __init__(self, publish: Publish) -> None:
        self._publish = publish

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """Publish each of these."""
        return [
            Attempt(acknowledged, message.topic, "" if acknowledged else "the broker did not acknowledge it")
            for message, acknowledged in zip(messages, self._publish(messages), strict=True)
        ]

    def answers(self) -> Sequence[AnswerFile]:
        """None: they come as records."""
        return ()

    def taken(self, answer: AnswerFile) -> None:
        """Nothing to put away."""

    def close(self) -> None:
        """The publisher is not ours."""
