"""The ledger on a real database: what goes in comes out as it was, and two with the same accounts take turns."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from consumers.parts import CODEC
from domain.events import RawRecord
from infra.postgres.database import Database
from infra.postgres.ledger import Ledger
from infra.wire.decode import Decoded, decode
from tests.builders import ACCOUNT
from tests.infra.wire.test_decode import SAMPLES, Sample, structured
from tests.records import payment, referral

pytestmark = pytest.mark.parts

STRANGE = r"\N\.\\t'\"{}%(x)s:accounts;--я\x41"
"""Printable, without white space, and something else to COPY, SQL, JSON or the driver."""


TURNS = 10


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """The ledger of a fresh database."""
    return Ledger(database, CODEC, "")


def entry(raw: RawRecord) -> Decoded:
    """The event of a record that has one."""
    decoded = decode(raw)
    assert isinstance(decoded, Decoded), decoded
    return decoded


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.type)
def test_every_kind_comes_back_as_it_went_in(ledger: Ledger, sample: Sample) -> None:
    """Event, source, id, times and place in the streams."""
    given = entry(structured(sample))
    with ledger.batch() as batch:
        batch.lock_and_load([given])

    with ledger.batch() as batch:
        assert [given.recorded] == batch.events("a-1")


def test_no_text_is_too_strange_to_be_kept(ledger: Ledger) -> None:
    """In every place that a producer fills: account, debt, source, id, free text, and a type on another topic."""
    raw = payment(account_id=STRANGE)
    event = json.loads(raw.value or b"")
    event["source"] = event["id"] = event["data"]["debt_id"] = event["data"]["contract_id"] = STRANGE
    event["data"]["method"] = STRANGE + "\n\t\r\b\x01\u2028"
    given = entry(replace(raw, value=json.dumps(event).encode()))
    with ledger.batch() as batch:
        first = batch.lock_and_load([given])
    with ledger.batch() as batch:
        again = batch.lock_and_load([given])
        events = batch.events(STRANGE)

    assert [given.recorded] == events
    assert (first.fresh, again.duplicates) == ([0], [0])


def test_two_batches_that_share_accounts_take_turns(ledger: Ledger) -> None:
    """No deadlock, though each meets the shared accounts in its own order; all of both is there."""
    shared = [f"a-{number}" for number in range(50)]
    more = [f"b-{number}" for number in range(300)]
    orders: list[Sequence[str]] = [shared, [*more, *shared[::-1]]]
    together = threading.Barrier(2)

    def write(worker: int) -> None:
        for turn in range(TURNS):
            batch_of = [
                entry(payment(f"p-{worker}-{turn}", account_id=account_id)) for account_id in orders[worker]
            ]
            together.wait(30)
            with ledger.batch() as batch:
                batch.lock_and_load(batch_of)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, range(2)))

    with ledger.batch() as batch:
        assert [2 * TURNS] * len(shared) == [len(batch.events(account_id)) for account_id in shared]


def test_the_second_sees_what_the_first_has_written(ledger: Ledger) -> None:
    """A payment that waits for the lock of its account finds the debt that came meanwhile (S2)."""
    locked, asked = threading.Event(), threading.Event()

    def refer() -> None:
        with ledger.batch() as batch:
            batch.lock_and_load([entry(referral())])
            locked.set()
            asked.wait(30)

    def pay() -> set[str]:
        locked.wait(30)
        with ledger.batch() as batch:
            asked.set()
            return set(batch.lock_and_load([entry(payment())]).cases[ACCOUNT].account.debts)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.submit(refer), threads.submit(pay)

    first.result()
    assert {"d-1"} == second.result()
