"""An agency as the creditor's file describes it: how it is reached, how long it has, when its desk is closed.

Read from a TOML file by `infra.agencies_file`; handed to whoever delivers, judges deadlines, or takes the agency's
own events. An agency that the file does not name is reached by Kafka, under the policy's deadline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from enum import StrEnum


class ChannelKind(StrEnum):
    """The ways to reach an agency."""

    KAFKA = "kafka"
    WEBHOOK = "webhook"
    FILE = "file"


class FileFormat(StrEnum):
    """What a dropped file, or a list of holdings, is written in."""

    CSV = "csv"
    NDJSON = "ndjson"


@dataclass(frozen=True, slots=True)
class QuietHours:
    """When an agency's desk is closed each day, from one time of its day to another; may span midnight."""

    begins: time
    ends: time
    timezone: tzinfo = UTC

    def closing_after(self, at: datetime) -> datetime:
        """When the desk next closes, at this instant or later; `at` itself where it is closed then."""
        local = at.astimezone(self.timezone)
        now = local.time()
        inside = (
            self.begins <= now < self.ends if self.begins < self.ends else now >= self.begins or now < self.ends
        )
        return at if inside else self._next(self.begins, local)

    def opening_after(self, at: datetime) -> datetime:
        """When the desk next opens, after this instant."""
        return self._next(self.ends, at.astimezone(self.timezone))

    def _next(self, clock: time, local: datetime) -> datetime:
        day = local.date() if local.time() < clock else local.date() + timedelta(days=1)
        return datetime.combine(day, clock, tzinfo=self.timezone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Desk:
    """The people who answer recalls: how long they have, in hours in which they are there.

    None for `acknowledge_within` and `escalate_after` stands for what the policy says.
    """

    acknowledge_within: timedelta | None = None
    escalate_after: timedelta | None = None
    quiet: QuietHours | None = None

    def deadline(self, since: datetime, within: timedelta) -> datetime:
        """When so much time has passed in which the desk is open."""
        if self.quiet is None:
            return since + within
        at, left = since, within
        while True:
            closes = self.quiet.closing_after(at)
            if at + left <= closes and closes > at:
                return at + left
            left -= closes - at
            at = self.quiet.opening_after(closes)


@dataclass(frozen=True, slots=True)
class Secret:
    """Something that is never shown: where it is printed, its place is."""

    value: bytes = field(repr=False)
    place: str = ""


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """An https address that takes one message a call, signed (Standard Webhooks) with each active secret."""

    url: str
    secrets: tuple[Secret, ...]
    private_hosts: frozenset[str] = frozenset()
    """Host names that may have addresses which are not public."""
    ca_file: str = ""
    """Who vouches for the address; empty for the system's authorities."""
    timeout_seconds: float = 10.0
    answer_max_bytes: int = 65_536


@dataclass(frozen=True, slots=True)
class SftpServer:
    """A host that takes files over SFTP. `host_key` is its public key, as in `known_hosts`; no other will do."""

    host: str
    username: str
    host_key: str
    port: int = 22
    password: Secret | None = None
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class FileDrop:
    """A folder, here or on an SFTP server, in which whole files appear; acknowledgements lie in `answers` in it."""

    folder: str
    format: FileFormat = FileFormat.NDJSON
    every_seconds: float = 30.0
    """Between files, and between looks for answers."""
    sftp: SftpServer | None = None


@dataclass(frozen=True, slots=True)
class Holdings:
    """How the list of what an agency says it holds is written: the name of each column, '' where there is none."""

    format: FileFormat = FileFormat.CSV
    delimiter: str = ","
    encoding: str = "utf-8"
    placement_id: str = "placement_id"
    outstanding: str = "outstanding"
    currency: str = ""
    account_id: str = ""
    debt_id: str = ""
    in_minor_units: bool = True
    """False: amounts have a decimal point or comma, in units of the currency."""
    default_currency: str = ""
    """Of every amount, where no column says."""


@dataclass(frozen=True, slots=True)
class Agency:
    """One agency. `channel` is the first way to it; `second_channel` is for when it does not answer there."""

    agency_id: str
    name: str = ""
    channel: ChannelKind = ChannelKind.KAFKA
    second_channel: ChannelKind | None = None
    desk: Desk = Desk()
    escalation_contact: str = ""
    rate_per_second: int = 50
    """Messages a second that it is sent at most."""
    at_once: int = 4
    """Messages that are on their way to it at the same time at most."""
    sources: frozenset[str] = frozenset()
    """The CloudEvents sources by which it speaks; none: they are not checked."""
    callback_secrets: tuple[Secret, ...] = ()
    """Those by which it may sign its call-backs; none: it may make none."""
    webhook: WebhookTarget | None = None
    file: FileDrop | None = None
    holdings: Holdings = Holdings()

    @property
    def channels(self) -> tuple[ChannelKind, ...]:
        """Every way to it, the first one first."""
        return (self.channel,) if self.second_channel is None else (self.channel, self.second_channel)


Agencies = Mapping[str, Agency]
"""The agencies of the file, by their id."""


def agency_of(agencies: Agencies, agency_id: str) -> Agency:
    """An agency by its id; one that the file does not name is reached by Kafka."""
    return agencies.get(agency_id) or Agency(agency_id, name=agency_id)


def speakers_of(agencies: Agencies) -> Mapping[str, str]:
    """Which agency speaks by a CloudEvents source, of those that the file gives to one."""
    return {source: one.agency_id for one in agencies.values() for source in one.sources}
