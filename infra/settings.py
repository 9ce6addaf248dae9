"""Every setting, typed and documented: from `GUARD_*` environment variables, or a TOML file that they override.

Read where a process starts; an unknown setting is an error that names it.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from domain.access import scopes_by_value

PREFIX = "GUARD_"

AT_HOME = r"http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Where nobody listens in."""

NOT_SETTINGS = frozenset({"GUARD_SETTINGS_FILE", "GUARD_CACHE_FOLDER"})
"""Names under our prefix that are read elsewhere; those of the tests begin with GUARD_TEST_."""


class SettingsError(Exception):
    """A setting is unknown or wrong; the message names it and what it may be."""


class Settings(BaseSettings):
    """What can be set. Each name is an environment variable with GUARD_ before it."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: Annotated[SecretStr | None, Field(description="PostgreSQL; none: an embedded one, with `up`")] = (
        None
    )
    kafka_bootstrap_servers: Annotated[
        str, Field(description="host:port, ..; none: an embedded one, with `up`")
    ] = ""
    kafka_security_protocol: Annotated[str, Field(description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL")] = (
        "PLAINTEXT"
    )
    kafka_sasl_mechanism: Annotated[str, Field(description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")] = ""
    kafka_sasl_username: Annotated[str, Field(description="our name at the broker")] = ""
    kafka_sasl_password: Annotated[SecretStr, Field(description="our password there")] = SecretStr("")
    kafka_ca_file: Annotated[str, Field(description="the certificate authority of the brokers")] = ""
    kafka_group: Annotated[str, Field(description="the consumer group that the ingest workers share")] = (
        "handoff-guard"
    )
    policy_file: Annotated[Path | None, Field(description="the creditor's policy; none: the defaults")] = None
    agencies_file: Annotated[
        Path | None, Field(description="the agencies and how each is reached; none: all by Kafka")
    ] = None
    creditor_name: Annotated[
        str, Field(max_length=200, description="the creditor as customers know it, for the page that they get")
    ] = ""
    data_folder: Annotated[Path, Field(description="where `up` keeps the embedded servers' data")] = Path(".guard")
    up_ingest_workers: Annotated[int, Field(ge=1, le=64, description="ingest processes that `up` runs")] = 1
    log_level: Annotated[
        str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="the least grave lines that are logged")
    ] = "INFO"
    tracing_endpoint: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^?#\s]+)?$",
            description="the collector of traces, which takes OTLP over HTTP; none: nothing is traced",
        ),
    ] = ""
    metrics_port: Annotated[
        int, Field(ge=0, le=65535, description="/metrics, /livez and /readyz of this role; 0: not served")
    ] = 0

    ingest_instance: Annotated[
        str,
        Field(
            description="a name that survives a restart of this worker: it then takes its partitions back at once"
        ),
    ] = ""
    ingest_batch_max_events: Annotated[int, Field(ge=1, le=10_000, description="events in one transaction")] = 2_000
    ingest_check_seconds: Annotated[float, Field(gt=0, description="between looks at the streams' identities")] = (
        5.0
    )
    ingest_stalled_seconds: Annotated[
        float, Field(gt=0, description="behind and not moving so long is not alive")
    ] = 60.0
    quarantine_run_max_events: Annotated[
        int, Field(ge=1, description="more bad events than this one after the other stop the stream")
    ] = 100
    quarantine_share_max_percent: Annotated[
        int, Field(ge=1, le=100, description="more bad events than this among the last 1,000 of a stream stop it")
    ] = 20

    api_host: Annotated[str, Field(description="the address that `api` listens on")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=1, le=65535, description="the port that `api` listens on")] = 8080
    api_tls_cert_file: Annotated[str, Field(description="its certificate; none: plain HTTP, behind a proxy")] = ""
    api_tls_key_file: Annotated[str, Field(description="the certificate's key")] = ""
    api_answer_max_seconds: Annotated[
        float, Field(gt=0, le=300, description="after this a call is answered that nothing can be said now")
    ] = 8.0
    api_database_max_seconds: Annotated[
        float, Field(gt=0, le=300, description="the most that a transaction of `api` may take")
    ] = 3.0
    api_request_max_bytes: Annotated[
        int, Field(ge=1_024, le=2**24, description="the largest body, or line of a batch")
    ] = 262_144
    api_batch_max_questions: Annotated[int, Field(ge=1, description="the most questions in one batch")] = 5_000_000
    api_rate_per_second: Annotated[
        int, Field(ge=0, description="calls a second of one key to one process; 0: any number")
    ] = 5_000
    api_questions_at_once_max: Annotated[
        int, Field(ge=1, le=10_000, description="questions that are answered in one transaction")
    ] = 500
    api_questions_waiting_max: Annotated[
        int, Field(ge=1, description="questions that may wait; more are told to come again")
    ] = 2_000
    console_url: Annotated[
        str,
        Field(
            pattern=r"^(https?://[^/?#\s]+)?$",
            description="the console's address as browsers have it, without a path; https: so are its cookies",
        ),
    ] = ""
    console_session_hours: Annotated[
        int, Field(ge=1, le=168, description="from signing in at the console to the end of the session")
    ] = 12
    console_idle_minutes: Annotated[
        int, Field(ge=2, le=1_440, description="without a page seen, a session ends after this")
    ] = 60
    console_oidc_issuer: Annotated[
        str,
        Field(
            pattern=rf"^((https://[^/?#\s]+|{AT_HOME})(/[^?#\s]*)?)?$",
            description="the provider (OpenID Connect) that people sign in through, beside keys; none: by key only",
        ),
    ] = ""
    console_oidc_client_id: Annotated[str, Field(max_length=500, description="the console's id there")] = ""
    console_oidc_client_secret: Annotated[
        SecretStr, Field(description="its secret there; none: it is a public client")
    ] = SecretStr("")
    console_oidc_claim: Annotated[
        str, Field(min_length=1, max_length=200, description="the claim of the ID token that says who may do what")
    ] = "groups"
    console_oidc_scopes: Annotated[
        str, Field(description="the scopes that its values give, as support=read;oncall=read,operate")
    ] = ""
    shadow: Annotated[
        bool, Field(description="answers and records as always, and marks that nobody has to keep to it")
    ] = False

    dispatch_batch_max_records: Annotated[int, Field(ge=1, le=10_000, description="records in one claim")] = 500
    dispatch_poll_seconds: Annotated[float, Field(gt=0, description="looks at the outbox without being woken")] = (
        1.0
    )
    sweep_seconds: Annotated[float, Field(gt=0, description="between sweeps")] = 60.0
    ledger_retention_days: Annotated[
        int, Field(ge=1, description="how long money of accounts that were never referred is kept")
    ] = 1_095
    outbox_retention_days: Annotated[int, Field(ge=1, description="how long published records are kept")] = 1_095
    ledger_parts: Annotated[
        int, Field(ge=0, le=1024, description="tables of the ledger, set once by `db upgrade`; 0: one plain table")
    ] = 16

    @field_validator("console_oidc_scopes")
    @classmethod
    def _scopes_can_be_read(cls, text: str) -> str:
        if text:
            scopes_by_value(text)
        return text

    @model_validator(mode="after")
    def _a_provider_is_whole(self) -> Settings:
        """With a part of its settings there would be no button, and nobody would know why."""
        needed = {
            "console_oidc_issuer": self.console_oidc_issuer,
            "console_oidc_client_id": self.console_oidc_client_id,
            "console_oidc_scopes": self.console_oidc_scopes,
            "console_url": self.console_url,
        }
        of_provider = {name for name in needed if name != "console_url"}
        is_wanted = any(needed[name] for name in of_provider) or self.console_oidc_client_secret.get_secret_value()
        missing = [f"{PREFIX}{name.upper()}" for name, value in needed.items() if not value]
        if is_wanted and missing:
            raise ValueError(f"{', '.join(missing)}: needed to sign in by a provider (GUARD_CONSOLE_OIDC_...)")
        if is_wanted and not re.fullmatch(rf"https://.*|{AT_HOME}", self.console_url):
            raise ValueError("GUARD_CONSOLE_URL: must begin with https:// where people sign in by a provider")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, then the file that GUARD_SETTINGS_FILE names."""
        named = os.environ.get("GUARD_SETTINGS_FILE")
        file = [TomlConfigSettingsSource(settings_cls, toml_file=Path(named))] if named else []
        return (init_settings, env_settings, *file)


def read_settings() -> Settings:
    """The settings in force. Raises SettingsError."""
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith(PREFIX)
        and not name.startswith("GUARD_TEST_")
        and name not in NOT_SETTINGS
        and name.removeprefix(PREFIX).lower() not in Settings.model_fields
    )
    if unknown:
        raise SettingsError(f"unknown setting {', '.join(unknown)}; the known ones are in docs/settings.md")
    file = os.environ.get("GUARD_SETTINGS_FILE")
    if file and not Path(file).is_file():
        raise SettingsError(f"GUARD_SETTINGS_FILE names {file}, which is no file")
    try:
        return Settings()
    except ValidationError as why:
        problems = "; ".join(
            ": ".join(filter(None, (_name(one["loc"]), one["msg"].removeprefix("Value error, "))))
            for one in why.errors(include_input=False)
        )
        raise SettingsError(problems) from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise SettingsError(f"{file} is not TOML: {why}") from why


def _name(place: tuple[int | str, ...]) -> str:
    """The name of a setting; nothing where more than one is concerned, which the message then names."""
    return f"{PREFIX}{'_'.join(map(str, place)).upper()}" if place else ""
