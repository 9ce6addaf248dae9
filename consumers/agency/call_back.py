"""The way out by call-backs: each answer is a signed POST to the guard's route for this agency's events.

Composed by `consumers.agency.simulator`. What the guard refuses for good (4xx) is written down and not tried again;
anything else is, as an agency would.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from urllib.parse import quote, urlsplit

from consumers.agency.behaviour import Fault
from consumers.agency.desk import Said
from consumers.agency.mail import Answer
from infra.channels.signatures import sign

AT_ONCE = 8
"""Calls at the same time, each on a connection that is kept."""

TIMEOUT_SECONDS = 10
ANSWER_MAX_BYTES = 65_536


class CallBack:
    """Calls the guard from threads of its own."""

    def __init__(
        self,
        url: str,
        agency_id: str,
        secret: bytes,
        faults: frozenset[Fault],
        *,
        ca_file: str,
        source: str,
        now: Callable[[], datetime],
    ) -> None:
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname or "", parts.port
        self._path = f"{parts.path.rstrip('/')}/v1/agencies/{quote(agency_id, safe='')}/events"
        self._secret = b"of somebody else" if Fault.WRONG_SIGNATURE in faults else secret
        self._context = ssl.create_default_context(cafile=ca_file or None) if self._secure else None
        self._source = source
        self._now = now
        self._own = threading.local()
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="call-back")

    def say(self, answers: Sequence[Answer]) -> list[Said]:
        """Call for each, some at the same time."""
        return list(self._threads.map(self._call, answers))

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _call(self, answer: Answer) -> Said:
        body = answer.as_event(self._source)
        signed = sign([self._secret], message_id=answer.event_id, at=self._now(), body=body)
        headers = {"content-type": "application/cloudevents+json", **signed}
        try:
            connection = self._connection()
            connection.request("POST", self._path, body, headers)
            got = connection.getresponse()
            got.read(ANSWER_MAX_BYTES)
            if not got.isclosed():
                self._drop()
        except (OSError, http.client.HTTPException) as why:
            self._drop()
            return Said(False, f"the guard was not reached: {type(why).__name__}")
        final = 200 <= got.status < 300 or (400 <= got.status < 500 and got.status not in {408, 429})
        return Said(final, f"answered {got.status}")

    def _connection(self) -> http.client.HTTPConnection:
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None:
            return kept
        if self._context is not None:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=self._context
            )
        else:
            made = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_SECONDS)
        made.connect()
        made.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._own.connection = made
        return made

    def _drop(self) -> None:
        kept: http.client.HTTPConnection | None = getattr(self._own, "connection", None)
        if kept is not None:
            kept.close()
            self._own.connection = None
