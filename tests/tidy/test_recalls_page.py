"""The page on recalls is true: its states, times and orders are those of the code."""

from __future__ import annotations

import re

from consumers import deadlines
from domain.deadlines import PAUSE_MAX
from domain.recall import OVER, RecallStage
from tests.tidy import pages

PAGE = pages.page("docs/recalls.md")


def test_every_state_says_who_acts() -> None:
    """The states are the code's, in the order in which the later one wins; nobody acts where nothing is left."""
    told = pages.rows(PAGE, "States")

    assert [row[0] for row in told] == list(RecallStage)
    assert {row[0] for row in told if row[2] == "nobody"} == set(OVER)
    assert [row[0] for row in told if len(row) != 4 or not row[1].endswith(".")] == []


def test_the_states_are_those_of_the_database() -> None:
    """Each is one of the generated column's, where the later one stands first."""
    migration = pages.page("infra/postgres/migrations/versions/0006_agencies.py")
    column = migration.split("ADD COLUMN state text GENERATED")[1].split("STORED")[0]

    assert re.findall(r"(?:THEN|ELSE) '(\w+)'", column) == list(reversed(RecallStage))


def test_the_times_are_those_of_the_code() -> None:
    """How often the clocks are looked at, and how long the pauses become."""
    assert deadlines.LOOK_SECONDS == 2
    assert "every two seconds" in PAGE
    assert PAUSE_MAX.days == 1
    assert "up to a day" in PAGE
