"""What agencies leave in files: each line is an event, applied as those of the streams are, or set aside alone.

Called by a lane whose channel has such files. A file is put away when all of it is in the state or in quarantine;
whoever dies before that reads it again, and its events are then known, as its bad lines are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from consumers.aftermath import report
from consumers.set_aside import NO_FAULT_OF_AN_EVENT, keep_bad, set_aside
from consumers.speakers import AGENCY_HEADER, hear_from
from consumers.step import take_in
from consumers.traced import Traced
from domain.delivery import AnswerFile, Channel
from domain.events import NO_PARTITION, Origin, RawRecord
from domain.policy import Policy
from domain.traces import OFF, Tracing
from infra.logs import Logger, where
from infra.metrics import Metrics
from infra.postgres.ledger import Ledger, Outcome
from infra.wire.decode import Decoded, Rejected, account_named, decode
from infra.wire.kinds import AGENCIES

CHUNK_LINES = 500
"""In one transaction: some ten milliseconds, so that no worker waits long for an account."""

FILE_HEADER = "guard_file"
"""The header of a line in quarantine that names its file."""


class AnswerFiles:
    """Who takes them in."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        rules: Callable[[], Policy],
        now: Callable[[], datetime],
        metrics: Metrics,
        log: Logger,
        tracing: Tracing = OFF,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called for each part of a file, so that a large one is seen to go on."""
        self._ledger = ledger
        self._rules = rules
        self._now = now
        self._metrics = metrics
        self._log = log
        self._tracing = tracing
        self._beat = beat

    def take_all(self, agency_id: str, channel: Channel) -> int:
        """Take in all that an agency has left on a channel; how many files there were."""
        files = channel.answers()
        for file in files:
            records = _records(agency_id, file, self._now())
            for start in range(0, len(records), CHUNK_LINES):
                self._take_or_set_aside(agency_id, records[start : start + CHUNK_LINES])
            channel.taken(file)
            self._log.info("answers.taken", agency_id=agency_id, lines=len(records))
        return len(files)

    def _take_or_set_aside(self, agency_id: str, records: Sequence[RawRecord]) -> None:
        """As `ingest` does it: what can't be taken with the others is tried alone, and then set aside."""
        self._beat()
        try:
            self._take(agency_id, records, _read)
        except NO_FAULT_OF_AN_EVENT:
            raise
        except Exception as why:  # noqa: BLE001 # Whatever it is, it must not stop the others.
            self._log.error("answers.failed", agency_id=agency_id, lines=len(records), **where(why))
            if len(records) == 1:
                self._take(agency_id, records, set_aside)
                return
            for one in records:
                self._take_or_set_aside(agency_id, [one])

    def _take(
        self, agency_id: str, records: Sequence[RawRecord], read: Callable[[RawRecord], Decoded | Rejected]
    ) -> None:
        rules = self._rules()
        decoded = [hear_from(agency_id, raw, read(raw), rules.speakers) for raw in records]
        entries = [one for one in decoded if isinstance(one, Decoded)]
        outcome, now, traced = Outcome(), self._now(), Traced(self._tracing)
        with self._ledger.batch() as batch:
            loaded = batch.lock_and_load(entries)
            take_in(entries, loaded, outcome, rules, now, traced)
            keep_bad(records, decoded, loaded, outcome, known=batch.kept_before)
            saved = batch.save(outcome)
        counts = {
            "applied": len(loaded.fresh),
            "duplicate": len(loaded.duplicates),
            "quarantined": len(outcome.quarantined),
        }
        for became, count in counts.items():
            self._metrics.events.labels(AGENCIES, became).inc(count)
        report(self._log, self._metrics, outcome, saved, now)
        traced.committed(saved.acknowledged)


def _records(agency_id: str, file: AnswerFile, now: datetime) -> list[RawRecord]:
    """Each line as if it had come by the stream: under its account's key, so that it can be tried again from
    quarantine.
    """
    headers = ((FILE_HEADER, file.name.encode(errors="replace")), (AGENCY_HEADER, agency_id.encode()))
    return [
        RawRecord(Origin(AGENCIES, NO_PARTITION, number, now), account_named(line), line, headers)
        for number, line in enumerate(file.lines, start=1)
    ]


def _read(raw: RawRecord) -> Decoded | Rejected:
    return decode(raw, keyed=False)
