"""Whether an agency takes the files that are dropped for it, and leaves its answers as whole files.

Called by `consumers.agency.check`, for a folder here or on an SFTP server. Files that it does not know are left
alone; answers that the guard itself has read in the meantime are looked for where it puts them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from consumers.agency.trial import Finding, Heard, Trial, answers_to, judge_answers, judged
from domain.agency import Agency, FileFormat
from domain.delivery import Message
from infra.channels.file_drop import ANSWERS, FILE_MAX_BYTES, TAKEN
from infra.channels.file_lines import events_of, head, line_of
from infra.channels.folder import Folder, Seen

LOOK_SECONDS = 0.05
SETTLE_SECONDS = 1.0
"""After the answer, for what contradicts it."""


class FileCheck:
    """One run in one folder."""

    def __init__(
        self,
        trial: Trial,
        agency: Agency,
        folder: Folder,
        file_format: FileFormat,
        now: Callable[[], datetime],
    ) -> None:
        self._trial = trial
        self._agency = agency
        self._folder = folder
        self._format = file_format
        self._now = now
        self._before: set[str] = set()
        self._seen: dict[str, tuple[Seen, bytes]] = {}
        self._changed: set[str] = set()

    def findings(self, recall: Message, wait_seconds: float) -> Iterator[Finding]:
        """A finding a check: a file is dropped with this recall, and another one with it again."""
        try:
            with self._folder.session():
                self._before = {one.name for one in self._answer_files()}
                files = [self._drop(recall, number) for number in (1, 2)]
        except OSError as why:
            fault = f"{self._folder.target}: {why.strerror or why}"
            yield judged("folder", fault, "", "make it, and let this user write to it")
            return
        yield judged("folder", "", f"{self._folder.target} can be written to", "")
        self._until(lambda: answers_to(recall.message_id, self._heard(), self._now()), wait_seconds)
        self._until(lambda: not self._left(files), SETTLE_SECONDS)
        self._until(lambda: False, SETTLE_SECONDS)
        yield self._taken(files)
        yield judged(
            "answers in whole files",
            f"{min(self._changed)} was seen before all of it was there" if self._changed else "",
            "no answer file changed once it was there",
            "write under another name, like *.part, and rename it when it is whole",
        )
        yield from judge_answers(
            self._trial,
            recall.message_id,
            self._heard(),
            self._sources(),
            self._now(),
            waited_seconds=wait_seconds,
            signed=False,
        )

    def _drop(self, recall: Message, number: int) -> str:
        """A file with the test recall, written as the guard writes one; its name."""
        name = f"recalls-{self._now():%Y%m%dT%H%M%S%fZ}-{self._trial.mark}{number}.{self._format}"
        part = f"{name}.part"
        self._folder.create(part, head(self._format) + line_of(recall, self._format))
        self._folder.rename(part, name)
        return name

    def _taken(self, files: list[str]) -> Finding:
        """Whether the files are gone; those that are not are taken back."""
        left = self._left(files)
        with self._folder.session():
            for name in left:
                self._folder.remove(name)
        return judged(
            "takes the file",
            f"{', '.join(left)} is still there" if left else "",
            "moved away or deleted once it was read",
            "take each *.csv or *.ndjson file, and move it away once it is safe with you",
        )

    def _left(self, files: list[str]) -> list[str]:
        with self._folder.session():
            return [name for name in files if self._folder.look(name) is not None]

    def _until(self, done: Callable[[], bool], seconds: float) -> None:
        """Look at the answers until it is done, or the time has passed."""
        pause, deadline = threading.Event(), time.monotonic() + seconds
        while True:
            with self._folder.session():
                self._look()
            if done() or time.monotonic() >= deadline:
                return
            pause.wait(LOOK_SECONDS)

    def _look(self) -> None:
        for path in (ANSWERS, TAKEN):
            for seen in self._folder.files(path):
                if seen.name in self._before or not seen.name.endswith((".csv", ".ndjson")):
                    continue
                known = self._seen.get(seen.name)
                if known is not None and known[0] == seen:
                    continue
                try:
                    content = self._folder.read(f"{path}/{seen.name}", FILE_MAX_BYTES)
                except FileNotFoundError:
                    continue  # The guard has just put it away.
                if known is not None and known[1] != content:
                    self._changed.add(seen.name)
                self._seen[seen.name] = (seen, content)

    def _answer_files(self) -> list[Seen]:
        return [one for path in (ANSWERS, TAKEN) for one in self._folder.files(path)]

    def _heard(self) -> list[Heard]:
        """What was answered to this run, as the guard reads it."""
        mark = self._trial.mark.encode()
        return [
            Heard(line)
            for name, (_, content) in self._seen.items()
            for line in events_of(name, content, self._agency.agency_id)
            if mark in line
        ]

    def _sources(self) -> frozenset[str]:
        """By which it may speak: a row of CSV has no source, and gets this one."""
        own = self._agency.sources
        return own | {f"file:{self._agency.agency_id}"} if own else own
