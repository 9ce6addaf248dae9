"""`python -m bench.console [--accounts N] [--placements N] [--open N] [--json]`: the first page on a large state.

Measures the time to the first byte of the page, beside the bare queries that it is made of in the same round; and
what an open page costs the database, for one that is open and for twenty. The `api` is a process of its own, on an
embedded Kafka and PostgreSQL.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import psycopg2

from bench.parts import BenchError, Parts, guard, sql, started, wait_for
from domain.access import Scope
from infra.embedded import free_ports
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from infra.postgres.overview import Overviews

ACCOUNTS = 1_000_000
PLACEMENTS = 50_000
OPEN = 500
ROUNDS = 7

STALE_SECONDS = 2.2
"""After which a page takes a look of its own (see `consumers.console.watch`)."""

OPEN_SECONDS = 20.0
"""For how long the cost of open pages is counted."""

PAGES = (1, 20)

DEADLINE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What open pages cost the database: transactions, and milliseconds in which it worked, each second."""

    pages: int
    transactions: float
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Found:
    """Medians in milliseconds, and the costs."""

    accounts: int
    placements: int
    open_recalls: int
    page: float
    kept_page: float
    queries: float
    costs: tuple[Cost, ...]


def measure(parts: Parts, *, accounts: int, placements: int, opened: int) -> Found:
    """Lay the state, start the `api`, and measure."""
    lay = {"accounts": accounts, "placements": placements, "open": opened}
    sql(parts, *(statement.format(**lay) for statement in (_ACCOUNTS, _PLACEMENTS, _RECALLS)), "VACUUM (ANALYZE)")
    (port,) = free_ports(1)
    with (
        closing(Database(parts.database_url, application="bench")) as database,
        guard(parts, "api", api_port=port),
    ):
        _, key = ApiKeys(database).create("bench", [Scope.READ], by="bench")
        wait_for(port)
        cookie = _sign_in(port, key)
        overviews = Overviews(database)
        pages, kept, queries = [], [], []
        for _ in range(ROUNDS):
            time.sleep(STALE_SECONDS)
            pages.append(_first_byte(port, cookie))
            kept.append(_first_byte(port, cookie))
            began = time.perf_counter()
            overviews.read(datetime.now(UTC))
            queries.append(time.perf_counter() - began)
        costs = tuple(_cost(parts.database_url, port, cookie, number) for number in PAGES)
    page, kept_page, bare = (1000 * median(one) for one in (pages, kept, queries))
    return Found(accounts, placements, opened, page, kept_page, bare, costs)


def _sign_in(port: int, key: str) -> str:
    """The session's cookie."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    connection.request("GET", "/console/sign-in")
    form = connection.getresponse()
    mark = (form.getheader("set-cookie") or "").partition(";")[0]
    token = re.search(rb'name="form_token" value="([^"]+)"', form.read())
    sent = urlencode({"key": key, "form_token": token[1].decode() if token else "", "next": ""})
    headers = {"Cookie": mark, "Content-Type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/console/sign-in", sent, headers)
    answer = connection.getresponse()
    answer.read()
    cookies = [value for name, value in answer.getheaders() if name.lower() == "set-cookie"]
    return next(one.partition(";")[0] for one in cookies if one.startswith("guard-session="))


def _first_byte(port: int, cookie: str) -> float:
    """Seconds until the first page begins."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
    began = time.perf_counter()
    connection.request("GET", "/console/", headers={"Cookie": cookie})
    answer = connection.getresponse()
    answer.read(1)
    seconds = time.perf_counter() - began
    if answer.status != http.client.OK:
        raise BenchError(f"the page is answered with {answer.status}")
    connection.close()
    return seconds


def _cost(database_url: str, port: int, cookie: str, pages: int) -> Cost:
    """Keep so many pages open for a while, and see what the database did meanwhile."""
    opened = [http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS) for _ in range(pages)]
    for one in opened:
        one.request("GET", "/console/live/now", headers={"Cookie": cookie})
        answer = one.getresponse()
        threading.Thread(target=_drain, args=(answer,), daemon=True).start()
    time.sleep(STALE_SECONDS)
    before = _worked(database_url)
    began = time.monotonic()
    time.sleep(OPEN_SECONDS)
    after, seconds = _worked(database_url), time.monotonic() - began
    for one in opened:
        if one.sock is not None:
            one.sock.close()
        one.close()
    return Cost(pages, (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds)


def _drain(answer: http.client.HTTPResponse) -> None:
    try:
        while answer.read1(65_536):
            pass
    except (OSError, ValueError, AttributeError):
        return  # It was closed.


def _worked(database_url: str) -> tuple[float, float]:
    """Transactions, and milliseconds in which sessions worked, of this database until now."""
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT xact_commit, active_time FROM pg_stat_database WHERE datname = current_database()")
        row = cursor.fetchone()
    return (float(row[0]), float(row[1])) if row else (0.0, 0.0)


_ACCOUNTS = """
INSERT INTO account (account_id, has_case)
SELECT 'c-' || lpad(n::text, 9, '0'), n < 50000 FROM generate_series(0, {accounts} - 1) n"""

_PLACEMENTS = """
INSERT INTO placement (account_id, placement_id, debt_id, agency_id, amount, currency, placed_at, guarded, told,
                       suspended, is_open)
SELECT 'c-' || lpad(n::text, 9, '0'), 'l-' || lpad(n::text, 9, '0'), 'd-1', 'agency-' || n % 5,
       5000 + n, 'RUB', clock_timestamp() - interval '9 days', true, 5000 + n, false, true
FROM generate_series(0, {placements} - 1) n"""

# All are recalled within the last day; the newest so many of them are still open.
_RECALLS = """
INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
                    requested_at, acknowledge_by, trigger_source, trigger_id, known_since, paid_at, swept, sent_at,
                    acknowledged_at)
SELECT account_id, placement_id, 'r-' || placement_id, debt_id, agency_id, 'DEBT_SETTLED', 'paid_after_placement',
       0, currency, at + interval '20 ms', at + interval '1 hour', 'bench', placement_id, at, at, false,
       at + interval '50 ms', CASE WHEN n >= {open} THEN at + interval '4 minutes' END
FROM (SELECT *, row_number() OVER (ORDER BY placement_id) - 1 AS n FROM placement) p,
     LATERAL (SELECT clock_timestamp() - interval '1 minute' - n * interval '1.6 s' AS at) t"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status says only that it ran."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--placements", type=int, default=PLACEMENTS)
    parser.add_argument("--open", type=int, default=OPEN)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as name, started(Path(name)) as parts:
        found = measure(parts, accounts=parsed.accounts, placements=parsed.placements, opened=parsed.open)
    print(json.dumps(asdict(found)) if parsed.json else "\n".join(in_words(found)))
    return 0


def in_words(one: Found) -> list[str]:
    """What was measured, as lines of text."""
    size = f"{one.accounts:,} accounts, {one.placements:,} placements, {one.open_recalls:,} open recalls"
    return [
        size,
        f"  {'first byte of the page, with a look of its own':<50}{one.page:>8.0f} ms",
        f"  {'the same within two seconds of a look':<50}{one.kept_page:>8.0f} ms",
        f"  {'the bare queries of a look':<50}{one.queries:>8.0f} ms{one.page / one.queries:>8.2f} times",
        *(
            f"  {f'{cost.pages} open: transactions, and work of the database':<50}{cost.transactions:>8.1f} /s"
            f"{cost.milliseconds:>8.1f} ms/s"
            for cost in one.costs
        ),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
