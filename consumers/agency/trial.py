"""The test messages of `agency-check`, and what it makes of an agency's answers to them: pure.

Called by the checks of each way. Every id of a test message begins with `check-`, so that an agency can keep them
out of its books; those of one run share a mark, by which its answers are known among others.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from consumers.agency.mail import RECALL
from domain.delivery import Message
from domain.events import Origin, RawRecord
from infra.wire.decode import Decoded, Rejected, decode
from infra.wire.kinds import AGENCIES, RECALLS

PREFIX = "check-"
SOURCE = "handoff-guard-check"
UNKNOWN_TYPE = "guard.check.unknown.v1"
"""A type that no agency knows: the contract may grow."""

_ANSWERING = {"agency.recall.acknowledged.v1", "agency.recall.rejected.v1"}


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAIL = "FAIL"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what mends it."""

    name: str
    state: State
    words: str
    remedy: str = ""


def judged(name: str, fault: str, words: str, remedy: str) -> Finding:
    """A check that found this fault, or none."""
    return Finding(name, State.FAIL, fault, remedy) if fault else Finding(name, State.OK, words)


def skipped(name: str, why: str, remedy: str = "") -> Finding:
    """A check that was not made."""
    return Finding(name, State.SKIPPED, why, remedy)


@dataclass(frozen=True, slots=True)
class Trial:
    """One run: its mark, and whom it tests."""

    mark: str
    agency_id: str
    sent: dict[str, str] = field(default_factory=dict)
    """By recall, the placement of each recall that was made."""

    def recall(self, name: str, at: datetime, *, kind: str = RECALL, padding: int = 0, **more: str) -> Message:
        """A test message; `more` and so many bytes of padding are fields that the contract does not have."""
        recall_id = f"{PREFIX}{self.mark}-{name}"
        placement_id = f"{PREFIX}placement-{self.mark}-{name}"
        self.sent[recall_id] = placement_id
        data = {
            "placement_id": placement_id,
            "agency_id": self.agency_id,
            "debt_id": f"{PREFIX}debt-{self.mark}-{name}",
            "account_id": f"{PREFIX}account-{self.mark}",
            "recall_id": recall_id,
            "reason": "DEBT_SETTLED",
            "cause": "paid_after_placement",
            "outstanding": 0,
            "currency": "XTS",
            "requested_at": at.isoformat(),
            "acknowledge_by": (at + timedelta(hours=1)).isoformat(),
            "trigger": {
                "source": SOURCE,
                "id": f"{PREFIX}payment-{self.mark}",
                "topic": "billing.payments",
                "partition": 0,
                "offset": 0,
                "paid_at": at.isoformat(),
            },
            **more,
            **({"padding": "x" * padding} if padding else {}),
        }
        event = {
            "specversion": "1.0",
            "id": recall_id,
            "source": SOURCE,
            "type": kind,
            "time": at.isoformat(),
            "subject": data["account_id"],
            "datacontenttype": "application/json",
            "data": data,
        }
        headers = (("content-type", b"application/cloudevents+json"),)
        value = json.dumps(event, separators=(",", ":")).encode()
        return Message(recall_id, placement_id, RECALLS, placement_id.encode(), value, headers)


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer as it came; `unbelievable` says what is wrong with its signature, where it has to have one."""

    body: bytes
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = (("content-type", b"application/cloudevents+json"),)
    unbelievable: str = ""


def read(heard: Heard, at: datetime) -> Decoded | Rejected:
    """An answer as the guard reads it."""
    raw = RawRecord(Origin(AGENCIES, 0, 0, at), heard.key, heard.body, heard.headers)
    return decode(raw, keyed=heard.key is not None)


def answers_to(recall_id: str, heard: Sequence[Heard], at: datetime) -> bool:
    """Whether one of these acknowledges or rejects this recall."""
    return any(recall == recall_id for recall, _, _ in _words(heard, at))


def judge_answers(
    trial: Trial,
    recall_id: str,
    heard: Sequence[Heard],
    sources: frozenset[str],
    at: datetime,
    *,
    waited_seconds: float,
    signed: bool = True,
) -> Iterator[Finding]:
    """What the answers to the test recalls show, a check a line; not all ways have signatures."""
    silent = "" if answers_to(recall_id, heard, at) else _nothing(heard, waited_seconds)
    yield judged(
        "answers",
        silent,
        "the test recall was acknowledged, or rejected with a reason",
        "send agency.recall.acknowledged.v1 for every recall, with its recall_id and placement_id",
    )
    if not heard:
        return
    yield _judge_signatures(heard) if signed else skipped("answers signed", "nothing is signed on this way")
    yield judged(
        "answers well formed",
        _malformed(heard, at),
        f"{len(heard)} read as the guard reads them",
        "docs/asyncapi.yaml has every field; such an event goes to quarantine, and the recall stays open",
    )
    yield judged(
        "answers name the recall",
        _astray(trial.sent, heard, at),
        "each names a recall that was sent, and its placement",
        "copy recall_id and placement_id from the recall",
    )
    yield judged(
        "answers do not contradict",
        _contradiction(heard, at),
        "no recall is both acknowledged and rejected",
        "answer a repeated recall as the first time: it has the same recall_id",
    )
    if sources:
        strange = sorted({one.source for one in _read(heard, at) if one.source not in sources})
        yield judged(
            "answers by its source",
            f"{', '.join(strange)} is not one of its sources" if strange else "",
            "the source is one of its entry",
            f"send source {min(sources)}, or add the other to sources",
        )


def _judge_signatures(heard: Sequence[Heard]) -> Finding:
    refused = sorted({one.unbelievable for one in heard if one.unbelievable})
    return judged(
        "answers signed",
        f"{', '.join(refused)}: the guard would answer 401" if refused else "",
        "by one of callback_secrets, now",
        "sign webhook-id.webhook-timestamp.body by the secret that was agreed, at the time of sending",
    )


def _nothing(heard: Sequence[Heard], waited_seconds: float) -> str:
    if not heard:
        return f"nothing came within {waited_seconds:g} s"
    return f"{len(heard)} came within {waited_seconds:g} s, and none acknowledges or rejects the test recall"


def _read(heard: Sequence[Heard], at: datetime) -> list[Decoded]:
    return [one for one in (read(each, at) for each in heard) if isinstance(one, Decoded)]


def _words(heard: Sequence[Heard], at: datetime) -> Iterator[tuple[str, str, str]]:
    """Recall, placement and type of each answer to a recall that can be read and believed."""
    for one in _read([each for each in heard if not each.unbelievable], at):
        if one.kind.type in _ANSWERING:
            fields = one.payload.model_dump()
            yield fields["recall_id"], fields["placement_id"], one.kind.type


def _malformed(heard: Sequence[Heard], at: datetime) -> str:
    wrong = [one for one in (read(each, at) for each in heard) if isinstance(one, Rejected)]
    return f"{wrong[0].reason}: {wrong[0].detail}" if wrong else ""


def _astray(sent: Mapping[str, str], heard: Sequence[Heard], at: datetime) -> str:
    for recall_id, placement_id, _ in _words(heard, at):
        if recall_id not in sent:
            return f"{recall_id} is no recall that was sent"
        if sent[recall_id] != placement_id:
            return f"{recall_id} is the recall of {sent[recall_id]}, not of {placement_id}"
    return ""


def _contradiction(heard: Sequence[Heard], at: datetime) -> str:
    said: dict[str, set[str]] = {}
    for recall_id, _, kind in _words(heard, at):
        said.setdefault(recall_id, set()).add(kind)
    both = [recall_id for recall_id, kinds in said.items() if len(kinds) > 1]
    if both:
        return f"{both[0]} was acknowledged and rejected"
    contents: dict[tuple[str, str], bytes] = {}
    for one in _read(heard, at):
        if contents.setdefault((one.source, one.id), one.digest) != one.digest:
            return f"the event {one.id} came with two contents"
    return ""
