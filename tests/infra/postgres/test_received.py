"""The bytes of the events of cases are kept as they came, in the commit of their rows; of others none are."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import sqlalchemy as sa

from consumers.parts import CODEC
from domain.events import RawRecord
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.wire.decode import Decoded, decode
from tests.builders import ACCOUNT
from tests.conftest import Arrive
from tests.infra.postgres.test_ledger import STRANGE
from tests.records import payment, placement, referral

pytestmark = pytest.mark.parts


def kept(database: Database) -> list[RawRecord]:
    """What is kept, in the order of the ledger's times; each with its place in the streams."""
    statement = """
        SELECT r.key, r.value, r.headers FROM received r JOIN ledger l USING (account_id, event_key)
        ORDER BY l.event_time"""
    with database.transaction() as connection:
        return [
            RawRecord(
                payment().origin,
                bytes(key) if key is not None else None,
                bytes(value),
                tuple((name, bytes.fromhex(text)) for name, text in headers),
            )
            for key, value, headers in connection.execute(sa.text(statement))
        ]


def bare(*records: RawRecord) -> list[RawRecord]:
    """These records, without their places."""
    return [replace(one, origin=payment().origin) for one in records]


def test_what_comes_to_a_case_is_kept_byte_for_byte(arrive: Arrive, database: Database) -> None:
    """With white space, headers, and all that COPY, JSON or the driver would read as something else."""
    text = json.loads(payment(account_id=STRANGE).value or b"")
    spaced = json.dumps(text, indent=2, ensure_ascii=False).encode()
    headers = (("content-type", b"application/cloudevents+json"), ("x\\-\t\"'", b"\x00\xff\\\t"), ("x", b""))
    given = replace(payment(account_id=STRANGE), value=spaced, headers=headers)

    arrive(referral(account_id=STRANGE))
    arrive(given)

    assert bare(referral(account_id=STRANGE), given) == kept(database)


def test_of_an_account_without_a_case_nothing_is_kept(arrive: Arrive, database: Database) -> None:
    """Its payments cost what they cost before; also beside a case in one batch, and before it becomes one."""
    arrive(payment("p-1"), payment("p-2", account_id="a-2"), referral(account_id="a-3"))
    arrive(referral())

    assert sorted(str(one.key) for one in kept(database)) == [str(b"a-1"), str(b"a-3")]


def test_what_comes_with_the_event_that_opens_the_case_is_kept(arrive: Arrive, database: Database) -> None:
    """One batch is one instant."""
    arrive(payment(), referral(), placement())

    assert bare(referral(), placement(), payment()) == kept(database)


def test_only_what_is_new_is_kept(arrive: Arrive, database: Database) -> None:
    """The first bytes of an event stand, whatever the same event looks like when it comes again."""
    same = replace(payment(), value=(payment().value or b"").replace(b": ", b":"))
    other = payment(amount=1)

    arrive(referral(), payment(), same)
    arrive(same, other)

    assert bare(referral(), payment()) == kept(database)


def test_what_came_by_http_has_no_key(database: Database) -> None:
    """NULL, and not an empty one."""
    read = decode(replace(referral(), key=None), any_topic=True, keyed=False)
    assert isinstance(read, Decoded)
    with Ledger(database, CODEC, "").batch() as batch:
        batch.lock_and_load([read])

    assert [(None, referral().value)] == [(one.key, one.value) for one in kept(database)]


def test_an_account_is_its_own(arrive: Arrive, database: Database) -> None:
    """The rows stand beside those of the ledger, by account."""
    arrive(referral(), referral(account_id="a-2"), payment(account_id="a-2"))

    with database.transaction() as connection:
        rows = connection.execute(sa.text("SELECT account_id, count(*) FROM received GROUP BY 1 ORDER BY 1")).all()
    assert [tuple(row) for row in rows] == [(ACCOUNT, 1), ("a-2", 2)]
