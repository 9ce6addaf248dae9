"""What support is given to tell the customer: what is so, and no promise that nobody keeps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC

import pytest

from consumers.console.customer import Tell, in_words, what_to_tell
from consumers.console.words import Tongue, Words, texts
from consumers.story import Story, tell_story
from domain.events import RecallOrdered, RecallRejected
from domain.recall import recall_id_of
from tests.builders import ACCOUNT, LENIENT, acknowledged, closed, day, disputed, opened, paid, referred, withdrawn
from tests.histories import ALOUD, NOW, PAID_AND_PLACED, history, story

WITH_RISE = referred(principal=60_00, price_change=40_00)
OBJECTED = RecallRejected(ACCOUNT, recall_id_of(ACCOUNT, "l-1"), "l-1", day(4), "they say that it is not paid")
BY_HAND = RecallOrdered(ACCOUNT, "l-1", "promised by phone", "Vera", day(4))

ENGLISH = Words(Tongue.EN, UTC)


def taken_over() -> Story:
    """A person has taken the recall over before its deadline."""
    told = history(*PAID_AND_PLACED)
    recall = replace(told.recalls[0], taken_over_at=NOW, taken_over_by="Vera")
    return tell_story(replace(told, recalls=(recall,)), LENIENT, NOW)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (story(referred()), [Tell.OWED]),
        (story(referred(), opened()), [Tell.OWED_PLACED]),
        (story(referred(), opened(), closed()), [Tell.OWED]),
        (story(referred(), paid(at=day(4))), [Tell.NOTHING]),
        (story(*PAID_AND_PLACED, sent=False), [Tell.STOP_WAITING]),
        (story(*PAID_AND_PLACED), [Tell.STOP_TOLD]),
        (story(*PAID_AND_PLACED, now=day(4, 11)), [Tell.STOP_LATE]),
        (story(*PAID_AND_PLACED, sent=False, now=day(4, 11)), [Tell.STOP_LATE]),
        (taken_over(), [Tell.STOP_LATE]),
        (story(*PAID_AND_PLACED, OBJECTED), [Tell.STOP_REFUSED]),
        (story(*PAID_AND_PLACED, acknowledged()), [Tell.STOP_DONE]),
        (story(referred(), opened(), BY_HAND), [Tell.STOP_TOLD]),
        (story(WITH_RISE), [Tell.NOT_ANNOUNCED]),
        (story(WITH_RISE, opened()), [Tell.NOT_ANNOUNCED_PLACED]),
        (story(WITH_RISE, paid(at=day(4))), [Tell.NOTHING]),
        (story(WITH_RISE, opened(), paid(at=day(4))), [Tell.STOP_TOLD]),
        (story(referred(), disputed()), [Tell.DISPUTED]),
        (story(referred(), opened(), disputed()), [Tell.DISPUTED_PLACED]),
        (story(referred(), withdrawn(day(4))), [Tell.WITHDRAWN]),
        (story(referred(), opened(), closed(), withdrawn(day(4))), [Tell.WITHDRAWN]),
        (story(referred(), opened(), withdrawn(day(4))), [Tell.STOP_TOLD]),
        (story(referred(), opened(), withdrawn(day(4)), acknowledged()), [Tell.STOP_DONE]),
        (story(*PAID_AND_PLACED, referred("d-2")), [Tell.STOP_TOLD, Tell.OWED]),
        (tell_story(history(referred(), set_aside=[ALOUD]), LENIENT, NOW), [Tell.UNSURE]),
        (story(opened(), paid(at=day(4))), [Tell.UNSURE]),
    ],
)
def test_a_sentence_for_each_debt(told: Story, expected: list[Tell]) -> None:
    """By who has the debt and how far it is that they stop; else by what is owed, and why."""
    assert [one.tell for one in what_to_tell(told)] == expected


@pytest.mark.parametrize("tongue", Tongue)
def test_each_has_its_words(tongue: Tongue) -> None:
    """In either language."""
    assert [one for one in Tell if f"account.{one}" not in texts(tongue)] == []


def test_the_reason_comes_first_where_it_is_a_payment() -> None:
    """And where the collector stops for another reason the sentence begins with the collector."""
    settled = in_words(story(*PAID_AND_PLACED), ENGLISH)
    ordered = in_words(story(referred(), opened(), BY_HAND), ENGLISH)

    assert settled.startswith("Your payment of 6 Nov 2026")
    assert ordered.startswith("On 6 Nov 2026")


def test_several_debts_are_told_one_after_the_other() -> None:
    """The customer hears of the paid one and of the owed one."""
    told = in_words(story(*PAID_AND_PLACED, referred("d-2", 85_00)), ENGLISH)

    assert told.index("agency-1 to stop") < told.index("85.00 is owed")
