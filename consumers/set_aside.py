"""What becomes of an event that our own code or the database can't take: it is set aside, alone (S6).

Called by `ingest`, `quarantine requeue` and whoever reads agencies' files.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from domain.events import RawRecord
from infra.kafka.errors import BrokerUnavailableError
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.ledger import FencedError, Loaded, Outcome, Quarantined
from infra.wire.decode import Decoded, Rejected, decode
from infra.wire.encode import encode_quarantined

NO_FAULT_OF_AN_EVENT = (FencedError, DatabaseUnavailableError, BrokerUnavailableError)
"""What is answered by trying again."""

REASON = "NOT_APPLICABLE"
DETAIL = "our own code or the database failed on it; the log says where"


def keep_bad(
    records: Sequence[RawRecord],
    decoded: Sequence[Decoded | Rejected],
    loaded: Loaded,
    outcome: Outcome,
    *,
    known: Callable[[Sequence[Quarantined]], Container[int]] = lambda _: (),
) -> list[bool]:
    """Put the bad ones of these where the commit will find them; says of each record whether it is bad.

    `known` says which of the bad ones are in quarantine already, by their places: they are not kept twice.
    """
    conflicts = set(loaded.conflicts)
    entry_number = -1
    bad: list[bool] = []
    for raw, one in zip(records, decoded, strict=True):
        if isinstance(one, Rejected):
            outcome.quarantined.append(Quarantined(raw, one.reason, one.detail, one.accounts))
            bad.append(True)
            continue
        entry_number += 1
        bad.append(entry_number in conflicts)
        if entry_number in conflicts:
            detail = "this source and id were used before for another content"
            outcome.quarantined.append(Quarantined(raw, "CONFLICT", detail, (one.account_id,)))
    if outcome.quarantined:
        before = known(outcome.quarantined)
        outcome.quarantined = [one for place, one in enumerate(outcome.quarantined) if place not in before]
    for one_bad in outcome.quarantined:
        account_id = next(iter(one_bad.accounts), "")
        outcome.outbox.append((encode_quarantined(one_bad.raw, one_bad.reason, account_id), None))
    return bad


def set_aside(raw: RawRecord) -> Rejected:
    """A record that can't be applied, whether or not it can be read."""
    read = decode(raw)
    accounts = (read.account_id,) if isinstance(read, Decoded) else read.accounts
    return Rejected(raw, REASON, DETAIL, accounts)
