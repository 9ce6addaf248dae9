"""A proof as files: events, decisions, messages, answers and quarantine, each with an index that says what is what.

Called by `consumers.evidence.maker`. Bytes stand as they are; what an index says of them is data under the tables'
names. Every reference to a file is a member `file`, and `verify.py` checks that there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

import orjson

from consumers.evidence.pack import json_file
from domain.concern import concerns
from domain.events import Origin, PlacementOpened, RawRecord, Recorded
from domain.policy import Policy
from infra.postgres.evidence import EventName, Headers, Proof, SentMessage
from infra.postgres.history import AccountHistory
from infra.postgres.quarantine import Held
from infra.wire.decode import Decoded, decode
from infra.wire.kinds import AGENCIES, BY_NUMBER, DECISIONS, RECALLS

TYPE_OF = {kind.event: kind.type for kind in BY_NUMBER.values()}
_TOPIC_OF = {kind.event: kind.topic for kind in BY_NUMBER.values()}

AS_RECEIVED = "as received"
READ_BACK = "as received, read back from the log"
CONTENT_ONLY = "content kept, bytes no longer held"

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Concerned:
    """A proof narrowed to what concerns its placement; the account stays whole, for what is computed from it."""

    proof: Proof
    opened: PlacementOpened
    history: AccountHistory

    @property
    def events(self) -> tuple[Recorded, ...]:
        """The events that belong to the proof, by their time."""
        return self.history.events


def concerned(proof: Proof, opened: PlacementOpened) -> Concerned:
    """What of a proof concerns its placement."""
    whole = proof.history
    recalls = tuple(one for one in whole.recalls if one.placement_id == proof.placement_id)
    grounds = {(one.trigger_source, one.trigger_id) for one in recalls}
    account = whole.case.account
    history = replace(
        whole,
        events=tuple(one for one in whole.events if concerns(account, one, opened, grounds)),
        recalls=recalls,
        published=tuple(one for one in whole.published if _is_about(one.topic, one.value, opened)),
    )
    return Concerned(proof, opened, history)


def _is_about(topic: str, value: bytes, opened: PlacementOpened) -> bool:
    """Whether a record of the outbox belongs to the proof: a message of the placement, a decision on its debt."""
    if topic not in {RECALLS, DECISIONS}:
        return False
    data = orjson.loads(value)["data"]
    if topic == RECALLS:
        return bool(data["placement_id"] == opened.placement_id)
    return bool(data["debt_id"] == opened.debt_id)


@dataclass(frozen=True, slots=True)
class EventFile:
    """An event in the pack: its file, whether that has its bytes as they came and, where not, why."""

    recorded: Recorded
    name: str
    content: bytes
    held: str
    why_not: str
    digest: str
    key: bytes | None = None
    headers: Headers = ()


def event_files(narrowed: Concerned, read_back: Mapping[Origin, RawRecord | str]) -> dict[EventName, EventFile]:
    """Each event's file, by source and id; `read_back` has records of the log, or why there is none."""
    files: dict[EventName, EventFile] = {}
    for number, recorded in enumerate(narrowed.events, start=1):
        name = (recorded.source, recorded.id)
        kept = narrowed.proof.received[name]
        digest, place = kept.digest.hex(), f"events/{number:04d}"
        if kept.value is not None:
            files[name] = EventFile(
                recorded, f"{place}.bin", kept.value, AS_RECEIVED, "", digest, kept.key, kept.headers
            )
            continue
        again = read_back.get(recorded.origin, "its bytes were not kept, and it did not come from a log")
        if isinstance(again, RawRecord) and not _is_that(again, kept.digest):
            again = "another event stands in the log where it was"
        if isinstance(again, RawRecord):
            value = again.value or b""
            files[name] = EventFile(
                recorded, f"{place}.bin", value, READ_BACK, "", digest, again.key, again.headers
            )
        else:
            content = _content(recorded)
            files[name] = EventFile(recorded, f"{place}.content.json", content, CONTENT_ONLY, again, digest)
    return files


def _is_that(raw: RawRecord, digest: bytes) -> bool:
    read = decode(raw)
    return isinstance(read, Decoded) and read.digest == digest


def _content(recorded: Recorded) -> bytes:
    """What the ledger has of an event whose bytes nobody holds."""
    event = {
        "id": recorded.id,
        "source": recorded.source,
        "type": TYPE_OF[type(recorded.event)],
        "time": recorded.time,
        "data": recorded.event,
    }
    return orjson.dumps(event, default=sorted, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def files_of(narrowed: Concerned, events: Mapping[EventName, EventFile], policy: Policy) -> Files:
    """Everything but the pages for people."""
    return {
        **{one.name: one.content for one in events.values()},
        "events/index.json": json_file([_event_row(one) for one in events.values()]),
        "answers/index.json": json_file(_answers(events.values())),
        **_decision_files(narrowed, policy),
        **_message_files(narrowed.proof.messages),
        **_quarantine_files(narrowed.proof.quarantine),
        "state.json": json_file(dict(narrowed.proof.rows)),
    }


def _event_row(one: EventFile) -> dict[str, object]:
    recorded, origin = one.recorded, one.recorded.origin
    row: dict[str, object] = {
        "file": one.name,
        "sha256": hashlib.sha256(one.content).hexdigest(),
        "bytes": one.held,
        "source": recorded.source,
        "id": recorded.id,
        "type": TYPE_OF[type(recorded.event)],
        "time": recorded.time.isoformat(),
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "received_at": origin.received_at.isoformat(),
        "ledger_digest": one.digest,
    }
    if one.why_not:
        return {**row, "why": one.why_not}
    return {**row, "key": _hex(one.key), "headers": _pairs(one.headers)}


def _answers(events: Iterable[EventFile]) -> list[dict[str, object]]:
    """What the agency said: its events, by their files."""
    return [
        {
            "file": one.name,
            "type": TYPE_OF[type(one.recorded.event)],
            "time": one.recorded.time.isoformat(),
            "received_at": one.recorded.origin.received_at.isoformat(),
        }
        for one in events
        if _TOPIC_OF[type(one.recorded.event)] == AGENCIES
    ]


def published_decisions(narrowed: Concerned) -> dict[str, bytes]:
    """The decisions as they were published, by clearance id; with the events they were made on."""
    found = (one.value for one in narrowed.history.published if one.topic == DECISIONS)
    return {str(orjson.loads(value)["id"]): value for value in found}


def decision_names(narrowed: Concerned) -> dict[str, str]:
    """The file of each decision, by clearance id."""
    return {
        given.clearance_id: f"decisions/{number:04d}.json"
        for number, given in enumerate(narrowed.proof.decisions, start=1)
    }


def _decision_files(narrowed: Concerned, policy: Policy) -> Files:
    files: Files = {}
    rows: list[dict[str, object]] = []
    published = published_decisions(narrowed)
    names = decision_names(narrowed)
    for given in narrowed.proof.decisions:
        name = names[given.clearance_id]
        files[name] = json_file(given.answer)
        decided_under = given.answer.get("policy")
        sha256 = decided_under.get("sha256") if isinstance(decided_under, dict) else None
        row: dict[str, object] = {
            "file": name,
            **{key: value for key, value in asdict(given).items() if key != "answer"},
            "policy": decided_under,
            "policy_in_force": sha256 == policy.sha256,
        }
        if given.clearance_id in published:
            out = name.replace(".json", ".published.bin")
            files[out] = published[given.clearance_id]
            row["published"] = {"file": out}
        rows.append({key: _plain(value) for key, value in row.items()})
    return {**files, "decisions/index.json": json_file(rows)}


def message_names(messages: Sequence[SentMessage]) -> dict[int, str]:
    """The file of each message, by its number in the outbox."""
    return {one.outbox_id: f"messages/{number:04d}.bin" for number, one in enumerate(messages, start=1)}


def _message_files(messages: Sequence[SentMessage]) -> Files:
    files: Files = {}
    rows: list[dict[str, object]] = []
    names = message_names(messages)
    for one in messages:
        name = names[one.outbox_id]
        files[name] = one.value
        row = {key: value for key, value in asdict(one).items() if key not in {"value", "headers", "attempts"}}
        row = {"file": name, **row, "headers": _pairs(one.headers), "attempts": []}
        attempts: list[dict[str, object]] = []
        for attempt in one.attempts:
            told = {k: _plain(v) for k, v in asdict(attempt).items() if k not in {"request", "response"}}
            for part, content in (("request", attempt.request), ("response", attempt.response)):
                if content is not None:
                    out = name.replace(".bin", f".attempt-{attempt.attempt}.{part}.bin")
                    files[out] = content
                    told[part] = {"file": out}
            attempts.append(told)
        rows.append({key: _plain(value) for key, value in row.items()} | {"attempts": attempts})
    return {**files, "messages/index.json": json_file(rows)}


def _quarantine_files(held: Sequence[Held]) -> Files:
    files: Files = {}
    rows: list[dict[str, object]] = []
    for number, one in enumerate(held, start=1):
        origin = one.raw.origin
        row: dict[str, object] = {
            "quarantine_id": one.quarantine_id,
            "reason": one.reason,
            "detail": one.detail,
            "topic": origin.topic,
            "partition": origin.partition,
            "offset": origin.offset,
            "received_at": origin.received_at.isoformat(),
            "quarantined_at": one.quarantined_at.isoformat(),
            "applied_at": _plain(one.applied_at),
            "dropped_at": _plain(one.dropped.at) if one.dropped else None,
            "key": _hex(one.raw.key),
            "headers": _pairs(one.raw.headers),
        }
        if one.raw.value is not None:
            row["file"] = f"quarantine/{number:04d}.bin"
            files[f"quarantine/{number:04d}.bin"] = one.raw.value
        rows.append(row)
    return {**files, "quarantine/index.json": json_file(rows)}


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return value.hex()
        case _:
            return value


def _hex(value: bytes | None) -> str | None:
    return value.hex() if value is not None else None


def _pairs(headers: Headers) -> list[list[str]]:
    """Headers by name, with their values in hex: what a producer sent need not be text."""
    return [[name, value.hex()] for name, value in headers]
