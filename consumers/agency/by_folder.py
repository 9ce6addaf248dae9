"""The way in and out by files: takes what the guard drops into a folder, and leaves answer files below it.

Composed by `consumers.agency.simulator`. A file is moved to `taken` once all of it is in the journal; one that was
read in part by a process that died is read again, and its messages are known.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from consumers.agency.behaviour import Fault
from consumers.agency.desk import Desk, Said
from consumers.agency.mail import Answer, Letter, MailError, read_lines, read_rows, write_lines, write_rows
from domain.agency import FileFormat

ANSWERS, TAKEN = "answers", "taken"
LOOK_SECONDS = 0.1

FILE_MAX_BYTES = 64 * 2**20
"""Some hundred thousand messages; a larger file stays where it is, and the journal says so."""


class FolderIn:
    """Looks into the folder until told to stop, from one thread."""

    def __init__(self, desk: Desk, folder: Path) -> None:
        self._desk = desk
        self._folder = folder
        self._taken = folder / TAKEN
        self._left: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Take the files, oldest first."""
        self._taken.mkdir(parents=True, exist_ok=True)
        while not stop.wait(LOOK_SECONDS):
            for file in sorted(one for one in self._folder.iterdir() if one.suffix in {".csv", ".ndjson"}):
                if file.name not in self._left:
                    self._take(file, stop)

    def _take(self, file: Path, stop: threading.Event) -> None:
        if file.stat().st_size > FILE_MAX_BYTES:
            self._left.add(file.name)
            self._desk.note_refused(f"refused: larger than {FILE_MAX_BYTES} bytes", place=file.name)
            return
        for letter in _read(file):
            if isinstance(letter, MailError):
                self._desk.note_refused(f"refused: {letter}", place=file.name)
                continue
            while not (reaction := self._desk.take(letter, place=file.name)).taken:
                if reaction.did == "refused: not ours":
                    break
                if stop.wait(LOOK_SECONDS):
                    return
        file.replace(self._taken / file.name)


class FolderOut:
    """Writes answers as whole files."""

    def __init__(
        self,
        folder: Path,
        file_format: FileFormat,
        faults: frozenset[Fault],
        *,
        source: str,
        now: Callable[[], datetime],
    ) -> None:
        self._folder = folder / ANSWERS
        self._folder.mkdir(parents=True, exist_ok=True)
        self._format = file_format
        self._halves = Fault.HALF_FILES in faults
        self._source = source
        self._now = now
        self._number = 0

    def say(self, answers: Sequence[Answer]) -> list[Said]:
        """Write these into one file."""
        self._number += 1
        name = f"answers-{self._now():%Y%m%dT%H%M%S.%fZ}-{self._number:06}.{self._format}"
        content = self._content(answers)
        if self._halves:
            self._in_halves(self._folder / name, content)
        else:
            _whole(self._folder / name, content)
        return [Said(True, name)] * len(answers)

    def close(self) -> None:
        """Nothing is kept open."""

    def _content(self, answers: Sequence[Answer]) -> bytes:
        if self._format is FileFormat.CSV:
            return write_rows(answers)
        return write_lines(answers, self._source)

    def _in_halves(self, file: Path, content: bytes) -> None:
        """The fault of this name: half of the file can be read before the other half is there."""
        half = len(content) // 2
        file.write_bytes(content[:half])
        threading.Event().wait(0.5)
        with file.open("ab") as opened:
            opened.write(content[half:])


def _read(file: Path) -> list[Letter | MailError]:
    content = file.read_bytes()
    if file.suffix == ".ndjson":
        return read_lines(content)
    try:
        return read_rows(content.decode())
    except UnicodeDecodeError:
        return [MailError("a file in CSV must be UTF-8")]


def _whole(file: Path, content: bytes) -> None:
    """Nobody sees it before all of it is there, and safe."""
    part = file.with_name(f"{file.name}.part")
    with part.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    part.replace(file)
