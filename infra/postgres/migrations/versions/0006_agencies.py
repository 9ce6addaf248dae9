"""What it takes to have a recall obeyed: attempts, resends, escalation, contacts, orders, and lists compared."""

from alembic import op

revision = "0006"
down_revision = "0005"

_CHANGES = """
-- A record of the outbox is a delivery: to an agency, or to a topic of ours where there is none.
ALTER TABLE outbox
    ADD COLUMN agency_id  text,
    ADD COLUMN channel    text NOT NULL DEFAULT '',  -- '': the agency's first, as its entry says when it is sent
    ADD COLUMN again      text NOT NULL DEFAULT '',  -- why this is sent again: 'overdue', 'escalated', 'by_hand'
    ADD COLUMN due_at     timestamptz,               -- not to be tried before; NULL: at once
    ADD COLUMN last_error text,
    ADD COLUMN superseded_at timestamptz;            -- it never arrived, and the placement's recall took its place

UPDATE outbox SET agency_id = convert_from(value, 'UTF8')::jsonb #>> '{data,agency_id}'
WHERE topic = 'guard.recalls' AND sent_at IS NULL;

-- What waits: by placement, for its order; by agency; and what is for none, which no agency's backlog may hide.
DROP INDEX outbox_order;
CREATE INDEX outbox_order ON outbox (account_id, placement_id, channel, outbox_id)
    WHERE sent_at IS NULL AND superseded_at IS NULL;
DROP INDEX outbox_pending;
CREATE INDEX outbox_pending ON outbox (outbox_id)
    WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NULL;
CREATE INDEX outbox_lane ON outbox (agency_id, outbox_id)
    WHERE sent_at IS NULL AND superseded_at IS NULL AND agency_id IS NOT NULL;
CREATE INDEX outbox_superseded ON outbox (superseded_at) WHERE superseded_at IS NOT NULL;

-- Every attempt to deliver by a channel other than Kafka, of which the outbox itself is the record: written when it
-- begins, and again when it ends. One without an end is one whose process died.
CREATE TABLE delivery_attempt (
    account_id text        NOT NULL,
    outbox_id  bigint      NOT NULL,
    attempt    integer     NOT NULL,
    channel    text        NOT NULL,
    began_at   timestamptz NOT NULL,
    ended_at   timestamptz,
    delivered  boolean,
    target     text        NOT NULL DEFAULT '',
    detail     text        NOT NULL DEFAULT '',
    request    bytea,                          -- what went over the wire, and what came back
    response   bytea,
    PRIMARY KEY (account_id, outbox_id, attempt)
);

-- Agencies that were not reached lately: nothing is sent to them before `open_until`, but one message to see.
CREATE TABLE agency_circuit (
    agency_id  text        NOT NULL,
    channel    text        NOT NULL,
    is_first   boolean     NOT NULL,           -- this channel takes what names none
    failures   integer     NOT NULL,           -- one after the other
    open_until timestamptz,
    last_error text        NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (agency_id, channel)
);

ALTER TABLE recall DROP COLUMN state;
ALTER TABLE recall
    ADD COLUMN requested_by        text,       -- who ordered it by hand
    ADD COLUMN resent_at           timestamptz,
    ADD COLUMN resends             integer NOT NULL DEFAULT 0,
    ADD COLUMN escalate_at         timestamptz,
    ADD COLUMN escalated_at        timestamptz,
    ADD COLUMN again_at            timestamptz,  -- once escalated: when it is sent again
    ADD COLUMN taken_over_at       timestamptz,
    ADD COLUMN taken_over_by       text,
    ADD COLUMN taken_over_reason   text,
    ADD COLUMN placement_closed_at timestamptz,  -- the episode ended without an answer
    ADD COLUMN state text GENERATED ALWAYS AS (
        CASE WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
             WHEN placement_closed_at IS NOT NULL THEN 'closed'
             WHEN taken_over_at IS NOT NULL THEN 'taken_over'
             WHEN rejected_at IS NOT NULL THEN 'rejected'
             WHEN escalated_at IS NOT NULL THEN 'escalated'
             WHEN overdue_at IS NOT NULL THEN 'overdue'
             WHEN sent_at IS NOT NULL THEN 'sent'
             ELSE 'requested' END) STORED,
    ADD COLUMN next_at timestamptz GENERATED ALWAYS AS (  -- when its clock strikes next
        CASE WHEN overdue_at IS NULL THEN acknowledge_by
             WHEN escalated_at IS NULL THEN escalate_at
             ELSE again_at END) STORED;
UPDATE recall SET escalate_at = overdue_at WHERE overdue_at IS NOT NULL;
-- What was closed before has no clock: a closed placement brings no event that would say so again.
UPDATE recall r SET placement_closed_at = p.closed_at FROM placement p
WHERE p.account_id = r.account_id AND p.placement_id = r.placement_id AND p.closed_at IS NOT NULL;
DROP INDEX recall_waiting;
CREATE INDEX recall_waiting ON recall (next_at)
    WHERE acknowledged_at IS NULL AND rejected_at IS NULL AND taken_over_at IS NULL AND placement_closed_at IS NULL;
CREATE INDEX recall_by_id ON recall (recall_id);
CREATE INDEX recall_by_time ON recall (requested_at, account_id, placement_id);
CREATE INDEX recall_of_agency ON recall (agency_id, requested_at, account_id, placement_id);
CREATE INDEX recall_in_state ON recall (state, requested_at, account_id, placement_id);
CREATE INDEX recall_sent ON recall (sent_at) WHERE sent_at IS NOT NULL;
CREATE INDEX placement_by_id ON placement (placement_id);
CREATE INDEX placement_of_agency ON placement (agency_id, placement_id);

-- When the agency spoke to the customer; a breach where that was after the recall was sent, and the policy's grace.
CREATE TABLE contact (
    account_id   text        NOT NULL,
    placement_id text        NOT NULL,
    contacted_at timestamptz NOT NULL,
    channel      text        NOT NULL,
    breached_at  timestamptz,                  -- when it was found to be one
    PRIMARY KEY (account_id, placement_id, contacted_at, channel)
);
CREATE INDEX contact_breach ON contact (breached_at) WHERE breached_at IS NOT NULL;

-- The bytes of the events of cases, as they came: for the proof.
CREATE TABLE received (
    account_id text  NOT NULL,
    event_key  uuid  NOT NULL,
    key        bytea,
    value      bytea NOT NULL,
    headers    jsonb NOT NULL,                 -- [[name, hex of the value], ..]
    PRIMARY KEY (account_id, event_key)
);

-- Lines of agencies' files: who reads a file again asks which were set aside already.
CREATE INDEX quarantine_of_file ON quarantine (origin_offset) WHERE origin_partition = -1;

-- What an agency said it holds, compared with what it ought to hold.
CREATE TABLE reconciliation (
    reconciliation_id text        PRIMARY KEY,
    agency_id         text        NOT NULL,
    file_name         text        NOT NULL,
    file_sha256       text        NOT NULL,
    rows              bigint      NOT NULL,
    bad_rows          bigint      NOT NULL,
    counts            jsonb       NOT NULL,    -- {"ghosts": n, "orphans": n, "missing": n, "amounts": n}
    fixed             jsonb,                   -- the same, of those that were recalled again; NULL: was not asked
    started_at        timestamptz NOT NULL,
    finished_at       timestamptz NOT NULL,
    done_by           text        NOT NULL
);
CREATE INDEX reconciliation_of_agency ON reconciliation (agency_id, started_at);

CREATE TABLE reconciliation_finding (
    reconciliation_id text    NOT NULL,
    line              bigint  NOT NULL,        -- of the file; 0 for what is missing there
    kind              text    NOT NULL,        -- 'ghost', 'orphan', 'missing', 'amount'
    placement_id      text    NOT NULL,
    of_account        text    NOT NULL DEFAULT '',  -- as far as it is known
    detail            text    NOT NULL,
    theirs_minor      bigint,
    ours_minor        bigint,
    currency          text    NOT NULL DEFAULT '',
    fixed_at          timestamptz,
    PRIMARY KEY (reconciliation_id, kind, placement_id, line)
);
"""


def upgrade() -> None:
    """Make the tables, columns and indexes."""
    op.execute(_CHANGES)


def downgrade() -> None:
    """There is none: what was sent and answered is the proof."""
    raise NotImplementedError("restore a backup instead")
