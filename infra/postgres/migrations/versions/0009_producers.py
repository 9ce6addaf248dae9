"""When each producer was last heard."""

from alembic import op

revision = "0009"
down_revision = "0008"

_CHANGES = """
-- A few rows, written every few seconds: no index but the key, so that an update moves no index entry.
CREATE TABLE producer (
    topic   text        NOT NULL,
    source  text        NOT NULL,      -- of its events; 'other' for those beyond the limit
    last_at timestamptz NOT NULL,      -- the broker's time of its last event
    PRIMARY KEY (topic, source)
) WITH (fillfactor = 50);
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_CHANGES)


def downgrade() -> None:
    """There is none, as before."""
    raise NotImplementedError("restore a backup instead")
