"""Events that a person gave up: when, who and why; and which accounts an event in quarantine had held.

Old code goes on beside it: every new column may be empty.
"""

from alembic import op

revision = "0002"
down_revision = "0001"

_CHANGES = """
ALTER TABLE quarantine
    ADD COLUMN dropped_at        timestamptz,
    ADD COLUMN dropped_by        text,
    ADD COLUMN dropped_reason    text,
    ADD COLUMN released_accounts text[];  -- those it held until it was applied or dropped

DROP INDEX quarantine_waiting;
CREATE INDEX quarantine_waiting ON quarantine (quarantine_id) WHERE applied_at IS NULL AND dropped_at IS NULL;
CREATE INDEX quarantine_dropped ON quarantine USING gin (released_accounts) WHERE dropped_at IS NOT NULL;
CREATE INDEX hold_quarantined ON hold (quarantine_id);
"""


def upgrade() -> None:
    """Add the columns, and the indexes that answer by them."""
    op.execute(_CHANGES)


def downgrade() -> None:
    """There is none: what a person gave up is part of the proof."""
    raise NotImplementedError("restore a backup instead")
