"""Every setting, typed and documented: from `GUARD_*` environment variables, or a TOML file that they override.

Read where a process starts; an unknown setting is an error that names it.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX = "GUARD_"

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
    data_folder: Annotated[Path, Field(description="where `up` keeps the embedded servers' data")] = Path(".guard")
    up_ingest_workers: Annotated[int, Field(ge=1, le=64, description="ingest processes that `up` runs")] = 1
    log_level: Annotated[
        str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="the least grave lines that are logged")
    ] = "INFO"
    metrics_port: Annotated[int, Field(ge=0, le=65535, description="/metrics of this role; 0: not served")] = 0

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
            f"{PREFIX}{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}"
            for one in why.errors(include_input=False)
        )
        raise SettingsError(problems) from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise SettingsError(f"{file} is not TOML: {why}") from why
