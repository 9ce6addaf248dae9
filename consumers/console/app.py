"""The console as an application of its own, put below `/console` of the API's: its errors are pages, not problems.

Called by `consumers.api.app`. A new page is a module with a router here, its template, and its words.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from consumers.answers import problem_of
from consumers.console import account, agencies, now, oidc, quarantine, recalls, record, sign_in
from consumers.console.render import page
from consumers.console.service import Console
from consumers.console.visitors import SignInNeededError, Visitor, console_of, to_sign_in, words_of
from consumers.console.visitors import visitor as who_looks
from consumers.orders import OrderError, UnknownError
from infra.http.problems import RETRY_AFTER_SECONDS, Problem, ProblemError

STATIC = Path(__file__).with_name("static")

ROUTERS = (
    now.router,
    account.router,
    recalls.router,
    agencies.router,
    quarantine.router,
    record.router,
    sign_in.router,
    oidc.router,
)


def build(console: Console) -> FastAPI:
    """The application that shows by these parts."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.console = console
    app.add_exception_handler(SignInNeededError, _sign_in)
    for kind in (ProblemError, OrderError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _wrong)
    for router in ROUTERS:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


async def _sign_in(request: Request, _why: Exception) -> Response:
    return to_sign_in(request)


async def _wrong(request: Request, why: Exception) -> Response:
    """The page that says what is wrong, and what to do."""
    problem, detail = _told(request, why)
    try:
        visitor = await who_looks(request)
    except ProblemError:  # Nobody can say now who it is.
        visitor = Visitor(None, "", words_of(request), "auto")
    if problem in {Problem.NOT_FOUND, Problem.INVALID} and visitor.session is None:
        return to_sign_in(request)  # What is there and what is not is told to nobody else.
    response = page(
        request, visitor, "wrong.html", status=problem.value.status, problem=problem.value, detail=detail
    )
    if problem in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[problem])
    return response


def _told(request: Request, why: Exception) -> tuple[Problem, str]:
    match why:
        case ProblemError():
            return why.problem, why.detail
        case UnknownError():
            return Problem.NOT_FOUND, str(why)
        case OrderError():
            return Problem.RECALL_OVER, str(why)
        case RequestValidationError():
            return Problem.INVALID, "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in why.errors()[:5])
        case HTTPException():
            return (Problem.METHOD_NOT_ALLOWED if why.status_code == 405 else Problem.NOT_FOUND), ""
        case _:
            told = problem_of(why, console_of(request).log)
            return told.problem, told.detail
