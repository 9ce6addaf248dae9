"""`python -m bench.holdings [--rows N] [--rounds N] [--json]`: an agency's list compared, beside `sort` and `join`.

Measures `handoff-guard reconcile` as a process of its own on an embedded PostgreSQL, and coreutils on the same two
files in the same round, our side exported to a file first. Coreutils only pair the lines: they judge nothing, keep
nothing, and know no column but by its place. Also called by `bench.__main__`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psycopg2

from infra.embedded.postgres import EmbeddedPostgres
from infra.postgres import schema
from infra.postgres.database import Database

ROWS = 1_000_000
ROUNDS = 3

SORT_MEMORY = "128M"
"""Of `sort`: what one step of our session may have (work_mem, twice for a hash)."""

ONE_IN = 1_000
"""Of so many placements one is a ghost, one an orphan, one missing, and one of another amount."""

STRIDE = 2_654_435_761
"""A prime: by its multiples every number comes once, and far from those before."""

AGENCIES = """
[agency.agency-list.holdings]
placement_id = "Case"
outstanding = "Balance"
currency = "Currency"
"""


class ReconcileError(Exception):
    """The comparison did not find what was laid; the message is its own."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one comparison took, and coreutils on the same files: seconds are medians, memory is the most."""

    rows: int
    list_bytes: int
    seconds: float
    peak_mib: float
    coreutils_seconds: float
    counts: dict[str, int]

    @property
    def of_coreutils(self) -> float:
        """How many times as long as `sort` and `join`."""
        return self.seconds / self.coreutils_seconds


def measure(database_url: str, folder: Path, *, rows: int, rounds: int = ROUNDS) -> Holdings:
    """Lay so many placements, write the list, and measure both on it, round by round."""
    theirs, ours, entries = folder / "theirs.csv", folder / "ours.csv", folder / "agencies.toml"
    entries.write_text(AGENCIES)
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor, ours.open("wb") as out:
            cursor.execute(_LAY, {"rows": rows})
            cursor.execute(_RECALL, {"one_in": ONE_IN})
            cursor.execute("VACUUM (ANALYZE) placement")
            cursor.execute("VACUUM (ANALYZE) recall")
            cursor.copy_expert(_EXPORT, out)
    _write_list(theirs, rows)
    taken = [(_reconcile(database_url, theirs, entries), _coreutils(theirs, ours)) for _ in range(rounds)]
    return Holdings(
        rows,
        theirs.stat().st_size,
        median(one[0] for one, _ in taken),
        max(one[1] for one, _ in taken),
        median(seconds for _, seconds in taken),
        taken[0][0][2],
    )


def _write_list(file: Path, rows: int) -> None:
    """The list, in another order than ours, as an agency's export is.

    Nothing of it is kept here: the peak of a process that we start begins with ours.
    """
    with file.open("w") as out:
        out.write("Case,Balance,Currency,Collector,Opened\n")
        for place in range(rows):
            number = place * STRIDE % rows
            kind = number % ONE_IN
            name = f"u-{number:012d}" if kind == 1 else f"l-{number:012d}"
            amount = 5_000 + number % 145_000 + (kind == 3)
            if kind != 2:
                out.write(f"{name},{amount},RUB,desk {number % 7},2026-10-{1 + number % 28:02d}\n")


def _reconcile(database_url: str, theirs: Path, entries: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds, peak resident MiB, and what was found."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GUARD_")},
        "GUARD_DATABASE_URL": database_url,
        "GUARD_AGENCIES_FILE": str(entries),
        "GUARD_LOG_LEVEL": "ERROR",
    }
    command = [
        sys.executable,
        "-m",
        "consumers.main",
        "reconcile",
        "agency-list",
        str(theirs),
        "--json",
        "--show",
        "0",
    ]
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        told = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 1:
        raise ReconcileError(f"status {process.returncode}: {told}")
    return seconds, usage.ru_maxrss / 1024, json.loads(told)["counts"]


def _coreutils(theirs: Path, ours: Path) -> float:
    """Seconds to sort both files and to join them, unpaired lines too."""
    sort = f"sort -S {SORT_MEMORY} -t, -k1,1"
    script = (
        f"tail -n +2 {theirs} | {sort} > {theirs}.sorted && {sort} {ours} > {ours}.sorted && "
        f"join -t, -a1 -a2 -e- -o 0,1.2,1.3,2.2,2.3 {theirs}.sorted {ours}.sorted > {theirs}.joined"
    )
    began = time.perf_counter()
    subprocess.run(["/bin/sh", "-c", script], check=True, env={**os.environ, "LC_ALL": "C"})
    return time.perf_counter() - began


_LAY = """
INSERT INTO placement (account_id, placement_id, debt_id, agency_id, amount, currency, placed_at, guarded, told,
                       suspended, is_open)
SELECT 'h-' || lpad(n::text, 9, '0'), 'l-' || lpad(n::text, 12, '0'), 'd-' || lpad(n::text, 9, '0'), 'agency-list',
       5000 + n %% 145000, 'RUB', timestamptz '2026-10-01', true, 5000 + n %% 145000, false, true
FROM generate_series(0, %(rows)s - 1) n"""

_RECALL = """
INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
                    requested_at, acknowledge_by, trigger_source, trigger_id, known_since, swept)
SELECT account_id, placement_id, 'r-' || placement_id, debt_id, agency_id, 'DEBT_SETTLED', 'paid_after_placement',
       0, currency, timestamptz '2026-10-02', timestamptz '2026-10-03', 'bench', placement_id,
       timestamptz '2026-10-02', false
FROM placement WHERE agency_id = 'agency-list' AND substr(placement_id, 3)::bigint %% %(one_in)s = 0"""


_EXPORT = """
COPY (SELECT placement_id, told, currency FROM placement WHERE agency_id = 'agency-list') TO STDOUT (FORMAT csv)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status says only that it ran."""
    parser = argparse.ArgumentParser(prog="python -m bench.holdings", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as name:
        folder = Path(name)
        with EmbeddedPostgres(folder / "postgres", settings={"max_wal_size": "4GB"}) as postgres:
            with closing(Database(postgres.url, application="bench")) as database:
                schema.upgrade(database)
            found = measure(postgres.url, folder, rows=parsed.rows, rounds=parsed.rounds)
    print(json.dumps(asdict(found)) if parsed.json else "\n".join(in_words(found)))
    return 0


def in_words(one: Holdings) -> list[str]:
    """What was measured, as lines of text."""
    size = f"{one.rows:,} placements, a list of {one.list_bytes / 2**20:.0f} MiB"
    return [
        f"{size:<42}{'seconds':>10}{'ratio':>10}{'peak':>10}",
        f"  {'reconcile':<40}{one.seconds:>10.2f}{one.of_coreutils:>10.2f}{one.peak_mib:>6.0f} MiB",
        f"  {'sort and join of the same files':<40}{one.coreutils_seconds:>10.2f}",
    ]


if __name__ == "__main__":
    raise SystemExit(main())
