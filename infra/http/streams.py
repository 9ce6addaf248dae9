"""An answer that is written while its request is still being read.

Used by the route of a batch. The framework's own streaming answer listens for the client's end by reading the
request, and so would take the body away from who answers it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from fastapi import Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send


class Duplex(Response):
    """Parts as they come. A client that goes away ends it at the next read of its request."""

    def __init__(self, parts: AsyncIterator[bytes], *, media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]  # Nobody knows it yet.
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send each part as soon as it is there."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async for part in self._parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        except ClientDisconnect:
            return  # Nobody is there to read the rest.
        await send({"type": "http.response.body", "body": b"", "more_body": False})
