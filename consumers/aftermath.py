"""What on-call sees of a commit: recalls that were decided or acknowledged, breaches, words without effect.

Called by every consumer that applies events, once they are in the state. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from consumers.step import log_recalls
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.contacts import Breach
from infra.postgres.ledger import Loaded, Outcome, Saved

Known = Mapping[str, frozenset[str]]
"""By account, the placements that were known."""


def report(log: Logger, metrics: Metrics, outcome: Outcome, saved: Saved, now: datetime) -> None:
    """Say in the log and in the metrics what a commit brought."""
    tell_log(log, outcome, saved)
    count_breaches(metrics, saved.breaches)
    for recall in outcome.recalls:
        noticed = recall.noticed_by or recall.trigger
        latency = (now - noticed.origin.received_at).total_seconds()
        labels = ("requested", recall.placement.agency_id, recall.cause)
        metrics.recall_latency.labels(*labels).observe(max(0.0, latency))
    for one in saved.acknowledged:
        latency = (now - one.known_since).total_seconds()
        metrics.recall_latency.labels("acknowledged", one.agency_id, one.cause).observe(max(0.0, latency))
    for refused in outcome.refused:
        # By who has the placement: whoever speaks may call itself as it likes.
        metrics.agency_events_refused.labels(refused.agency_id, refused.reason).inc()


def known_before(loaded: Loaded) -> Known:
    """The placements that were known of each case before the batch is applied to it."""
    return {account_id: frozenset(case.said) for account_id, case in loaded.cases.items()}


def count_unguarded(metrics: Metrics, outcome: Outcome, known: Known) -> None:
    """Count the placements that a commit opened and that name no clearance."""
    for episode in outcome.episodes:
        opened = episode.opened
        if not episode.guarded and opened.placement_id not in known.get(opened.account_id, ()):
            metrics.unguarded.labels(opened.agency_id).inc()


def tell_log(log: Logger, outcome: Outcome, saved: Saved) -> None:
    """Say it in the log alone, where nobody reads the metrics of the process; a line for each decision."""
    log_recalls(log, outcome)
    log_quarantined(log, outcome)
    log_breaches(log, saved.breaches)
    for one in saved.acknowledged:
        log.info(
            "recall.acknowledged", recall_id=one.recall_id, placement_id=one.placement_id, agency_id=one.agency_id
        )
    for refused in outcome.refused:
        # Not who spoke, who may call itself as it likes: the account's story has that.
        log.warning(
            "agency.refused",
            reason=refused.reason,
            placement_id=refused.placement_id,
            agency_id=refused.agency_id,
        )


def log_quarantined(log: Logger, outcome: Outcome) -> None:
    """A line for each event that was set aside; of a line of a file the offset is its number."""
    for bad in outcome.quarantined:
        origin = bad.raw.origin
        log.warning(
            "event.quarantined",
            topic=origin.topic,
            partition=origin.partition,
            offset=origin.offset,
            reason=bad.reason,
            detail=bad.detail,
        )


def count_breaches(metrics: Metrics, breaches: Iterable[Breach]) -> None:
    """Count contacts after a recall."""
    for breach in breaches:
        metrics.contacts_after_recall.labels(breach.agency_id).inc()


def log_breaches(log: Logger, breaches: Iterable[Breach]) -> None:
    """A line for each contact after a recall: an agency that was told to stop did not."""
    for breach in breaches:
        log.error(
            "contact.after_recall",
            recall_id=breach.recall_id,
            placement_id=breach.placement_id,
            agency_id=breach.agency_id,
            contacted_at=breach.contacted_at.isoformat(),
        )
