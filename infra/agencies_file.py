"""The file of agencies (TOML) to `Agency` values; an unknown key is an error that names it.

`AgenciesFile.now` is asked wherever an agency's entry is needed, and reads the file again when it has changed, or a
file with a secret that it names: so an agency is added, or a secret rotated, without a restart. What was changed
for the worse is not taken over.
"""

from __future__ import annotations

import base64
import os
import re
import threading
import time as clock
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from domain.agency import (
    Agencies,
    Agency,
    ChannelKind,
    Desk,
    FileDrop,
    FileFormat,
    Holdings,
    QuietHours,
    Secret,
    SftpServer,
    WebhookTarget,
)
from infra.timezones import ZoneName

LOOK_SECONDS = 1.0
"""Between looks at whether the file has changed."""

SECRETS_MAX = 2
"""Active at the same time: the old and the new one, while a secret is rotated."""

AgencyId = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
Words = Annotated[str, StringConstraints(max_length=200)]
SecretPlace = Annotated[str, StringConstraints(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$")]
"""Where a secret is: `env:NAME` or `file:PATH`. The file of agencies itself holds none."""

Minutes = Annotated[float, Field(gt=0, le=100_000)]


class AgenciesError(Exception):
    """The file of agencies is at fault; the message names the key and what it may be."""


def _https(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or parts.fragment:
        raise ValueError("must be like https://host/path, without a user, a password or a fragment")
    if not re.fullmatch("[!-~]+", value) or parts.port == 0:  # A port that is no number raises ValueError itself.
        raise ValueError("must be in ASCII without spaces (%20, xn--..), and a port must be one of 1 to 65535")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _QuietHours(_Section):
    begins: time
    ends: time
    timezone: ZoneName = "UTC"

    @model_validator(mode="after")
    def _not_always(self) -> Self:
        if self.begins == self.ends or self.begins.tzinfo or self.ends.tzinfo:
            raise ValueError("begins and ends must be two times of day, like 20:00 and 08:00")
        return self


class _Webhook(_Section):
    url: Annotated[str, AfterValidator(_https)]
    secrets: Annotated[tuple[SecretPlace, ...], Field(min_length=1, max_length=SECRETS_MAX)]
    private_hosts: frozenset[str] = frozenset()
    ca_file: str = ""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0
    answer_max_bytes: Annotated[int, Field(ge=0, le=2**20)] = 65_536


class _Sftp(_Section):
    host: Annotated[str, StringConstraints(min_length=1)]
    username: Annotated[str, StringConstraints(min_length=1)]
    host_key: Annotated[str, StringConstraints(pattern=r"^[a-z0-9@.-]+ [A-Za-z0-9+/=]+$")]
    port: Annotated[int, Field(ge=1, le=65_535)] = 22
    password: SecretPlace | None = None
    key_file: str = ""

    @model_validator(mode="after")
    def _one_proof(self) -> Self:
        if (self.password is None) == (not self.key_file):
            raise ValueError("give either password or key_file")
        return self


class _File(_Section):
    folder: Annotated[str, StringConstraints(min_length=1)]
    format: FileFormat = FileFormat.NDJSON
    every_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30.0
    sftp: _Sftp | None = None


class _Holdings(_Section):
    format: FileFormat = FileFormat.CSV
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    encoding: Literal["utf-8", "utf-8-sig", "windows-1251"] = "utf-8"
    placement_id: Annotated[str, StringConstraints(min_length=1)] = "placement_id"
    outstanding: str = "outstanding"
    currency: str = ""
    account_id: str = ""
    debt_id: str = ""
    in_minor_units: bool = True
    default_currency: Annotated[str, StringConstraints(pattern=r"^([A-Z]{3})?$")] = ""


class _Agency(_Section):
    name: Words = ""
    channel: ChannelKind = ChannelKind.KAFKA
    second_channel: ChannelKind | None = None
    acknowledge_within_minutes: Minutes | None = None
    escalate_after_minutes: Minutes | None = None
    quiet_hours: _QuietHours | None = None
    escalation_contact: Words = ""
    rate_per_second: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 50
    at_once: Annotated[int, Field(strict=True, ge=1, le=64)] = 4
    sources: frozenset[Annotated[str, StringConstraints(min_length=1, max_length=1_024)]] = frozenset()
    callback_secrets: Annotated[tuple[SecretPlace, ...], Field(max_length=SECRETS_MAX)] = ()
    webhook: _Webhook | None = None
    file: _File | None = None
    holdings: _Holdings = _Holdings()

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.second_channel is self.channel:
            raise ValueError("second_channel must be another way than channel")
        for kind, section in ((ChannelKind.WEBHOOK, self.webhook), (ChannelKind.FILE, self.file)):
            if kind in {self.channel, self.second_channel} and section is None:
                raise ValueError(f"a section [agency.<id>.{kind}] must say how it is reached")
        return self


class _Root(_Section):
    agency: dict[AgencyId, _Agency] = {}

    @field_validator("agency")
    @classmethod
    def _one_speaker(cls, value: dict[str, _Agency]) -> dict[str, _Agency]:
        speakers: dict[str, str] = {}
        for agency_id, one in value.items():
            for source in one.sources:
                other = speakers.setdefault(source, agency_id)
                if other != agency_id:
                    raise ValueError(f"{agency_id} and {other} can't both speak by the source {source}")
        return value


class AgenciesFile:
    """The file of agencies, as it is now. Without a path there are none."""

    def __init__(
        self,
        path: Path | None,
        *,
        changed: Callable[[Agencies], None] = lambda _: None,
        refused: Callable[[AgenciesError], None] = lambda _: None,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        """`changed` is told of a new file, `refused` of what is wrong with one, once.

        Raises AgenciesError where it is wrong from the start.
        """
        self._path = path
        self._changed = changed
        self._refused = refused
        self._monotonic = monotonic
        self._lock = threading.Lock()
        places = _Places(os.environ)
        self._agencies: Agencies = _read(path, places)
        self._stamps = places.stamps
        self._wrong = ""
        """What was refused last: nothing says when that is mended, so it is read at each look until it is right."""
        self._look_at = monotonic() + LOOK_SECONDS

    def now(self) -> Agencies:
        """The agencies; where the file has become wrong, those of before."""
        if self._path is None or self._monotonic() < self._look_at:
            return self._agencies
        with self._lock:
            self._look_at = self._monotonic() + LOOK_SECONDS
            if self._wrong or any(_stamp(path) != stamp for path, stamp in self._stamps.items()):
                self._read_again()
            return self._agencies

    def _read_again(self) -> None:
        places = _Places(os.environ)
        try:
            self._agencies = _read(self._path, places)
        except AgenciesError as why:
            if str(why) != self._wrong:
                self._wrong = str(why)
                self._refused(why)
        else:
            self._stamps, self._wrong = places.stamps, ""
            self._changed(self._agencies)


Stamp = tuple[int, int, int] | None
"""Another one when a file is another; None where there is none."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where secrets are; and each file that was read, as it was just before that."""

    environment: Mapping[str, str]
    stamps: dict[Path, Stamp] = field(default_factory=dict)


def read_agencies(path: Path | None, environment: Mapping[str, str] = os.environ) -> Agencies:
    """The agencies in a file; none where there is no file. Raises AgenciesError."""
    return _read(path, _Places(environment))


def _read(path: Path | None, places: _Places) -> Agencies:
    if path is None:
        return {}
    places.stamps[path] = _stamp(path)
    try:
        text = path.read_bytes().decode()
        read = _Root.model_validate(tomllib.loads(text))
    except OSError as why:
        raise AgenciesError(f"the file of agencies {path} can't be read: {why.strerror}") from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise AgenciesError(f"{path} is not TOML: {why}") from why
    except ValidationError as why:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in why.errors())
        raise AgenciesError(f"{path}: {problems}") from why
    return {agency_id: _agency(agency_id, one, places) for agency_id, one in read.agency.items()}


def _stamp(path: Path) -> Stamp:
    try:
        seen = path.stat()
    except OSError:
        return None
    return (seen.st_mtime_ns, seen.st_size, seen.st_ino)


def _agency(agency_id: str, read: _Agency, places: _Places) -> Agency:
    def secrets(named_places: tuple[str, ...], key: str) -> tuple[Secret, ...]:
        named = f"agency.{agency_id}.{key}"
        return tuple(_signing(_secret(place, named, places), named) for place in named_places)

    webhook = file = None
    if read.webhook is not None:
        webhook = WebhookTarget(
            **{**dict(read.webhook), "secrets": secrets(read.webhook.secrets, "webhook.secrets")}
        )
    if read.file is not None:
        sftp = _sftp(agency_id, read.file.sftp, places) if read.file.sftp else None
        file = FileDrop(**{**dict(read.file), "sftp": sftp})
    return Agency(
        agency_id=agency_id,
        name=read.name or agency_id,
        channel=read.channel,
        second_channel=read.second_channel,
        desk=Desk(
            _minutes(read.acknowledge_within_minutes),
            _minutes(read.escalate_after_minutes),
            _quiet(read.quiet_hours),
        ),
        escalation_contact=read.escalation_contact,
        rate_per_second=read.rate_per_second,
        at_once=read.at_once,
        sources=read.sources,
        callback_secrets=secrets(read.callback_secrets, "callback_secrets"),
        webhook=webhook,
        file=file,
        holdings=Holdings(**dict(read.holdings)),
    )


def _sftp(agency_id: str, read: _Sftp, places: _Places) -> SftpServer:
    key = f"agency.{agency_id}.file.sftp.password"
    password = _secret(read.password, key, places) if read.password else None
    return SftpServer(**{**dict(read), "password": password})


def _quiet(read: _QuietHours | None) -> QuietHours | None:
    return QuietHours(read.begins, read.ends, ZoneInfo(read.timezone)) if read else None


def _minutes(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(minutes=number)


def _secret(place: str, key: str, places: _Places) -> Secret:
    """A secret from where its place says. Raises AgenciesError, which never shows it."""
    kind, _, name = place.partition(":")
    if kind == "env":
        text = places.environment.get(name, "")
    else:
        places.stamps[Path(name)] = _stamp(Path(name))
        try:
            text = Path(name).read_text().strip()
        except (OSError, UnicodeDecodeError) as why:
            raise AgenciesError(f"{key}: {place} can't be read") from why
    if not text:
        raise AgenciesError(f"{key}: {place} is empty")
    return Secret(text.encode(), place)


def _signing(secret: Secret, key: str) -> Secret:
    """A secret by which messages are signed, if it can be one. Raises AgenciesError, which never shows it."""
    coded = secret.value.removeprefix(b"whsec_")
    if coded != secret.value:
        try:
            decoded = base64.b64decode(coded + b"=" * (-len(coded) % 4), validate=True)
        except ValueError:
            decoded = b""
        if not decoded:
            raise AgenciesError(f"{key}: what {secret.place} has after whsec_ must be base64")
    return secret
