"""What agencies send themselves: a call is theirs by its signature, and only what is theirs to say is taken.

Used by the route of call-backs. Whatever is wrong with a signature, the answer is the same; the log says what.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

from consumers.clear import ORIGIN
from consumers.gate import Bucket
from consumers.speakers import hear_from
from domain.agency import Agencies, Agency
from domain.events import AgencyEvent, Origin, RawRecord
from domain.policy import Policy
from infra.channels.signatures import ID, SIGNATURE, TIMESTAMP, SignatureError, verify
from infra.http.problems import Problem, ProblemError
from infra.logs import Logger
from infra.postgres.recalls import Recalls
from infra.wire.decode import Decoded, Rejected, decode

NOBODYS = os.urandom(32)
"""The secret of who has none: a call of theirs is judged like any other, takes as long, and never holds."""


class Callbacks:
    """One for all the calls of a process."""

    def __init__(
        self,
        *,
        agencies: Callable[[], Agencies],
        rules: Callable[[], Policy],
        recalls: Recalls,
        rate_per_second: int,
        now: Callable[[], datetime],
        log: Logger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rate_per_second`: calls a second that an agency may make, so many at once too; 0 for any number."""
        self._agencies = agencies
        self._rules = rules
        self._recalls = recalls
        self._rate = rate_per_second
        self._now = now
        self._log = log
        self._clock = clock
        self._calls: dict[str, Bucket] = {}

    def admit(self, agency_id: str, headers: Mapping[str, str], body: bytes) -> Agency:
        """The agency whose call this is. Raises ProblemError."""
        agency = self._agencies().get(agency_id)
        secrets = [one.value for one in agency.callback_secrets] if agency is not None else []
        try:
            verify(secrets or [NOBODYS], headers, body, now=self._now())
        except SignatureError as why:
            reason = str(why.reason) if secrets else "NO_SECRET"
            self._log.warning("callback.refused", agency_id=agency.agency_id if agency else None, reason=reason)
            raise ProblemError(Problem.BAD_SIGNATURE) from why
        if agency is None:
            raise ProblemError(Problem.BAD_SIGNATURE)
        if self._rate and not self._calls.setdefault(agency_id, Bucket(self._rate, self._clock)).take():
            raise ProblemError(Problem.RATE_LIMITED, f"an agency may make {self._rate} calls a second")
        return agency

    def read(self, agency: Agency, headers: Mapping[str, str], body: bytes) -> Decoded:
        """What the agency says, with its signature for the proof. Raises ProblemError.

        Only the body is signed, so no header says anything of the event.
        """
        raw = RawRecord(Origin(ORIGIN, 0, 0, self._now()), None, body)
        read = decode(raw, any_topic=True, keyed=False)
        if isinstance(read, Rejected):
            raise ProblemError(Problem.INVALID, read.detail, reason=read.reason)
        heard = hear_from(agency.agency_id, raw, read, self._rules().speakers)
        if isinstance(heard, Rejected) and heard.reason == "WRONG_AGENCY":
            raise ProblemError(Problem.WRONG_AGENCY, heard.detail)
        if isinstance(heard, Rejected):
            raise ProblemError(Problem.INVALID, heard.detail, reason=heard.reason)
        signed = tuple((name, headers[name].encode("latin-1")) for name in (ID, TIMESTAMP, SIGNATURE))
        return replace(heard, raw=replace(raw, headers=signed))

    def refuse_another(self, agency: Agency, said: Decoded) -> None:
        """Raise ProblemError where what is said is of a placement that another agency is known to have."""
        event = said.recorded.event
        if not isinstance(event, AgencyEvent):
            return
        holder = self._recalls.agency_of(said.account_id, event.placement_id)
        if holder not in {None, agency.agency_id}:
            self._log.warning("callback.refused", agency_id=agency.agency_id, reason="WRONG_AGENCY")
            raise ProblemError(Problem.WRONG_AGENCY, "the placement is another agency's; nothing was stored")
