"""What every way to an agency keeps, whichever it is: one suite, on each of them as it really is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import paramiko
import pytest

from domain.agency import Agency, ChannelKind, FileDrop, Secret, SftpServer, WebhookTarget
from domain.delivery import Channel, Message
from infra.channels.build import channel_for
from infra.embedded import free_ports
from infra.kafka.cluster import Cluster
from infra.kafka.connection import Connection
from infra.kafka.listener import Listener
from infra.kafka.publisher import Publisher
from tests import inbound
from tests.infra.channels.certificates import authority_file, server_context
from tests.infra.channels.https_agency import HOST, https_agency
from tests.infra.channels.sftp_agency import PASSWORD, USER, sftp_agency
from tests.parts import Parts

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SIGNING = "c2lnbmluZyBzZWNyZXQ="
SECRETS = (SIGNING, PASSWORD)
"""What no attempt may tell."""

TOO_LARGE_BYTES = 2 * 1024 * 1024
"""Above what a broker takes: of all that keeps it from acknowledging, what is the quickest to have."""

_numbers = count(1)


@dataclass
class Way:
    """One way to an agency: a channel, what has arrived there, and one that leads nowhere."""

    channel: Channel
    topic: str
    arrived: Callable[[], list[tuple[str, bytes]]]
    nowhere: Channel


def _message(number: int, way: Way, *, padding_bytes: int = 0) -> Message:
    value = {"id": f"m-{number}", "type": "guard.recall.requested.v1", "data": {"padding": "x" * padding_bytes}}
    return Message(f"m-{number}", "p-1", way.topic, b"p-1", json.dumps(value).encode(), (("x", b"y"),))


def _kafka(stack: ExitStack, folder: Path, request: pytest.FixtureRequest) -> Way:
    parts: Parts = request.getfixturevalue("parts")
    connection, topic = Connection(parts.bootstrap_servers), f"channel-{next(_numbers)}"
    cluster = stack.enter_context(closing(Cluster(connection, client_id="tests")))
    cluster.create({topic: 1})
    publisher = stack.enter_context(closing(Publisher(connection, client_id="tests")))
    listener = stack.enter_context(closing(Listener(connection, topic, client_id="tests")))
    heard: list[bytes] = []

    def arrived() -> list[tuple[str, bytes]]:
        heard.extend(one.value for one in listener.hear(timeout_ms=200))
        return [(json.loads(value)["id"], value) for value in heard]

    def channel() -> Channel:
        return channel_for(Agency("north"), ChannelKind.KAFKA, publish=publisher.publish, now=lambda: NOW)

    return Way(channel(), topic, arrived, channel())


def _webhook(stack: ExitStack, folder: Path, request: pytest.FixtureRequest) -> Way:
    agency = stack.enter_context(https_agency(server_context(folder, HOST)))

    def channel(port: int) -> Channel:
        secrets = (Secret(f"whsec_{SIGNING}".encode()),)
        url = f"https://{HOST}:{port}/recalls"
        target = WebhookTarget(url, secrets, frozenset({HOST}), authority_file(folder), timeout_seconds=5)
        return _of(Agency("north", webhook=target), ChannelKind.WEBHOOK)

    def arrived() -> list[tuple[str, bytes]]:
        return [(one.headers["webhook-id"], one.body) for one in agency.asked]

    (closed,) = free_ports(1)
    return Way(channel(agency.port), "guard.recalls", arrived, channel(closed))


def _local(stack: ExitStack, folder: Path, request: pytest.FixtureRequest) -> Way:
    def channel(name: str) -> Channel:
        return _of(Agency("north", file=FileDrop(str(folder / name))), ChannelKind.FILE)

    (folder / "drop").mkdir()
    return Way(channel("drop"), "guard.recalls", lambda: _files(folder / "drop"), channel("away"))


def _sftp(stack: ExitStack, folder: Path, request: pytest.FixtureRequest) -> Way:
    (folder / "drop").mkdir()
    agency = stack.enter_context(sftp_agency(folder, paramiko.ECDSAKey.generate()))

    def channel(port: int) -> Channel:
        server = SftpServer("127.0.0.1", USER, agency.host_key, port, Secret(PASSWORD.encode()))
        return _of(Agency("north", file=FileDrop("/drop", sftp=server)), ChannelKind.FILE)

    (closed,) = free_ports(1)
    return Way(channel(agency.port), "guard.recalls", lambda: _files(folder / "drop"), channel(closed))


def _of(agency: Agency, kind: ChannelKind) -> Channel:
    return channel_for(
        agency, kind, publish=lambda _: [], now=lambda: NOW, resolve=lambda _host, _port: ["127.0.0.1"]
    )


def _files(folder: Path) -> list[tuple[str, bytes]]:
    lines = [line for file in sorted(folder.glob("*.ndjson")) for line in file.read_bytes().splitlines()]
    return [(json.loads(line)["id"], line) for line in lines]


WAYS = {"webhook": _webhook, "local folder": _local, "sftp": _sftp}


@pytest.fixture(params=[*WAYS, pytest.param("kafka", marks=pytest.mark.parts)])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    """Each way to an agency."""
    with ExitStack() as stack:
        made = {**WAYS, "kafka": _kafka}[request.param](stack, tmp_path, request)
        yield made
        made.channel.close()
        made.nowhere.close()


def test_messages_arrive_in_their_order(way: Way) -> None:
    """Each of them whole, under its id."""
    messages = [_message(number, way) for number in range(10)]

    attempts = [*way.channel.deliver(messages[:7]), *way.channel.deliver(messages[7:])]

    assert [(one.delivered, one.detail, one.retry_after_seconds) for one in attempts] == [(True, "", None)] * 10
    expected = [(one.message_id, one.value) for one in messages]
    assert inbound.until(lambda: len(way.arrived()) >= 10)
    assert way.arrived() == expected


def test_the_same_message_again_has_the_same_id(way: Way) -> None:
    """By which the agency knows it."""
    for _ in range(2):
        way.channel.deliver([_message(1, way)])

    assert inbound.until(lambda: len(way.arrived()) >= 2)
    assert [message_id for message_id, _ in way.arrived()] == ["m-1", "m-1"]


def test_what_does_not_arrive_is_told_in_words(way: Way) -> None:
    """Nothing is raised, each message has its attempt, and no attempt tells a secret."""
    messages = [_message(number, way, padding_bytes=TOO_LARGE_BYTES) for number in range(2)]

    attempts = way.nowhere.deliver(messages)

    assert [one.delivered for one in attempts] == [False, False]
    assert all(one.detail and one.target for one in attempts)
    shown = repr(attempts)
    assert [secret for secret in SECRETS if secret in shown] == []


def test_nothing_to_deliver_is_nothing_to_do(way: Way) -> None:
    """Where there is no message there is no attempt, also on a way that leads nowhere."""
    assert (way.channel.deliver([]), way.nowhere.deliver([])) == ([], [])


def test_where_nothing_was_left_nothing_is_read(way: Way) -> None:
    """Nor on a way that leads nowhere."""
    assert (list(way.channel.answers()), list(way.nowhere.answers())) == ([], [])


def test_closing_is_clean(way: Way) -> None:
    """Also twice, and after an attempt that failed."""
    way.channel.deliver([_message(1, way)])
    way.nowhere.deliver([_message(2, way, padding_bytes=TOO_LARGE_BYTES)])

    for channel in (way.channel, way.nowhere, way.channel):
        channel.close()
