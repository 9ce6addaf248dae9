"""That the measure of the machine measures it: an answer that is late while the machine stands is not held late."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from tests.beside import Took, beside, echoing
from tests.faults.worker import ROOT


def test_what_the_machine_took_is_allowed_and_no_more() -> None:
    """A bare request of half a second excuses half a second, of the answers that were under way with it."""
    slow = threading.Event()
    began = time.time()

    def way() -> None:
        slow.wait(0.5)

    with beside(way) as bare:
        while bare.slowest() < 0.5:
            time.sleep(0.01)
        slow.set()
    took = bare.slowest(since=began)
    before, long_after = Took(began - 10, 5), Took(time.time() + 10, 5)
    excused, too_late = Took(began, 4 + took - 0.01), Took(began, 4 + took + 0.01)

    assert took >= 0.5
    assert bare.late([before, long_after, excused, too_late], 4) == [before, long_after, too_late]


def test_one_that_is_under_way_counts() -> None:
    """Also before it has ended: it may be the machine's stand that the answer has just come out of."""
    hangs = threading.Event()

    def way() -> None:
        hangs.wait(60)

    began = time.time()
    with beside(way) as bare:
        while bare.slowest() < 0.1:
            time.sleep(0.01)
        late = bare.late([Took(began, 1.05)], 1)
        hangs.set()

    assert late == []


STANDS = """
import time
from tests.beside import beside

with beside(lambda: None) as bare:
    print("measures", flush=True)
    while bare.slowest() < 1:
        time.sleep(0.05)
"""


def test_a_machine_that_stands_between_two_requests_is_seen() -> None:
    """As by a process that is frozen with all its threads: the request that was due then is late."""
    with subprocess.Popen([sys.executable, "-c", STANDS], stdout=subprocess.PIPE, cwd=ROOT) as measuring:
        assert measuring.stdout is not None
        assert measuring.stdout.readline() == b"measures\n"
        measuring.send_signal(signal.SIGSTOP)
        time.sleep(2)
        measuring.send_signal(signal.SIGCONT)

        assert measuring.wait(60) == 0


def test_an_echo_answers(tmp_path: Path) -> None:
    """And a request that fails is measured like any other."""
    with echoing(tmp_path) as echo:
        echo()
        with beside(echo) as bare:
            while not bare.slowest():
                time.sleep(0.01)
    with beside(echo) as failing:
        while not failing.slowest():
            time.sleep(0.01)

    assert min(bare.slowest(), failing.slowest()) > 0
