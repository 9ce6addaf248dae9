"""The rules in force: the creditor's policy, with what the file of agencies says now: deadlines, hours, speakers.

Asked once for each batch, set or pass, so that what is decided together is decided by the same rules.
"""

from __future__ import annotations

from dataclasses import replace

from domain.agency import Agencies, speakers_of
from domain.policy import Policy
from infra.agencies_file import AgenciesFile


class Rules:
    """One for a process."""

    def __init__(self, policy: Policy, agencies: AgenciesFile) -> None:
        self._policy = policy
        self._agencies = agencies
        self._known: Agencies = {}

    def __call__(self) -> Policy:
        """The policy to decide by now."""
        agencies = self._agencies.now()
        if agencies is not self._known:
            desks = {agency_id: one.desk for agency_id, one in agencies.items()}
            recall = replace(self._policy.recall, desks=desks)
            self._policy = replace(self._policy, recall=recall, speakers=speakers_of(agencies))
            self._known = agencies
        return self._policy
