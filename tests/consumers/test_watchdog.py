"""When a worker is not alive: behind and not moving, or a loop that no longer turns."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping

import pytest

from consumers.watchdog import EXIT_STALLED, StalledError, Watchdog
from infra import logs
from tests.clocks import Clock

PLACE = ("billing.payments", 0)
OTHER = ("billing.payments", 1)
CHECK_SECONDS = 5


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> Watchdog:
    """One that looks every 5 seconds and bears 60."""
    log = logs.configure(role="test", level="CRITICAL")
    return Watchdog(check_seconds=CHECK_SECONDS, stalled_seconds=60, log=log, clock=clock)


def looks(watchdog: Watchdog, clock: Clock, positions: Mapping[tuple[str, int], int], *, seconds: int) -> None:
    """Look at the same positions for so long, as often as it is due."""
    for _ in range(seconds // CHECK_SECONDS):
        clock.seconds += CHECK_SECONDS
        watchdog.behind(positions)


def test_a_place_that_stands_still_behind_its_end_is_stalled(watchdog: Watchdog, clock: Clock) -> None:
    """At sixty seconds it is borne, after them it is not; the message says where it stands."""
    watchdog.behind({PLACE: 7})
    looks(watchdog, clock, {PLACE: 7}, seconds=60)
    clock.seconds += 1

    with pytest.raises(StalledError, match=r"billing\.payments/0 is behind, and at 7 for 61 s"):
        watchdog.behind({PLACE: 7})


def test_whatever_moves_or_catches_up_begins_anew(watchdog: Watchdog, clock: Clock) -> None:
    """A step of one record, or a moment without a lag, is life; another place's does not count for it."""
    looks(watchdog, clock, {PLACE: 7, OTHER: 1}, seconds=50)
    looks(watchdog, clock, {PLACE: 8}, seconds=50)
    looks(watchdog, clock, {PLACE: 8, OTHER: 1}, seconds=15)
    clock.seconds += 1

    with pytest.raises(StalledError, match=r"billing\.payments/0"):
        watchdog.behind({PLACE: 8, OTHER: 1})


def test_an_hour_in_which_nobody_could_look_is_not_held_against_a_place(watchdog: Watchdog, clock: Clock) -> None:
    """The database was away, or the machine stood: what is behind afterwards has all its time to move."""
    watchdog.behind({PLACE: 7})
    looks(watchdog, clock, {PLACE: 7}, seconds=50)
    clock.seconds += 3_600
    watchdog.behind({PLACE: 7})
    clock.seconds += 1

    with pytest.raises(StalledError, match=r"at 7 for 61 s"):
        watchdog.behind({PLACE: 7})


def seconds_until_stalled(watchdog: Watchdog, clock: Clock, *, unread_of_another: int) -> float:
    """How long a place may stand while another moves, which has so many records to read at each look."""
    began = clock.seconds
    for looked in range(1_000):
        try:
            watchdog.behind({PLACE: 7, OTHER: looked}, {PLACE: 500, OTHER: unread_of_another})
        except StalledError:
            return clock.seconds - began
        clock.seconds += CHECK_SECONDS
    raise AssertionError("it was never taken for stalled")


def test_a_place_may_wait_while_another_is_caught_up_with(watchdog: Watchdog, clock: Clock) -> None:
    """After an outage one is drained after the other; what stands ten times as long is stalled all the same."""
    seconds = seconds_until_stalled(watchdog, clock, unread_of_another=5_000)

    assert seconds == pytest.approx(600, abs=3 * CHECK_SECONDS)


def test_a_place_that_stands_beside_usual_traffic_is_stalled(watchdog: Watchdog, clock: Clock) -> None:
    """Others that have a few records to read are not caught up with: they are read as they come."""
    seconds = seconds_until_stalled(watchdog, clock, unread_of_another=20)

    assert seconds == pytest.approx(60, abs=2 * CHECK_SECONDS)


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

def hang():
    threading.Event().wait()

watchdog = Watchdog(check_seconds=1, stalled_seconds=0.3, log=logs.configure(role="test"))
watchdog.guard()
hang()
"""

BEATS = """
import time
from consumers.watchdog import Watchdog
from infra import logs
watchdog = Watchdog(check_seconds=1, stalled_seconds=1.5, log=logs.configure(role="test"))
watchdog.guard()
print("beats", flush=True)
for _ in range(200):
    watchdog.beat()
    time.sleep(0.02)
"""


def test_a_loop_that_hangs_ends_its_process() -> None:
    """Nothing inside can help it: it says where it hangs, and leaves with the status that asks for a new start."""
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=60, check=False)
    (line,) = (json.loads(one) for one in ended.stderr.splitlines() if b"worker.stalled" in one)

    assert ended.returncode == EXIT_STALLED
    assert "hang" in {place.rpartition(" ")[2] for place in line["hangs_at"]}


def test_a_process_that_was_frozen_goes_on() -> None:
    """A machine that stood for longer than a loop may be silent has hung nowhere."""
    with subprocess.Popen([sys.executable, "-c", BEATS], stdout=subprocess.PIPE) as beating:
        assert beating.stdout is not None
        assert beating.stdout.readline() == b"beats\n"
        beating.send_signal(signal.SIGSTOP)
        time.sleep(3)
        beating.send_signal(signal.SIGCONT)

        assert beating.wait(60) == 0
