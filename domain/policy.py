"""The creditor's own rules: what may be placed, when a customer was told, which recalls are sent.

Read from a TOML file by `infra.policy_file`; handed to every decision. Every default is the contract's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum

from domain.agency import Desk
from domain.calendar_days import Holidays
from domain.events import Channel, Component


class RecallReason(StrEnum):
    """Why a placement is withdrawn, in order of precedence."""

    DEBT_SETTLED = "DEBT_SETTLED"
    DEBT_WITHDRAWN = "DEBT_WITHDRAWN"
    PROTECTED_CUSTOMER = "PROTECTED_CUSTOMER"
    DISPUTE_UPHELD = "DISPUTE_UPHELD"
    BELOW_MINIMUM = "BELOW_MINIMUM"
    ONLY_CHARGES_LEFT = "ONLY_CHARGES_LEFT"
    MANUAL = "MANUAL"


class Days(StrEnum):
    """Which days the rules for notices count: all, or Monday to Friday without public holidays."""

    CALENDAR = "calendar"
    WORKING = "working"


@dataclass(frozen=True, slots=True)
class DebtRules:
    """What counts as a debt that may be placed. Amounts are in minor units of the debt's currency."""

    tolerance_minor: int = 100
    tolerance_percent: Decimal = Decimal(0)
    minimum_minor: int = 0
    limitation_days: int = 0
    snapshot_grace: timedelta = timedelta(hours=72)
    allocation: tuple[Component, ...] = (
        Component.PRINCIPAL,
        Component.PRICE_CHANGE,
        Component.FEE,
        Component.PENALTY,
    )
    only_charges_left_holds: bool = True


@dataclass(frozen=True, slots=True)
class NoticeRules:
    """What the customer must have been told, and how. `channels` None means those that the customer chose."""

    debt_reminders: int = 2
    days_since_last_reminder: int = 3
    placement_warning_days: int = 0
    price_change_days: int = 10
    channels: frozenset[Channel] | None = None
    days: Days = Days.CALENDAR


@dataclass(frozen=True, slots=True)
class RecallRules:
    """Which reasons withdraw a placement, how long the agency has to acknowledge, and what follows if not."""

    on: frozenset[RecallReason] = frozenset(
        {
            RecallReason.DEBT_SETTLED,
            RecallReason.DEBT_WITHDRAWN,
            RecallReason.DISPUTE_UPHELD,
            RecallReason.PROTECTED_CUSTOMER,
        }
    )
    acknowledge_within: timedelta = timedelta(minutes=60)
    escalate_after: timedelta = timedelta(minutes=60)
    """From the deadline that passed to the escalation; the recall is sent again at the first."""
    contact_grace: timedelta = timedelta(minutes=15)
    """How long after a recall was sent the agency may still speak to the customer: a call that was under way."""
    desks: Mapping[str, Desk] = field(default_factory=dict)
    """By agency id, of those that have a deadline or hours of their own."""

    def within(self, desk: Desk) -> timedelta:
        """How long a desk has to acknowledge a recall, in hours in which it is there."""
        return desk.acknowledge_within or self.acknowledge_within

    def acknowledge_by(self, agency_id: str, requested_at: datetime) -> datetime:
        """Until when an agency must have answered a recall."""
        desk = self.desks.get(agency_id, Desk())
        return desk.deadline(requested_at, self.within(desk))

    def escalate_at(self, agency_id: str, acknowledge_by: datetime) -> datetime:
        """When a recall that nobody answered becomes a matter for people."""
        desk = self.desks.get(agency_id, Desk())
        return desk.deadline(acknowledge_by, desk.escalate_after or self.escalate_after)


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a creditor's rules; `sha256` is of the file's bytes, empty for the built-in defaults."""

    version: str = "built-in"
    sha256: str = ""
    debt: DebtRules = field(default_factory=DebtRules)
    notices: NoticeRules = field(default_factory=NoticeRules)
    protected_marks: frozenset[str] = frozenset({"bankrupt", "deceased", "minor", "incapable", "in_hospital"})
    timezone: tzinfo = UTC
    holidays: Holidays = field(default_factory=Holidays)
    speakers: Mapping[str, str] = field(default_factory=dict)
    """The agency that speaks by a source of events, by the source; others have none of their own."""
    clearance_valid: timedelta = timedelta(minutes=15)
    wait_for_streams: timedelta = timedelta(seconds=2)
    recall: RecallRules = field(default_factory=RecallRules)
