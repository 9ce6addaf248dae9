"""The till: starts the customers of `tests.faults.payer` on their host, and reads what they were told."""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from infra.embedded import Child
from tests.environment import unset
from tests.faults.worker import QUIET_SECONDS, ROOT, wait_until

END_SECONDS = 90
"""The last customers wait for their acknowledgement and their answer."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the customers are told: where to pay and to ask, as which of the accounts, and how fast."""

    bootstrap_servers: str
    partition: int
    api_host: str
    api_port: int
    key: str
    first: int
    end: int
    per_second: float
    threads: int
    answers: str


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: about which account, when its payment was acknowledged (None: nobody paid), and what was said."""

    number: int
    acked_at: float | None
    asked_at: float
    answered_at: float
    decision: str
    codes: tuple[str, ...]
    evidence: tuple[str, ...]

    @property
    def words(self) -> str:
        """The decision with its first reason, which is the one that decides."""
        paid = "unpaid" if self.acked_at is None else "paid"
        return " ".join((paid, self.decision, *self.codes[:1]))

    @property
    def is_held(self) -> bool:
        """Whether the answer had to wait for the streams."""
        return "STREAM_BEHIND" in self.codes

    @property
    def seconds(self) -> float:
        """From the question to the answer."""
        return self.answered_at - self.asked_at


def account_of(number: int) -> str:
    """The account of a customer."""
    return f"a-{number}"


def debt_of(number: int) -> str:
    """The debt of a customer."""
    return f"d-{number}"


class Till:
    """The customers of one scenario, paying and asking from entry to exit."""

    _numbers = count(1)

    def __init__(self, orders: Orders, *, prefix: Sequence[str], folder: Path) -> None:
        self._file = Path(orders.answers)
        self._child = Child(
            [*prefix, sys.executable, "-m", "tests.faults.payer", json.dumps(asdict(orders))],
            folder=ROOT,
            log_file=folder / f"payer-{next(self._numbers)}.log",
            environment=unset(),
            if_orphaned="kill -s KILL $1",
        )

    def __enter__(self) -> Till:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.signal_group(signal.SIGTERM)
        if not self._child.wait(deadline_seconds=END_SECONDS):
            self._child.kill()

    def told(self, *, since: float = 0.0) -> list[Told]:
        """Every answer to a question asked since an instant, in the order of the questions."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        found = [
            Told(**{**one, "codes": tuple(one["codes"]), "evidence": tuple(map(str, one["evidence"]))})
            for one in map(json.loads, lines)
        ]
        return sorted((one for one in found if one.asked_at >= since), key=lambda one: one.asked_at)

    def wait_for(self, answers: int, *, since: float, seconds: float = QUIET_SECONDS) -> None:
        """Go on when so many questions about paid debts, asked since an instant, are answered."""
        wait_until(
            f"{answers} questions are answered",
            lambda: sum(one.acked_at is not None for one in self.told(since=since)) >= answers,
            seconds=seconds,
            seen=lambda: Counter(one.words for one in self.told(since=since)),
        )

    def wait_until_answers_are_back(self, answers: int, *, since: float, seconds: float = QUIET_SECONDS) -> None:
        """Go on when the last so many answers since an instant all were none that had to wait."""

        def back() -> bool:
            last = self.told(since=since)[-answers:]
            return len(last) == answers and not any(one.is_held for one in last)

        wait_until(
            "answers are back",
            back,
            seconds=seconds,
            seen=lambda: Counter(one.words for one in self.told(since=since)),
        )
