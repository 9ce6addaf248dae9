"""Charts drawn on the server: latency over time, how far recalls came, what is unread. SVG that needs no script.

Used by the first page. Each is a picture with a title and a description for those who don't see it, and stands
beside the numbers that it is drawn from. Lines differ by their dashes too, not by colour alone; colours are classes
of the style sheet, so that they follow the look of the page. A line is drawn only between neighbours: where nothing
was measured there is a gap, and never a 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup

from consumers.console.words import Words

WIDTH = 560
HEIGHT = 230
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 14, 30
"""Margins, in units of the picture, that a label of the largest font has room in."""

TICKS_SECONDS = (0.001, 0.01, 0.1, 1, 10, 60, 600, 3_600, 36_000, 86_400, 864_000)
"""What a logarithmic axis of times is labelled with: ten times each, or nearly, as people count time."""

BAR, GAP, LABEL = 22, 8, 150
"""Of the funnel: the height of a bar, what is between two, and the room for their names."""

ROUND = (1, 2, 5, 10)

TITLE = Markup('<title id="{id}-title">{title}</title><desc id="{id}-desc">{about}</desc>')
LINE = Markup('<line x1="{}" y1="{}" x2="{}" y2="{}" class="{}"/>')
TEXT = Markup('<text x="{}" y="{}" text-anchor="{}" class="{}">{}</text>')
DOT = Markup('<circle cx="{}" cy="{}" r="2" class="{}"/>')
PATH = Markup('<polyline points="{}" class="{}"/>')
RECT = Markup('<rect x="{}" y="{}" width="{}" height="{}" class="{}"/>')


@dataclass(frozen=True, slots=True)
class About:
    """What a chart is called in its page, and what it says to those who don't see it."""

    id: str
    title: str
    about: str


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its class, and its values by their place; a place without one is a gap."""

    name: str
    values: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Span:
    """The time of a chart: where it begins, so many places of so long, and a label at each so many of them."""

    since: datetime
    place: timedelta
    places: int
    label_every: int


def timed(about: About, words: Words, span: Span, series: Sequence[Series], *, target: float | None) -> Markup:
    """Times in seconds on a logarithmic axis: a millisecond and an hour are both to be seen."""
    values = [value for one in series for value in one.values.values()] + ([target] if target else [])
    ticks = _log_ticks(values)
    low, high = math.log10(ticks[0]), math.log10(ticks[-1])

    def y(value: float) -> float:
        return _up((math.log10(min(max(value, ticks[0]), ticks[-1])) - low) / (high - low))

    parts = [*_grid([(y(one), words.duration(one)) for one in ticks]), *_clock(words, span)]
    if target:
        parts.append(LINE.format(LEFT, y(target), WIDTH - RIGHT, y(target), "target"))
    for one in series:
        parts += _line(one.name, {place: (_across(place, span), y(value)) for place, value in one.values.items()})
    return _picture(about, HEIGHT, parts)


def counted(about: About, words: Words, span: Span, series: Series) -> Markup:
    """Counts on an axis that begins at 0."""
    top = _round_up(max(series.values.values(), default=0))

    def y(value: float) -> float:
        return _up(value / top)

    parts = [*_grid([(y(one), words.number(one)) for one in (0, top // 2, top)]), *_clock(words, span)]
    parts += _line(series.name, {place: (_across(place, span), y(value)) for place, value in series.values.items()})
    return _picture(about, HEIGHT, parts)


def bars(about: About, words: Words, rows: Sequence[tuple[str, str, int]]) -> Markup:
    """Counts as bars from one line on: of each its name, its class, and how many of the first they are."""
    most = max((count for _, _, count in rows), default=0)
    room = WIDTH - LABEL - 90
    parts: list[Markup] = []
    for place, (name, mood, count) in enumerate(rows):
        y = GAP + place * (BAR + GAP)
        width = round(room * count / most, 1) if most else 0
        parts.append(TEXT.format(LABEL - 8, y + BAR - 6, "end", "name", name))
        parts.append(RECT.format(LABEL, y, max(width, 1), BAR, f"bar {mood}"))
        parts.append(TEXT.format(LABEL + max(width, 1) + 6, y + BAR - 6, "start", "count", words.number(count)))
    return _picture(about, len(rows) * (BAR + GAP) + GAP, parts)


def _picture(about: About, height: int, parts: Sequence[Markup]) -> Markup:
    head = TITLE.format(id=about.id, title=about.title, about=about.about)
    return Markup(
        '<svg class="chart" role="img" viewBox="0 0 {} {}" aria-labelledby="{id}-title {id}-desc">{}{}</svg>'
    ).format(WIDTH, height, head, Markup("").join(parts), id=about.id)


def _grid(ticks: Sequence[tuple[float, str]]) -> Iterator[Markup]:
    for y, label in ticks:
        yield LINE.format(LEFT, y, WIDTH - RIGHT, y, "grid")
        yield TEXT.format(LEFT - 6, y + 4, "end", "tick", label)


def _clock(words: Words, span: Span) -> Iterator[Markup]:
    for place in range(0, span.places, span.label_every):
        at = span.since + place * span.place
        yield TEXT.format(_across(place, span), HEIGHT - 8, "middle", "tick", words.clock(at))


def _line(name: str, points: Mapping[int, tuple[float, float]]) -> Iterator[Markup]:
    """Lines between neighbours, and a dot where each stands: a lone one is seen too."""
    run: list[int] = []
    for place in [*sorted(points), None]:
        if run and place != run[-1] + 1:
            if len(run) > 1:
                yield PATH.format(" ".join(f"{points[one][0]},{points[one][1]}" for one in run), f"line {name}")
            run = []
        if place is not None:
            run.append(place)
            yield DOT.format(*points[place], f"dot {name}")


def _across(place: int, span: Span) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * place / max(1, span.places - 1), 1)


def _up(share: float) -> float:
    return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - share), 1)


def _log_ticks(values: Sequence[float]) -> list[float]:
    """The labels that these values lie between, two at least."""
    low, high = min(values, default=0.01), max(values, default=1)
    first = max((place for place, tick in enumerate(TICKS_SECONDS[:-1]) if tick <= low), default=0)
    last = min((place for place, tick in enumerate(TICKS_SECONDS) if tick >= high), default=len(TICKS_SECONDS) - 1)
    return list(TICKS_SECONDS[first : max(last, first + 1) + 1])


def _round_up(value: float) -> int:
    """The least round and even number that is no less."""
    scale = 2 * 10 ** max(0, math.floor(math.log10(max(value, 1) / 2)) if value > 2 else 0)
    return next(int(scale * one) for one in ROUND if scale * one >= value)
