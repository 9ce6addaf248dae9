"""Who comes in at the API, by a clock of the test's own: keys that end, keys that begin, and how often."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from consumers.gate import KEYS_FOR_SECONDS, LOOKS_PER_SECOND, Gate
from domain.access import Caller, Scope
from infra.http.problems import Problem, ProblemError
from infra.postgres.api_keys import ApiKeys, Lock
from infra.postgres.database import Database

pytestmark = pytest.mark.parts


class Counted(ApiKeys):
    """The keys, and how often they were read."""

    reads = 0

    def active(self) -> dict[str, Lock]:
        """As always."""
        self.reads += 1
        return super().active()


class Slow(ApiKeys):
    """The keys, which are read once the test says so."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def active(self) -> dict[str, Lock]:
        """In the end, as always."""
        self.begun.set()
        self.go_on.wait()
        return super().active()


class Clock:
    """Seconds, as the test sets them."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def keys(database: Database) -> Counted:
    """No keys yet."""
    return Counted(database)


@pytest.fixture
def clock() -> Clock:
    """It stands."""
    return Clock()


def bearer(text: str) -> str:
    """The header of a call."""
    return f"Bearer {text}"


def refusal(gate: Gate, text: str, scope: Scope = Scope.ASK) -> Problem | None:
    """Why a caller does not come in; None where they do."""
    try:
        gate.admit(bearer(text), scope)
    except ProblemError as why:
        return why.problem
    return None


def test_a_caller_is_known_by_the_key(keys: Counted, clock: Clock) -> None:
    """With its id, its name and all its scopes; the scheme is told in any letters."""
    made, text = keys.create("night run", {Scope.ASK, Scope.READ}, by="anna")
    gate = Gate(keys, rate_per_second=0, clock=clock)

    caller = gate.admit(f"bEARER  {text} ", Scope.READ)

    assert caller == Caller(made.key_id, "night run", frozenset({Scope.ASK, Scope.READ}))
    assert refusal(gate, text, Scope.CONFIRM) is Problem.FORBIDDEN


def test_a_revoked_key_ends_in_time(keys: Counted, clock: Clock) -> None:
    """It opens for as long as keys are taken as known, and not an instant longer."""
    made, text = keys.create("support", {Scope.ASK}, by="anna")
    gate = Gate(keys, rate_per_second=0, clock=clock)
    assert refusal(gate, text) is None
    keys.revoke(made.key_id, by="anna")

    clock.now += KEYS_FOR_SECONDS - 0.001
    assert refusal(gate, text) is None
    clock.now += 0.001
    assert refusal(gate, text) is Problem.UNAUTHORIZED


def test_a_new_key_opens_at_once(keys: Counted, clock: Clock) -> None:
    """An unknown key is looked for, also in the instant in which another one was."""
    gate = Gate(keys, rate_per_second=0, clock=clock)

    for name in ("one", "two", "three"):
        _, text = keys.create(name, {Scope.ASK}, by="anna")
        assert refusal(gate, text) is None


def test_all_who_come_at_the_start_wait_for_the_keys(database: Database, clock: Clock) -> None:
    """However many they are, none is refused because nothing is known yet."""
    keys = Slow(database)
    _, text = keys.create("one", {Scope.ASK}, by="anna")
    gate = Gate(keys, rate_per_second=0, clock=clock)
    callers = 4 * LOOKS_PER_SECOND
    with ThreadPoolExecutor(callers) as threads:
        first = threads.submit(refusal, gate, text)
        keys.begun.wait()
        others = [threads.submit(refusal, gate, text) for _ in range(callers - 1)]
        keys.go_on.set()

        assert [one.result() for one in (first, *others)] == [None] * callers


def test_guessing_makes_the_database_work_five_times_a_second_at_most(keys: Counted, clock: Clock) -> None:
    """However many unknown keys come."""
    _, text = keys.create("one", {Scope.ASK}, by="anna")
    gate = Gate(keys, rate_per_second=0, clock=clock)

    for _ in range(1_000):
        assert refusal(gate, f"{text}x") is Problem.UNAUTHORIZED
        clock.now += 0.001

    assert keys.reads <= 2 * LOOKS_PER_SECOND
    clock.now += 1
    _, new = keys.create("two", {Scope.ASK}, by="anna")
    assert refusal(gate, new) is None


def test_what_is_no_key_is_not_looked_for(keys: Counted, clock: Clock) -> None:
    """The keys are not read for it."""
    gate = Gate(keys, rate_per_second=0, clock=clock)

    for text in ("", "x", "hg_", "hg_x", "hg_x_" + "y" * 200, "Hg_x_y"):
        assert refusal(gate, text) is Problem.UNAUTHORIZED
    assert keys.reads == 0


def test_known_keys_are_read_again_only_in_time(keys: Counted, clock: Clock) -> None:
    """A second's worth of calls costs one look."""
    _, text = keys.create("one", {Scope.ASK}, by="anna")
    gate = Gate(keys, rate_per_second=0, clock=clock)

    for _ in range(1_000):
        assert refusal(gate, text) is None
        clock.now += 0.001

    assert keys.reads == 1


def test_a_key_calls_so_often_and_then_waits(keys: Counted, clock: Clock) -> None:
    """A second's worth at once, then as the bucket fills; another key has a bucket of its own."""
    (_, one), (_, other) = (keys.create(name, {Scope.ASK}, by="anna") for name in ("one", "other"))
    gate = Gate(keys, rate_per_second=10, clock=clock)

    assert [refusal(gate, one) for _ in range(11)] == [None] * 10 + [Problem.RATE_LIMITED]
    assert refusal(gate, other) is None
    clock.now += 0.25
    assert [refusal(gate, one) for _ in range(3)] == [None, None, Problem.RATE_LIMITED]
    clock.now += 3
    assert [refusal(gate, one) for _ in range(11)] == [None] * 10 + [Problem.RATE_LIMITED]
