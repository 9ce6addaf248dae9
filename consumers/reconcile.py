"""`reconcile AGENCY FILE`: what an agency says it holds, beside what it ought to hold.

Called by `consumers.reconcile_command`. Loads the list, waits until all that was acknowledged by then is in the
state, compares in one snapshot, keeps what it found, and mends it where that was asked. A list that looks like
another agency's is compared and not mended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from consumers.barrier import BehindError
from consumers.mend import Mend, Mended
from consumers.teller import NO_BROKER
from domain.agency import Agency
from domain.holdings import DIFFERENCES, Kind, counted_as, is_of_another
from infra.holdings_file import HashedFile, HoldingsFileError, read_rows
from infra.logs import Logger
from infra.postgres.holdings import Comparison, Found, Kept, Read, Reconciliations, Run

OF_ANOTHER = (
    "more than half of the list was never placed with this agency: is it this agency's, and are the columns right? "
    "--even-so mends it all the same"
)
BEHIND = "orphans are not recalled: what was placed may not be in the state yet: "


class Crossing(Protocol):
    """What waits until all that was acknowledged is in the state."""

    def cross(self) -> None:
        """Raises BehindError where that can't be said."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One comparison as it was asked for; `fix` mends, and `even_so` does so whatever the list looks like."""

    agency: Agency
    file_name: str
    as_of: datetime | None
    by: str
    fix: bool = False
    even_so: bool = False
    show: int = 10


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `behind` says what our state may not have yet, `refused` why not all was mended."""

    kept: Kept
    as_of: datetime
    found: Mapping[Kind, list[Found]]
    behind: str | None
    mended: Mended | None
    refused: tuple[str, ...] = ()

    @property
    def differs(self) -> bool:
        """Whether the two lists are not the same."""
        return any(self.kept.counts[counted_as(kind)] for kind in DIFFERENCES)


class Reconcile:
    """Compares lists with one database; `barrier` is None where no broker is named."""

    def __init__(
        self,
        *,
        reconciliations: Reconciliations,
        barrier: Crossing | None,
        mend: Mend,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], str],
        log: Logger,
    ) -> None:
        self._reconciliations = reconciliations
        self._barrier = barrier
        self._mend = mend
        self._now = now
        self._new_id = new_id
        self._log = log

    def run(self, asked: Asked, file: HashedFile) -> Report:
        """Compare a list. Raises HoldingsFileError where it can't be read, and then nothing is kept."""
        started_at = self._now()
        as_of = asked.as_of or started_at
        run = Run(self._new_id(started_at), asked.agency.agency_id, as_of, started_at, asked.by)
        with self._reconciliations.comparing() as comparison:
            read = comparison.load(read_rows(file, asked.agency.holdings))
            _refuse_unreadable(read)
            behind = self._behind()
            kept = comparison.compare(
                run, file_name=asked.file_name, file_sha256=file.sha256(), read=read, finished_at=self._now()
            )
            self._log.info(
                "reconciliation.kept",
                reconciliation_id=run.reconciliation_id,
                agency_id=run.agency_id,
                rows=read.rows,
                **kept.counts,
            )
            mended, refused = self._fix(asked, comparison, run, kept, behind) if asked.fix else (None, ())
        found = {
            kind: self._reconciliations.first(run.reconciliation_id, kind, limit=asked.show)
            for kind in Kind
            if kept.counts[counted_as(kind)]
        }
        return Report(kept, as_of, found, behind, mended, refused)

    def _behind(self) -> str | None:
        if self._barrier is None:
            return NO_BROKER
        try:
            self._barrier.cross()
        except BehindError as why:
            return str(why)
        return None

    def _fix(
        self, asked: Asked, comparison: Comparison, run: Run, kept: Kept, behind: str | None
    ) -> tuple[Mended, tuple[str, ...]]:
        mended = Mended()
        orphans = kept.counts[counted_as(Kind.ORPHAN)]
        if is_of_another(kept.rows, orphans) and not asked.even_so:
            return mended, (OF_ANOTHER,)
        refused: tuple[str, ...] = ()
        self._mend.ghosts(comparison, run, mended)
        if orphans and behind is not None and self._barrier is not None:
            refused = (f"{BEHIND}{behind}",)
        elif orphans:
            self._mend.orphans(comparison, run, mended)
        self._reconciliations.fixed(run.reconciliation_id, mended.fixed)
        self._log.warning(
            "reconciliation.fixed",
            reconciliation_id=run.reconciliation_id,
            agency_id=run.agency_id,
            left=sum(mended.left.values()),
            **mended.fixed,
        )
        return mended, refused


def _refuse_unreadable(read: Read) -> None:
    """A list in which no line can be read is of other columns, another format or another encoding."""
    if read.rows and not read.named:
        raise HoldingsFileError(
            f"none of its {read.rows} rows can be read; line {read.first_bad_line}: {read.first_problem}"
        )
