"""The stream by which an open page renews itself: server-sent events, each the parts of the page that changed.

Used by the pages that are live. Every stream of a process is told by the one watch; what a page shows is written
once for all who see it in one language. A stream ends with its session, with its reader, and when the server stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import orjson
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from consumers.console.headers import HEADERS
from consumers.console.watch import Snapshot, Viewer, Watch

STREAMS_MAX = 100
"""Open at a time in a process: each is a connection, and a page to be sent every two seconds. The 101st page works
as all do, and is renewed when it is loaded."""

HEARTBEAT_SECONDS = 10.0
"""Without anything to say: under what balancers let an idle connection live (60 s)."""

AGAIN_MS = 2_000
FULL_AGAIN_MS = 30_000
"""When a browser whose stream has broken asks for another; and one that found all of them taken."""

WRITTEN_MAX = 50
"""Versions of a page that are kept until the next look: languages times filters."""

Parts = Mapping[str, str]
"""A page's parts by their ids."""


@dataclass(slots=True)
class Live:
    """One for a process."""

    watch: Watch
    streams: int = 0
    _number: int = 0
    _written: dict[tuple[str, ...], Parts] = field(default_factory=dict)

    def parts(self, snapshot: Snapshot, version: tuple[str, ...], write: Callable[[], Parts]) -> Parts:
        """The parts of a page as this snapshot has them, written once for each version of the page."""
        if snapshot.number != self._number:
            self._number, self._written = snapshot.number, {}
        written = self._written
        if version not in written:
            parts = write()
            if len(written) < WRITTEN_MAX:
                written[version] = parts
            return parts
        return written[version]


Write = Callable[[Snapshot], Awaitable[Parts]]
"""The parts of a page, as a snapshot has them."""


class Stream(StreamingResponse):
    """What one open page is sent."""

    def __init__(self, live: Live, secret: str, write: Write, trouble: Callable[[str], Parts]) -> None:
        """`secret` is the session's; `trouble` are the parts that tell why nothing is new."""
        super().__init__(self._events(write, trouble), media_type="text/event-stream", headers=HEADERS)
        self._live = live
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._viewer = Viewer(secret, self._tell)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until somebody ends it; then nothing of it is left."""
        self._live.streams += 1
        self._live.watch.join(self._viewer)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._live.watch.leave(self._viewer)
            self._live.streams -= 1

    def _tell(self) -> None:
        """Called by the watch, from its thread."""
        self._loop.call_soon_threadsafe(self._news.set)

    async def _events(self, write: Write, trouble: Callable[[str], Parts]) -> AsyncIterator[bytes]:
        watch, shown = self._live.watch, dict[str, str]()
        yield f"retry: {AGAIN_MS}\n\n".encode()
        while not watch.is_closed:
            if not await self._has_news():
                yield b": still here\n\n"
                continue
            if self._viewer.is_ended:
                yield event({}, "ended")
                return
            if watch.trouble or watch.newest is None:
                yield event(trouble(watch.trouble), "trouble")
                shown.clear()
                continue
            parts = await write(watch.newest)
            yield event({name: text for name, text in parts.items() if shown.get(name) != text})
            shown.update(parts)

    async def _has_news(self) -> bool:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


def event(parts: Parts, name: str = "") -> bytes:
    """One event; one without a name is the usual."""
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + orjson.dumps(dict(parts)) + b"\n\n"


def only(parts: Parts, name: str, *, again_ms: int) -> StreamingResponse:
    """A stream of one event, for who is to come again later or not at all."""
    head = f"retry: {again_ms}\n\n".encode()
    return StreamingResponse(iter([head + event(parts, name)]), media_type="text/event-stream", headers=HEADERS)
