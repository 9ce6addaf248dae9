"""`python -m bench [--quick] [--json]`: measure, and print what came out beside the aims.

Starts its own Kafka and PostgreSQL in a temporary folder, and leaves nothing behind.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import holdings, latency, parts, questions, rates
from bench.feed import send_owed_debts, send_placed_debts
from bench.report import AIMED_PACE, Report, machine, mean_bytes, spread
from bench.workload import ACCOUNTS, ACCOUNTS_PER_DEBT


@dataclass(frozen=True, slots=True)
class Plan:
    """How much one run measures."""

    payments_in_state: int
    sizes: rates.Sizes
    latency_seconds: float
    asking_seconds: float
    batch_questions: int
    list_rows: int


FULL = Plan(
    5_000_000,
    rates.Sizes(rounds=5, slice_events=120_000, plain_events=2_000),
    latency_seconds=15,
    asking_seconds=15,
    batch_questions=50_000,
    list_rows=holdings.ROWS,
)
QUICK = Plan(
    200_000,
    rates.Sizes(rounds=2, slice_events=40_000, plain_events=1_000),
    latency_seconds=4,
    asking_seconds=4,
    batch_questions=10_000,
    list_rows=100_000,
)
"""Quick shows that it runs, and an order of magnitude: a small state is faster."""

PROBED_ACCOUNTS = 4_000
"""Beyond the accounts of the stream, so that nothing else ever pays their debts."""

ASKED_PACES = (1_000, 20_000)
"""Events a second beside the questions: a usual hour, and what is aimed at."""

MOST_PACE = 20_000
"""A producer in this language keeps no more beside the rest on two cores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status says only that it ran."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small state and short rounds, under 2 minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="guard-bench-") as folder, parts.started(Path(folder)) as running:
        report = _measure(running, QUICK if parsed.quick else FULL)
    print(json.dumps(report.as_json()) if parsed.json else "\n".join(report.in_words()))
    return 0


def _measure(running: parts.Parts, plan: Plan) -> Report:
    parts.lay_payments(running, plan.payments_in_state)
    probed = range(ACCOUNTS, ACCOUNTS + PROBED_ACCOUNTS)
    parts.apart(send_placed_debts, running, [*range(0, ACCOUNTS, ACCOUNTS_PER_DEBT), *probed])
    rates.catch_up(running)
    parts.sql(running, "VACUUM (ANALYZE)", "CHECKPOINT")
    rounds = rates.measure(running, plan.sizes)
    half = min(MOST_PACE, int(spread([one.ingest for one in rounds]).median / 2))
    latencies = []
    for part, pace in enumerate(sorted({half, AIMED_PACE})):
        accounts = probed[part::2]
        latencies.append(
            latency.measure(running, pace=pace, seconds=plan.latency_seconds, part=part, accounts=accounts)
        )
    asked, batch = _measure_questions(running, plan)
    return Report(
        machine(parts.POSTGRES_SETTINGS),
        plan.payments_in_state,
        mean_bytes(rounds),
        rounds,
        latencies,
        asked,
        batch,
        holdings.measure(running.database_url, running.folder, rows=plan.list_rows),
    )


def _measure_questions(running: parts.Parts, plan: Plan) -> tuple[list[questions.Questions], questions.Batch]:
    owing = range(ACCOUNTS + PROBED_ACCOUNTS, ACCOUNTS + PROBED_ACCOUNTS + plan.batch_questions)
    parts.apart(send_owed_debts, running, owing)
    rates.catch_up(running)
    with questions.asking(running) as ports:
        asked = [
            questions.measure(running, ports, pace=pace, seconds=plan.asking_seconds, part=part, accounts=owing)
            for part, pace in enumerate(ASKED_PACES)
        ]
        return asked, questions.measure_batch(running, ports, owing)


if __name__ == "__main__":
    raise SystemExit(main())
