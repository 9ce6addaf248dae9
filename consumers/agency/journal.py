"""The simulated agency's own books: every message that came and every answer that left, a line each.

Written by `consumers.agency.desk` before anybody is told that a message was taken, and read back when the agency
starts again; tests read it from outside. Holds ids and types, and nothing of a customer.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from infra.wire.decode import InvalidError, parse

NAME = "journal.ndjson"


class JournalError(OSError):
    """Two agencies can't keep one journal."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `direction` is `in` or `out`; `attempt` counts what came or left under this message id.

    `place` is where it was read, as far as that has a name: a partition and offset, or a file.
    """

    at: datetime
    direction: str
    message_id: str
    type: str
    placement_id: str
    attempt: int
    did: str
    account_id: str = ""
    event_id: str = ""
    place: str = ""


class Journal:
    """Lines in a file that only grows."""

    def __init__(self, folder: Path) -> None:
        """Raises JournalError where another process writes it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._file = self._path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as why:
            self._file.close()
            raise JournalError(f"{self._path} is written by another simulator: give each its own --data") from why
        _drop_half_a_line(self._path)
        self.before = tuple(lines(self._path))
        """What was in it when it was opened."""

    def write(self, line: Line) -> None:
        """Add a line; once this returns it survives the end of the process."""
        text = json.dumps({**asdict(line), "at": line.at.isoformat()}, separators=(",", ":"))
        with self._lock:
            self._file.write(f"{text}\n")
            self._file.flush()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lines(path: Path) -> Iterator[Line]:
    """The whole lines of a journal, oldest first; none where there is no file."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for text in file:
            read = _read(text)
            if read is not None:
                yield read


def _read(text: bytes) -> Line | None:
    """A line, or None for one that a process which was killed has left half written."""
    try:
        values = parse(text)
    except InvalidError:
        return None
    if not isinstance(values, dict):
        return None
    return Line(**{**values, "at": datetime.fromisoformat(values["at"])})


def _drop_half_a_line(path: Path) -> None:
    """What a process that was killed has left half written is cut off, so that the next line is whole."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        text = file.read()
        file.truncate(text.rfind(b"\n") + 1)
        os.fsync(file.fileno())
