"""`keys create|list|revoke`, as on the command line: a key is shown once, and only its hash is kept."""

from __future__ import annotations

import hashlib
import json

import pytest
import sqlalchemy as sa

from consumers.main import main
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, who
from domain.access import Scope
from infra.postgres.api_keys import ApiKeys, opened_by
from infra.postgres.database import Database

pytestmark = pytest.mark.parts

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    """The environment names a fresh database."""
    monkeypatch.setenv("GUARD_DATABASE_URL", database_url)


def test_a_key_is_made_and_shown_once(database: Database, capfd: Printed) -> None:
    """It opens with its scopes; the list and the log have all of it but the secret."""
    assert main(["keys", "create", "night run", "--scope", "ask", "--scope", "confirm", "--json"]) == 0
    made = json.loads(capfd.readouterr().out)

    caller = opened_by(made["key"], ApiKeys(database).active())
    assert caller is not None
    assert (caller.key_id, caller.name, caller.scopes) == (
        made["key_id"],
        "night run",
        frozenset({Scope.ASK, Scope.CONFIRM}),
    )
    assert main(["keys", "list", "--json"]) == 0
    listed = capfd.readouterr().out
    (told,) = json.loads(listed)
    assert told == {name: value for name, value in made.items() if name != "key"}
    assert told["scopes"] == ["ask", "confirm"]
    assert (told["created_by"], told["revoked_at"]) == (who(), None)


def test_only_the_hash_is_kept(database: Database, capfd: Printed) -> None:
    """A copy of the database opens nothing, and the log of the command neither."""
    main(["keys", "create", "support", "--scope", "read", "--json"])
    said = capfd.readouterr()
    key = json.loads(said.out)["key"]
    secret = key.split("_", 2)[2]

    with database.transaction() as connection:
        (row,) = connection.execute(sa.text("SELECT hash, to_jsonb(api_key)::text FROM api_key"))
    assert bytes(row[0]) == hashlib.sha256(secret.encode()).digest()
    assert secret not in row[1]
    assert secret not in said.err
    assert '"event": "key.created"' in said.err


def test_a_revoked_key_opens_nothing(database: Database, capfd: Printed) -> None:
    """It stays in the list, with who ended it; it can't be ended twice."""
    main(["keys", "create", "support", "--scope", "read", "--json"])
    made = json.loads(capfd.readouterr().out)

    assert main(["keys", "revoke", made["key_id"], "--json"]) == 0
    ended = json.loads(capfd.readouterr().out)
    assert (ended["key_id"], ended["revoked_by"]) == (made["key_id"], who())
    assert opened_by(made["key"], ApiKeys(database).active()) is None

    assert main(["keys", "revoke", made["key_id"]]) == EXIT_WRONG
    assert capfd.readouterr().err == (
        f"handoff-guard: {made['key_id']} is no active key: handoff-guard keys list\n"
    )
    assert main(["keys", "list"]) == 0
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith(f"{made['key_id']}  support  read  revoked ")


def test_in_words_the_key_stands_alone_on_its_line(database: Database, capfd: Printed) -> None:
    """So that it can be piped to where it is kept."""
    assert main(["keys", "create", "support", "--scope", "read"]) == 0

    key, words = capfd.readouterr().out.splitlines()
    assert opened_by(key, ApiKeys(database).active()) is not None
    assert words.startswith("is the key support (")
    assert words.endswith("it can't be shown again")


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "support"],
        ["create", "support", "--scope", "everything"],
        ["create", " ", "--scope", "read"],
        ["create", "a\x1bb", "--scope", "read"],
        ["create", "a" * 501, "--scope", "read"],
        ["revoke"],
        [],
    ],
)
def test_wrong_arguments(arguments: list[str], database: Database) -> None:
    """They are refused, and nothing is made."""
    with pytest.raises(SystemExit) as refused:
        main(["keys", *arguments])

    assert refused.value.code == EXIT_USAGE
    assert ApiKeys(database).all() == []
