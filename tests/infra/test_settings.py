"""Settings: where they come from, which wins, and that every mistake is named without telling a secret."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from domain.access import Scope, scopes_by_value
from infra.settings import Settings, SettingsError, read_settings

SECRET = "s3cret"  # noqa: S105 # What must not be told.


@pytest.fixture
def set_to(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without a setting of ours, to be filled."""

    for name in os.environ:
        if name.startswith("GUARD_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.usefixtures("set_to")
def test_without_any_the_defaults_are_in_force() -> None:
    """No address is made up."""
    settings = read_settings()

    assert (settings.database_url, settings.kafka_bootstrap_servers, settings.kafka_group) == (
        None,
        "",
        "handoff-guard",
    )


def test_the_environment_wins_over_the_file_and_the_file_over_the_default(
    set_to: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each name by itself."""
    file = tmp_path / "guard.toml"
    file.write_text('kafka_group = "of-the-file"\nsweep_seconds = 7.5\n')
    set_to.setenv("GUARD_SETTINGS_FILE", str(file))
    set_to.setenv("GUARD_KAFKA_GROUP", "of-the-environment")

    settings = read_settings()

    assert (settings.kafka_group, settings.sweep_seconds, settings.log_level) == (
        "of-the-environment",
        7.5,
        "INFO",
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("GUARD_KAFKA_BOOTSTRAP", "b:9092", "unknown setting GUARD_KAFKA_BOOTSTRAP"),
        ("GUARD_METRICS_PORT", "many", "GUARD_METRICS_PORT: "),
        ("GUARD_CONSOLE_URL", "guard.example", "GUARD_CONSOLE_URL: "),
        ("GUARD_CONSOLE_OIDC_ISSUER", "http://id.example", "GUARD_CONSOLE_OIDC_ISSUER: "),
        ("GUARD_CONSOLE_OIDC_SCOPES", "support", "GUARD_CONSOLE_OIDC_SCOPES: 'support' is not VALUE=SCOPE"),
        ("GUARD_CONSOLE_OIDC_SCOPES", "a=events", "GUARD_CONSOLE_OIDC_SCOPES: 'a' gives events"),
        ("GUARD_CONSOLE_OIDC_SCOPES", "a=operate", "GUARD_CONSOLE_OIDC_SCOPES: 'a' does not give read"),
        ("GUARD_CONSOLE_OIDC_SCOPES", "a=read;a=read", "GUARD_CONSOLE_OIDC_SCOPES: 'a' stands twice"),
        (
            "GUARD_CONSOLE_OIDC_CLIENT_ID",
            "c",
            "GUARD_CONSOLE_OIDC_ISSUER, GUARD_CONSOLE_OIDC_SCOPES, GUARD_CONSOLE_URL: needed",
        ),
        ("GUARD_METRICS_PORT", "70000", "GUARD_METRICS_PORT: "),
        ("GUARD_LOG_LEVEL", "LOUD", "GUARD_LOG_LEVEL: "),
        ("GUARD_SWEEP_SECONDS", "0", "GUARD_SWEEP_SECONDS: "),
        ("GUARD_SETTINGS_FILE", "/nowhere.toml", "GUARD_SETTINGS_FILE names /nowhere.toml"),
    ],
)
def test_a_wrong_one_is_named(set_to: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """Unknown, of another type, or out of bounds."""
    set_to.setenv(name, value)

    with pytest.raises(SettingsError) as refused:
        read_settings()

    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('kafka_groop = "g"', "GUARD_KAFKA_GROOP: "),
        ('metrics_port = "many"', "GUARD_METRICS_PORT: "),
        ("metrics_port = [1]", "GUARD_METRICS_PORT: "),
        ("metrics_port", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_a_wrong_one_in_the_file_is_named(
    set_to: pytest.MonkeyPatch, tmp_path: Path, text: str | bytes, message: str
) -> None:
    """By the name that it has as a variable."""
    file = tmp_path / "guard.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    set_to.setenv("GUARD_SETTINGS_FILE", str(file))

    with pytest.raises(SettingsError) as refused:
        read_settings()

    assert message in str(refused.value)


def test_no_message_tells_a_secret(set_to: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the error about another setting, nor the one about the secret itself, nor the settings shown."""
    file = tmp_path / "guard.toml"
    file.write_text(f'kafka_sasl_password = ["{SECRET}"]\n')
    set_to.setenv("GUARD_DATABASE_URL", f"postgresql://guard:{SECRET}@db/guard")
    shown = repr(read_settings()) + str(Settings())
    set_to.setenv("GUARD_SETTINGS_FILE", str(file))
    set_to.setenv("GUARD_METRICS_PORT", "many")

    with pytest.raises(SettingsError) as refused:
        read_settings()

    assert "GUARD_KAFKA_SASL_PASSWORD: " in str(refused.value)
    assert SECRET not in shown + str(refused.value)


@pytest.mark.parametrize("name", ["GUARD_TEST_PARTS", "GUARD_CACHE_FOLDER"])
def test_names_that_are_read_elsewhere_are_no_mistake(set_to: pytest.MonkeyPatch, name: str) -> None:
    """Those of the tests and of the embedded servers."""
    set_to.setenv(name, "x")

    assert read_settings() == Settings()


def test_a_provider_has_all_that_it_needs(set_to: pytest.MonkeyPatch) -> None:
    """And a console that browsers reach by TLS, or on this machine."""
    whole = {
        "GUARD_CONSOLE_OIDC_ISSUER": "https://id.example/realms/main",
        "GUARD_CONSOLE_OIDC_CLIENT_ID": "guard",
        "GUARD_CONSOLE_OIDC_CLIENT_SECRET": SECRET,
        "GUARD_CONSOLE_OIDC_SCOPES": "cn=support,ou=c=read; oncall = read, operate",
        "GUARD_CONSOLE_URL": "http://guard.example",
    }
    for name, value in whole.items():
        set_to.setenv(name, value)
    with pytest.raises(SettingsError, match=r"GUARD_CONSOLE_URL: must begin with https") as why:
        read_settings()
    assert SECRET not in str(why.value)

    for url in ("https://guard.example", "http://localhost:8080"):
        set_to.setenv("GUARD_CONSOLE_URL", url)
        assert scopes_by_value(read_settings().console_oidc_scopes) == {
            "cn=support,ou=c": {Scope.READ},
            "oncall": {Scope.READ, Scope.OPERATE},
        }
