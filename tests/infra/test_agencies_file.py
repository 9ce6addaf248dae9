"""The file of agencies: every entry typed, every mistake named, and a change taken over while it runs."""

from __future__ import annotations

import os
import tomllib
from datetime import time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

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
from infra.agencies_file import AgenciesError, AgenciesFile, read_agencies
from tests.tidy import pages

WHOLE = """
[agency.north]
name = "North Collections"
channel = "webhook"
second_channel = "file"
acknowledge_within_minutes = 30
escalate_after_minutes = 45
escalation_contact = "duty desk"
rate_per_second = 20
at_once = 2
sources = ["urn:north"]
callback_secrets = ["env:NORTH_CALLBACK"]
quiet_hours = {begins = "20:00:00", ends = "08:00:00", timezone = "Europe/Moscow"}

[agency.north.webhook]
url = "https://north.example/recalls"
secrets = ["env:NEW", "env:OLD"]
private_hosts = ["north.example"]
timeout_seconds = 5
answer_max_bytes = 1000

[agency.north.file]
folder = "in"
format = "csv"
every_seconds = 5
sftp = {host = "sftp.example", username = "guard", host_key = "ssh-ed25519 AAAA", password = "env:SFTP"}

[agency.north.holdings]
placement_id = "Case"
outstanding = "Balance"
in_minor_units = false
default_currency = "RUB"
"""

ENVIRONMENT = {"NORTH_CALLBACK": "c", "NEW": "n", "OLD": "o", "SFTP": "s", "BROKEN": "whsec_?", "NONE": "whsec_"}

WEBHOOK = '[agency.north.webhook]\nurl = "https://n.example/"\nsecrets = ["env:NEW"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "agencies.toml"


def test_an_entry_is_read_whole(path: Path) -> None:
    """With the secrets from where it says they are."""
    path.write_text(WHOLE)

    assert read_agencies(path, ENVIRONMENT) == {
        "north": Agency(
            agency_id="north",
            name="North Collections",
            channel=ChannelKind.WEBHOOK,
            second_channel=ChannelKind.FILE,
            desk=Desk(
                timedelta(minutes=30),
                timedelta(minutes=45),
                QuietHours(time(20), time(8), ZoneInfo("Europe/Moscow")),
            ),
            escalation_contact="duty desk",
            rate_per_second=20,
            at_once=2,
            sources=frozenset({"urn:north"}),
            callback_secrets=(Secret(b"c", "env:NORTH_CALLBACK"),),
            webhook=WebhookTarget(
                url="https://north.example/recalls",
                secrets=(Secret(b"n", "env:NEW"), Secret(b"o", "env:OLD")),
                private_hosts=frozenset({"north.example"}),
                timeout_seconds=5.0,
                answer_max_bytes=1000,
            ),
            file=FileDrop(
                folder="in",
                format=FileFormat.CSV,
                every_seconds=5.0,
                sftp=SftpServer(
                    host="sftp.example",
                    username="guard",
                    host_key="ssh-ed25519 AAAA",
                    password=Secret(b"s", "env:SFTP"),
                ),
            ),
            holdings=Holdings(
                placement_id="Case", outstanding="Balance", in_minor_units=False, default_currency="RUB"
            ),
        )
    }


def test_a_name_alone_is_an_entry(path: Path) -> None:
    """It is then reached by Kafka, under the policy's deadline; without a file there are no entries."""
    path.write_text("[agency.south]\n")

    assert read_agencies(path) == {"south": Agency("south", name="south")}
    assert read_agencies(None) == {}


def test_a_secret_is_not_shown(path: Path) -> None:
    """Wherever an agency is printed."""
    secret = path.with_name("secret")
    secret.write_text("whsec_dGVzdA==\n")
    path.write_text(f'[agency.north]\ncallback_secrets = ["file:{secret}"]\n')

    agency = read_agencies(path)["north"]

    assert agency.callback_secrets == (Secret(b"whsec_dGVzdA==", f"file:{secret}"),)
    assert "whsec" not in repr(agency)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[agency.north", "is not TOML"),
        ('[agency.north]\ncolour = "red"', "agency.north.colour: Extra inputs are not permitted"),
        ('[agency."no rth"]', "agency.no rth"),
        ('[agency.north]\nchannel = "fax"', "agency.north.channel: Input should be 'kafka', 'webhook' or 'file'"),
        (
            '[agency.north]\nchannel = "webhook"',
            "agency.north: Value error, a section [agency.<id>.webhook] must say",
        ),
        ('[agency.north]\nsecond_channel = "file"', "a section [agency.<id>.file] must say"),
        ('[agency.north]\nsecond_channel = "kafka"', "second_channel must be another way than channel"),
        ("[agency.north]\nrate_per_second = 0", "agency.north.rate_per_second"),
        ('[agency.north]\nquiet_hours = {begins = "20:00:00", ends = "20:00:00"}', "must be two times of day"),
        ('[agency.north]\nquiet_hours = {begins = "20:00:00", ends = "08:00:00", timezone = "Mars"}', "IANA"),
        ('[agency.north]\ncallback_secrets = ["whsec_dGVzdA=="]', "agency.north.callback_secrets.0"),
        (
            '[agency.north]\ncallback_secrets = ["env:NOWHERE"]',
            "agency.north.callback_secrets: env:NOWHERE is empty",
        ),
        ('[agency.north]\ncallback_secrets = ["file:/no/such"]', "file:/no/such can't be read"),
        (
            "[agency.north]\n" + WEBHOOK.replace("https", "http"),
            "agency.north.webhook.url: Value error, must be like",
        ),
        ("[agency.north]\n" + WEBHOOK.replace("//n", "//user@n"), "agency.north.webhook.url"),
        ("[agency.north]\n" + WEBHOOK.replace("example/", "example/a b"), "must be in ASCII without spaces"),
        ("[agency.north]\n" + WEBHOOK.replace("n.example", "север.example"), "must be in ASCII without spaces"),
        ("[agency.north]\n" + WEBHOOK.replace("example/", "example:0/"), "a port must be one of 1 to 65535"),
        (
            "[agency.north]\n" + WEBHOOK.replace("example/", "example:https/"),
            "agency.north.webhook.url: Value error, Port",
        ),
        ("[agency.north]\n" + WEBHOOK.replace("NEW", "BROKEN"), "env:BROKEN has after whsec_ must be base64"),
        ("[agency.north]\n" + WEBHOOK.replace("NEW", "NONE"), "env:NONE has after whsec_ must be base64"),
        ('[agency.north]\ncallback_secrets = ["env:BROKEN"]', "agency.north.callback_secrets: what env:BROKEN has"),
        ("[agency.north]\n" + WEBHOOK.replace('["env:NEW"]', "[]"), "agency.north.webhook.secrets"),
        ("[agency.north]\n" + WEBHOOK.replace('["env:NEW"]', '["env:A", "env:B", "env:C"]'), "at most 2"),
        ('[agency.north.file]\nfolder = "x"\nsftp = {host = "h", username = "u", host_key = "k"}', "host_key"),
        (
            '[agency.north.file]\nfolder = "x"\nsftp = {host = "h", username = "u", host_key = "ssh-rsa AA"}',
            "give either password or key_file",
        ),
        (
            '[agency.a]\nsources = ["urn:x"]\n[agency.b]\nsources = ["urn:x"]',
            "b and a can't both speak by the source urn:x",
        ),
    ],
)
def test_a_mistake_is_named(path: Path, text: str, says: str) -> None:
    """By its key, with what it may be."""
    path.write_text(text)

    with pytest.raises(AgenciesError) as caught:
        read_agencies(path, ENVIRONMENT)

    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(path: Path) -> None:
    """A house that has a file must not run as if it had none."""
    with pytest.raises(AgenciesError, match="can't be read"):
        AgenciesFile(path)


def test_a_change_is_taken_over_while_it_runs(path: Path) -> None:
    """Within a second, and a change for the worse not at all; both are told."""
    told: list[Agencies | str] = []
    clock = [0.0]
    path.write_text("[agency.north]\n")
    agencies = AgenciesFile(
        path,
        changed=told.append,
        refused=lambda why: told.append(str(why)),
        monotonic=lambda: clock[0],
    )

    def after_a_change(text: str) -> Agencies:
        path.write_text(text)
        os.utime(path, ns=(0, int(clock[0] * 1_000) + 1))
        clock[0] += 1.0
        return agencies.now()

    first = agencies.now()
    second = after_a_change("[agency.north]\n[agency.south]\n")
    third = after_a_change("[agency.north")
    path.unlink()
    clock[0] += 1.0
    fourth = agencies.now()

    assert list(first) == ["north"]
    assert list(second) == ["north", "south"]
    assert second is third is fourth
    assert told[0] is second
    assert [isinstance(one, str) for one in told] == [False, True, True]


def test_a_changed_secret_is_taken_over_while_it_runs(path: Path, tmp_path: Path) -> None:
    """The file that names it stays as it is; one that is gone is told of once, and read when it is back."""
    told: list[str] = []
    clock = [0.0]
    secret = tmp_path / "secret"
    secret.write_text("old")
    path.write_text(f'[agency.north]\ncallback_secrets = ["file:{secret}"]\n')
    agencies = AgenciesFile(
        path,
        changed=lambda _: told.append("changed"),
        refused=lambda why: told.append(str(why)),
        monotonic=lambda: clock[0],
    )

    def after_a_second() -> bytes:
        clock[0] += 1.0
        return agencies.now()["north"].callback_secrets[0].value

    first = after_a_second()
    secret.write_text("newer")
    second = after_a_second()
    secret.unlink()
    third = [after_a_second() for _ in range(3)]
    secret.write_text("newest")
    fourth = [after_a_second() for _ in range(2)]

    assert (first, second, third, fourth) == (b"old", b"newer", [b"newer"] * 3, [b"newest"] * 2)
    assert told == ["changed", f"agency.north.callback_secrets: file:{secret} can't be read", "changed"]


def test_what_was_refused_is_read_when_it_is_right(path: Path, tmp_path: Path) -> None:
    """Also where the file itself is not changed any more: its secret came after it."""
    clock = [0.0]
    path.write_text("[agency.north]\n")
    agencies = AgenciesFile(path, monotonic=lambda: clock[0])
    path.write_text(f'[agency.south]\ncallback_secrets = ["file:{tmp_path / "secret"}"]\n')

    def after_a_second() -> list[str]:
        clock[0] += 1.0
        return list(agencies.now())

    before = after_a_second()
    (tmp_path / "secret").write_text("here")

    assert (before, after_a_second()) == (["north"], ["south"])


def test_the_file_on_the_page_is_right(path: Path, tmp_path: Path) -> None:
    """What an operator copies from the documentation is taken."""
    text = pages.page("docs/agencies.md").split("```toml\n")[1].split("```")[0]
    for place in ("/run/secrets/north-new", "/run/secrets/north-old"):
        secret = tmp_path / Path(place).name
        secret.write_text("s")
        text = text.replace(place, str(secret))
    path.write_text(text)

    agency = read_agencies(path, ENVIRONMENT)["north"]

    assert agency.channels == (ChannelKind.WEBHOOK, ChannelKind.FILE)
    assert set(tomllib.loads(text)["agency"]["north"]) >= {"webhook", "file", "holdings", "quiet_hours"}
