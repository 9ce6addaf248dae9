"""The page on the console is true of its lists: the acts of the record, and how much is on a page."""

from __future__ import annotations

import inspect
import re
from typing import get_args

from consumers.console import account, agencies, quarantine, recalls, record, timeline
from infra.postgres import agency_figures, recall_life
from infra.postgres.records import Act
from tests.tidy import pages

PAGE = pages.page("docs/console.md")


def test_every_act_is_told() -> None:
    """In the order of the code."""
    assert list(Act) == pages.names(PAGE, "The record")


def test_the_filters_of_the_recalls_are_told() -> None:
    """Each that the address takes, with the values of the choice."""
    told = pages.rows(PAGE, "Recalls")

    assert [row[0] for row in told] == ["open", "state", "agency_id", "overdue", "cursor"]
    assert re.findall(r"`(\w+)`", told[0][1])[:3] == [recalls.OPEN, recalls.DONE, recalls.ALL]


def test_the_choices_of_a_timeline_are_told() -> None:
    """Each that the address of an account takes, with the orders."""
    told = pages.rows(PAGE, "Account")
    taken = {*inspect.signature(account.what_is_asked).parameters, "at"}

    assert {row[0] for row in told} == taken
    assert re.findall(r"`(\w+)`", told[1][1]) == [*get_args(timeline.Order)]


def test_how_much_is_shown_is_told() -> None:
    """The bounds of the pages are those of the code."""
    told = {
        "Account": (timeline.PAGE_LINES,),
        "Recalls": (recalls.PAGE_RECALLS, recall_life.SENDINGS_MAX, recall_life.ATTEMPTS_MAX),
        "Agencies": (agencies.PAGE_FINDINGS, agency_figures.ANSWERS_FOR.days, agency_figures.BREACHES_FOR.days),
        "The record": (record.PAGE_ACTS,),
        "Orders": (recalls.PAGE_RECALLS,),
    }

    for heading, numbers in told.items():
        said = set(map(int, re.findall(r"\b\d+\b", pages.section(PAGE, heading))))
        assert set(numbers) - said == set(), heading
    assert recall_life.SENDINGS_MAX == recall_life.CONTACTS_MAX == quarantine.PAGE_EVENTS
    assert recall_life.SIDE_MAX_BYTES == 4 * 1_024
