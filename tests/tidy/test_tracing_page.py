"""The page on tracing has every attribute and every span that the code makes."""

from __future__ import annotations

import re

from domain.traces import ATTRIBUTES
from tests.tidy import pages

PAGE = pages.page("docs/tracing.md")


def _told(heading: str) -> set[str]:
    return {name for row in pages.section(PAGE, heading).splitlines() for name in _names(row)}


def _names(row: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", row.split("|")[1]) if row.startswith("| `") else []


def test_every_attribute_stands() -> None:
    """What a span may say is told, and nothing else is."""
    assert {f"guard.{name}" for name in ATTRIBUTES} == _told("What a span says")


def test_every_span_stands() -> None:
    """The names in the code are those of the page."""
    made = re.compile(r"\"((?:event|recall|balance|placement|message|clearance)\.[a-z]+)\"")
    modules = ("consumers/traced.py", "consumers/api/service.py")

    assert {name for module in modules for name in made.findall(pages.page(module))} == _told("The spans")
