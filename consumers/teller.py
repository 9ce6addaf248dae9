"""Who tells an account's story: with all that was acknowledged before the question, or what may be missing.

Called by `why` and by the API. Crosses the read barrier, then reads one snapshot; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from consumers.as_of import as_of
from consumers.barrier import Barrier, BehindError
from consumers.story import Story, tell_story
from domain.agency import Agencies
from domain.policy import Policy
from infra.postgres.history import History

NO_BROKER = "no broker is named, so nobody could say how far the streams go"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Nothing is known of this account; `behind` says why something may be missing."""

    account_id: str
    behind: str | None


class Teller:
    """One for all the questions of a process; `barrier` is None where no broker is named."""

    def __init__(
        self,
        *,
        barrier: Barrier | None,
        history: History,
        policy: Policy,
        agencies: Callable[[], Agencies],
        now: Callable[[], datetime],
    ) -> None:
        self._barrier = barrier
        self._history = history
        self._policy = policy
        self._agencies = agencies
        self._now = now

    def tell(self, account_id: str, *, at: datetime | None = None) -> Story | Unknown:
        """The story of an account as of now, or of an instant before. Raises DatabaseUnavailableError."""
        if at is not None:
            return self._tell_past(account_id, at)
        asked_at = self._now()
        behind = what_may_be_missing(self._barrier)
        history = self._history.of(account_id)
        if history is None:
            return Unknown(account_id, behind)
        return tell_story(history, self._policy, asked_at, behind=behind, agencies=self._agencies())

    def _tell_past(self, account_id: str, at: datetime) -> Story | Unknown:
        """What was known then needs nobody to be asked now."""
        known = self._history.with_held(account_id)
        if known is None:
            return Unknown(account_id, None)
        return tell_story(as_of(*known, at), self._policy, at, agencies=self._agencies())


def what_may_be_missing(barrier: Barrier | None) -> str | None:
    """Cross the barrier: why something that was acknowledged before may be missing; None where it is all there."""
    if barrier is None:
        return NO_BROKER
    try:
        barrier.cross()
    except BehindError as why:
        return str(why)
    return None
