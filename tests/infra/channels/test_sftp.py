"""A folder on a real SFTP server that may be somebody else, not let us in, lose bytes, or hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import paramiko
import pytest

from domain.agency import FileDrop, Secret, SftpServer
from domain.delivery import Attempt, Message
from infra.channels import sftp
from infra.channels.file_drop import FileDropChannel
from infra.channels.sftp import SftpFolder
from tests.beside import Beside
from tests.infra.channels.sftp_agency import PASSWORD, USER, SftpAgency, line_of, sftp_agency

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
QUICK_SECONDS = 0.5
SLACK_SECONDS = 3.0
MESSAGE = Message("m-1", "p-1", "guard.recalls", b"p-1", b'{"id": "m-1"}')
KEY = paramiko.ECDSAKey.generate()
OTHER_KEY = paramiko.ECDSAKey.generate()


@pytest.fixture
def agency(tmp_path: Path) -> Iterator[SftpAgency]:
    """A server over the test's folder."""
    with sftp_agency(tmp_path, KEY) as served:
        yield served


def _server(agency: SftpAgency) -> SftpServer:
    return SftpServer("127.0.0.1", USER, agency.host_key, agency.port, Secret(PASSWORD.encode()))


@contextmanager
def _channel(server: SftpServer, *, session_seconds: float = 10.0) -> Iterator[FileDropChannel]:
    folder = SftpFolder(server, "/", session_seconds=session_seconds)
    with closing(FileDropChannel(folder, FileDrop("/"), agency_id="north", now=lambda: NOW)) as channel:
        yield channel


def _deliver(server: SftpServer, *, session_seconds: float = 10.0) -> Attempt:
    with _channel(server, session_seconds=session_seconds) as channel:
        (attempt,) = channel.deliver([MESSAGE])
    return attempt


ANOTHER_HOST = "the folder can't be used: the server has another host key than the file of agencies says"
NOT_IN = "the folder can't be used: the server does not let us in"


@pytest.mark.parametrize(
    ("host_key", "detail"),
    [
        (line_of(KEY), ""),
        (line_of(OTHER_KEY), ANOTHER_HOST),
        (line_of(paramiko.RSAKey.generate(2048)), ANOTHER_HOST),
        ("ssh-nonsense AAAA", "the folder can't be used: host_key is no key of a kind that is known"),
        ("ssh-ed25519 AAAA", "the folder can't be used: host_key is no key of a kind that is known"),
    ],
    ids=["its own", "another", "of another kind", "no kind", "no key"],
)
def test_the_server_proves_itself_first(agency: SftpAgency, host_key: str, detail: str) -> None:
    """One that is not the one of the entry hears no password, and gets no file."""
    attempt = _deliver(replace(_server(agency), host_key=host_key))

    assert (attempt.delivered, attempt.detail) == (not detail, detail)
    assert len(list(agency.root.iterdir())) == (0 if detail else 1)
    assert agency.passwords == ([] if detail else [PASSWORD])


def test_a_server_with_an_rsa_key_is_known_by_it(tmp_path: Path) -> None:
    """By newer signatures than the name of the key's kind says."""
    key = paramiko.RSAKey.generate(2048)
    with sftp_agency(tmp_path, key) as agency:
        assert _deliver(_server(agency)).delivered


def test_our_key_lets_us_in(agency: SftpAgency, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where the entry names a file with one; one that the server does not know is told in words."""
    file = tmp_path_factory.mktemp("keys") / "id"
    OTHER_KEY.write_private_key_file(str(file))
    server = replace(_server(agency), password=None, key_file=str(file))

    refused = _deliver(server)
    agency.client_key = line_of(OTHER_KEY)

    assert (refused.delivered, refused.detail[: len(NOT_IN)]) == (False, NOT_IN)
    assert _deliver(server).delivered
    assert "can be read without a password" in _deliver(replace(server, key_file="/nowhere/id")).detail


def test_a_wrong_password_is_told_without_it(agency: SftpAgency) -> None:
    """Nor is the user shown."""
    attempt = _deliver(replace(_server(agency), password=Secret(b"a wrong one")))

    assert (attempt.delivered, attempt.detail[: len(NOT_IN)]) == (False, NOT_IN)
    assert "a wrong one" not in repr(attempt)
    assert USER not in repr(attempt)


def test_a_server_without_the_extension_will_do(agency: SftpAgency) -> None:
    """It renames as the protocol has it."""
    agency.posix_rename = False

    assert _deliver(_server(agency)).delivered
    assert [one.suffix for one in agency.root.iterdir()] == [".ndjson"]


def test_a_server_that_loses_bytes_has_not_got_the_file(agency: SftpAgency) -> None:
    """Nothing is left of it, under any name."""
    agency.loses_bytes = True

    attempt = _deliver(_server(agency))

    assert (attempt.delivered, "has not all of" in attempt.detail) == (False, True)
    assert list(agency.root.iterdir()) == []


def test_a_server_that_hangs_is_left(agency: SftpAgency, bare: Beside) -> None:
    """In the midst of a session: the time of all of it is bounded."""
    agency.hang = threading.Event()

    with bare.within(QUICK_SECONDS + SLACK_SECONDS):
        attempt = _deliver(_server(agency), session_seconds=QUICK_SECONDS)

    assert attempt.detail == "the folder can't be used: the server did not do it within 0.5 s"


def test_a_port_that_says_nothing_is_left(bare: Beside) -> None:
    """Before there is a session."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = SftpServer("127.0.0.1", USER, line_of(KEY), silent.getsockname()[1], Secret(b"p"))

        with bare.within(QUICK_SECONDS + SLACK_SECONDS):
            attempt = _deliver(server, session_seconds=QUICK_SECONDS)

    assert attempt.detail == "the folder can't be used: the server did not do it within 0.5 s"


def test_a_port_that_speaks_something_else_is_told() -> None:
    """It is no SSH."""
    with socket.create_server(("127.0.0.1", 0)) as other:

        def greet() -> None:
            line, _ = other.accept()
            with line:
                line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)

        greeter = threading.Thread(target=greet)
        greeter.start()
        server = SftpServer("127.0.0.1", USER, line_of(KEY), other.getsockname()[1], Secret(b"p"))
        attempt = _deliver(server)
        greeter.join()

    assert (attempt.delivered, attempt.detail[:26]) == (False, "the folder can't be used: ")


def test_one_connection_serves_what_follows_closely(agency: SftpAgency, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look and what is put away after it; what comes later connects anew."""
    with _channel(_server(agency)) as channel:
        for _ in range(3):
            channel.deliver([MESSAGE])
        closely = agency.connections
        monkeypatch.setattr(sftp, "KEEP_SECONDS", 0.0)
        channel.deliver([MESSAGE])

    assert (closely, agency.connections) == (1, 2)


def test_after_a_failure_it_connects_anew(agency: SftpAgency) -> None:
    """The next attempt owes nothing to the last one."""
    with _channel(_server(agency)) as channel:
        agency.loses_bytes = True
        (failed,) = channel.deliver([MESSAGE])
        agency.loses_bytes = False
        (delivered,) = channel.deliver([MESSAGE])

    assert (failed.delivered, delivered.delivered, agency.connections) == (False, True, 2)
