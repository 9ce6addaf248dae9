"""The timeline of an account a page at a time: of which kind, in which order and from where on says the address.

Used by the account page. A page ends at a line, not at a number of lines, so that what comes meanwhile moves none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from consumers.console.render import filters, link
from consumers.story import Line, Story
from infra.http.problems import Problem, ProblemError
from infra.wire.cursor import CursorError, decode_cursor, encode_cursor

PAGE_LINES = 100
"""What a person looks through; an account in dispute may have thousands."""

Order = Literal["newest", "oldest"]

Key = tuple[datetime, int, int]
"""Where a line stands: its instant, its place among causes and effects, and its number among those of both."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address asks for: lines of one kind or of all (empty), in an order, behind a line or all."""

    kind: str
    order: Order
    after: Key | None


@dataclass(frozen=True, slots=True)
class Shown:
    """A page: its lines, which ones they are of `of`, and where the list goes on and begins, empty where not."""

    lines: tuple[Line, ...]
    first: int
    of: int
    more: str
    to_first: str

    @property
    def last(self) -> int:
        """The number of the last line of the page."""
        return self.first + len(self.lines) - 1


def after(cursor: str) -> Key | None:
    """The line behind which a page begins. Raises ProblemError."""
    if not cursor:
        return None
    try:
        at, place, number = decode_cursor(cursor)
        return at, int(place), int(number)
    except (CursorError, ValueError) as why:
        raise ProblemError(Problem.INVALID, "cursor: must be a cursor as a page gave it") from why


def shown(story: Story, asked: Asked, path: str, kept: Mapping[str, object]) -> Shown:
    """The page that was asked for; `kept` is what else the address of `path` says, for its links."""
    keyed = list(_keyed(line for line in story.lines if not asked.kind or line.kind == asked.kind))
    is_newest = asked.order == "newest"
    if is_newest:
        keyed.reverse()
    behind = [
        (key, line)
        for key, line in keyed
        if asked.after is None or (key < asked.after if is_newest else key > asked.after)
    ]
    page = behind[:PAGE_LINES]
    names = filters({"kind": asked.kind, "order": asked.order, **kept})
    more = link(path, **names, cursor=_cursor(page[-1][0])) if len(behind) > PAGE_LINES else ""
    return Shown(
        lines=tuple(line for _, line in page),
        first=len(keyed) - len(behind) + 1,
        of=len(keyed),
        more=f"{more}#timeline" if more else "",
        to_first=f"{link(path, **names)}#timeline" if asked.after is not None else "",
    )


def _keyed(lines: Iterable[Line]) -> Iterator[tuple[Key, Line]]:
    """Lines, oldest first, each with a key of its own; the keys go up."""
    before: Key | None = None
    for line in lines:
        number = before[2] + 1 if before is not None and before[:2] == line.place else 0
        before = (*line.place, number)
        yield before, line


def _cursor(key: Key) -> str:
    at, place, number = key
    return encode_cursor(at, str(place), str(number))
