"""The way in by Kafka, which takes from `guard.recalls` what is for this agency; the way out by `agencies.events`.

Composed by `consumers.agency.simulator`. The first start reads from now; a later one on the same folder goes on
where the journal ends, as an agency's own consumer would.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consumers.agency.desk import Desk, Said
from consumers.agency.journal import Line
from consumers.agency.mail import Answer, MailError, read_event
from infra.kafka.errors import BrokerUnavailableError
from infra.kafka.listener import Heard, Listener
from infra.kafka.publisher import Publisher
from infra.logs import Logger
from infra.wire.kinds import AGENCIES

POSITIONS = "positions.json"
POLL_MS = 200

REFUSED_AGAIN_SECONDS = 0.2
"""Until a record that was refused, as if busy, is looked at again."""

_STRUCTURED = (("content-type", b"application/cloudevents+json"),)


@dataclass(frozen=True, slots=True)
class _Record:
    key: bytes
    value: bytes
    topic: str = AGENCIES
    headers: tuple[tuple[str, bytes], ...] = _STRUCTURED


def start_positions(listener: Listener, folder: Path, journal: Sequence[Line]) -> None:
    """Let the listener begin where this agency ended, or now where it is new; remembers where it began."""
    file = folder / POSITIONS
    begun = {int(place): offset for place, offset in json.loads(file.read_text()).items()} if file.exists() else {}
    for line in journal:
        partition, _, offset = line.place.partition(":")
        if partition.isdecimal() and offset.isdecimal() and not line.did.startswith("refused"):
            begun[int(partition)] = max(begun.get(int(partition), 0), int(offset) + 1)
    starts = listener.hear_from(begun)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(starts))
    part.replace(file)


class KafkaIn:
    """Reads until told to stop, from one thread."""

    def __init__(self, agency_id: str, desk: Desk, listener: Listener, log: Logger) -> None:
        self._agency_id = agency_id
        self._desk = desk
        self._listener = listener
        self._log = log

    def run(self, stop: threading.Event) -> None:
        """Take what comes for this agency."""
        while not stop.is_set():
            try:
                heard = self._listener.hear(timeout_ms=POLL_MS)
            except BrokerUnavailableError as why:
                self._log.warning("agency.waiting", detail=str(why))
                stop.wait(1)
                continue
            for record in heard:
                self._take(record, stop)

    def _take(self, record: Heard, stop: threading.Event) -> None:
        """Take one record, in its turn: one that is refused as if busy is tried until it is taken."""
        try:
            letter = read_event(record.value)
        except MailError:
            return  # What can't be read names no agency, so it is not known to be ours.
        if letter.agency_id != self._agency_id:
            return
        place = f"{record.partition}:{record.offset}"
        while not stop.is_set() and not self._desk.take(letter, place=place).taken:
            stop.wait(REFUSED_AGAIN_SECONDS)


class KafkaOut:
    """Publishes answers as events of the agency."""

    def __init__(self, publisher: Publisher, *, source: str) -> None:
        self._publisher = publisher
        self._source = source

    def say(self, answers: Sequence[Answer]) -> list[Said]:
        """Publish these."""
        records = [_Record(one.account_id.encode(), one.as_event(self._source)) for one in answers]
        return [
            Said(sent, "published" if sent else "the broker has not acknowledged it")
            for sent in self._publisher.publish(records)
        ]

    def close(self) -> None:
        """Let go of the connections."""
        self._publisher.close()
