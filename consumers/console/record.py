"""The record of what people read of customers and ordered here: who, when, what and why, the newest first.

Only for who may operate: it names people. It is read, and never changed.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from consumers.console.render import link, page
from consumers.console.visitors import NUMBER_MAX, Guest, QueryName, Signed, console_of
from domain.access import Scope

router = APIRouter()

PAGE_ACTS = 100

Operator = Annotated[Guest, Depends(Signed(Scope.OPERATE))]


@router.get("/record")
async def record(
    request: Request,
    guest: Operator,
    account_id: QueryName = "",
    before: Annotated[int | None, Query(ge=1, le=NUMBER_MAX)] = None,
) -> Response:
    """A page of acts, from before a number."""
    console = console_of(request)
    found = await console.call(
        lambda: console.records.newest(account_id=account_id or None, before=before, limit=PAGE_ACTS + 1)
    )
    rows = found[:PAGE_ACTS]
    more = ""
    if len(found) > PAGE_ACTS:
        more = link("/record", account_id=account_id, before=rows[-1].record_id)
    return page(
        request,
        guest.visitor,
        "record.html",
        place="record",
        acts=rows,
        account_id=account_id,
        more=more,
        first=link("/record", account_id=account_id) if before else "",
    )
