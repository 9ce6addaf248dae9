"""`check --batch FILE`: a night's file of questions, a line each, answered in order without holding the file.

Called by `consumers.desk`. A set of lines crosses the read barrier together and is one transaction, as in the API.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NoReturn

from tqdm import tqdm

from consumers.answers import Line, answer_lines
from consumers.clear import Clear
from consumers.compose import House
from consumers.counter import serve_each
from consumers.terminal import EXIT_USAGE, EXIT_WRONG, complain, who
from infra.http.problems import TYPES

PROBLEM = f'{{"type":"{TYPES}'.encode()
"""What a line begins with that is no answer."""

STANDARD = Path("-")
"""Standard input, or output."""


def ask_file(arguments: argparse.Namespace, house: House, clear: Clear) -> int:
    """Answer each line of a file; 1 where one could not be answered, and its line says why."""
    if _is_same(arguments.batch, arguments.out):
        complain("--batch and --out name one file, which would be empty before it is read")
        return EXIT_USAGE
    settings = house.settings
    limit_bytes, at_once_max = settings.api_request_max_bytes, settings.api_questions_at_once_max
    ask = partial(serve_each, clear.ask_all, log=house.log)
    problems, answered = 0, 0
    with ExitStack() as stack:
        questions, answers = _opened(stack, arguments.batch, "rb"), _opened(stack, arguments.out, "wb")
        total_bytes = arguments.batch.stat().st_size if arguments.batch != STANDARD else None
        bar = stack.enter_context(
            tqdm(total=total_bytes, unit="B", unit_scale=True, desc="questions", file=sys.stderr)
        )
        lines = _lines(questions, limit_bytes, bar)
        while some := list(islice(lines, at_once_max)):
            told = answer_lines(some, ask, by=who(), limit_bytes=limit_bytes, log=house.log)
            answers.write(told)
            problems += told.count(PROBLEM)
            answered += len(some)
            bar.set_postfix(answered=answered, problems=problems, refresh=False)
        answers.flush()
    if problems:
        asked = "line" if answered == 1 else "lines"
        complain(f"{problems} of {answered} {asked} could not be answered; each says why in its place")
    return EXIT_WRONG if problems else 0


def _is_same(questions: Path, answers: Path) -> bool:
    return STANDARD not in {questions, answers} and answers.exists() and answers.samefile(questions)


def _opened(stack: ExitStack, path: Path, mode: str) -> BinaryIO:
    if path == STANDARD:
        return sys.stdin.buffer if mode == "rb" else sys.stdout.buffer
    return stack.enter_context(path.open(mode))  # type: ignore[return-value] # Both modes are of bytes.


def _lines(file: BinaryIO, limit_bytes: int, bar: tqdm[NoReturn]) -> Iterator[Line]:
    """The lines that hold anything; None for one that is too long, of which no more is read at once than that."""
    while line := file.readline(limit_bytes + 1):
        bar.update(len(line))
        too_long = len(line.removesuffix(b"\n")) > limit_bytes
        while too_long and line and not line.endswith(b"\n"):
            line = file.readline(limit_bytes + 1)  # The rest of it is not wanted.
            bar.update(len(line))
        if too_long:
            yield None
        elif line.strip():
            yield line.strip()
