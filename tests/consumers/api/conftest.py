"""An API for each test, on the session's parts and a fresh database, by a clock that stands on day 3."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from infra.postgres.database import Database
from tests.parts import Parts
from tests.serving import Clock, Served, Ways, serving


@pytest.fixture
def clock() -> Clock:
    """Day 3."""
    return Clock()


@pytest.fixture
def served(parts: Parts, database: Database, caught_up: None, clock: Clock) -> Iterator[Served]:
    """An API with the usual limits."""
    with serving(parts, database, Ways(clock=clock)) as one:
        yield one


@pytest.fixture
def caller(served: Served) -> httpx2.Client:
    """Who may make every call of it."""
    return served.caller()
