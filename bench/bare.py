"""A bare indexed read through the web framework, server and pool of the API: the least that any answer costs.

`python -m bench.bare DATABASE_URL PORT`, started by `bench.questions`.
"""

from __future__ import annotations

import sys
import threading

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

from infra.http.server import Address, listen, serve
from infra.postgres.database import Database

READ = "SELECT has_case FROM account WHERE account_id = :account_id"


def build(database: Database) -> FastAPI:
    """One route, and one row by its primary key."""
    app = FastAPI()

    @app.get("/bare/{account_id}")
    def bare(account_id: str) -> Response:
        with database.transaction() as connection:
            found = connection.execute(sa.text(READ), {"account_id": account_id}).scalar_one_or_none()
        return PlainTextResponse(str(found))

    @app.get("/livez")
    def livez() -> Response:
        return PlainTextResponse("ok")

    return app


if __name__ == "__main__":
    address = Address("127.0.0.1", int(sys.argv[2]))
    serve(
        build(Database(sys.argv[1], application="bench-bare", pool_size=8)),
        address,
        listen(address),
        threading.Event(),
    )
