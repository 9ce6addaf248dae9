"""What `agency-check` sends is a valid message; what it makes of answers, as a table; what a journal keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from consumers.agency.journal import NAME, Journal, JournalError, Line, lines
from consumers.agency.mail import Answer, Kind, read_event
from consumers.agency.trial import Heard, State, Trial, judge_answers
from infra.wire.outgoing import RECALL_PAYLOADS
from tests.builders import day
from tests.simulated import recall

TRIAL = Trial("m", "north")
SENT = TRIAL.recall("recall", day(1))
OTHER = TRIAL.recall("other", day(1))

ANSWER = Answer(Kind.ACKNOWLEDGED, "check-account-m", SENT.placement_id, day(1), SENT.message_id)
REJECTED = replace(ANSWER, kind=Kind.REJECTED, reason="in court")


def _heard(*answers: Answer, source: str = "north", unbelievable: str = "") -> list[Heard]:
    return [Heard(one.as_event(source), unbelievable=unbelievable) for one in answers]


@pytest.mark.parametrize("value", [SENT.value, recall("r1")])
def test_a_test_message_is_as_the_contract_states_it(value: bytes) -> None:
    """Those of the check, and those of these tests; and an agency can read them."""
    event = json.loads(value)

    RECALL_PAYLOADS[event["type"]].model_validate_json(json.dumps(event["data"]))
    assert read_event(value).message_id == event["data"]["recall_id"] == event["id"]


def test_every_id_of_a_test_message_can_be_told() -> None:
    """Each begins with check-, so that an agency can keep it out of its books."""
    data = json.loads(SENT.value)["data"]

    ids = [data[name] for name in ("recall_id", "placement_id", "debt_id", "account_id")]
    assert [one for one in ids if not one.startswith("check-")] == []


@pytest.mark.parametrize(
    ("heard", "failed"),
    [
        (_heard(ANSWER), []),
        (_heard(REJECTED), []),
        (_heard(ANSWER, ANSWER), []),
        ([], ["answers"]),
        (_heard(replace(ANSWER, kind=Kind.ACCEPTED)), ["answers"]),
        (_heard(ANSWER, unbelievable="NO_MATCH"), ["answers", "answers signed"]),
        (_heard(ANSWER, replace(ANSWER, garbled=True)), ["answers well formed"]),
        ([*_heard(ANSWER), Heard(b"no json")], ["answers well formed"]),
        (_heard(ANSWER, replace(ANSWER, recall_id="check-m-none")), ["answers name the recall"]),
        (_heard(ANSWER, replace(ANSWER, placement_id=OTHER.placement_id)), ["answers name the recall"]),
        (_heard(ANSWER, REJECTED), ["answers do not contradict"]),
        (
            [*_heard(ANSWER), Heard(ANSWER.as_event("north").replace(b'"datacontenttype"', b'"other"'))],
            [],
        ),
        (
            [*_heard(ANSWER), Heard(ANSWER.as_event("north").replace(b"T09:", b"T10:"))],
            ["answers do not contradict"],
        ),
        (_heard(ANSWER, source="somebody"), ["answers by its source"]),
    ],
)
def test_what_is_made_of_answers(heard: list[Heard], failed: list[str]) -> None:
    """A row a mistake: the checks that fail, and no others."""
    found = judge_answers(TRIAL, SENT.message_id, heard, frozenset({"north"}), day(2), waited_seconds=1)

    assert [one.name for one in found if one.state is State.FAIL] == failed


def test_a_journal_that_was_cut_in_a_line_goes_on_with_a_whole_one(tmp_path: Path) -> None:
    """The half line of a process that was killed is dropped; what was whole before is read back."""
    line = Line(day(1), "in", "r1", "type", "p1", 1, "stopped", account_id="a1", place="0:7")
    with Journal(tmp_path) as journal:
        journal.write(line)
    with (tmp_path / NAME).open("a") as file:
        file.write('{"at":"2026')

    with Journal(tmp_path) as again:
        before = again.before
        again.write(replace(line, attempt=2))

    assert before == (line,)
    assert list(lines(tmp_path / NAME)) == [line, replace(line, attempt=2)]


def test_two_agencies_do_not_keep_one_journal(tmp_path: Path) -> None:
    """The second one says what to do."""
    with Journal(tmp_path), pytest.raises(JournalError, match="give each its own --data"):
        Journal(tmp_path)


def test_where_nothing_is_signed_no_signature_is_well() -> None:
    """By Kafka and in files the check of signatures is skipped."""
    trial = Trial("mark", "north")

    found = judge_answers(trial, "check-1", [Heard(b"{}")], frozenset(), day(1), waited_seconds=1, signed=False)

    assert [one.state for one in found if one.name == "answers signed"] == [State.SKIPPED]
