"""Who may ask over HTTP, and what was answered only in shadow mode."""

from alembic import op

revision = "0005"
down_revision = "0004"

_CHANGES = """
CREATE TABLE api_key (
    key_id     text        PRIMARY KEY,
    name       text        NOT NULL,
    hash       bytea       NOT NULL,  -- SHA-256 of the secret, which is 256 random bits; the secret is kept nowhere
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL,
    created_by text        NOT NULL,
    revoked_at timestamptz,
    revoked_by text
);

ALTER TABLE clearance ADD COLUMN shadow boolean NOT NULL DEFAULT false;  -- answered, and enforced by nobody

-- What was answered before a placement.
CREATE INDEX clearance_of_debt ON clearance (account_id, debt_id, decided_at);
"""


def upgrade() -> None:
    """Make the table, the column and the index."""
    op.execute(_CHANGES)


def downgrade() -> None:
    """There is none: who asked is part of the proof."""
    raise NotImplementedError("restore a backup instead")
