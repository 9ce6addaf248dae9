"""A file of events for `replay`: read with a progress bar, gzipped or not, and the placements written out.

Called by the command `replay` only; the replay itself is in `consumers.replay`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, NoReturn

from tqdm import tqdm

from consumers.replay import Report, replay
from domain.events import PlacementOpened
from infra.policy_file import read_policy
from infra.wire.encode import encode_placement

_GZIP_MAGIC = b"\x1f\x8b"


def replay_file(file: Path, policy_file: Path | None, *, placements: Path | None = None) -> Report:
    """Replay a file under a policy, and write what it placed as events where a place for them is given.

    Raises OSError where a file can't be read or written, PolicyError where the policy is at fault.
    """
    policy = read_policy(policy_file)
    with ExitStack() as stack:
        source = stack.enter_context(file.open("rb"))
        out = stack.enter_context(placements.open("wb")) if placements else None
        size = file.stat().st_size
        bar: tqdm[NoReturn] = tqdm(total=size, unit="B", unit_scale=True, desc="replay", disable=None, leave=False)
        stack.enter_context(bar)
        zipped = source.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        source.seek(0)
        lines = stack.enter_context(gzip.open(source)) if zipped else source

        def write(opened: PlacementOpened) -> None:
            if out is not None:
                out.write(json.dumps(encode_placement(opened, source="replay")).encode() + b"\n")

        return replay(_shown(lines, source, bar), policy, on_placement=write)


def _shown(lines: Iterable[bytes], source: IO[bytes], bar: tqdm[NoReturn]) -> Iterator[bytes]:
    for number, line in enumerate(lines):
        if number % 1000 == 0:
            bar.update(source.tell() - bar.n)
        yield line
