"""A small HTTP/1.1 server with a thread a connection, over TLS where it is given a certificate.

Used by the simulated agency and by `agency-check`, which plays the guard's side, and by every role for its probes
and metrics: all take short calls from few callers, and must be able to answer late. The API is served by
`infra.http.server`.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY_MAX_BYTES = 2**20
"""Four times the largest event that the guard reads; larger ones are refused unread."""

CONNECTIONS_MAX = 256
"""Threads at the same time; one more connection waits until another one ends."""

IDLE_SECONDS = 75
"""Above what clients keep an idle connection for; a caller that says nothing for so long is gone."""

BACKLOG_CONNECTIONS = 512


@dataclass(frozen=True, slots=True)
class Request:
    """One call, read whole. The names of its headers are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Answering = Callable[[Request], Answer]


class Server:
    """An address, bound when this is made; `start` serves it from threads of its own."""

    def __init__(
        self,
        host: str,
        port: int,
        answering: Answering,
        *,
        certificate: tuple[str, str] | None = None,
        gets: bool = False,
    ) -> None:
        """`certificate` is the file of the chain and that of its key; with `gets` something is to be got, and
        nothing to be posted. Raises OSError, ssl.SSLError among them.
        """
        context = _context(*certificate) if certificate else None
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = _Server(family, (host, port), answering, context, gets=gets)
        self.port: int = self._server.server_address[1]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if context else 'http'}://{shown}:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="http", daemon=True)
        self._started = False

    def start(self) -> None:
        """Take calls from now on; until then they are refused as by a port that nobody listens on."""
        self._server.server_activate()
        self._started = True
        self._thread.start()

    def stop(self) -> None:
        """Take no more calls; what is being answered is cut off with the process."""
        if self._started:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _context(certificate_file: str, key_file: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate_file, key_file)
    return context


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG_CONNECTIONS

    def __init__(
        self,
        family: socket.AddressFamily,
        address: tuple[str, int],
        answering: Answering,
        context: ssl.SSLContext | None,
        *,
        gets: bool,
    ) -> None:
        self.address_family = family
        self.gets = gets
        self.answering = answering
        self._context = context
        self._room = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Handler, bind_and_activate=False)
        try:
            self.server_bind()
        except OSError:
            self.server_close()
            raise

    def server_bind(self) -> None:
        """Without the look-up of the host's name that the library's does, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def get_request(self) -> tuple[socket.socket, object]:
        """A connection; its handshake is left to its thread, so that nobody waits for a slow one."""
        connection, address = super().get_request()
        connection.settimeout(IDLE_SECONDS)
        if self._context is None:
            return connection, address
        wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request(self, request: object, client_address: object) -> None:
        """In a thread, once there is room for one."""
        self._room.acquire()
        super().process_request(request, client_address)  # type: ignore[arg-type] # As the library's own call.

    def process_request_thread(self, request: object, client_address: object) -> None:
        """As the library's, and gives the room back."""
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type] # As above.
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away in the middle is nobody's fault; the library would print a traceback."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # An answer leaves in one piece.
    server: _Server

    def do_POST(self) -> None:
        """Read the body and answer."""
        if self.server.gets:
            self._answer(Answer(405, headers={"allow": "GET"}), close=True)
            return
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdecimal() or len(length) > 10:
            self._answer(Answer(411), close=True)
        elif int(length) > BODY_MAX_BYTES:
            self._answer(Answer(413), close=True)
        else:
            body = self.rfile.read(int(length))
            headers: dict[str, str] = {}
            for name, value in self.headers.items():
                known = name.lower()
                headers[known] = f"{headers[known]},{value}" if known in headers else value
            self._answer(self.server.answering(Request("POST", self.path, headers, body)))

    def do_GET(self) -> None:
        """Answer, where anything is to be got here."""
        if self.server.gets:
            self._answer(self.server.answering(Request("GET", self.path, {}, b"")))
        else:
            self._answer(Answer(405, headers={"allow": "POST"}))

    def log_message(self, *_: object) -> None:
        """The callers keep books of their own."""

    def version_string(self) -> str:
        """Without the versions of Python and the library."""
        return "handoff-guard"

    def _answer(self, answer: Answer, *, close: bool = False) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        if close:
            self.send_header("connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(answer.body)
