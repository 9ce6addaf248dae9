"""Who looks at the clocks of recalls, for tests that say what time it is.

Used by the tests of `sweep` and of the deadlines themselves.
"""

from __future__ import annotations

from datetime import datetime

from consumers.deadlines import Deadlines
from domain.agency import Agencies
from domain.policy import Policy
from infra import logs
from infra.metrics import Metrics
from infra.postgres.contacts import Contacts
from infra.postgres.database import Database
from infra.postgres.deadlines import DeadlineStore
from tests.builders import LENIENT


def clocks(
    database: Database,
    now: datetime,
    policy: Policy = LENIENT,
    metrics: Metrics | None = None,
    agencies: Agencies | None = None,
) -> Deadlines:
    """A look at this instant."""
    return Deadlines(
        store=DeadlineStore(database),
        contacts=Contacts(database),
        rules=lambda: policy,
        agencies=lambda: agencies or {},
        now=lambda: now,
        metrics=metrics or Metrics(),
        log=logs.configure(role="test", level="CRITICAL"),
    )
