"""The ledger's statements, each with what it does. Used by `infra.postgres.ledger` only."""

OUTBOX_CHANNEL = "guard_outbox"
"""The notification that wakes the dispatcher."""

# What a batch brings, once for each event; emptied by the commit.
INCOMING = """
CREATE TEMPORARY TABLE IF NOT EXISTS incoming (
    seq integer, account_id text, event_key uuid, digest uuid, kind smallint, source text, event_id text,
    event_time timestamptz, received_at timestamptz, origin_topic text, origin_partition integer,
    origin_offset bigint, money_id text, amount bigint, currency text, money_at timestamptz, debt_id text,
    contract_id text, stored text
) ON COMMIT DELETE ROWS"""

COPY = "COPY incoming FROM STDIN WITH (NULL '')"

# Every account of the batch is made where it is new and locked where it is not: ON CONFLICT DO UPDATE locks
# also the rows that its WHERE leaves alone. Those with a case are written as they are, to be returned: as the
# one statement that looks at a row after the wait for its lock, it sees what was committed meanwhile.
LOCK = """
INSERT INTO account (account_id)
SELECT wanted.account_id FROM unnest(CAST(:accounts AS text[])) AS wanted (account_id) ORDER BY wanted.account_id
ON CONFLICT (account_id) DO UPDATE SET has_case = account.has_case WHERE account.has_case
RETURNING account_id, has_case"""

# For one transaction: who can't have a row in this time goes away with an error, and others are not kept waiting.
LOCK_TIMEOUT = "SELECT set_config('lock_timeout', :milliseconds, true)"

LOCK_THESE = """
SELECT account_id FROM account WHERE account_id = ANY(:accounts) ORDER BY account_id FOR NO KEY UPDATE"""

OPEN_CASES = "UPDATE account SET has_case = true WHERE account_id = ANY(:accounts)"

# For one transaction: facts are found by key. The planner knows nothing of the batch, and reading the whole
# ledger once looks cheaper to it at some hundred accounts (0.3 s with 5 million rows; by key 1 ms).
BY_KEY = """
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_mergejoin', 'off', true)"""

# The facts of cases, as they were before the batch. Joined rather than `= ANY(..)`, which would look for every
# account in every part of the ledger.
FACTS = """
SELECT account_id, kind, source, event_id, event_time, received_at, origin_topic, origin_partition,
       origin_offset, money_id, amount, currency, money_at, debt_id, contract_id, stored
FROM unnest(CAST(:accounts AS text[])) AS wanted (account_id) JOIN ledger USING (account_id)"""

# What agencies were told of each placement.
SAID = """
SELECT p.account_id, p.placement_id, p.told, p.suspended, r.placement_id IS NOT NULL
FROM placement p LEFT JOIN recall r ON r.account_id = p.account_id AND r.placement_id = p.placement_id
WHERE p.account_id = ANY(:accounts)"""

# Adds the new events, and returns those that were there before with the digest they had. Only for these the
# ledger is looked at again: the accounts are locked, so what was refused is in sight.
INSERT = """
WITH fresh AS (
    INSERT INTO ledger (account_id, event_key, digest, kind, source, event_id, event_time, received_at,
                        origin_topic, origin_partition, origin_offset, money_id, amount, currency, money_at,
                        debt_id, contract_id, stored)
    SELECT account_id, event_key, digest, kind, source, event_id, event_time, received_at,
           origin_topic, origin_partition, origin_offset, money_id, amount, currency, money_at,
           debt_id, contract_id, stored
    FROM incoming
    ON CONFLICT (account_id, event_key) DO NOTHING
    RETURNING account_id, event_key
)
SELECT i.seq, (SELECT replace(l.digest::text, '-', '') FROM ledger l
               WHERE l.account_id = i.account_id AND l.event_key = i.event_key)
FROM incoming i
WHERE NOT EXISTS (SELECT FROM fresh f WHERE f.account_id = i.account_id AND f.event_key = i.event_key)"""

SAVE_PLACEMENTS = """
INSERT INTO placement (account_id, placement_id, debt_id, agency_id, amount, currency, placed_at, guarded, told,
                       suspended, accepted_at, closed_at, is_open)
SELECT account_id, placement_id, debt_id, agency_id, amount, currency, placed_at, guarded, told,
       suspended, accepted_at, closed_at, is_open
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, placement_id text, debt_id text, agency_id text, amount bigint, currency text,
    placed_at timestamptz, guarded boolean, told bigint, suspended boolean, accepted_at timestamptz,
    closed_at timestamptz, is_open boolean)
ON CONFLICT (account_id, placement_id) DO UPDATE SET
    debt_id = excluded.debt_id, agency_id = excluded.agency_id, amount = excluded.amount,
    currency = excluded.currency, placed_at = excluded.placed_at, guarded = excluded.guarded,
    told = excluded.told, suspended = excluded.suspended, accepted_at = excluded.accepted_at,
    closed_at = excluded.closed_at, is_open = excluded.is_open"""

# The primary key holds S2: one recall for each placement.
SAVE_RECALLS = """
INSERT INTO recall (account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
                    requested_at, acknowledge_by, trigger_source, trigger_id, paid_at, known_since, swept,
                    requested_by)
SELECT account_id, placement_id, recall_id, debt_id, agency_id, reason, cause, outstanding, currency,
       requested_at, acknowledge_by, trigger_source, trigger_id, paid_at, known_since, swept, requested_by
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, placement_id text, recall_id text, debt_id text, agency_id text, reason text, cause text,
    outstanding bigint, currency text, requested_at timestamptz, acknowledge_by timestamptz,
    trigger_source text, trigger_id text, paid_at timestamptz, known_since timestamptz, swept boolean,
    requested_by text)"""

# What agencies answered, and the end of the placement, for the recalls that there are; returns those changed, with
# the headers by which each went out first: they hold its trace.
ANSWER_RECALLS = """
UPDATE recall SET acknowledged_at = r.acknowledged_at, rejected_at = r.rejected_at, rejection = r.rejection,
                  placement_closed_at = r.ended_at
FROM (SELECT r.*, before.acknowledged_at IS NULL AS unanswered, ended_at
      FROM jsonb_to_recordset(:rows) AS r (
          account_id text, placement_id text, acknowledged_at timestamptz, rejected_at timestamptz, rejection text,
          closed_at timestamptz)
      JOIN recall before USING (account_id, placement_id)
      CROSS JOIN LATERAL (SELECT CASE WHEN before.cause <> 'manual' OR r.closed_at >= before.requested_at
                                      THEN r.closed_at END) AS e (ended_at)
      WHERE (before.acknowledged_at, before.rejected_at, before.rejection, before.placement_closed_at)
            IS DISTINCT FROM (r.acknowledged_at, r.rejected_at, r.rejection, ended_at)) r
WHERE recall.account_id = r.account_id AND recall.placement_id = r.placement_id
RETURNING recall.recall_id, recall.placement_id, recall.agency_id, recall.cause, recall.known_since,
          r.unanswered AND r.acknowledged_at IS NOT NULL,
          (SELECT o.headers FROM outbox o
           WHERE o.account_id = recall.account_id AND o.placement_id = recall.placement_id
             AND o.recall_id = recall.recall_id
           ORDER BY o.outbox_id LIMIT 1)"""

SAVE_OUTBOX = """
INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, topic, key, value, headers, created_at)
SELECT account_id, placement_id, recall_id, agency_id, topic, decode(key, 'hex'), decode(value, 'hex'), headers,
       clock_timestamp()
FROM jsonb_to_recordset(:rows) AS r (
    account_id text, placement_id text, recall_id text, agency_id text, topic text, key text, value text,
    headers jsonb)"""

WAKE = f"SELECT pg_notify('{OUTBOX_CHANNEL}', '')"

QUARANTINE = """
WITH r AS (
    SELECT *, row_number() OVER (ORDER BY seq) AS n FROM jsonb_to_recordset(:rows) AS r (
        seq integer, origin_topic text, origin_partition integer, origin_offset bigint, received_at timestamptz,
        key text, value text, headers jsonb, reason text, detail text)
), made AS (
    INSERT INTO quarantine (origin_topic, origin_partition, origin_offset, received_at, key, value, headers,
                            reason, detail, quarantined_at)
    SELECT origin_topic, origin_partition, origin_offset, received_at, decode(key, 'hex'), decode(value, 'hex'),
           headers, reason, detail, clock_timestamp()
    FROM r ORDER BY seq
    RETURNING quarantine_id
), numbered AS (SELECT quarantine_id, row_number() OVER (ORDER BY quarantine_id) AS n FROM made)
SELECT r.seq, numbered.quarantine_id FROM r JOIN numbered USING (n)"""

# The partition is that of no stream (`NO_PARTITION`), written out for the index that has such lines alone.
KEPT_BEFORE = """
SELECT r.seq
FROM jsonb_to_recordset(:rows) AS r (
    seq integer, origin_topic text, origin_offset bigint, value text, headers jsonb)
WHERE EXISTS (
    SELECT FROM quarantine q
    WHERE q.origin_partition = -1 AND q.origin_offset = r.origin_offset AND q.origin_topic = r.origin_topic
      AND q.headers = r.headers AND q.value = decode(r.value, 'hex'))"""

HOLD = """
INSERT INTO hold (account_id, quarantine_id)
SELECT account_id, quarantine_id FROM jsonb_to_recordset(:rows) AS r (account_id text, quarantine_id bigint)
ON CONFLICT DO NOTHING"""

HELD = "SELECT count(*) FROM hold WHERE account_id = :account_id"

# The fence: a position moves only from where this worker believed it to be.
MOVE = """
UPDATE stream_position p SET position = r.after, bad_run = r.bad_run, moved_at = clock_timestamp()
FROM jsonb_to_recordset(:rows) AS r (
    topic text, topic_id text, partition integer, before bigint, after bigint, bad_run integer)
WHERE p.cluster_id = :cluster_id AND p.topic = r.topic AND p.topic_id = r.topic_id
  AND p.partition = r.partition AND p.position = r.before"""
