"""Whether an agency hears a recall on `guard.recalls` and answers it on `agencies.events`.

Called by `consumers.agency.check`, where a person has said that a test recall may be published.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime

from consumers.agency.trial import Finding, Heard, Trial, answers_to, judge_answers, judged
from domain.agency import Agency
from domain.delivery import Message
from infra.kafka.listener import Listener
from infra.kafka.publisher import Publisher

POLL_MS = 200
SETTLE_SECONDS = 2.0
"""After the answer, for what contradicts it."""

HEARD_MAX = 10_000
"""Answers of one run; more are no answers."""


class KafkaCheck:
    """One run on the configured broker; `listener` hears `agencies.events`."""

    def __init__(
        self, trial: Trial, agency: Agency, publisher: Publisher, listener: Listener, now: Callable[[], datetime]
    ) -> None:
        self._trial = trial
        self._agency = agency
        self._publisher = publisher
        self._listener = listener
        self._now = now
        self._heard: list[Heard] = []

    def findings(self, recall: Message, wait_seconds: float) -> Iterator[Finding]:
        """A finding a check: this recall is published twice."""
        self._listener.hear_from({})
        sent = all(self._publisher.publish([recall, replace(recall)]))
        fault = "" if sent else "the broker did not acknowledge the test recall"
        yield judged("published", fault, f"the test recall is on {recall.topic}", "handoff-guard doctor")
        if not sent:
            return
        self._until(lambda: answers_to(recall.message_id, self._heard, self._now()), wait_seconds)
        self._until(lambda: False, SETTLE_SECONDS)
        yield from judge_answers(
            self._trial,
            recall.message_id,
            self._heard,
            self._agency.sources,
            self._now(),
            waited_seconds=wait_seconds,
            signed=False,
        )

    def _until(self, done: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not done() and time.monotonic() < deadline and len(self._heard) < HEARD_MAX:
            mark = self._trial.mark.encode()
            self._heard += [
                Heard(one.value, key=one.key)
                for one in self._listener.hear(timeout_ms=POLL_MS)
                if mark in one.value or mark in one.key
            ]
