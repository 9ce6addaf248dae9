"""The application: every route, and every error as a problem; `document` beside it publishes both.

Called by `api` on the command line and by the tests. What tells nothing of an account (health, metrics, the
document) needs no key.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Depends, FastAPI, Request
from fastapi.responses import PlainTextResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from consumers.api import accounts, clearances, recalls
from consumers.api.document import ABOUT, document
from consumers.api.routes import BEARER, api_of
from consumers.api.service import Api
from consumers.console import app as pages
from consumers.console.service import Console
from consumers.console.visitors import PREFIX
from infra.http.paths import EscapedPaths
from infra.http.problems import as_response, tell_problems
from infra.wire.asyncapi import VERSION


def build(api: Api, console: Console | None = None, *, exposition: Callable[[], bytes] | None = None) -> FastAPI:
    """The application that answers by these parts, with the console below it; `exposition` gives the metrics."""
    app = FastAPI(
        title="handoff-guard",
        version=VERSION,
        description=ABOUT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.api = api
    app.state.exposition = exposition or (lambda: generate_latest(api.metrics.registry))
    tell_problems(app)
    app.add_exception_handler(Exception, _fault)
    for router in (clearances.router, accounts.router):
        app.include_router(router, dependencies=[Depends(BEARER)])
    app.include_router(recalls.router)
    app.include_router(recalls.signed)
    app.add_api_route("/livez", _livez, include_in_schema=False)
    app.add_api_route("/readyz", _readyz, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    if console is not None:
        app.mount(PREFIX, pages.build(console))
        app.add_api_route("/", _to_console, include_in_schema=False)
        app.add_api_route(PREFIX, _to_console, include_in_schema=False)
    app.add_middleware(EscapedPaths)
    app.openapi = lambda: document(app)  # type: ignore[method-assign] # The framework's own way to change it.
    return app


async def _fault(request: Request, why: Exception) -> Response:
    return as_response(api_of(request).problem_of(why))


async def _to_console() -> Response:
    return RedirectResponse(f"{PREFIX}/", 307)


async def _livez() -> Response:
    return PlainTextResponse("ok\n")


async def _readyz(request: Request) -> Response:
    why = await api_of(request).is_ready()
    return PlainTextResponse("ok\n") if why is None else PlainTextResponse("the database does not answer\n", 503)


def _metrics(request: Request) -> Response:
    """In a thread, since the database is asked for some of them."""
    return Response(request.app.state.exposition(), media_type=CONTENT_TYPE_LATEST)
