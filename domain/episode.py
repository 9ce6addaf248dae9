"""One placement as it stands: what the facts and what was said make of it, for whoever keeps or shows it.

Called by the store when it writes the placement's row, and by `why`. Decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from domain.account import Account
from domain.events import PlacementOpened, RecallRejected
from domain.recall import Said, SaidOf, is_open, recall_id_of


@dataclass(frozen=True, slots=True)
class Episode:
    """A placement that was opened, with its end if it has one."""

    opened: PlacementOpened
    said: Said
    is_open: bool
    accepted_at: datetime | None
    closed_at: datetime | None
    recall_id: str
    acknowledged_at: datetime | None
    rejected: RecallRejected | None

    @property
    def guarded(self) -> bool:
        """Whether the guard was asked before: the placement names its clearance."""
        return self.opened.clearance_id is not None


def episodes(account: Account, said: SaidOf) -> tuple[Episode, ...]:
    """Every opened placement of an account, by placement id."""
    return tuple(
        _episode(account, placement_id, said.get(placement_id))
        for placement_id, known in sorted(account.placements.items())
        if known.opened is not None
    )


def _episode(account: Account, placement_id: str, said: Said | None) -> Episode:
    known = account.placements[placement_id]
    if known.opened is None:
        raise ValueError("a placement that was not opened is no episode")
    recall_id = recall_id_of(account.account_id, placement_id)
    return Episode(
        opened=known.opened,
        said=said or Said(told=known.opened.amount),
        is_open=is_open(account, placement_id, said),
        accepted_at=known.accepted_at,
        closed_at=known.closed_at,
        recall_id=recall_id,
        acknowledged_at=known.acknowledged_at(recall_id),
        rejected=known.rejection(recall_id),
    )
