"""A comparison of lists for people, and as JSON. Called by `consumers.reconcile_command`; decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from consumers.reconcile import Report
from domain.holdings import Kind, counted_as
from infra.postgres.holdings import Found, Kept

_SAID = {
    Kind.GHOST: "ghosts: recalled or closed, and they hold them",
    Kind.ORPHAN: "orphans: they hold them, and they were never placed with them",
    Kind.MISSING: "missing: open with them, and not in their list",
    Kind.AMOUNT: "amounts: another outstanding than they were told last",
    Kind.DUPLICATE: "duplicates: named before in the list",
    Kind.UNREAD: "unread: rows, or parts of rows, that can't be read",
    Kind.AWAITED: "awaited: recalled, and still within the deadline; nothing to do yet",
}


def in_words(report: Report) -> Iterator[str]:
    """The report for people, a line each."""
    kept = report.kept
    yield f"{kept.agency_id} lists {kept.rows:,} rows as of {report.as_of.isoformat()} ({kept.file_name})."
    if report.behind:
        yield f"  as far as it is known: {report.behind}"
    for kind, found in report.found.items():
        count = kept.counts[counted_as(kind)]
        said = _SAID[kind] if count != 1 else _SAID[kind].replace(counted_as(kind), kind.value, 1)
        yield f"{count:,} {said}"
        yield from (f"  {_line(one)}" for one in found)
        if count > len(found):
            yield f"  and {count - len(found):,} more (--show)"
    if kept.counts[counted_as(Kind.UNREAD)] and kept.counts[counted_as(Kind.MISSING)]:
        yield "What is missing may be in the rows that can't be read."
    if not report.differs:
        yield "Nothing differs."
    yield from _mended_in_words(report)
    yield f"Kept as {kept.reconciliation_id}."


def as_json(report: Report) -> dict[str, object]:
    """The report as data."""
    return {
        **_kept_as_json(report.kept),
        "as_of": report.as_of.isoformat(),
        "differs": report.differs,
        "behind": report.behind,
        "findings": [asdict(one) for found in report.found.values() for one in found],
        "fixed": report.mended.fixed if report.mended else None,
        "left": report.mended.left if report.mended else None,
        "refused": list(report.refused),
    }


def list_in_words(kept: Sequence[Kept]) -> Iterator[str]:
    """Earlier comparisons for people, a line each."""
    for one in kept:
        counts = ", ".join(f"{name} {count:,}" for name, count in one.counts.items() if count)
        fixed = ", ".join(f"{name} {count:,}" for name, count in (one.fixed or {}).items() if count)
        yield (
            f"{one.started_at.isoformat()}  {one.reconciliation_id}  {one.file_name}  {one.rows:,} rows: "
            f"{counts or 'nothing differs'}{f'; recalled again: {fixed}' if fixed else ''}; by {one.done_by}"
        )
    if not kept:
        yield "no list of this agency was compared yet"


def list_as_json(kept: Sequence[Kept]) -> list[dict[str, object]]:
    """Earlier comparisons as data."""
    return [_kept_as_json(one) for one in kept]


def _kept_as_json(kept: Kept) -> dict[str, object]:
    instants = {"started_at": kept.started_at.isoformat(), "finished_at": kept.finished_at.isoformat()}
    return {**asdict(kept), **instants}


def _line(one: Found) -> str:
    where = f"line {one.line:,}: " if one.line else ""
    name = f"{one.placement_id}: " if one.placement_id else ""
    return f"{where}{name}{one.detail}{' [recalled again]' if one.fixed else ''}"


def _mended_in_words(report: Report) -> Iterator[str]:
    if report.mended is None:
        return
    fixed = ", ".join(f"{name} {count:,}" for name, count in report.mended.fixed.items())
    yield f"Recalled again: {fixed}."
    for why, count in report.mended.left.items():
        yield f"  left: {count:,}, {why}"
    for why in report.refused:
        yield f"  refused: {why}"
