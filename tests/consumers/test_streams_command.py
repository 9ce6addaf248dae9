"""A stopped stream is read on only when a person says so, and from where it then is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import count

import pytest
from kafka import KafkaAdminClient, TopicPartition

from consumers import streams
from consumers.streams import Accepted, NotAcceptedError, accept
from domain.streams import Stop, StopReason
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.publisher import Publisher
from infra.postgres.database import Database
from infra.postgres.streams import Streams
from infra.wire.encode import Outgoing
from tests.parts import Parts

pytestmark = pytest.mark.parts

_numbers = count(1)


@pytest.fixture
def cluster(parts: Parts) -> Iterator[Cluster]:
    """The session's Kafka."""
    with contextlib.closing(Cluster(Connection(parts.bootstrap_servers), client_id="tests")) as known:
        yield known


@pytest.fixture
def topic(cluster: Cluster) -> str:
    """A topic of this test alone, with one partition."""
    name = f"accepted-{next(_numbers)}"
    cluster.create({name: 1})
    return name


@pytest.fixture
def kept(database: Database) -> Streams:
    """The streams of a fresh database."""
    return Streams(database)


def test_after_a_loss_it_is_read_on_from_where_the_log_begins(
    kept: Streams, cluster: Cluster, topic: str, parts: Parts
) -> None:
    """What was deleted unread is gone: the position moves to the first record there is."""
    kept.register(cluster.cluster_id(), cluster.look([topic]))
    publish(parts, topic, 3)
    delete_records(parts, topic)
    kept.stop(topic, Stop(StopReason.RETENTION_LOSS, "partition 0: 3 records after 0 were deleted unread"))

    accepted = accept(kept, cluster, topic)

    assert accepted == Accepted(
        topic, "RETENTION_LOSS", "partition 0: 3 records after 0 were deleted unread", before={0: 0}, after={0: 3}
    )
    assert kept.registered()[topic].stopped is None
    assert list(accepted.in_words()) == [
        f"{topic} was stopped: RETENTION_LOSS, partition 0: 3 records after 0 were deleted unread",
        "  partition 0 is read on from 3 (was at 0)",
        "what lies between was never read: reconcile those accounts with the creditor's own bases",
        "ingest goes on with it within seconds; if the cause is still there it stops again",
    ]


def test_a_remade_topic_is_read_from_its_start(kept: Streams, cluster: Cluster, topic: str, parts: Parts) -> None:
    """The positions of its earlier life don't count."""
    publish(parts, topic, 3)
    seen = cluster.look([topic])[topic]
    assert seen is not None
    kept.register(cluster.cluster_id(), {topic: type(seen)(seen.topic_id, seen.ends, seen.ends)})
    remake(parts, cluster, topic)
    publish(parts, topic, 5)
    kept.stop(topic, Stop(StopReason.TOPIC_REMADE, "it was made again"))

    accepted = accept(kept, cluster, topic)

    assert (accepted.before, accepted.after) == ({0: 3}, {0: 0})
    remade = cluster.look([topic])[topic]
    assert remade is not None
    assert kept.registered()[topic].kept.topic_id == remade.topic_id != seen.topic_id


def test_a_stream_that_was_stopped_for_bad_events_goes_on_where_it_was(
    kept: Streams, cluster: Cluster, topic: str, parts: Parts
) -> None:
    """Nothing is skipped: the position stays, and its run of bad events begins anew."""
    kept.register(cluster.cluster_id(), cluster.look([topic]))
    publish(parts, topic, 2)
    kept.stop(topic, Stop(StopReason.TOO_MANY_BAD_EVENTS, "101 bad events one after the other"))

    accepted = accept(kept, cluster, topic)

    assert (accepted.before, accepted.after) == ({0: 0}, {0: 0})
    assert kept.registered()[topic].bad_runs == {0: 0}


def test_what_can_not_be_read_on_is_refused(kept: Streams, cluster: Cluster, topic: str) -> None:
    """A stream that nobody knows, one that is not stopped, and one whose topic is gone."""
    with pytest.raises(NotAcceptedError, match="is not registered"):
        accept(kept, cluster, topic)
    kept.register(cluster.cluster_id(), cluster.look([topic]))
    with pytest.raises(NotAcceptedError, match="is not stopped"):
        accept(kept, cluster, topic)
    kept.register(cluster.cluster_id(), {"nowhere": cluster.look([topic])[topic]})
    kept.stop("nowhere", Stop(StopReason.TOPIC_MISSING, "the broker does not have this topic"))
    with pytest.raises(NotAcceptedError, match="the broker does not have nowhere"):
        accept(kept, cluster, "nowhere")

    assert kept.registered()["nowhere"].stopped == "TOPIC_MISSING"


def test_the_list_shows_positions_and_why_a_stream_stands(kept: Streams, cluster: Cluster, topic: str) -> None:
    """In words with the command that accepts it, and the same as data."""
    seen = cluster.look([topic])[topic]
    assert seen is not None
    kept.register(cluster.cluster_id(), {topic: seen, "other": seen})
    kept.stop(topic, Stop(StopReason.TOPIC_REMADE, "it was made again"))

    registered = kept.registered()

    assert list(streams.in_words(registered)) == [
        f"{topic}  stopped  0: 0",
        "  TOPIC_REMADE: it was made again",
        f"  -> handoff-guard streams accept {topic}",
        "other  read  0: 0",
    ]
    both = {"cluster_id": cluster.cluster_id(), "topic_id": seen.topic_id, "positions": {0: 0}}
    assert streams.as_json(registered) == [
        {"topic": topic, **both, "stopped": "TOPIC_REMADE", "stopped_detail": "it was made again"},
        {"topic": "other", **both, "stopped": None, "stopped_detail": None},
    ]


def test_an_empty_list_says_how_it_fills(kept: Streams) -> None:
    """Before the first run there is nothing."""
    assert list(streams.in_words(kept.registered())) == [
        "no stream is registered yet: `handoff-guard ingest` registers those that it reads"
    ]


def publish(parts: Parts, topic: str, records: int) -> None:
    """So many records, acknowledged."""
    with contextlib.closing(Publisher(Connection(parts.bootstrap_servers), client_id="tests")) as publisher:
        out = [Outgoing("", "", topic, b"key", str(number).encode(), ()) for number in range(records)]
        assert all(publisher.publish(out))


def delete_records(parts: Parts, topic: str) -> None:
    """Delete every record of a topic, as its retention would."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=parts.bootstrap_servers)) as admin:
        admin.delete_records({TopicPartition(topic, 0): -1})


def remake(parts: Parts, cluster: Cluster, topic: str) -> None:
    """Delete a topic and make it again."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=parts.bootstrap_servers)) as admin:
        admin.delete_topics([topic])
    while not cluster.create({topic: 1}):
        pass  # The broker still has it for a moment; pytest's own time-out would end a hang.
