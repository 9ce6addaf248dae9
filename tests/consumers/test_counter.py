"""The queue in which questions wait: who is served together, who is not, and who hears that it is full."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import pytest

from consumers.counter import Counter, FullError, serve_each
from infra import logs
from infra.postgres.database import DatabaseUnavailableError, LockedError

DEADLINE_SECONDS = 10

LOG = logs.configure(role="test", level="ERROR")


@pytest.fixture(autouse=True)
def _logging() -> None:
    """Set up anew: where another test did it last, its output may be closed by now."""
    logs.configure(role="test", level="ERROR")


class Desk:
    """Serves numbers by doubling them, when it is let; remembers its sets."""

    def __init__(self) -> None:
        self.sets: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def serve(self, some: Sequence[int]) -> Sequence[int]:
        """Begin, wait until it is let, and answer."""
        self.sets.append(list(some))
        self.began.release()
        assert self.may_end.acquire(timeout=DEADLINE_SECONDS)
        return [2 * one for one in some]


@pytest.fixture
def desk() -> Desk:
    """Nobody has come yet."""
    return Desk()


@pytest.fixture
def counter(desk: Desk) -> Iterator[Counter[int, int]]:
    """One thread, sets of three, and room for five."""
    made = Counter(desk.serve, name="test", threads=1, at_once_max=3, waiting_max=5, log=LOG)
    yield made
    made.close()
    for _ in range(10):
        desk.may_end.release()


def begin(desk: Desk, counter: Counter[int, int]) -> None:
    """Have one served, so that the others wait."""
    counter.put(0)
    assert desk.began.acquire(timeout=DEADLINE_SECONDS)


def test_those_that_wait_together_are_served_together(desk: Desk, counter: Counter[int, int]) -> None:
    """In the order in which they came, up to a set; each gets its own answer."""
    begin(desk, counter)
    waiting = [counter.put(number) for number in (1, 2, 3, 4)]
    for _ in range(3):
        desk.may_end.release()

    assert [one.result(DEADLINE_SECONDS) for one in waiting] == [2, 4, 6, 8]
    assert desk.sets == [[0], [1, 2, 3], [4]]


def test_who_has_gone_is_not_served(desk: Desk, counter: Counter[int, int]) -> None:
    """The others of the set are."""
    begin(desk, counter)
    stays, goes, too = (counter.put(number) for number in (1, 2, 3))
    assert goes.cancel()
    for _ in range(2):
        desk.may_end.release()

    assert (stays.result(DEADLINE_SECONDS), too.result(DEADLINE_SECONDS)) == (2, 6)
    assert desk.sets == [[0], [1, 3]]
    with pytest.raises(CancelledError):
        goes.result(DEADLINE_SECONDS)


def test_a_set_of_which_all_have_gone_is_none(desk: Desk, counter: Counter[int, int]) -> None:
    """Nothing is asked for nobody, and the next are served."""
    begin(desk, counter)
    assert counter.put(1).cancel()
    for _ in range(2):
        desk.may_end.release()
    assert counter.put(2).result(DEADLINE_SECONDS) == 4

    assert desk.sets == [[0], [2]]


def test_there_is_room_for_so_many(desk: Desk, counter: Counter[int, int]) -> None:
    """The next is told that it is full; those that wait are served."""
    begin(desk, counter)
    waiting = [counter.put(number) for number in range(5)]

    with pytest.raises(FullError):
        counter.put(5)
    for _ in range(3):
        desk.may_end.release()
    assert [one.result(DEADLINE_SECONDS) for one in waiting] == [0, 2, 4, 6, 8]


def test_once_it_is_closed_nobody_more_is_taken(desk: Desk, counter: Counter[int, int]) -> None:
    """Those that wait have their answers still, and then the threads end."""
    begin(desk, counter)
    waiting = counter.put(1)
    counter.close()

    with pytest.raises(FullError):
        counter.put(2)
    for _ in range(2):
        desk.may_end.release()
    assert waiting.result(DEADLINE_SECONDS) == 2


def test_several_threads_have_a_set_each(desk: Desk) -> None:
    """While one set is served another is taken."""
    counter = Counter(desk.serve, name="test", threads=2, at_once_max=3, waiting_max=5, log=LOG)
    first = counter.put(1)
    assert desk.began.acquire(timeout=DEADLINE_SECONDS)
    second = counter.put(2)
    assert desk.began.acquire(timeout=DEADLINE_SECONDS)
    for _ in range(2):
        desk.may_end.release()

    assert (first.result(DEADLINE_SECONDS), second.result(DEADLINE_SECONDS)) == (2, 4)
    assert sorted(desk.sets) == [[1], [2]]
    counter.close()


def failing(why: Exception, at: int) -> Callable[[Sequence[int]], Sequence[int]]:
    """What fails for one number, and so for each set that has it."""

    def serve(some: Sequence[int]) -> Sequence[int]:
        if at in some:
            raise why
        return [2 * one for one in some]

    return serve


@pytest.mark.parametrize("why", [LockedError("locked"), ValueError("a fault")], ids=["locked", "a fault"])
def test_what_fails_for_one_is_its_answer_alone(why: Exception) -> None:
    """The others of the set have theirs, in their places."""
    assert list(serve_each(failing(why, at=2), [1, 2, 3], log=LOG)) == [2, why, 6]


def test_what_fails_for_one_reaches_who_waits_for_it(desk: Desk) -> None:
    """As an error of its own; the others of the set hear nothing of it."""
    gate = threading.Event()

    def serve(some: Sequence[int]) -> Sequence[int]:
        assert gate.wait(DEADLINE_SECONDS)
        return failing(LockedError("locked"), at=2)(some)

    counter = Counter(serve, name="test", threads=1, at_once_max=3, waiting_max=5, log=LOG)
    waiting = [counter.put(number) for number in (1, 2, 3)]
    gate.set()

    assert [waiting[0].result(DEADLINE_SECONDS), waiting[2].result(DEADLINE_SECONDS)] == [2, 6]
    with pytest.raises(LockedError):
        waiting[1].result(DEADLINE_SECONDS)
    counter.close()


def test_where_the_database_is_away_it_is_asked_once() -> None:
    """It is so for each of the set, and nothing is tried again."""
    asked: list[list[int]] = []
    away = DatabaseUnavailableError("away")

    def serve(some: Sequence[int]) -> Sequence[int]:
        asked.append(list(some))
        raise away

    assert list(serve_each(serve, [1, 2, 3], log=LOG)) == [away] * 3
    assert asked == [[1, 2, 3]]


def test_a_large_set_with_one_that_fails_is_not_tried_one_by_one() -> None:
    """Each try of what is locked costs a second, and each of the others a look at the brokers."""
    tried: list[int] = []
    serve = failing(LockedError("locked"), at=77)

    def counted(some: Sequence[int]) -> Sequence[int]:
        tried.append(len(some))
        return serve(some)

    given = list(serve_each(counted, range(500), log=LOG))

    assert [one for one in given if not isinstance(one, Exception)] == [2 * n for n in range(500) if n != 77]
    assert len(tried) < 60
