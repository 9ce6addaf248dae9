"""The demo, started as a newcomer would, and what it says when a claim does not come true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from random import Random

import pytest
from pydantic import SecretStr

from consumers.asker import Asker
from consumers.compose import House
from consumers.demo import _expect
from consumers.doctor import TOPIC_PARTITIONS
from consumers.stage import Recall, Stage, StoryFailedError
from consumers.telecom import Customer, Expected, history
from infra import logs
from infra.embedded import free_ports
from infra.settings import Settings
from tests import parts as real_parts
from tests.builders import day

DEMO = (sys.executable, "-m", "consumers.main", "demo")
DEMO_DEADLINE_SECONDS = 240
"""It takes about 10 s; a machine under load gets its time."""

SHORT_SECONDS = 0.5
"""For what can't come, since nobody runs who would send it."""

OK_LINE = re.compile(r"OK {2}655 events, each applied once; 113 recalls of 113 .*; 0 in quarantine")


@pytest.mark.parts
def test_the_demo_tells_its_stories_and_ends_well() -> None:
    """In at most 15 lines, with one OK line, the next commands, and status 0; it needs no setting."""
    misled = {**os.environ, "GUARD_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "GUARD_DATABASE_URL": "postgresql://x"}

    ended = subprocess.run(
        DEMO, check=False, capture_output=True, text=True, env=misled, timeout=DEMO_DEADLINE_SECONDS
    )

    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert sum(bool(OK_LINE.fullmatch(line)) for line in lines) == 1
    assert len(lines) <= 15
    assert lines[-1].startswith("Next: ")


@pytest.mark.parts
class TestClaims:
    """A demo whose claims do not come true; no role runs on these servers."""

    @pytest.fixture
    def stage(self, parts: real_parts.Parts, database_url: str) -> Iterator[Stage]:
        """A stage on the session's servers, that loses patience soon."""
        settings = Settings(database_url=SecretStr(database_url), kafka_bootstrap_servers=parts.bootstrap_servers)
        with closing(House(settings, logs.configure(role="test"), role="test")) as house:
            house.doctor().create_topics(TOPIC_PARTITIONS)
            with closing(Stage.of(house, threading.Event(), deadline_seconds=SHORT_SECONDS)) as stage:
                stage._listener.hear_from({})  # What other tests have said there is none of its story.
                yield stage

    def test_a_worker_that_does_not_read(self, stage: Stage) -> None:
        """Is no ground for a story."""
        with pytest.raises(StoryFailedError, match="no worker reads every stream"):
            stage.wait_until_read()

    def test_a_recall_that_does_not_come(self, stage: Stage) -> None:
        """Is named."""
        stage.send(Customer(7, 100_00).referred(day(3)))

        with pytest.raises(StoryFailedError, match=r"no recall of placement-7 came in"):
            stage.wait_for_recall("placement-7", cause="paid_after_placement")

    def test_what_had_to_come_and_did_not(self, stage: Stage) -> None:
        """Recalls, balances and events are compared, and what differs is named."""
        with pytest.raises(StoryFailedError, match=r"recalls: 1 are not .*placement-404"):
            stage.check(Expected({"placement-404": "referred_in_error"}, {}))
        with pytest.raises(StoryFailedError, match=r"reduced balances: 1 are not .*placement-405"):
            stage.check(Expected({}, {"placement-405": 1}))
        with pytest.raises(StoryFailedError, match="events kept: 0, where 3 had to be"):
            stage.check(Expected({}, {}, events=3))

    def test_a_second_recall_of_one_placement(self, stage: Stage) -> None:
        """Two ids for one placement are two recalls, one id twice is one."""
        first = Recall("placement-7", "recall-a", "paid_after_placement", day(5), 0.0)
        second = Recall("placement-7", "recall-b", "paid_after_placement", day(5), 0.0)
        stage._recalls["placement-7"] = [first, first]
        stage.check_only_one(first)

        stage._recalls["placement-7"].append(second)

        with pytest.raises(StoryFailedError, match="placement-7 has 2 recalls"):
            stage.check_only_one(first)

    def test_a_person_who_has_seen_enough(self, stage: Stage) -> None:
        """Ends it at the next look."""
        stage._stop.set()

        with pytest.raises(StoryFailedError, match="told to stop"):
            stage.wait_until_quiet()


def test_an_answer_that_is_another_than_it_had_to_be() -> None:
    """Ends the demo, with both."""
    _expect("hold PRICE_CHANGE_NOT_NOTIFIED", "hold PRICE_CHANGE_NOT_NOTIFIED")

    with pytest.raises(StoryFailedError, match="the answer was 'clear ', where 'hold PRICE_CHANGE_NOT_NOTIFIED'"):
        _expect("hold PRICE_CHANGE_NOT_NOTIFIED", "clear ")


def test_an_api_that_does_not_answer() -> None:
    """Is given up in time."""
    (port,) = free_ports(1)
    collections = Asker(f"http://127.0.0.1:{port}", "")

    assert not collections.wait_until_ready(deadline_seconds=SHORT_SECONDS, give_up=lambda: False)


def test_the_telecom_says_what_its_lives_bring() -> None:
    """Every kind of life is there, in no order and partly repeated, and the same seed makes the same."""
    said, expected = history(range(1, 101), now=day(30), chance=Random(5))
    again, _ = history(range(1, 101), now=day(30), chance=Random(5))

    assert said == again
    assert {"referred_in_error", "paid_after_placement"} == set(expected.recalls.values())
    assert expected.balances
    assert expected.events == len({one.value for one in said}) < len(said)
    assert said != sorted(said, key=lambda one: one.key)
