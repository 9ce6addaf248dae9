"""An account's story in the words of the console's reader: the answer, who acts next, and each line.

Used by the account page. What is so is decided in `consumers.story`; here it is only said, in either language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

from consumers.console.words import Words
from consumers.story import Line, NextStep, PlacementNow, Step, Story
from domain.events import Recorded
from infra.postgres.history import SetAside

LATE = timedelta(seconds=1)
"""An event that arrived later than this after it happened is told with both times."""

QUARANTINED = "event.quarantined"

NOTHING = "\u2013"
"""In place of what is not there."""

Values = dict[str, object]


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the timeline as it is shown. `arrived_at` only where it tells something.

    `code` is a word of ours that no language has another for. It opens to an event, by `source` and `event_id`, to
    our own `message`, or to nothing.
    """

    at: datetime
    words: str
    code: str
    arrived_at: datetime | None
    source: str
    event_id: str
    message: int
    mood: str


def verdict(story: Story, words: Words) -> tuple[str, str]:
    """The answer to "is a paid debt of this customer with a collector?", and its mood."""
    placed = [one for one in story.placements if one.episode.is_open]
    names: Values = {"agencies": ", ".join(sorted({one.episode.opened.agency_id for one in placed}))}
    match story.paid_and_placed:
        case True:
            paid = _paid(story)
            names = {"agencies": ", ".join(sorted({one.episode.opened.agency_id for one in paid}))}
            return words("account.verdict_yes", **names), "bad"
        case None:
            return words("account.verdict_unsure"), "wait"
        case False if placed:
            return words("account.verdict_owed", **names), "plain"
        case _:
            return words("account.verdict_no"), "good"


def _paid(story: Story) -> list[PlacementNow]:
    settled = {debt.debt_id for debt in story.debts if debt.settled}
    return [one for one in story.placements if one.episode.is_open and one.episode.opened.debt_id in settled]


def step_in_words(step: NextStep, words: Words) -> str:
    """Who acts next, and what they do."""
    actor = step.actor if step.step in {Step.COLLECT, Step.ACKNOWLEDGE} else ""
    return words(f"account.step_{step.step}", agency=actor)


def rows(lines: Iterable[Line], words: Words) -> Iterator[Row]:
    """Lines of the timeline, in their order."""
    for line in lines:
        values = _values(line, words)
        late = line.arrived_at is not None and abs(line.arrived_at - line.at) > LATE
        yield Row(
            line.at,
            words(f"account.line_{name_of(line)}", **values),
            line.of.reason if isinstance(line.of, SetAside) and line.kind == QUARANTINED else "",
            line.arrived_at if late else None,
            line.source,
            line.id,
            line.message,
            "bad" if line.is_breach else "",
        )


def name_of(line: Line) -> str:
    """The name of the text that tells a line."""
    return f"{_name(line.kind)}_breach" if line.is_breach else _name(line.kind)


def kind_text(kind: str) -> str:
    """The name of the text that tells a kind of line."""
    return f"account.kind_{_name(kind)}"


def _name(kind: str) -> str:
    return kind.removesuffix(".v1").replace(".", "_")


def _values(line: Line, words: Words) -> Values:
    """What a line's text may name: the fields of what it tells of, each as its reader writes it."""
    match line.of:
        case Recorded(event=event):
            found = {one.name: getattr(event, one.name) for one in fields(event)}
        case Mapping():
            found = dict(line.of)
        case None:
            found = {}
        case _:
            found = {one.name: getattr(line.of, one.name) for one in fields(line.of)}
    currency = str(found.get("currency") or "")
    return {name: _shown(name, value, currency, words) for name, value in found.items()}


def _shown(name: str, value: Any, currency: str, words: Words) -> str:  # `Any`: a field of any kind.
    match value:
        case None:
            return NOTHING
        case bool():
            return words("account.yes" if value else "account.no")
        case int() if name in {"amount", "outstanding"} and currency:
            return words.amount(value, currency)
        case datetime():
            return words.moment(value)
        case date():
            return value.isoformat()
        case StrEnum() | str() if words.has(f"account.word_{value}"):
            return words(f"account.word_{value}")
        case frozenset():
            return ", ".join(sorted(_shown(name, one, currency, words) for one in value)) or NOTHING
        case list() if name == "reasons":
            return ", ".join(str(one["code"]) for one in value) or words("account.no_reason")
        case _:
            return str(value)
