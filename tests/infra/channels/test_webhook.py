"""The channel `webhook` against a real HTTPS server that is slow, wordy, wrong, or somebody else."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.agency import Secret, WebhookTarget
from domain.delivery import Attempt, Message
from infra.channels import https_connection, webhook
from infra.channels.addresses import Resolve
from infra.channels.signatures import verify
from infra.channels.webhook import WebhookChannel
from tests.beside import Beside
from tests.infra.channels.certificates import authority_file, server_context
from tests.infra.channels.https_agency import HOST, Asked, Behave, HttpsAgency, answer, https_agency

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECRETS = (Secret(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Secret(b"the one of before"))
QUICK_SECONDS = 1.5
"""The whole time of an attempt that is to fail for its slowness."""

Changes = Mapping[str, object]
"""Fields of a target that are other than is usual."""

NO_CHANGES: Changes = {}
QUICK: Changes = {"timeout_seconds": QUICK_SECONDS}

SLACK_SECONDS = 2.0
"""What a busy machine may add to that."""


def _message(number: int, *, placement: str = "p-1") -> Message:
    headers = (("content-type", b"application/cloudevents+json"), ("traceparent", b"00-aa-bb-01"))
    value = json.dumps({"id": f"m-{number}", "number": number}).encode()
    return Message(f"m-{number}", placement, "guard.recalls", placement.encode(), value, headers)


def _to(*addresses: str) -> Resolve:
    return lambda _host, _port: addresses


HERE = _to("127.0.0.1")


@contextmanager
def _channel(
    agency: HttpsAgency, folder: Path, *, resolve: Resolve = HERE, at_once: int = 1, changes: Changes = NO_CHANGES
) -> Iterator[WebhookChannel]:
    target = WebhookTarget(
        url=agency.url,
        secrets=SECRETS,
        private_hosts=frozenset({HOST}),
        ca_file=authority_file(folder),
        timeout_seconds=5.0,
        answer_max_bytes=1_000,
    )
    changed = replace(target, **dict(changes))  # type: ignore[arg-type]  # Each test names fields of a target.
    with closing(WebhookChannel(changed, at_once=at_once, now=lambda: NOW, resolve=resolve)) as channel:
        yield channel


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The certificate of the agency's desk."""
    return server_context(tmp_path_factory.mktemp("server"), HOST)


def test_what_nobody_thought_of_fails_one_message(context: ssl.SSLContext, tmp_path: Path) -> None:
    """The others of the claim are delivered, and told of; the words of the error are not."""
    asked: list[str] = []

    def once_wrong(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        if len(asked) == 1:
            raise LookupError("words of a customer")
        return ("127.0.0.1",)

    with https_agency(context, answer(200)) as agency, _channel(agency, tmp_path, resolve=once_wrong) as channel:
        attempts = channel.deliver([_message(1, placement="p-1"), _message(2, placement="p-2")])

    assert [(one.delivered, one.detail) for one in attempts] == [
        (False, "it failed in our own code: LookupError"),
        (True, ""),
    ]


def test_a_message_arrives_as_it_is_and_signed(context: ssl.SSLContext, tmp_path: Path) -> None:
    """Line by line what goes over the wire; each active secret verifies it."""
    behave = answer(200, "x-desk: 2\r\n", b"thanks")
    with https_agency(context, behave) as agency, _channel(agency, tmp_path) as channel:
        (attempt,) = channel.deliver([_message(1)])

    (asked,) = agency.asked
    assert asked.headers == {
        "host": f"{HOST}:{agency.port}",
        "user-agent": "handoff-guard",
        "content-type": "application/cloudevents+json",
        "content-length": str(len(_message(1).value)),
        "webhook-id": "m-1",
        "webhook-timestamp": str(int(NOW.timestamp())),
        "webhook-signature": asked.headers["webhook-signature"],
        "traceparent": "00-aa-bb-01",
    }
    assert asked.head.startswith(b"POST /recalls?desk=2 HTTP/1.1\r\n")
    assert asked.body == _message(1).value
    assert [verify([one.value], asked.headers, asked.body, now=NOW) for one in SECRETS] == ["m-1", "m-1"]
    assert attempt == Attempt(
        delivered=True,
        target=agency.url,
        request=asked.head + b"\r\n\r\n" + asked.body,
        response=b"HTTP/1.1 200 Words\r\ncontent-length: 6\r\nx-desk: 2\r\n\r\nthanks",
    )


@pytest.mark.parametrize(
    ("status", "headers", "detail", "retry_after"),
    [
        (200, "", None, None),
        (202, "", None, None),
        (204, "", None, None),
        (299, "", None, None),
        (301, "location: https://elsewhere.example/\r\n", "answered 301, a redirect", None),
        (307, "location: https://elsewhere.example/\r\n", "answered 307, a redirect", None),
        (304, "", "answered 304, a redirect", None),
        (400, "", "answered 400", None),
        (400, "retry-after: 7\r\n", "answered 400", None),
        (429, "", "answered 429", None),
        (429, "Retry-After: 7\r\n", "answered 429", 7.0),
        (503, "retry-after: Fri, 20 Nov 2026 12:01:30 GMT\r\n", "answered 503", 90.0),
        (503, "retry-after: Fri, 20 Nov 2026 11:00:00 GMT\r\n", "answered 503", 0.0),
        (503, "retry-after: 999999999\r\n", "answered 503", 86_400.0),
        (503, "retry-after: soon\r\n", "answered 503", None),
        (503, "retry-after: -1\r\n", "answered 503", None),
        (503, "retry-after: 1.5\r\n", "answered 503", None),
        (503, "retry-after: Mon, 01 Jan 99999999999999999999 00:00:00 GMT\r\n", "answered 503", None),
        (503, "retry-after: Mon, 01 Jan 2026 00:00:00 +99999999999999999999\r\n", "answered 503", None),
        (429, "retry-after: Mon, 01 Jan 0001 00:00:00 +2359\r\n", "answered 429", 0.0),
        (500, "", "answered 500", None),
        (999, "", "answered 999", None),
    ],
)
def test_the_status_decides(
    status: int,
    headers: str,
    detail: str | None,
    retry_after: float | None,
    context: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """Of all answers those of 200 to 299 say that a message was taken; 429 and 503 may say when to come again."""
    with https_agency(context, answer(status, headers)) as agency, _channel(agency, tmp_path) as channel:
        (attempt,) = channel.deliver([_message(1)])

    assert attempt.delivered == (detail is None)
    assert attempt.detail.startswith(detail or "")
    assert "elsewhere" not in attempt.detail
    assert attempt.retry_after_seconds == retry_after
    assert len(agency.asked) == 1


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (400, True),
        (409, True),
        (413, True),
        (415, True),
        (422, True),
        # what is said to all messages, whatever is in them
        (200, False),
        (301, False),
        (401, False),
        (403, False),
        (404, False),
        (410, False),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_a_message_that_is_refused_is_told_from_an_agency_that_is_away(
    status: int, refused: bool, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """So that one message which it does not take keeps no others from it."""
    with https_agency(context, answer(status, "")) as agency, _channel(agency, tmp_path) as channel:
        (attempt,) = channel.deliver([_message(1)])

    assert attempt.refused == refused


def _says(*parts: bytes, pause_seconds: float = 0.0, forever: bytes = b"") -> Behave:
    """Say these, a part at a time; then one thing for ever, or no more."""

    def behave(line: ssl.SSLSocket, _asked: Asked) -> bool:
        for part in parts:
            line.sendall(part)
            time.sleep(pause_seconds)
        while forever:
            line.sendall(forever)
            time.sleep(pause_seconds)
        line.recv(1)  # Until the other side has had enough.
        return False

    return behave


OK = b"HTTP/1.1 200 OK\r\n"

SLOW = [
    ("says nothing", _says(), False, "no answer within 1.5 s"),
    ("a byte at a time", _says(pause_seconds=0.05, forever=b"H"), False, "no answer within 1.5 s"),
    ("a head that does not end", _says(OK, b"a: 1\r\n"), False, "no answer within 1.5 s"),
    ("slow headers", _says(OK, pause_seconds=0.05, forever=b"a: 1\r\n"), False, "no answer within 1.5 s"),
    ("comes back to it later", _says(forever=b"HTTP/1.1 100 Continue\r\n\r\n"), False, "the head of the answer is"),
    ("endless headers", _says(OK, forever=b"a: 1\r\n"), False, "what was answered is no HTTP: HTTPException"),
    ("an endless header", _says(OK, forever=b"a" * 1_000), False, "what was answered is no HTTP: LineTooLong"),
    ("an endless status", _says(forever=b"a" * 1_000), False, "what was answered is no HTTP: LineTooLong"),
    ("no HTTP", _says(b"SSH-2.0-x\r\n\r\n"), False, "what was answered is no HTTP: BadStatusLine"),
    ("a number that is none", _says(b"HTTP/1.1 2xx OK\r\n\r\n"), False, "what was answered is no HTTP: BadStatus"),
    # The status was said: the message was taken, whatever becomes of the words behind it.
    ("a slow body", _says(OK, b"content-length: 9\r\n\r\n", forever=b"", pause_seconds=0.01), True, ""),
    ("a byte of the body at a time", _says(OK + b"\r\n", forever=b"b", pause_seconds=0.05), True, ""),
    ("an endless body", _says(OK + b"\r\n", forever=b"b" * 1_000), True, ""),
    ("endless chunks", _says(OK + b"transfer-encoding: chunked\r\n\r\n", forever=b"1\r\nb\r\n"), True, ""),
    ("a chunk that is none", _says(OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n"), True, ""),
    ("an endless body of an error", _says(b"HTTP/1.1 500 No\r\n\r\n", forever=b"b" * 1_000), False, "answered 500"),
]


@pytest.mark.parametrize(("behave", "delivered", "detail"), [row[1:] for row in SLOW], ids=[row[0] for row in SLOW])
def test_no_answer_keeps_us(
    behave: Behave, delivered: bool, detail: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """However slow or endless an answer is, the attempt ends in its time, and in bounds."""
    with https_agency(context, behave) as agency, _channel(agency, tmp_path, changes=QUICK) as channel:
        began = time.monotonic()
        (attempt,) = channel.deliver([_message(1)])
        took = time.monotonic() - began

    assert (attempt.delivered, attempt.detail[: len(detail)]) == (delivered, detail)
    assert took < QUICK_SECONDS + SLACK_SECONDS
    assert len(attempt.response) <= https_connection.HEAD_MAX_BYTES + 1_000


def test_a_big_answer_is_cut_off(context: ssl.SSLContext, tmp_path: Path) -> None:
    """It is judged by its status; the connection with the rest of it is not used again."""
    with https_agency(context, answer(200, body=b"b" * 500_000)) as agency, _channel(agency, tmp_path) as channel:
        attempts = channel.deliver([_message(1), _message(2)])

    assert [one.delivered for one in attempts] == [True, True]
    assert all(1_000 <= len(one.response) <= https_connection.HEAD_MAX_BYTES + 1_000 for one in attempts)
    assert agency.connections == 2


def test_a_handshake_that_hangs_ends_in_time(tmp_path: Path, bare: Beside) -> None:
    """A port that takes connections and says nothing."""
    with (
        https_agency(None) as agency,
        _channel(agency, tmp_path, changes=QUICK) as channel,
        bare.within(QUICK_SECONDS + SLACK_SECONDS),
    ):
        (attempt,) = channel.deliver([_message(1)])

    assert attempt == Attempt(False, agency.url, "not reached within 1.5 s")


def test_a_resolver_that_hangs_is_left_behind(context: ssl.SSLContext, tmp_path: Path, bare: Beside) -> None:
    """The system's resolver has no time-out of its own."""

    waited = threading.Event()

    def hanging(_host: str, _port: int) -> Sequence[str]:
        waited.wait(60)
        return ["127.0.0.1"]

    with https_agency(context) as agency, _channel(agency, tmp_path, resolve=hanging, changes=QUICK) as channel:
        with bare.within(QUICK_SECONDS + SLACK_SECONDS):
            (attempt,) = channel.deliver([_message(1)])
        waited.set()

    assert (attempt.detail, agency.connections) == ("not reached within 1.5 s", 0)


@pytest.mark.parametrize(
    ("host", "days", "own", "detail"),
    [
        (HOST, 2, False, None),
        ("desk.south.example", 2, False, "the certificate is not to be trusted: Hostname mismatch"),
        (HOST, -1, False, "the certificate is not to be trusted: certificate has expired"),
        (HOST, 2, True, "the certificate is not to be trusted: self-signed certificate"),
    ],
)
def test_a_server_proves_its_name(host: str, days: int, own: bool, detail: str | None, tmp_path: Path) -> None:
    """Nothing is told to one that can't."""
    context = server_context(tmp_path, host, days=days, own=own)
    with https_agency(context) as agency, _channel(agency, tmp_path) as channel:
        (attempt,) = channel.deliver([_message(1)])

    assert attempt.delivered == (detail is None)
    assert attempt.detail.startswith(detail or "")
    assert len(agency.asked) == (1 if detail is None else 0)


def test_an_old_tls_is_refused(tmp_path: Path) -> None:
    """TLS 1.2 is the least."""
    old = server_context(tmp_path, HOST)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1

    with https_agency(old) as agency, _channel(agency, tmp_path) as channel:
        (attempt,) = channel.deliver([_message(1)])

    assert (attempt.delivered, attempt.detail[:18]) == (False, "no TLS connection:")


@pytest.mark.parametrize(
    ("changes", "resolve", "detail"),
    [
        ({"private_hosts": frozenset()}, _to("127.0.0.1"), f"{HOST} leads to 127.0.0.1, which is loopback"),
        ({"ca_file": "/nowhere/ca.pem"}, _to("127.0.0.1"), "no connection: No such file or directory"),
        ({"secrets": (Secret(b"whsec_?"),)}, _to("127.0.0.1"), "what follows whsec_ in a secret must be base64"),
        ({}, _to("127.0.0.1", "127.0.0.2"), ""),
        ({}, _to("127.0.0.2", "127.0.0.1"), ""),  # Nobody listens at the first.
    ],
)
def test_what_can_be_wrong_before_a_word_is_said(
    changes: Changes, resolve: Resolve, detail: str, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """Each is told in words; the next address is tried where one is dead."""
    with https_agency(context) as agency, _channel(agency, tmp_path, resolve=resolve, changes=changes) as channel:
        (attempt,) = channel.deliver([_message(1)])

    assert (attempt.delivered, attempt.detail[: len(detail) or None]) == (not detail, detail)
    assert len(agency.asked) == (0 if detail else 1)


def test_each_connection_is_judged_anew(context: ssl.SSLContext, tmp_path: Path) -> None:
    """A name is asked for once at each connection, which goes where it leads then, and nowhere else."""
    asked: list[str] = []
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    def changing(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    behave = answer(headers="connection: close\r\n")
    with https_agency(context, behave) as agency, _channel(agency, tmp_path, resolve=changing) as channel:
        attempts = [channel.deliver([_message(number)])[0].delivered for number in (1, 2)]

    assert (attempts, asked, agency.connections) == ([True, False], [HOST, HOST], 1)


def test_a_connection_is_used_again(context: ssl.SSLContext, tmp_path: Path) -> None:
    """One handshake for many messages."""
    with https_agency(context) as agency, _channel(agency, tmp_path) as channel:
        attempts = [one for number in range(5) for one in channel.deliver([_message(number)])]

    assert ([one.delivered for one in attempts], agency.connections) == ([True] * 5, 1)


def test_a_connection_that_was_idle_for_long_is_not(
    context: ssl.SSLContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agency has closed it by then, or is about to."""
    monkeypatch.setattr(webhook, "KEEP_SECONDS", 0.0)

    with https_agency(context) as agency, _channel(agency, tmp_path) as channel:
        attempts = [one for number in range(2) for one in channel.deliver([_message(number)])]

    assert ([one.delivered for one in attempts], agency.connections) == ([True] * 2, 2)


def _once_then_close(close: Callable[[ssl.SSLSocket], None], times: int) -> Behave:
    """Answer on each connection `times` times, then leave it as it was said."""
    answered: dict[int, int] = {}

    def behave(line: ssl.SSLSocket, asked: Asked) -> bool:
        count = answered[id(line)] = answered.get(id(line), 0) + 1
        if count <= times:
            return answer()(line, asked)
        close(line)
        return False

    return behave


def _shut(line: ssl.SSLSocket) -> None:
    line.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("behave", "delivered", "asked", "connections"),
    [
        # A kept connection ended before anything was answered: once more, at once, on a new one.
        (_once_then_close(_shut, times=1), [True, True], 3, 2),
        # A new one that ends so is a failed attempt, which is for patience to judge.
        (_once_then_close(_shut, times=0), [False, False], 2, 2),
        # Where a part of an answer came, the message may have been taken: no second time at once.
        (_once_then_close(lambda line: line.sendall(b"HTTP/1.1 5"), times=1), [True, False], 2, 1),
    ],
    ids=["kept", "new", "answered in part"],
)
def test_a_stale_connection_is_no_failure(
    behave: Behave,
    delivered: list[bool],
    asked: int,
    connections: int,
    context: ssl.SSLContext,
    tmp_path: Path,
) -> None:
    """The agency closes what it likes; only a message that fails on a connection of its own has failed."""
    with https_agency(context, behave) as agency, _channel(agency, tmp_path) as channel:
        attempts = [channel.deliver([_message(number)])[0].delivered for number in (1, 2)]

    assert (attempts, len(agency.asked), agency.connections) == (delivered, asked, connections)


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"]
)
def test_an_answer_is_never_taken_for_that_of_another_message(
    first: bytes, context: ssl.SSLContext, tmp_path: Path
) -> None:
    """What comes without being asked for ends the connection: the next message waits for an answer of its own."""
    said = threading.Event()

    def twice(line: ssl.SSLSocket, asked: Asked) -> bool:
        if len(agency.asked) > 1:
            return answer(500)(line, asked)
        line.sendall(first)
        line.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        said.set()
        return True

    with https_agency(context, twice) as agency, _channel(agency, tmp_path) as channel:
        channel.deliver([_message(1)])
        assert said.wait(SLACK_SECONDS)
        (second,) = channel.deliver([_message(2)])

    assert (second.detail, agency.connections) == ("answered 500", 2)


def test_several_messages_are_on_their_way_at_once(context: ssl.SSLContext, tmp_path: Path) -> None:
    """Four slow answers take as long as one."""

    def slow(line: ssl.SSLSocket, asked: Asked) -> bool:
        deadline = time.monotonic() + SLACK_SECONDS
        while len(agency.asked) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        return answer(204 if len(agency.asked) == 4 else 500)(line, asked)

    with https_agency(context, slow) as agency, _channel(agency, tmp_path, at_once=4) as channel:
        attempts = channel.deliver([_message(number, placement=f"p-{number}") for number in range(4)])

    assert ([one.delivered for one in attempts], agency.connections) == ([True] * 4, 4)


def test_what_follows_a_failure_of_its_placement_waits(context: ssl.SSLContext, tmp_path: Path) -> None:
    """A resumption never overtakes its suspension; another placement is not held up."""

    def picky(line: ssl.SSLSocket, asked: Asked) -> bool:
        return answer(500 if asked.headers["webhook-id"] == "m-1" else 204)(line, asked)

    messages = [_message(1), _message(2, placement="p-2"), _message(3)]
    with https_agency(context, picky) as agency, _channel(agency, tmp_path, at_once=2) as channel:
        attempts = channel.deliver(messages)

    assert [one.delivered for one in attempts] == [False, True, False]
    assert attempts[2].detail == "not tried: the one before it did not arrive"
    assert sorted(one.headers["webhook-id"] for one in agency.asked) == ["m-1", "m-2"]


def test_each_attempt_is_signed_at_its_time(context: ssl.SSLContext, tmp_path: Path) -> None:
    """The same message again has the same id, and a signature that is fresh."""
    times = [NOW, NOW + timedelta(hours=3)]
    with https_agency(context) as agency:
        target = WebhookTarget(agency.url, SECRETS, frozenset({HOST}), authority_file(tmp_path))
        with closing(
            WebhookChannel(target, at_once=1, now=lambda: times[len(agency.asked)], resolve=_to("127.0.0.1"))
        ) as channel:
            channel.deliver([_message(1)])
            channel.deliver([_message(1)])

    judged = [
        verify([SECRETS[0].value], one.headers, one.body, now=at)
        for one, at in zip(agency.asked, times, strict=True)
    ]
    assert judged == ["m-1", "m-1"]
