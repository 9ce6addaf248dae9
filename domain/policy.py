"""The creditor's own rules: what may be placed, when a customer was told, which recalls are sent.

Read from a TOML file by `infra.policy_file`; handed to every decision. Every default is the contract's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class RecallRules:
    """Which reasons withdraw a placement, and how long the agency has to acknowledge."""

    on: frozenset[RecallReason] = frozenset(
        {
            RecallReason.DEBT_SETTLED,
            RecallReason.DEBT_WITHDRAWN,
            RecallReason.DISPUTE_UPHELD,
            RecallReason.PROTECTED_CUSTOMER,
        }
    )
    acknowledge_within: timedelta = timedelta(minutes=60)


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a creditor's rules; `sha256` is of the file's bytes, empty for the built-in defaults."""

    version: str = "built-in"
    sha256: str = ""
    debt: DebtRules = field(default_factory=DebtRules)
    notices: NoticeRules = field(default_factory=NoticeRules)
    protected_marks: frozenset[str] = frozenset({"bankrupt", "deceased", "minor", "incapable", "in_hospital"})
    timezone: tzinfo = UTC
    holidays: str = ""
    clearance_valid: timedelta = timedelta(minutes=15)
    wait_for_streams: timedelta = timedelta(seconds=2)
    recall: RecallRules = field(default_factory=RecallRules)
