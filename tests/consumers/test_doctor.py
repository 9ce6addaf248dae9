"""What `doctor` finds on real parts: all there, one away, a stream that lost records."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from kafka import KafkaAdminClient, TopicPartition
from pydantic import SecretStr

from consumers.checks import Finding, State
from consumers.compose import House
from consumers.doctor import TOPIC_PARTITIONS, Doctor, in_words, masked
from consumers.parts import utc_now
from domain.events import RawRecord
from infra import logs
from infra.embedded import free_ports
from infra.embedded.kafka import EmbeddedKafka
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.publisher import Publisher
from infra.postgres import schema
from infra.postgres.database import Database
from infra.postgres.streams import Streams
from infra.settings import Settings
from infra.wire.encode import Outgoing
from infra.wire.kinds import INBOUND_TOPICS, OUTBOUND_TOPICS, PAYMENTS
from tests.conftest import Arrive
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts

EVERY_TOPIC = INBOUND_TOPICS + OUTBOUND_TOPICS
PARTITIONS = 1


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Kafka of these tests alone: what they look for is which topics there are."""
    with EmbeddedKafka(tmp_path_factory.mktemp("kafka")) as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    """That Kafka, with every topic."""
    with contextlib.closing(Cluster(Connection(broker), client_id="tests")) as known:
        known.create(dict.fromkeys(EVERY_TOPIC, PARTITIONS), settings={"message.timestamp.type": "LogAppendTime"})
        yield known


@pytest.fixture
def settings(database_url: str, broker: str) -> Settings:
    """Settings that name a fresh database and that broker."""
    return Settings(database_url=SecretStr(database_url), kafka_bootstrap_servers=broker)


def examined(settings: Settings) -> dict[str, Finding]:
    """Every finding under its name."""
    with examining(settings) as doctor:
        return {one.name: one for one in doctor.examine()}


@contextlib.contextmanager
def examining(settings: Settings) -> Iterator[Doctor]:
    """A doctor on these settings."""
    with contextlib.closing(House(settings, logs.configure(role="test", level="ERROR"), role="test")) as house:
        yield house.doctor()


class TestTopics:
    """What holds of topics; on a broker of its own, since the other tests make them."""

    def test_missing_topics_are_named_and_made(self, tmp_path: Path, database_url: str) -> None:
        """A missing topic is wrong and says which command makes it; that makes all of them as the guard wants."""
        with EmbeddedKafka(tmp_path / "kafka", nodes=3) as kafka:
            settings = Settings(
                database_url=SecretStr(database_url), kafka_bootstrap_servers=kafka.bootstrap_servers
            )
            before = examined(settings)
            with examining(settings) as doctor:
                made, again = doctor.create_topics(TOPIC_PARTITIONS), doctor.create_topics(TOPIC_PARTITIONS)
            after = examined(settings)

        for topic in EVERY_TOPIC:
            name = f"topic {topic}"
            missing = Finding(name, State.FAIL, "missing", "handoff-guard doctor --create-topics")
            words = "6 partitions, replication factor 3, min.insync.replicas 2"
            assert before[name] == missing
            assert after[name] == Finding(name, State.OK, words)
        assert made == Finding("new topics", State.OK, f"made {', '.join(EVERY_TOPIC)}")
        assert again == Finding("new topics", State.OK, "none was missing")


class TestEverythingThere:
    """What is found where nothing is wrong."""

    @pytest.mark.usefixtures("cluster")
    def test_nothing_is_wrong(self, settings: Settings) -> None:
        """On an embedded broker all that is left to think about is that it is one, and that nothing was read."""
        found = examined(settings)

        doubtful = {name for name, one in found.items() if one.state is State.WARN}
        assert {name for name, one in found.items() if one.state is State.FAIL} == set()
        assert doubtful == {
            "brokers",
            *(f"topic {topic}" for topic in EVERY_TOPIC),
            *(f"stream {topic}" for topic in INBOUND_TOPICS),
        }
        assert found["schema"] == Finding("schema", State.OK, f"at {schema.needed()}")
        assert found["policy"] == Finding("policy", State.OK, "version built-in, the defaults")
        assert found["quarantine"] == Finding("quarantine", State.OK, "empty")
        assert found["outbox"] == Finding("outbox", State.OK, "empty")
        assert found["agencies file"].words == "no file: all are reached by Kafka"
        assert found["agencies"] == Finding("agencies", State.OK, "none is away; 0 messages wait")

    def test_a_registered_stream_is_read_and_its_lag_told(
        self, settings: Settings, cluster: Cluster, database: Database, broker: str
    ) -> None:
        """Unread records are counted, with how long they wait and when they may be deleted."""
        registered(database, cluster)
        published(broker, payment("p-1"), payment("p-2"))

        found = examined(settings)

        assert found[f"stream {PAYMENTS}"] == Finding(f"stream {PAYMENTS}", State.OK, "read, 1 partitions")
        assert found["lag collections.referrals"] == Finding(
            "lag collections.referrals", State.OK, "read to the end"
        )
        lag = found[f"lag {PAYMENTS}"]
        words = r"2 records behind, the oldest for \d+ s; it may be deleted in 6 d 23 h"
        assert re.fullmatch(words, lag.words), lag.words
        assert (lag.state, lag.remedy) == (State.OK, "")
        assert re.fullmatch(r"the newest record is \d+ s old; .*", found["broker clock"].words)

    def test_a_record_that_waits_long_asks_for_a_worker(
        self, settings: Settings, cluster: Cluster, database: Database, broker: str
    ) -> None:
        """An hour later the same records are a question: does a worker run?"""
        registered(database, cluster)
        published(broker, payment("p-1"))

        with examining(settings) as doctor:
            doctor._now = an_hour_later
            found = {one.name: one for one in doctor.examine()}

        lag = found[f"lag {PAYMENTS}"]
        assert (lag.state, lag.remedy) == (State.WARN, "handoff-guard ingest")
        assert found["database clock"].state is State.FAIL


class TestTrouble:
    """What is found where something is wrong."""

    def test_a_stopped_stream_says_why_and_who_may_let_it_go_on(
        self, settings: Settings, cluster: Cluster, database: Database, broker: str
    ) -> None:
        """Records were deleted unread: it will be stopped, and the command to accept that is named."""
        registered(database, cluster)
        published(broker, payment("p-1"), payment("p-2"))
        delete_records(broker, PAYMENTS)
        now = cluster.look([PAYMENTS])[PAYMENTS]

        found = examined(settings)

        assert now is not None
        assert found[f"stream {PAYMENTS}"] == Finding(
            f"stream {PAYMENTS}",
            State.FAIL,
            f"will be stopped: RETENTION_LOSS, partition 0: 2 records after {now.ends[0] - 2} were deleted unread",
            f"handoff-guard streams accept {PAYMENTS}",
        )
        assert f"lag {PAYMENTS}" not in found

    def test_what_waits_in_quarantine_and_outbox_is_told(
        self, settings: Settings, cluster: Cluster, database: Database, arrive: Arrive
    ) -> None:
        """A bad event is to be looked at, and a recall that nobody sends is wrong."""
        registered(database, cluster)
        arrive(referral(), placement(), payment(), payment(key="somebody-else"))
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE outbox SET created_at = created_at - interval '1 hour'"))

        found = examined(settings)

        assert found["quarantine"].words == "1 waiting, and their accounts on hold"
        assert (found["outbox"].state, found["outbox"].remedy) == (State.FAIL, "handoff-guard dispatch")

    def test_with_the_database_away_the_broker_is_looked_at(self, settings: Settings, cluster: Cluster) -> None:
        """One that is away is a finding, what needs it is left out, and the rest is checked."""
        (nobody,) = free_ports(1)
        away = settings.model_copy(
            update={"database_url": SecretStr(f"postgresql://guard:s3cret@127.0.0.1:{nobody}/guard")}
        )

        found = examined(away)

        assert cluster.brokers() == 1
        assert found["database"].state is State.FAIL
        assert "start the server, or set GUARD_DATABASE_URL" in found["database"].remedy
        assert found["schema"] == Finding("schema", State.WARN, "not looked at, since the database is away")
        assert found["streams"].state is State.WARN
        assert found["brokers"].state is State.WARN
        assert found[f"topic {PAYMENTS}"].state is State.WARN
        assert "s3cret" not in str(found)

    def test_with_the_broker_away_the_database_is_looked_at(
        self, settings: Settings, cluster: Cluster, database: Database
    ) -> None:
        """A stream that was stopped is still told."""
        registered(database, cluster)
        with database.transaction() as connection:
            connection.execute(sa.text("UPDATE stream SET stopped_reason = 'TOPIC_REMADE', stopped_detail = 'x'"))
        (nobody,) = free_ports(1)

        found = examined(settings.model_copy(update={"kafka_bootstrap_servers": f"127.0.0.1:{nobody}"}))

        assert found["brokers"].state is State.FAIL
        assert "GUARD_KAFKA_BOOTSTRAP_SERVERS" in found["brokers"].remedy
        assert found["topics"] == Finding("topics", State.WARN, "not looked at, since the broker is away")
        assert found["database"].state is State.OK
        assert found[f"stream {PAYMENTS}"].words == "stopped: TOPIC_REMADE, x"

    def test_without_settings_it_says_which_are_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before anything is set up each check says what to set."""
        for name in Settings.model_fields:
            monkeypatch.delenv(f"GUARD_{name.upper()}", raising=False)

        found = examined(Settings())

        assert found["settings"] == Finding("settings", State.OK, "all at their defaults")
        assert (found["database"].state, found["brokers"].state) == (State.FAIL, State.FAIL)
        assert "GUARD_DATABASE_URL is not set" in found["database"].words
        assert "GUARD_KAFKA_BOOTSTRAP_SERVERS is not set" in found["brokers"].words

    @pytest.mark.usefixtures("cluster")
    def test_a_database_without_our_schema_says_how_to_get_it(self, settings: Settings, database: Database) -> None:
        """An empty database is there, and wants an upgrade."""
        with database.transaction() as connection:
            connection.execute(sa.text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))

        found = examined(settings)

        assert found["database"].state is State.OK
        assert found["schema"] == Finding(
            "schema", State.FAIL, f"at none, this code needs {schema.needed()}", "handoff-guard db upgrade"
        )
        assert found["quarantine"].state is State.WARN

    @pytest.mark.usefixtures("cluster")
    def test_a_role_that_may_not_write_is_told_what_it_lacks(
        self, settings: Settings, database: Database, database_url: str
    ) -> None:
        """A role that may only read everything but one table lacks just that, and nothing else breaks."""
        with database.transaction() as connection:
            connection.execute(sa.text(READER))
        url = sa.make_url(database_url).set(username="guard_reader").render_as_string(hide_password=False)
        try:
            found = examined(settings.model_copy(update={"database_url": SecretStr(url)}))
        finally:
            with database.transaction() as connection:
                connection.execute(sa.text("DROP OWNED BY guard_reader; DROP ROLE guard_reader"))

        assert found["database role"].state is State.FAIL
        lacks = "DELETE on hold, SELECT on outbox, INSERT on outbox"
        assert all(one in found["database role"].words for one in lacks.split(", "))
        assert "SELECT on quarantine" not in found["database role"].words
        assert found["outbox"].state is State.FAIL
        assert found["quarantine"].state is State.OK

    def test_a_policy_that_is_at_fault_is_named(self, settings: Settings, tmp_path: Path) -> None:
        """The key and what it may be."""
        file = tmp_path / "policy.toml"
        file.write_text("[debt]\ntolerance = 1\n")

        found = examined(settings.model_copy(update={"policy_file": file}))

        assert found["policy"].state is State.FAIL
        assert "debt.tolerance" in found["policy"].words

    def test_a_file_of_agencies_that_is_at_fault_is_named(self, settings: Settings, tmp_path: Path) -> None:
        """The agency and the key; a right one is counted."""
        file = tmp_path / "agencies.toml"
        file.write_text("[agency.north]\ncolour = 1\n")
        wrong = examined(settings.model_copy(update={"agencies_file": file}))["agencies file"]
        file.write_text("[agency.north]\n")
        right = examined(settings.model_copy(update={"agencies_file": file}))["agencies file"]

        assert (wrong.state, right.state) == (State.FAIL, State.OK)
        assert "agency.north.colour" in wrong.words
        assert right.words == f"1 in {file}"


class TestSecrets:
    """What is shown of a setting."""

    @pytest.mark.parametrize(
        ("name", "value", "shown"),
        [
            (
                "database_url",
                SecretStr("postgresql://guard:s3cret@db:5432/guard"),
                "postgresql://guard:***@db:5432/guard",
            ),
            ("database_url", SecretStr("postgresql://db/guard?password=s3cret"), "postgresql://db/guard"),
            ("database_url", SecretStr("postgresql://guard@db/guard"), "postgresql://guard@db/guard"),
            ("database_url", SecretStr("s3cret"), "***"),
            ("database_url", SecretStr("postgresql://[s3cret"), "***"),
            ("database_url", None, ""),
            ("kafka_sasl_password", SecretStr("s3cret"), "***"),
            ("kafka_sasl_password", SecretStr(""), ""),
            ("kafka_group", "handoff-guard", "handoff-guard"),
        ],
    )
    def test_is_everything_but_the_secret(self, name: str, value: object, shown: str) -> None:
        """An address is shown without its password, any other secret only as being there."""
        assert masked(name, value) == shown

    def test_an_error_does_not_tell_it(self) -> None:
        """Whatever a library puts into its error, the secret is masked in the finding."""
        settings = Settings(database_url=SecretStr("postgresql://guard:s3%63ret@db/guard"))

        with examining(settings) as doctor:
            assert doctor._without_secrets("no guard with s3%63ret or s3cret") == "no guard with *** or ***"


def test_in_words_a_finding_has_its_remedies_under_it() -> None:
    """One line each, what mends it below, and the count at the end."""
    findings = [
        Finding("database", State.OK, "there"),
        Finding("schema", State.FAIL, "at none", "handoff-guard db upgrade\nor another"),
    ]

    assert list(in_words(findings)) == [
        "ok    database  there",
        "fail  schema    at none",
        "                -> handoff-guard db upgrade",
        "                -> or another",
        "1 right, 0 to think about, 1 wrong",
    ]


READER = """
CREATE ROLE guard_reader LOGIN;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO guard_reader;
REVOKE SELECT ON outbox FROM guard_reader"""


def an_hour_later() -> datetime:
    """A clock that is an hour ahead."""
    return utc_now() + timedelta(hours=1)


def registered(database: Database, cluster: Cluster) -> None:
    """Every inbound stream is known, and read to where it ends now."""
    seen = cluster.look(INBOUND_TOPICS)
    at_end = {topic: replace(one, starts=one.ends) for topic, one in seen.items() if one is not None}
    Streams(database).register(cluster.cluster_id(), at_end)


def published(broker: str, *records: RawRecord) -> None:
    """Send these records, acknowledged."""
    with contextlib.closing(Publisher(Connection(broker), client_id="tests")) as publisher:
        out = [Outgoing("", "", one.origin.topic, one.key or b"", one.value or b"", ()) for one in records]
        assert all(publisher.publish(out))


def delete_records(broker: str, topic: str) -> None:
    """Delete every record of a topic, as its retention would."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=broker)) as admin:
        admin.delete_records({TopicPartition(topic, 0): -1})
