"""The people of a simulated agency: they take each message once, remember it, and answer when it is time.

Ways in hand over what comes; a way out says what is due. Kept in memory and in the journal, from which an agency
that was killed takes up again what it had taken and not answered.
"""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Protocol

from consumers.agency.behaviour import Behaviour, Reaction, Saying, react, refuses
from consumers.agency.journal import Journal, Line
from consumers.agency.mail import Answer, Letter
from infra.logs import Logger

ANSWERS_AT_ONCE = 200
"""Handed to a way out in one go: some tenths of a second of calls."""

WAIT_MAX_SECONDS = 0.5
"""Between looks at the clock where nothing wakes the desk."""

AGAIN_AFTER = timedelta(seconds=0.5)
"""Until an answer that could not be brought is tried again."""

ANSWERS_WAITING_MAX = 1_000_000
"""Some hundred megabytes; past it messages are refused, as by a desk that can't take more."""


@dataclass(frozen=True, slots=True)
class Said:
    """What came of one answer. Where it was not brought, it is tried again; `words` say why, or who took it."""

    brought: bool
    words: str


class WayOut(Protocol):
    """How the agency answers."""

    def say(self, answers: Sequence[Answer]) -> list[Said]:
        """Bring these, in their order; what became of each, in its place. Called from one thread."""

    def close(self) -> None:
        """Let go of connections."""


class Desk:
    """One agency's desk. Taking is called from any thread; `run` answers, from one."""

    def __init__(
        self,
        agency_id: str,
        behaviour: Behaviour,
        journal: Journal,
        *,
        now: Callable[[], datetime],
        die_after: int,
        die: Callable[[], None],
        log: Logger,
    ) -> None:
        """`die` is called once so many messages have come, in the middle of the last one; 0: never."""
        self._agency_id = agency_id
        self._behaviour = behaviour
        self._journal = journal
        self._now = now
        self._die_after = die_after
        self._die = die
        self._log = log
        self._came: Counter[str] = Counter()
        self._left: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()
        self._first_at: dict[str, datetime] = {}
        self._messages = 0
        self._due: list[tuple[datetime, int, Letter, Answer]] = []
        self._order = count()
        self._woken = threading.Condition()
        with self._woken:
            self._remember()

    def take(self, letter: Letter, *, place: str = "") -> Reaction:
        """Take a message, or refuse it. Once this returns, what was done is in the journal."""
        with self._woken:
            now = self._now()
            self._came[letter.message_id] += 1
            reaction = self._reaction(letter, now)
            self._note(letter, reaction.did, at=now, place=place)
            self._messages += 1
            if self._messages == self._die_after:
                self._die()
            self._await(letter, reaction.sayings)
        return reaction

    def note_refused(self, why: str, *, message_id: str = "", place: str = "") -> None:
        """Write down that something came which is no message for us."""
        line = Line(self._now(), "in", message_id, "", "", 1, why, place=place)
        self._journal.write(line)

    def run(self, way: WayOut, stop: threading.Event) -> None:
        """Say what is due, until told to stop."""
        while not stop.is_set():
            due = self._next()
            if due:
                self._say(way, due)

    def waiting(self) -> int:
        """How many answers are still to be said."""
        with self._woken:
            return len(self._due)

    def _reaction(self, letter: Letter, now: datetime) -> Reaction:
        message_id = letter.message_id
        if letter.agency_id != self._agency_id:
            return Reaction(taken=False, did="refused: not ours")
        if len(self._due) >= ANSWERS_WAITING_MAX or refuses(
            self._behaviour, letter, attempt=self._came[message_id]
        ):
            return Reaction(taken=False, did="refused: busy")
        self._taken[message_id] += 1
        first_at = self._first_at.setdefault(message_id, now)
        return react(self._behaviour, letter, attempt=self._taken[message_id], first_at=first_at, now=now)

    def _await(self, letter: Letter, sayings: Sequence[Saying]) -> None:
        for one in sayings:
            heapq.heappush(self._due, (one.due_at, next(self._order), letter, one.answer))
        if sayings:
            self._woken.notify()

    def _next(self) -> list[tuple[Letter, Answer]]:
        """What is due now; waits a moment where nothing is."""
        with self._woken:
            now = self._now()
            if not self._due or self._due[0][0] > now:
                wait = (self._due[0][0] - now).total_seconds() if self._due else WAIT_MAX_SECONDS
                self._woken.wait(min(wait, WAIT_MAX_SECONDS))
                now = self._now()
            due: list[tuple[Letter, Answer]] = []
            while self._due and self._due[0][0] <= now and len(due) < ANSWERS_AT_ONCE:
                _, _, letter, answer = heapq.heappop(self._due)
                due.append((letter, answer))
            return due

    def _say(self, way: WayOut, due: Sequence[tuple[Letter, Answer]]) -> None:
        said = way.say([answer for _, answer in due])
        now = self._now()
        again = []
        for (letter, answer), one in zip(due, said, strict=True):
            self._left[letter.message_id] += 1
            line = Line(
                now,
                "out",
                letter.message_id,
                answer.kind.type,
                answer.placement_id,
                self._left[letter.message_id],
                f"said: {one.words}" if one.brought else f"tries again: {one.words}",
                account_id=answer.account_id,
                event_id=answer.event_id,
            )
            self._journal.write(line)
            if not one.brought:
                again.append((letter, Saying(now + AGAIN_AFTER, answer)))
        if again:
            self._log.warning("agency.not_brought", answers=len(again), detail=said[-1].words)
        with self._woken:
            for letter, saying in again:
                self._await(letter, [saying])

    def _note(self, letter: Letter, did: str, *, at: datetime, place: str) -> None:
        line = Line(
            at,
            "in",
            letter.message_id,
            letter.type,
            letter.placement_id,
            self._came[letter.message_id],
            did,
            account_id=letter.account_id,
            place=place,
        )
        self._journal.write(line)

    def _remember(self) -> None:
        """Take up what an earlier process of this agency had taken, and what of it was not answered."""
        owed: dict[str, Letter] = {}
        answered: set[str] = set()
        for line in self._journal.before:
            if line.direction == "out":
                self._left[line.message_id] += 1
                if line.did.startswith("said"):
                    answered.add(line.event_id)
                continue
            self._came[line.message_id] += 1
            if not line.type or line.did.startswith("refused"):
                continue
            self._taken[line.message_id] += 1
            self._first_at.setdefault(line.message_id, line.at)
            owed[line.message_id] = Letter(
                line.message_id, line.type, self._agency_id, line.placement_id, line.account_id
            )
        for message_id, letter in owed.items():
            first_at = self._first_at[message_id]
            sayings = react(self._behaviour, letter, attempt=1, first_at=first_at, now=first_at).sayings
            self._await(letter, [one for one in sayings if one.answer.event_id not in answered])
