"""A clock of seconds that a test moves, in place of the machine's."""

from __future__ import annotations


class Clock:
    """It stands until it is moved."""

    def __init__(self, seconds: float = 1_000.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        """As what is given it calls it."""
        return self.seconds
