"""The channel `file`: one whole file for each batch of messages, and the agency's answers from files in `answers`.

Driven by `consumers.lane`, over a folder here or on an SFTP server. A file is written under a name that ends in
`.part`, and renamed when it is complete; what such a name has is never read, and no name is ever used twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from domain.agency import FileDrop
from domain.delivery import AnswerFile, Attempt, Message
from infra.channels.file_lines import BAD_MAX_BYTES, events_of, head, line_of
from infra.channels.folder import Folder, Seen

ANSWERS, TAKEN = "answers", "answers/taken"
PART = ".part"

FILES_PER_LOOK = 100
"""Of answers; the others wait for the next look."""

FILE_MAX_BYTES = 4 * 1024 * 1024
"""Of one file of answers, some 20,000 of them; of a larger one the beginning is quarantined."""

LOOK_MAX_BYTES = 16 * 1024 * 1024
"""Of all files of one look: what is held in memory at once."""

NAMES_TRIED_MAX = 100
"""Another process that writes at the same microsecond has one of them, not a hundred."""

Troubled = Callable[[str], None]
"""Told of what an agency's folder did where no attempt can tell it."""


class FileDropChannel:
    """The folder of one agency."""

    def __init__(
        self,
        folder: Folder,
        drop: FileDrop,
        *,
        agency_id: str,
        now: Callable[[], datetime],
        troubled: Troubled = lambda _: None,
    ) -> None:
        self._folder, self._format, self._agency_id = folder, drop.format, agency_id
        self._now, self._troubled = now, troubled
        self._last = datetime.min.replace(tzinfo=UTC)
        self._sequence = 0
        self._read: dict[str, Seen] = {}
        self._stuck: dict[str, Seen] = {}
        """What was taken and could not be put away: it is not read again while it stays as it was."""

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """Write all of these into one file; they are delivered together, or not at all."""
        lines = [self._line(message) for message in messages]
        good = [line for line in lines if isinstance(line, bytes)]
        if not good:
            return [line for line in lines if isinstance(line, Attempt)]
        try:
            with self._folder.session():
                name = self._put(b"".join([head(self._format), *good]))
        except OSError as why:
            failed = Attempt(False, self._folder.target, words(why))
            return [line if isinstance(line, Attempt) else failed for line in lines]
        target = f"{self._folder.target}/{name}"
        return [line if isinstance(line, Attempt) else Attempt(True, target, request=line) for line in lines]

    def answers(self) -> Sequence[AnswerFile]:
        """What the agency has left; nothing where its folder can't be read, which `troubled` is told."""
        try:
            with self._folder.session():
                return self._look()
        except OSError as why:
            self._troubled(words(why))
            return ()

    def taken(self, answer: AnswerFile) -> None:
        """Move a file into `answers/taken`. One that is another by now, or gone, is none that was taken."""
        seen = self._read.pop(answer.name, None)
        try:
            with self._folder.session():
                if seen is not None and self._folder.look(f"{ANSWERS}/{answer.name}") == seen:
                    self._put_away(answer.name)
        except OSError as why:
            if seen is not None:
                self._stuck[answer.name] = seen
            self._troubled(words(why))

    def close(self) -> None:
        """Let go of the connection, where there is one."""
        self._folder.close()

    def _line(self, message: Message) -> bytes | Attempt:
        try:
            return line_of(message, self._format)
        except ValueError as why:
            return Attempt(False, self._folder.target, f"can't be written as {self._format}: {why}")

    def _put(self, content: bytes) -> str:
        """A new file, whole from the moment at which it has its name."""
        for _ in range(NAMES_TRIED_MAX):
            name = self._name()
            try:
                self._folder.create(name + PART, content)
                # Whoever holds the name's `.part` is the one who may give the name, if nobody has it yet.
                if self._folder.look(name) is None:
                    self._folder.rename(name + PART, name)
                    return name
                self._folder.remove(name + PART)
            except FileExistsError:
                continue  # Somebody writes under this name right now.
            except OSError:
                with contextlib.suppress(OSError):
                    self._folder.remove(name + PART)
                raise
        raise OSError(f"no free name for a file after {NAMES_TRIED_MAX}")

    def _name(self) -> str:
        """Names sort in the order in which they were given, also where the clock was set back."""
        self._last = max(self._last, self._now().astimezone(UTC))
        self._sequence += 1
        return f"recalls-{self._last:%Y%m%dT%H%M%S%fZ}-{self._sequence:06d}.{self._format}"

    def _look(self) -> list[AnswerFile]:
        listed = [one for one in self._folder.files(ANSWERS) if _is_answer(one.name)]
        self._stuck = {one.name: one for one in listed if self._stuck.get(one.name) == one}
        found = [one for one in listed if one.name not in self._stuck]
        files: list[AnswerFile] = []
        self._read = {}
        total_bytes = 0
        for seen in sorted(found, key=lambda one: (one.stamp, one.name))[:FILES_PER_LOOK]:
            too_large = seen.size_bytes > FILE_MAX_BYTES
            size_bytes = min(seen.size_bytes, BAD_MAX_BYTES if too_large else FILE_MAX_BYTES)
            total_bytes += size_bytes
            if total_bytes > LOOK_MAX_BYTES:
                break
            try:
                content = self._folder.read(f"{ANSWERS}/{seen.name}", size_bytes)
            except FileNotFoundError:
                continue  # The agency took it back.
            lines = (content,) if too_large else events_of(seen.name, content, self._agency_id)
            self._read[seen.name] = seen
            files.append(AnswerFile(seen.name, lines))
        self._put_stuck_away()
        return files

    def _put_stuck_away(self) -> None:
        """Try again, after what is new was read; of many that fail for one reason the first is told."""
        troubles: list[str] = []
        for name in list(self._stuck)[:FILES_PER_LOOK]:
            try:
                self._put_away(name)
                del self._stuck[name]
            except OSError as why:
                troubles.append(words(why))
        if troubles:
            self._troubled(troubles[0])

    def _put_away(self, name: str) -> None:
        self._folder.make(TAKEN)
        to = f"{TAKEN}/{name}"
        if self._folder.look(to) is not None:
            to = f"{to}.{self._now().astimezone(UTC):%Y%m%dT%H%M%S%fZ}"
        self._folder.rename(f"{ANSWERS}/{name}", to)


def _is_answer(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith((".ndjson", ".csv"))


def words(why: OSError) -> str:
    """What went wrong, for people."""
    return f"the folder can't be used: {why.strerror or why}"[:300]
