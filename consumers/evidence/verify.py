"""Checks that an evidence pack is as it was when it was made: every file by its SHA-256, none missing, none added.

    python3 verify.py [--expect HASH] PACK

It needs Python 3.8 or later and nothing else, and takes a zip file or the folder that one was unpacked to. HASH is
what `handoff-guard evidence` printed when it made the pack. Whoever can change a file can change the manifest too,
and this program where it lies in the pack: so take HASH from where it was written down, and this file from the
product. Exit status: 0 all is as it was, 1 something is not, 2 wrong arguments.

Nothing is unpacked, so no name in a pack can lead anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any, Iterator, Sequence  # noqa: UP035 # Python 3.8 has no other that can be subscripted.

MANIFEST = "manifest.json"
FORMAT = 1

READ_BYTES = 64 * 1024
FILES_MAX = 100_000
TOTAL_MAX_BYTES = 1 << 30
"""Far above any pack that is made. What claims to be more, or turns out to be, is read no further."""

JSON_MAX_BYTES = 64 << 20
PROBLEMS_MAX = 1_000
"""Of more nobody reads."""

_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)
"""What a damaged zip file or disk makes of an attempt to read."""


class BrokenError(Exception):
    """It can't be read far enough to check it file by file; the message says why."""


class Folder:
    """A pack that was unpacked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problems: list[str] = []

    def names(self) -> list[str]:
        """Every file in it, by its name from the folder."""
        found: list[str] = []
        folders = [self._path]
        while folders:
            for path in folders.pop().iterdir():
                name = path.relative_to(self._path).as_posix()
                if path.is_symlink():
                    self.problems.append(f"{shown(name)}: is a link, which no pack has")
                elif path.is_dir():
                    folders.append(path)
                else:
                    found.append(name)
            if len(found) > FILES_MAX:
                raise BrokenError(f"it holds more than {FILES_MAX} files")
        return found

    def open(self, name: str) -> IO[bytes]:
        """A file in it."""
        return (self._path / name).open("rb")


class Zip:
    """A pack as it was made."""

    def __init__(self, path: Path) -> None:
        self.problems: list[str] = []
        try:
            self._zip = zipfile.ZipFile(path)
        except _UNREADABLE as why:
            raise BrokenError(f"it is no zip file, or not a whole one: {shown(str(why))}") from why

    def names(self) -> list[str]:
        """Every file in it. A name that stands twice, or that would lead out of a folder, is a problem.

        A folder of its own is none: who packs an unpacked pack again adds some.
        """
        entries = [entry for entry in self._zip.infolist() if not is_folder(entry)]
        if len(entries) > FILES_MAX:
            raise BrokenError(f"it holds more than {FILES_MAX} files")
        if sum(entry.file_size for entry in entries) > TOTAL_MAX_BYTES:
            raise BrokenError(f"it claims to hold more than {TOTAL_MAX_BYTES} bytes")
        found: dict[str, None] = {}
        for name in [entry.filename for entry in entries]:
            if not is_plain(name):
                self.problems.append(f"{shown(name)}: is a name that leads out of the pack: do not unpack it")
            elif name in found:
                self.problems.append(f"{shown(name)}: stands twice")
            found[name] = None
        return [name for name in found if is_plain(name)]

    def open(self, name: str) -> IO[bytes]:
        """A file in it."""
        return self._zip.open(name)


class Check:
    """One pack under check, and what is wrong with it."""

    def __init__(self, pack: Folder | Zip) -> None:
        self._pack = pack
        self._left_bytes = TOTAL_MAX_BYTES
        self.problems: list[str] = []
        self.manifest: dict[str, Any] = {}  # `Any`: JSON.
        self.manifest_hash = ""

    def run(self, expected: str | None) -> None:
        """Check everything; raises BrokenError where that can't even begin.

        An empty hash is one that no pack has: whoever asks for it has lost what was written down.
        """
        there = set(self._pack.names())
        if MANIFEST not in there:
            raise BrokenError(f"it has no {MANIFEST}")
        self.manifest = self._read_manifest()
        self.manifest_hash = hash_of(self.manifest)
        if self.manifest_hash != self.manifest.get("sha256"):
            self._found(f"{MANIFEST}: changed: it does not have the hash that it states")
        if expected is not None and self.manifest_hash != expected.strip().lower():
            self._found(f"{MANIFEST}: is not the one of that pack: its hash is {self.manifest_hash}")
        listed = {entry["name"]: entry for entry in self.manifest["files"]}
        for name in sorted(set(listed) | there - {MANIFEST}):
            if name not in there:
                self._found(f"{shown(name)}: missing")
            elif name not in listed:
                self._found(f"{shown(name)}: added: the manifest does not list it")
            else:
                self._check_file(name, listed[name]["size"], listed[name]["sha256"])
        for name in sorted(set(listed) & there):
            if name.endswith("/index.json") or name == "timeline.json":
                self._check_references(name, set(listed))
        self.problems += self._pack.problems

    def _found(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)

    def _read_manifest(self) -> dict[str, Any]:  # `Any`: JSON.
        try:
            manifest = json.loads(self._read(MANIFEST))
        except (*_UNREADABLE, RecursionError) as why:
            raise BrokenError(f"its {MANIFEST} can't be read: {shown(str(why))}") from why
        if not is_manifest(manifest):
            raise BrokenError(f"its {MANIFEST} is none of format {FORMAT}, or was changed")
        return dict(manifest)

    def _read(self, name: str) -> bytes:
        with self._pack.open(name) as file:
            value = file.read(JSON_MAX_BYTES + 1)
        if len(value) > JSON_MAX_BYTES:
            raise ValueError(f"it is larger than {JSON_MAX_BYTES} bytes")
        return value

    def _check_file(self, name: str, size_bytes: int, sha256: str) -> None:
        digest, read_bytes = hashlib.sha256(), 0
        try:
            with self._pack.open(name) as file:
                for chunk in iter(lambda: file.read(READ_BYTES), b""):
                    digest.update(chunk)
                    read_bytes += len(chunk)
                    self._left_bytes -= len(chunk)
                    if read_bytes > size_bytes or self._left_bytes < 0:
                        self._found(f"{shown(name)}: changed: larger than {size_bytes} bytes")
                        return
        except _UNREADABLE as why:
            self._found(f"{shown(name)}: changed: it can't be read: {shown(str(why))}")
            return
        if read_bytes != size_bytes:
            self._found(f"{shown(name)}: changed: {read_bytes} bytes instead of {size_bytes}")
        elif digest.hexdigest() != sha256:
            self._found(f"{shown(name)}: changed: sha256 {digest.hexdigest()} instead of {sha256}")

    def _check_references(self, index: str, listed: set[str]) -> None:
        """Each file that an index refers to is one that the manifest lists."""
        try:
            value = json.loads(self._read(index))
        except (*_UNREADABLE, RecursionError):
            return  # It was changed, and that is told already.
        for name in sorted(set(references(value)) - listed):
            self._found(f"{index}: refers to {shown(name)}, which is not in the pack")


def is_plain(name: str) -> bool:
    """Whether a name stays inside the folder that it is unpacked to, on every system."""
    return not any(part in {"", ".", ".."} for part in name.split("/")) and not set(name) & set("\\:\0")


def is_folder(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a folder, which holds nothing itself."""
    name = entry.filename
    return name.endswith("/") and not entry.file_size and is_plain(name[:-1])


def is_manifest(value: object) -> bool:
    """Whether a value has the shape of a manifest of ours."""
    if not isinstance(value, dict) or not isinstance(value.get("about"), dict):
        return False
    files = value.get("files")
    if value["about"].get("format") != FORMAT or not isinstance(files, list):
        return False
    shapes = [{name: type(one) for name, one in entry.items()} for entry in files if isinstance(entry, dict)]
    wanted = {"name": str, "size": int, "sha256": str}
    if len(shapes) != len(files) or any(shape != wanted for shape in shapes):
        return False
    return len({entry["name"] for entry in files}) == len(files) and all(is_plain(entry["name"]) for entry in files)


def hash_of(manifest: dict[str, Any]) -> str:  # `Any`: JSON.
    """The one hash over what a manifest says of the pack and of each file."""
    covered = {"about": manifest["about"], "files": manifest["files"]}
    return hashlib.sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def references(value: object) -> Iterator[str]:
    """The names of files in an index: each text under `file`, at whatever depth."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("file"), str):
                yield one["file"]
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def shown(text: str) -> str:
    """A text as it may be printed: what could steer a terminal is left out."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:300]


def main(arguments: Sequence[str] | None = None) -> int:
    """Check one pack, and print what is wrong with it."""
    parser = argparse.ArgumentParser(description="Checks that an evidence pack is as it was when it was made.")
    parser.add_argument("pack", type=Path, metavar="PACK", help="the zip file, or the folder it was unpacked to")
    parser.add_argument("--expect", metavar="HASH", help="what was printed when the pack was made")
    asked = parser.parse_args(arguments)
    try:
        pack = Folder(asked.pack) if asked.pack.is_dir() else Zip(asked.pack)
        check = Check(pack)
        check.run(asked.expect)
    except BrokenError as why:
        say(f"{shown(str(asked.pack))}: {why}")
        return 1
    for problem in check.problems:
        say(problem)
    if check.problems:
        say(f"NOT as it was made: {len(check.problems)} problems")
        return 1
    for line in good_news(check, expected=asked.expect is not None):
        say(line)
    return 0


def good_news(check: Check, *, expected: bool) -> Iterator[str]:
    """What may be said of a pack that is as it was."""
    about = check.manifest["about"]
    made = f"made {about.get('made_at')} by {about.get('made_by')}"
    yield shown(f"all {len(check.manifest['files'])} files are as the manifest says, {made}")
    yield f"the manifest's hash is {check.manifest_hash}"
    if not expected:
        yield "compare it with the hash that was written down when the pack was made, or give that by --expect"


def say(line: str) -> None:
    """Write a line, also where the terminal has no letters for it."""
    sys.stdout.write(line.encode("ascii", "backslashreplace").decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
