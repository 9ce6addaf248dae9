"""A simulated agency on a real Kafka, as a process; and its check."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from consumers.agency.check import check_agency
from consumers.main import _parser
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.listener import Listener
from infra.kafka.publisher import Publisher
from infra.settings import Settings
from infra.wire.kinds import AGENCIES, RECALLS
from tests.parts import Parts
from tests.simulated import agency, recall, wait_for

pytestmark = pytest.mark.parts


@dataclass(frozen=True, slots=True)
class Record:
    """A record of `guard.recalls`."""

    value: bytes
    key: bytes = b"placement"
    topic: str = RECALLS
    headers: tuple[tuple[str, bytes], ...] = ()


class Topics:
    """Both topics, from now: what is said to agencies, and what they say."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.environment = {"GUARD_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers}
        connection = Connection(bootstrap_servers)
        self._publisher = Publisher(connection, client_id="tests")
        self._listener = Listener(connection, AGENCIES, client_id="tests")
        self._listener.hear_from({})
        self._heard: list[tuple[str, str, str]] = []

    def say(self, *messages: bytes) -> None:
        """Publish these."""
        assert all(self._publisher.publish([Record(one) for one in messages]))

    def heard(self) -> list[tuple[str, str, str]]:
        """Type, source and recall of all that agencies have said."""
        for one in self._listener.hear(timeout_ms=20):
            event = json.loads(one.value)
            assert one.key.decode() == event["subject"]
            self._heard.append((event["type"], event["source"], event["data"].get("recall_id", "")))
        return sorted(self._heard)

    def close(self) -> None:
        """Let go of the connections."""
        self._publisher.close()
        self._listener.close()


@pytest.fixture
def topics(parts: Parts) -> Iterator[Topics]:
    """The topics on the session's Kafka."""
    with closing(Cluster(Connection(parts.bootstrap_servers), client_id="tests")) as cluster:
        cluster.create({AGENCIES: 1, RECALLS: 2}, replication_factor=1)
    with closing(Topics(parts.bootstrap_servers)) as found:
        yield found


ACKNOWLEDGED = "agency.recall.acknowledged.v1"


def test_it_hears_its_own_recalls_from_now_and_goes_on_after_a_crash(tmp_path: Path, topics: Topics) -> None:
    """What came before its first start is not read; what came while it was dead is, and what it owed is said."""
    way = ("--kafka", "--source", "north-events")
    topics.say(recall("before"))
    with agency(
        tmp_path, *way, "--late", "0.5", "--die-after", "2", ends=-signal.SIGKILL, environment=topics.environment
    ) as north:
        topics.say(recall("r1"), recall("other", agency_id="south"), b"no json", recall("r2"))
        north.process.wait(30)
    topics.say(recall("r3"))

    with agency(tmp_path, *way, environment=topics.environment) as again:
        wait_for([(ACKNOWLEDGED, "north-events", name) for name in ("r1", "r2", "r3")], topics.heard)
        assert again.did() == [(name, 1, "stopped") for name in ("r1", "r2", "r3")]


@pytest.mark.parametrize(
    ("arguments", "failed"), [([], []), (["--fault", "wrong-recall"], ["answers", "answers name the recall"])]
)
def test_the_check_publishes_only_when_told_so(
    tmp_path: Path,
    topics: Topics,
    parts: Parts,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    failed: list[str],
) -> None:
    """Without --yes-publish it is skipped; with it, the agency's answer is waited for and judged."""
    settings = Settings(kafka_bootstrap_servers=parts.bootstrap_servers)
    ask = ["agency-check", "north", "--json", "--wait", "2"]
    found = []
    with agency(tmp_path, "--kafka", *arguments, environment=topics.environment):
        for more in ([], ["--yes-publish"]):
            status = check_agency(_parser().parse_args([*ask, *more]), settings, threading.Event())
            findings = json.loads(capsys.readouterr().out)["findings"]
            found.append((status, [one["name"] for one in findings if one["state"] == "FAIL"]))

    assert found == [(0, []), (1 if failed else 0, failed)]
