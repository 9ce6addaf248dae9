"""The answer before a transfer, and its confirmation: S1 at the point where a debt would leave the house.

Called by `api` and `check`. Questions come in sets: those of a set cross the read barrier together, and are decided
in one transaction with their accounts locked, kept, and published. A confirmation does all of that again and
registers the placement in the same commit: a payment acknowledged before it voids the clearance, one after it
finds the placement and recalls it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from consumers.barrier import Barrier, BehindError
from consumers.step import take_in
from domain.clearance import Answer, Decision, Question, Reason, answer
from domain.events import DebtReferred, Origin, PlacementOpened, RawRecord
from domain.policy import Policy
from infra.logs import Logger
from infra.metrics import Metrics
from infra.postgres.clearances import Clearances, Given, Used
from infra.postgres.ledger import CALLER_LOCK_TIMEOUT_MS, Batch, Case, Ledger, Outcome
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
    referral: Mapping[str, object] | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that can't be asked: its referral is no valid statement of this debt."""

    detail: str


@dataclass(frozen=True, slots=True)
class Confirming:
    """A placement is to be made under a clearance; `placed_at` is now where it is not given."""

    clearance_id: str
    placement_id: str
    placed_at: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class _Sound:
    """A question that can be asked, with its statement of the debt read, if it brought one."""

    asked: Asked
    referral: Decoded | None

    @property
    def account_id(self) -> str:
        return self.asked.about.account_id


@dataclass(frozen=True, slots=True)
class _Ground:
    """What the questions of one transaction are decided on, beside each account's own facts."""

    cases: Mapping[str, Case]
    held: Mapping[str, tuple[int, ...]]
    read_at: Mapping[str, Mapping[str, int]]
    behind: str | None
    now: datetime


class Clear:
    """Who answers; one for all the questions of a process, from any number of threads."""

    def __init__(
        self,
        *,
        barrier: Barrier,
        ledger: Ledger,
        clearances: Clearances,
        rules: Callable[[], Policy],
        shadow: bool,
        now: Callable[[], datetime],
        new_id: Callable[[datetime], str],
        metrics: Metrics,
        log: Logger,
    ) -> None:
        self._barrier = barrier
        self._ledger = ledger
        self._clearances = clearances
        self._rules = rules
        self._shadow = shadow
        self._now = now
        self._new_id = new_id
        self._metrics = metrics
        self._log = log

    def ask(self, asked: Asked) -> Given | Refused:
        """Answer one question; see `ask_all`."""
        return self.ask_all([asked])[0]

    def ask_all(self, questions: Sequence[Asked]) -> list[Given | Refused]:
        """Answer questions, each in its place.

        Raises DatabaseUnavailableError, and then nothing was answered; LockedError where an account can't be had.
        """
        read = [self._referral(one) for one in questions]
        sound = [
            _Sound(one, referral)
            for one, referral in zip(questions, read, strict=True)
            if not isinstance(referral, Rejected)
        ]
        given = iter(self._give(sound) if sound else [])
        return [_refused(one) if isinstance(one, Rejected) else next(given) for one in read]

    def confirm(self, confirming: Confirming) -> Confirmed | Void | None:
        """Register one placement; see `confirm_all`."""
        return self.confirm_all([confirming])[0]

    def confirm_all(self, wanted: Sequence[Confirming]) -> list[Confirmed | Void | None]:
        """Register placements under their clearances, where those still hold; None where there is none such.

        The same placement again is confirmed again. Raises DatabaseUnavailableError or LockedError; then it can be
        repeated.
        """
        account_of = self._clearances.accounts_of({one.clearance_id for one in wanted})
        behind = self._behind() if account_of else None
        results: list[Confirmed | Void | None] = [None] * len(wanted)
        for turn in _turns(wanted, account_of):
            for number, result in self._confirm_turn(turn, behind):
                results[number] = result
        return results

    def look(self, clearance_id: str) -> Given | None:
        """A clearance that was given before."""
        return self._clearances.look(clearance_id)

    def _behind(self) -> str | None:
        try:
            self._barrier.cross()
        except BehindError as why:
            return str(why)
        return None

    # --- Questions ---

    def _give(self, sound: Sequence[_Sound]) -> list[Given]:
        """One transaction: the debts that are stated anew, and every answer, kept and to be published."""
        behind = self._behind()
        outcome = Outcome()
        with self._ledger.batch(lock_timeout_ms=CALLER_LOCK_TIMEOUT_MS) as batch:
            cases = self._locked(batch, sound, outcome)
            ground = self._ground(batch, cases, behind)
            given = [self._decide(one, ground, outcome) for one in sound]
            self._clearances.keep(batch, given)
            batch.save(outcome)
        for one in given:
            self._count(one)
        return given

    def _locked(self, batch: Batch, sound: Sequence[_Sound], outcome: Outcome) -> dict[str, Case]:
        """The accounts, locked in one order, with the statements applied that say something new."""
        accounts = {one.account_id for one in sound}
        if any(one.referral is not None for one in sound):
            batch.lock_or_make(accounts)
        else:
            batch.lock(accounts)
        cases = batch.load(sorted(accounts))
        new = [one.referral for one in sound if one.referral and not _is_known(cases[one.account_id], one.referral)]
        return cases | self._apply(batch, new, outcome) if new else cases

    def _apply(self, batch: Batch, entries: Sequence[Decoded], outcome: Outcome) -> dict[str, Case]:
        """The steps of `ingest` for events of ours, which open a case where there was none."""
        loaded = batch.lock_and_load(entries)
        take_in(entries, loaded, outcome, self._rules(), self._now())
        return loaded.cases

    def _ground(self, batch: Batch, cases: Mapping[str, Case], behind: str | None) -> _Ground:
        held, read_at = self._clearances.held(batch, cases), self._clearances.read_at(batch)
        return _Ground(cases, held, read_at, behind, self._now())

    def _decide(self, sound: _Sound, ground: _Ground, outcome: Outcome) -> Given:
        now, about = ground.now, sound.asked.about
        clearance_id = self._new_id(now)
        found = self._answer(ground, about.account_id, about.debt_id)
        body = encode_clearance(
            clearance_id, about, found, self._rules(), decided_at=now, read_at=ground.read_at, shadow=self._shadow
        )
        facts = ground.cases[about.account_id].events
        asked = sound.asked
        decision = encode_decision(body, facts, asked_by=asked.by, traceparent=asked.traceparent)
        outcome.outbox.append((decision, None))
        return Given(
            clearance_id=clearance_id,
            account_id=about.account_id,
            debt_id=about.debt_id,
            agency_id=about.agency_id,
            decision=found.decision,
            outstanding=found.outstanding,
            currency=found.currency,
            decided_at=now,
            expires_at=now + self._rules().clearance_valid,
            asked_by=sound.asked.by,
            shadow=self._shadow,
            answer=body,
        )

    def _answer(self, ground: _Ground, account_id: str, debt_id: str, placement_id: str | None = None) -> Answer:
        case = ground.cases[account_id]
        question = Question(
            case.account,
            case.said,
            debt_id,
            self._rules(),
            ground.now,
            quarantined=account_id in ground.held,
            quarantine_ids=ground.held.get(account_id, ()),
            behind=ground.behind,
            placement_id=placement_id,
        )
        return answer(question)

    def _referral(self, asked: Asked) -> Decoded | Rejected | None:
        """The referral that came with a question, read as if it had come on its topic."""
        if asked.referral is None:
            return None
        now, about = self._now(), asked.about
        named = {"account_id": about.account_id, "debt_id": about.debt_id}
        data = {**named, **asked.referral}
        stated = json.dumps(data, sort_keys=True)
        event: dict[str, object] = {
            "specversion": "1.0",
            "id": str(uuid5(_REFERRALS, f"{now.isoformat()}\n{stated}")),
            "source": SOURCE,
            "type": "collections.debt.referred.v1",
            "time": now.isoformat(),
            "subject": about.account_id,
            "traceparent": asked.traceparent,
            "data": data,
        }
        if any(data[name] != asked_about for name, asked_about in named.items()):
            return Rejected(_raw(event, now), "BAD_DATA", "data: must be of the account and debt asked about", ())
        return _read(event, now)

    def _count(self, given: Given) -> None:
        reasons = given.answer["reasons"]
        first = reasons[0]["code"] if isinstance(reasons, list) and reasons else ""
        self._metrics.clearances.labels(given.decision, first).inc()
        self._log.info("clearance.decided", clearance_id=given.clearance_id, decision=given.decision, reason=first)

    # --- Confirmations ---

    def _confirm_turn(
        self, turn: Mapping[int, tuple[str, Confirming]], behind: str | None
    ) -> Iterator[tuple[int, Confirmed | Void | None]]:
        """One transaction, in which each account has one confirmation."""
        with self._ledger.batch(lock_timeout_ms=CALLER_LOCK_TIMEOUT_MS) as batch:
            accounts = {account_id for account_id, _ in turn.values()}
            batch.lock(accounts)
            known = self._clearances.find(
                batch, [(account_id, one.clearance_id) for account_id, one in turn.values()]
            )
            ground = self._ground(batch, batch.load(sorted(accounts)), behind)
            results = {
                number: self._judge(known.get(one.clearance_id), one, ground) for number, (_, one) in turn.items()
            }
            self._register(batch, results, ground.now)
        for number, result in results.items():
            state = "confirmed" if isinstance(result, Confirmed) else "void"
            _, one = turn[number]
            names = {"clearance_id": one.clearance_id, "placement_id": one.placement_id}
            self._log.info("clearance.used", **names, state=state)
        return iter(results.items())

    def _judge(self, given: Given | None, wanted: Confirming, ground: _Ground) -> Confirmed | Void | None:
        if given is None:
            return None
        if given.placement_id == wanted.placement_id:
            return Confirmed(given, wanted.placement_id, given.confirmed_at or ground.now)
        if void := _unusable(given, ground.now) or _in_the_way(given, wanted, ground.cases[given.account_id]):
            return void
        found = self._answer(ground, given.account_id, given.debt_id, wanted.placement_id)
        if found.decision is not Decision.CLEAR:
            return Void("it no longer holds", found.reasons)
        if _is_recalled(wanted.placement_id, ground.cases[given.account_id]):
            return Void("its placement was recalled; a debt that comes back is a new placement")
        return Confirmed(given, wanted.placement_id, wanted.placed_at or ground.now)

    def _register(self, batch: Batch, results: dict[int, Confirmed | Void | None], now: datetime) -> None:
        """The placements of those that hold; one that no event could be of is void after all."""
        entries: list[Decoded] = []
        used: list[Used] = []
        for number, result in results.items():
            if not isinstance(result, Confirmed) or result.given.placement_id is not None:
                continue
            placement = _read(encode_placement(_opened(result), source=SOURCE), now)
            if isinstance(placement, Rejected):
                results[number] = Void(placement.detail)
                continue
            entries.append(placement)
            used.append(Used(result.given, result.placement_id, result.placed_at))
        if not used:
            return
        outcome = Outcome()
        self._apply(batch, entries, outcome)
        self._clearances.use(batch, used)
        batch.save(outcome)


def _refused(rejected: Rejected) -> Refused:
    """What is wrong with a referral, which stands in a question under another name than in an event."""
    return Refused(re.sub(r"\bdata\b", "referral", rejected.detail))


def _turns(
    wanted: Sequence[Confirming], account_of: Mapping[str, str]
) -> Iterator[dict[int, tuple[str, Confirming]]]:
    """What is to be confirmed, by its number, in turns in which no account stands twice.

    A placement of an account changes the answer for the next.
    """
    left = [(number, one) for number, one in enumerate(wanted) if one.clearance_id in account_of]
    while left:
        turn: dict[int, tuple[str, Confirming]] = {}
        taken: set[str] = set()
        later: list[tuple[int, Confirming]] = []
        for number, one in left:
            account_id = account_of[one.clearance_id]
            if account_id in taken:
                later.append((number, one))
            else:
                taken.add(account_id)
                turn[number] = (account_id, one)
        yield turn
        left = later


def _unusable(given: Given, now: datetime) -> Void | None:
    """Why a clearance can't be used whatever holds now; None where it may be."""
    if given.placement_id is not None:
        return Void("it was used for another placement")
    if given.decision != Decision.CLEAR:
        return Void(f"it was answered with {given.decision}")
    if now >= given.expires_at:
        return Void("it has expired")
    return None


def _in_the_way(given: Given, wanted: Confirming, case: Case) -> Void | None:
    """Why this placement, which was opened before, is not what the clearance is for; None where it may be."""
    known = case.account.placements.get(wanted.placement_id)
    if known is None or known.opened is None:
        return None
    opened = known.opened
    if (opened.debt_id, opened.agency_id) != (given.debt_id, given.agency_id):
        return Void("its placement_id was used for another debt or agency")
    if opened.clearance_id not in {None, given.clearance_id}:
        return Void("its placement_id was confirmed under another clearance")
    return Void("its placement has ended") if known.closed_at is not None else None


def _is_recalled(placement_id: str, case: Case) -> bool:
    """Whether this placement was recalled: that is final, so nothing that is paid later would recall it again."""
    said = case.said.get(placement_id)
    return said is not None and said.recalled


def _opened(confirmed: Confirmed) -> PlacementOpened:
    given = confirmed.given
    return PlacementOpened(
        account_id=given.account_id,
        placement_id=confirmed.placement_id,
        debt_id=given.debt_id,
        agency_id=given.agency_id,
        amount=given.outstanding,
        currency=given.currency,
        placed_at=confirmed.placed_at,
        clearance_id=given.clearance_id,
    )


def _is_known(case: Case, referral: Decoded) -> bool:
    """Whether this statement of the debt is the one that counts already."""
    terms = referral.recorded.event
    if not isinstance(terms, DebtReferred):
        return False
    debt = case.account.debts.get(terms.debt_id)
    return debt is not None and not debt.withdrawn and debt.statement is not None and debt.statement.terms == terms


def _read(event: Mapping[str, object], now: datetime) -> Decoded | Rejected:
    return decode(_raw(event, now), any_topic=True, keyed=False)


def _raw(event: Mapping[str, object], now: datetime) -> RawRecord:
    return RawRecord(Origin(ORIGIN, 0, 0, now), None, json.dumps(event).encode())
