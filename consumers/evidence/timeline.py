"""What happened on a placement, as a page for people and as data: when it was said, and since when it was known.

Called by `consumers.evidence.maker`. The words are those of an account's story (`consumers.story`); each line names
the file of the pack that shows it.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import orjson

from consumers.evidence.files import (
    Concerned,
    EventFile,
    Files,
    decision_names,
    message_names,
    published_decisions,
)
from consumers.evidence.pack import json_file
from consumers.story import SAME_TIME, SENDING, Line, Place, PlacementNow, Story, tell_story
from consumers.telling import message_in_words
from domain.policy import Policy
from domain.words import moment_in_words
from infra.postgres.evidence import EventName

NOT_SENT = ", not sent yet"
"""How the story ends a line about a message that waits."""

RECALL = "guard.recall.requested.v1"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: when it happened, since when it was known here, what, and the file that shows it."""

    at: datetime
    known_at: datetime
    kind: str
    words: str
    file: str | None
    place: Place

    @property
    def late(self) -> bool:
        """Whether it was known here only later."""
        return abs(self.known_at - self.at) > SAME_TIME


@dataclass(frozen=True, slots=True)
class Timeline:
    """The lines of one placement, and how it stands."""

    rows: tuple[Row, ...]
    title: str
    stands: tuple[str, ...]
    timezone: tzinfo

    def files(self) -> Files:
        """As text, as a page, and as data."""
        return {
            "timeline.txt": "".join(f"{line}\n" for line in self._text()).encode(),
            "timeline.html": self._page().encode(),
            "timeline.json": json_file([_as_json(row) for row in self.rows]),
        }

    def _text(self) -> Iterator[str]:
        yield self.title
        yield from self.stands
        yield ""
        yield f"Times are in {self.timezone}. The second is when it was known here, where that was later."
        yield ""
        for row in self.rows:
            shown = f"  [{row.file}]" if row.file else ""
            yield f"{self._at(row.at)}  {self._known(row):20}  {row.words}{shown}"

    def _at(self, at: datetime) -> str:
        return moment_in_words(at, self.timezone)

    def _known(self, row: Row) -> str:
        return self._at(row.known_at) if row.late else ""

    def _page(self) -> str:
        rows = "\n".join(self._html_row(row) for row in self.rows)
        stands = "".join(f"<p>{html.escape(line)}</p>" for line in self.stands)
        return PAGE.format(
            title=html.escape(self.title), stands=stands, zone=html.escape(str(self.timezone)), rows=rows
        )

    def _html_row(self, row: Row) -> str:
        cells = [self._at(row.at), self._known(row), row.words]
        link = f'<a href="{html.escape(row.file)}">{html.escape(row.file)}</a>' if row.file else ""
        return f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}<td>{link}</td></tr>"


PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ color-scheme: light; }}
body {{ font: 14px/1.45 "Liberation Sans", Arial, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem; }}
h1 {{ font-size: 1.4rem; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #ccc; }}
td:first-child, td:nth-child(2) {{ white-space: nowrap; }}
tr {{ break-inside: avoid; }}
@page {{ size: A4; margin: 15mm; }}
@media print {{ body {{ font-size: 10pt; margin: 0; }} thead {{ display: table-header-group; }} }}
</style>
</head>
<body>
<h1>{title}</h1>
{stands}
<p>Times are in {zone}. The second is when it was known here, where that was later.</p>
<table>
<thead><tr><th>when</th><th>known here</th><th>what</th><th>file</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def timeline_of(
    narrowed: Concerned,
    events: Mapping[EventName, EventFile],
    policy: Policy,
    now: datetime,
    *,
    agency_name: str,
    behind: str | None,
) -> Timeline:
    """The timeline of a placement as of now."""
    story = tell_story(narrowed.history, policy, now, behind=behind)
    shown_by = _Shown(narrowed, events)
    rows = [_row(line, shown_by.file(line)) for line in story.lines]
    rows += _attempts(narrowed)
    opened = narrowed.opened
    return Timeline(
        rows=tuple(sorted(rows, key=lambda row: row.place)),
        title=f"Placement {opened.placement_id} of debt {opened.debt_id} with {agency_name}",
        stands=tuple(_stands(story, narrowed, policy.timezone, behind)),
        timezone=policy.timezone,
    )


def _row(line: Line, file: str | None) -> Row:
    return Row(line.at, line.arrived_at or line.at, line.kind, line.words, file, line.place)


def _stands(story: Story, narrowed: Concerned, timezone: tzinfo, behind: str | None) -> Iterator[str]:
    opened = narrowed.opened
    yield f"account {opened.account_id}"
    for debt in story.debts:
        if debt.debt_id == opened.debt_id:
            yield f"the debt: {debt.words}"
    yield from (f"the placement: {_ending(one, timezone)}" for one in _this(story.placements, opened.placement_id))
    for one in story.holds:
        yield f"event {one.quarantine_id} of the account waits in quarantine, and may say otherwise"
    for topic in story.stopped_topics:
        yield f"the stream {topic} is stopped, so events may be missing"
    if behind:
        yield f"events may be missing: {behind}"


def _this(placements: Sequence[PlacementNow], placement_id: str) -> list[PlacementNow]:
    return [one for one in placements if one.episode.opened.placement_id == placement_id]


def _ending(one: PlacementNow, timezone: tzinfo) -> str:
    state = "open" if one.episode.is_open else "ended"
    return f"{state}; next is {one.next_step.in_words(timezone)}"


class _Shown:
    """Which file shows a line: an event its own, a message of ours the one that was put in the outbox for it."""

    def __init__(self, narrowed: Concerned, events: Mapping[EventName, EventFile]) -> None:
        self._events = events
        self._recall: str | None = None
        self._messages: dict[tuple[str, str, str], str] = {}
        names = message_names(narrowed.proof.messages)
        for one in narrowed.proof.messages:
            if one.recall_id is None:
                self._remember(one.value, names[one.outbox_id])
            elif self._recall is None:
                self._recall = names[one.outbox_id]
        published = published_decisions(narrowed)
        for clearance_id, name in decision_names(narrowed).items():
            if clearance_id in published:
                self._remember(published[clearance_id], name)

    def file(self, line: Line) -> str | None:
        """The file that shows a line; None where none does."""
        if line.source and line.id:
            shown = self._events.get((line.source, line.id))
            return shown.name if shown else None
        if line.kind == RECALL:
            return self._recall
        return self._messages.get((line.kind, line.at.isoformat(), line.words.removesuffix(NOT_SENT)))

    def _remember(self, value: bytes, file: str) -> None:
        message = orjson.loads(value)
        at = datetime.fromisoformat(message["time"]).isoformat()
        self._messages[message["type"], at, message_in_words(message)] = file


def _attempts(narrowed: Concerned) -> Iterator[Row]:
    names = message_names(narrowed.proof.messages)
    for message in narrowed.proof.messages:
        for one in message.attempts:
            result = {True: "it arrived", False: "it did not arrive", None: "nobody saw how it ended"}[
                one.delivered
            ]
            words = f"attempt {one.attempt} to bring a message to the agency by {one.channel}: {result}"
            ended_at, place = one.ended_at or one.began_at, (one.began_at, SENDING)
            yield Row(one.began_at, ended_at, "delivery.attempt", words, names[message.outbox_id], place)


def _as_json(row: Row) -> dict[str, object]:
    return {
        "at": row.at.isoformat(),
        "known_at": row.known_at.isoformat(),
        "kind": row.kind,
        "words": row.words,
        **({"file": row.file} if row.file else {}),
    }
