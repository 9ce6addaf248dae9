"""What an agency reads from the guard, and what it writes back: CloudEvents in JSON, and rows of CSV.

Called by the ways in and the ways out of the simulator, and by `agency-check`. Reads as an integrator's program
would: what it needs must be there, what it does not know is passed over. Decides nothing.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from infra.channels.file_lines import ANSWER_COLUMNS
from infra.wire.decode import InvalidError, parse

RECALL = "guard.recall.requested.v1"

_ANSWERS = UUID("6c9b2f4e-2d0b-4b55-8b0c-7f1f3a1f8f0e")
"""The name space of the ids of answers (RFC 9562, version 5): the same answer has the same id for ever."""


class MailError(Exception):
    """What came is no message of the guard; the text says what is wrong with it, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message of the guard. `message_id` stays when it is sent again; for a recall it is the recall's id."""

    message_id: str
    type: str
    agency_id: str
    placement_id: str
    account_id: str = ""

    @property
    def is_recall(self) -> bool:
        """Whether it asks the agency to stop."""
        return self.type == RECALL


class Kind(StrEnum):
    """What an agency says of a placement or a recall; the word is that of an answer file in CSV."""

    ACCEPTED = "accepted"
    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    CONTACT = "contact"

    @property
    def type(self) -> str:
        """The event's type."""
        return _TYPES[self]

    @property
    def instant(self) -> str:
        """The field of the event that says when."""
        return _INSTANTS[self]


_TYPES = {
    Kind.ACCEPTED: "agency.placement.accepted.v1",
    Kind.ACKNOWLEDGED: "agency.recall.acknowledged.v1",
    Kind.REJECTED: "agency.recall.rejected.v1",
    Kind.CONTACT: "agency.contact.made.v1",
}
_INSTANTS = {
    Kind.ACCEPTED: "accepted_at",
    Kind.ACKNOWLEDGED: "acknowledged_at",
    Kind.REJECTED: "rejected_at",
    Kind.CONTACT: "contacted_at",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that the agency says. `garbled` leaves out when: no such event can be read."""

    kind: Kind
    account_id: str
    placement_id: str
    at: datetime
    recall_id: str = ""
    reason: str = ""
    channel: str = ""
    garbled: bool = False

    @property
    def event_id(self) -> str:
        """Its id, made of what it says: the same answer, sent again, is known to the guard."""
        words = (self.kind, self.account_id, self.placement_id, self.recall_id, self.at.isoformat())
        return str(uuid5(_ANSWERS, "\n".join(words)))

    def as_event(self, source: str) -> bytes:
        """It as a CloudEvent in structured mode."""
        data = {
            "account_id": self.account_id,
            "placement_id": self.placement_id,
            "recall_id": self.recall_id,
            self.kind.instant: "" if self.garbled else self.at.isoformat(),
            "reason": self.reason,
            "channel": self.channel,
        }
        event = {
            "specversion": "1.0",
            "id": self.event_id,
            "source": source,
            "type": self.kind.type,
            "time": self.at.isoformat(),
            "subject": self.account_id,
            "datacontenttype": "application/json",
            "data": {name: value for name, value in data.items() if value},
        }
        return json.dumps(event, separators=(",", ":")).encode()

    def as_row(self) -> dict[str, str]:
        """It as a row of an answer file in CSV."""
        values = (
            self.kind,
            self.event_id,
            self.account_id,
            self.placement_id,
            self.recall_id,
            "" if self.garbled else self.at.isoformat(),
            self.reason,
            self.channel,
        )
        return dict(zip(ANSWER_COLUMNS, values, strict=True))


def read_event(body: bytes) -> Letter:
    """The message in a CloudEvent. Raises MailError."""
    try:
        event = parse(body)
    except InvalidError as why:
        raise MailError(why.detail) from why
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(data, dict):
        raise MailError("must be a CloudEvent with an object as its data")
    message_id = data.get("recall_id") or event.get("id")
    account_id = data.get("account_id") or event.get("subject") or ""
    return _letter(message_id, event.get("type"), data.get("agency_id"), data.get("placement_id"), account_id)


def read_rows(text: str) -> list[Letter | MailError]:
    """The messages in a file in CSV, each in its place; a row that is none is the error that says so."""
    read: list[Letter | MailError] = []
    for row in csv.DictReader(io.StringIO(text, newline="")):
        names = ("message_id", "type", "agency_id", "placement_id", "account_id")
        try:
            read.append(_letter(*(row.get(name) for name in names)))
        except MailError as why:
            read.append(why)
    return read


def read_lines(body: bytes) -> list[Letter | MailError]:
    """The messages in a file of lines, each in its place."""
    read: list[Letter | MailError] = []
    for line in body.splitlines():
        try:
            read.append(read_event(line))
        except MailError as why:
            read.append(why)
    return read


def write_rows(answers: Iterable[Answer]) -> bytes:
    """An answer file in CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ANSWER_COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(answer.as_row() for answer in answers)
    return text.getvalue().encode()


def write_lines(answers: Sequence[Answer], source: str) -> bytes:
    """An answer file of lines."""
    return b"".join(answer.as_event(source) + b"\n" for answer in answers)


def _letter(
    message_id: object, kind: object, agency_id: object, placement_id: object, account_id: object
) -> Letter:
    found = {"id": message_id, "type": kind, "agency_id": agency_id, "placement_id": placement_id}
    for name, value in found.items():
        if not isinstance(value, str) or not value:
            raise MailError(f"{name} must be a string that is not empty")
    account = account_id if isinstance(account_id, str) else ""
    return Letter(str(message_id), str(kind), str(agency_id), str(placement_id), account)
