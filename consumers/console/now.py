"""The first page: how many who have paid are with a collector, what is on its way, and what stands in its way.

Its parts are written here for the page and for the stream that renews them. What is told is read by
`infra.postgres.overview` and judged by `domain.verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from markupsafe import Markup

from consumers.console import charts
from consumers.console.live import FULL_AGAIN_MS, STREAMS_MAX, Parts, Stream, only
from consumers.console.render import fragment, link, page
from consumers.console.service import Console
from consumers.console.visitors import NAME_MAX_CHARACTERS, Anybody, Reader, Visitor, console_of
from consumers.console.watch import Snapshot
from consumers.console.words import Words
from domain.access import Scope
from domain.agency import agency_of
from domain.recall import RecallStage
from domain.verdict import Mood, Reading, judge
from infra.http.problems import Problem, ProblemError
from infra.postgres.overview import COUNTED, DAY_SLOTS, NO_FUNNEL, SLOT, STAGES, Funnel, Latency, Way

router = APIRouter()

PARTS = ("verdict", "tiles", "funnel", "latency", "recalls", "agencies", "streams", "answers")
"""Each is a template `now/<name>.html`, and stands on the page under the id `now-<name>`."""

RECALLS_SHOWN = 20
AGENCIES_SHOWN = 50
PARTITIONS_SHOWN = 200
"""Rows of a table, for a page that is sent every two seconds; the lists have the rest."""

AIM_SECONDS = 0.06
"""From the broker's time of a payment to its recall on its way, for 99 of 100: the aim of `make bench`."""

STATE_MOODS: Mapping[RecallStage, Mood] = {
    RecallStage.REQUESTED: Mood.WAIT,
    RecallStage.SENT: Mood.WAIT,
    RecallStage.OVERDUE: Mood.BAD,
    RecallStage.ESCALATED: Mood.BAD,
    RecallStage.REJECTED: Mood.BAD,
    RecallStage.TAKEN_OVER: Mood.WAIT,
}

FUNNEL_MOODS: Mapping[str, str] = {"rejected": "bad", "overdue": "bad", "escalated": "bad", "acknowledged": "good"}

UNREAD_PLACES = 60
"""Of the chart of what is unread: a place for each quarter of a minute."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the address asks for: one agency or all, and the stage whose times are drawn."""

    agency_id: str
    stage: str


@dataclass(frozen=True, slots=True)
class Timed:
    """A stage with how long it took and what is aimed at, in seconds."""

    stage: str
    latency: Latency | None
    aim: float

    @property
    def is_late(self) -> bool:
        """Whether it takes longer than is aimed at."""
        return self.latency is not None and self.latency.p99 > self.aim


@dataclass(frozen=True, slots=True)
class AgencyRow:
    """An agency: what of it is open, by which ways it is not reached, how soon it acknowledges."""

    agency_id: str
    name: str
    opened: int
    ways: tuple[Way, ...]
    took: Latency | None
    within_seconds: float


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A partition, with how much more or less is unread than a minute ago."""

    reading: Reading
    stopped: str | None
    trend: float | None


def shown(
    agency_id: Annotated[str, Query(max_length=NAME_MAX_CHARACTERS)] = "",
    stage: Annotated[str, Query(max_length=NAME_MAX_CHARACTERS)] = "sent",
) -> Shown:
    """What the address asks for. Raises ProblemError."""
    if not agency_id.isprintable():
        raise ProblemError(Problem.INVALID, "agency_id: must be printable")
    if stage not in STAGES:
        raise ProblemError(Problem.INVALID, f"stage: must be one of {', '.join(STAGES)}")
    return Shown(agency_id, stage)


WhatIsShown = Annotated[Shown, Depends(shown)]


@router.get("/")
async def now(request: Request, guest: Reader, wanted: WhatIsShown) -> Response:
    """The page, with everything on it as it stands."""
    console, visitor = console_of(request), guest.visitor

    def write() -> tuple[Snapshot, Parts]:
        snapshot = console.live.watch.snapshot()
        return snapshot, _parts(request, console, visitor, wanted, snapshot)

    snapshot, parts = await console.call(write)
    stream = link("/live/now", agency_id=wanted.agency_id, stage=wanted.stage)
    return page(
        request,
        visitor,
        "now.html",
        place="now",
        parts={name: Markup(text) for name, text in parts.items()},  # noqa: S704 # Our templates wrote them.
        stream=stream,
        wanted=wanted,
        stages=STAGES,
        agencies=sorted({*console.agencies(), *snapshot.overview.opened.agencies, *snapshot.overview.day.agencies}),
    )


@router.get("/live/now")
async def live(request: Request, visitor: Anybody, wanted: WhatIsShown) -> Response:
    """What renews the page, for as long as it is open."""
    console = console_of(request)
    if not visitor.may(Scope.READ):
        return only({}, "ended", again_ms=FULL_AGAIN_MS)
    if console.live.streams >= STREAMS_MAX:
        return only({}, "full", again_ms=FULL_AGAIN_MS)

    async def write(snapshot: Snapshot) -> Parts:
        return await console.call(lambda: _parts(request, console, visitor, wanted, snapshot))

    return Stream(console.live, visitor.secret, write, lambda _why: {})


def _parts(request: Request, console: Console, visitor: Visitor, wanted: Shown, snapshot: Snapshot) -> Parts:
    """The parts of the page, written once for all who see it alike."""

    def write() -> Parts:
        values = _values(console, visitor.words, wanted, snapshot)
        return {
            f"now-{name}": fragment(request, visitor, f"now_{name}.html", place="now", **values) for name in PARTS
        }

    return console.live.parts(snapshot, (visitor.words.tongue, wanted.agency_id, wanted.stage), write)


def _values(
    console: Console, words: Words, wanted: Shown, snapshot: Snapshot
) -> dict[str, Any]:  # `Any`: a template's.
    overview = snapshot.overview
    funnel = overview.day.agencies.get(wanted.agency_id, NO_FUNNEL) if wanted.agency_id else overview.day.all
    recalls = [one for one in overview.first if wanted.agency_id in {"", one.agency_id}]
    stopped = {(one.topic, one.partition): one.stopped for one in overview.partitions}
    return {
        "wanted": wanted,
        "at": overview.at,
        "verdict": judge(
            overview.opened.paid, snapshot.readings, set_aside=overview.quarantined.events, now=overview.at
        ),
        "overview": overview,
        "open_recalls": sum(overview.opened.states.values()),
        "to_act": overview.opened.paid.to_act,
        "unread": snapshot.samples[-1].total,
        "unread_unknown": snapshot.unread_unknown,
        "funnel": funnel,
        "funnel_chart": _funnel_chart(words, funnel),
        "timed": _timed(console, funnel),
        "latency_chart": _latency_chart(words, snapshot, wanted),
        "recalls": recalls[:RECALLS_SHOWN],
        "moods": STATE_MOODS,
        "agency_rows": _agency_rows(console, snapshot, wanted)[:AGENCIES_SHOWN],
        "stream_rows": [
            StreamRow(one, stopped.get((one.topic, one.partition)), snapshot.trend((one.topic, one.partition)))
            for one in snapshot.readings[:PARTITIONS_SHOWN]
        ],
        "unread_chart": _unread_chart(words, snapshot),
        "answers": overview.questions.answers,
    }


def _timed(console: Console, funnel: Funnel) -> list[Timed]:
    within = console.rules().recall.acknowledge_within.total_seconds()
    aims = {"requested": AIM_SECONDS, "sent": AIM_SECONDS, "acknowledged": within}
    return [Timed(stage, funnel.latencies.get(stage), aims[stage]) for stage in STAGES]


def _agency_rows(console: Console, snapshot: Snapshot, wanted: Shown) -> list[AgencyRow]:
    overview, known = snapshot.overview, console.agencies()
    ids = {*known, *overview.opened.agencies, *overview.day.agencies, *(one.agency_id for one in overview.ways)}
    rules = console.rules().recall
    return [
        AgencyRow(
            agency_id,
            agency_of(known, agency_id).name,
            overview.opened.agencies.get(agency_id, 0),
            tuple(one for one in overview.ways if one.agency_id == agency_id),
            overview.day.agencies.get(agency_id, NO_FUNNEL).latencies.get("acknowledged"),
            rules.within(agency_of(known, agency_id).desk).total_seconds(),
        )
        for agency_id in sorted(ids)
        if wanted.agency_id in {"", agency_id}
    ]


def _funnel_chart(words: Words, funnel: Funnel) -> Markup:
    about = charts.About("funnel-chart", words("now.funnel_chart"), words("now.funnel_about"))
    rows = [(words(f"now.came_{name}"), FUNNEL_MOODS.get(name, "plain"), getattr(funnel, name)) for name in COUNTED]
    return charts.bars(about, words, rows)


def _latency_chart(words: Words, snapshot: Snapshot, wanted: Shown) -> Markup:
    day = snapshot.overview.day
    told = words("now.latency_about", stage=words(f"now.stage_{wanted.stage}"))
    about = charts.About("latency-chart", words("now.latency_chart"), told)
    span = charts.Span(day.since, SLOT, DAY_SLOTS + 1, 8)
    found = {slot: one.latencies[wanted.stage] for slot, one in day.slots.items() if wanted.stage in one.latencies}
    series = [
        charts.Series(name, {slot: getattr(latency, name) for slot, latency in found.items()})
        for name in ("p50", "p95", "p99")
    ]
    return charts.timed(about, words, span, series, target=AIM_SECONDS if wanted.stage != "acknowledged" else None)


def _unread_chart(words: Words, snapshot: Snapshot) -> Markup:
    about = charts.About("unread-chart", words("now.unread_chart"), words("now.unread_about"))
    place = timedelta(seconds=15)
    since = snapshot.overview.at - UNREAD_PLACES * place
    values = {
        int((one.at - since) / place): float(one.total)
        for one in snapshot.samples
        if one.total is not None and one.at >= since
    }
    span = charts.Span(since, place, UNREAD_PLACES + 1, 20)
    return charts.counted(about, words, span, charts.Series("unread", values))
