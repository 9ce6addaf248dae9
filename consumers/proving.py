"""Who looks up a placement for a proof: with all that was acknowledged before, or what may be missing.

Called by `evidence` and `confirmation`. Crosses the read barrier, then reads one snapshot; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from consumers.barrier import Barrier
from consumers.teller import what_may_be_missing
from domain.agency import Agencies, agency_of
from domain.events import PlacementOpened
from domain.policy import Policy
from infra.postgres.evidence import Proof, Proofs


@dataclass(frozen=True, slots=True)
class Looked:
    """A placement with all that is known of it as of `at`; `behind` says why something may be missing."""

    proof: Proof
    opened: PlacementOpened
    agency_name: str
    at: datetime
    behind: str | None


@dataclass(frozen=True, slots=True)
class NotFound:
    """There is no such placement, or more than one; `detail` says what to do."""

    detail: str


class Proving:
    """One for all the questions of a process; `barrier` is None where no broker is named."""

    def __init__(
        self,
        *,
        barrier: Barrier | None,
        proofs: Proofs,
        policy: Policy,
        agencies: Callable[[], Agencies],
        now: Callable[[], datetime],
    ) -> None:
        self._barrier = barrier
        self._proofs = proofs
        self._agencies = agencies
        self._now = now
        self.policy = policy

    def look(self, placement_id: str, account_id: str | None) -> Looked | NotFound:
        """Look a placement up; the account need be named only where several have one of this id."""
        at = self._now()
        behind = what_may_be_missing(self._barrier)
        accounts = [account_id] if account_id else self._proofs.accounts_of(placement_id)
        if len(accounts) > 1:
            return NotFound(f"{len(accounts)} accounts have a placement {placement_id}: name one by --account")
        proof = self._proofs.of(accounts[0], placement_id) if accounts else None
        known = proof.history.case.account.placements.get(placement_id) if proof is not None else None
        if proof is None or known is None or known.opened is None:
            missing = f"; what may be missing: {behind}" if behind else ""
            return NotFound(
                f"no placement {placement_id} is known{f' of {account_id}' if account_id else ''}{missing}"
            )
        agency_id = known.opened.agency_id
        name = agency_of(self._agencies(), agency_id).name or agency_id
        return Looked(proof, known.opened, name, at, behind)
