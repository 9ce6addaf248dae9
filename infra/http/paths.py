"""Paths as they were sent, so that an id in one may hold any character, `%2F` among them.

Put around the application. The server undoes escapes before routes are looked for, and then an id with a slash
looks like two parts of a path. Here they stay, and whoever reads an id undoes them: `unescaped`.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send


class EscapedPaths:
    """Lets routes see each path with its escapes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As the framework calls it."""
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("ascii")}
        await self._app(scope, receive, send)


def unescaped(part: str) -> str:
    """A part of such a path as it is meant. Raises ValueError."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError as why:
        raise ValueError("must be UTF-8 with %-escapes") from why
