"""An agency's list beside the placements: loaded, compared, and what was found kept.

Called by `reconcile`. The list goes into a temporary table of one session, a chunk a transaction, so that a long
file keeps no old row alive; the comparison is one snapshot of reads, and one commit. Nothing is decided in the
process, and no more of a list is in it than a chunk.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from domain.holdings import Kind, counted_as
from infra.postgres import holdings_sql as sql
from infra.postgres.database import Database, Session, raw

COMPARE_DEADLINE_SECONDS = 900.0
"""Ten times what twenty million rows take. It locks nothing, but keeps old versions of rows alive meanwhile."""

COPY_READ_BYTES = 1 << 20

ROWS_MAX = 20_000_000
"""Of one list: more than any agency holds, and some 2 GB of the server's disk for as long as it takes."""

Row = tuple[int, str, int | str, str, str, str, str]
"""Line, placement, outstanding, currency, account, debt, problem; '' is NULL, no text has a control character."""

_STEPS = (sql.UNREAD, sql.TWICE, sql.DUPLICATES, sql.DIFFERENCES, sql.OURS, sql.ORPHANS)

_LINE = "%d\t%s\t%s\t%s\t%s\t%s\t%s\n"


class TooManyRowsError(Exception):
    """A list is longer than a list can be; nothing was kept."""


@dataclass(frozen=True, slots=True)
class Run:
    """One comparison: whose list it was, and as of when it counts. `name` and `sha256` are the file's."""

    reconciliation_id: str
    agency_id: str
    as_of: datetime
    started_at: datetime
    done_by: str


@dataclass(slots=True)
class Read:
    """What was read so far: rows that say anything, those of them that are bad, and the first of these."""

    rows: int = 0
    bad: int = 0
    named: bool = False
    """Whether any row names a placement."""
    first_bad_line: int = 0
    first_problem: str = ""

    def count(self, chunk: Sequence[Row]) -> None:
        """Count these rows. Raises TooManyRowsError."""
        self.rows += len(chunk)
        if self.rows > ROWS_MAX:
            raise TooManyRowsError(f"the list has more than {ROWS_MAX:,} rows")
        bad = [row for row in chunk if row[6]]
        if bad and not self.bad:
            self.first_bad_line, self.first_problem = bad[0][0], bad[0][6]
        self.bad += len(bad)
        self.named = self.named or any(row[1] for row in chunk)


@dataclass(frozen=True, slots=True)
class Kept:
    """A comparison as it is kept."""

    reconciliation_id: str
    agency_id: str
    file_name: str
    file_sha256: str
    rows: int
    bad_rows: int
    counts: Mapping[str, int]
    fixed: Mapping[str, int] | None
    started_at: datetime
    finished_at: datetime
    done_by: str


@dataclass(frozen=True, slots=True)
class Found:
    """One difference; `line` is 0 for what is missing in the list."""

    kind: str
    line: int
    placement_id: str
    detail: str
    account_id: str
    theirs_minor: int | None
    ours_minor: int | None
    currency: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class Ghost:
    """A ghost to mend; `recall_id` is '' where there is none, `with_people` where it was answered or taken over."""

    line: int
    placement_id: str
    account_id: str
    recall_id: str
    with_people: bool


@dataclass(frozen=True, slots=True)
class Orphan:
    """An orphan to mend, as the list has it; `is_placed` where it or its debt is placed after all."""

    line: int
    placement_id: str
    account_id: str
    debt_id: str
    outstanding: int
    currency: str
    is_placed: bool


class Reconciliations:
    """The comparisons of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def comparing(self) -> Iterator[Comparison]:
        """A list to be loaded and compared; it is gone where the block ends."""
        with self._database.session() as session:
            with session.transaction() as connection:
                connection.execute(sa.text(sql.MEMORY))
                connection.execute(sa.text(sql.HOLDING))
            yield Comparison(session)

    def earlier(self, agency_id: str, *, limit: int) -> list[Kept]:
        """The comparisons of an agency, newest first."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(sql.EARLIER), {"agency_id": agency_id, "limit": limit})
            return [Kept(*row) for row in rows]

    def first(self, reconciliation_id: str, kind: Kind, *, limit: int) -> list[Found]:
        """The first findings of a kind."""
        named = {"reconciliation_id": reconciliation_id, "kind": kind, "limit": limit}
        with self._database.transaction() as connection:
            return [Found(*row) for row in connection.execute(sa.text(sql.FIRST), named)]

    def latest(self, agency_id: str | None = None) -> dict[str, Kept]:
        """The newest comparison of each agency, or of one."""
        with self._database.transaction() as connection:
            rows = connection.execute(sa.text(sql.LATEST), {"agency_id": agency_id})
            return {one.agency_id: one for one in (Kept(*row) for row in rows)}

    def page(self, reconciliation_id: str, *, after: tuple[str, str, int], limit: int) -> list[Found]:
        """The findings of a comparison by kind, placement and line, from behind one of these."""
        kind, placement_id, line = after
        named = {
            "reconciliation_id": reconciliation_id,
            "kind": kind,
            "placement_id": placement_id,
            "line": line,
            "limit": limit,
        }
        with self._database.transaction() as connection:
            return [Found(*row) for row in connection.execute(sa.text(sql.FINDINGS), named)]

    def fixed(self, reconciliation_id: str, counts: Mapping[str, int]) -> None:
        """Keep how many findings were mended."""
        named = {"reconciliation_id": reconciliation_id, "fixed": json.dumps(counts)}
        with self._database.transaction() as connection:
            connection.execute(sa.text(sql.KEEP_FIXED), named)


class Comparison:
    """One list in one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def load(self, chunks: Iterable[Sequence[Row]]) -> Read:
        """Take the rows in; while one chunk is on its way the next is read."""
        read = Read()
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as threads:
            on_its_way: Future[None] | None = None
            for chunk in chunks:
                read.count(chunk)
                text = "".join([_LINE % row for row in chunk])
                if on_its_way is not None:
                    on_its_way.result()
                on_its_way = threads.submit(self._copy, text)
            if on_its_way is not None:
                on_its_way.result()
        with self._long() as connection:
            connection.execute(sa.text(sql.ANALYZE))
        return read

    def compare(self, run: Run, *, file_name: str, file_sha256: str, read: Read, finished_at: datetime) -> Kept:
        """Find every difference in one snapshot, and keep them."""
        named = {"reconciliation_id": run.reconciliation_id, "agency_id": run.agency_id, "as_of": run.as_of}
        with self._long(sql.SNAPSHOT) as connection:
            for statement in _STEPS:
                connection.execute(sa.text(statement), named)
            found = {str(kind): int(count) for kind, count in connection.execute(sa.text(sql.COUNTS), named)}
            counts = {counted_as(kind): found.get(kind, 0) for kind in Kind}
            kept = Kept(
                run.reconciliation_id,
                run.agency_id,
                file_name,
                file_sha256,
                read.rows,
                read.bad,
                counts,
                None,
                run.started_at,
                finished_at,
                run.done_by,
            )
            values = {name: getattr(kept, name) for name in Kept.__slots__ if name not in {"counts", "fixed"}}
            connection.execute(sa.text(sql.KEEP), {**values, "counts": json.dumps(counts)})
        return kept

    def ghosts(self, run: Run, *, limit: int) -> Iterator[list[Ghost]]:
        """The ghosts that were found, some at a time."""
        after = ("", 0)
        while rows := self._page(sql.GHOSTS_TO_FIX, run, after, limit):
            page = [Ghost(*row) for row in rows]
            after = (page[-1].placement_id, page[-1].line)
            yield page

    def orphans(self, run: Run, *, limit: int) -> Iterator[list[Orphan]]:
        """The orphans that were found, some at a time."""
        with self._long() as connection:
            connection.execute(sa.text(sql.BY_LINE))
        after = ("", 0)
        while rows := self._page(sql.ORPHANS_TO_FIX, run, after, limit):
            page = [Orphan(*row) for row in rows]
            after = (page[-1].placement_id, page[-1].line)
            yield page

    def _page(
        self, statement: str, run: Run, after: tuple[str, int], limit: int
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:  # `Any`: rows are untyped.
        named = {
            "reconciliation_id": run.reconciliation_id,
            "agency_id": run.agency_id,
            "after_placement": after[0],
            "after_line": after[1],
            "limit": limit,
        }
        with self._session.transaction() as connection:
            return connection.execute(sa.text(statement), named).all()

    def _copy(self, text: str) -> None:
        # Only the backslash means something to COPY.
        escaped = text.replace("\\", "\\\\") if "\\" in text else text
        with self._session.transaction() as connection, raw(connection).cursor() as cursor:
            cursor.copy_expert(sql.COPY, io.StringIO(escaped), COPY_READ_BYTES)

    @contextmanager
    def _long(self, first: str | None = None) -> Iterator[sa.Connection]:
        """A transaction that may take its time."""
        with self._session.transaction(deadline_seconds=COMPARE_DEADLINE_SECONDS) as connection:
            if first:
                connection.execute(sa.text(first))
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            yield connection


def mark_fixed(connection: sa.Connection, run: Run, kind: Kind, placement_ids: Sequence[str], at: datetime) -> None:
    """Say of these findings that they were mended."""
    named = {"reconciliation_id": run.reconciliation_id, "kind": kind, "placements": list(placement_ids), "at": at}
    connection.execute(sa.text(sql.MARK_FIXED), named)


def sign_recalls(connection: sa.Connection, accounts: Sequence[str], recall_ids: Sequence[str], by: str) -> None:
    """Say who ordered these recalls."""
    named = {"accounts": list(accounts), "recalls": list(recall_ids), "by": by}
    connection.execute(sa.text(sql.SIGN_RECALLS), named)
