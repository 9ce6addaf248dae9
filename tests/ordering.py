"""What comes of an order that is given on a page of the console: what the page tells, and what is recorded.

Used by the tests of the pages with orders.
"""

from __future__ import annotations

import re
from html import unescape

import httpx2

from infra.postgres.database import Database
from infra.postgres.records import Act, Records


def reply_of(answer: httpx2.Response) -> str:
    """What a page tells came of an order; nothing where it tells none."""
    found = re.search(r'role="status">([^<]*)<', answer.text)
    return unescape(found[1]) if found else ""


def acts(database: Database) -> list[tuple[str, str, str, str, str]]:
    """What is recorded, oldest first, but who came."""
    found = reversed(Records(database).newest(limit=99))
    return [
        (one.act, one.account_id, one.target, one.reason, one.outcome) for one in found if one.act != Act.SIGNED_IN
    ]
