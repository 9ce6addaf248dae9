"""A simulated agency behind real https that answers by call-backs, as a process through the command line."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest

from tests.simulated import SECOND_SECRET, agency, agency_here, caller, caller_of, guard, recall, send, wait_for

WEBHOOK = (
    "--webhook",
    "127.0.0.1:0",
    "--secret",
    "env:NORTH_SECRET",
    "--callback-secret",
    "env:NORTH_CALLBACK",
)


def test_a_good_agency_stops_once_and_acknowledges_each_delivery(tmp_path: Path) -> None:
    """A recall that comes again is acknowledged again by the same event, and is no second stop."""
    with guard() as heard, agency(tmp_path, *WEBHOOK, "--guard-url", heard.url) as north, caller(north) as client:
        body = recall("r1")

        statuses = [send(client, body), send(client, body)]

        wait_for([("recall.acknowledged", "placement-of-r1")] * 2, heard.said)
        assert statuses == [200, 200]
        assert heard.events[0] == heard.events[1]
        assert north.did() == [("r1", 1, "stopped"), ("r1", 2, "had stopped")]
        wait_for([("r1", 1, "said: answered 202"), ("r1", 2, "said: answered 202")], lambda: north.did("out"))


def test_what_the_guard_did_not_sign_now_is_refused(tmp_path: Path) -> None:
    """401 for another secret and for an old signature, and nothing is taken; a second active secret will do."""
    with (
        guard() as heard,
        agency(tmp_path, *WEBHOOK, "--secret", "env:NORTH_SECOND", "--guard-url", heard.url) as north,
        caller(north) as client,
    ):
        statuses = [
            send(client, recall("r1"), secrets=[b"of somebody"]),
            send(client, recall("r1"), at=datetime.now(UTC) - timedelta(minutes=10)),
            send(client, recall("r1", agency_id="south")),
            client.post("/", content=recall("r1")).status_code,
            send(client, recall("r1"), secrets=[SECOND_SECRET]),
        ]

        assert statuses == [401, 401, 422, 401, 200]
        assert [did for _, _, did in north.did()] == [
            "refused: signature NO_MATCH",
            "refused: signature TOO_OLD",
            "refused: not ours",
            "refused: signature MISSING",
            "stopped",
        ]


def test_an_agency_that_dies_takes_up_what_it_owes(tmp_path: Path) -> None:
    """Killed in the middle of the second message: both are in its books, and answered once it is back."""
    with guard() as heard:
        way = (*WEBHOOK, "--guard-url", heard.url)
        with (
            agency(tmp_path, *way, "--late", "60", "--die-after", "2", ends=-signal.SIGKILL) as north,
            caller(north) as client,
        ):
            assert send(client, recall("r1")) == 200
            with pytest.raises(httpx2.TransportError):
                send(client, recall("r2"))
        assert heard.said() == []

        with agency(tmp_path, *way) as again, caller(again) as client:
            send(client, recall("r2"))

            placements = ["placement-of-r1", "placement-of-r2", "placement-of-r2"]
            wait_for(placements, lambda: sorted(placement for _, placement in heard.said()))
            assert again.did() == [("r1", 1, "stopped"), ("r2", 1, "stopped"), ("r2", 2, "had stopped")]


def test_an_answer_that_the_guard_did_not_take_is_brought_again(tmp_path: Path) -> None:
    """503 is tried again, 409 is not: it is written down."""
    with guard() as heard, agency(tmp_path, *WEBHOOK, "--guard-url", heard.url) as north, caller(north) as client:
        heard.answers = [503, 202]
        send(client, recall("r1"))
        wait_for([("recall.acknowledged", "placement-of-r1")], heard.said)
        heard.answers = [409]
        send(client, recall("r2"))

        wait_for(
            [
                ("r1", 1, "tries again: answered 503"),
                ("r1", 2, "said: answered 202"),
                ("r2", 1, "said: answered 409"),
            ],
            lambda: north.did("out"),
        )


def test_an_agency_that_is_down_refuses_connections_until_it_is_up(tmp_path: Path) -> None:
    """It says where it will be, and what comes before that meets a closed port."""
    with (
        guard() as heard,
        agency(tmp_path, *WEBHOOK, "--guard-url", heard.url, "--down-for", "1") as north,
        caller(north) as client,
    ):
        with pytest.raises(httpx2.ConnectError):
            send(client, recall("r1"))

        def taken() -> bool:
            try:
                return send(client, recall("r1")) == 200
            except httpx2.ConnectError:
                return False

        wait_for(True, taken)


def test_a_busy_agency_refuses_and_takes_it_later(tmp_path: Path) -> None:
    """Each delivery is refused by its own chance, the same for the same seed."""
    seeded = ("--refuse", "0.5", "--seed", "3")
    statuses = []
    for run in ("first", "second"):
        way = (*WEBHOOK[2:], *seeded, "--guard-url", "http://127.0.0.1:1")
        with agency_here(tmp_path / run, *way) as url, caller_of(url, tmp_path / run) as client:
            statuses.append([send(client, recall(f"r{number}")) for number in range(10)])

    assert statuses[0] == statuses[1]
    assert set(statuses[0]) == {200, 503}


def test_a_lying_agency_acknowledges_and_calls_on(tmp_path: Path) -> None:
    """At once: it accepts, answers twice, for another's placement too, and speaks to the customer after."""
    lies = ("--accept", "--repeat", "1", "--call-on", "1", "--wrong-agency", "1", "--other-placement", "p-of-south")
    with (
        guard() as heard,
        agency_here(tmp_path, *WEBHOOK[2:], *lies, "--guard-url", heard.url) as url,
        caller_of(url, tmp_path) as client,
    ):
        send(client, recall("r1"))

        said = [
            ("contact.made", "placement-of-r1"),
            ("placement.accepted", "placement-of-r1"),
            ("recall.acknowledged", "p-of-south"),
            ("recall.acknowledged", "placement-of-r1"),
            ("recall.acknowledged", "placement-of-r1"),
        ]
        wait_for(said, lambda: sorted(heard.said()))
        when = {one["type"]: one["time"] for one in heard.events}

    assert when["agency.contact.made.v1"] > when["agency.recall.acknowledged.v1"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--webhook", "127.0.0.1:0"], "--guard-url https://HOST:PORT"),
        (["--webhook", "127.0.0.1:0", "--guard-url", "http://127.0.0.1:1"], "--callback-secret env:NAME"),
        (["--webhook", "127.0.0.1:0", "--answer", "file"], "--answer-folder PATH"),
        (
            ["--webhook", "127.0.0.1:0", "--answer", "file", "--answer-folder", "answered"],
            "--webhook needs --secret",
        ),
    ],
)
def test_what_is_missing_is_named(
    arguments: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """2, and the argument that is wanted."""
    from consumers.main import main  # noqa: PLC0415 # Only this test runs it in the process.

    monkeypatch.chdir(tmp_path)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert main(["agency-simulator", "north", "--data", str(tmp_path), *arguments]) == 2
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert words in capsys.readouterr().err
