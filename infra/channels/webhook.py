"""The channel `webhook`: one signed POST over https for each message, judged by the status of its answer.

Driven by `consumers.lane`. What the agency or the network does never raises: each end of an attempt is told in
words, with the bytes of the wire. An answer's body is kept and decides nothing. No redirect is followed.
"""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from domain.agency import WebhookTarget
from domain.delivery import AnswerFile, Attempt, Message
from infra.channels.addresses import AddressError, Resolve, judged, system_resolve
from infra.channels.https_connection import Clock, Exchange, Line, TooMuchError, connect, tls_context
from infra.channels.signatures import sign

KEEP_SECONDS = 30.0
"""How long an idle connection is used again: half of what servers commonly keep one for."""

RETRY_AFTER_MAX_SECONDS = 86_400.0
"""Of what an agency may ask for."""

_ASKS_TO_WAIT = {429, 503}
_REFUSES_THE_MESSAGE = {400, 409, 413, 415, 422}
"""The agency is there and wants none of this one; others may pass. 401, 403, 404 and 410 are of all of them."""

_TRANSPORT_ERRORS = (OSError, HTTPException, AddressError, TooMuchError)
_HEADER_VALUE = re.compile(r"[ -~]*")


class _StaleError(Exception):
    """The agency had closed a connection that we had kept."""


class WebhookChannel:
    """The webhook of one agency, called by up to `at_once` threads, each with a connection that it keeps."""

    def __init__(
        self, target: WebhookTarget, *, at_once: int, now: Callable[[], datetime], resolve: Resolve = system_resolve
    ) -> None:
        parts = urlsplit(target.url)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._authority = parts.netloc
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._target, self._now, self._resolve = target, now, resolve
        self._context: ssl.SSLContext | None = None
        self._own = threading.local()
        self._lines: set[Line] = set()
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="webhook")
        self._resolvers = ThreadPoolExecutor(at_once, thread_name_prefix="resolve")
        """The system's resolver knows no time-out, so it is asked where it can be left behind."""

    def deliver(self, messages: Sequence[Message]) -> list[Attempt]:
        """Call the webhook once for each; those of one placement in their order, others at the same time."""
        by_placement: dict[str, list[int]] = {}
        for place, message in enumerate(messages):
            by_placement.setdefault(message.placement_id or f"\n{place}", []).append(place)
        runs = [
            (places, self._threads.submit(self._run, [messages[place] for place in places]))
            for places in by_placement.values()
        ]
        came = {place: attempt for places, run in runs for place, attempt in zip(places, run.result(), strict=True)}
        return [came[place] for place in range(len(messages))]

    def answers(self) -> Sequence[AnswerFile]:
        """None: an agency with a webhook answers by call-backs."""
        return ()

    def taken(self, answer: AnswerFile) -> None:
        """Nothing to put away."""

    def close(self) -> None:
        """Let go of the threads and their connections."""
        self._threads.shutdown()
        self._resolvers.shutdown(wait=False, cancel_futures=True)
        for line in self._lines:
            line.close()
        self._lines.clear()

    def _run(self, messages: Sequence[Message]) -> list[Attempt]:
        """The messages of one placement: what follows one that did not arrive must not overtake it."""
        attempts: list[Attempt] = []
        for message in messages:
            if attempts and not attempts[-1].delivered:
                attempts.append(Attempt(False, self._target.url, "not tried: the one before it did not arrive"))
            else:
                attempts.append(self._safely(message))
        return attempts

    def _safely(self, message: Message) -> Attempt:
        """One attempt, whatever comes of it: what is told of the others must not be lost with it."""
        try:
            return self._attempt(message)
        except Exception as why:  # noqa: BLE001 # What nobody thought of; its words may hold what an agency wrote.
            self._drop()
            return Attempt(False, self._target.url, f"it failed in our own code: {type(why).__name__}")

    def _attempt(self, message: Message) -> Attempt:
        clock = Clock(self._target.timeout_seconds)
        try:
            request = self._request(message)
        except (
            ValueError
        ) as why:  # An id or a secret of ours that can't be; the agency's entry is checked when read.
            return Attempt(False, self._target.url, str(why))
        once_more = Retrying(stop=stop_after_attempt(2), retry=retry_if_exception_type(_StaleError), reraise=True)
        return once_more(self._ask, request, clock)

    def _request(self, message: Message) -> bytes:
        secrets = [secret.value for secret in self._target.secrets]
        headers = {
            "host": self._authority,
            "user-agent": "handoff-guard",
            "content-type": "application/cloudevents+json",
            "content-length": str(len(message.value)),
            **sign(secrets, message_id=message.message_id, at=self._now(), body=message.value),
        }
        traceparent = dict(message.headers).get("traceparent", b"").decode("latin-1")
        if traceparent and _HEADER_VALUE.fullmatch(traceparent):
            headers["traceparent"] = traceparent
        lines = [f"POST {self._path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + message.value

    def _ask(self, request: bytes, clock: Clock) -> Attempt:
        """One request and its answer. Raises _StaleError where a kept connection had ended before any answer."""
        exchange = Exchange(clock, self._target.answer_max_bytes)
        kept = self._kept()
        try:
            line = kept or self._connect(clock)
            response = line.ask(request, exchange)
        except _TRANSPORT_ERRORS as why:
            self._drop()
            if kept and not exchange.response and not isinstance(why, TimeoutError):
                raise _StaleError from why
            return self._failed(exchange, _words(why, exchange, self._target.timeout_seconds))
        whole = _read_whole(response, self._target.answer_max_bytes)
        if not whole or response.will_close or response.status < 200:  # Below 200 another answer may follow.
            self._drop()
        line.idle_since = time.monotonic()
        return self._judge(response, exchange)

    def _judge(self, response: HTTPResponse, exchange: Exchange) -> Attempt:
        status = response.status
        if 200 <= status < 300:
            return Attempt(True, self._target.url, "", bytes(exchange.request), bytes(exchange.response))
        detail = f"answered {status}"
        if 300 <= status < 400:
            detail += ", a redirect, and none is followed: the url in the file of agencies must be the last one"
        asked = response.headers.get("retry-after") if status in _ASKS_TO_WAIT else None
        pause_seconds = _retry_after_seconds(asked, self._now()) if asked else None
        return self._failed(exchange, detail, pause_seconds, refused=status in _REFUSES_THE_MESSAGE)

    def _failed(
        self, exchange: Exchange, detail: str, retry_after_seconds: float | None = None, *, refused: bool = False
    ) -> Attempt:
        sent, received = bytes(exchange.request), bytes(exchange.response)
        return Attempt(False, self._target.url, detail, sent, received, retry_after_seconds, refused)

    def _kept(self) -> Line | None:
        """This thread's connection, where it is fresh enough to be used again."""
        line: Line | None = getattr(self._own, "line", None)
        if line is not None and (time.monotonic() - line.idle_since > KEEP_SECONDS or not line.is_quiet()):
            self._drop()
            return None
        return line

    def _connect(self, clock: Clock) -> Line:
        private = self._target.private_hosts
        asked = self._resolvers.submit(judged, self._host, self._port, private_hosts=private, resolve=self._resolve)
        addresses = asked.result(timeout=clock.left())
        if self._context is None:
            self._context = tls_context(self._target.ca_file)
        line = connect(self._host, self._port, addresses, context=self._context, clock=clock)
        self._own.line = line
        self._lines.add(line)
        return line

    def _drop(self) -> None:
        line: Line | None = getattr(self._own, "line", None)
        if line is not None:
            self._own.line = None
            self._lines.discard(line)
            line.close()


def _read_whole(response: HTTPResponse, max_bytes: int) -> bool:
    """Read a body, so that it is written down; whether all of it came, and the connection can be used again."""
    try:
        response.read(max_bytes)
    except _TRANSPORT_ERRORS:
        return False  # The status was said, and decides; the rest came too late, or not at all.
    return response.isclosed()


def _words(why: Exception, exchange: Exchange, timeout_seconds: float) -> str:
    """What went wrong, for people; never what the agency wrote."""
    match why:
        case TimeoutError():
            return f"{'no answer' if exchange.request else 'not reached'} within {timeout_seconds:g} s"
        case AddressError():
            return str(why)
        case TooMuchError():
            return "the head of the answer is too large"
        case ssl.SSLCertVerificationError():
            return f"the certificate is not to be trusted: {why.verify_message}"
        case ssl.SSLError():
            return f"no TLS connection: {(why.reason or 'it failed').lower().replace('_', ' ')}"
        case OSError():
            return f"no connection: {why.strerror or 'it was closed without an answer'}"
        case _:
            return f"what was answered is no HTTP: {type(why).__name__}"


def _retry_after_seconds(value: str, now: datetime) -> float | None:
    """What `Retry-After` asks for, in seconds or as a date; None where it can't be read."""
    if re.fullmatch(r"[0-9]{1,9}", value.strip()):
        seconds = float(value)
    else:
        try:
            until = parsedate_to_datetime(value)
            seconds = ((until if until.tzinfo else until.replace(tzinfo=UTC)) - now).total_seconds()
        except (ValueError, OverflowError):  # The second where a year or an offset is beyond all calendars.
            return None
    return min(max(seconds, 0.0), RETRY_AFTER_MAX_SECONDS)
