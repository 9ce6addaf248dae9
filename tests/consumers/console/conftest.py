"""The console that most of its tests look at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from infra.postgres.database import Database
from tests.parts import Parts
from tests.serving import Served, serving


@pytest.fixture
def served(parts: Parts, database: Database, caught_up: None) -> Iterator[Served]:
    """An API with the console below it."""
    with serving(parts, database) as one:
        yield one
