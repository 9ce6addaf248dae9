"""What the console's pages work with: who is signed in, the record of what they do, and what tells and acts.

Built by `consumers.compose`, used by the pages beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import TYPE_CHECKING, TypeVar

import anyio

from consumers.api.threads import Threads
from consumers.console.live import Live
from consumers.gate import Gate
from consumers.orders import Orders
from consumers.requeue import Requeue
from consumers.teller import Teller
from domain.access import Scope
from domain.agency import Agencies
from domain.policy import Policy
from infra.logs import Logger
from infra.postgres.agency_figures import AgencyFigures
from infra.postgres.deliveries import Deliveries
from infra.postgres.history import History
from infra.postgres.holdings import Reconciliations
from infra.postgres.quarantine import Quarantine
from infra.postgres.recall_life import RecallLives
from infra.postgres.recalls import Recalls
from infra.postgres.records import Act, Record, Records
from infra.postgres.sessions import Session, Sessions

CONSOLE_READS_AT_ONCE_MAX = 3
"""Pages that are being read at a time, so that a connection is there for each beside those of the API's calls."""

SIGN_INS_AT_ONCE_MAX = 2
"""Calls of a provider at a time: one that hangs takes the thread of no page."""

if TYPE_CHECKING:
    from infra.oidc import Provider  # Only where one is set; it brings a client of its own.

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ConsoleWays:
    """How this console is reached: whether its cookies are for https alone, and in which zone its times are.

    `creditor` is who signs the page for a customer; empty where nobody is named.
    """

    is_https: bool
    timezone: tzinfo
    creditor: str = ""
    body_max_bytes: int = 16_384


@dataclass(frozen=True, slots=True)
class Door:
    """The way in by the creditor's provider: what it vouches for, and the scopes that this gives."""

    provider: Provider
    scopes: Mapping[str, frozenset[Scope]]
    waiting: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(SIGN_INS_AT_ONCE_MAX))


@dataclass(frozen=True, slots=True)
class Console:
    """One for all the pages of a process."""

    sessions: Sessions
    records: Records
    gate: Gate
    orders: Orders
    requeue: Requeue
    quarantine: Quarantine
    lives: RecallLives
    figures: AgencyFigures
    deliveries: Deliveries
    reconciliations: Reconciliations
    rules: Callable[[], Policy]
    agencies: Callable[[], Agencies]
    ways: ConsoleWays
    threads: Threads
    now: Callable[[], datetime]
    log: Logger
    live: Live
    teller: Teller
    history: History
    recalls: Recalls
    door: Door | None = None
    reading: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(CONSOLE_READS_AT_ONCE_MAX))

    async def call(self, call: Callable[[], T]) -> T:
        """Run a call in a thread, within the limit of an answer. Raises ProblemError, and OrderError as it is."""
        return await self.threads.run(call, self.reading)

    def record(
        self,
        session: Session,
        act: Act,
        *,
        account_id: str = "",
        target: str = "",
        reason: str = "",
        outcome: str = "",
    ) -> None:
        """Write down what somebody does, before they see what came of it. Called in a thread."""
        one = Record(self.now(), session.name, session.signed_by, act, account_id, target, reason, outcome)
        self.records.keep(one)
        self.log.info(
            "console.act",
            act=act,
            signed_by=session.signed_by,
            outcome=outcome,
        )
