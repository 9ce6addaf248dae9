"""What a simulated agency does with a message, as a table; and that the seed alone decides who is among a share."""

from __future__ import annotations

from datetime import timedelta

import pytest

from consumers.agency.behaviour import CALLS_ON_AFTER, REASONS, SHUFFLE_MAX, Behaviour, Fault, react, refuses
from consumers.agency.mail import Answer, Kind, Letter
from tests.builders import day

RECALL = Letter("r1", "guard.recall.requested.v1", "north", "p1", "a1")
REDUCED = Letter("m1", "guard.balance.reduced.v1", "north", "p1", "a1")
FIRST, AGAIN = day(1), day(2)
LATE = timedelta(seconds=30)

ACKNOWLEDGED = Answer(Kind.ACKNOWLEDGED, "a1", "p1", FIRST, "r1")
ACCEPTED = Answer(Kind.ACCEPTED, "a1", "p1", FIRST)


def _acknowledged(**values: str) -> Answer:
    return Answer(**{**{name: getattr(ACKNOWLEDGED, name) for name in Answer.__dataclass_fields__}, **values})


CONTACT = Answer(Kind.CONTACT, "a1", "p1", FIRST + CALLS_ON_AFTER, channel="phone")

TABLE = [
    # behaviour, letter, attempt, what was done, what is said after how long
    (Behaviour(), RECALL, 1, "stopped", [(0, ACKNOWLEDGED)]),
    (Behaviour(), RECALL, 2, "had stopped", [(0, ACKNOWLEDGED)]),
    (Behaviour(), REDUCED, 1, "noted the balance", []),
    (Behaviour(), Letter("m1", "guard.placement.suspended.v1", "north", "p1"), 1, "paused", []),
    (Behaviour(), Letter("m1", "guard.placement.resumed.v1", "north", "p1"), 1, "went on", []),
    (Behaviour(), Letter("m1", "guard.new.v9", "north", "p1"), 1, "passed over", []),
    (Behaviour(accept=True), REDUCED, 1, "noted the balance", [(0, ACCEPTED)]),
    (Behaviour(accept=True), REDUCED, 2, "noted the balance", []),
    (Behaviour(accept=True), RECALL, 1, "stopped", [(0, ACCEPTED), (0, ACKNOWLEDGED)]),
    (Behaviour(silent=1), RECALL, 1, "stopped, says nothing", []),
    (Behaviour(silent=1), RECALL, 2, "had stopped, says nothing", []),
    (Behaviour(repeat=1), RECALL, 1, "stopped", [(0, ACKNOWLEDGED), (0, ACKNOWLEDGED)]),
    (Behaviour(call_on=1), RECALL, 1, "stopped", [(0, ACKNOWLEDGED), (1, CONTACT)]),
    (Behaviour(call_on=1), RECALL, 2, "had stopped", [(0, ACKNOWLEDGED)]),
    (
        Behaviour(wrong_agency=1),
        RECALL,
        1,
        "stopped",
        [(0, ACKNOWLEDGED), (0, _acknowledged(placement_id="not-ours-p1"))],
    ),
    (
        Behaviour(wrong_agency=1, other_placement=("a2", "p2")),
        RECALL,
        1,
        "stopped",
        [(0, ACKNOWLEDGED), (0, _acknowledged(account_id="a2", placement_id="p2"))],
    ),
    (
        Behaviour(faults=frozenset({Fault.WRONG_RECALL})),
        RECALL,
        1,
        "stopped",
        [(0, _acknowledged(recall_id="other-r1"))],
    ),
]


@pytest.mark.parametrize(("behaviour", "letter", "attempt", "did", "said"), TABLE)
def test_what_is_done_and_said(
    behaviour: Behaviour, letter: Letter, attempt: int, did: str, said: list[tuple[int, Answer]]
) -> None:
    """A row a behaviour: what the journal says of it, and each answer with its delay."""
    now = FIRST if attempt == 1 else AGAIN

    reaction = react(behaviour, letter, attempt=attempt, first_at=FIRST, now=now)

    assert (reaction.taken, reaction.did) == (True, did)
    assert [((one.due_at - now).total_seconds(), one.answer) for one in reaction.sayings] == said


def test_a_late_agency_stops_late_and_says_the_same_again() -> None:
    """When it stopped is counted from the first delivery, so a repeated answer is the same event."""
    late = Behaviour(late=LATE)

    first = react(late, RECALL, attempt=1, first_at=FIRST, now=FIRST)
    again = react(late, RECALL, attempt=2, first_at=FIRST, now=AGAIN)

    assert [(one.due_at, one.answer.at) for one in first.sayings] == [(FIRST + LATE, FIRST + LATE)]
    assert [(one.due_at, one.answer) for one in again.sayings] == [(AGAIN + LATE, first.sayings[0].answer)]
    assert again.sayings[0].answer.as_event("north") == first.sayings[0].answer.as_event("north")


def test_a_rejected_recall_has_a_reason_and_a_contradiction_comes_second() -> None:
    """The reason stays the same for the same message."""
    rejected = react(Behaviour(reject=1), RECALL, attempt=1, first_at=FIRST, now=FIRST).sayings[0].answer
    again = react(Behaviour(reject=1), RECALL, attempt=2, first_at=FIRST, now=AGAIN).sayings[0].answer
    contrary = Behaviour(faults=frozenset({Fault.CONTRADICTS}))
    kinds = [
        react(contrary, RECALL, attempt=attempt, first_at=FIRST, now=AGAIN).sayings[0].answer.kind
        for attempt in (1, 2)
    ]

    assert (rejected.kind, rejected.reason in REASONS, again) == (Kind.REJECTED, True, rejected)
    assert kinds == [Kind.ACKNOWLEDGED, Kind.REJECTED]


def test_a_share_is_about_that_share_and_the_same_for_the_same_seed() -> None:
    """Of a thousand messages some three hundred; another seed chooses others."""
    letters = [Letter(f"r{number}", RECALL.type, "north", "p", "a") for number in range(1_000)]

    def silent(seed: int) -> list[int]:
        behaviour = Behaviour(seed=seed, silent=0.3)
        reactions = (react(behaviour, one, attempt=1, first_at=FIRST, now=FIRST) for one in letters)
        return [number for number, reaction in enumerate(reactions) if not reaction.sayings]

    assert 250 < len(silent(1)) < 350
    assert silent(1) == silent(1)
    assert silent(1) != silent(2)


def test_a_refused_delivery_may_be_taken_the_next_time() -> None:
    """Each delivery has a chance of its own, or nothing that was refused once would ever arrive."""
    busy = Behaviour(refuse=0.5)

    refused = {refuses(busy, RECALL, attempt=attempt) for attempt in range(1, 20)}

    assert refused == {True, False}


def test_shuffled_answers_pass_each_other_within_a_bound() -> None:
    """They are due in another order than that in which their messages came."""
    shuffled = Behaviour(shuffle=True)
    letters = [Letter(f"r{number}", RECALL.type, "north", "p", "a") for number in range(20)]

    due = [react(shuffled, one, attempt=1, first_at=FIRST, now=FIRST).sayings[0].due_at for one in letters]

    assert due != sorted(due)
    assert all(FIRST <= one < FIRST + SHUFFLE_MAX for one in due)
