"""`record`: who read what of a customer at the console, and who ordered what, the newest first.

Called by `consumers.desk`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from datetime import tzinfo

from consumers.compose import House
from consumers.terminal import answer
from domain.words import moment_in_words
from infra.postgres.records import Kept, Records


def show(arguments: argparse.Namespace, house: House) -> int:
    """List acts; `next` is what to ask from before for the page behind."""
    acts = Records(house.database_now()).newest(
        account_id=arguments.account, before=arguments.before, limit=arguments.limit
    )
    before = acts[-1].record_id if len(acts) == arguments.limit else None
    words = list(_in_words(acts, house.policy().timezone))
    if before is not None:
        words.append(f"there may be more: add --before {before}")
    answer({"acts": [_as_json(one) for one in acts], "next": before}, words, as_json=arguments.json)
    return 0


def _in_words(acts: Sequence[Kept], timezone: tzinfo) -> Iterator[str]:
    """An act a line."""
    if not acts:
        yield "nothing is recorded"
        return
    yield f"Times are in {timezone}."
    for one in acts:
        account = f"  account {one.account_id}" if one.account_id else ""
        target = f"  {one.target}" if one.target else ""
        outcome = f"  -> {one.outcome}" if one.outcome else ""
        why = f"  {one.reason}" if one.reason else ""
        yield (
            f"{moment_in_words(one.at, timezone)}  {one.name} ({one.signed_by})  {one.act}"
            f"{account}{target}{outcome}{why}"
        )


def _as_json(one: Kept) -> dict[str, object]:
    return {
        "record_id": one.record_id,
        "at": one.at.isoformat(),
        "name": one.name,
        "signed_by": one.signed_by,
        "act": one.act,
        "account_id": one.account_id,
        "target": one.target,
        "reason": one.reason,
        "outcome": one.outcome,
    }
