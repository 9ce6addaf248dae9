"""What was measured, beside its aims: a table for people, one JSON object for machines.

Called by `bench.__main__`. Ratios are of figures of one round, and the median of the rounds' ratios counts;
absolute figures are for the reader's own machine and are held against nothing.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

from bench.holdings import Holdings
from bench.holdings import in_words as holdings_in_words
from bench.latency import Latency
from bench.questions import Asked, Batch, Questions
from bench.rates import Round

INGEST_OF_RAW_AIM = 0.45
INGEST_OF_PLAIN_AIM = 30.0
RECALL_P99_MS_AIM = 60.0
CLEARANCE_P99_MS_AIMS = {1_000: 20.0, 20_000: 45.0}
BATCH_OF_SQL_AIM = 0.5
AIMED_PACE = 10_000
"""The aims of the design: at 10,000 events a second, and 5 million payments in the state."""

_LIBRARIES = ("kafka-python", "psycopg2-binary", "SQLAlchemy", "pydantic")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and the least and the most."""

    median: float
    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run measured, and on what."""

    machine: dict[str, str]
    payments_in_state: int
    event_bytes: float
    rounds: Sequence[Round]
    latencies: Sequence[Latency]
    questions: Sequence[Questions]
    batch: Batch
    holdings: Holdings

    def as_json(self) -> dict[str, object]:
        """The report as one JSON object."""
        return {
            "machine": self.machine,
            "payments_in_state": self.payments_in_state,
            "event_bytes": round(self.event_bytes, 1),
            "raw_per_second": asdict(spread([one.raw for one in self.rounds])),
            "ingest_per_second": asdict(spread([one.ingest for one in self.rounds])),
            "plain_per_second": asdict(spread([one.plain for one in self.rounds])),
            "ingest_of_raw": {**asdict(self.of_raw), "aim": INGEST_OF_RAW_AIM},
            "ingest_of_plain": {**asdict(self.of_plain), "aim": INGEST_OF_PLAIN_AIM},
            "recall": [asdict(one) for one in self.latencies],
            "questions": [
                {**asdict(one), "aim_p99_ms": CLEARANCE_P99_MS_AIMS.get(one.asked_pace)} for one in self.questions
            ],
            "batch": {**asdict(self.batch), "aim_of_lookups": BATCH_OF_SQL_AIM},
            "holdings": {**asdict(self.holdings), "of_coreutils": self.holdings.of_coreutils},
            "recall_p99_ms_aim": {"p99_ms": RECALL_P99_MS_AIM, "pace": AIMED_PACE},
        }

    @property
    def of_raw(self) -> Spread:
        """`ingest` as a share of the raw parts, round by round."""
        return spread([one.ingest / one.raw for one in self.rounds])

    @property
    def of_plain(self) -> Spread:
        """How many times as fast as one event a transaction, round by round."""
        return spread([one.ingest / one.plain for one in self.rounds])

    def in_words(self) -> list[str]:
        """The report as lines of text."""
        return [
            *(f"{name:<10} {value}" for name, value in self.machine.items()),
            f"{'state':<10} {self.payments_in_state:,} payments; events of {self.event_bytes:.0f} bytes on average",
            "",
            f"{'events a second':<42}{'median':>10}{'least':>10}{'most':>10}",
            _rates("raw parts: poll and COPY, no logic", spread([one.raw for one in self.rounds])),
            _rates("ingest", spread([one.ingest for one in self.rounds])),
            _rates("ingest, one event a transaction", spread([one.plain for one in self.rounds])),
            "",
            f"{'ratio, round by round':<42}{'median':>10}{'least':>10}{'most':>10}{'aim':>8}",
            _ratios("ingest of the raw parts", self.of_raw, INGEST_OF_RAW_AIM),
            _ratios("ingest of one event a transaction", self.of_plain, INGEST_OF_PLAIN_AIM),
            "",
            f"{'payment acknowledged to recall readable':<42}{'p50':>10}{'p99':>10}{'slowest':>10}{'aim p99':>8}",
            *(_latencies(one) for one in self.latencies),
            "",
            f"{'8 clients, over HTTP':<42}{'a second':>10}{'p50':>10}{'p99':>10}{'aim p99':>8}",
            *(line for one in self.questions for line in _questions(one)),
            "",
            f"{f'a batch of {self.batch.questions:,} questions':<42}{'a second':>10}{'ratio':>10}{'aim':>8}",
            *_batch(self.batch),
            "",
            *holdings_in_words(self.holdings),
        ]


def spread(values: Sequence[float]) -> Spread:
    """The median and the spread of the rounds."""
    return Spread(median(values), min(values), max(values))


def mean_bytes(rounds: Sequence[Round]) -> float:
    """The mean size of the events of all rounds, which are as many in each."""
    return fmean(one.event_bytes for one in rounds)


def machine(postgres_settings: dict[str, str]) -> dict[str, str]:
    """What it was measured on."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "libraries": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES),
        "postgres": ", ".join(f"{name}={value}" for name, value in postgres_settings.items()),
    }


def _rates(name: str, one: Spread) -> str:
    return f"  {name:<40}{one.median:>10,.0f}{one.least:>10,.0f}{one.most:>10,.0f}"


def _ratios(name: str, one: Spread, aim: float) -> str:
    return f"  {name:<40}{one.median:>10.2f}{one.least:>10.2f}{one.most:>10.2f}{aim:>8}"


def _latencies(one: Latency) -> str:
    aim = f"{RECALL_P99_MS_AIM:.0f} ms" if one.asked_pace == AIMED_PACE else ""
    name = f"{one.payments} payments at {one.kept_pace:,.0f} of {one.asked_pace:,} a second"
    return f"  {name:<40}{one.p50_ms:>7.1f} ms{one.p99_ms:>7.1f} ms{one.max_ms:>7.1f} ms{aim:>8}"


def _questions(one: Questions) -> list[str]:
    aim = CLEARANCE_P99_MS_AIMS.get(one.asked_pace)
    pace = f"at {one.kept_pace:,.0f} of {one.asked_pace:,} ev/s"
    return [
        _asked(f"clearance, {pace}", one.clearances, f"{aim:.0f} ms" if aim else ""),
        _asked(f"bare indexed read, {pace}", one.bare, ""),
        f"  {'clearance in bare reads, by p99':<40}{one.clearances.p99_ms / one.bare.p99_ms:>30.1f}",
    ]


def _asked(name: str, one: Asked, aim: str) -> str:
    return f"  {name:<40}{one.per_second:>10,.0f}{one.p50_ms:>7.1f} ms{one.p99_ms:>7.1f} ms{aim:>8}"


def _batch(one: Batch) -> list[str]:
    of_lookups, of_written = one.per_second / one.lookups_per_second, one.per_second / one.written_per_second
    lookups = f"{one.lookups_per_second:>10,.0f}{of_lookups:>10.2f}{BATCH_OF_SQL_AIM:>8}"
    return [
        f"  {'answers':<40}{one.per_second:>10,.0f}",
        f"  {'the same lookups in SQL':<40}{lookups}",
        f"  {'and the same rows written':<40}{one.written_per_second:>10,.0f}{of_written:>10.2f}",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
