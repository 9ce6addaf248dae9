"""One HTTPS connection to a judged address: every byte until a deadline, and all of them written down.

Called by the channel `webhook`. The socket is our own: the name is asked for once, the address that was judged is
the one that is called, and no slow peer keeps us, since each wait is for what is left of the whole attempt's time.
"""

from __future__ import annotations

import contextlib
import io
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from http.client import HTTPResponse
from typing import cast

from infra.channels.addresses import plain

HEAD_MAX_BYTES = 65_536
"""Of an answer before its body; ten times what servers send."""

ADDRESSES_TRIED_MAX = 4
"""Of one host, one after the other; each has its share of the time."""


class TooMuchError(Exception):
    """The peer sent more than we read."""


class Clock:
    """What is left of an attempt's time."""

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._until = monotonic() + seconds

    def left(self) -> float:
        """Seconds, more than none. Raises TimeoutError where none are left."""
        left = self._until - self._monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Exchange:
    """The bytes of one request and its answer, as they went over the wire, up to a limit."""

    def __init__(self, clock: Clock, answer_max_bytes: int) -> None:
        self.clock = clock
        self.request = bytearray()
        self.response = bytearray()
        self._limit_bytes = HEAD_MAX_BYTES + answer_max_bytes

    def room(self) -> int:
        """How many bytes may still be read. Raises TooMuchError where none may."""
        room = self._limit_bytes - len(self.response)
        if room <= 0:
            raise TooMuchError
        return room


class _Bytes(io.RawIOBase):
    """What `http.client` reads an answer from."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # What BufferedReader gives.
        return self._line.receive_into(memoryview(buffer))


class Line:
    """An open, encrypted connection. Used by one thread, for one request at a time."""

    def __init__(self, tls: ssl.SSLSocket) -> None:
        self._tls = tls
        self._exchange: Exchange | None = None
        self.idle_since = time.monotonic()

    def ask(self, request: bytes, exchange: Exchange) -> HTTPResponse:
        """Send a whole POST request; the answer up to its body. Raises OSError, HTTPException, TooMuchError."""
        self._exchange = exchange
        view = memoryview(request)
        while view:
            self._tls.settimeout(exchange.clock.left())
            sent = self._tls.send(view)
            exchange.request += view[:sent]
            view = view[sent:]
        # It asks a socket for no more than `makefile`.
        response = HTTPResponse(cast("socket.socket", self), method="POST")
        response.begin()
        return response

    def receive_into(self, buffer: memoryview) -> int:
        """Receive and write down, in what is left of the time."""
        if self._exchange is None:
            raise OSError("nothing was asked on this connection")
        room = self._exchange.room()
        self._tls.settimeout(self._exchange.clock.left())
        got = self._tls.recv_into(buffer[:room])
        self._exchange.response += buffer[:got]
        return got

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        return io.BufferedReader(_Bytes(self))

    def is_quiet(self) -> bool:
        """Whether nothing came unasked since the last answer: no end, and no words that would be taken for one."""
        poll = select.poll()
        poll.register(self._tls, select.POLLIN)
        return not self._tls.pending() and not poll.poll(0)

    def close(self) -> None:
        """Let go of it, without a word to the peer that could keep us."""
        with contextlib.suppress(OSError):
            self._tls.close()


def tls_context(ca_file: str) -> ssl.SSLContext:
    """How a server must prove its name. Raises OSError for a file that can't be read."""
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def connect(host: str, port: int, addresses: Sequence[str], *, context: ssl.SSLContext, clock: Clock) -> Line:
    """A connection to the first of these addresses that takes one, proven to be the host's. Raises OSError."""
    opened = _first(addresses[:ADDRESSES_TRIED_MAX], port, clock)
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        opened.settimeout(clock.left())
        return Line(context.wrap_socket(opened, server_hostname=plain(host)))
    except BaseException:
        opened.close()
        raise


def _first(addresses: Sequence[str], port: int, clock: Clock) -> socket.socket:
    failed: OSError | None = None
    for number, address in enumerate(addresses):
        share_seconds = clock.left() / (len(addresses) - number)
        try:
            return socket.create_connection((address, port), timeout=share_seconds)
        except OSError as why:
            failed = failed or why
    raise failed or OSError("there is no address")
