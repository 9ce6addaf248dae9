"""`keys create|list|revoke`: who may call the API. A key is shown once, when it is made.

Called by `consumers.desk`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from consumers.compose import House
from consumers.terminal import EXIT_WRONG, answer, complain, who
from domain.access import Scope
from infra.postgres.api_keys import ApiKey


def create(arguments: argparse.Namespace, house: House) -> int:
    """Make a key and show it."""
    made, key = house.api_keys().create(arguments.name, set(arguments.scope), by=who())
    house.log.warning("key.created", key_id=made.key_id, scopes=list(made.scopes))
    words = [key, f"is the key {made.name} ({made.key_id}) for {', '.join(made.scopes)}; it can't be shown again"]
    answer({**_as_json(made), "key": key}, words, as_json=arguments.json)
    return 0


def show(arguments: argparse.Namespace, house: House) -> int:
    """List every key that was ever made."""
    keys = house.api_keys().all()
    answer([_as_json(one) for one in keys], _in_words(keys), as_json=arguments.json)
    return 0


def revoke(arguments: argparse.Namespace, house: House) -> int:
    """End a key."""
    ended = house.api_keys().revoke(arguments.key_id, by=who())
    if ended is None:
        complain(f"{arguments.key_id} is no active key: handoff-guard keys list")
        return EXIT_WRONG
    house.log.warning("key.revoked", key_id=ended.key_id)
    words = [f"key {ended.name} ({ended.key_id}) opens nothing any more, in seconds at every process"]
    answer(_as_json(ended), words, as_json=arguments.json)
    return 0


def scope(text: str) -> Scope:
    """The scope of this name. Raises ArgumentTypeError."""
    try:
        return Scope(text)
    except ValueError as why:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(Scope)}") from why


def _in_words(keys: Iterable[ApiKey]) -> Iterator[str]:
    for one in keys:
        state = f"revoked {one.revoked_at.isoformat()} by {one.revoked_by}" if one.revoked_at else "active"
        made = f"created {one.created_at.isoformat()} by {one.created_by}"
        yield f"{one.key_id}  {one.name}  {','.join(one.scopes)}  {state}, {made}"


def _as_json(key: ApiKey) -> dict[str, object]:
    instants = {"created_at": key.created_at.isoformat()}
    revoked_at = key.revoked_at.isoformat() if key.revoked_at else None
    return {**asdict(key), **instants, "scopes": list(key.scopes), "revoked_at": revoked_at}
