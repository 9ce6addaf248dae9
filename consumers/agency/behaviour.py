"""What a simulated agency does with a message, and when it says what: pure, and the same for the same seed.

Called by `consumers.agency.desk` for every message. A good agency stops at the first delivery of a recall and
acknowledges each; every other behaviour is a share of the messages for which it does something else. Whether a
message is among them hangs on the seed and its id alone, so a run can be repeated whatever its threads do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import blake2b

from consumers.agency.mail import Answer, Kind, Letter

REASONS = ("paid to the agency", "in court", "not our case")
"""Why a recall may be rejected."""

CALLS_ON_AFTER = timedelta(seconds=1)
"""From the acknowledgement to the next contact, of an agency that calls on."""

SHUFFLE_MAX = timedelta(seconds=2)
"""The most that an answer waits so that others pass it."""

CONTACT_CHANNEL = "phone"


class Fault(StrEnum):
    """What is wrong with an end point, for `agency-check` to find."""

    CARELESS = "careless"
    """Takes a message whatever its signature."""
    UNDATED = "undated"
    """Takes a signed message however old it is."""
    ONE_SECRET = "one-secret"  # noqa: S105 # The name of a behaviour.
    """Verifies by the first secret only."""
    REDIRECTS = "redirects"
    """Sends every call elsewhere."""
    BREAKS = "breaks"
    """Answers 500 to every call."""
    STRICT = "strict"
    """Refuses a message with a field that it does not know."""
    BREAKS_ON_UNKNOWN = "breaks-on-unknown"
    """Answers 500 to a type that it does not know."""
    SMALL = "small"
    """Refuses a body of more than 8 KiB."""
    ONE_AT_A_TIME = "one-at-a-time"
    """Refuses a call while another one is being answered."""
    VERBOSE = "verbose"
    """Answers with a page of 1 MiB."""
    WRONG_RECALL = "wrong-recall"
    """Acknowledges a recall that it was never sent."""
    GARBLED = "garbled"
    """Leaves out when it stopped."""
    WRONG_SIGNATURE = "wrong-signature"
    """Signs its call-backs by another secret."""
    CONTRADICTS = "contradicts"
    """Rejects a repeated recall that it has acknowledged."""
    HALF_FILES = "half-files"
    """Writes its answer files where they are read, line by line."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the agency behaves. A share is of the messages, from 0 to 1."""

    seed: int = 0
    accept: bool = False
    late: timedelta = timedelta()
    refuse: float = 0
    reject: float = 0
    silent: float = 0
    repeat: float = 0
    call_on: float = 0
    wrong_agency: float = 0
    shuffle: bool = False
    other_placement: tuple[str, str] = ("", "")
    """The account and placement that it answers for where it is not its own; empty: made up."""
    faults: frozenset[Fault] = frozenset()


@dataclass(frozen=True, slots=True)
class Saying:
    """An answer, and when it is said."""

    due_at: datetime
    answer: Answer


@dataclass(frozen=True, slots=True)
class Reaction:
    """What is done with one delivery: whether it is taken, in a word, and what is said of it later."""

    taken: bool
    did: str
    sayings: tuple[Saying, ...] = ()


def refuses(behaviour: Behaviour, letter: Letter, *, attempt: int) -> bool:
    """Whether this delivery is refused, as by a server that is too busy; each one is decided anew."""
    return _among(behaviour, behaviour.refuse, f"refuse {attempt}", letter)


def react(behaviour: Behaviour, letter: Letter, *, attempt: int, first_at: datetime, now: datetime) -> Reaction:
    """What comes of a delivery that is taken: the `attempt`-th of this message, first taken at `first_at`.

    What it says again is what it said before, to the byte: only `now` of a repeated delivery is another.
    """
    first = attempt == 1
    told = now + behaviour.late
    sayings: list[Saying] = []
    if first and behaviour.accept:
        sayings.append(Saying(now, _answer(Kind.ACCEPTED, letter, first_at)))
    if not letter.is_recall:
        return Reaction(taken=True, did=_did(letter), sayings=tuple(sayings))
    did = "stopped" if first else "had stopped"
    if _among(behaviour, behaviour.silent, "silent", letter):
        return Reaction(taken=True, did=f"{did}, says nothing", sayings=tuple(sayings))
    answer = _word(behaviour, letter, first_at + behaviour.late, first=first)
    times = 2 if _among(behaviour, behaviour.repeat, "repeat", letter) else 1
    for number in range(times):
        sayings.append(Saying(told + _wait(behaviour, letter, f"{attempt} {number}"), answer))
    if first:
        sayings += _lies(behaviour, letter, answer, told)
    return Reaction(taken=True, did=did, sayings=tuple(sayings))


def _did(letter: Letter) -> str:
    match letter.type:
        case "guard.balance.reduced.v1":
            return "noted the balance"
        case "guard.placement.suspended.v1":
            return "paused"
        case "guard.placement.resumed.v1":
            return "went on"
        case _:
            return "passed over"


def _word(behaviour: Behaviour, letter: Letter, at: datetime, *, first: bool) -> Answer:
    """What it says of a recall: that it has stopped, or why it will not."""
    contradicts = Fault.CONTRADICTS in behaviour.faults and not first
    if contradicts or _among(behaviour, behaviour.reject, "reject", letter):
        reason = REASONS[int(_chance(behaviour, "reason", letter) * len(REASONS))]
        answer = replace(_answer(Kind.REJECTED, letter, at), reason=reason)
    else:
        answer = _answer(Kind.ACKNOWLEDGED, letter, at)
    if Fault.WRONG_RECALL in behaviour.faults:
        answer = replace(answer, recall_id=f"other-{letter.message_id}"[:128])
    return replace(answer, garbled=Fault.GARBLED in behaviour.faults)


def _lies(behaviour: Behaviour, letter: Letter, answer: Answer, told: datetime) -> Iterator[Saying]:
    """What an agency says that does not keep to what it has said, or speaks for another one."""
    if _among(behaviour, behaviour.call_on, "call on", letter):
        contact = replace(_answer(Kind.CONTACT, letter, answer.at + CALLS_ON_AFTER), channel=CONTACT_CHANNEL)
        yield Saying(told + CALLS_ON_AFTER, contact)
    if _among(behaviour, behaviour.wrong_agency, "wrong agency", letter):
        account_id, placement_id = behaviour.other_placement
        foreign = replace(
            answer,
            account_id=account_id or letter.account_id,
            placement_id=placement_id or f"not-ours-{letter.placement_id}"[:128],
        )
        yield Saying(told, foreign)


def _answer(kind: Kind, letter: Letter, at: datetime) -> Answer:
    recall_id = letter.message_id if kind in {Kind.ACKNOWLEDGED, Kind.REJECTED} else ""
    return Answer(kind, letter.account_id, letter.placement_id, at, recall_id)


def _wait(behaviour: Behaviour, letter: Letter, what: str) -> timedelta:
    return SHUFFLE_MAX * _chance(behaviour, f"shuffle {what}", letter) if behaviour.shuffle else timedelta()


def _among(behaviour: Behaviour, share: float, what: str, letter: Letter) -> bool:
    return _chance(behaviour, what, letter) < share


def _chance(behaviour: Behaviour, what: str, letter: Letter) -> float:
    """A number from 0 to just under 1, the same for the same seed, matter and message."""
    digest = blake2b(f"{behaviour.seed}\n{what}\n{letter.message_id}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
