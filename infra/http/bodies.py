"""A request's body: whole up to a limit, or line by line without ever holding more than some lines of it.

Called by the routes of `consumers.api`. Reading is asynchronous because the server's connections are; nothing
behind it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Request

from infra.http.problems import Problem, ProblemError


async def whole(request: Request, *, limit_bytes: int) -> bytes:
    """The body. Raises ProblemError where it is larger than the limit, before all of it was read."""
    parts: list[bytes] = []
    size_bytes = 0
    async for part in request.stream():
        size_bytes += len(part)
        if size_bytes > limit_bytes:
            raise ProblemError(Problem.TOO_LARGE, f"a body may have {limit_bytes} bytes")
        parts.append(part)
    return b"".join(parts)


async def lines(request: Request, *, limit_bytes: int, at_once_max: int) -> AsyncIterator[list[bytes | None]]:
    """The lines of the body in sets, as they come; None for one that is longer than the limit.

    White space around a line does not count, nor do lines without anything else.
    """
    splitter = _Splitter(limit_bytes)
    async for part in request.stream():
        found = splitter.feed(part)
        for start in range(0, len(found), at_once_max):
            yield found[start : start + at_once_max]
    if last := splitter.end():
        yield last


class _Splitter:
    """Makes lines of parts; of a line that is too long nothing is kept."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._rest = b""
        self._too_long = False

    def feed(self, part: bytes) -> list[bytes | None]:
        *whole_lines, self._rest = (self._rest + part).split(b"\n")
        found = [line for one in whole_lines if (line := self._line(one)) != b""]
        if len(self._rest) > self._limit_bytes:
            self._too_long, self._rest = True, b""
        return found

    def end(self) -> list[bytes | None]:
        last = self._line(self._rest)
        return [last] if last != b"" else []

    def _line(self, line: bytes) -> bytes | None:
        too_long, self._too_long = self._too_long or len(line) > self._limit_bytes, False
        return None if too_long else line.strip()
