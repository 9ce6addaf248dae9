"""The statements of the overview, each with what it does. Used by `infra.postgres.overview` only."""

# The recalls of a day, read once: all of them, by half hour, and by agency. What has not come to a stage has no
# time there, and orders of people and repairs of the sweep are timed as all others are. A clock that is behind
# the broker's makes a time of less than nothing, which is none.
_DAY = """
WITH day AS MATERIALIZED (
    SELECT agency_id, state, sent_at, acknowledged_at, rejected_at, overdue_at, escalated_at, taken_over_at,
           placement_closed_at,
           CAST(floor(extract(epoch FROM requested_at - :since) / :slot) AS integer) AS slot,
           greatest(0, CAST(extract(epoch FROM requested_at - known_since) AS double precision)) AS to_requested,
           greatest(0, CAST(extract(epoch FROM sent_at - known_since) AS double precision)) AS to_sent,
           greatest(0, CAST(extract(epoch FROM acknowledged_at - known_since) AS double precision))
               AS to_acknowledged
    FROM recall WHERE requested_at >= :since
    ORDER BY requested_at DESC, account_id DESC, placement_id DESC LIMIT :recalls
)
SELECT slot, agency_id, CAST(count(*) AS integer) AS requested, CAST(count(sent_at) AS integer) AS sent,
       CAST(count(acknowledged_at) AS integer) AS acknowledged, CAST(count(rejected_at) AS integer) AS rejected,
       CAST(count(overdue_at) AS integer) AS overdue, CAST(count(escalated_at) AS integer) AS escalated,
       CAST(count(taken_over_at) AS integer) AS taken_over, CAST(count(placement_closed_at) AS integer) AS closed,
       CAST(count(*) FILTER (WHERE state = 'requested') AS integer) AS now_requested,
       CAST(count(*) FILTER (WHERE state = 'sent') AS integer) AS now_sent,
       CAST(count(*) FILTER (WHERE state = 'overdue') AS integer) AS now_overdue,
       CAST(count(*) FILTER (WHERE state = 'escalated') AS integer) AS now_escalated,
       CAST(count(*) FILTER (WHERE state = 'rejected') AS integer) AS now_rejected,
       CAST(count(*) FILTER (WHERE state = 'taken_over') AS integer) AS now_taken_over,
       CAST(count(*) FILTER (WHERE state = 'closed') AS integer) AS now_closed,
       CAST(count(*) FILTER (WHERE state = 'acknowledged') AS integer) AS now_acknowledged,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY to_requested)
           FILTER (WHERE to_requested IS NOT NULL) AS requested_took,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY to_sent)
           FILTER (WHERE sent_at IS NOT NULL) AS sent_took,
       percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY to_acknowledged)
           FILTER (WHERE acknowledged_at IS NOT NULL) AS acknowledged_took
FROM day GROUP BY GROUPING SETS ((), (slot), (agency_id))"""

# The recalls that are open, by the index of states: all of them, by agency, and by state. Who paid is who brought
# the debt to where it must be recalled; what is not sent is that of the gauge by which on-call is paged.
_OPENED = """
SELECT agency_id, state, CAST(count(*) AS integer) AS recalls,
       CAST(count(DISTINCT account_id) FILTER (WHERE paid_at IS NOT NULL) AS integer) AS customers,
       min(known_since) FILTER (WHERE paid_at IS NOT NULL) AS since,
       CAST(count(*) FILTER (WHERE paid_at IS NOT NULL AND sent_at IS NULL AND rejected_at IS NULL
                               AND taken_over_at IS NULL) AS integer) AS not_sent,
       min(known_since) FILTER (WHERE paid_at IS NOT NULL AND sent_at IS NULL AND rejected_at IS NULL
                                  AND taken_over_at IS NULL) AS not_sent_since,
       CAST(count(*) FILTER (WHERE paid_at IS NOT NULL AND state IN ('overdue', 'escalated', 'rejected'))
            AS integer) AS to_act
FROM recall WHERE state = ANY(:open) GROUP BY GROUPING SETS ((), (agency_id), (state))"""

# The first open recalls, some of each state by its index, then of all; each with what was tried to deliver it.
_FIRST = """
WITH first AS (
    SELECT r.* FROM unnest(CAST(:open AS text[])) AS o (state) CROSS JOIN LATERAL (
        SELECT * FROM recall WHERE recall.state = o.state
        ORDER BY requested_at, account_id, placement_id LIMIT :first) r
    ORDER BY r.requested_at, r.account_id, r.placement_id LIMIT :first
)
SELECT r.account_id, r.placement_id, r.recall_id, r.agency_id, r.state, r.paid_at IS NOT NULL AS is_paid,
       r.known_since, r.acknowledge_by, r.next_at AS strikes_at, r.rejection, r.taken_over_by,
       delivery.attempts, delivery.tries_at, delivery.last_error
FROM first r CROSS JOIN LATERAL (
    SELECT CAST(coalesce(sum(o.attempts), 0) AS integer) AS attempts,
           min(coalesce(greatest(o.due_at, c.open_until), o.created_at))
               FILTER (WHERE o.sent_at IS NULL AND o.superseded_at IS NULL) AS tries_at,
           (array_agg(o.last_error ORDER BY o.outbox_id DESC) FILTER (WHERE o.last_error IS NOT NULL))[1]
               AS last_error
    FROM outbox o
    LEFT JOIN agency_circuit c ON c.agency_id = o.agency_id
                              AND (c.channel = o.channel OR (o.channel = '' AND c.is_first))
    WHERE o.account_id = r.account_id AND o.placement_id = r.placement_id AND o.recall_id = r.recall_id) delivery
ORDER BY r.requested_at, r.account_id, r.placement_id"""

# The ways to agencies that failed lately; there is at most a row for each way of the file.
_WAYS = """
SELECT agency_id, channel, failures, open_until, last_error FROM agency_circuit
WHERE failures > 0 ORDER BY agency_id, channel"""

# The registered streams as they are read; those of a topic's earlier lives are no part of it.
_PARTITIONS = """
SELECT s.topic, s.topic_id, p.partition, p.position, p.moved_at, s.stopped_reason AS stopped
FROM stream s JOIN stream_position p USING (topic, cluster_id, topic_id) ORDER BY s.topic, p.partition"""

# The newest answers of a day, by the index alone.
_QUESTIONS = """
SELECT decision, CAST(count(*) AS integer) AS answers, min(decided_at) AS since
FROM (SELECT decision, decided_at FROM clearance WHERE decided_at >= :since
      ORDER BY decided_at DESC LIMIT :questions) day
GROUP BY decision ORDER BY decision"""

_QUARANTINED = """
SELECT (SELECT CAST(count(*) AS integer) FROM (
            SELECT FROM quarantine WHERE applied_at IS NULL AND dropped_at IS NULL LIMIT :quarantine) waiting)
           AS events,
       (SELECT quarantined_at FROM quarantine WHERE applied_at IS NULL AND dropped_at IS NULL
        ORDER BY quarantine_id LIMIT 1) AS oldest,
       (SELECT CAST(count(DISTINCT account_id) AS integer) FROM (
            SELECT account_id FROM hold LIMIT :quarantine) held) AS accounts"""

ALL = {
    "day": _DAY,
    "opened": _OPENED,
    "first": _FIRST,
    "ways": _WAYS,
    "partitions": _PARTITIONS,
    "questions": _QUESTIONS,
    "quarantined": _QUARANTINED,
}
"""Every statement by its name, in the order in which they are asked."""
