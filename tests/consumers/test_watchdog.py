"""When a worker is not alive: behind and not moving, or a loop that no longer turns."""

from __future__ import annotations

import subprocess
import sys

import pytest

from consumers.watchdog import EXIT_STALLED, StalledError, Watchdog
from infra import logs
from tests.clocks import Clock

PLACE = ("billing.payments", 0)
OTHER = ("billing.payments", 1)


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> Watchdog:
    """One that looks every 5 seconds and bears 60."""
    log = logs.configure(role="test", level="CRITICAL")
    return Watchdog(check_seconds=5, stalled_seconds=60, log=log, clock=clock)


def test_a_place_that_stands_still_behind_its_end_is_stalled(watchdog: Watchdog, clock: Clock) -> None:
    """At sixty seconds it is borne, after them it is not; the message says where it stands."""
    watchdog.behind({PLACE: 7})
    clock.seconds += 60
    watchdog.behind({PLACE: 7})
    clock.seconds += 1

    with pytest.raises(StalledError, match=r"billing\.payments/0 is behind, and at 7 for 61 s"):
        watchdog.behind({PLACE: 7})


def test_whatever_moves_or_catches_up_begins_anew(watchdog: Watchdog, clock: Clock) -> None:
    """A step of one record, or a moment without a lag, is life; another place's does not count for it."""
    watchdog.behind({PLACE: 7, OTHER: 1})
    clock.seconds += 50
    watchdog.behind({PLACE: 8})
    clock.seconds += 50
    watchdog.behind({PLACE: 8, OTHER: 1})
    clock.seconds += 11

    with pytest.raises(StalledError, match=r"billing\.payments/0"):
        watchdog.behind({PLACE: 8, OTHER: 1})


def test_a_look_is_due_at_the_start_at_its_times_and_when_asked_for(watchdog: Watchdog, clock: Clock) -> None:
    """And once only each time."""
    due = [watchdog.look_is_due(), watchdog.look_is_due()]
    clock.seconds += 5
    due += [watchdog.look_is_due(), watchdog.look_is_due()]
    watchdog.look_soon()
    due += [watchdog.look_is_due(), watchdog.look_is_due()]

    assert due == [True, False] * 3


HANGS = """
import threading
from consumers.watchdog import Watchdog
from infra import logs
watchdog = Watchdog(check_seconds=1, stalled_seconds=0.3, log=logs.configure(role="test"))
watchdog.guard()
threading.Event().wait()
"""


def test_a_loop_that_hangs_ends_its_process() -> None:
    """Nothing inside can help it: it says so and leaves with the status that asks for a new start."""
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=30, check=False)

    assert (ended.returncode, b'"event": "worker.stalled"' in ended.stderr) == (EXIT_STALLED, True)
