"""What every command of the command line shares: exit statuses, and how an answer is written.

Used by `consumers.main` and the modules that add commands to it.
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterable

EXIT_WRONG = 1
EXIT_USAGE = 2
EXIT_UNAVAILABLE = 3


def complain(text: str) -> None:
    """Write a line of trouble, away from the answer."""
    sys.stderr.write(f"handoff-guard: {text}\n")


def say(text: str = "") -> None:
    """Write a line of a command's answer."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def answer(data: object, words: Iterable[str], *, as_json: bool) -> None:
    """Write a command's answer: one JSON value, or its lines."""
    if as_json:
        say(json.dumps(data))
        return
    for line in words:
        say(line)


def who() -> str:
    """Who gives this command, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # In a container the user often has no name.
        return f"uid {os.getuid()}"
