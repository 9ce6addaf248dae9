"""Who is signed in at the console, and the record of what people read and did there."""

from alembic import op

revision = "0007"
down_revision = "0006"

_CHANGES = """
CREATE TABLE console_session (
    hash       bytea       PRIMARY KEY,     -- SHA-256 of the cookie's secret, which is 256 random bits
    name       text        NOT NULL,        -- who: a key's name, or what the provider calls the person
    signed_by  text        NOT NULL,        -- 'key:<key_id>' or 'oidc:<subject>'
    key_id     text,                        -- the key by which they came: revoked, it ends the session
    scopes     text[]      NOT NULL,
    created_at timestamptz NOT NULL,
    seen_at    timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE INDEX console_session_expiry ON console_session (expires_at);

-- What a person read of a customer, and what they ordered: for whoever asks later.
CREATE TABLE console_record (
    record_id  bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    name       text        NOT NULL,
    signed_by  text        NOT NULL,
    act        text        NOT NULL,        -- 'account.read', 'event.read', 'recall.ordered', 'recall.resent', ..
    of_account text        NOT NULL DEFAULT '',  -- where it concerns one
    target     text        NOT NULL DEFAULT '',  -- a recall's, placement's or quarantined event's id
    reason     text        NOT NULL DEFAULT '',
    outcome    text        NOT NULL DEFAULT ''
);
CREATE INDEX console_record_of_account ON console_record (of_account, at) WHERE of_account <> '';
CREATE INDEX console_record_by_time ON console_record (at);
"""


def upgrade() -> None:
    """Make the tables and indexes."""
    op.execute(_CHANGES)


def downgrade() -> None:
    """There is none: who read and did what is part of the proof."""
    raise NotImplementedError("restore a backup instead")
