"""What becomes of an event that our own code or the database can't take: it is set aside, alone (S6).

Called by `ingest` and `quarantine requeue` once a batch has failed for a reason that trying again won't mend.
"""

from __future__ import annotations

import traceback

from domain.events import RawRecord
from infra.kafka.errors import BrokerUnavailableError
from infra.postgres.database import DatabaseUnavailableError
from infra.postgres.ledger import FencedError
from infra.wire.decode import Decoded, Rejected, decode

NO_FAULT_OF_AN_EVENT = (FencedError, DatabaseUnavailableError, BrokerUnavailableError)
"""What is answered by trying again."""

REASON = "NOT_APPLICABLE"
DETAIL = "our own code or the database failed on it; the log says where"


def set_aside(raw: RawRecord) -> Rejected:
    """A record that can't be applied, whether or not it can be read."""
    read = decode(raw)
    accounts = (read.account_id,) if isinstance(read, Decoded) else read.accounts
    return Rejected(raw, REASON, DETAIL, accounts)


def where(why: Exception) -> dict[str, str]:
    """What went wrong and where, without its message: that may hold what a customer's event held."""
    frames = traceback.extract_tb(why.__traceback__)
    ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    return {"error": type(why).__name__, "at": f"{ours[-1].name}, line {ours[-1].lineno}" if ours else ""}
