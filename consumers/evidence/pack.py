"""Files to one zip with a manifest: the same files, maker and instant give the same bytes.

Called by `consumers.evidence.maker`. Nothing is compressed, so that no library's version shows in the bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consumers.evidence.verify import FORMAT, MANIFEST, hash_of

FILES_MAX = 50_000
PACK_MAX_BYTES = 512 << 20
"""An account has tens of events of some hundred bytes. Half of what `verify.py` reads, and fits into memory."""

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest instant that a zip file can state; the real ones stand in the manifest."""

OWNER_ONLY = 0o600
"""It holds a customer's data."""


class TooLargeError(Exception):
    """A pack would be larger than is made here; the message says by what."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack: its bytes, and the one hash that stands for all of it."""

    content: bytes
    sha256: str
    files: int


def packed(files: Mapping[str, bytes], about: Mapping[str, object]) -> Packed:
    """The pack of these files. `about` says what it is of, who made it and when. Raises TooLargeError."""
    size_bytes = sum(map(len, files.values()))
    if len(files) > FILES_MAX or size_bytes > PACK_MAX_BYTES:
        raise TooLargeError(f"the pack would have {len(files)} files of {size_bytes} bytes")
    manifest: dict[str, object] = {
        "about": {**about, "format": FORMAT},
        "files": [
            {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for name, content in sorted(files.items())
        ],
    }
    sha256 = hash_of(manifest)
    every = {**files, MANIFEST: json_file({**manifest, "sha256": sha256})}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(every.items()):
            archive.writestr(_entry(name), content)
    return Packed(out.getvalue(), sha256, len(every))


def json_file(value: object) -> bytes:
    """A value as a file that people and programs read."""
    return (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode(errors="backslashreplace")


def write_new(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads. Raises OSError, and FileExistsError where there is one already."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError:
        path.unlink()
        raise


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.create_system = 3  # The mode below is read as Unix means it.
    entry.external_attr = OWNER_ONLY << 16
    return entry
