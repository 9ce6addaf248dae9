"""Indexes by which the sweep finds what is past its time, without reading what is not."""

from alembic import op

revision = "0003"
down_revision = "0002"

_INDEXES = """
-- Rows come in about the order of this time, so a summary of each range of pages is enough: some kilobytes.
CREATE INDEX ledger_received ON ledger USING brin (received_at) WITH (autosummarize = on);
CREATE INDEX outbox_sent ON outbox (sent_at) WHERE sent_at IS NOT NULL;
"""


def upgrade() -> None:
    """Make the indexes."""
    op.execute(_INDEXES)


def downgrade() -> None:
    """There is none: the state is the proof of what was known when."""
    raise NotImplementedError("restore a backup instead")
