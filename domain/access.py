"""Who may make which call: the scopes of an API key, or of whom the creditor's provider vouches for.

Checked by the API at every call but those that tell nothing of an account, and by every page of the console.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What an API key may be used for."""

    ASK = "ask"
    """Whether a debt may be placed."""
    CONFIRM = "confirm"
    """That a placement is made under a clearance."""
    READ = "read"
    """What is known: clearances, accounts, their timelines."""
    OPERATE = "operate"
    """What a person orders: recalls by hand."""
    EVENTS = "events"
    """To send events in place of a stream."""


CONSOLE_SCOPES = (Scope.READ, Scope.OPERATE)
"""What pages need. The other scopes are for programs, which have keys."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: the id and name of an API key, and its scopes."""

    key_id: str
    name: str
    scopes: frozenset[Scope]


def scopes_by_value(text: str) -> Mapping[str, frozenset[Scope]]:
    """What each value of a claim gives: `support=read;oncall=read,operate`. Raises ValueError that says why."""
    found: dict[str, frozenset[Scope]] = {}
    for one in filter(None, map(str.strip, text.split(";"))):
        value, is_given, names = one.rpartition("=")
        value, wanted = value.strip(), {name.strip() for name in names.split(",")}
        if not is_given or not value:
            raise ValueError(f"{one!r} is not VALUE=SCOPE,SCOPE")
        if value in found:
            raise ValueError(f"{value!r} stands twice")
        if unknown := sorted(wanted - set(CONSOLE_SCOPES)):
            raise ValueError(f"{value!r} gives {', '.join(unknown)}; the console knows {', '.join(CONSOLE_SCOPES)}")
        if Scope.READ not in wanted:
            raise ValueError(f"{value!r} does not give read, without which no page is shown")
        found[value] = frozenset(map(Scope, wanted))
    if not found:
        raise ValueError("it gives nobody anything; set it to VALUE=read;VALUE=read,operate")
    return found


def scopes_given(mapping: Mapping[str, frozenset[Scope]], values: Iterable[str]) -> frozenset[Scope]:
    """All that somebody's values give together."""
    return frozenset[Scope]().union(*(mapping.get(value, frozenset()) for value in values))
