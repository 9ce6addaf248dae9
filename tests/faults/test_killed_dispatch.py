"""A dispatcher that is killed hundreds of times while it sends to a real agency: nothing is lost, all is on record.

The agency is a process of its own that keeps books of whatever reaches it, so that what was on the wire is known
from the other side. GUARD_TEST_LIVES says how often (200).
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from random import Random

import pytest

from consumers.agency.journal import Line
from domain.events import RawRecord
from infra.kafka.source import Polled
from infra.postgres.database import Database
from tests.builders import LENIENT, day
from tests.conftest import worker
from tests.faults.ground import Ground
from tests.faults.worker import Worker, wait_until
from tests.records import payment, placement, referral
from tests.simulated import SECRETS, agency

pytestmark = [pytest.mark.parts, pytest.mark.faults]

LIVES = int(os.environ.get("GUARD_TEST_LIVES", "200"))
RECALLS = 1_000

SLOW_SECONDS = 0.1
"""In which the agency answers a call: a claim of eight is on its way for two of these, so most lives end in it."""

ENTRY = """
[agency.north]
channel = "webhook"
at_once = 4
rate_per_second = 1000

[agency.north.webhook]
url = "{url}"
secrets = ["env:NORTH_SECRET"]
private_hosts = ["127.0.0.1"]
ca_file = "{ca_file}"
timeout_seconds = 2
"""

_LIFE = re.compile(r"^(\d+) (\d+)$", re.MULTILINE)


def test_a_dispatcher_that_is_killed_again_and_again_loses_nothing(
    ground: Ground, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every recall arrives and is marked; what is on the wire twice has one id, and every attempt is on record."""
    answers = ("--answer", "file", "--answer-folder", str(tmp_path))  # Nobody here reads them.
    way = ("--webhook", "127.0.0.1:0", "--secret", "env:NORTH_SECRET", "--slow", str(SLOW_SECONDS))
    with agency(tmp_path / "north", *way, *answers) as north:
        entry = ENTRY.format(url=north.url, ca_file=north.data / "ca.pem")
        (tmp_path / "agencies.toml").write_text(entry)
        recall_all(ground)
        for name, secret in SECRETS.items():
            monkeypatch.setenv(name, secret.decode())
        settings = {"AGENCIES_FILE": str(tmp_path / "agencies.toml")}
        brood = ground.start("dispatch", module="tests.faults.brood", **settings)
        kill_all_lives(ground, brood, Random(seed))
        brood.kill()
        ground.start("dispatch", **settings)
        unsent = "SELECT count(*) FROM outbox WHERE sent_at IS NULL"
        wait_until("all are sent", lambda: ground.rows(unsent) == [(0,)], seconds=180)
        came = [line for line in north.journal() if line.direction == "in"]

    judge(ground, came)


def recall_all(ground: Ground) -> None:
    """So many placements with the agency, all paid."""
    with closing(Database(ground.database_url, application="tests")) as database:
        records: list[RawRecord] = []
        for number in range(RECALLS):
            account_id = f"a-{number}"
            records += [
                referral(account_id=account_id, debt_id=f"d-{number}"),
                placement(f"l-{number}", account_id=account_id, debt_id=f"d-{number}", agency_id="north"),
                payment(f"p-{number}", account_id=account_id),
            ]
        worker(database, LENIENT, day(9)).take(Polled(records, {}))


def kill_all_lives(ground: Ground, brood: Worker, chance: Random) -> None:
    """Each life is ended some moments after it has begun to send."""
    for life in range(1, LIVES + 1):
        before = attempts(ground)
        wait_until("it has something in hand", partial(has_begun, ground, brood, life, before))
        threading.Event().wait(chance.uniform(0, 2.5 * SLOW_SECONDS))
        os.kill(lives(brood)[life], signal.SIGKILL)


def has_begun(ground: Ground, brood: Worker, life: int, before: int) -> bool:
    """Whether this life has claimed something."""
    return life in lives(brood) and attempts(ground) > before


def attempts(ground: Ground) -> int:
    """How many are on record."""
    return int(ground.rows("SELECT count(*) FROM delivery_attempt")[0][0])


def lives(brood: Worker) -> dict[int, int]:
    """The process of each life so far."""
    text = brood.log_file.read_text(errors="replace")
    return {int(life): int(pid) for life, pid in _LIFE.findall(text)}


def judge(ground: Ground, came: list[Line]) -> None:
    """What the agency's books say against what the guard's say."""
    arrivals = Counter(line.message_id for line in came)
    stopped = Counter(line.message_id for line in came if line.did == "stopped")
    recalls = {str(row[0]) for row in ground.rows("SELECT recall_id FROM recall")}
    sent = ground.rows("SELECT count(*) FROM recall WHERE state = 'sent'")
    on_record = {
        str(recall_id): (int(begun), int(counted))
        for recall_id, begun, counted in ground.rows(
            "SELECT o.recall_id, count(*), max(o.attempts) FROM outbox o"
            " JOIN delivery_attempt a USING (account_id, outbox_id) GROUP BY o.account_id, o.outbox_id, o.recall_id"
        )
    }
    unended = int(ground.rows("SELECT count(*) FROM delivery_attempt WHERE ended_at IS NULL")[0][0])
    sys.stdout.write(
        f"{LIVES} lives of dispatch, {len(recalls)} recalls: {sum(arrivals.values())} arrivals,"
        f" {sum(1 for count in arrivals.values() if count > 1)} recalls more than once on the wire,"
        f" {sum(begun for begun, _ in on_record.values())} attempts on record, {unended} of them cut off\n"
    )

    assert len(recalls) == RECALLS
    assert sent == [(RECALLS,)]
    assert arrivals.keys() == recalls  # None lost, and nothing under an id that is no recall's.
    assert stopped == dict.fromkeys(recalls, 1)  # Once in effect.
    assert on_record.keys() == recalls
    assert {recall_id for recall_id, (begun, counted) in on_record.items() if begun != counted} == set()
    assert {one for one, count in arrivals.items() if count > on_record[one][0]} == set()  # None off the record.
    assert unended >= LIVES // 2  # They did die with messages in hand.
