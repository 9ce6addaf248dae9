"""Questions over HTTP while `ingest` works: how many a second and how long, beside a bare indexed read.

Called by `bench.__main__`. Eight clients ask one question after the other over connections that they keep; the bare
read is one row by its primary key, through the same web framework, server and connection pool, asked by the same
clients under the same load. A batch is asked over HTTP, sent and read at the same time; beside it stand the same
lookups as bare SQL in sets of the same size, once alone and once with the same rows written.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg2

from bench.feed import send_at_pace
from bench.latency import quantile
from bench.parts import HOST, READY_SECONDS, BenchError, Parts, apart, ends, guard, started_process, wait_for
from bench.workload import account_name
from domain.access import Scope
from infra.embedded import free_ports
from infra.postgres import ledger_sql as sql
from infra.postgres.api_keys import ApiKeys
from infra.postgres.database import Database
from infra.settings import Settings

CLIENTS = 8
SET_QUESTIONS: int = Settings.model_fields["api_questions_at_once_max"].default
FIRST_PART = 0x4000
"""Parts of the stream from here on are this module's."""

READ_SECONDS = 120.0
"""For a stream that came faster than it is read."""

MARGIN_SECONDS = 2.0
"""The stream goes on so long beyond what is measured under it."""

POLICY = "[notices]\ndebt_reminders = 0\n"
"""Nobody was reminded in this state; so that what is owed is clear."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What eight clients had: answers a second, and times in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float
    answers: dict[str, int]


@dataclass(frozen=True, slots=True)
class Questions:
    """One pace of the stream, in events a second: the clearances and the bare read beside them."""

    asked_pace: int
    kept_pace: float
    clearances: Asked
    bare: Asked


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch: answers a second, beside the lookups in SQL alone, and with the same rows written."""

    questions: int
    per_second: float
    lookups_per_second: float
    written_per_second: float


@contextmanager
def asking(parts: Parts) -> Iterator[tuple[int, int, str]]:
    """The API and the bare read, each a process; gives their ports and a key."""
    policy = parts.folder / "policy.toml"
    policy.write_text(POLICY)
    port, bare_port = free_ports(2)
    with closing(Database(parts.database_url, application="bench")) as database:
        _, key = ApiKeys(database).create("bench", set(Scope), by="bench")
    bare = [sys.executable, "-m", "bench.bare", parts.database_url, str(bare_port)]
    with (
        guard(parts, "ingest"),
        guard(parts, "api", api_port=port, policy_file=policy, api_rate_per_second=0),
        started_process(bare, parts.folder / "bare.log"),
    ):
        for one in (port, bare_port):
            wait_for(one)
        yield port, bare_port, key


def measure(
    parts: Parts, ports: tuple[int, int, str], *, pace: int, seconds: float, part: int, accounts: Sequence[int]
) -> Questions:
    """Ask under the stream at this pace, then read under the same."""
    port, bare_port, key = ports
    _wait_until_read(parts)
    whole = 2 * seconds + 2 * MARGIN_SECONDS
    with ThreadPoolExecutor(1) as threads:
        begin = sum(ends(parts).values())
        load = threads.submit(apart, send_at_pace, parts, FIRST_PART + part, per_second=pace, seconds=whole)
        while sum(ends(parts).values()) == begin:
            time.sleep(0.1)
        clearances = apart(ask_for, port, key, accounts, seconds)
        bare = apart(ask_for, bare_port, "", accounts, seconds)
        kept_pace = load.result()
    return Questions(pace, kept_pace, clearances, bare)


def measure_batch(parts: Parts, ports: tuple[int, int, str], accounts: Sequence[int]) -> Batch:
    """Ask for all of these in one batch; the SQL beside it before and after, so that both have warm pages.

    What the stream has left unread is read first, or the batch would wait for it.
    """
    _wait_until_read(parts)
    lookups = look_up(parts, accounts, write=False)
    began = time.monotonic()
    answers = ask_batch(ports[0], ports[2], accounts)
    per_second = len(accounts) / (time.monotonic() - began)
    if answers != len(accounts):
        raise BenchError(f"{answers} answers to {len(accounts)} questions")
    lookups = (lookups + look_up(parts, accounts, write=False)) / 2
    return Batch(len(accounts), per_second, lookups, look_up(parts, accounts, write=True))


def ask_for(port: int, key: str, accounts: Sequence[int], seconds: float) -> Asked:
    """Eight clients for so long; without a key they make the bare read."""
    return asyncio.run(_ask_for(port, key, accounts, seconds))


async def _ask_for(port: int, key: str, accounts: Sequence[int], seconds: float) -> Asked:
    until = time.monotonic() + seconds
    times: list[float] = []
    answers: Counter[str] = Counter()
    clients = (_client(port, key, accounts[one::CLIENTS], until, times, answers) for one in range(CLIENTS))
    began = time.monotonic()
    await asyncio.gather(*clients)
    took = time.monotonic() - began
    times.sort()
    p50, p99 = quantile(times, 0.5) * 1000, quantile(times, 0.99) * 1000
    return Asked(len(times) / took, p50, p99, dict(answers))


async def _client(
    port: int, key: str, accounts: Sequence[int], until: float, times: list[float], answers: Counter[str]
) -> None:
    reader, writer = await asyncio.open_connection(HOST, port)
    number = 0
    while time.monotonic() < until:
        request = _request(key, accounts[number % len(accounts)])
        number += 1
        began = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = await reader.readexactly(length)
        times.append(time.monotonic() - began)
        status = head.split(b" ", 2)[1].decode()
        answers[str(json.loads(body).get("decision", status)) if key else status] += 1
    writer.close()


def _request(key: str, account: int) -> bytes:
    name = account_name(account)
    if not key:
        return f"GET /bare/{name} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    body = _question(account)
    head = f"POST /v1/clearances HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {key}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _question(account: int) -> bytes:
    about = {"account_id": account_name(account), "debt_id": f"d-{account:09d}", "agency_id": "agency-1"}
    return json.dumps(about).encode()


def ask_batch(port: int, key: str, accounts: Iterable[int]) -> int:
    """Send a batch and read its answers at the same time; how many came."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=READY_SECONDS)) as connection:
        connection.putrequest("POST", "/v1/clearances/batch")
        connection.putheader("Authorization", f"Bearer {key}")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        sending = threading.Thread(target=_send, args=(connection, list(accounts)))
        sending.start()
        response = connection.getresponse()
        answers = sum(1 for line in response if b'"decision":' in line)
        sending.join()
    return answers


def _send(connection: http.client.HTTPConnection, accounts: Sequence[int]) -> None:
    for first in range(0, len(accounts), SET_QUESTIONS):
        some = b"".join(_question(one) + b"\n" for one in accounts[first : first + SET_QUESTIONS])
        connection.send(f"{len(some):x}\r\n".encode() + some + b"\r\n")
    connection.send(b"0\r\n\r\n")


def look_up(parts: Parts, accounts: Sequence[int], *, write: bool) -> float:
    """The lookups of a batch as SQL in sets of the same size; with the rows that it writes, where asked for."""
    answer, record = _rows_as_written(parts)
    with closing(psycopg2.connect(parts.database_url)) as connection, connection.cursor() as cursor:
        if write:
            cursor.execute(_MIRRORS)
        began = time.monotonic()
        for first in range(0, len(accounts), SET_QUESTIONS):
            names = [account_name(one) for one in accounts[first : first + SET_QUESTIONS]]
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_mergejoin = off")
            for statement in _LOOKUPS:
                cursor.execute(statement, {"accounts": names})
                cursor.fetchall()
            if write:
                cursor.execute(_WRITE, {"accounts": names, "answer": answer, "record": record})
            connection.commit()
        return len(accounts) / (time.monotonic() - began)


def _rows_as_written(parts: Parts) -> tuple[str, bytes]:
    """One answer as the API keeps it, and its record for `guard.decisions`."""
    newest = """
        SELECT c.answer::text, o.value FROM clearance c JOIN outbox o ON o.account_id = c.account_id
        WHERE o.topic = 'guard.decisions' LIMIT 1"""
    with closing(psycopg2.connect(parts.database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(newest)
        ((answer, record),) = cursor.fetchall()
        return answer, bytes(record)


def _wait_until_read(parts: Parts) -> None:
    end, deadline = sum(ends(parts).values()), time.monotonic() + READ_SECONDS
    with closing(psycopg2.connect(parts.database_url)) as connection, connection.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT coalesce(sum(position), 0) FROM stream_position")
            ((at,),) = cursor.fetchall()
            connection.rollback()
            if at >= end:
                return
            time.sleep(0.1)
    raise BenchError(f"the stream is not read to its end after {READ_SECONDS:.0f} s")


def _bound(statement: str) -> str:
    return statement.replace(":accounts", "%(accounts)s")


_LOOKUPS = (
    _bound(sql.LOCK_THESE),
    _bound(sql.FACTS),
    _bound(sql.SAID),
    "SELECT DISTINCT account_id FROM hold WHERE account_id = ANY(%(accounts)s)",
)
"""What a set of questions looks up, by the same statements."""

_MIRRORS = """
CREATE TABLE IF NOT EXISTS clearance_mirror (LIKE clearance INCLUDING ALL);
CREATE TABLE IF NOT EXISTS outbox_mirror (LIKE outbox INCLUDING ALL)"""

_WRITE = """
INSERT INTO clearance_mirror (account_id, clearance_id, debt_id, agency_id, decision, outstanding, currency,
                              decided_at, expires_at, asked_by, answer)
SELECT account_id, gen_random_uuid()::text, 'd', 'agency-1', 'clear', 1, 'RUB', now(), now(), 'bench',
       CAST(%(answer)s AS jsonb)
FROM unnest(CAST(%(accounts)s AS text[])) AS wanted (account_id);
INSERT INTO outbox_mirror (account_id, placement_id, topic, key, value, headers, created_at)
SELECT account_id, '', 'guard.decisions', convert_to(account_id, 'UTF8'), %(record)s, '[]', now()
FROM unnest(CAST(%(accounts)s AS text[])) AS wanted (account_id)"""
"""The same rows at their least: made by the server of one answer, into tables of the same make."""
