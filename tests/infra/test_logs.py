"""Logs: one JSON object a line with a stable `event` key, whatever is logged."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from infra import logs
from tests.clocks import Clock


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The set-up of logging is the process's own: put back what was there."""
    root, kafka = logging.getLogger(), logging.getLogger("kafka")
    before = (root.handlers[:], root.level, kafka.level)
    yield
    structlog.reset_defaults()
    root.handlers[:], root.level, kafka.level = before


def test_each_line_is_one_object_with_its_event(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and errors stay inside it."""
    log = logs.configure(role="ingest")

    log.info("recall.requested", recall_id="r-1", detail="two\nlines")
    try:
        int("what\nhappened")
    except ValueError:
        log.exception("worker.failed")

    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert {name: first[name] for name in first.keys() - {"timestamp"}} == {
        "event": "recall.requested",
        "level": "info",
        "role": "ingest",
        "recall_id": "r-1",
        "detail": "two\nlines",
    }
    assert (second["event"], second["level"]) == ("worker.failed", "error")
    assert "ValueError: invalid literal" in second["exception"].splitlines()[-1]


def test_what_a_library_says_has_nothing_in_it_of_what_it_says_it_about(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither where the library's words have places for it, nor where asyncio has filled them in before."""
    logs.configure(role="api")

    async def fail() -> None:
        asyncio.get_running_loop().call_soon(int, "+7 926 000-00-00")
        await asyncio.wait([asyncio.ensure_future(_failing("Anna Petrova"))])

    asyncio.run(fail())
    gc.collect()
    logging.getLogger("other").warning("can't read %s", "Anna Petrova")

    said = [json.loads(line)["said"] for line in capsys.readouterr().err.splitlines()]
    assert sorted(said) == ["Exception in callback int", "Task exception was never retrieved", "can't read %s"]


def test_what_a_library_says_again_and_again_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """With how often it was said since the last one; what else it says is not kept back by it."""
    clock = Clock()
    logs.configure(role="dispatch", clock=clock)
    library = logging.getLogger("kafka.cluster")

    for _ in range(150):
        clock.seconds += 0.1
        library.error("Topic %s not found", "guard.recalls")
    library.error("Broker %s is away", 1)

    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["said"], one["times"]) for one in said] == [
        ("Topic %s not found", 1),
        ("Topic %s not found", 100),
        ("Broker %s is away", 1),
    ]


async def _failing(text: str) -> None:
    raise ValueError(text)


def test_what_is_under_the_level_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """The level is the one that was set; nothing goes to standard output, which is for answers."""
    log = logs.configure(role="ingest", level="WARNING")

    log.info("quiet")
    log.warning("loud")

    written = capsys.readouterr()
    assert [json.loads(line)["event"] for line in written.err.splitlines()] == ["loud"]
    assert written.out == ""
