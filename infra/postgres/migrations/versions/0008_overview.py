"""An index by which the console's first page counts the answers of a day.

Old code goes on beside it. Rows come in the order of this time, so that an answer costs it one entry at its end.
"""

from alembic import op

revision = "0008"
down_revision = "0007"

_INDEXES = """
CREATE INDEX clearance_by_time ON clearance (decided_at) INCLUDE (decision);
"""


def upgrade() -> None:
    """Make the index."""
    op.execute(_INDEXES)


def downgrade() -> None:
    """There is none: the state is the proof of what was known when."""
    raise NotImplementedError("restore a backup instead")
