"""A folder in which files appear whole, as the channel `file` needs it; and the one on this machine.

Called by `file_drop`. The other implementation is in `sftp`. What goes wrong is an OSError, with words for people.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

LISTED_MAX = 10_000
"""Files of one folder that are looked at; a folder with more is looked at again when these are gone."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as a listing shows it; `stamp` is another one when the file is."""

    name: str
    size_bytes: int
    stamp: tuple[int, ...]
    """Begins with when it was changed."""


class Folder(Protocol):
    """A folder. Paths are relative to it, with slashes; every call is made within a session."""

    @property
    def target(self) -> str:
        """Where it is, for people."""

    def session(self) -> AbstractContextManager[None]:
        """What is done together. Raises OSError where the folder is not there, or when it takes too long."""

    def create(self, path: str, content: bytes) -> None:
        """A new file. Raises FileExistsError."""

    def look(self, path: str) -> Seen | None:
        """What has this name, whatever it is; None where nothing has."""

    def rename(self, path: str, to: str) -> None:
        """Give a file another name, in one step. Raises FileNotFoundError."""

    def remove(self, path: str) -> None:
        """Delete a file."""

    def make(self, path: str) -> None:
        """A folder below; one that is there stays as it is."""

    def files(self, path: str) -> list[Seen]:
        """The plain files of a folder below; none where it is not there."""

    def read(self, path: str, max_bytes: int) -> bytes:
        """The first so many bytes of a file. Raises FileNotFoundError."""

    def close(self) -> None:
        """Let go of what was kept open."""


class LocalFolder:
    """A folder on this machine, or on what is mounted here."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    @property
    def target(self) -> str:
        """Its path."""
        return str(self._folder)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Nothing to open. A folder that is not there is not made: what should be mounted there may be away."""
        if not self._folder.is_dir():
            raise FileNotFoundError(0, f"the folder {self._folder} is not there")
        yield

    def create(self, path: str, content: bytes) -> None:
        """On the disk when this returns; readable for the group, to which the agency's account may belong."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with self._at(path) as (within, name), os.fdopen(os.open(name, flags, 0o640, dir_fd=within), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def look(self, path: str) -> Seen | None:
        """What has this name."""
        try:
            with self._at(path) as (within, name):
                return _seen(name, os.stat(name, dir_fd=within, follow_symlinks=False))
        except FileNotFoundError:
            return None

    def rename(self, path: str, to: str) -> None:
        """The new name is on the disk when this returns."""
        with self._at(path) as (here, name), self._at(to) as (there, new_name):
            os.replace(name, new_name, src_dir_fd=here, dst_dir_fd=there)
            os.fsync(there)

    def remove(self, path: str) -> None:
        """Delete a file."""
        with self._at(path) as (within, name):
            os.unlink(name, dir_fd=within)

    def make(self, path: str) -> None:
        """A folder below."""
        with self._at(path) as (within, name), contextlib.suppress(FileExistsError):
            os.mkdir(name, dir_fd=within)

    def files(self, path: str) -> list[Seen]:
        """The plain files: a link might lead out of the folder."""
        try:
            with self._opened(path) as within, os.scandir(within) as entries:
                return [
                    _seen(one.name, one.stat(follow_symlinks=False))
                    for one in islice(entries, LISTED_MAX)
                    if one.is_file(follow_symlinks=False)
                ]
        except FileNotFoundError:
            return []

    def read(self, path: str, max_bytes: int) -> bytes:
        """The first so many bytes of a plain file, which what was one a moment ago need not be any more."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with self._at(path) as (within, name), os.fdopen(os.open(name, flags, dir_fd=within), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise FileNotFoundError(0, f"{path} is no plain file")
            return file.read(max_bytes)

    def close(self) -> None:
        """Nothing is kept open."""

    @contextlib.contextmanager
    def _at(self, path: str) -> Iterator[tuple[int, str]]:
        """The folder in which a path is, open, and the name there."""
        parent, _, name = path.rpartition("/")
        with self._opened(parent) as within:
            yield within, name

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """A folder below, reached by real folders alone: a link might lead into another agency's."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        with contextlib.ExitStack() as opened:
            within = _open(self._folder, flags, opened)
            for name in path.split("/") if path else ():
                try:
                    within = _open(name, flags | os.O_NOFOLLOW, opened, within)
                except NotADirectoryError as why:
                    raise NotADirectoryError(0, no_folder(path)) from why
            yield within


def _seen(name: str, found: os.stat_result) -> Seen:
    return Seen(name, found.st_size, (found.st_mtime_ns, found.st_ino))


def no_folder(path: str) -> str:
    """The words for what should be a folder below and is a link, or a file."""
    return f"{path} must be a real folder, and no link"


def _open(path: Path | str, flags: int, opened: contextlib.ExitStack, within: int | None = None) -> int:
    descriptor = os.open(path, flags, dir_fd=within)
    opened.callback(os.close, descriptor)
    return descriptor
