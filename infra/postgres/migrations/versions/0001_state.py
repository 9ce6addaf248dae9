"""The account state, the outbox, the quarantine and the stream positions.

Every table of account facts has `account_id` first in its primary key and is only ever asked by it, so that
it can be distributed by the account. The ledger is split by hash of the account, so that it may grow to
hundreds of millions of rows in parts that vacuum and index well; with 0 parts it is one plain table, which is
what Citus' `create_distributed_table` wants.
"""

from alembic import context, op

revision = "0001"
down_revision = None

_LEDGER = """
CREATE TABLE ledger (
    account_id   text        NOT NULL,
    event_key    uuid        NOT NULL,  -- of source and id: one event, one row, for ever
    digest       uuid        NOT NULL,  -- of the content: the same event with other content is a conflict
    kind         smallint    NOT NULL,  -- the type's number
    source       text        NOT NULL,
    event_id     text        NOT NULL,
    event_time   timestamptz NOT NULL,
    received_at  timestamptz NOT NULL,  -- the broker's time
    origin_topic text,                  -- NULL: the topic of its type
    origin_partition integer NOT NULL,
    origin_offset    bigint  NOT NULL,
    money_id     text,                  -- payments and credits have columns; the rest of a payload is in `stored`
    amount       bigint,
    currency     text,
    money_at     timestamptz,
    debt_id      text,
    contract_id  text,
    stored       text,
    PRIMARY KEY (account_id, event_key)
)"""

_TABLES = """
CREATE TABLE account (
    account_id text    PRIMARY KEY,
    has_case   boolean NOT NULL DEFAULT false  -- a debt was referred or placed: its money can matter to an agency
);

CREATE TABLE placement (
    account_id   text        NOT NULL,
    placement_id text        NOT NULL,
    debt_id      text        NOT NULL,
    agency_id    text        NOT NULL,
    amount       bigint      NOT NULL,
    currency     text        NOT NULL,
    placed_at    timestamptz NOT NULL,
    guarded      boolean     NOT NULL,  -- it names the clearance it was opened by
    told         bigint      NOT NULL,  -- what the agency was last told is owed
    suspended    boolean     NOT NULL,
    accepted_at  timestamptz,
    closed_at    timestamptz,
    is_open      boolean     NOT NULL,
    PRIMARY KEY (account_id, placement_id)
);
CREATE INDEX placement_open ON placement (account_id) WHERE is_open;

CREATE TABLE recall (
    account_id      text        NOT NULL,
    placement_id    text        NOT NULL,
    recall_id       text        NOT NULL,
    debt_id         text        NOT NULL,
    agency_id       text        NOT NULL,
    reason          text        NOT NULL,
    cause           text        NOT NULL,
    outstanding     bigint      NOT NULL,
    currency        text        NOT NULL,
    requested_at    timestamptz NOT NULL,
    acknowledge_by  timestamptz NOT NULL,
    trigger_source  text        NOT NULL,
    trigger_id      text        NOT NULL,
    paid_at         timestamptz,
    known_since     timestamptz NOT NULL,  -- the broker's time of the event after which it could be known
    swept           boolean     NOT NULL,  -- a sweep found it, which should never be
    sent_at         timestamptz,
    acknowledged_at timestamptz,
    rejected_at     timestamptz,
    rejection       text,
    overdue_at      timestamptz,
    state text GENERATED ALWAYS AS (
        CASE WHEN acknowledged_at IS NOT NULL THEN 'acknowledged'
             WHEN rejected_at IS NOT NULL THEN 'rejected'
             WHEN overdue_at IS NOT NULL THEN 'overdue'
             WHEN sent_at IS NOT NULL THEN 'sent'
             ELSE 'requested' END) STORED,
    PRIMARY KEY (account_id, placement_id)
);
CREATE INDEX recall_waiting ON recall (acknowledge_by) WHERE acknowledged_at IS NULL AND rejected_at IS NULL;

CREATE TABLE outbox (
    account_id    text        NOT NULL,
    outbox_id     bigint      GENERATED ALWAYS AS IDENTITY,
    placement_id  text        NOT NULL,  -- '' for what belongs to none; the rest of one placement keeps its order
    recall_id     text,
    topic         text        NOT NULL,
    key           bytea       NOT NULL,
    value         bytea       NOT NULL,
    headers       jsonb       NOT NULL,  -- [[name, hex of the value], ..]
    created_at    timestamptz NOT NULL,
    attempts      integer     NOT NULL DEFAULT 0,
    claimed_until timestamptz,
    sent_at       timestamptz,
    PRIMARY KEY (account_id, outbox_id)
);
CREATE INDEX outbox_pending ON outbox (outbox_id) WHERE sent_at IS NULL;
CREATE INDEX outbox_order ON outbox (account_id, placement_id, outbox_id) WHERE sent_at IS NULL;

CREATE TABLE quarantine (
    quarantine_id    bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    origin_topic     text        NOT NULL,
    origin_partition integer     NOT NULL,
    origin_offset    bigint      NOT NULL,
    received_at      timestamptz NOT NULL,
    key              bytea,
    value            bytea,
    headers          jsonb       NOT NULL,
    reason           text        NOT NULL,
    detail           text        NOT NULL,
    quarantined_at   timestamptz NOT NULL,
    attempts         integer     NOT NULL DEFAULT 0,
    applied_at       timestamptz
);
CREATE INDEX quarantine_waiting ON quarantine (quarantine_id) WHERE applied_at IS NULL;

CREATE TABLE hold (
    account_id    text   NOT NULL,
    quarantine_id bigint NOT NULL,
    PRIMARY KEY (account_id, quarantine_id)
);

CREATE TABLE stream (
    topic          text        PRIMARY KEY,
    cluster_id     text        NOT NULL,
    topic_id       text        NOT NULL,
    registered_at  timestamptz NOT NULL,
    stopped_reason text,
    stopped_detail text,
    stopped_at     timestamptz
);

CREATE TABLE stream_position (
    cluster_id  text    NOT NULL,
    topic       text    NOT NULL,
    topic_id    text    NOT NULL,
    partition   integer NOT NULL,
    position    bigint  NOT NULL,   -- the consumer's own, past markers and holes
    bad_run     integer NOT NULL DEFAULT 0,  -- bad events one after the other, just before the position
    moved_at    timestamptz NOT NULL,
    PRIMARY KEY (cluster_id, topic, topic_id, partition)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Make the tables."""
    parts = int(context.config.attributes.get("ledger_parts", 16))
    op.execute(_LEDGER + (" PARTITION BY HASH (account_id)" if parts else ""))
    for part in range(parts):
        op.execute(
            f"CREATE TABLE ledger_{part:03d} PARTITION OF ledger "
            f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {part})"
        )
    op.execute(_TABLES)


def downgrade() -> None:
    """There is none: the state is the proof of what was known when."""
    raise NotImplementedError("restore a backup instead")
