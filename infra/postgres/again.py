"""Recalls that are sent again: copies of the record by which each was sent first, for the dispatcher.

Called by the stores beside it, in the transaction in which they have the recalls locked. The bytes stay, and with
them the id by which an agency knows that it has the recall already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import sqlalchemy as sa

from infra.postgres.ledger_sql import WAKE

FIRST_CHANNEL = ""
"""The agency's first, as its entry says when the record is sent."""


@dataclass(frozen=True, slots=True)
class Again:
    """One recall, by one channel, and why it is sent again: `overdue`, `escalated` or `by_hand`."""

    account_id: str
    placement_id: str
    recall_id: str
    why: str
    channel: str = FIRST_CHANNEL


def send_again(connection: sa.Connection, wanted: Sequence[Again], now: datetime) -> set[str]:
    """Put copies into the outbox; the ids of the recalls of which there are any.

    None is made of what waits to be sent by this channel: it would say nothing more.
    """
    if not wanted:
        return set()
    rows = [
        {
            "account_id": one.account_id,
            "placement_id": one.placement_id,
            "recall_id": one.recall_id,
            "why": one.why,
            "channel": one.channel,
        }
        for one in wanted
    ]
    made = connection.execute(sa.text(_COPY), {"rows": orjson.dumps(rows).decode(), "now": now})
    recall_ids = {str(row[0]) for row in made}
    if recall_ids:
        connection.execute(sa.text(WAKE))
    return recall_ids


_COPY = """
WITH wanted AS (
    SELECT * FROM jsonb_to_recordset(:rows) AS w (
        account_id text, placement_id text, recall_id text, why text, channel text)
), made AS (
    INSERT INTO outbox (account_id, placement_id, recall_id, agency_id, channel, again, topic, key, value, headers,
                        created_at)
    SELECT w.account_id, w.placement_id, w.recall_id, r.agency_id, w.channel, w.why, first.topic, first.key,
           first.value, first.headers, clock_timestamp()
    FROM wanted w
    JOIN recall r ON r.account_id = w.account_id AND r.placement_id = w.placement_id
    JOIN LATERAL (
        SELECT topic, key, value, headers FROM outbox o
        WHERE o.account_id = w.account_id AND o.placement_id = w.placement_id AND o.recall_id = w.recall_id
        ORDER BY outbox_id LIMIT 1) first ON true
    WHERE NOT EXISTS (
        SELECT FROM outbox o
        WHERE o.account_id = w.account_id AND o.placement_id = w.placement_id AND o.recall_id = w.recall_id
          AND o.channel = w.channel AND o.sent_at IS NULL)
    RETURNING account_id, placement_id
), copies AS (SELECT account_id, placement_id, count(*) AS number FROM made GROUP BY 1, 2)
UPDATE recall r SET resends = r.resends + copies.number, resent_at = :now
FROM copies WHERE r.account_id = copies.account_id AND r.placement_id = copies.placement_id
RETURNING r.recall_id"""
