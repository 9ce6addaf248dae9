"""Serves an application on one address until it is told to stop.

Called by `api`. The socket is opened here, before anything else, so that a port that is taken is an error with the
name of its setting.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

KEEP_ALIVE_SECONDS = 75
"""Above what balancers keep an idle connection for (60 s), so that it is never closed under a request."""

GRACE_SECONDS = 10
"""For what is being answered when we are told to stop; a batch is cut off then."""

BACKLOG_CONNECTIONS = 2_048

WATCH_SECONDS = 0.1


class AddressError(OSError):
    """The address can't be listened on; the message names the settings."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, and by which certificate if by any."""

    host: str
    port: int
    certificate_file: str = ""
    key_file: str = ""


def listen(address: Address) -> socket.socket:
    """The socket, bound. Raises AddressError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((address.host, address.port))
    except OSError as why:
        listening.close()
        raise _cant_listen(address, why) from why
    return listening


def _cant_listen(address: Address, why: OSError) -> AddressError:
    where = f"can't listen on {address.host} port {address.port} ({why.strerror})"
    return AddressError(f"{where}: set GUARD_API_HOST and GUARD_API_PORT")


def serve(
    app: FastAPI,
    address: Address,
    listening: socket.socket,
    stop: threading.Event,
    *,
    started: Callable[[], None] = lambda: None,
    beat: Callable[[], None] = lambda: None,
    stopping: Callable[[], None] = lambda: None,
) -> None:
    """Serve until told to stop, by the event or by a signal; then what is being answered is finished. `beat` is
    called by the loop of all connections, ten times a second while it turns; `stopping` once no more is taken, to
    end what would be answered for ever.

    Raises AddressError where it can't begin.
    """
    # Its lines would repeat ours, and its tracebacks may hold what a request held.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        backlog=BACKLOG_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=address.certificate_file or None,
        ssl_keyfile=address.key_file or None,
    )
    try:
        config.load()
    except OSError as why:  # The library's errors of a certificate are of this kind too.
        words = f"the certificate can't be used ({why.strerror or why})"
        raise AddressError(f"{words}: look at GUARD_API_TLS_CERT_FILE and GUARD_API_TLS_KEY_FILE") from why
    try:
        # Here and not when it was bound, so that nobody waits while we start; two may have bound the same port.
        listening.listen(BACKLOG_CONNECTIONS)
    except OSError as why:
        raise _cant_listen(address, why) from why
    server = _Server(config, beat)
    watch = threading.Thread(target=_watch, args=(server, stop, started, stopping), name="stop", daemon=True)
    watch.start()
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """The library's, whose loop beats."""

    def __init__(self, config: uvicorn.Config, beat: Callable[[], None]) -> None:
        super().__init__(config)
        self._beat = beat

    async def on_tick(self, counter: int) -> bool:
        """As the library calls it."""
        self._beat()
        return await super().on_tick(counter)


def _watch(
    server: uvicorn.Server, stop: threading.Event, started: Callable[[], None], stopping: Callable[[], None]
) -> None:
    while not server.started and not stop.wait(WATCH_SECONDS / 10):
        pass
    if server.started:
        started()
    while not stop.wait(WATCH_SECONDS) and not server.should_exit:  # A signal is heard by the library alone.
        pass
    server.should_exit = True
    stopping()
