"""The clearances that were given, and what became of each."""

from alembic import op

revision = "0004"
down_revision = "0003"

_TABLES = """
CREATE TABLE clearance (
    account_id   text        NOT NULL,
    clearance_id text        NOT NULL,
    debt_id      text        NOT NULL,
    agency_id    text        NOT NULL,
    decision     text        NOT NULL,
    outstanding  bigint      NOT NULL,  -- what may be placed, in minor units
    currency     text        NOT NULL,
    decided_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    asked_by     text        NOT NULL,
    answer       jsonb       NOT NULL,  -- the whole answer, as it was given
    placement_id text,                  -- what it was used for
    confirmed_at timestamptz,
    PRIMARY KEY (account_id, clearance_id)
);

-- Who confirms names the clearance alone, and not the account.
CREATE INDEX clearance_by_id ON clearance (clearance_id);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_TABLES)


def downgrade() -> None:
    """There is none: what was answered is part of the proof."""
    raise NotImplementedError("restore a backup instead")
