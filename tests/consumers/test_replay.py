"""A creditor's history through the rules: what would have been placed, held, refused and recalled."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterable, Sequence
from datetime import datetime
from hashlib import blake2b
from pathlib import Path

import pytest

from consumers.replay import UNNAMED_AGENCY, Report, replay
from domain.events import PlacementOpened
from domain.policy import Policy
from domain.recall import BalanceReduced, Message, RecallRequested
from infra.policy_file import parse_policy
from tests.builders import LENIENT, day

Data = dict[str, object]

REFERRED, PAID = "collections.debt.referred.v1", "billing.payment.settled.v1"
RETURNED, WITHDRAWN = "billing.payment.returned.v1", "collections.debt.withdrawn.v1"
CLOSED = "collections.placement.closed.v1"


def line(kind: str, at: datetime, data: Data, *, account_id: str = "a-1", event_id: str = "") -> bytes:
    """One event as a line of a file; its id follows from what it says, unless given."""
    content = {"account_id": account_id, **data}
    said = json.dumps([kind, at.isoformat(), content], sort_keys=True)
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event_id or blake2b(said.encode(), digest_size=8).hexdigest(),
            "source": "test",
            "type": kind,
            "time": at.isoformat(),
            "subject": account_id,
            "data": content,
        }
    ).encode()


def referral(
    on: int,
    amount: int = 100_00,
    *,
    debt_id: str = "d-1",
    account_id: str = "a-1",
    event_id: str = "",
    **more: object,
) -> bytes:
    """A debt stated as of the day before it is referred."""
    data: Data = {
        "debt_id": debt_id,
        "referral_id": f"r-{on}",
        "amount": amount,
        "currency": "RUB",
        "as_of": day(on - 1).isoformat(),
        "due_on": "2026-10-03",
        **more,
    }
    return line(REFERRED, day(on), data, account_id=account_id, event_id=event_id)


def payment(on: int, amount: int = 100_00, *, payment_id: str = "p-1", event_id: str = "") -> bytes:
    """A payment that is known on its day."""
    data: Data = {"payment_id": payment_id, "amount": amount, "currency": "RUB", "paid_at": day(on).isoformat()}
    return line(PAID, day(on), data, event_id=event_id)


def placed_and_told(lines: Iterable[bytes]) -> tuple[Report, list[PlacementOpened], list[Message]]:
    """The report of a replay with all that it would have placed and said."""
    placements: list[PlacementOpened] = []
    messages: list[Message] = []
    report = replay(lines, LENIENT, on_placement=placements.append, on_message=messages.append)
    return report, placements, messages


def expected_report(
    *,
    clear: int = 0,
    cleared_minor: int = 0,
    hold: dict[str, int] | None = None,
    refuse: dict[str, int] | None = None,
    recalled: dict[str, int] | None = None,
    reduced: int = 0,
    quarantined: int = 0,
    duplicates: int = 0,
) -> dict[str, object]:
    """A report under the contract's names; every question was answered."""
    return {
        "referred": clear + sum((hold or {}).values()) + sum((refuse or {}).values()),
        "clear": clear,
        "hold": hold or {},
        "refuse": refuse or {},
        "cleared_minor": cleared_minor,
        "recalled": recalled or {},
        "balance_reduced": reduced,
        "quarantined": quarantined,
        "duplicates": duplicates,
    }


ONE_CLEAR = expected_report(clear=1, cleared_minor=100_00)
SETTLED = {"DEBT_SETTLED": 1}
DISPUTED = line("customer.dispute.opened.v1", day(1), {"dispute_id": "q-1", "opened_at": day(1).isoformat()})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], expected_report()),
        ([b"", b"  \n"], expected_report()),
        ([referral(1)], ONE_CLEAR),
        ([referral(1), payment(2)], expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED)),
        ([payment(2), referral(1)], expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED)),
        ([referral(1), payment(1)], expected_report(refuse=SETTLED)),
        ([referral(3), payment(2, 30_00)], ONE_CLEAR),
        ([referral(3), payment(3, 30_00)], expected_report(clear=1, cleared_minor=70_00)),
        ([referral(1), payment(2, 30_00)], expected_report(clear=1, cleared_minor=100_00, reduced=1)),
        (
            [
                referral(1),
                payment(2),
                line(RETURNED, day(3), {"payment_id": "p-1", "returned_at": day(3).isoformat()}),
            ],
            expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED),
        ),
        (
            [referral(1), payment(2), payment(3, payment_id="p-2")],
            expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED),
        ),
        (
            [referral(1), payment(2, event_id="z"), referral(2, 50_00, as_of=day(2).isoformat())],
            expected_report(clear=1, cleared_minor=100_00, refuse={"ALREADY_PLACED": 1}, recalled=SETTLED),
        ),
        (
            [referral(1), line(WITHDRAWN, day(2), {"debt_id": "d-1"})],
            expected_report(clear=1, cleared_minor=100_00, recalled={"DEBT_WITHDRAWN": 1}),
        ),
        (
            [referral(1), referral(2, 90_00)],
            expected_report(clear=1, cleared_minor=100_00, refuse={"ALREADY_PLACED": 1}, reduced=1),
        ),
        ([DISPUTED, referral(1)], expected_report(hold={"DISPUTE_OPEN": 1})),
        ([DISPUTED, referral(1), payment(1)], expected_report(refuse=SETTLED)),
        (
            [referral(1), referral(1, account_id="a-2"), payment(2)],
            expected_report(clear=2, cleared_minor=200_00, recalled=SETTLED),
        ),
    ],
    ids=[
        "nothing",
        "empty lines",
        "clear",
        "paid after",
        "paid after, written down before",
        "paid at the instant of the question",
        "paid before as_of",
        "part paid before the question",
        "part paid after the placement",
        "paid and returned",
        "paid twice",
        "paid at the instant of another statement",
        "withdrawn",
        "referred twice",
        "disputed at the instant",
        "settled and disputed: the first reason",
        "two accounts",
    ],
)
def test_a_history_is_asked_placed_and_recalled(lines: Sequence[bytes], expected: dict[str, object]) -> None:
    """Each referral is asked at its time, placed where clear, and what follows is counted; any order of lines."""
    forwards, backwards = replay(lines, LENIENT), replay(list(reversed(lines)), LENIENT)

    assert expected == forwards.as_json()
    assert expected == backwards.as_json()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([payment(2), payment(2)], expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED, duplicates=1)),
        ([payment(2)] * 4, expected_report(clear=1, cleared_minor=100_00, recalled=SETTLED, duplicates=3)),
        (
            [payment(2, 30_00, event_id="e-1"), payment(2, 30_00, payment_id="p-2", event_id="e-1")],
            expected_report(hold={"ACCOUNT_QUARANTINED": 1}, quarantined=1),
        ),
        (
            [b'{"subject": "a-1", "data": {}}', b"not json"],
            expected_report(hold={"ACCOUNT_QUARANTINED": 1}, quarantined=2),
        ),
        ([b'{"subject": "a-2"}'], expected_report(clear=1, cleared_minor=100_00, quarantined=1)),
    ],
    ids=["twice", "four times", "a conflict", "a bad line of its account", "a bad line of another"],
)
def test_what_is_repeated_or_bad_is_counted(lines: Sequence[bytes], expected: dict[str, object]) -> None:
    """A duplicate changes nothing; a conflict or a bad line holds its account and no other."""
    assert expected == replay([referral(1), *lines], LENIENT).as_json()


def test_two_referrals_of_an_instant_are_asked_after_both_are_known() -> None:
    """A payment of the account goes to the older debt also where that is referred at the very same instant."""
    newer = referral(1, debt_id="d-1", event_id="e-1")
    older = referral(1, debt_id="d-2", event_id="e-2", due_on="2026-09-01")

    report, placements, messages = placed_and_told([newer, older, payment(1)])

    assert report.as_json() == expected_report(clear=1, cleared_minor=100_00, refuse=SETTLED)
    assert ([one.debt_id for one in placements], messages) == (["d-1"], [])


def test_a_placement_is_what_the_answer_allowed() -> None:
    """A clear debt is placed at once with its agency, for what is outstanding, and told as the rules say."""
    report, (placement,), messages = placed_and_told(
        [referral(1, agency_id="g-1"), payment(1, 30_00), payment(2, 70_00, payment_id="p-2")]
    )

    assert report.as_json() == expected_report(clear=1, cleared_minor=70_00, recalled=SETTLED)
    assert ("d-1", "g-1", 70_00, day(1)) == (
        placement.debt_id,
        placement.agency_id,
        placement.amount,
        placement.placed_at,
    )
    assert [(RecallRequested, placement, day(2))] == [
        (type(one), one.placement, one.requested_at) for one in messages if isinstance(one, RecallRequested)
    ]


def test_a_referral_without_an_agency_is_placed_with_an_unnamed_one() -> None:
    """Where collections names no agency the placement still has one."""
    _, (placement,), _ = placed_and_told([referral(1)])

    assert placement.agency_id == UNNAMED_AGENCY


def test_a_debt_that_comes_back_is_a_new_placement() -> None:
    """Closed and referred again, under the same referral id too, a debt gets a placement of its own."""
    first = referral(1)
    _, (placement,), _ = placed_and_told([first])
    ended = line(CLOSED, day(2), {"placement_id": placement.placement_id, "closed_at": day(2).isoformat()})

    report, placements, _ = placed_and_told([first, ended, referral(3, referral_id="r-1")])

    assert report.as_json() == expected_report(clear=2, cleared_minor=200_00)
    assert len({one.placement_id for one in placements}) == 2


def test_a_reduced_balance_is_told_once() -> None:
    """A part payment after the placement is told with what is left."""
    _, (placement,), messages = placed_and_told([referral(1), payment(2, 30_00)])

    assert [BalanceReduced(placement, 70_00, "RUB", day(2))] == messages


def test_the_report_is_told_to_people() -> None:
    """The report in words has a line for each figure and each reason."""
    bad = b"not json"
    report = replay([referral(1), referral(2, 90_00), payment(3), bad, payment(3)], LENIENT)

    assert [row.split() for row in report.in_words()] == [
        ["2", "debts", "referred"],
        ["1", "clear", "to", "place,", "10,000", "outstanding", "in", "minor", "units"],
        ["0", "held"],
        ["1", "refused"],
        ["1", "ALREADY_PLACED"],
        ["1", "recalled", "after", "placement"],
        ["1", "DEBT_SETTLED"],
        ["1", "balances", "reduced"],
        ["1", "events", "that", "can't", "be", "read,", "1", "duplicates"],
    ]


SAMPLE = "fines_sample.ndjson.gz"
SAMPLE_POLICY = b"""
[debt]
tolerance_minor = 0
only_charges_left = "place"
snapshot_grace_hours = 0
[notices]
debt_reminders = 0
"""
SAMPLE_REPORT = expected_report(
    clear=15_300,
    cleared_minor=156_789_801,
    hold={"DISPUTE_OPEN": 855},
    refuse={"DEBT_SETTLED": 80},
    recalled={"DEBT_SETTLED": 2_091},
    reduced=1_070,
)


@pytest.fixture(scope="module")
def sample() -> list[bytes]:
    """The lines of the real history, where this machine has it."""
    folder = os.environ.get("GUARD_TEST_DATA")
    if not folder:
        pytest.skip(f"GUARD_TEST_DATA does not name the folder of {SAMPLE}")
    file = Path(folder) / SAMPLE
    if not file.is_file():
        pytest.skip(f"GUARD_TEST_DATA names a folder without {SAMPLE}")
    return gzip.decompress(file.read_bytes()).splitlines()


@pytest.fixture(scope="module")
def sample_policy() -> Policy:
    """The policy under which the figures of the real history were counted independently."""
    return parse_policy(SAMPLE_POLICY)


def test_a_real_history_gives_the_figures_counted_independently(sample: list[bytes], sample_policy: Policy) -> None:
    """Sixteen thousand real debts are answered and recalled as an independent count says."""
    assert replay(sample, sample_policy).as_json() == SAMPLE_REPORT


def test_a_real_history_shuffled_and_doubled_gives_the_same(sample: list[bytes], sample_policy: Policy) -> None:
    """The same lines twice and in any order give the same figures, and as many duplicates as lines."""
    doubled = sample * 2
    random.Random(20261114).shuffle(doubled)

    assert replay(doubled, sample_policy).as_json() == {**SAMPLE_REPORT, "duplicates": len(sample)}
    assert len(sample) == 23_646
