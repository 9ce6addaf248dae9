"""The answer before a transfer, and its confirmation: S1 at the point where a debt would leave the house.

Called by `check`. Each question crosses the read barrier, then is decided in one transaction with the account
locked, kept, and published. A confirmation does all of that again and registers the placement in the same
commit: a payment acknowledged before it voids the clearance, one after it finds the placement and recalls it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from consumers.barrier import Barrier, BehindError
from consumers.step import advance, remember, tell
from domain.clearance import Answer, Decision, Question, Reason, answer
from domain.events import DebtReferred, Origin, PlacementOpened, RawRecord
from domain.policy import Policy
from infra.logs import Logger
from infra.postgres.clearances import Clearances, Given
from infra.postgres.ledger import Batch, Case, Ledger, Outcome
from infra.wire.clearances import About, encode_clearance, encode_decision
from infra.wire.decode import Decoded, Rejected, decode
from infra.wire.encode import encode_placement

_REFERRALS = UUID("5b1f0c55-7f6a-4a86-a3b5-2a9a8f1a5d52")
"""The name space of referrals that come with a question (RFC 9562, version 5): one statement has one id."""

SOURCE = "handoff-guard"
ORIGIN = "api"
"""Where an event came from that came with a question, in place of a topic."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question: may this debt be placed? `referral` states it, as `data` of `collections.debt.referred.v1`."""

    about: About
    by: str
    referral: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that can't be asked: its referral is no valid statement of this debt."""

    detail: str


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The clearance holds, and the placement is registered under it."""

    given: Given
    placement_id: str
    placed_at: datetime


@dataclass(frozen=True, slots=True)
class Void:
    """The clearance can't be used: why, and the reasons that speak against the debt now."""

    detail: str
    reasons: tuple[Reason, ...] = ()


class Clear:
    """Who answers; one for all the questions of a process."""

    def __init__(
        self,
        *,
        barrier: Barrier,
        ledger: Ledger,
        clearances: Clearances,
        policy: Policy,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], str],
        log: Logger,
    ) -> None:
        self._barrier = barrier
        self._ledger = ledger
        self._clearances = clearances
        self._policy = policy
        self._now = now
        self._new_id = new_id
        self._log = log

    def ask(self, asked: Asked) -> Given | Refused:
        """Answer a question. Raises DatabaseUnavailableError, and then nothing was answered."""
        referral = self._referral(asked) if asked.referral is not None else None
        if isinstance(referral, Rejected):
            return Refused(referral.detail)
        behind = self._behind()
        with self._ledger.batch() as batch:
            outcome = Outcome()
            case = self._locked(batch, asked.about.account_id, referral, outcome)
            given = self._decide(batch, asked, case, behind, outcome)
            batch.save(outcome)
        self._log.info("clearance.decided", clearance_id=given.clearance_id, decision=given.decision)
        return given

    def confirm(
        self, clearance_id: str, placement_id: str, placed_at: datetime | None = None
    ) -> Confirmed | Void | None:
        """Register the placement under a clearance, where that still holds; None where there is none such.

        The same placement again is confirmed again. Raises DatabaseUnavailableError; then it can be repeated.
        """
        account_id = self._clearances.account_of(clearance_id)
        if account_id is None:
            return None
        behind = self._behind()
        with self._ledger.batch() as batch:
            batch.lock([account_id])
            given = self._clearances.find(batch, account_id, clearance_id)
            if given is None:
                return None
            result = self._confirm(batch, given, placement_id, placed_at or self._now(), behind)
        state = "confirmed" if isinstance(result, Confirmed) else "void"
        self._log.info("clearance.used", clearance_id=clearance_id, placement_id=placement_id, state=state)
        return result

    def look(self, clearance_id: str) -> Given | None:
        """A clearance that was given before."""
        return self._clearances.look(clearance_id)

    def _behind(self) -> str | None:
        try:
            self._barrier.cross()
        except BehindError as why:
            return str(why)
        return None

    def _referral(self, asked: Asked) -> Decoded | Rejected:
        """The referral that came with a question, read as if it had come on its topic."""
        now = self._now()
        data = {"account_id": asked.about.account_id, **(asked.referral or {})}
        stated = json.dumps(data, sort_keys=True)
        event: dict[str, object] = {
            "specversion": "1.0",
            "id": str(uuid5(_REFERRALS, f"{now.isoformat()}\n{stated}")),
            "source": SOURCE,
            "type": "collections.debt.referred.v1",
            "time": now.isoformat(),
            "subject": asked.about.account_id,
            "data": data,
        }
        read = _read(event, now)
        if isinstance(read, Rejected) or not isinstance(read.recorded.event, DebtReferred):
            return read
        terms, about = read.recorded.event, asked.about
        if (terms.account_id, terms.debt_id) == (about.account_id, about.debt_id):
            return read
        return Rejected(_raw(event, now), "BAD_DATA", "referral: must be of the account and debt asked about", ())

    def _locked(self, batch: Batch, account_id: str, referral: Decoded | None, outcome: Outcome) -> Case:
        """The account, locked, with the referral applied where it says something new."""
        batch.lock([account_id])
        case = batch.load([account_id])[account_id]
        if referral is None or _is_known(case, referral):
            return case
        return self._apply(batch, referral, outcome)

    def _apply(self, batch: Batch, entry: Decoded, outcome: Outcome) -> Case:
        """The steps of `ingest` for one event of ours, which opens a case where there was none."""
        loaded = batch.lock_and_load([entry])
        case = loaded.cases[entry.account_id]
        if loaded.fresh:
            tell(outcome, advance(case, entry.recorded, self._policy, self._now()), entry.traceparent)
            remember(outcome, case)
        return case

    def _decide(self, batch: Batch, asked: Asked, case: Case, behind: str | None, outcome: Outcome) -> Given:
        now = self._now()
        clearance_id = self._new_id(now)
        read_at = self._clearances.read_at(batch)
        found = self._answer(batch, case, asked.about.debt_id, behind, now)
        body = encode_clearance(clearance_id, asked.about, found, self._policy, decided_at=now, read_at=read_at)
        given = Given(
            clearance_id=clearance_id,
            account_id=asked.about.account_id,
            debt_id=asked.about.debt_id,
            agency_id=asked.about.agency_id,
            decision=found.decision,
            outstanding=found.outstanding,
            currency=found.currency,
            decided_at=now,
            expires_at=now + self._policy.clearance_valid,
            asked_by=asked.by,
            answer=body,
        )
        self._clearances.keep(batch, given)
        facts = batch.events(asked.about.account_id)
        outcome.outbox.append((encode_decision(body, facts, asked_by=asked.by), None))
        return given

    def _answer(self, batch: Batch, case: Case, debt_id: str, behind: str | None, now: datetime) -> Answer:
        held = self._clearances.is_held(batch, case.account.account_id)
        question = Question(case.account, case.said, debt_id, self._policy, now, quarantined=held, behind=behind)
        return answer(question)

    def _confirm(
        self, batch: Batch, given: Given, placement_id: str, placed_at: datetime, behind: str | None
    ) -> Confirmed | Void:
        now = self._now()
        if given.placement_id == placement_id:
            return Confirmed(given, placement_id, given.confirmed_at or now)
        if void := _unusable(given, now):
            return void
        case = batch.load([given.account_id])[given.account_id]
        found = self._answer(batch, case, given.debt_id, behind, now)
        if found.decision is not Decision.CLEAR:
            return Void("it no longer holds", found.reasons)
        placement = self._placement(given, placement_id, placed_at, now)
        if isinstance(placement, Rejected):
            return Void(placement.detail)
        outcome = Outcome()
        self._apply(batch, placement, outcome)
        self._clearances.use(batch, given, placement_id=placement_id, at=placed_at)
        batch.save(outcome)
        return Confirmed(given, placement_id, placed_at)

    def _placement(self, given: Given, placement_id: str, placed_at: datetime, now: datetime) -> Decoded | Rejected:
        opened = PlacementOpened(
            account_id=given.account_id,
            placement_id=placement_id,
            debt_id=given.debt_id,
            agency_id=given.agency_id,
            amount=given.outstanding,
            currency=given.currency,
            placed_at=placed_at,
            clearance_id=given.clearance_id,
        )
        return _read(encode_placement(opened, source=SOURCE), now)


def _unusable(given: Given, now: datetime) -> Void | None:
    """Why a clearance can't be used whatever holds now; None where it may be."""
    if given.placement_id is not None:
        return Void("it was used for another placement")
    if given.decision != Decision.CLEAR:
        return Void(f"it was answered with {given.decision}")
    if now >= given.expires_at:
        return Void("it has expired")
    return None


def _is_known(case: Case, referral: Decoded) -> bool:
    """Whether this statement of the debt is the one that counts already."""
    terms = referral.recorded.event
    if not isinstance(terms, DebtReferred):
        return False
    debt = case.account.debts.get(terms.debt_id)
    return debt is not None and not debt.withdrawn and debt.statement is not None and debt.statement.terms == terms


def _read(event: dict[str, object], now: datetime) -> Decoded | Rejected:
    return decode(_raw(event, now), any_topic=True, keyed=False)


def _raw(event: dict[str, object], now: datetime) -> RawRecord:
    return RawRecord(Origin(ORIGIN, 0, 0, now), None, json.dumps(event).encode())
