"""When agencies spoke to customers, and which of it was a breach: after the recall was sent, and the grace.

Called by the ledger in the commit that brings a contact, and by `sweep` for what could not be known then: a recall
is perhaps marked as sent only after a later contact has arrived.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from domain.events import ContactMade
from infra.postgres.database import Database

CHANNEL_MAX_CHARACTERS = 64
"""Of the agency's word for how it spoke, as far as it is kept here: it stands in an index."""

LOOK_BACK = timedelta(days=1)
"""How long ago a recall was sent that is looked at again: a sweep may be down for so long."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A contact that should not have been."""

    account_id: str
    placement_id: str
    recall_id: str
    agency_id: str
    contacted_at: datetime


def keep(connection: sa.Connection, contacts: Sequence[ContactMade], grace: timedelta) -> list[Breach]:
    """Keep contacts of placements that are known, and find those that are breaches as far as is known now."""
    if not contacts:
        return []
    rows = [
        {
            "account_id": one.account_id,
            "placement_id": one.placement_id,
            "contacted_at": one.contacted_at,
            "channel": one.channel[:CHANNEL_MAX_CHARACTERS],
        }
        for one in contacts
    ]
    parameters = {"rows": orjson.dumps(rows).decode()}
    connection.execute(_KEEP, parameters)
    found = connection.execute(_BREACHES, {**parameters, "grace": grace})
    return [_breach(row) for row in found]


class Contacts:
    """The contacts in one database, as the sweep looks at them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find_breaches(self, now: datetime, grace: timedelta, *, limit: int) -> list[Breach]:
        """Mark contacts after a recall that was sent lately, and return them."""
        parameters = {"since": now - LOOK_BACK, "grace": grace, "limit": limit}
        with self._database.transaction() as connection:
            return [_breach(row) for row in connection.execute(_LATER_BREACHES, parameters)]


def _breach(row: sa.Row[*tuple[Any, ...]]) -> Breach:  # `Any`: a row is untyped.
    return Breach(*row)


_KEEP = sa.text("""
INSERT INTO contact (account_id, placement_id, contacted_at, channel)
SELECT account_id, placement_id, contacted_at, channel
FROM jsonb_to_recordset(:rows) AS r (account_id text, placement_id text, contacted_at timestamptz, channel text)
ON CONFLICT DO NOTHING""")

# Among these alone, and once each: what was found before keeps its time.
_BREACHES = sa.text("""
UPDATE contact c SET breached_at = clock_timestamp()
FROM jsonb_to_recordset(:rows) AS r (account_id text, placement_id text, contacted_at timestamptz, channel text)
JOIN recall ON recall.account_id = r.account_id AND recall.placement_id = r.placement_id
WHERE c.account_id = r.account_id AND c.placement_id = r.placement_id AND c.contacted_at = r.contacted_at
  AND c.channel = r.channel AND c.breached_at IS NULL AND c.contacted_at > recall.sent_at + :grace
RETURNING c.account_id, c.placement_id, recall.recall_id, recall.agency_id, c.contacted_at""")

_LATER_BREACHES = sa.text("""
UPDATE contact c SET breached_at = clock_timestamp()
FROM (
    SELECT c.account_id, c.placement_id, c.contacted_at, c.channel, r.recall_id, r.agency_id
    FROM recall r JOIN contact c ON c.account_id = r.account_id AND c.placement_id = r.placement_id
    WHERE r.sent_at > :since AND c.breached_at IS NULL AND c.contacted_at > r.sent_at + :grace
    LIMIT :limit FOR UPDATE OF c SKIP LOCKED) f
WHERE c.account_id = f.account_id AND c.placement_id = f.placement_id AND c.contacted_at = f.contacted_at
  AND c.channel = f.channel
RETURNING c.account_id, c.placement_id, f.recall_id, f.agency_id, c.contacted_at""")
