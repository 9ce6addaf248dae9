"""The statements of a reconciliation, each with what it does. Used by `infra.postgres.holdings` only.

An agency's list lies in the temporary table `holding`. Which row is of which kind is decided here, for all rows at
once and in one snapshot, by reading alone: no row of an account is locked, so `ingest` goes on meanwhile.
"""

from domain.words import DIGITS_USUALLY, OTHER_DIGITS

# Before the session's first temporary table: what sorts and joins may keep in memory.
MEMORY = "SELECT set_config('temp_buffers', '64MB', false), set_config('work_mem', '64MB', false)"

# A row as the list has it; one that can't be read has no placement.
HOLDING = """
CREATE TEMPORARY TABLE holding (
    line bigint NOT NULL, placement_id text, outstanding bigint, currency text, account_id text, debt_id text,
    problem text
)"""

COPY = "COPY holding FROM STDIN WITH (NULL '')"

# The planner knows nothing of a temporary table otherwise; one column is what it joins by.
ANALYZE = "ANALYZE holding (placement_id)"

SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"

# Placements that are named more than once; the first line of each counts.
TWICE = """
CREATE TEMPORARY TABLE twice AS
SELECT placement_id, min(line) AS line FROM holding WHERE placement_id IS NOT NULL
GROUP BY placement_id HAVING count(*) > 1"""

_FINDING = """
INSERT INTO reconciliation_finding (reconciliation_id, line, kind, placement_id, of_account, detail, theirs_minor,
                                    ours_minor, currency)"""

UNREAD = f"""{_FINDING}
SELECT :reconciliation_id, line, 'unread', coalesce(placement_id, ''), '', problem, NULL, NULL, ''
FROM holding WHERE problem IS NOT NULL"""

DUPLICATES = f"""{_FINDING}
SELECT :reconciliation_id, h.line, 'duplicate', h.placement_id, '',
       'line ' || t.line || ' names it too, and counts', h.outstanding, NULL, coalesce(h.currency, '')
FROM twice t JOIN holding h USING (placement_id) WHERE h.line > t.line"""

# What a pair of ours and theirs is, as of the list's instant: an answer, an order or an end that came later is none
# to the list. The order of the cases is the rule. `h` is their row, `p` our placement with them, `r` its recall.
_KIND = """
CASE WHEN p.placement_id IS NULL THEN 'orphan'
     WHEN h.placement_id IS NULL THEN
         CASE WHEN p.is_open AND r.placement_id IS NULL AND p.placed_at <= :as_of THEN 'missing' END
     WHEN r.acknowledged_at <= :as_of THEN 'ghost'
     WHEN r.rejected_at <= :as_of THEN 'ghost'
     WHEN r.requested_at <= :as_of AND r.acknowledge_by <= :as_of THEN 'ghost'
     WHEN r.requested_at <= :as_of THEN 'awaited'
     WHEN p.closed_at <= :as_of THEN 'ghost'
     WHEN r.placement_id IS NOT NULL OR p.closed_at IS NOT NULL THEN NULL
     WHEN h.outstanding <> p.told OR h.currency <> p.currency THEN 'amount' END"""

# All that is not as it should be: one pass over both sides.
DIFFERENCES = f"""
CREATE TEMPORARY TABLE difference AS
SELECT * FROM (
    SELECT {_KIND} AS kind, coalesce(h.line, 0) AS line, h.placement_id AS their_id, h.outstanding AS theirs,
           h.currency AS their_currency, h.account_id AS their_account, h.debt_id AS their_debt, p.account_id,
           p.placement_id, p.told, p.currency, p.placed_at, p.closed_at, r.requested_at, r.acknowledge_by,
           r.sent_at, r.acknowledged_at, r.rejected_at
    FROM (SELECT * FROM holding WHERE placement_id IS NOT NULL) h
    FULL JOIN (SELECT * FROM placement WHERE agency_id = :agency_id) p ON p.placement_id = h.placement_id
    LEFT JOIN recall r ON r.account_id = p.account_id AND r.placement_id = p.placement_id
) AS d WHERE kind IS NOT NULL"""

# Of a placement that is named twice only the first line counts.
_FIRST_LINE = "NOT EXISTS (SELECT FROM twice t WHERE t.placement_id = d.their_id AND t.line < d.line)"

_WHEN = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"

_DIGITS = " ".join(f"WHEN '{currency}' THEN {digits}" for currency, digits in OTHER_DIGITS.items())


def _amount(minor: str, currency: str) -> str:
    """An amount as `domain.words.amount_in_words` writes it; where a list names no currency, it is in ours."""
    digits = f"CASE coalesce({currency}, d.currency) {_DIGITS} ELSE {DIGITS_USUALLY} END"
    return f"concat_ws(' ', round({minor} / power(CAST(10 AS numeric), {digits}), {digits}), {currency})"


_DETAIL = f"""
CASE WHEN d.kind = 'amount'
     THEN format('they say %s, we told %s', {_amount("d.theirs", "d.their_currency")},
                 {_amount("d.told", "d.currency")})
     WHEN d.kind = 'missing' THEN format('placed on %s', {_WHEN.format("d.placed_at")})
     WHEN d.acknowledged_at <= :as_of
     THEN format('recalled on %s, and they acknowledged it on %s', {_WHEN.format("d.requested_at")},
                 {_WHEN.format("d.acknowledged_at")})
     WHEN d.rejected_at <= :as_of
     THEN format('recalled on %s, and they objected on %s', {_WHEN.format("d.requested_at")},
                 {_WHEN.format("d.rejected_at")})
     WHEN d.requested_at <= :as_of
     THEN format('recalled on %s, to be acknowledged by %s%s', {_WHEN.format("d.requested_at")},
                 {_WHEN.format("d.acknowledge_by")}, CASE WHEN d.sent_at IS NULL THEN '; not sent yet' ELSE '' END)
     ELSE format('closed on %s, without a recall', {_WHEN.format("d.closed_at")}) END"""

# Where they were told of another amount after the list was made, or not yet, the list can't have it. A value is
# looked at as bytes: not every record is JSON. LIMIT keeps this from being one look at the whole outbox.
_TOLD_SINCE = """
(SELECT true FROM outbox o
 WHERE o.account_id = d.account_id AND o.placement_id = d.placement_id AND o.recall_id IS NULL
   AND (o.sent_at IS NULL OR o.sent_at > :as_of)
   AND position(CAST('guard.balance.reduced.v1' AS bytea) IN o.value) > 0 LIMIT 1) IS NOT NULL"""

# What is of ours: ghosts, amounts, what is missing, and what is still within its deadline.
OURS = f"""{_FINDING}
SELECT :reconciliation_id, d.line, d.kind, d.placement_id, d.account_id, {_DETAIL}, d.theirs, d.told, d.currency
FROM difference d
WHERE d.kind <> 'orphan' AND {_FIRST_LINE} AND NOT (d.kind = 'amount' AND {_TOLD_SINCE})
ON CONFLICT DO NOTHING"""

# What they hold and never had from us: of nobody, or of another agency.
ORPHANS = f"""{_FINDING}
SELECT :reconciliation_id, d.line, 'orphan', d.their_id, coalesce(other.account_id, d.their_account, ''),
       CASE WHEN other.agency_id IS NOT NULL THEN 'it is placed with ' || other.agency_id
            WHEN same.placement_id IS NOT NULL
            THEN 'it is unknown; the same debt is placed with them as ' || same.placement_id
            ELSE 'it is unknown' END,
       d.theirs, NULL, coalesce(d.their_currency, '')
FROM difference d
LEFT JOIN LATERAL (SELECT agency_id, account_id FROM placement WHERE placement_id = d.their_id LIMIT 1) other
       ON true
LEFT JOIN LATERAL (SELECT placement_id FROM placement
                   WHERE account_id = d.their_account AND debt_id = d.their_debt AND agency_id = :agency_id
                     AND is_open LIMIT 1) same ON true
WHERE d.kind = 'orphan' AND {_FIRST_LINE}"""

COUNTS = """
SELECT kind, count(*) FROM reconciliation_finding WHERE reconciliation_id = :reconciliation_id GROUP BY kind"""

KEEP = """
INSERT INTO reconciliation (reconciliation_id, agency_id, file_name, file_sha256, rows, bad_rows, counts,
                            started_at, finished_at, done_by)
VALUES (:reconciliation_id, :agency_id, :file_name, :file_sha256, :rows, :bad_rows, CAST(:counts AS jsonb),
        :started_at, :finished_at, :done_by)"""

FIRST = """
SELECT kind, line, placement_id, detail, of_account, theirs_minor, ours_minor, currency, fixed_at IS NOT NULL
FROM reconciliation_finding WHERE reconciliation_id = :reconciliation_id AND kind = :kind
ORDER BY line, placement_id LIMIT :limit"""

EARLIER = """
SELECT reconciliation_id, agency_id, file_name, file_sha256, rows, bad_rows, counts, fixed, started_at, finished_at,
       done_by
FROM reconciliation WHERE agency_id = :agency_id ORDER BY started_at DESC, reconciliation_id DESC LIMIT :limit"""

LATEST = """
SELECT DISTINCT ON (agency_id) reconciliation_id, agency_id, file_name, file_sha256, rows, bad_rows, counts, fixed,
       started_at, finished_at, done_by
FROM reconciliation WHERE CAST(:agency_id AS text) IS NULL OR agency_id = :agency_id
ORDER BY agency_id, started_at DESC, reconciliation_id DESC"""

# In the order of the key, from behind one.
FINDINGS = """
SELECT kind, line, placement_id, detail, of_account, theirs_minor, ours_minor, currency, fixed_at IS NOT NULL
FROM reconciliation_finding
WHERE reconciliation_id = :reconciliation_id AND (kind, placement_id, line) > (:kind, :placement_id, :line)
ORDER BY kind, placement_id, line LIMIT :limit"""

# For the pages below.
BY_LINE = "CREATE INDEX ON holding (line)"

# Ghosts in their order from behind one: the recall that each has, and whether it is with people already.
GHOSTS_TO_FIX = """
SELECT f.line, f.placement_id, f.of_account, coalesce(r.recall_id, ''),
       r.acknowledged_at IS NOT NULL OR r.rejected_at IS NOT NULL OR r.taken_over_at IS NOT NULL
FROM reconciliation_finding f
LEFT JOIN recall r ON r.account_id = f.of_account AND r.placement_id = f.placement_id
WHERE f.reconciliation_id = :reconciliation_id AND f.kind = 'ghost'
  AND (f.placement_id, f.line) > (:after_placement, :after_line)
ORDER BY f.placement_id, f.line LIMIT :limit"""

# Orphans in their order from behind one, with what the list claims; and whether one is somebody's by now, or its
# debt is with this agency under another id.
ORPHANS_TO_FIX = """
SELECT f.line, f.placement_id, coalesce(h.account_id, ''), coalesce(h.debt_id, ''), coalesce(h.outstanding, 0),
       coalesce(h.currency, ''),
       EXISTS (SELECT FROM placement p WHERE p.placement_id = f.placement_id)
       OR EXISTS (SELECT FROM placement p WHERE p.account_id = h.account_id AND p.debt_id = h.debt_id
                                            AND p.agency_id = :agency_id AND p.is_open)
FROM reconciliation_finding f JOIN holding h ON h.line = f.line
WHERE f.reconciliation_id = :reconciliation_id AND f.kind = 'orphan'
  AND (f.placement_id, f.line) > (:after_placement, :after_line)
ORDER BY f.placement_id, f.line LIMIT :limit"""

MARK_FIXED = """
UPDATE reconciliation_finding SET fixed_at = :at
WHERE reconciliation_id = :reconciliation_id AND kind = :kind AND placement_id = ANY(:placements)"""

SIGN_RECALLS = (
    "UPDATE recall SET requested_by = :by WHERE account_id = ANY(:accounts) AND recall_id = ANY(:recalls)"
)

KEEP_FIXED = """
UPDATE reconciliation SET fixed = CAST(:fixed AS jsonb) WHERE reconciliation_id = :reconciliation_id"""
