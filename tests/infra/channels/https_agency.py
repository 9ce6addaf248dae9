"""An agency behind real HTTPS, in threads of the test: it takes messages, and behaves as the test says.

Its bytes are written by hand, so that it can be as slow, as wordy and as wrong as no proper server would be.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

HOST = "desk.north.example"
"""The agency's name; in the tests it leads to this machine."""

ASKED_MAX_BYTES = 1_000_000
SERVER_TIMEOUT_SECONDS = 20
"""After this a thread of the server gives up, so that no test leaves one behind."""


@dataclass(frozen=True)
class Asked:
    """One request as it came, byte for byte."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        """By their names, as they were sent."""
        pairs = (line.split(": ", 1) for line in self.head.decode("latin-1").split("\r\n")[1:] if line)
        return {name: value for name, value in pairs}  # noqa: C416  dict() would not know that these are pairs.


Behave = Callable[[ssl.SSLSocket, Asked], bool]
"""Answer a request; whether the connection stays open."""


def answer(status: int = 204, headers: str = "", body: bytes = b"") -> Behave:
    """A plain answer on a connection that stays open."""

    def behave(line: ssl.SSLSocket, _asked: Asked) -> bool:
        length = "" if status == 204 else f"content-length: {len(body)}\r\n"
        line.sendall(f"HTTP/1.1 {status} Words\r\n{length}{headers}\r\n".encode() + body)
        return True

    return behave


@dataclass
class HttpsAgency:
    """What it was asked, in the order in which it came, and on how many connections."""

    port: int
    behave: Behave
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/recalls?desk=2"


@contextlib.contextmanager
def https_agency(context: ssl.SSLContext | None, behave: Behave | None = None) -> Iterator[HttpsAgency]:
    """Serve until the test is done. Without a context it takes connections, and says nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        agency = HttpsAgency(server.getsockname()[1], behave or answer())
        opened: list[socket.socket] = []
        accepting = threading.Thread(target=_accept, args=(server, context, agency, opened))
        accepting.start()
        try:
            yield agency
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in opened:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()


def _accept(
    server: socket.socket, context: ssl.SSLContext | None, agency: HttpsAgency, opened: list[socket.socket]
) -> None:
    threads: list[threading.Thread] = []
    with contextlib.suppress(OSError):
        while True:
            one, _ = server.accept()
            one.settimeout(SERVER_TIMEOUT_SECONDS)
            opened.append(one)
            agency.connections += 1
            if context is not None:
                threads.append(threading.Thread(target=_serve, args=(one, context, agency, opened), daemon=True))
                threads[-1].start()


def _serve(one: socket.socket, context: ssl.SSLContext, agency: HttpsAgency, opened: list[socket.socket]) -> None:
    with contextlib.suppress(OSError), context.wrap_socket(one, server_side=True) as line:
        opened.append(line)
        while (asked := _read(line)) is not None:
            agency.asked.append(asked)
            if not agency.behave(line, asked):
                return


def _read(line: ssl.SSLSocket) -> Asked | None:
    got = b""
    while b"\r\n\r\n" not in got:
        part = line.recv(65_536)
        if not part or len(got) > ASKED_MAX_BYTES:
            return None
        got += part
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(Asked(head, b"").headers["content-length"])
    while len(body) < length:
        part = line.recv(65_536)
        if not part:
            return None
        body += part
    return Asked(head, body)
