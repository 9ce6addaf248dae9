"""The agencies: how each is reached and how it does, and what was found when its list was last compared.

Nothing is ordered here: what helps an agency that does not answer is on the page of recalls, and in its entry of
the file of agencies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from consumers.console.render import link, part
from consumers.console.replies import told_page
from consumers.console.service import Console
from consumers.console.visitors import NUMBER_MAX, PathName, QueryName, Reader, console_of
from domain.agency import Agency, agency_of
from domain.holdings import Kind, counted_as
from infra.http.problems import Problem, ProblemError
from infra.postgres.agency_figures import ANSWERS_FOR, BREACHES_FOR, Figures
from infra.postgres.deliveries import STUCK_AFTER, Standing
from infra.postgres.holdings import Found, Kept

router = APIRouter()

PAGE_FINDINGS = 100


@dataclass(frozen=True, slots=True)
class Known:
    """All that is told of one agency. `is_named`: it is in the file of agencies."""

    agency: Agency
    is_named: bool
    within: timedelta
    escalates_after: timedelta
    ways: tuple[Standing, ...]
    figures: Figures
    compared: Kept | None

    @property
    def waiting(self) -> int:
        """How many messages wait for it, by any way."""
        return sum(way.waiting for way in self.ways)


@router.get("/agencies")
async def agencies(request: Request, guest: Reader) -> Response:
    """Each agency of the file, and each other of which there is anything to tell."""
    console = console_of(request)
    known = await console.call(lambda: _known(console))
    return told_page(request, guest, "agencies.html", place="agencies", agencies=known, **_common())


@router.get("/agencies/{agency_id}")
async def agency(
    request: Request,
    guest: Reader,
    agency_id: PathName,
    kind: QueryName = "",
    placement: QueryName = "",
    line: Annotated[int, Query(ge=0, le=NUMBER_MAX)] = 0,
) -> Response:
    """One, with a page of what was found when its list was last compared, from behind a finding."""
    console = console_of(request)

    def look() -> tuple[Known, list[Found]]:
        known = next((one for one in _known(console) if one.agency.agency_id == agency_id), None)
        if known is None:
            raise ProblemError(Problem.NOT_FOUND, "no agency has this id, or nothing was ever sent to it")
        if known.compared is None:
            return known, []
        after, run = (kind, placement, line), known.compared.reconciliation_id
        return known, console.reconciliations.page(run, after=after, limit=PAGE_FINDINGS + 1)

    known, found = await console.call(look)
    rows, path = found[:PAGE_FINDINGS], f"/agencies/{part(agency_id)}"
    more = ""
    if len(found) > PAGE_FINDINGS:
        last = rows[-1]
        more = link(path, kind=last.kind, placement=last.placement_id, line=last.line)
    return told_page(
        request,
        guest,
        "agency.html",
        place="agencies",
        one=known,
        findings=rows,
        more=more,
        first=link(path) if kind else "",
        **_common(),
    )


def _known(console: Console) -> list[Known]:
    """All agencies, by their id."""
    named, policy = console.agencies(), console.rules()
    ways: dict[str, list[Standing]] = {}
    for way in console.deliveries.standing():
        ways.setdefault(way.agency_id, []).append(way)
    figures, compared = console.figures.all(console.now()), console.reconciliations.latest()
    found = []
    for agency_id in sorted(named.keys() | ways.keys() | figures.keys() | compared.keys()):
        one = agency_of(named, agency_id)
        found.append(
            Known(
                agency=one,
                is_named=agency_id in named,
                within=policy.recall.within(one.desk),
                escalates_after=one.desk.escalate_after or policy.recall.escalate_after,
                ways=tuple(ways.get(agency_id, ())),
                figures=figures.get(agency_id, Figures()),
                compared=compared.get(agency_id),
            )
        )
    return found


def _common() -> Mapping[str, object]:
    return {
        "kinds": [(kind, counted_as(kind)) for kind in Kind],
        "answers_days": ANSWERS_FOR.days,
        "breaches_days": BREACHES_FOR.days,
        "stuck_after": STUCK_AFTER,
    }
